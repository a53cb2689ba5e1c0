//! Envoy's external authorization over gRPC: a `CheckRequest` into a question, the verdict into a `CheckResponse`.
//! A decision is always gRPC OK: any other status is an error to Envoy, which some configurations let through.

mod metadata;

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::address;
use super::answer::bytes as answer_bytes;
use super::bounds;
use super::headers::opens_websocket;
use super::listener::Stream;
use crate::credential::Caching;
use crate::credential::hide::Hidden;
use crate::gate::{Door, Gate, Verdict};
use crate::identity::{FIXED, REMOVED};
use crate::live::Snapshot;
use crate::policy::cors::Preflight;
use crate::policy::{Denial, Outcome, Reason};
use crate::principal::Caller;
use crate::proto::attribute_context::HttpRequest;
use crate::proto::authorization_server::{Authorization, AuthorizationServer};
use crate::proto::check_response::HttpResponse;
use crate::proto::{
    self, AttributeContext, BoolValue, CheckRequest, CheckResponse, DeniedHttpResponse, Entry, HeaderValue, HeaderValueOption, HttpStatus,
    OkHttpResponse,
};
use crate::request::path::{NormalPath, split_target};
use crate::request::{Body, Headers, Link, RawRequest, Shown, Values};

/// `envoy.config.core.v3.HeaderValueOption.HeaderAppendAction`.
const OVERWRITE_IF_EXISTS_OR_ADD: i32 = 2;
const APPEND_IF_EXISTS_OR_ADD: i32 = 0;
const ADD_IF_ABSENT: i32 = 1;
/// The service that Envoy's health checker may name.
const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// `grpc.health.v1`, tied to whether a snapshot is loaded.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    server: HealthServer<HealthService>,
}

impl Default for Health {
    fn default() -> Self {
        let reporter = HealthReporter::new();
        let server = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        Self { reporter, server }
    }
}

impl Health {
    pub async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status("", status).await;
        self.reporter.set_service_status(SERVICE, status).await;
    }
}

/// Serves every connection that comes in, and drains once no more can come: whoever was accepted before is served.
pub async fn serve((gate, trusted): (Arc<Gate>, Vec<IpNet>), health: Health, incoming: UnboundedReceiver<Stream>) {
    let check = AuthorizationServer::new(Check { gate, trusted }).max_decoding_message_size(bounds::GRPC_MESSAGE);
    let incoming = UnboundedReceiverStream::new(incoming).map(|stream| Ok::<_, io::Error>(Gathered(stream)));
    let served = Server::builder()
        .max_concurrent_streams(Some(bounds::GRPC_STREAMS))
        // A proxy whose clients go away gives up all its checks at once, and the others' must not end with them.
        .http2_max_pending_accept_reset_streams(usize::try_from(bounds::GRPC_STREAMS).ok())
        .http2_max_local_error_reset_streams(Some(bounds::LOCAL_RESETS))
        .http2_keepalive_interval(Some(bounds::PING_INTERVAL))
        .http2_keepalive_timeout(Some(bounds::PING_TIMEOUT))
        .http2_max_header_list_size(Some(16 * 1024))
        .add_service(check)
        .add_service(health.server)
        // Without a signal, which would throw away what waits in `incoming`; with one, it says GOAWAY at the end of that.
        .serve_with_incoming_shutdown(incoming, std::future::pending())
        .await;
    if let Err(error) = served {
        tracing::error!("the ext_authz door ended: {error}");
    }
}

/// A connection that does not offer to write several pieces at once. To one that does, h2 sends every message of 256 bytes
/// and more by a call of its own, which ours have; to this one only those of over 1,024 bytes, and the answers to what
/// came in together go out together.
struct Gathered(Stream);

impl AsyncRead for Gathered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Connected for Gathered {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

#[derive(Debug)]
struct Check {
    gate: Arc<Gate>,
    /// Whose account of clients is believed, beside Envoy's own.
    trusted: Vec<IpNet>,
}

#[tonic::async_trait]
impl Authorization for Check {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let span = request.metadata().get("traceparent").map(|value| value.as_ref());
        Ok(Response::new(check(&self.gate, &self.trusted, (request.get_ref(), span)).await))
    }
}

