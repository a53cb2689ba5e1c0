//! `Host` or `:authority` into a host name: lower case, without port and without one trailing dot.
//! Refuses whatever is not `name[:port]` or `[v6][:port]`; says nothing of whether a name resolves.

use std::borrow::Cow;

/// RFC 1035 §2.3.4 allows 255 octets on the wire, which is 253 characters.
const MAX_HOST: usize = 253;

/// A canonical host name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName<'a>(Cow<'a, str>);

impl<'a> HostName<'a> {
    /// `None` where the bytes are not one plain host.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let name = if text.starts_with('[') {
            let end = text.find(']')?;
            let (name, port) = text.split_at_checked(end + 1)?;
            port_is_plain(port).then_some(())?;
            let inside = name.get(1..end)?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            name
        } else {
            let (name, port) = text.split_at_checked(text.find(':').unwrap_or(text.len()))?;
            port_is_plain(port).then_some(())?;
            name.strip_suffix('.').unwrap_or(name)
        };
        (!name.is_empty() && name.len() <= MAX_HOST && labels_are_plain(name)).then_some(())?;
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Some(Self(Cow::Owned(name.to_ascii_lowercase())));
        }
        Some(Self(Cow::Borrowed(name)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Empty, or `:` and up to five digits (RFC 3986 §3.2.3 allows none).
fn port_is_plain(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some(digits) => digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn labels_are_plain(name: &str) -> bool {
    name.starts_with('[')
        || (name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            && name.split('.').all(|label| !label.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (raw, canonical) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:443", "example.com"),
            ("example.com:", "example.com"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(HostName::parse(raw.as_bytes()).map(|host| host.as_str().to_owned()).as_deref(), Some(canonical), "{raw}");
        }
    }

    #[test]
    fn odd_hosts_are_refused() {
        for raw in [
            "",
            ".",
            "a..b",
            ".a",
            "a..",
            "a.com,b.com",
            "u@a.com",
            "a/b",
            "a b",
            " a",
            "a\t",
            "a:80:80",
            "a:x",
            "a:123456",
            "[::1",
            "[zz]",
            "[::1]x",
            "::1",
            "caf\u{e9}.com",
            "a%2e",
            "a\\b",
            "a?b",
            "a#b",
        ] {
            assert_eq!(HostName::parse(raw.as_bytes()), None, "{raw:?}");
        }
        assert_eq!(HostName::parse(b"\xff"), None);
        assert_eq!(HostName::parse("a".repeat(254).as_bytes()), None);
    }
}
