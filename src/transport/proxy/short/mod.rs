//! The short way of an ordinary request: one task takes its head to the upstream, and the bytes of the answer back.
//! Decides nothing by itself, and takes no body, upgrade or expectation: those go the long way, with all that was read.

mod answer;
mod client;
mod clock;
mod head;
mod relay;
mod request;
mod response;
mod straight;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio_util::sync::CancellationToken;

use super::standing::{Few, Head as Asked, Lost, Standing, link};
use super::{Connection, Onward};
use crate::config::settings::Target;
use crate::gate::Door;
use crate::policy::{Outcome, Reason};
use crate::request::{Body, Link, RawRequest};
use crate::telemetry::DecisionId;
use crate::telemetry::span::Call;
use crate::transport::answer as own;
use crate::transport::arrival::Arrival;
use crate::transport::pulse::Overrun;
use answer::Answer;
use client::Client;
use head::Head;
use relay::{Until, relay};
pub use straight::Idle;
use straight::Straight;

/// What a client's connection keeps for the head of its next answer.
const KEPT: usize = 1024;

/// What becomes of the connection after a request.
enum Next {
    Again,
    Close,
    Long,
}

/// A request that was decided on: `out` has the head for the upstream, or a whole answer for the client.
enum Decided {
    Passed(Onward, DecisionId),
    Answered,
}

/// One connection's means.
struct Way<'c> {
    connection: &'c Connection,
    authority: &'c str,
    client: Client,
    upstream: Option<Straight>,
    out: Vec<u8>,
}

/// Serves requests until the client goes, or asks for something that is the long way's: then the connection comes back with all that
/// was read and not answered.
pub async fn run(connection: &Connection, arrived: Arrival, drain: &CancellationToken) -> Option<Arrival> {
    let Target::Http(authority) = &connection.proxy.pool.upstream().target else { return Some(arrived) };
    let Arrival { stream, ahead, protocol, about } = arrived;
    let mut way = Way { connection, authority, client: Client::new(stream, ahead, &connection.proxy.bounds), upstream: None, out: Vec::new() };
    let mut fresh = true;
    let goes_on = loop {
        match way.client.head(connection.proxy.bounds.idle, (drain, std::mem::take(&mut fresh))).await {
            Ok(Some(length)) => match way.serve(length).await {
                Ok(Next::Again) => way.rest(),
                Ok(Next::Close) => break false,
                Ok(Next::Long) => break true,
                Err(error) => break late(connection, Overrun::Send, &error),
            },
            Ok(None) => break true,
            Err(error) => break late(connection, Overrun::Idle, &error),
        }
    };
    if let Some(upstream) = way.upstream {
        connection.proxy.idle.put_back(upstream);
    }
    if !goes_on {
        way.client.end().await;
    }
    goes_on.then(|| Arrival { stream: way.client.stream, ahead: way.client.inbox, protocol, about })
}

/// Counts what was not done in its time; the connection does not go on.
fn late(connection: &Connection, overrun: Overrun, error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::TimedOut {
        connection.proxy.gate.telemetry.metrics.refused(overrun.as_str());
    }
    false
}

