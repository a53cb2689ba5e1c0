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
        let end = match bytes.first()? {
            b'[' => memchr::memchr(b']', bytes)? + 1,
            _ => memchr::memchr(b':', bytes).unwrap_or(bytes.len()),
        };
        let (name, port) = bytes.split_at_checked(end)?;
        port_is_plain(port).then_some(())?;
        let name = if let Some(inside) = name.strip_prefix(b"[") {
            str::from_utf8(inside.strip_suffix(b"]")?).ok()?.parse::<std::net::Ipv6Addr>().ok()?;
            name
        } else {
            let name = name.strip_suffix(b".").unwrap_or(name);
            labels_are_plain(name).then_some(())?;
            name
        };
        let name = str::from_utf8(name).ok()?;
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
fn port_is_plain(text: &[u8]) -> bool {
    match text.split_first() {
        None => true,
        Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    }
}

/// Labels of letters, digits, `-` and `_`, none of them empty.
fn labels_are_plain(name: &[u8]) -> bool {
    let mut at_label = false;
    for byte in name {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'A'..=b'Z' | b'_' => at_label = true,
            b'.' if at_label => at_label = false,
            _ => return false,
        }
    }
    at_label && name.len() <= MAX_HOST
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