/// The answer to one check; `span` is that of Envoy's call, in the form of `traceparent`.
pub async fn check(gate: &Gate, trusted: &[IpNet], (request, span): (&CheckRequest, Option<&[u8]>)) -> CheckResponse {
    let attributes = request.attributes.as_ref();
    let Some(http) = attributes.and_then(|attributes| attributes.request.as_ref()).and_then(|request| request.http.as_ref()) else {
        return respond(None, None, (&gate.refuse(Door::ExtAuthz, Reason::NoHttpAttributes), None));
    };
    let extra_scopes = match extra_scopes(attributes.map_or(&[], |attributes| &attributes.context_extensions)) {
        Ok(scopes) => scopes,
        Err(reason) => return respond(None, None, (&gate.refuse(Door::ExtAuthz, reason), None)),
    };
    let headers = CheckHeaders { http, span };
    let link = match link(attributes, http, &headers) {
        Ok(link) => Link { client: client(attributes, trusted, &headers), ..link },
        Err(reason) => return respond(None, None, (&gate.refuse(Door::ExtAuthz, reason), None)),
    };
    let host = (!http.host.is_empty()).then_some(&*http.host);
    let raw = RawRequest { method: &http.method, target: &http.path, host, headers: &headers, link };
    let guard = gate.live.current();
    let snapshot = guard.as_deref();
    let verdict = gate.decide(Door::ExtAuthz, snapshot, &raw, (body(http, &headers), extra_scopes)).await;
    respond(snapshot, Some(http), (&verdict, link.client))
}

/// Who Envoy says the client's certificate names, over its own connection to the gate; a client's header cannot say it.
fn link<'a>(attributes: Option<&'a AttributeContext>, http: &HttpRequest, headers: &CheckHeaders<'a>) -> Result<Link<'a>, Reason> {
    let source = attributes.and_then(|attributes| attributes.source.as_ref());
    let principal = source.map(|source| &source.principal).filter(|principal| !principal.is_empty());
    let principal = principal.map(|principal| str::from_utf8(principal)).transpose().map_err(|_| Reason::AmbiguousHeader)?;
    let certificate = source.map(|source| &*source.certificate).filter(|certificate| !certificate.is_empty()).map(Shown::Text);
    let keyless = !http.protocol.is_empty() && !http.protocol.starts_with(b"HTTP/1");
    Ok(Link { websocket: opens_websocket(&http.method, headers, keyless)?, principal, certificate, client: None })
}

/// Envoy's own peer, and behind that what a trusted proxy told Envoy. Where Envoy does not say who called it, nobody's account counts.
fn client(attributes: Option<&AttributeContext>, trusted: &[IpNet], headers: &CheckHeaders<'_>) -> Option<IpAddr> {
    let address = attributes?.source.as_ref()?.address.as_ref()?;
    let peer = match (&address.socket_address, &address.pipe) {
        (Some(socket), None) => Some(str::from_utf8(&socket.address).ok()?.parse().ok()?),
        (None, Some(_)) => None,
        (None, None) | (Some(_), Some(_)) => return None,
    };
    let lines: Vec<&[u8]> = headers.each().filter(|(name, _)| name.eq_ignore_ascii_case(b"x-forwarded-for")).map(|(_, value)| value).collect();
    address::client(peer, trusted, lines.into_iter())
}

/// `scopegate.scopes` of the route's `context_extensions`.
fn extra_scopes(entries: &[Entry]) -> Result<&str, Reason> {
    let mut found = entries.iter().filter(|entry| entry.key == *b"scopegate.scopes".as_slice());
    match (found.next(), found.next()) {
        (None, _) => Ok(""),
        (Some(entry), None) => str::from_utf8(&entry.value).map_err(|_| Reason::AmbiguousHeader),
        (Some(_), Some(_)) => Err(Reason::AmbiguousHeader),
    }
}

/// The headers of a check, in whichever of the two encodings they came.
struct CheckHeaders<'a> {
    http: &'a HttpRequest,
    /// Stands for the client's `traceparent`, which it is the next span of, or which Envoy did not believe.
    span: Option<&'a [u8]>,
}

impl<'a> CheckHeaders<'a> {
    fn each(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let raw = self.http.header_map.as_ref().map_or(&[][..], |map| &map.headers);
        let plain = if raw.is_empty() { &self.http.headers[..] } else { &[] };
        raw.iter()
            .map(|header| (&*header.key, if header.raw_value.is_empty() { &*header.value } else { &*header.raw_value }))
            .chain(plain.iter().map(|entry| (&*entry.key, &*entry.value)))
    }
}

