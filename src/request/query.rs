//! One named value out of a query, and a query without the pairs that carry credentials.
//! Picks no first or last one of several, and mends no escape.

use std::borrow::Cow;

/// What a name was given as in a query or in a cookie header.
#[derive(Clone, PartialEq, Eq)]
pub enum Found<'a> {
    None,
    /// Visible ASCII, and not empty.
    One(Cow<'a, str>),
    Many,
    /// The name is there, and what it has cannot be a token.
    Malformed,
}

/// The value of `name` in a query, both percent-decoded once; names are compared with case.
/// A `+` stands for itself and not for the space of forms: base64 has it, and no token has a space.
pub fn read<'a>(query: &'a [u8], name: &str) -> Found<'a> {
    let mut found = query.split(is_separator).map(split_pair).filter(|(raw, _)| is_named(raw, name)).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (None, _) => Found::None,
        (Some(value), None) => value.and_then(decode).map_or(Found::Malformed, Found::One),
        (Some(_), Some(_)) => Found::Many,
    }
}

/// The query without every pair of these decoded names, byte for byte otherwise. `None` where nothing is left.
/// A query is visible ASCII by the time that anything is read from it ([`super::RequestView`]).
pub fn without(query: &[u8], names: &[&str]) -> Option<String> {
    let stays = |pair: &&[u8]| !names.iter().any(|name| is_named(split_pair(pair).0, name));
    let left = query.split(is_separator).filter(stays).collect::<Vec<_>>().join(&b"&"[..]);
    (!left.is_empty()).then(|| String::from_utf8_lossy(&left).into_owned())
}

/// Every pair as forms encode it, `+` for a space. `None` where an escape is bad or a text is no UTF-8.
pub fn pairs(query: &[u8]) -> Option<Vec<(String, String)>> {
    let text = |raw: &[u8]| {
        let spaced: Vec<u8> = raw.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        String::from_utf8(Decoded(&spaced).collect::<Result<_, _>>().ok()?).ok()
    };
    let pairs = query.split(is_separator).filter(|pair| !pair.is_empty()).map(split_pair);
    pairs.map(|(name, value)| Some((text(name)?, text(value.unwrap_or_default())?))).collect()
}

fn is_separator(byte: &u8) -> bool {
    *byte == b'&'
}

fn split_pair(pair: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', pair) {
        Some(sign) => (pair.get(..sign).unwrap_or_default(), pair.get(sign + 1..)),
        None => (pair, None),
    }
}

/// A name with a bad escape is the name of nothing.
fn is_named(raw: &[u8], name: &str) -> bool {
    let mut bytes = Decoded(raw);
    name.bytes().all(|byte| bytes.next() == Some(Ok(byte))) && bytes.next().is_none()
}

fn decode(value: &[u8]) -> Option<Cow<'_, str>> {
    if value.is_empty() {
        return None;
    }
    if value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'%') {
        return str::from_utf8(value).ok().map(Cow::Borrowed);
    }
    let decoded = Decoded(value).map(|byte| byte.ok().filter(u8::is_ascii_graphic).map(char::from)).collect::<Option<String>>()?;
    Some(Cow::Owned(decoded))
}

/// Bytes with their escapes decoded; a bad escape is an `Err` and the end.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = Result<u8, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        if *first != b'%' {
            return Some(Ok(*first));
        }
        let digit = |at: usize| rest.get(at).and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        let byte = digit(0).zip(digit(1)).map(|(high, low)| high << 4 | low);
        self.0 = byte.and_then(|_| rest.get(2..)).unwrap_or_default();
        Some(byte.ok_or(()))
    }
}

