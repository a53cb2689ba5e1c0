//! One named cookie out of a `Cookie` header, and the header without the cookies that carry credentials.
//! Picks no first or last one of several, and takes no quotes off.

use std::borrow::Cow;

use super::query::Found;

/// The cookie `name`, compared with case (RFC 6265 §4.2.1). White space around names and values is not part of them:
/// servers take it off, so that a name beside a space is the same name.
pub fn read<'a>(header: &'a [u8], name: &str) -> Found<'a> {
    let mut found = header.split(is_separator).map(split_pair).filter(|(raw, _)| *raw == name.as_bytes()).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (None, _) => Found::None,
        (Some(value), None) => value.filter(|value| is_plain(value)).and_then(|value| str::from_utf8(value).ok()).map_or(Found::Malformed, one),
        (Some(_), Some(_)) => Found::Many,
    }
}

/// The header without every cookie of these names, byte for byte otherwise. `None` where nothing is left.
/// Bytes, because other cookies may hold any (RFC 9110 §5.5 `obs-text`).
pub fn without(header: &[u8], names: &[&str]) -> Option<Vec<u8>> {
    let stays = |pair: &&[u8]| !names.iter().any(|name| split_pair(pair).0 == name.as_bytes());
    let left = header.split(is_separator).filter(stays).collect::<Vec<_>>().join(&b";"[..]);
    let left = left.trim_ascii_start();
    (!left.is_empty()).then(|| left.to_vec())
}

fn one(value: &str) -> Found<'_> {
    Found::One(Cow::Borrowed(value))
}

fn is_separator(byte: &u8) -> bool {
    *byte == b';'
}

fn split_pair(pair: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', pair) {
        Some(sign) => (pair.get(..sign).unwrap_or_default().trim_ascii(), pair.get(sign + 1..).map(<[u8]>::trim_ascii)),
        None => (pair.trim_ascii(), None),
    }
}

/// One or more `cookie-octet` (RFC 6265 §4.1.1). Some servers take quotes off a value and some do not, so that a quoted one
/// is two values; a comma is what is left of two joined lines.
fn is_plain(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_exact_name() {
        for (header, found) in [
            ("session=abc", one("abc")),
            ("a=b; session=abc; c=d", one("abc")),
            ("a=b;session=abc", one("abc")),
            ("session=a=b==", one("a=b==")),
            ("session=a%20b+/", one("a%20b+/")),
            ("session = abc ", one("abc")),
            ("a=b;\tsession=abc;", one("abc")),
            ("", Found::None),
            ("; ;", Found::None),
            ("=abc", Found::None),
            ("Session=abc", Found::None),
            ("%73ession=abc", Found::None),
            ("session2=abc", Found::None),
            ("__Host-session=abc", Found::None),
            ("a=session=abc", Found::None),
            ("a=\"x; b=1\"", Found::None),
        ] {
            assert!(read(header.as_bytes(), "session") == found, "{header}: {:?}", read(header.as_bytes(), "session"));
        }
        let long = "x".repeat(10 * 1024);
        assert!(read(format!("a=b; session={long}").as_bytes(), "session") == one(&long));
    }

    #[test]
    fn two_of_one_name_are_many_whatever_they_hold() {
        for header in ["key=a; key=b", "key=a;key=a", "key=a; key =b", "key; key=a", "key=\"a\"; key=a", "a=\"x; key=1\"; key=2", "key=a; b=c; key="]
        {
            assert_eq!(read(header.as_bytes(), "key"), Found::Many, "{header}");
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_malformed() {
        for header in ["key", "key=", "key= ", "a=b; key;", "key=\"a\"", "key=\"a", "key=a\"", "key=a b", "key=a, b=c", "key=a\\b", "key=caf\u{e9}"] {
            assert_eq!(read(header.as_bytes(), "key"), Found::Malformed, "{header}");
        }
        for header in [&b"key=a\0"[..], b"key=a\x7f", b"key=\xff"] {
            assert_eq!(read(header, "key"), Found::Malformed, "{header:?}");
        }
    }

    #[test]
    fn named_cookies_go_and_the_rest_stays_byte_for_byte() {
        for (header, left) in [
            ("key=a", None),
            ("key=a; session=b", None),
            ("key", None),
            ("key=a;", None),
            ("a=1; key=x; b=\"2\"", Some("a=1; b=\"2\"")),
            ("key=x; a=1", Some("a=1")),
            ("a=1; key=x", Some("a=1")),
            ("a=1;  b ; key =x;session;c=3", Some("a=1;  b ;c=3")),
            ("Key=1; key=2", Some("Key=1")),
            ("a=key=x", Some("a=key=x")),
            ("", None),
        ] {
            let found = without(header.as_bytes(), &["key", "session"]);
            assert_eq!(found.map(|left| String::from_utf8(left).unwrap()).as_deref(), left, "{header}");
        }
        assert_eq!(without(b"a=\xff; key=1", &["key"]), Some(b"a=\xff".to_vec()));
    }

    #[test]
    fn what_was_taken_out_is_not_found_again() {
        for header in ["key=a; a=b", "ke; key=ay=b", "a=1; key=\"x; key=y\"; b=2", "key;key = 1;;key=2"] {
            let left = without(header.as_bytes(), &["key"]).unwrap_or_default();
            assert_eq!(read(&left, "key"), Found::None, "{header}");
        }
    }
}