impl Headers for CheckHeaders<'_> {
    fn get(&self, name: &str) -> Values<'_> {
        if let (Some(span), "traceparent") = (self.span, name) {
            return Values::One(span);
        }
        let mut found = self.each().filter(|(key, _)| key.len() == name.len() && key.eq_ignore_ascii_case(name.as_bytes()));
        match (found.next(), found.next()) {
            (None, _) => Values::None,
            (Some((_, value)), None) => Values::One(value),
            (Some(_), Some(_)) => Values::Many,
        }
    }
}

/// What Envoy buffered. A length that says otherwise, or Envoy's own word, makes it partial.
fn body<'a>(http: &'a HttpRequest, headers: &CheckHeaders<'a>) -> Body<'a> {
    let body: &[u8] = if http.raw_body.is_empty() { &http.body } else { &http.raw_body };
    let said = match headers.get("content-length") {
        Values::None => body.len(),
        Values::One(text) => str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(usize::MAX),
        Values::Many => usize::MAX,
    };
    let cut = !matches!(headers.get("x-envoy-auth-partial-body"), Values::None | Values::One(b"false"));
    if cut || body.is_empty() || said != body.len() { Body::Partial } else { Body::Whole(body) }
}

fn respond(snapshot: Option<&Snapshot>, http: Option<&HttpRequest>, (verdict, client): (&Verdict<'_>, Option<IpAddr>)) -> CheckResponse {
    let (code, response) = match (&verdict.decision.outcome, snapshot, http) {
        (Outcome::Allow(_), Some(snapshot), Some(http)) => (0, HttpResponse::OkResponse(allowed(snapshot, http, verdict))),
        (Outcome::Deny(denial), ..) => denied(denial, verdict),
        (Outcome::Preflight(preflight), ..) => answered(preflight, verdict),
        // The body was at hand, so that the judge has no reason to ask for it; and an allow has a request and a snapshot.
        (Outcome::Inspect { .. } | Outcome::Wait(_) | Outcome::Allow(_), ..) => denied(&Reason::PartialBody.into(), verdict),
    };
    CheckResponse { status: Some(proto::Status { code }), http_response: Some(response), dynamic_metadata: Some(metadata::metadata(verdict, client)) }
}

fn denied(denial: &Denial, verdict: &Verdict<'_>) -> (i32, HttpResponse) {
    let answer = denial.answer();
    // google.rpc.Code; any but OK denies, and the HTTP status is the one inside.
    let code = match answer.status {
        401 => 16,
        429 => 8,
        503 => 14,
        _ => 7,
    };
    let mut headers = vec![
        set("content-type", Bytes::from_static(b"application/json")),
        set("cache-control", Bytes::from_static(b"no-store")),
        set("x-scopegate-reason", Bytes::from_static(answer.reason.as_bytes())),
        set("x-scopegate-decision", Bytes::copy_from_slice(&verdict.id.hex())),
    ];
    headers.extend(answer.challenge.map(|challenge| set("www-authenticate", answer_bytes(challenge))));
    headers.extend(answer.extra.into_iter().map(|(name, value)| set(name, answer_bytes(value))));
    headers.extend(shared(verdict));
    let status = Some(HttpStatus { code: i32::from(answer.status) });
    (code, HttpResponse::DeniedResponse(DeniedHttpResponse { status, headers, body: answer_bytes(answer.body) }))
}

/// 204 to a preflight: to Envoy a denial, since nothing goes on.
fn answered(preflight: &Preflight, verdict: &Verdict<'_>) -> (i32, HttpResponse) {
    let mut headers = vec![set("x-scopegate-decision", Bytes::copy_from_slice(&verdict.id.hex()))];
    headers.extend(shared(verdict));
    headers.extend(preflight.headers(&verdict.decision.share).into_iter().map(|(name, value)| set(name, Bytes::from(value))));
    (7, HttpResponse::DeniedResponse(DeniedHttpResponse { status: Some(HttpStatus { code: 204 }), headers, body: Bytes::new() }))
}

/// What keeps shared caches from handing one caller's answer to another.
fn cached(caller: &Caller<'_>) -> Vec<HeaderValueOption> {
    let control = |value: &'static str, append_action| HeaderValueOption {
        header: Some(HeaderValue { key: Bytes::from_static(b"cache-control"), value: Bytes::from_static(value.as_bytes()), raw_value: Bytes::new() }),
        append: None,
        append_action,
    };
    match caller.caching() {
        Caching::Known => Vec::new(),
        Caching::Private { vary } => vec![control("private", ADD_IF_ABSENT), varying(Bytes::copy_from_slice(vary.as_bytes()))],
        Caching::Never => vec![control("private, no-store", OVERWRITE_IF_EXISTS_OR_ADD)],
    }
}

