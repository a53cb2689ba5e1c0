//! Where a request may carry a credential, and what it presents there.
//! Proves nothing: a presented token is only bytes of a plausible shape.

pub mod certificate;
pub mod digest;
pub mod hide;
pub mod key_format;

use std::borrow::Cow;

use crate::request::query::{self, Found};
use crate::request::{Headers, RequestView, Values, cookie};

/// Longest token that is looked at; beyond it nothing is hashed. Twice the 8 KiB that servers allow a whole header line.
pub const MAX_TOKEN: usize = 16 * 1024;

/// A place that is read for credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    Bearer,
    /// The whole value of a header, named in lower case.
    Header(Box<str>),
    /// A cookie (RFC 6265 §5.4).
    Cookie(Box<str>),
    /// A query parameter (RFC 6750 §2.3), read only where the caller of [`Place::read`] says so.
    Query(Box<str>),
    /// The client's certificate, as the proxy in front tells of it.
    Certificate,
}

/// What a shared cache has to be told of an answer. RFC 9111 §3.5 keeps caches from answers to `Authorization`, and to nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching<'p> {
    Known,
    /// For this caller alone, told apart by this header.
    Private {
        vary: &'p str,
    },
    /// RFC 6750 §2.3: the URL itself is a secret.
    Never,
}

/// What a place holds in one request.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented<'a> {
    Nothing,
    Token(Cow<'a, str>),
    /// A certificate that the connection came with.
    Certificate,
    /// Something is there, and it cannot be a token.
    Malformed,
    /// More than one value: RFC 6750 §3.1 `invalid_request`.
    Ambiguous,
}

impl Place {
    pub fn caching(&self) -> Caching<'_> {
        match self {
            Self::Bearer | Self::Certificate => Caching::Known,
            Self::Header(name) => Caching::Private { vary: name },
            Self::Cookie(_) => Caching::Private { vary: "cookie" },
            Self::Query(_) => Caching::Never,
        }
    }

    /// `query` is whether a parameter of the URL may be a credential in this request.
    pub fn read<'a, H: Headers>(&self, view: &RequestView<'a, H>, query: bool) -> Presented<'a> {
        match self {
            Self::Bearer => bearer(view.headers.get("authorization")),
            Self::Header(name) => match view.headers.get(name) {
                Values::None => Presented::Nothing,
                // As with `bearer`: a comma is what is left of two joined lines.
                Values::One(value) if memchr::memchr(b',', value).is_some() => Presented::Ambiguous,
                Values::One(value) => token(trim(value)),
                Values::Many => Presented::Ambiguous,
            },
            Self::Cookie(name) => match view.headers.get("cookie") {
                Values::None => Presented::Nothing,
                Values::One(value) => found(cookie::read(value, name)),
                Values::Many => Presented::Ambiguous,
            },
            Self::Query(_) if !query => Presented::Nothing,
            Self::Query(name) => view.query.map_or(Presented::Nothing, |query| found(query::read(query, name))),
            Self::Certificate if view.link.principal.is_some() || view.link.certificate.is_some() => Presented::Certificate,
            Self::Certificate => Presented::Nothing,
        }
    }
}

fn found(found: Found<'_>) -> Presented<'_> {
    match found {
        Found::None => Presented::Nothing,
        Found::One(value) if value.is_empty() || value.len() > MAX_TOKEN => Presented::Malformed,
        Found::One(value) => Presented::Token(value),
        Found::Many => Presented::Ambiguous,
        Found::Malformed => Presented::Malformed,
    }
}

/// The scheme is compared without case (RFC 9110 §11.1) and one or more spaces follow it; another scheme presents nothing here.
/// A comma is what is left of two joined lines, and no token has one.
pub fn bearer(values: Values<'_>) -> Presented<'_> {
    let value = match values {
        Values::None => return Presented::Nothing,
        Values::Many => return Presented::Ambiguous,
        Values::One(value) => trim(value),
    };
    if memchr::memchr(b',', value).is_some() {
        return Presented::Ambiguous;
    }
    match value.split_at_checked(6) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer") => match rest.first() {
            None | Some(b'\t') => Presented::Malformed,
            Some(b' ') => token(skip_spaces(rest)),
            Some(_) => Presented::Nothing,
        },
        _ => Presented::Nothing,
    }
}

/// One word of visible ASCII. Stricter alphabets (RFC 6750's `b64token`) are left to the look-up: what is not known is refused there.
fn token(value: &[u8]) -> Presented<'_> {
    // Without an early end, so that the loop becomes a few wide comparisons.
    let graphic = |value: &[u8]| value.iter().fold(true, |graphic, byte| graphic & byte.is_ascii_graphic());
    if value.is_empty() || value.len() > MAX_TOKEN || !graphic(value) {
        return Presented::Malformed;
    }
    str::from_utf8(value).map_or(Presented::Malformed, |text| Presented::Token(Cow::Borrowed(text)))
}

fn skip_spaces(mut value: &[u8]) -> &[u8] {
    while let Some(rest) = value.strip_prefix(b" ") {
        value = rest;
    }
    value
}

/// Without the optional white space that RFC 9110 §5.5 puts around a field value.
fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Token(_) => "Token(…)",
            Self::Certificate => "Certificate",
            Self::Malformed => "Malformed",
            Self::Ambiguous => "Ambiguous",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_values_are_read_as_rfc_9110_says() {
        let read = |value: &'static str| bearer(Values::One(value.as_bytes()));
        assert_eq!(read("Bearer abc"), Presented::Token("abc".into()));
        assert_eq!(read("bEaReR abc"), Presented::Token("abc".into()));
        assert_eq!(read("Bearer   abc "), Presented::Token("abc".into()));
        for nothing in ["", "Basic dXNlcjpwdw==", "Bearerabc", "Bear", "DPoP abc", "Token abc"] {
            assert_eq!(read(nothing), Presented::Nothing, "{nothing:?}");
        }
        for malformed in ["Bearer", "Bearer ", "Bearer\tabc", "Bearer a b", "Bearer a\tb", "Bearer caf\u{e9}", "Bearer a\0"] {
            assert_eq!(read(malformed), Presented::Malformed, "{malformed:?}");
        }
        for ambiguous in ["Bearer a,Bearer b", "Basic x, Bearer a", "Bearer a,"] {
            assert_eq!(read(ambiguous), Presented::Ambiguous, "{ambiguous:?}");
        }
        assert_eq!(bearer(Values::Many), Presented::Ambiguous);
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        assert_eq!(bearer(Values::One(long.as_bytes())), Presented::Malformed);
    }

    #[test]
    fn a_presented_token_has_no_printable_form() {
        assert_eq!(format!("{:?}", Presented::Token("bsp_secret".into())), "Token(…)");
    }
}
