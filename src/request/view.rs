//! The raw parts of a request, as a door holds them, into the one canonical [`RequestView`].
//! Borrows everything; reads no header that nobody asks for.

use std::fmt;
use std::net::IpAddr;

use super::path::{PathFault, split_target};
use super::{HostName, Method, NormalPath};
use crate::credential::certificate::Certificate;

/// What a header name was sent with. More than one value is never joined or picked from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Values<'a> {
    None,
    One(&'a [u8]),
    Many,
}

/// A door's own header storage. Names are asked for in lower case.
pub trait Headers {
    fn get(&self, name: &str) -> Values<'_>;
}

impl Headers for &[(&str, &[u8])] {
    fn get(&self, name: &str) -> Values<'_> {
        let mut found = self.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (None, _) => Values::None,
            (Some((_, value)), None) => Values::One(value),
            (Some(_), Some(_)) => Values::Many,
        }
    }
}

/// What a door knows of the connection that a request came over. The default is an ordinary request of an unknown peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link<'a> {
    /// RFC 6455 §4.1: the request opens a WebSocket.
    pub websocket: bool,
    /// Who the proxy in front says that the client's verified certificate names: a URI, a DNS name or a subject.
    pub principal: Option<&'a str>,
    pub certificate: Option<Shown<'a>>,
    /// Where the client is, as far as the proxies in front are believed; it decides nothing, and limits are counted by it.
    pub client: Option<IpAddr>,
}

/// A client's certificate, as the door has it.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// From the proxy that verified it: PEM, percent-encoded or not.
    Text(&'a [u8]),
    /// From the gate's own handshake, which verified it.
    Own(&'a Certificate),
}

/// The parts of a request before anything is believed of them.
#[derive(Clone, Copy)]
pub struct RawRequest<'a, H> {
    pub method: &'a [u8],
    /// Path and query, as on the request line.
    pub target: &'a [u8],
    /// `None` where the protocol lets a request have none (HTTP/1.0, a bare `CheckRequest`).
    pub host: Option<&'a [u8]>,
    pub headers: &'a H,
    pub link: Link<'a>,
}

/// How much of the body the door can show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// Still on the wire; the door can read it if the answer depends on it.
    Unread,
    Whole(&'a [u8]),
    /// Cut short, too long, or not to be had at this door.
    Partial,
}

/// One canonical reading of a request.
pub struct RequestView<'a, H> {
    pub method: Method<'a>,
    pub path: NormalPath<'a>,
    pub query: Option<&'a [u8]>,
    pub host: Option<HostName<'a>>,
    pub headers: &'a H,
    pub link: Link<'a>,
}

/// Why there is no canonical reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    Method,
    /// RFC 9110 §9.3.6: a tunnel has no path to decide on.
    Connect,
    Path(PathFault),
    Query,
    Host,
}

impl Malformed {
    /// For an operator, with what would be right.
    pub fn why(self) -> &'static str {
        match self {
            Self::Method => "the method is no token, such as `GET`",
            Self::Connect => "CONNECT asks for a tunnel, which has no path to decide on",
            Self::Path(fault) => fault.why(),
            Self::Query => "the query has a character that must be escaped: a control character, a space, `#` or one beyond ASCII",
            Self::Host => "the host is no name and no address, such as `api.example.com` or `10.0.0.1:8080`",
        }
    }
}

impl<'a, H: Headers> RequestView<'a, H> {
    pub fn read(raw: &RawRequest<'a, H>) -> Result<Self, Malformed> {
        let method = Method::parse(raw.method).ok_or(Malformed::Method)?;
        if method.as_str() == "CONNECT" {
            return Err(Malformed::Connect);
        }
        let (path, query) = split_target(raw.target);
        let path = NormalPath::parse(path).map_err(Malformed::Path)?;
        // RFC 3986 §3.4 has none of these raw, and servers differ on what they do with them.
        let is_plain = |byte: &u8| matches!(byte, 0x21..=0x7E) && !matches!(byte, b'"' | b'#' | b'<' | b'>');
        if query.is_some_and(|query| !query.iter().all(is_plain)) {
            return Err(Malformed::Query);
        }
        let host = match raw.host {
            None => None,
            Some(host) => Some(HostName::parse(host).ok_or(Malformed::Host)?),
        };
        Ok(Self { method, path, query, host, headers: raw.headers, link: raw.link })
    }
}

// Headers, queries and bodies carry credentials.

impl fmt::Debug for Values<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::None => "None",
            Self::One(_) => "One(…)",
            Self::Many => "Many",
        })
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread => out.write_str("Unread"),
            Self::Whole(bytes) => write!(out, "Whole({} bytes)", bytes.len()),
            Self::Partial => out.write_str("Partial"),
        }
    }
}

impl<H> fmt::Debug for RawRequest<'_, H> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RawRequest(…)")
    }
}

impl<H> fmt::Debug for RequestView<'_, H> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RequestView").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}
