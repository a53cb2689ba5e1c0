//! The head of an upstream's answer into its lines and the framing of its body (RFC 9112 §6.3).
//! An answer that could be read in two ways is none.

use crate::request::method::is_token;
use crate::transport::headers::lists;
use crate::transport::proxy::ending;

/// The end of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// The end of the connection.
    Close,
}

pub struct Answer<'a> {
    pub status: u16,
    pub lines: Vec<(&'a [u8], &'a [u8])>,
    pub framing: Framing,
    /// Whether the connection can serve another request after it.
    pub keep: bool,
}

impl Answer<'_> {
    /// Whether its body is one that may last longer than a credential.
    pub fn lasts(&self) -> bool {
        self.lines.iter().any(|(name, value)| name.eq_ignore_ascii_case(b"content-type") && ending::lasts(value))
    }
}

impl<'a> Answer<'a> {
    /// `bytes` are a whole head with its empty line; `method` that of the request. `None` where it is malformed or ambiguous.
    pub fn read(bytes: &'a [u8], method: &str) -> Option<Self> {
        let mut rest = bytes.strip_suffix(b"\r\n")?;
        let (is_1_1, status) = status(line(&mut rest)?)?;
        let mut answer = Self { status, lines: Vec::with_capacity(16), framing: Framing::Close, keep: is_1_1 };
        let (mut length, mut chunked) = (None, false);
        while !rest.is_empty() {
            let field = line(&mut rest)?;
            let (name, value) = field.split_at_checked(memchr::memchr(b':', field)?)?;
            let value = value.get(1..)?.trim_ascii();
            let odd = value.iter().fold(false, |odd, byte| odd | (*byte < 32 && *byte != b'\t') | (*byte == 127));
            if odd || !is_token(name) {
                return None;
            }
            match name.len() {
                10 if name.eq_ignore_ascii_case(b"connection") => answer.keep &= !lists(value, b"close"),
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    let plain = !value.is_empty() && value.len() < 19 && value.iter().all(u8::is_ascii_digit);
                    let said: u64 = str::from_utf8(value).ok().filter(|_| plain)?.parse().ok()?;
                    if length.replace(said).is_some() {
                        return None;
                    }
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    if chunked || !is_1_1 || !value.eq_ignore_ascii_case(b"chunked") {
                        return None;
                    }
                    chunked = true;
                }
                _ => {}
            }
            answer.lines.push((name, value));
        }
        answer.framing = match (length, chunked) {
            (Some(_), true) => return None,
            _ if method == "HEAD" || status < 200 || matches!(status, 204 | 304) => Framing::None,
            (None, true) => Framing::Chunked,
            (Some(length), false) => Framing::Length(length),
            (None, false) => Framing::Close,
        };
        answer.keep &= answer.framing != Framing::Close;
        Some(answer)
    }
}

/// The first line of what is left, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (line, behind) = rest.split_at_checked(memchr::memchr(b'\n', rest)?)?;
    *rest = behind.get(1..)?;
    line.strip_suffix(b"\r")
}

/// Whether the version is 1.1, and the status. The phrase behind it means nothing.
fn status(line: &[u8]) -> Option<(bool, u16)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (version, rest) = rest.split_first()?;
    let (digits, phrase) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    if !matches!(version, b'0' | b'1') || !(phrase.is_empty() || phrase.starts_with(b" ")) || !phrase.iter().all(plain) {
        return None;
    }
    let status = str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?.parse().ok()?;
    (100..=999).contains(&status).then_some((*version == b'1', status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(method: &str, text: &str) -> Option<(u16, Framing, bool)> {
        Answer::read(text.as_bytes(), method).map(|answer| (answer.status, answer.framing, answer.keep))
    }

    #[test]
    fn an_answer_ends_where_the_rfc_says() {
        for (method, text, expected) in [
            ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", (200, Framing::Length(5), true)),
            ("GET", "HTTP/1.1 200\r\nContent-Length:5\r\n\r\n", (200, Framing::Length(5), true)),
            ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", (200, Framing::Chunked, true)),
            ("GET", "HTTP/1.1 200 OK\r\n\r\n", (200, Framing::Close, false)),
            ("GET", "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n", (200, Framing::Length(5), false)),
            ("GET", "HTTP/1.1 200 OK\r\nconnection: a, Close\r\ncontent-length: 5\r\n\r\n", (200, Framing::Length(5), false)),
            ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", (200, Framing::None, true)),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", (204, Framing::None, true)),
            ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", (304, Framing::None, true)),
        ] {
            assert_eq!(framing(method, text), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_answer_with_two_readings_is_none() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
            "HTTP/1.1 200 OK\na: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnone\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(framing("GET", text), None, "{text:?}");
        }
    }
}
