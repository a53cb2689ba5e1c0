//! The grammar of HTTP/1.1 messages (RFC 9112): the bytes of a head, a chunk line or a trailer section into what follows them.
//! Takes one reading only; where two readers could differ, there is none.

use std::io;
use std::ops::Range;

use super::{Limits, State, broken};
use crate::policy::Reason;
use crate::request::method::is_token;
use crate::transport::bounds;
use crate::transport::headers::lists;

/// What of a head was read so far, so that no byte of it is looked at twice however it comes in.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    /// Where the line begins that is not whole yet, and how far that one was looked through.
    at: usize,
    seen: usize,
    blank: usize,
    first: Option<Range<usize>>,
    fields: Fields,
}

impl Head {
    /// Goes on with `bytes`, which begin where they did before. The length of the head and what follows it; `None` where it is not whole yet.
    pub(super) fn read(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<(usize, State)>, Reason> {
        let mut lines = Lines { bytes, at: self.at, seen: self.seen };
        loop {
            let start = lines.at;
            match lines.next() {
                Err(()) => return Err(Reason::Framing),
                Ok(None) if bytes.len() > limits.head => return Err(self.too_long(limits)),
                Ok(None) => {
                    (self.at, self.seen) = (lines.at, lines.seen);
                    return Ok(None);
                }
                // RFC 9112 §2.2: an empty line or two before a request is an old client's habit.
                Ok(Some([])) if self.first.is_none() && self.blank < 2 => self.blank += 1,
                Ok(Some([])) if self.first.is_none() => return Err(Reason::Framing),
                Ok(Some([])) => break,
                Ok(Some(line)) if self.first.is_none() => self.first = Some(start..start + line.len()),
                Ok(Some(line)) => self.fields.read(line)?,
            }
        }
        if lines.at > limits.head {
            return Err(self.too_long(limits));
        }
        if self.fields.count > limits.headers {
            return Err(Reason::TooManyHeaders);
        }
        let first = self.first.clone().and_then(|first| bytes.get(first)).unwrap_or_default();
        let is_1_1 = request_line(first, limits.target)?;
        let state = self.fields.framing(is_1_1)?;
        let bodiless = matches!(state, State::Head | State::Length(0));
        let upgrades = bodiless && is_1_1 && first.starts_with(b"GET ") && self.fields.upgrade && self.fields.websocket;
        Ok(Some((lines.at, if upgrades { State::Held } else { state })))
    }

    /// Which part of it is too long.
    fn too_long(&self, limits: Limits) -> Reason {
        let is_first = self.first.as_ref().is_none_or(|first| first.len() > limits.target);
        if is_first { Reason::TargetTooLong } else { Reason::HeadersTooLarge }
    }
}

/// Lines that end in CRLF; any other CR, LF or NUL is an error.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No line ends before this.
    seen: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, ()> {
        let from = self.seen.max(self.at);
        let Some(found) = memchr::memchr3(b'\n', b'\r', 0, self.bytes.get(from..).unwrap_or_default()) else {
            self.seen = self.bytes.len();
            return Ok(None);
        };
        let (start, end) = (self.at, from + found);
        self.seen = end;
        match self.bytes.get(end..end + 2) {
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(self.bytes.get(start..end))
            }
            None if self.bytes.get(end) == Some(&b'\r') => Ok(None),
            _ => Err(()),
        }
    }
}

