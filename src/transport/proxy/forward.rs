//! The head of an allowed request into the head that the upstream gets, and the upstream's into the client's.
//! Client-set identity headers go first, the gate's own come last, so that nothing the client says can take them away.

use std::net::IpAddr;

use http::header::{COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Uri, Version};

use crate::credential::hide::Hidden;
use crate::gate::Verdict;
use crate::identity::{FIXED, PREFIX};
use crate::live::Snapshot;
use crate::policy::Reason;
use crate::request::path::{NormalPath, split_target};
use crate::request::spelling;
use crate::telemetry::trace::Context;
use crate::transport::arrival::About;
use crate::transport::headers;

pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// [`FIXED`], ready made.
const FIXED_NAMES: [HeaderName; 5] = [
    HeaderName::from_static(FIXED[0]),
    HeaderName::from_static(FIXED[1]),
    HeaderName::from_static(FIXED[2]),
    HeaderName::from_static(FIXED[3]),
    HeaderName::from_static(FIXED[4]),
];
/// RFC 9440 §2.4: who ends TLS lets nobody else say what certificate was shown.
const CERTIFICATES: [&str; 2] = ["client-cert", "client-cert-chain"];
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its address as text; `None` on a Unix socket.
    pub address: Option<HeaderValue>,
    /// Whether its own `X-Forwarded-*` are believed.
    pub trusted: bool,
    pub scheme: &'static str,
    /// `None` on a Unix socket, and where a proxy in front cannot say.
    pub ip: Option<IpAddr>,
}

impl Peer {
    pub fn new(about: &About, trusted: bool) -> Self {
        let address = about.peer.and_then(|address| HeaderValue::from_str(&address.to_string()).ok());
        let ip = about.peer.filter(|_| !about.unknown);
        Self { address, trusted, scheme: if about.secure { "https" } else { "http" }, ip }
    }

    /// Whether a header of this peer's is about its client and counts for nothing. A proxy that is believed writes dashes.
    pub fn is_mute_on(&self, name: &str) -> bool {
        (is_account(name) && !(self.trusted && spelling::is_plain(name)))
            || (self.is_secure() && CERTIFICATES.iter().any(|own| spelling::same(name, own)))
    }

    fn is_secure(&self) -> bool {
        self.scheme == "https"
    }
}

/// Whether a header is what a proxy in front says of its client.
pub fn is_account(name: &str) -> bool {
    spelling::starts(name, "x-forwarded-") || spelling::same(name, "forwarded") || spelling::same(name, "x-real-ip")
}

/// Makes `parts` what goes on.
pub fn prepare(
    parts: &mut http::request::Parts,
    (snapshot, verdict, trace): (&Snapshot, &Verdict<'_>, Option<Context>),
    peer: &Peer,
) -> Result<(), Reason> {
    let caller = verdict.decision.caller.as_ref();
    let (_, query) = split_target(parts.uri.path_and_query().map_or("", PathAndQuery::as_str).as_bytes());
    let hidden = Hidden::of(verdict.hidden(snapshot), &parts.headers, query.filter(|_| verdict.query));
    match &hidden.cookie {
        None => {}
        Some(None) => drop(parts.headers.remove(COOKIE)),
        Some(Some(left)) => {
            let left = HeaderValue::from_bytes(left).map_err(|_| Reason::AmbiguousHeader)?;
            parts.headers.insert(COOKIE, left);
        }
    }
    let owned: Vec<HeaderName> = {
        let owns = |(name, value): &(&HeaderName, &HeaderValue)| {
            let named = name.as_str();
            hidden.has(named) || peer.is_mute_on(named) || snapshot.identity.owns(named, value.as_bytes(), caller)
        };
        parts.headers.iter().filter(owns).map(|(name, _)| name.clone()).collect()
    };
    for name in owned {
        parts.headers.remove(name);
    }
    pin_target(parts, hidden.query)?;
    parts.version = Version::HTTP_11;
    forwarded(&mut parts.headers, peer);
    for (index, (name, value)) in snapshot.told(caller).enumerate() {
        let Some(value) = value else { continue };
        let name = FIXED_NAMES.get(index).cloned().map_or_else(|| HeaderName::from_bytes(name.as_bytes()), Ok);
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) else {
            // Names and values were made fit for a header when they were loaded; if not, the upstream must not be left guessing.
            return Err(Reason::NotReady);
        };
        parts.headers.insert(name, value);
    }
    if let Some(trace) = trace {
        let header = HeaderValue::from_str(&trace.header()).map_err(|_| Reason::NotReady)?;
        parts.headers.insert(TRACEPARENT, header);
        if trace.is_root() {
            parts.headers.remove(TRACESTATE);
        }
    }
    Ok(())
}

