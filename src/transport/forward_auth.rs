//! nginx, ingress-nginx, Traefik, Caddy and Envoy's HTTP mode: a sub-request that describes the real one, answered 200 or with the denial.
//! Reads its dialect's headers only, exactly one value each, and only from a trusted peer. Never redirects.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body as _;
use ipnet::IpNet;

use super::address;
use super::answer::{self, DECISION};
use super::framing::{REFUSED, Refusal};
use super::leftover::Lent;
use crate::credential::hide::Hidden;
use crate::gate::{Door, Gate, Verdict};
use crate::identity::REMOVED;
use crate::live::Snapshot;
use crate::policy::{Denial, Outcome, Reason};
use crate::request::host::HostName;
use crate::request::path::split_target;
use crate::request::{Body, Headers, Link, RawRequest, Values};

/// The target without its credentials, where it had some.
const TARGET: HeaderName = HeaderName::from_static("x-scopegate-target");
/// What would have been the reason of a denial, for the proxy's log.
const SHADOW: HeaderName = HeaderName::from_static("x-scopegate-shadow");

#[derive(Debug)]
pub struct ForwardAuth {
    pub gate: Arc<Gate>,
    pub trusted: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Envoy,
    Nginx,
    /// nginx as the Kubernetes controller of that name writes its configuration.
    IngressNginx,
    /// Traefik and Caddy describe a request in the same headers.
    Forwarded,
}

impl Dialect {
    /// Whether nginx's `auth_request` asks: it shows no body, and takes no statuses but 200, 401 and 403.
    fn is_nginx(self) -> bool {
        match self {
            Self::Nginx | Self::IngressNginx => true,
            Self::Envoy | Self::Forwarded => false,
        }
    }
}

/// The request that the sub-request speaks of.
struct Described<'a> {
    method: &'a [u8],
    target: &'a [u8],
    host: Option<&'a [u8]>,
    websocket: bool,
}

impl ForwardAuth {
    pub async fn answer(&self, request: Request<Lent>, peer: Option<IpAddr>, refusal: &Refusal) -> Response<Full<Bytes>> {
        if let (Some(reason), REFUSED) = (refusal.get(), request.method().as_str()) {
            self.gate.telemetry.metrics.refused(reason.as_str());
            return refused(&self.gate, reason, Dialect::Envoy);
        }
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let Some((dialect, inner)) = dialect(path) else {
            return not_found();
        };
        // A Unix socket is trusted by the permissions of its file.
        if peer.is_some_and(|peer| !self.trusted.iter().any(|network| network.contains(&peer))) {
            tracing::warn!(?peer, "a peer outside `trusted_proxies` asked at the forward-auth door");
            return refused(&self.gate, Reason::Forwarded, dialect);
        }
        let described = match describe(dialect, inner, &parts) {
            Ok(described) => described,
            Err(reason) => return refused(&self.gate, reason, dialect),
        };
        let accounts = parts.headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
        let client = address::client(peer, &self.trusted, accounts);
        let link = Link { websocket: described.websocket, client, ..Link::default() };
        let raw = RawRequest { method: described.method, target: described.target, host: described.host, headers: &parts.headers, link };
        let snapshot = arc_swap::Guard::into_inner(self.gate.live.current());
        let snapshot = snapshot.as_deref();
        let mut verdict = self.gate.decide(Door::ForwardAuth, snapshot, &raw, (Body::Unread, "")).await;
        if let Outcome::Inspect { limit } = verdict.decision.outcome {
            let read = read(dialect, &parts.headers, body, limit).await;
            let body = read.as_ref().map_or(Body::Partial, |bytes| Body::Whole(bytes));
            verdict = self.gate.decide(Door::ForwardAuth, snapshot, &raw, (body, "")).await;
        }
        match (&verdict.decision.outcome, snapshot) {
            (Outcome::Allow(_), Some(snapshot)) => allowed(dialect, snapshot, &verdict, &parts.headers, described.target),
            (Outcome::Deny(denial), _) => denied(dialect, denial, &verdict),
            (Outcome::Preflight(preflight), _) if dialect == Dialect::Envoy => answer::preflight(preflight, &verdict.decision.share, verdict.id),
            // To these proxies every 2xx is an allow: they answer preflights themselves, or a route says `preflight: pass`.
            (Outcome::Preflight(_), _) => denied(dialect, &Reason::NoCredential.into(), &verdict),
            (Outcome::Inspect { .. } | Outcome::Wait(_) | Outcome::Allow(_), _) => denied(dialect, &Reason::PartialBody.into(), &verdict),
        }
    }
}