/// Whether the version is 1.1. Exactly `method SP target SP version`.
fn request_line(line: &[u8], longest: usize) -> Result<bool, Reason> {
    let method_end = memchr::memchr(b' ', line).ok_or(Reason::Framing)?;
    let version_start = memchr::memrchr(b' ', line).filter(|last| *last > method_end).ok_or(Reason::Framing)?;
    let method = line.get(..method_end).unwrap_or_default();
    if !is_token(method) {
        return Err(Reason::InvalidMethod);
    }
    if method == b"CONNECT" {
        return Err(Reason::Connect);
    }
    let is_1_1 = match line.get(version_start + 1..) {
        Some(b"HTTP/1.1") => true,
        Some(b"HTTP/1.0") => false,
        _ => return Err(Reason::Framing),
    };
    // What the URI parser behind would drop or refuse in its own words is refused here in ours.
    let target = line.get(method_end + 1..version_start).unwrap_or_default();
    if target.len() > longest {
        return Err(Reason::TargetTooLong);
    }
    let mark = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(mark).unwrap_or((target, b""));
    let odd = |byte: &u8| !matches!(byte, 0x21..=0x7E) || matches!(byte, b'"' | b'#' | b'<' | b'>');
    let odd_path = |byte: &u8| odd(byte) || matches!(byte, b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
    match (path.iter().any(odd_path), query.iter().any(odd)) {
        (true, _) => Err(Reason::AmbiguousPath),
        (_, true) => Err(Reason::InvalidQuery),
        _ if path.is_empty() => Err(Reason::EmptyPath),
        _ => Ok(is_1_1),
    }
}

/// What the header fields say of framing, and of what follows the message.
#[derive(Clone, Debug, Default)]
struct Fields {
    count: usize,
    length: Option<u64>,
    chunked: bool,
    hosts: usize,
    /// `Connection` lists `upgrade`, and `Upgrade` lists `websocket`.
    upgrade: bool,
    websocket: bool,
}

impl Fields {
    fn read(&mut self, line: &[u8]) -> Result<(), Reason> {
        self.count += 1;
        // A line that begins with white space is a fold, and a space before the colon is no token: both fall out here.
        let colon = memchr::memchr(b':', line).ok_or(Reason::Framing)?;
        let (name, value) = line.split_at_checked(colon).ok_or(Reason::Framing)?;
        if !is_token(name) {
            return Err(Reason::Framing);
        }
        let value = value.get(1..).unwrap_or_default();
        // Without an early end, so that the loop becomes a few wide comparisons.
        if value.iter().fold(false, |odd, byte| odd | (*byte < 32 && *byte != b'\t') | (*byte == 127)) {
            return Err(Reason::Framing);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.hosts += 1,
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.websocket |= lists(value, b"websocket"),
            10 if name.eq_ignore_ascii_case(b"connection") => self.upgrade |= lists(value, b"upgrade"),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let digits = value.trim_ascii();
                let plain = !digits.is_empty() && digits.len() < 19 && digits.iter().all(u8::is_ascii_digit);
                let length = str::from_utf8(digits).ok().filter(|_| plain).and_then(|text| text.parse().ok()).ok_or(Reason::Framing)?;
                if self.length.replace(length).is_some() {
                    return Err(Reason::Framing);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") || value.contains(&b'\t') {
                    return Err(Reason::Framing);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, is_1_1: bool) -> Result<State, Reason> {
        if self.hosts > 1 || (is_1_1 && self.hosts == 0) {
            return Err(Reason::AmbiguousHost);
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Reason::Framing),
            (None, true) if !is_1_1 => Err(Reason::Framing),
            (None, true) => Ok(State::ChunkLine),
            (Some(length), false) => Ok(State::Length(length)),
            (None, false) => Ok(State::Head),
        }
    }
}

pub(super) type Step = Option<(usize, State)>;

/// `chunk-size [ chunk-ext ] CRLF` (RFC 9112 §7.1).
pub(super) fn chunk_line(bytes: &[u8]) -> io::Result<Step> {
    let mut lines = Lines { bytes, at: 0, seen: 0 };
    let Some(line) = lines.next().map_err(|()| broken())? else {
        return if bytes.len() > bounds::CHUNK_LINE { Err(broken()) } else { Ok(None) };
    };
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at_checked(digits).ok_or_else(broken)?;
    let plain = extension.is_empty() || (extension.first() == Some(&b';') && extension.iter().all(|byte| matches!(byte, 0x20..=0x7E)));
    if size.is_empty() || size.len() > 15 || !plain || line.len() > bounds::CHUNK_LINE {
        return Err(broken());
    }
    let size = str::from_utf8(size).ok().and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(broken)?;
    Ok(Some((lines.at, if size == 0 { State::Trailers } else { State::Chunk(size) })))
}

pub(super) fn crlf(bytes: &[u8]) -> io::Result<Option<usize>> {
    match bytes {
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [] | [b'\r'] => Ok(None),
        _ => Err(broken()),
    }
}

/// The trailer section up to its empty line.
pub(super) fn trailers(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut lines = Lines { bytes, at: 0, seen: 0 };
    let mut fields = Fields::default();
    loop {
        match lines.next().map_err(|()| broken())? {
            // What frames or routes a message has no place behind it (RFC 9110 §6.5.1).
            Some([]) if fields.length.is_some() || fields.chunked || fields.hosts > 0 => return Err(broken()),
            Some([]) => return Ok(Some(lines.at)),
            Some(line) => fields.read(line).map_err(|_| broken())?,
            None if bytes.len() > bounds::TRAILERS => return Err(broken()),
            None => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<(usize, State)>, Reason> {
        Head::default().read(text.as_bytes(), Limits::default())
    }

    #[test]
    fn plain_heads_pass_with_their_framing() {
        assert_eq!(read("GET / HTTP/1.1\r\nhost: a\r\n\r\nrest"), Ok(Some((27, State::Head))));
        assert_eq!(read("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").map(|step| step.map(|step| step.1)), Ok(Some(State::Length(5))));
        assert_eq!(
            read("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n").map(|step| step.map(|step| step.1)),
            Ok(Some(State::ChunkLine))
        );
        assert_eq!(read("\r\nGET / HTTP/1.0\r\n\r\n").map(|step| step.is_some()), Ok(true));
        for partial in ["", "GET", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\nhost: a\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r"] {
            assert_eq!(read(partial), Ok(None), "{partial:?}");
        }
    }

    #[test]
    fn only_a_websocket_upgrade_holds_back_what_follows() {
        let state = |line: &str, fields: &str| read(&format!("{line}\r\nhost: a\r\n{fields}\r\n\r\n")).unwrap().unwrap().1;
        let get = |fields: &str| state("GET / HTTP/1.1", fields);
        for fields in [
            "upgrade: websocket\r\nconnection: upgrade",
            "Connection:Upgrade\r\nUPGRADE:WebSocket ",
            "connection: keep-alive, \tUpgrade\r\nupgrade: h2c,websocket,",
            "connection: close\r\nconnection: upgrade\r\nupgrade: h2c\r\nupgrade: websocket",
            "upgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 0",
        ] {
            assert_eq!(get(fields), State::Held, "{fields}");
        }
        for fields in [
            "upgrade: websocket",
            "connection: upgrade",
            "upgrade: h2c\r\nconnection: upgrade",
            "upgrade: websockets\r\nconnection: upgrade",
            "upgrade: websocket/13\r\nconnection: upgrade",
            "upgrade: web socket\r\nconnection: upgrade",
            "upgrade: websocket\r\nconnection: upgraded",
            "x-upgrade: websocket\r\nconnection: upgrade",
        ] {
            assert_eq!(get(fields), State::Head, "{fields}");
        }
        let fields = "upgrade: websocket\r\nconnection: upgrade";
        for line in ["POST / HTTP/1.1", "HEAD / HTTP/1.1", "get / HTTP/1.1", "GETS / HTTP/1.1", "GET / HTTP/1.0"] {
            assert_eq!(state(line, fields), State::Head, "{line}");
        }
        assert_eq!(get(&format!("{fields}\r\ncontent-length: 5")), State::Length(5));
        assert_eq!(get(&format!("{fields}\r\ntransfer-encoding: chunked")), State::ChunkLine);
    }

    #[test]
    fn heads_with_two_readings_are_refused() {
        for (fields, reason) in [
            ("content-length: 5\r\ntransfer-encoding: chunked", Reason::Framing),
            ("transfer-encoding: chunked\r\ncontent-length: 5", Reason::Framing),
            ("content-length: 5\r\ncontent-length: 5", Reason::Framing),
            ("content-length: 5\r\ncontent-length: 6", Reason::Framing),
            ("content-length: 5,5", Reason::Framing),
            ("content-length: +5", Reason::Framing),
            ("content-length: 0x5", Reason::Framing),
            ("content-length:", Reason::Framing),
            ("content-length: -1", Reason::Framing),
            ("content-length: 99999999999999999999", Reason::Framing),
            ("transfer-encoding: ,chunked", Reason::Framing),
            ("transfer-encoding: xchunked", Reason::Framing),
            ("transfer-encoding: chunked, identity", Reason::Framing),
            ("transfer-encoding: identity", Reason::Framing),
            ("transfer-encoding:\tchunked", Reason::Framing),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", Reason::Framing),
            ("transfer-encoding: x\r\n chunked", Reason::Framing),
            ("transfer-encoding : chunked", Reason::Framing),
            ("x: a\r\n b", Reason::Framing),
            ("x: a\rb", Reason::Framing),
            ("x: a\nb: c", Reason::Framing),
            ("x: a\0b", Reason::Framing),
            ("x: a\u{1}b", Reason::Framing),
            ("no-colon", Reason::Framing),
            (": empty", Reason::Framing),
            ("a b: c", Reason::Framing),
            ("host: b", Reason::AmbiguousHost),
        ] {
            assert_eq!(read(&format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n")), Err(reason), "{fields:?}");
        }
        for (line, reason) in [
            ("GET /", Reason::Framing),
            ("GET / HTTP/2.0", Reason::Framing),
            ("GET / http/1.1", Reason::Framing),
            ("GET  HTTP/1.1", Reason::EmptyPath),
            (" GET / HTTP/1.1", Reason::InvalidMethod),
            ("GE(T / HTTP/1.1", Reason::InvalidMethod),
            ("CONNECT a:1 HTTP/1.1", Reason::Connect),
            ("GET /a b HTTP/1.1", Reason::AmbiguousPath),
            ("GET /a#b HTTP/1.1", Reason::AmbiguousPath),
            ("GET /\u{e9} HTTP/1.1", Reason::AmbiguousPath),
            ("GET /?a#b HTTP/1.1", Reason::InvalidQuery),
        ] {
            assert_eq!(read(&format!("{line}\r\nhost: a\r\n\r\n")), Err(reason), "{line:?}");
        }
        assert_eq!(read("GET / HTTP/1.1\r\n\r\n"), Err(Reason::AmbiguousHost));
        assert_eq!(read("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"), Err(Reason::Framing));
        assert_eq!(read("GET / HTTP/1.1\nhost: a\n\n"), Err(Reason::Framing));
        let many = "x: y\r\n".repeat(bounds::HEADERS + 1);
        assert_eq!(read(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")), Err(Reason::TooManyHeaders));
        let long = "x".repeat(bounds::HEAD + 1);
        assert_eq!(read(&format!("GET / HTTP/1.1\r\nx: {long}")), Err(Reason::HeadersTooLarge));
    }

    #[test]
    fn broken_chunks_are_errors() {
        for line in ["\r\n", "g\r\n", "5 \r\n", "0x5\r\n", "-5\r\n", "5\n", "5\rx", "5;a\rb\r\n", "5;\u{1}\r\n", "ffffffffffffffff\r\n"] {
            assert!(chunk_line(line.as_bytes()).is_err(), "{line:?}");
        }
        assert_eq!(chunk_line(b"1A;x=y\r\nz").unwrap(), Some((8, State::Chunk(26))));
        assert_eq!(chunk_line(b"0\r\n").unwrap(), Some((3, State::Trailers)));
        assert!(crlf(b"x").is_err());
        for section in ["a b: c", "content-length: 0", "x: y\r\nTransfer-Encoding: chunked", "Host: a", " folded"] {
            assert!(trailers(format!("{section}\r\n\r\n").as_bytes()).is_err(), "{section}");
        }
        assert_eq!(trailers(b"a: c\r\n\r\n").unwrap(), Some(8));
    }
}
