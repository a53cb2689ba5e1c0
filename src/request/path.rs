//! A request target into one canonical path, or a refusal (RFC 3986 §6.2.2; the algorithm of every door).
//! Decodes nothing twice, resolves no dot segments, and never repairs what an upstream could read in another way.

use std::borrow::Cow;

/// Longest accepted path; nginx and Envoy accept about as much by default.
pub const MAX_PATH: usize = 8 * 1024;

/// A path in canonical form: escapes of unreserved characters decoded, other escapes in upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    canonical: Cow<'a, str>,
    /// Fully decoded but for `%2F`, so that a segment stays one segment. Rules are matched on this.
    decoded: Cow<'a, str>,
    oddities: Oddities,
}

/// What a path contains that only a route that says so may accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    pub encoded_slash: bool,
    pub semicolon: bool,
    pub empty_segment: bool,
}

impl Oddities {
    pub fn any(self) -> bool {
        self.encoded_slash || self.semicolon || self.empty_segment
    }

    /// Whether every oddity of `self` is in `allowed`.
    pub fn within(self, allowed: Self) -> bool {
        (!self.encoded_slash || allowed.encoded_slash) && (!self.semicolon || allowed.semicolon) && (!self.empty_segment || allowed.empty_segment)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    Empty,
    NotAbsolute,
    TooLong,
    Character,
    Escape,
    EncodedCharacter,
    DoubleEncoding,
    Utf8,
    DotSegment,
}

impl PathFault {
    /// For an operator, with what would be right.
    pub fn why(self) -> &'static str {
        match self {
            Self::Empty => "the path is empty; the shortest is `/`",
            Self::NotAbsolute => "the path does not begin with `/`",
            Self::TooLong => "the path is too long",
            Self::Character => "the path has a character that must be escaped: a control character, a space, `#`, `\\` or one beyond ASCII",
            Self::Escape => "the path has a `%` without two hexadecimal digits behind it",
            Self::EncodedCharacter => "the path has an escaped control character or backslash, which no route may take",
            Self::DoubleEncoding => "the path is escaped twice: what it decodes to is an escape again",
            Self::Utf8 => "the path does not decode to UTF-8",
            Self::DotSegment => "the path has a segment `.` or `..`; send the path that it leads to",
        }
    }
}

/// Path and query of a request target, split at the first `?`; the query is kept verbatim.
pub fn split_target(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(mark) => {
            let (path, query) = target.split_at(mark);
            (path, query.get(1..))
        }
        None => (target, None),
    }
}

impl<'a> NormalPath<'a> {
    pub fn parse(path: &'a [u8]) -> Result<Self, PathFault> {
        match path.first() {
            None => return Err(PathFault::Empty),
            Some(b'/') => {}
            Some(_) => return Err(PathFault::NotAbsolute),
        }
        if path.len() > MAX_PATH {
            return Err(PathFault::TooLong);
        }
        let mut oddities = Oddities::default();
        let (mut escaped, mut dotted) = (false, false);
        let mut previous = 0_u8;
        for &byte in path {
            match byte {
                b'%' => escaped = true,
                b';' => oddities.semicolon = true,
                b'/' if previous == b'/' => oddities.empty_segment = true,
                // Every dot segment starts with a dot right after a slash; of escapes more is known once they are decoded.
                b'.' if previous == b'/' => dotted = true,
                // RFC 3986 allows none of these raw; `?` would start a query, `#` a fragment, and `\` is a slash to some servers.
                0..=0x20 | 0x7F.. | b'?' | b'#' | b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => return Err(PathFault::Character),
                _ => {}
            }
            previous = byte;
        }
        let text = str::from_utf8(path).map_err(|_| PathFault::Utf8)?;
        let (canonical, decoded) = if escaped {
            let (canonical, decoded) = decode(path, &mut oddities)?;
            (Cow::Owned(canonical), Cow::Owned(decoded))
        } else {
            (Cow::Borrowed(text), Cow::Borrowed(text))
        };
        if (escaped || dotted) && has_dot_segment(&decoded) {
            return Err(PathFault::DotSegment);
        }
        Ok(Self { canonical, decoded, oddities })
    }

    /// The bytes to forward.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The text that patterns are compared with.
    pub fn decoded(&self) -> &str {
        &self.decoded
    }

    pub fn oddities(&self) -> Oddities {
        self.oddities
    }

    /// How a server would read the path that drops `;…`, merges `//` and takes `%2F` for a slash.
    pub fn simplified(&self) -> String {
        let slashed = self.decoded.replace("%2F", "/");
        let mut text = String::with_capacity(slashed.len());
        for segment in slashed.split('/') {
            let name = segment.split(';').next().unwrap_or_default();
            if !name.is_empty() {
                text.push('/');
                text.push_str(name);
            }
        }
        if slashed.ends_with('/') || text.is_empty() {
            text.push('/');
        }
        text
    }
}

