//! The bytes of an HTTP/1.1 connection into the same bytes, once their framing has one reading only (RFC 9112).
//! A head in doubt never reaches the parser behind: a refusal stands in its place, and nothing is read after it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::bounds;
use crate::policy::Reason;
use crate::request::method::is_token_byte;

/// The method of the request that stands for a refused one.
pub const REFUSED: &str = "SCOPEGATE-REFUSED";
const STAND_IN: &[u8] = b"SCOPEGATE-REFUSED / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// What one read asks the socket for.
const READ: usize = 8 * 1024;
/// What one read in the middle of a body asks for.
const DIRECT: usize = 64 * 1024;

/// Why the stand-in stands there, for the service behind the parser.
pub type Refusal = Rc<Cell<Option<Reason>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkLine,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Nothing more is read.
    Refused,
    /// A body's framing broke; the next read tells.
    Broken,
}

/// Reads through, checks, and writes through untouched.
#[derive(Debug)]
pub struct Checked<T> {
    inner: T,
    state: State,
    /// Read from the socket; `given` bytes are with the parser, those up to `good` may go to it.
    inbox: BytesMut,
    given: usize,
    good: usize,
    refusal: Refusal,
}

impl<T> Checked<T> {
    pub fn new(inner: T, refusal: Refusal) -> Self {
        Self { inner, state: State::Head, inbox: BytesMut::new(), given: 0, good: 0, refusal }
    }

    /// Checks as much of the inbox as is there. `Err` is a body whose framing broke.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            let rest = self.inbox.get(self.good..).unwrap_or_default();
            let step = match self.state {
                State::Head => match head(rest) {
                    Ok(None) => return Ok(()),
                    Ok(Some((length, state))) => Some((length, state)),
                    Err(reason) => {
                        self.refuse(reason);
                        return Ok(());
                    }
                },
                State::Length(0) => Some((0, State::Head)),
                State::Length(left) => part(rest, left).map(|length| (length, State::Length(left - length as u64))),
                State::ChunkLine => chunk_line(rest)?,
                State::Chunk(0) => Some((0, State::ChunkEnd)),
                State::Chunk(left) => part(rest, left).map(|length| (length, State::Chunk(left - length as u64))),
                State::ChunkEnd => crlf(rest)?.map(|length| (length, State::ChunkLine)),
                State::Trailers => trailers(rest)?.map(|length| (length, State::Head)),
                State::Refused | State::Broken => return Ok(()),
            };
            let Some((length, state)) = step else { return Ok(()) };
            self.good += length;
            self.state = state;
        }
    }

    fn refuse(&mut self, reason: Reason) {
        self.inbox.truncate(self.good);
        self.inbox.extend_from_slice(STAND_IN);
        self.good = self.inbox.len();
        self.state = State::Refused;
        self.refusal.set(Some(reason));
    }

    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let end = self.good.min(self.given + buffer.remaining());
        buffer.put_slice(self.inbox.get(self.given..end).unwrap_or_default());
        self.given = end;
        if self.given == self.inbox.len() {
            self.inbox.clear();
            (self.given, self.good) = (0, 0);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Checked<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.good > this.given {
                this.give(buffer);
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Refused => return Poll::Pending,
                State::Broken => return Poll::Ready(Err(broken())),
                State::Head | State::Length(_) | State::ChunkLine | State::Chunk(_) | State::ChunkEnd | State::Trailers => {}
            }
            // The middle of a long body goes straight to the parser.
            if let (State::Length(left), true) = (this.state, this.inbox.is_empty()) {
                let room = buffer.remaining().min(usize::try_from(left).unwrap_or(usize::MAX)).min(DIRECT);
                let mut window = ReadBuf::new(buffer.initialize_unfilled_to(room));
                ready!(Pin::new(&mut this.inner).poll_read(context, &mut window))?;
                let count = window.filled().len();
                buffer.advance(count);
                this.state = if left == count as u64 { State::Head } else { State::Length(left - count as u64) };
                return Poll::Ready(Ok(()));
            }
            this.inbox.reserve(READ);
            if ready!(poll_read_buf(Pin::new(&mut this.inner), context, &mut this.inbox))? == 0 {
                // The end. Half a head is refused, so that nothing can complete it; half a body goes on, and the parser finds it cut short.
                if this.state == State::Head && this.inbox.len() > this.good {
                    this.refuse(Reason::Framing);
                    continue;
                }
                this.good = this.inbox.len();
                this.give(buffer);
                return Poll::Ready(Ok(()));
            }
            if this.advance().is_err() {
                // Whatever came before the break goes first, however the bytes arrived.
                this.state = State::Broken;
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Checked<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Unread bytes would turn the close into a reset, which can overtake the refusal on its way to the client.
        if self.state == State::Refused {
            let mut scratch = [0; READ];
            for _ in 0..8 {
                let mut scratch = ReadBuf::new(&mut scratch);
                match Pin::new(&mut self.inner).poll_read(context, &mut scratch) {
                    Poll::Ready(Ok(())) if !scratch.filled().is_empty() => {}
                    Poll::Ready(_) | Poll::Pending => break,
                }
            }
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

fn part(rest: &[u8], left: u64) -> Option<usize> {
    let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    (length > 0).then_some(length)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "chunked framing is broken")
}

/// The length of a head and what follows it; `None` where it is not whole yet.
fn head(bytes: &[u8]) -> Result<Option<(usize, State)>, Reason> {
    // RFC 9112 §2.2: an empty line or two before a request is an old client's habit.
    let blank = if bytes.starts_with(b"\r\n\r\n") {
        4
    } else if bytes.starts_with(b"\r\n") {
        2
    } else {
        0
    };
    let mut lines = Lines { bytes, at: blank };
    let mut first = None;
    let mut fields = Fields::default();
    loop {
        match lines.next() {
            Err(()) => return Err(Reason::Framing),
            Ok(None) if bytes.len() > bounds::HEAD => return Err(Reason::HeadersTooLarge),
            Ok(None) => return Ok(None),
            Ok(Some([])) if first.is_some() => break,
            Ok(Some(line)) if first.is_none() => first = Some(line),
            Ok(Some(line)) => fields.read(line)?,
        }
    }
    if lines.at > bounds::HEAD || fields.count > bounds::HEADERS {
        return Err(Reason::HeadersTooLarge);
    }
    let is_1_1 = request_line(first.unwrap_or_default())?;
    Ok(Some((lines.at, fields.framing(is_1_1)?)))
}

/// Lines that end in CRLF; any other CR, LF or NUL is an error.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, ()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(end) = memchr::memchr3(b'\n', b'\r', 0, rest) else { return Ok(None) };
        match rest.get(end..end + 2) {
            Some(b"\r\n") => {
                self.at += end + 2;
                Ok(rest.get(..end))
            }
            None if rest.get(end) == Some(&b'\r') => Ok(None),
            _ => Err(()),
        }
    }
}

