//! The reverse proxy: decides on a request's head and streams it on, or answers the denial.
//! Forwards the path bytes that were decided; a request in doubt never reaches the upstream.

mod carry;
mod ending;
pub(super) mod flow;
mod forward;
mod frames;
mod given;
mod managed;
mod outgoing;
mod pace;
mod serve;
mod short;
mod standing;
mod strict;
mod tape;
mod tunnel;
pub(super) mod upstream;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{CONNECTION, COOKIE, HOST, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::Either;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Sharing};
use super::arrival::{About, Protocol};
use super::client::Client;
use super::connect::Tls;
use super::framing::{REFUSED, Refusal};
use super::leftover::Lent;
use super::worker::Shared;
use super::{address, bounds, headers};
use crate::config::settings::{Bounds, Upstream};
use crate::credential::{Caching, Place};
use crate::gate::{Door, Gate, Verdict};
use crate::live::Snapshot;
use crate::management::Api;
use crate::policy::{Decision, Outcome, Reason};
use crate::request::Body;
use crate::telemetry::DecisionId;
use crate::telemetry::span::Call;
use ending::{Lasting, Reply};
use flow::{Flow, Streamed};
use forward::{FORWARDED_FOR, Peer};
use pace::{Keeping, Pace, Paced};
pub use serve::serve;
use standing::{Few, Head, Standing};
use tunnel::Agreed;
use upstream::{Lease, Pool};

/// One worker's proxy.
#[derive(Debug)]
pub struct Proxy {
    gate: Arc<Gate>,
    trusted: Vec<IpNet>,
    bounds: Bounds,
    pool: Pool,
    /// Served here too, in front of the upstream.
    management: Option<Arc<Api>>,
    /// Upstream connections of the short way that nobody holds.
    idle: short::Idle,
    /// Cancelled when connections shall not be used for much longer.
    leaving: CancellationToken,
    /// Cancelled when tunnels shall end.
    parting: CancellationToken,
}

/// One client's connection, and the upstream connection that it keeps.
#[derive(Debug)]
pub struct Connection {
    proxy: Rc<Proxy>,
    peer: Peer,
    client: Option<Rc<Client>>,
    /// Whether requests share it, each a stream of its own.
    is_shared: bool,
    lease: Lease,
    /// Not redirected here, where only redirected connections have somewhere to go.
    astray: bool,
    /// A tunnel that was agreed on.
    agreed: RefCell<Option<Agreed>>,
}

/// The answer to a request that goes no further.
type Refused = Box<Response<Flow>>;

/// A request that was let through, ready to be sent.
struct Passed {
    parts: http::request::Parts,
    body: Flow,
    keeping: Rc<Keeping>,
    onward: Onward,
    /// To be looked at again where the answer lasts.
    standing: Standing,
}

/// What the answer is given on its way back.
#[derive(Default)]
struct Onward {
    /// For browsers.
    sharing: Sharing,
    /// For shared caches, and the place whose credential it is; `None` where they know.
    place: Option<Place>,
    /// Where traces are on, of the request on its way to the upstream.
    call: Option<Call>,
}

impl Proxy {
    pub fn new(shared: &Shared, upstream: Upstream) -> Self {
        let tls = upstream.target.host().and_then(|host| Tls::current(Arc::clone(&shared.gate), host));
        Self {
            gate: Arc::clone(&shared.gate),
            trusted: shared.settings.trusted_proxies.clone(),
            bounds: shared.settings.bounds.clone(),
            pool: Pool::new(upstream, tls),
            management: shared.management.clone(),
            idle: short::Idle::default(),
            leaving: shared.leaving.clone(),
            parting: shared.parting.clone(),
        }
    }

    /// The management API, where a request is for it.
    fn management(&self, target: &str) -> Option<&Api> {
        self.management.as_deref().filter(|api| api.owns(target.as_bytes()))
    }

    fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|peer| self.trusted.iter().any(|network| network.contains(&peer)))
    }
}

impl Connection {
    pub fn new(proxy: Rc<Proxy>, about: About, protocol: Protocol) -> Self {
        let lease = proxy.pool.lease(about.destination, protocol == Protocol::Http2);
        let astray = proxy.pool.is_original() && about.destination.is_none();
        let peer = Peer::new(&about, !about.unknown && proxy.trusts(about.peer));
        let is_shared = protocol == Protocol::Http2;
        Self { proxy, peer, client: about.client, is_shared, lease, astray, agreed: RefCell::default() }
    }