/// The dialect that a path asks for, and what is left of the target behind it.
fn dialect(target: &str) -> Option<(Dialect, &str)> {
    let bare = target.split('?').next().unwrap_or_default();
    match bare {
        "/nginx" => Some((Dialect::Nginx, "")),
        "/traefik" | "/caddy" => Some((Dialect::Forwarded, "")),
        _ => {
            let envoy = target.strip_prefix("/envoy").filter(|inner| inner.starts_with('/'));
            let ingress = target.strip_prefix("/ingress-nginx/").filter(|host| !host.is_empty());
            envoy.map(|inner| (Dialect::Envoy, inner)).or_else(|| ingress.map(|host| (Dialect::IngressNginx, host)))
        }
    }
}

fn describe<'a>(dialect: Dialect, inner: &'a str, parts: &'a http::request::Parts) -> Result<Described<'a>, Reason> {
    let one = |name: &str| match Headers::get(&parts.headers, name) {
        Values::One(value) if !value.is_empty() => Ok(value),
        Values::One(_) | Values::None | Values::Many => Err(Reason::Forwarded),
    };
    let (method, target, host) = match dialect {
        Dialect::Envoy => (parts.method.as_str().as_bytes(), inner.as_bytes(), one("host")?),
        Dialect::Nginx => (one("x-original-method")?, one("x-original-uri")?, one("x-forwarded-host")?),
        Dialect::IngressNginx => {
            let (host, target) = original(one("x-original-url")?, inner).ok_or(Reason::Forwarded)?;
            (one("x-original-method")?, target, host)
        }
        Dialect::Forwarded => (one("x-forwarded-method")?, one("x-forwarded-uri")?, one("x-forwarded-host")?),
    };
    // `Upgrade` ends at the proxy in front; the handshake's key (RFC 6455 §4.1) goes on.
    let websocket = match Headers::get(&parts.headers, "sec-websocket-key") {
        Values::None => false,
        Values::One(_) if method == b"GET" => true,
        Values::One(_) | Values::Many => return Err(Reason::Handshake),
    };
    Ok(Described { method, target, host: Some(host), websocket })
}

/// Host and target of `X-Original-URL`, which the controller puts together from the client's `Host`, where they are those of `server`: nginx' `$host`.
/// nginx chooses a server by that, and a client that names two (RFC 9112 §3.2.2) would otherwise be judged as if it had asked the other.
fn original<'a>(url: &'a [u8], server: &str) -> Option<(&'a [u8], &'a [u8])> {
    let rest = url.strip_prefix(b"http://").or_else(|| url.strip_prefix(b"https://"))?;
    let (host, target) = rest.split_at_checked(memchr::memchr(b'/', rest)?)?;
    (HostName::parse(host)?.as_str() == server).then_some((host, target))
}

/// The body that the proxy passed along, where it passes one.
async fn read(dialect: Dialect, headers: &HeaderMap, body: Lent, limit: usize) -> Option<Bytes> {
    let cut = match Headers::get(headers, "x-envoy-auth-partial-body") {
        Values::None => false,
        Values::One(value) => value != b"false",
        Values::Many => true,
    };
    // nginx passes the client's Content-Length without the body unless told otherwise.
    if cut || dialect.is_nginx() || body.is_end_stream() {
        return None;
    }
    Limited::new(body, limit).collect().await.ok().map(http_body_util::Collected::to_bytes).filter(|bytes| !bytes.is_empty())
}