impl Way<'_> {
    /// Between two requests: while there are many clients, none keeps an upstream connection or a large buffer to itself.
    fn rest(&mut self) {
        if !self.connection.lease.is_pinned()
            && let Some(upstream) = self.upstream.take()
        {
            self.connection.proxy.idle.put_back(upstream);
        }
        if self.client.inbox.is_empty() {
            self.client.inbox = BytesMut::new();
        }
        self.out.clear();
        self.out.shrink_to(KEPT);
    }

    /// `length` bytes of the client's inbox are the head of a request. `Err` where the client is gone, or must not be told more.
    async fn serve(&mut self, length: usize) -> io::Result<Next> {
        let mut inbox = std::mem::take(&mut self.client.inbox);
        let Some(head) = inbox.get(..length).and_then(|bytes| Head::read(bytes, self.connection.peer.trusted)) else {
            self.client.inbox = inbox;
            return Ok(Next::Long);
        };
        if self.connection.proxy.management(head.target).is_some() {
            self.client.inbox = inbox;
            return Ok(Next::Long);
        }
        let close = head.close || self.connection.proxy.leaving.is_cancelled();
        let served = match self.decide(&head, close).await {
            Decided::Answered => self.client.write(&self.out).await.map(|()| true),
            Decided::Passed(onward, id) => self.pass((&head, id), onward, close).await,
        };
        let goes_on = served?;
        // What came behind this request, before and after the answer.
        inbox.advance(length);
        if !self.client.inbox.is_empty() {
            inbox.extend_from_slice(&self.client.inbox);
        }
        self.client.inbox = inbox;
        Ok(if goes_on && !close { Next::Again } else { Next::Close })
    }

    async fn decide(&mut self, head: &Head<'_>, close: bool) -> Decided {
        let gate = &self.connection.proxy.gate;
        let (method, target, host) = (head.method.as_bytes(), head.target.as_bytes(), Some(head.host));
        let guard = gate.live.current();
        let snapshot = guard.as_deref();
        // A trusted peer's account of its client would have taken the long way.
        let link = Link { client: self.connection.peer.ip, ..link(self.connection.client.as_deref(), snapshot, false) };
        let raw = RawRequest { method, target, host, headers: &head.lines, link };
        // There is no body: where it would have to be inspected, there is nothing to see.
        let verdict = gate.decide(Door::Proxy, snapshot, &raw, (Body::Partial, "")).await;
        let decision = &verdict.decision;
        self.out.clear();
        let denial = match (&decision.outcome, snapshot) {
            (Outcome::Allow(_), Some(snapshot)) => {
                let call = Call::begin(&gate.telemetry, &verdict, (head.method, head.target, self.authority));
                let trace = call.as_ref().map(Call::context);
                match request::write(&mut self.out, head, (snapshot, &verdict, trace), &self.connection.peer) {
                    Ok(()) => return Decided::Passed(Onward { call, ..Onward::of(decision) }, verdict.id),
                    Err(reason) => reason.into(),
                }
            }
            (Outcome::Preflight(preflight), _) => {
                let answer = own::preflight(preflight, &decision.share, verdict.id);
                response::own(&mut self.out, answer, (head.method, close));
                return Decided::Answered;
            }
            (Outcome::Deny(denial), _) => denial.clone(),
            (Outcome::Inspect { .. } | Outcome::Wait(_) | Outcome::Allow(_), _) => Reason::PartialBody.into(),
        };
        let mut answer = own::denied(&denial, verdict.id);
        own::share(answer.headers_mut(), &own::sharing(&decision.share));
        response::own(&mut self.out, answer, (head.method, close));
        Decided::Answered
    }

    /// Takes the request in `out` to the upstream and the answer back. Whether the client's connection goes on.
    async fn pass(&mut self, (request, id): (&Head<'_>, DecisionId), mut onward: Onward, close: bool) -> io::Result<bool> {
        let method = request.method;
        let (started, call) = (Instant::now(), onward.call.take());
        let answered = self.ask(method).await?;
        self.connection.proxy.gate.telemetry.metrics.upstream.observe(started.elapsed());
        self.out.clear();
        let read = |upstream: &mut Straight, length: usize, out: &mut Vec<u8>| {
            let answer = Answer::read(upstream.inbox.get(..length)?, method)?;
            response::head(out, &answer, &onward, close);
            Some((answer.framing, answer.keep, answer.lasts(), answer.status))
        };
        let taken = match (answered, self.upstream.take()) {
            (Ok(length), Some(mut upstream)) => match read(&mut upstream, length, &mut self.out) {
                Some(answer) => {
                    upstream.consume(length);
                    Ok((upstream, answer))
                }
                None => Err(Reason::BadGateway),
            },
            (Ok(_), None) => Err(Reason::BadGateway),
            (Err(reason), _) => Err(reason),
        };
        if let Some(call) = call {
            call.ended(taken.as_ref().map(|(_, (.., status))| *status).map_err(|reason| *reason));
        }
        match taken {
            Ok((mut upstream, (framing, keep, lasts, _))) => {
                let mut until = Until(lasts.then(|| self.standing(request, id)));
                if let Some(why) = relay(&mut self.client, (&mut upstream, &mut until), framing, &mut self.out).await? {
                    self.connection.proxy.gate.telemetry.ended(Door::Proxy, id, why);
                    return Ok(false);
                }
                self.upstream = Some(upstream).filter(|upstream| keep && upstream.inbox.is_empty());
                Ok(true)
            }
            Err(reason) => {
                // Not a decision: the request was allowed, and the upstream did not answer.
                self.out.clear();
                let mut answer = own::denied(&reason.into(), DecisionId::next());
                own::share(answer.headers_mut(), &onward.sharing);
                own::cache(answer.headers_mut(), onward.caching());
                response::own(&mut self.out, answer, (method, close));
                self.client.write(&self.out).await?;
                Ok(true)
            }
        }
    }

    /// Ready once an answer that lasts may not go on.
    fn standing(&self, request: &Head<'_>, id: DecisionId) -> Lost {
        let (target, host, client) = (request.target.to_owned(), Some(request.host.to_vec()), self.connection.client.clone());
        let method = http::Method::from_bytes(request.method.as_bytes()).unwrap_or_default();
        let gate = Arc::clone(&self.connection.proxy.gate);
        let headers = gate.live.current().as_deref().map(|snapshot| Few::of_lines(snapshot, request.lines.iter())).unwrap_or_default();
        Box::pin(Standing { id, head: Asked { method, target, host, websocket: false, client, address: None }, headers, body: None }.lost(gate))
    }

    /// The length of the head of the upstream's answer. A kept connection that had gone stale is replaced once, where that can do no harm
    /// (RFC 9110 §9.2.2): there is no body to lose.
    async fn ask(&mut self, method: &str) -> io::Result<Result<usize, Reason>> {
        let limits = self.connection.proxy.pool.upstream();
        let repeatable = matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE");
        let mut kept = self.upstream.take().or_else(|| self.connection.proxy.idle.take());
        if let Some(idle) = &mut kept
            && idle.is_stale().await
        {
            kept = None;
        }
        loop {
            let (mut upstream, is_kept) = match kept.take() {
                Some(kept) => (kept, true),
                None => match self.client.watching(limits.connect_timeout, Straight::connect(self.authority, limits.connect_timeout)).await? {
                    None => return Ok(Err(Reason::GatewayTimeout)),
                    Some(Err(error)) => {
                        tracing::warn!("cannot connect to the upstream at {}: {error}", self.authority);
                        return Ok(Err(if error.kind() == io::ErrorKind::TimedOut { Reason::GatewayTimeout } else { Reason::BadGateway }));
                    }
                    Some(Ok(upstream)) => (upstream, false),
                },
            };
            match self.client.watching(limits.response_timeout, upstream.exchange(&self.out)).await? {
                None => return Ok(Err(Reason::GatewayTimeout)),
                Some(Ok(length)) => {
                    self.upstream = Some(upstream);
                    return Ok(Ok(length));
                }
                Some(Err(_)) if is_kept && repeatable && upstream.inbox.is_empty() => {}
                Some(Err(error)) => {
                    tracing::debug!("an exchange with the upstream broke off: {error}");
                    return Ok(Err(Reason::BadGateway));
                }
            }
        }
    }
}