    pub async fn answer(&self, request: Request<Lent>, refusal: &Refusal) -> Response<Reply> {
        let is_upgrade = tunnel::is_asked(request.method(), request.version(), request.headers());
        let is_grpc = answer::is_grpc(request.version(), request.headers());
        let is_last = request.version() != Version::HTTP_2 && self.proxy.leaving.is_cancelled();
        let (mut response, lasting) = self.exchange(request, refusal).await;
        if is_grpc {
            response = answer::as_grpc(response).await;
        }
        if (is_upgrade || is_last) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // What follows an upgrade may be no HTTP, and is never read as such.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match lasting {
            Some(lasting) => ending::watched(response, lasting, &self.proxy.gate),
            None => response.map(Either::Left),
        }
    }

    /// The answer, and what the client's side of it stands on.
    async fn exchange(&self, request: Request<Lent>, refusal: &Refusal) -> (Response<Flow>, Option<Lasting>) {
        let gate = &self.proxy.gate;
        if let (Some(reason), REFUSED) = (refusal.get(), request.method().as_str()) {
            gate.telemetry.metrics.refused(bounds::named(reason).unwrap_or(reason.as_str()));
            return (refused(gate, reason), None);
        }
        if self.astray {
            return (refused(gate, Reason::NoDestination), None);
        }
        let passed = match self.decide(request).await {
            Ok(passed) => passed,
            Err(response) => return (*response, None),
        };
        let Passed { parts, body, keeping, mut onward, standing } = passed;
        let is_grpc = answer::is_grpc_type(&parts.headers);
        let started = Instant::now();
        let mut standing = Some(standing);
        let answered = match standing.take_if(|standing| standing.head.websocket) {
            Some(standing) => self.upgrade(parts, standing).await,
            None => self.send(Request::from_parts(parts, body)).await,
        };
        gate.telemetry.metrics.upstream.observe(started.elapsed());
        let answered = answered.map_err(|reason| if keeping.is_broken() { Reason::RequestTimeout } else { reason });
        if let Some(call) = onward.call.take() {
            call.ended(answered.as_ref().map(|response| response.status().as_u16()).map_err(|reason| *reason));
        }
        let mut response = answered.unwrap_or_else(|reason| {
            // Not a decision: the request was allowed, and the upstream did not answer.
            answer::denied(&reason.into(), DecisionId::next()).map(Either::Right)
        });
        if keeping.is_broken() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if is_grpc {
            // Calls in both directions say when they have something to say.
            keeping.release();
        }
        answer::share(response.headers_mut(), &onward.sharing);
        answer::cache(response.headers_mut(), onward.caching());
        (response, standing.map(|standing| (standing, keeping)))
    }

    async fn send(&self, request: Request<Flow>) -> Result<Response<Flow>, Reason> {
        let mut response = self.proxy.pool.send(&self.lease, request).await?;
        forward::clean_response(response.headers_mut());
        Ok(response.map(|body| Either::Left(body.into())))
    }

    async fn decide(&self, request: Request<Lent>) -> Result<Passed, Refused> {
        let gate = &self.proxy.gate;
        let (mut parts, body) = request.into_parts();
        let bounds = &self.proxy.bounds;
        let body = Streamed::new(body, parts.version, &parts.headers);
        let (body, keeping) = Paced::new(body, Pace { idle: bounds.body_idle, rate: bounds.body_rate }, gate);
        // Before the headers that ask for it go: they end at this hop.
        let prepared = tunnel::websocket(&mut parts).and_then(|websocket| {
            if parts.version == Version::HTTP_2 {
                strict::check(&parts, bounds)?;
                as_http1(&mut parts)?;
            }
            if headers::takes_trailers(&parts.headers) {
                parts.extensions.insert(headers::Trailers);
            }
            headers::remove_hop_by_hop(&mut parts.headers)?;
            Ok((websocket, host(&parts)?.map(<[u8]>::to_vec)))
        });
        let (websocket, host) = match prepared {
            Ok(prepared) => prepared,
            Err(reason) => {
                bounds::named(reason).into_iter().for_each(|bound| gate.telemetry.metrics.refused(bound));
                return Err(Box::new(refused(gate, reason)));
            }
        };
        let target = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str).to_owned();
        let head = Head { method: parts.method.clone(), target, host, websocket, client: self.client.clone(), address: self.address(&parts.headers) };
        if let Some(api) = self.proxy.management(&head.target) {
            return Err(Box::new(managed::answer(api, (&head, parts), (body, &keeping), gate).await));
        }
        let guard = gate.live.current();
        let limit = {
            let verdict = self.ask(guard.as_deref(), (&head, &parts.headers), Body::Unread).await;
            let Outcome::Inspect { limit } = verdict.decision.outcome else {
                let headers = Few::of(guard.as_deref(), &verdict, (&parts.headers, websocket));
                let onward = self.finish(guard.as_deref(), &verdict, &mut parts)?;
                let standing = Standing { id: verdict.id, head, headers, body: None };
                return Ok(Passed { parts, body: Either::Left(body), keeping, onward, standing });
            };
            limit
        };
        // The body takes its time, and one snapshot serves the request to its end.
        let snapshot = arc_swap::Guard::into_inner(guard);
        let begun = body.begin(limit).await;
        if keeping.is_broken() {
            let mut response = refused(gate, Reason::RequestTimeout);
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Err(Box::new(response));
        }
        let verdict = self.ask(snapshot.as_deref(), (&head, &parts.headers), begun.shown()).await;
        let headers = Few::of(snapshot.as_deref(), &verdict, (&parts.headers, websocket));
        let onward = self.finish(snapshot.as_deref(), &verdict, &mut parts)?;
        // Whatever was decided, half a body is not sent as a whole one.
        let (body, held) = begun.onward().ok_or_else(|| Box::new(refused(gate, Reason::PartialBody)))?;
        let standing = Standing { id: verdict.id, head, headers, body: held };
        Ok(Passed { parts, body, keeping, onward, standing })
    }

    /// Where the client is, behind the proxies that are trusted.
    fn address(&self, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.peer.trusted {
            return self.peer.ip;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        address::client(self.peer.ip, &self.proxy.trusted, lines)
    }

    async fn ask<'s>(&self, snapshot: Option<&'s Snapshot>, (head, headers): (&Head, &HeaderMap), body: Body<'_>) -> Verdict<'s> {
        self.proxy.gate.decide(Door::Proxy, snapshot, &head.raw(headers, snapshot), (body, "")).await
    }

    /// Makes the head ready to be forwarded and tells what goes back with the answer, or gives the answer.
    fn finish(&self, snapshot: Option<&Snapshot>, verdict: &Verdict<'_>, parts: &mut http::request::Parts) -> Result<Onward, Refused> {
        let Verdict { decision, id, .. } = verdict;
        let denial = match (&decision.outcome, snapshot) {
            (Outcome::Allow(_), Some(snapshot)) => {
                let target = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
                let server = self.proxy.pool.upstream().target.server(self.lease.destination);
                let call = Call::begin(&self.proxy.gate.telemetry, verdict, (parts.method.as_str(), target, &server));
                match forward::prepare(parts, (snapshot, verdict, call.as_ref().map(Call::context)), &self.peer) {
                    Ok(()) => return Ok(Onward { call, ..Onward::of(decision) }),
                    Err(reason) => reason.into(),
                }
            }
            (Outcome::Preflight(preflight), _) => {
                return Err(Box::new(answer::preflight(preflight, &decision.share, *id).map(Either::Right)));
            }
            (Outcome::Deny(denial), _) => denial.clone(),
            (Outcome::Inspect { .. } | Outcome::Wait(_) | Outcome::Allow(_), _) => Reason::PartialBody.into(),
        };
        let mut response = answer::denied(&denial, *id);
        answer::share(response.headers_mut(), &answer::sharing(&decision.share));
        Err(Box::new(response.map(Either::Right)))
    }
}

