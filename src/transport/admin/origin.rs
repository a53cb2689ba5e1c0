//! Who can reach the door, and what a browser says of the page that asks, into whether that page may be one of our own.
//! Takes no other page's word, and no name for this machine that its own resolver would not give.

use std::net::IpAddr;

use axum::http::{Method, header};

use crate::config::Address;
use crate::request::{Headers, Values};

/// Who can reach the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever may open the socket; no browser can.
    Socket,
    /// Whoever is on this machine, pages in a browser too.
    Machine,
    Anybody,
}

impl Audience {
    pub fn of(address: Option<&Address>) -> Self {
        match address {
            None | Some(Address::Unix(_)) => Self::Socket,
            Some(address @ Address::Tcp(_)) if address.is_local() => Self::Machine,
            Some(Address::Tcp(_)) => Self::Anybody,
        }
    }

    /// Whether whoever asks is on this machine by that alone.
    pub fn is_local(self) -> bool {
        match self {
            Self::Socket | Self::Machine => true,
            Self::Anybody => false,
        }
    }

    /// Whether the request may come from another site's page (Fetch Metadata, RFC 6454 §7), or from one whose name was
    /// rebound to this machine. Only a writing request without any word of a browser comes from none: browsers send `Origin` with those.
    pub fn is_foreign<H: Headers>(self, method: &Method, headers: &H) -> bool {
        let host = headers.get(header::HOST.as_str());
        let (site, origin) = (headers.get("sec-fetch-site"), headers.get(header::ORIGIN.as_str()));
        let other_site = !matches!(site, Values::None | Values::One(b"same-origin" | b"none"));
        let other_origin = match origin {
            Values::None => false,
            Values::One(origin) => !is_own(origin, host),
            Values::Many => true,
        };
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let no_page = !reads && matches!((site, origin), (Values::None | Values::One(b"none"), Values::None));
        other_site || other_origin || (self == Self::Machine && !no_page && !is_this_machine(host))
    }
}

/// Whether an origin is where the request goes.
fn is_own(origin: &[u8], host: Values<'_>) -> bool {
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    matches!((authority, host), (Some(authority), Values::One(host)) if authority.eq_ignore_ascii_case(host))
}

/// Whether a browser can have got here by no resolver but its own (RFC 6761 §6.3).
fn is_this_machine(host: Values<'_>) -> bool {
    let Values::One(host) = host else { return false };
    let Ok(host) = str::from_utf8(host) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(audience: Audience, method: &Method, lines: &[(&str, &str)]) -> bool {
        let lines: Vec<(&str, &[u8])> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        audience.is_foreign(method, &&*lines)
    }

    #[test]
    fn a_page_whose_name_was_rebound_to_this_machine_is_no_page_of_ours() {
        for host in ["evil.test", "evil.test:9190", "127.0.0.1.evil.test", "localhost.evil.test:80", "10.0.0.1:9190", "", "localhost:x", "[::2]:1"] {
            assert!(foreign(Audience::Machine, &Method::GET, &[("host", host)]), "{host}");
            let origin = format!("http://{host}");
            assert!(foreign(Audience::Machine, &Method::POST, &[("host", host), ("origin", &origin)]), "{host}");
            assert!(foreign(Audience::Machine, &Method::POST, &[("host", host), ("sec-fetch-site", "same-origin")]), "{host}");
        }
        for host in ["localhost", "LOCALHOST:9190", "127.0.0.1", "127.0.0.1:9190", "127.3.2.1:1", "[::1]:9190", "[::1]"] {
            assert!(!foreign(Audience::Machine, &Method::GET, &[("host", host)]), "{host}");
        }
        assert!(foreign(Audience::Machine, &Method::GET, &[]));
        assert!(foreign(Audience::Machine, &Method::GET, &[("host", "localhost"), ("host", "evil.test")]));
        // Programs write as they always did, and no browser opens a socket.
        assert!(!foreign(Audience::Machine, &Method::POST, &[("host", "gate")]));
        assert!(!foreign(Audience::Socket, &Method::GET, &[("host", "gate")]));
        assert!(!foreign(Audience::Anybody, &Method::GET, &[("host", "gate.example")]));
    }

    #[test]
    fn another_sites_page_is_told_by_what_the_browser_says() {
        for audience in [Audience::Socket, Audience::Machine, Audience::Anybody] {
            let host = ("host", "localhost:9190");
            for own in ["http://localhost:9190", "https://localhost:9190"] {
                assert!(!foreign(audience, &Method::POST, &[host, ("origin", own)]), "{own}");
                assert!(!foreign(audience, &Method::POST, &[host, ("origin", own), ("sec-fetch-site", "same-origin")]), "{own}");
            }
            for other in ["null", "", "http://localhost", "http://localhost:3000", "http://evil.test", "localhost:9190", "ftp://localhost:9190"] {
                assert!(foreign(audience, &Method::POST, &[host, ("origin", other)]), "{other}");
                assert!(foreign(audience, &Method::POST, &[host, ("origin", other), ("sec-fetch-site", "same-origin")]), "{other}");
            }
            for site in ["cross-site", "same-site", "", "same-origin, none"] {
                assert!(foreign(audience, &Method::GET, &[host, ("sec-fetch-site", site)]), "{site}");
            }
            assert!(!foreign(audience, &Method::GET, &[host, ("sec-fetch-site", "none")]));
        }
    }
}
