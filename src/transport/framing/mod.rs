//! The bytes of an HTTP/1.1 connection into the same bytes, once their framing has one reading only (RFC 9112).
//! A head in doubt never reaches the parser behind: a refusal stands in its place, and nothing is read after it.

pub mod chunks;
mod grammar;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::policy::Reason;
use grammar::{chunk_line, crlf, head, trailers};

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
    /// A WebSocket upgrade went to the parser; nothing of what follows does, because it may be no HTTP.
    Held,
    /// What was held, and then all that comes, untouched.
    Open,
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
    holds: bool,
}

/// The length of the head that `bytes` begin with, once it is whole. `Err` where its framing has not one reading.
pub fn head_length(bytes: &[u8]) -> Result<Option<usize>, Reason> {
    Ok(head(bytes)?.map(|(length, _)| length))
}

impl<T> Checked<T> {
    pub fn new(inner: T, refusal: Refusal) -> Self {
        Self { inner, state: State::Head, inbox: BytesMut::new(), given: 0, good: 0, refusal, holds: false }
    }

    /// A WebSocket upgrade is the last request that the parser gets to see: its answer is a tunnel or the end of the connection.
    pub fn holding_upgrades(self) -> Self {
        Self { holds: true, ..self }
    }

    /// What was read of the connection before it came here goes first.
    pub fn with(mut self, ahead: BytesMut) -> Self {
        self.inbox = ahead;
        if self.advance().is_err() {
            self.state = State::Broken;
        }
        self
    }

    pub fn is_held(&self) -> bool {
        self.state == State::Held
    }

    /// What was held back and everything after it, as it comes. Once a 101 has been answered; `None` where no upgrade is the last request.
    pub fn open(self) -> Option<Self> {
        (self.is_held() && self.given == self.good).then(|| Self { good: self.inbox.len(), state: State::Open, ..self })
    }

    /// Checks as much of the inbox as is there. `Err` is a body whose framing broke.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            let rest = self.inbox.get(self.good..).unwrap_or_default();
            let step = match self.state {
                State::Head => match head(rest) {
                    Ok(None) => return Ok(()),
                    Ok(Some((length, State::Held))) if !self.holds => Some((length, State::Head)),
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
                State::Held | State::Open | State::Refused | State::Broken => return Ok(()),
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
                State::Open => {
                    this.inbox = BytesMut::new();
                    return Pin::new(&mut this.inner).poll_read(context, buffer);
                }
                // The wake-up is the answer's: whoever opens the connection asks again.
                State::Held if this.inbox.len() - this.good >= READ => return Poll::Pending,
                State::Head | State::Length(_) | State::ChunkLine | State::Chunk(_) | State::ChunkEnd | State::Trailers | State::Held => {}
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
                if this.state == State::Held {
                    return Poll::Ready(Ok(()));
                }
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
        if matches!(self.state, State::Refused | State::Held) {
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
