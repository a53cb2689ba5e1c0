//! The bytes of an HTTP/1.1 connection into the same bytes, once their framing has one reading only (RFC 9112).
//! A head in doubt never reaches the parser behind: a refusal stands in its place, and nothing is read after it.

mod budget;
pub mod chunks;
pub mod frames;
mod grammar;
mod heads;
mod walk;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::pulse::Pulse;
use crate::policy::Reason;
use grammar::{Head, chunk_line, crlf, trailers};

pub use heads::{Heads, Limits};

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
pub struct Checked<T> {
    inner: T,
    state: State,
    /// The head that is coming in.
    head: Head,
    limits: Limits,
    pulse: Option<Rc<Pulse>>,
    /// Read from the socket; `given` bytes are with the parser, those up to `good` may go to it.
    inbox: BytesMut,
    given: usize,
    good: usize,
    refusal: Refusal,
    holds: bool,
}

/// What was read may hold a credential.
impl<T> fmt::Debug for Checked<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Checked").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<T> Checked<T> {
    pub fn new(inner: T, refusal: Refusal) -> Self {
        let (head, limits) = (Head::default(), Limits::default());
        Self { inner, state: State::Head, head, limits, pulse: None, inbox: BytesMut::new(), given: 0, good: 0, refusal, holds: false }
    }

    /// Other limits than the usual, and somebody who watches the clock.
    pub fn within(self, limits: Limits, pulse: Rc<Pulse>) -> Self {
        Self { limits, pulse: Some(pulse), ..self }
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

    /// Whether its client may still be sending what nobody reads.
    pub fn is_unread(&self) -> bool {
        match self.state {
            State::Refused | State::Broken | State::Length(_) | State::ChunkLine | State::Chunk(_) | State::ChunkEnd | State::Trailers => true,
            State::Head | State::Held | State::Open => false,
        }
    }

    pub fn into_inner(self) -> T {
        self.inner
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
                State::Head => match self.head.read(rest, self.limits) {
                    Ok(None) => {
                        self.tell(rest.iter().any(|byte| !matches!(byte, b'\r' | b'\n')));
                        return Ok(());
                    }
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
            if self.state == State::Head {
                self.head = Head::default();
                self.tell(false);
            }
            self.good += length;
            self.state = state;
        }
    }

    /// Tells whether a head is coming in.
    fn tell(&self, head: bool) {
        if let Some(pulse) = &self.pulse {
            pulse.reading(head);
        }
    }

    /// Tells whether a write waits for the client.
    fn waits<R>(&self, written: Poll<R>) -> Poll<R> {
        if let Some(pulse) = &self.pulse {
            pulse.writing(written.is_pending());
        }
        written
    }

    fn refuse(&mut self, reason: Reason) {
        self.tell(false);
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
            if this.state == State::Head && this.pulse.as_ref().is_some_and(|pulse| pulse.is_late()) {
                this.refuse(Reason::RequestTimeout);
                continue;
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
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.waits(written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.waits(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.waits(flushed)
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
