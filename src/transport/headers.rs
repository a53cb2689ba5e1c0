//! The headers of an HTTP message as the gate asks for them, and those that end at a hop.
//! Removes; adds nothing.

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, TE};

use crate::policy::Reason;
use crate::request::{Headers, Values};

impl Headers for HeaderMap {
    fn get(&self, name: &str) -> Values<'_> {
        let mut values = self.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Values::None,
            (Some(value), None) => Values::One(value.as_bytes()),
            (Some(_), Some(_)) => Values::Many,
        }
    }
}

/// Whether a list (RFC 9110 §5.6.1) names a token, compared without case.
pub fn lists(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// Marks a request whose client takes trailers. `TE` ends at a hop, and goes on anew where the next one has them (RFC 9110 §10.1.4).
#[derive(Clone, Copy, Debug)]
pub struct Trailers;

/// Whether `TE` says so.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|value| lists(value.as_bytes(), b"trailers"))
}

/// Whether a GET opens a WebSocket, as a proxy in front tells of it. A malformed handshake is refused (RFC 6455 §4.2.1); over HTTP/2 it
/// has no key (RFC 8441 §5), and the proxy makes an HTTP/1.1 upgrade of it.
pub fn opens_websocket(method: &[u8], headers: &impl Headers, keyless: bool) -> Result<bool, Reason> {
    let named = |name, token| match headers.get(name) {
        Values::None => Ok(false),
        Values::One(value) => Ok(lists(value, token)),
        Values::Many => Err(Reason::Handshake),
    };
    if method != b"GET" || !named("upgrade", b"websocket")? || !named("connection", b"upgrade")? {
        return Ok(false);
    }
    match headers.get("sec-websocket-key") {
        Values::One(key) if !key.is_empty() => Ok(true),
        Values::None if keyless => Ok(true),
        Values::One(_) | Values::None | Values::Many => Err(Reason::Handshake),
    }
}

/// What ends at the next hop whether or not `Connection` names it (RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // RFC 7540 §3.2: of an upgrade to HTTP/2, which is never made.
    "http2-settings",
    "expect",
];

pub fn ends_at_hop(name: &[u8]) -> bool {
    HOP_BY_HOP.iter().any(|known| known.len() == name.len() && known.as_bytes().eq_ignore_ascii_case(name))
}

/// Names that `Connection` must not take away: they say where a message goes and where it ends.
const NOT_NOMINATED: [&str; 4] = ["host", "content-length", "transfer-encoding", "forwarded"];

/// Removes what is for this hop only. Done before anything is decided, so that the gate sees what the upstream will see.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) -> Result<(), Reason> {
    let mut names: Vec<HeaderName> = headers.keys().filter(|name| ends_at_hop(name.as_str().as_bytes())).cloned().collect();
    if names.is_empty() {
        return Ok(());
    }
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()) {
            let name = HeaderName::from_bytes(token).map_err(|_| Reason::Framing)?;
            if name == HOST {
                return Err(Reason::AmbiguousHost);
            }
            if NOT_NOMINATED.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-") {
                return Err(Reason::AmbiguousHeader);
            }
            names.push(name);
        }
    }
    for name in names {
        headers.remove(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn named_and_known_hop_headers_go() {
        let mut headers = map(&[("connection", "close, X-Mine"), ("keep-alive", "1"), ("x-mine", "a"), ("te", "trailers"), ("accept", "b")]);
        remove_hop_by_hop(&mut headers).unwrap();
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn connection_cannot_name_what_routes_or_frames() {
        for (value, reason) in [
            ("host", Reason::AmbiguousHost),
            ("Content-Length", Reason::AmbiguousHeader),
            ("x-forwarded-for", Reason::AmbiguousHeader),
            ("a b", Reason::Framing),
        ] {
            assert_eq!(remove_hop_by_hop(&mut map(&[("connection", value)])), Err(reason), "{value}");
        }
    }
}
