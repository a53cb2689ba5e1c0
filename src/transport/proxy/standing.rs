//! What a decision was made on, into whether it would be made again: for answers that last longer than a credential may.
//! Holds credentials, and so has no printable form; counts and writes down no decision.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::{Instant, sleep};

use crate::gate::{self, Gate, Verdict, unix_now};
use crate::live::Snapshot;
use crate::policy::Outcome;
use crate::request::{Body, Headers, Link, RawRequest, Shown, Values};
use crate::telemetry::{DecisionId, Ended};
use crate::transport::client::Client;

/// Read by the judge whatever the sources are.
const JUDGED: [&str; 4] = ["x-tenant-id", "host", "origin", "content-encoding"];
/// After an answer has begun; short ones are over by then.
const FIRST: Duration = Duration::from_secs(1);
/// How long nobody may be able to say whether a credential still counts.
const DOUBT: Duration = Duration::from_secs(4);
const AGAIN: Duration = Duration::from_secs(1);
/// What a signature may take to verify, and the longest that a crowd of streams is spread over after a reload.
const EACH: Duration = Duration::from_micros(100);
const CROWD: Duration = Duration::from_secs(2);
/// The same after a change of the store, where nothing is verified anew, and which is to hold within a second.
const EACH_LOOKUP: Duration = Duration::from_micros(10);
const CROWD_OF_LOOKUPS: Duration = Duration::from_millis(500);

/// The head of a request as the judge gets to see it, but for its headers.
pub struct Head {
    pub method: Method,
    pub target: String,
    pub host: Option<Vec<u8>>,
    pub websocket: bool,
    pub client: Option<Rc<Client>>,
    pub address: Option<IpAddr>,
}

/// A future that is ready once an answer may not go on.
pub type Lost = Pin<Box<dyn Future<Output = Ended>>>;

/// A request as it was decided on.
pub struct Standing {
    pub id: DecisionId,
    pub head: Head,
    pub headers: Few,
    /// Where the decision was made on it.
    pub body: Option<Bytes>,
}

/// The headers that can matter.
#[derive(Default)]
pub struct Few(Vec<(HeaderName, HeaderValue)>);

impl Head {
    pub fn raw<'a, H>(&'a self, headers: &'a H, snapshot: Option<&Snapshot>) -> RawRequest<'a, H> {
        let link = Link { client: self.address, ..link(self.client.as_deref(), snapshot, self.websocket) };
        RawRequest { method: self.method.as_str().as_bytes(), target: self.target.as_bytes(), host: self.host.as_deref(), headers, link }
    }
}

/// What is known of the connection.
pub fn link<'c>(client: Option<&'c Client>, snapshot: Option<&Snapshot>, websocket: bool) -> Link<'c> {
    let authorities = snapshot.and_then(|snapshot| snapshot.tls.authorities.as_ref());
    let certificate = client.and_then(|client| client.certificate(authorities, unix_now())).map(Shown::Own);
    Link { websocket, certificate, ..Link::default() }
}

impl Standing {
    /// Waits until the request would be let through no more; gives why.
    pub async fn lost(self, gate: Arc<Gate>) -> Ended {
        let mut generations = gate.live.generations();
        let mut generation = *generations.borrow();
        let (mut again, mut doubt) = (FIRST, None);
        loop {
            tokio::select! {
                () = sleep(again) => {}
                Ok(()) = generations.changed() => {
                    // Signatures are verified anew on a new set; requests have their turn between those of many streams.
                    let crowd = u32::try_from(gate.live.watchers()).unwrap_or(u32::MAX);
                    let before = std::mem::replace(&mut generation, *generations.borrow_and_update());
                    let (each, most) = if before == generation { (EACH_LOOKUP, CROWD_OF_LOOKUPS) } else { (EACH, CROWD) };
                    sleep(self.id.part_of(each.saturating_mul(crowd).min(most))).await;
                }
            }
            let snapshot = arc_swap::Guard::into_inner(gate.live.current());
            let body = self.body.as_ref().map_or(Body::Partial, |body| Body::Whole(body));
            let stands = match &snapshot {
                Some(snapshot) => gate.stands(snapshot, &self.head.raw(&self.headers, Some(snapshot)), body).await,
                None => gate::Standing::Unsettled,
            };
            again = match stands {
                gate::Standing::Holds(again) => {
                    doubt = None;
                    again
                }
                gate::Standing::Lost(why) => return why,
                gate::Standing::Unsettled if doubt.get_or_insert_with(Instant::now).elapsed() >= DOUBT => return Ended::Revoked,
                gate::Standing::Unsettled => AGAIN,
            };
        }
    }
}

impl Few {
    /// Of an allowed request, before credentials are taken from it. On a public route they are of use to WebSockets alone.
    pub fn of(snapshot: Option<&Snapshot>, verdict: &Verdict<'_>, (headers, websocket): (&HeaderMap, bool)) -> Self {
        let (Outcome::Allow(_), Some(snapshot)) = (&verdict.decision.outcome, snapshot) else { return Self::default() };
        // Who passed in shadow may be somebody who can be proved later on.
        if verdict.decision.caller.is_none() && verdict.decision.shadow.is_none() && !websocket {
            return Self::default();
        }
        let mine = headers.iter().filter(|(name, _)| matters(snapshot, name.as_str()));
        Self(mine.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Of the lines of a request.
    pub fn of_lines<'a>(snapshot: &Snapshot, lines: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mine = lines.filter(|(name, _)| matters(snapshot, name));
        Self(mine.filter_map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?))).collect())
    }
}

fn matters(snapshot: &Snapshot, name: &str) -> bool {
    snapshot.sources.headers().chain(JUDGED).any(|known| known.eq_ignore_ascii_case(name))
}

impl Headers for Few {
    fn get(&self, name: &str) -> Values<'_> {
        let mut found = self.0.iter().filter(|(known, _)| known.as_str() == name);
        match (found.next(), found.next()) {
            (None, _) => Values::None,
            (Some((_, value)), None) => Values::One(value.as_bytes()),
            (Some(_), Some(_)) => Values::Many,
        }
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Standing({})", self.id)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Head(…)")
    }
}

impl fmt::Debug for Few {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Few({} headers)", self.0.len())
    }
}