impl Onward {
    fn of(decision: &Decision<'_>) -> Self {
        let sharing = if decision.owns_cors() { answer::sharing(&decision.share) } else { Sharing::new() };
        let place = decision.caller.as_ref().and_then(|caller| caller.place).filter(|place| place.caching() != Caching::Known);
        Self { sharing, place: place.cloned(), call: None }
    }

    fn caching(&self) -> Caching<'_> {
        self.place.as_ref().map_or(Caching::Known, Place::caching)
    }
}

fn refused(gate: &Gate, reason: Reason) -> Response<Flow> {
    answer::denied(&reason.into(), gate.refuse(Door::Proxy, reason).id).map(Either::Right)
}

/// The fields that HTTP/2 writes in another way (RFC 9113 §8.2.3, §8.3.1).
fn as_http1(parts: &mut http::request::Parts) -> Result<(), Reason> {
    if let (Some(authority), false) = (parts.uri.authority(), parts.headers.contains_key(HOST)) {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Reason::AmbiguousHost)?;
        parts.headers.insert(HOST, host);
    }
    let crumbs: Vec<&[u8]> = parts.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1 {
        let whole = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).map_err(|_| Reason::AmbiguousHeader)?;
        parts.headers.insert(COOKIE, whole);
    }
    Ok(())
}

/// The host of a request; the authority of an absolute target must say the same (RFC 9112 §3.2.2), and be one of HTTP.
fn host(parts: &http::request::Parts) -> Result<Option<&[u8]>, Reason> {
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(Reason::AmbiguousHost);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Reason::AmbiguousHost);
    }
    match (parts.uri.authority(), host) {
        (Some(authority), Some(host)) if authority.as_str().as_bytes().eq_ignore_ascii_case(host) => Ok(Some(host)),
        (Some(_), _) => Err(Reason::AmbiguousHost),
        (None, host) => Ok(host),
    }
}