/// Whether the version is 1.1. Exactly `method SP target SP version`.
fn request_line(line: &[u8]) -> Result<bool, Reason> {
    let method_end = memchr::memchr(b' ', line).ok_or(Reason::Framing)?;
    let version_start = memchr::memrchr(b' ', line).filter(|last| *last > method_end).ok_or(Reason::Framing)?;
    let method = line.get(..method_end).unwrap_or_default();
    if method.is_empty() || !method.iter().copied().all(is_token_byte) {
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

/// What the header fields say of framing.
#[derive(Default)]
struct Fields {
    count: usize,
    length: Option<u64>,
    chunked: bool,
    hosts: usize,
}

impl Fields {
    fn read(&mut self, line: &[u8]) -> Result<(), Reason> {
        self.count += 1;
        // A line that begins with white space is a fold, and a space before the colon is no token: both fall out here.
        let colon = memchr::memchr(b':', line).ok_or(Reason::Framing)?;
        let (name, value) = line.split_at_checked(colon).ok_or(Reason::Framing)?;
        if name.is_empty() || !name.iter().copied().all(is_token_byte) {
            return Err(Reason::Framing);
        }
        let value = value.get(1..).unwrap_or_default();
        // Without an early end, so that the loop becomes a few wide comparisons.
        if value.iter().fold(false, |odd, byte| odd | (*byte < 32 && *byte != b'\t') | (*byte == 127)) {
            return Err(Reason::Framing);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.hosts += 1,
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

type Step = Option<(usize, State)>;

/// `chunk-size [ chunk-ext ] CRLF` (RFC 9112 §7.1).
fn chunk_line(bytes: &[u8]) -> io::Result<Step> {
    let mut lines = Lines { bytes, at: 0 };
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

fn crlf(bytes: &[u8]) -> io::Result<Option<usize>> {
    match bytes {
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [] | [b'\r'] => Ok(None),
        _ => Err(broken()),
    }
}

/// The trailer section up to its empty line.
fn trailers(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut lines = Lines { bytes, at: 0 };
    let mut fields = Fields::default();
    loop {
        match lines.next().map_err(|()| broken())? {
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
        head(text.as_bytes())
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
        assert_eq!(read(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")), Err(Reason::HeadersTooLarge));
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
        assert!(trailers(b"a b: c\r\n\r\n").is_err());
        assert_eq!(trailers(b"a: c\r\n\r\n").unwrap(), Some(8));
    }
}
