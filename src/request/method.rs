//! The request's method, exactly as sent: an RFC 9110 token, compared with case.
//! Never folds case and never guesses: `get` is not `GET`.

/// A method token (RFC 9110 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method<'a>(&'a str);

/// The methods that a pattern without a method covers. TRACE and CONNECT are not among them.
const STANDARD: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl<'a> Method<'a> {
    /// `None` where the bytes are not a token.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        (!text.is_empty() && text.len() <= 32 && text.bytes().all(is_token_byte)).then_some(Self(text))
    }

    pub fn as_str(self) -> &'a str {
        self.0
    }

    pub fn is_standard(self) -> bool {
        STANDARD.contains(&self.0)
    }
}

/// `tchar` of RFC 9110 §5.6.2.
pub const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z' | b'|' | b'~' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_bytes_are_those_of_rfc_9110() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_token_byte(byte), byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte), "{byte}");
        }
    }
}