/// Canonical and decoded text of a path with escapes.
fn decode(path: &[u8], oddities: &mut Oddities) -> Result<(String, String), PathFault> {
    let mut canonical = String::with_capacity(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            canonical.push(char::from(byte));
            decoded.push(byte);
            rest = tail;
            continue;
        }
        let (value, tail) = escape(tail).ok_or(PathFault::Escape)?;
        rest = tail;
        match value {
            0..=0x1F | 0x7F | b'\\' => return Err(PathFault::EncodedCharacter),
            b'/' => {
                oddities.encoded_slash = true;
                canonical.push_str("%2F");
                decoded.extend_from_slice(b"%2F");
                continue;
            }
            b';' => oddities.semicolon = true,
            _ => {}
        }
        decoded.push(value);
        if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
            canonical.push(char::from(value));
        } else {
            canonical.push('%');
            canonical.push(hex_digit(value >> 4));
            canonical.push(hex_digit(value & 15));
        }
    }
    let hides_an_escape = |at| canonical.as_bytes().get(at + 3..).and_then(escape).is_some();
    if memchr::memmem::find_iter(canonical.as_bytes(), b"%25").any(hides_an_escape) {
        return Err(PathFault::DoubleEncoding);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| PathFault::Utf8)?;
    Ok((canonical, decoded))
}

/// The value of two hexadecimal digits at the start, and what follows them.
fn escape(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], tail) = bytes.split_first_chunk::<2>()?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some((digit(high)? << 4 | digit(low)?, tail))
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase()
}

/// `.` and `..` however written: after decoding, before any `;`, and between encoded slashes.
fn has_dot_segment(decoded: &str) -> bool {
    decoded.split('/').flat_map(|segment| segment.split("%2F")).any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_have_one_form() {
        for (raw, canonical, decoded) in [
            ("/", "/", "/"),
            ("/a/b/", "/a/b/", "/a/b/"),
            ("/%61dmin", "/admin", "/admin"),
            ("/%7e%2D%2e5", "/~-.5", "/~-.5"),
            ("/caf%c3%a9", "/caf%C3%A9", "/caf\u{e9}"),
            ("/a%20b", "/a%20b", "/a b"),
            ("/a%40b", "/a%40b", "/a@b"),
            ("/100%25", "/100%25", "/100%"),
            ("/%25zz", "/%25zz", "/%zz"),
            ("/a(b)*!$&'+,=:@[]", "/a(b)*!$&'+,=:@[]", "/a(b)*!$&'+,=:@[]"),
            ("/...", "/...", "/..."),
            ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
        ] {
            let path = NormalPath::parse(raw.as_bytes()).unwrap();
            assert_eq!((path.canonical(), path.decoded()), (canonical, decoded), "{raw}");
            assert!(!path.oddities().any(), "{raw}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused_by_kind() {
        use PathFault::*;
        for (raw, fault) in [
            ("", Empty),
            ("*", NotAbsolute),
            ("a/b", NotAbsolute),
            ("http://a/b", NotAbsolute),
            ("/a b", Character),
            ("/a\tb", Character),
            ("/a\\b", Character),
            ("/a#b", Character),
            ("/a?b", Character),
            ("/caf\u{e9}", Character),
            ("/a\0", Character),
            ("/{id}", Character),
            ("/%", Escape),
            ("/%2", Escape),
            ("/%zz", Escape),
            ("/%00", EncodedCharacter),
            ("/%0d%0a", EncodedCharacter),
            ("/%7F", EncodedCharacter),
            ("/%5c", EncodedCharacter),
            ("/%252e", DoubleEncoding),
            ("/%2541", DoubleEncoding),
            ("/%25%32%65", DoubleEncoding),
            ("/%25%32e", DoubleEncoding),
            ("/%ff", Utf8),
            ("/%c0%af", Utf8),
            ("/%ed%a0%80", Utf8),
            ("/..", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/%2e%2E/b", DotSegment),
            ("/./a", DotSegment),
            ("/a/.", DotSegment),
            ("/a/..;x/b", DotSegment),
            ("/a/..%3bx/b", DotSegment),
            ("/a%2f..%2fb", DotSegment),
            ("/a/..%2Fb", DotSegment),
        ] {
            assert_eq!(NormalPath::parse(raw.as_bytes()).err(), Some(fault), "{raw:?}");
        }
        assert_eq!(NormalPath::parse(&[b'/'; MAX_PATH + 1]).err(), Some(TooLong));
    }

    #[test]
    fn oddities_are_named_and_simplified() {
        for (raw, encoded_slash, semicolon, empty_segment, simplified) in [
            ("/a%2fb", true, false, false, "/a/b"),
            ("/a;v=1/b", false, true, false, "/a/b"),
            ("/a%3Bv/b", false, true, false, "/a/b"),
            ("//a", false, false, true, "/a"),
            ("/a//", false, false, true, "/a/"),
            ("//", false, false, true, "/"),
        ] {
            let path = NormalPath::parse(raw.as_bytes()).unwrap();
            assert_eq!(path.oddities(), Oddities { encoded_slash, semicolon, empty_segment }, "{raw}");
            assert_eq!(path.simplified(), simplified, "{raw}");
        }
    }

    #[test]
    fn the_query_is_what_follows_the_first_mark() {
        assert_eq!(split_target(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(split_target(b"/a?"), (&b"/a"[..], Some(&b""[..])));
        assert_eq!(split_target(b"/a"), (&b"/a"[..], None));
    }
}