/// The canonical path in origin form: what was decided on is what goes on, with what is left of the query.
fn pin_target(parts: &mut http::request::Parts, left: Option<Option<String>>) -> Result<(), Reason> {
    let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let text = match pinned(target.as_bytes(), left)? {
        Some(text) => text,
        None if parts.uri.authority().is_none() => return Ok(()),
        None => target.to_owned(),
    };
    parts.uri = text.parse::<PathAndQuery>().map(Uri::from).map_err(|_| Reason::AmbiguousPath)?;
    Ok(())
}

/// A target in its canonical form, with what is `left` of its query where that changes; `None` where it goes on as it came.
pub fn pinned(target: &[u8], left: Option<Option<String>>) -> Result<Option<String>, Reason> {
    let (path, query) = split_target(target);
    // Only escapes have more than one form.
    if memchr::memchr(b'%', path).is_none() && left.is_none() {
        return Ok(None);
    }
    let normal = NormalPath::parse(path).map_err(|_| Reason::AmbiguousPath)?;
    if normal.canonical().as_bytes() == path && left.is_none() {
        return Ok(None);
    }
    let query = left.unwrap_or_else(|| query.map(|query| String::from_utf8_lossy(query).into_owned()));
    Ok(Some(match query {
        Some(query) => format!("{}?{query}", normal.canonical()),
        None => normal.canonical().to_owned(),
    }))
}

/// This hop, for a trusted proxy's account in the form of RFC 7239 §4: an IPv6 address in brackets, and whatever is no token in quotes.
fn element(headers: &HeaderMap, peer: &Peer) -> Option<String> {
    let quoted = |value: &str| {
        let plain = crate::request::method::is_token(value.as_bytes());
        if plain { value.to_owned() } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) }
    };
    let node = match peer.address.as_ref().map(HeaderValue::to_str) {
        None => "unknown".to_owned(),
        Some(address) => address.ok().map(|address| if address.contains(':') { format!("[{address}]") } else { address.to_owned() })?,
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map_or_else(String::new, |host| format!(";host={}", quoted(host)));
    Some(format!("for={}{host};proto={}", quoted(&node), peer.scheme))
}

/// A trusted proxy's account of the client goes on with the proxy added; anybody else's is replaced.
fn forwarded(headers: &mut HeaderMap, peer: &Peer) {
    let trusted = peer.trusted;
    if let Some(address) = &peer.address {
        let before = if trusted { joined(headers) } else { None };
        let list = before.and_then(|before| HeaderValue::from_str(&format!("{before}, {}", address.to_str().ok()?)).ok());
        headers.insert(FORWARDED_FOR, list.unwrap_or_else(|| address.clone()));
    }
    // Who gives no such account is given none: two that differ would be worse than one.
    let said: Vec<&[u8]> = headers.get_all(FORWARDED).iter().map(HeaderValue::as_bytes).collect();
    if let Some(own) = element(headers, peer).filter(|_| trusted && !said.is_empty()) {
        let list = [&said[..], &[own.as_bytes()]].concat().join(&b", "[..]);
        if let Ok(list) = HeaderValue::from_bytes(&list) {
            headers.insert(FORWARDED, list);
        }
    }
    if !trusted || !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(peer.scheme));
    }
    if !trusted || !headers.contains_key(FORWARDED_HOST) {
        match headers.get(HOST).cloned() {
            Some(host) => headers.insert(FORWARDED_HOST, host),
            None => headers.remove(FORWARDED_HOST),
        };
    }
}