impl std::fmt::Debug for Found<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::None => "None",
            Self::One(_) => "One(…)",
            Self::Many => "Many",
            Self::Malformed => "Malformed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Found<'_> {
        Found::One(Cow::Borrowed(text))
    }

    #[test]
    fn a_name_is_found_in_every_spelling_of_its_own_case() {
        for (query, found) in [
            ("token=abc", one("abc")),
            ("a=b&token=abc&c", one("abc")),
            ("%74oken=abc", one("abc")),
            ("%74%6F%6b%65%6e=abc", one("abc")),
            ("token=a%62c", one("abc")),
            ("token=a=b==", one("a=b==")),
            ("token=a%3Db%26c", one("a=b&c")),
            ("token=a+b/c", one("a+b/c")),
            ("token=%2B", one("+")),
            ("token=%2541", one("%41")),
            ("token=a;b?c", one("a;b?c")),
            ("", Found::None),
            ("&&", Found::None),
            ("=abc", Found::None),
            ("TOKEN=abc", Found::None),
            ("Token=abc", Found::None),
            ("token%3Dabc", Found::None),
            ("%2574oken=abc", Found::None),
            ("tokens=abc", Found::None),
            ("toke=abc", Found::None),
            ("atoken=abc", Found::None),
            ("token%00=abc", Found::None),
            ("+token=abc", Found::None),
            ("%7token=abc", Found::None),
            ("token%=abc", Found::None),
            ("a=token=abc", Found::None),
            ("a;token=abc", Found::None),
        ] {
            assert!(read(query.as_bytes(), "token") == found, "{query}: {:?}", read(query.as_bytes(), "token"));
        }
    }

    #[test]
    fn two_of_one_name_are_many_whatever_they_hold() {
        for query in ["key=a&key=b", "key=a&key=a", "key=a&%6Bey=b", "key=&key=a", "key&key=a", "key=%zz&x=1&key=a", "key=a&key=b&key=c"] {
            assert_eq!(read(query.as_bytes(), "key"), Found::Many, "{query}");
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_malformed() {
        for query in
            ["token", "token=", "a&token", "token=%", "token=a%4", "token=%zz", "token=%g1", "token=%1g", "token=a%20b", "token=%00", "token=a%0D%0A"]
        {
            assert_eq!(read(query.as_bytes(), "token"), Found::Malformed, "{query}");
        }
        for query in [&b"token=%7F"[..], b"token=%C3%A9", b"token=\xC3\xA9", b"token=a b", b"token=\t"] {
            assert_eq!(read(query, "token"), Found::Malformed, "{query:?}");
        }
    }

    #[test]
    fn a_long_value_is_read_whole() {
        let long = "x".repeat(10 * 1024);
        assert!(read(format!("a=b&token={long}&c=d").as_bytes(), "token") == one(&long));
        let escaped = "%78".repeat(10 * 1024);
        assert!(read(format!("token={escaped}").as_bytes(), "token") == one(&long));
        assert_eq!(read("token=x&".repeat(1280).as_bytes(), "token"), Found::Many);
    }

    #[test]
    fn named_pairs_go_and_the_rest_stays_byte_for_byte() {
        for (query, left) in [
            ("token=a", None),
            ("token", None),
            ("token=a&key=b", None),
            ("a=1&token=x&b=%7e%7E", Some("a=1&b=%7e%7E")),
            ("token=x&a=1", Some("a=1")),
            ("a=1&token=x", Some("a=1")),
            ("%74oken=x&a&TOKEN=y&=&b=", Some("a&TOKEN=y&=&b=")),
            ("a=1&&token=%zz&key=y&&b=2", Some("a=1&&&b=2")),
            ("a=token=x", Some("a=token=x")),
            ("a=1", Some("a=1")),
            ("%zz=1&token=x", Some("%zz=1")),
            ("", None),
        ] {
            assert_eq!(without(query.as_bytes(), &["token", "key"]).as_deref(), left, "{query}");
        }
        assert_eq!(without(b"token=x", &[]).as_deref(), Some("token=x"));
    }

    #[test]
    fn what_was_taken_out_is_not_found_again() {
        for query in ["token=a&a=b", "to&token=aken=b", "token=a&tok&token=b&en=c", "%74oken&token=%&%74%6Fken=c"] {
            let left = without(query.as_bytes(), &["token"]).unwrap_or_default();
            assert_eq!(read(left.as_bytes(), "token"), Found::None, "{query}: {left}");
        }
    }

    #[test]
    fn pairs_are_read_as_forms_encode_them() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs(b"a=1&b=c+d%2Be&&f&=g"), Some(vec![pair("a", "1"), pair("b", "c d+e"), pair("f", ""), pair("", "g")]));
        assert_eq!(pairs(b""), Some(Vec::new()));
        assert_eq!(pairs(b"a=%zz"), None);
        assert_eq!(pairs(b"a=%FF"), None);
    }

    #[test]
    fn what_was_found_has_no_printable_form() {
        assert_eq!(format!("{:?}", read(b"token=bsp_secret", "token")), "One(…)");
    }
}