/// 200 with every identity header: a proxy that copies headers overwrites the client's only where there is one to copy.
fn allowed(dialect: Dialect, snapshot: &Snapshot, verdict: &Verdict<'_>, sent: &HeaderMap, target: &[u8]) -> Response<Full<Bytes>> {
    let caller = verdict.decision.caller.as_ref();
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(DECISION, answer::decision(verdict.id));
    if let Some(denial) = &verdict.decision.shadow {
        headers.insert(SHADOW, HeaderValue::from_static(denial.reason.as_str()));
    }
    let mut remove: Vec<String> = Vec::new();
    for (name, value) in snapshot.told(caller) {
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        if value.is_none() {
            remove.push(name.to_owned());
        }
        if name.contains('-') {
            remove.push(name.replace('-', "_"));
        }
        let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
        headers.insert(header, value.unwrap_or(HeaderValue::from_static("")));
    }
    let (path, query) = split_target(target);
    let hidden = Hidden::of(verdict.hidden(snapshot), sent, query.filter(|_| verdict.query));
    // For a proxy to copy: what is left of the cookies, and of the target, once the credentials are gone. Proxies that copy a header
    // take the client's own away where there is none to copy.
    let cookie = match (&hidden.cookie, Headers::get(sent, "cookie")) {
        (Some(left), _) => Some(left.as_deref().unwrap_or_default()),
        (None, Values::One(whole)) if snapshot.sources.reads_cookies() => Some(whole),
        (None, _) => None,
    };
    if let Some(left) = cookie {
        headers.insert(COOKIE, HeaderValue::from_bytes(left).unwrap_or(HeaderValue::from_static("")));
    }
    if let Some(left) = &hidden.query {
        let path = String::from_utf8_lossy(path);
        let target = left.as_ref().map_or_else(|| path.to_string(), |left| format!("{path}?{left}"));
        headers.insert(TARGET, HeaderValue::from_str(&target).unwrap_or(HeaderValue::from_static("/")));
    }
    if dialect == Dialect::Envoy {
        remove.extend(REMOVED.map(str::to_owned));
        let owned = |(name, value): &(&HeaderName, &HeaderValue)| {
            hidden.has(name.as_str()) || snapshot.identity.owns(name.as_str(), value.as_bytes(), caller)
        };
        // The decision's id and what speaks against it are for the proxy, not for the upstream, and a client's own are nobody's.
        let set = |name: &str| ![DECISION, SHADOW].iter().any(|own| own == name) && headers.get(name).is_some_and(|value| !value.is_empty());
        let spoofed = sent.iter().filter(owned).map(|(name, _)| name.as_str()).filter(|name| !set(name)).map(str::to_owned);
        let spoofed: Vec<String> = spoofed.collect();
        remove.extend(spoofed);
        remove.extend(hidden.headers.iter().map(|name| (*name).to_owned()));
        if hidden.cookie == Some(None) {
            remove.push("cookie".into());
        }
        if let Ok(list) = HeaderValue::from_str(&remove.join(",")) {
            headers.insert("x-envoy-auth-headers-to-remove", list);
        }
    }
    response
}

/// nginx turns every status but 401 and 403 into its own 500.
fn denied(dialect: Dialect, denial: &Denial, verdict: &Verdict<'_>) -> Response<Full<Bytes>> {
    let mut response = answer::denied(denial, verdict.id);
    if dialect.is_nginx() && response.status() != StatusCode::UNAUTHORIZED {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    answer::share(response.headers_mut(), &answer::sharing(&verdict.decision.share));
    response
}

fn refused(gate: &Gate, reason: Reason, dialect: Dialect) -> Response<Full<Bytes>> {
    let verdict = gate.refuse(Door::ForwardAuth, reason);
    denied(dialect, &reason.into(), &verdict)
}

fn not_found() -> Response<Full<Bytes>> {
    let body = r#"{"error":"not_found","message":"Known paths are /envoy/..., /nginx, /ingress-nginx/$host, /traefik and /caddy"}"#;
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