fn joined(headers: &HeaderMap) -> Option<String> {
    let list: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    (!list.is_empty()).then(|| list.join(", "))
}

/// Takes from what comes behind a body whatever says how a message is framed, where it goes, who sends it or how it is to be treated
/// (RFC 9110 §6.5.1): an upstream may read a trailer as if it had stood in the head.
pub fn clean_trailers(trailers: &mut HeaderMap, snapshot: Option<&Snapshot>) {
    const HEAD_ONLY: [&str; 12] = [
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "content-range",
        "authorization",
        "cookie",
        "cache-control",
        "max-forwards",
        "range",
        "if-match",
        "if-none-match",
    ];
    let is_head_only = |name: &str, value: &[u8]| {
        HEAD_ONLY.iter().any(|own| spelling::same(name, own))
            || headers::ends_at_hop(name.as_bytes())
            || is_account(name)
            || snapshot.is_none_or(|snapshot| snapshot.identity.owns(name, value, None))
    };
    let out = trailers.iter().filter(|(name, value)| is_head_only(name.as_str(), value.as_bytes()));
    let out: Vec<HeaderName> = out.map(|(name, _)| name.clone()).collect();
    for name in out {
        trailers.remove(name);
    }
}

/// Takes from the upstream's answer what is for this hop, and what only the gate may say.
pub fn clean_response(headers: &mut HeaderMap) {
    if headers::remove_hop_by_hop(headers).is_err() {
        headers.remove(http::header::CONNECTION);
    }
    let own: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_client_only_a_trusted_proxy_tells_and_only_with_dashes() {
        let about = |secure| About { secure, ..About::default() };
        let (anybody, trusted, tls) = (Peer::new(&about(false), false), Peer::new(&about(false), true), Peer::new(&about(true), true));
        for name in ["X-Forwarded-For", "x-forwarded-anything", "x-real-ip", "Forwarded"] {
            assert!(anybody.is_mute_on(name) && !trusted.is_mute_on(name), "{name}");
        }
        for name in ["X_Forwarded_For", "X.Forwarded.For", "x-forwarded!proto", "x_real_ip", "X.Real-Ip"] {
            assert!(anybody.is_mute_on(name) && trusted.is_mute_on(name), "{name}");
        }
        for name in ["Client-Cert", "client_cert", "Client.Cert", "client-cert_chain", "client!cert~chain"] {
            assert!(tls.is_mute_on(name) && !trusted.is_mute_on(name), "{name}");
        }
        for name in ["x-forwarded", "forwarded-for", "x-real-ips", "client-certs", "accept"] {
            assert!(!anybody.is_mute_on(name) && !tls.is_mute_on(name), "{name}");
        }
    }

    #[test]
    fn this_hop_is_told_in_the_form_of_the_rfc() {
        for (address, secure, host, expected) in [
            (Some("192.0.2.1"), false, Some("a.test"), "for=192.0.2.1;host=a.test;proto=http"),
            (Some("2001:db8::1"), true, Some("a.test:8443"), r#"for="[2001:db8::1]";host="a.test:8443";proto=https"#),
            (Some("192.0.2.1"), false, Some(r#"a"\b"#), r#"for=192.0.2.1;host="a\"\\b";proto=http"#),
            (None, false, None, "for=unknown;proto=http"),
        ] {
            let about = About { peer: address.map(|address| address.parse().unwrap()), secure, ..About::default() };
            let headers = host.map(|host| (HOST, HeaderValue::from_static(host))).into_iter().collect();
            assert_eq!(element(&headers, &Peer::new(&about, true)).unwrap(), expected);
        }
    }
}
