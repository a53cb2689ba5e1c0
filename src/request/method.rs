//! The request's method, exactly as sent: an RFC 9110 token, compared with case.
//! Never folds case and never guesses: `get` is not `GET`.

/// A method token (RFC 9110 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method<'a>(&'a str);

/// The methods that a pattern without a method covers. TRACE and CONNECT are not among them.
const STANDARD: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Those of RFC 9110 beside, and of WebDAV (RFC 4918).
const OTHERS: [&str; 9] = ["TRACE", "CONNECT", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK"];

impl<'a> Method<'a> {
    /// `None` where the bytes are not a token.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        (text.len() <= 32 && is_token(bytes)).then_some(Self(text))
    }

    pub fn as_str(self) -> &'a str {
        self.0
    }

    pub fn is_standard(self) -> bool {
        STANDARD.contains(&self.0)
    }

    /// Its name where somebody defined it; anything else is a client's own word.
    pub fn known(self) -> Option<&'static str> {
        STANDARD.iter().chain(&OTHERS).find(|known| **known == self.0).copied()
    }
}

/// `tchar` of RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z' | b'|' | b'~' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.')
}

/// The same, looked up: one load a byte.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static TOKEN_BYTES: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    loop {
        table[byte as usize] = is_token_byte(byte);
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// `token` of RFC 9110 §5.6.2.
pub fn is_token(bytes: &[u8]) -> bool {
    // Without an early end: most are tokens.
    !bytes.is_empty() && bytes.iter().fold(true, |all, byte| all & TOKEN_BYTES.get(usize::from(*byte)).is_some_and(|is| *is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_bytes_are_those_of_rfc_9110() {
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!((is_token_byte(byte), is_token(&[b'a', byte])), (expected, expected), "{byte}");
        }
        assert!(!is_token(b""));
    }
}