fn varying(name: Bytes) -> HeaderValueOption {
    let header = HeaderValue { key: Bytes::from_static(b"vary"), value: name, raw_value: Bytes::new() };
    HeaderValueOption { header: Some(header), append: Some(BoolValue { value: true }), append_action: APPEND_IF_EXISTS_OR_ADD }
}

/// What tells a browser whether its page may read the answer.
fn shared(verdict: &Verdict<'_>) -> Vec<HeaderValueOption> {
    let share = &verdict.decision.share;
    let mut headers: Vec<_> = share.headers().map(|(name, value)| set(name, Bytes::copy_from_slice(value.as_bytes()))).collect();
    if share.varies() {
        headers.push(varying(Bytes::from_static(b"Origin")));
    }
    headers
}

fn allowed(snapshot: &Snapshot, http: &HttpRequest, verdict: &Verdict<'_>) -> OkHttpResponse {
    let caller = verdict.decision.caller.as_ref();
    let mut headers = Vec::with_capacity(8);
    let mut remove = Vec::with_capacity(24);
    for (index, (name, value)) in snapshot.told(caller).enumerate() {
        let (dashed, underscored) = match (FIXED.get(index), UNDERSCORED.get(index)) {
            (Some(dashed), Some(underscored)) => (Bytes::from_static(dashed.as_bytes()), Bytes::from_static(underscored.as_bytes())),
            _ => (Bytes::copy_from_slice(name.as_bytes()), Bytes::from(name.replace('-', "_"))),
        };
        if underscored != dashed {
            remove.push(underscored);
        }
        match value {
            Some(value) => headers.push(set_bytes(dashed, Bytes::copy_from_slice(value.as_bytes()))),
            None => remove.push(dashed),
        }
    }
    remove.extend(REMOVED.iter().map(|name| Bytes::from_static(name.as_bytes())));
    let sent = CheckHeaders { http, span: None };
    let (path, query) = split_target(&http.path);
    let hidden = Hidden::of(verdict.hidden(snapshot), &sent, query.filter(|_| verdict.query));
    remove.extend(hidden.headers.iter().map(|name| Bytes::copy_from_slice(name.as_bytes())));
    for (name, value) in sent.each() {
        // Whatever other spelling the client thought of.
        if let Ok(name) = str::from_utf8(name)
            && (hidden.has(name) || snapshot.identity.owns(name, value, caller))
            && !headers.iter().any(|set| set.header.as_ref().is_some_and(|header| header.key.eq_ignore_ascii_case(name.as_bytes())))
            && !remove.iter().any(|known| known.eq_ignore_ascii_case(name.as_bytes()))
        {
            remove.push(Bytes::copy_from_slice(name.as_bytes()));
        }
    }
    match hidden.cookie {
        None => {}
        Some(None) => remove.push(Bytes::from_static(b"cookie")),
        Some(Some(left)) => headers.push(set("cookie", Bytes::from(left))),
    }
    // What was decided is what goes on: the canonical path takes the place of the one that came, and credentials leave the query.
    if let Ok(normal) = NormalPath::parse(path)
        && (normal.canonical().as_bytes() != path || hidden.query.is_some())
    {
        let mut target = normal.canonical().as_bytes().to_vec();
        match &hidden.query {
            None => target.extend_from_slice(http.path.get(path.len()..).unwrap_or_default()),
            Some(None) => {}
            Some(Some(left)) => {
                target.push(b'?');
                target.extend_from_slice(left.as_bytes());
            }
        }
        headers.push(set(":path", Bytes::from(target)));
    }
    let mut response_headers_to_add = caller.map(cached).unwrap_or_default();
    if verdict.decision.owns_cors() {
        response_headers_to_add.extend(shared(verdict));
    }
    OkHttpResponse { headers, headers_to_remove: remove, response_headers_to_add }
}

const UNDERSCORED: [&str; 5] = ["x_scopegate_id", "x_scopegate_credential", "x_scopegate_scopes", "x_scopegate_tenant", "x_scopegate_roles"];

fn set(name: &'static str, value: Bytes) -> HeaderValueOption {
    set_bytes(Bytes::from_static(name.as_bytes()), value)
}

/// Overwrites on every version of Envoy: 1.40 obeys `append` alone, later ones `append_action`.
fn set_bytes(key: Bytes, value: Bytes) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key, value, raw_value: Bytes::new() }),
        append: Some(BoolValue { value: false }),
        append_action: OVERWRITE_IF_EXISTS_OR_ADD,
    }
}
