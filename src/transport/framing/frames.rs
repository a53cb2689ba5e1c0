//! The bytes of an HTTP/2 connection into the same bytes, as long as they carry requests.
//! Parses no frame for the parser behind: counts them, and ends a connection that sends too many others (RFC 9113 §10.5).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::budget::Budget;
use super::walk::{CONTINUATION, END_HEADERS, Frame, GOAWAY, HEADERS, RST_STREAM, Walk};
use crate::transport::linger::linger;
use crate::transport::pulse::{Overrun, Pulse};

/// What a client sends before its first frame (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// RFC 9113 §7.
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Told the key of a bound that was exceeded.
pub type Told = Box<dyn Fn(&'static str)>;

/// Reads what was read ahead and then through, counts, and writes through untouched.
pub struct Frames<T> {
    /// `None` once the connection has been refused.
    inner: Option<T>,
    ahead: BytesMut,
    incoming: Walk,
    outgoing: Walk,
    budget: Budget,
    /// HEADERS or CONTINUATION without END_HEADERS came last.
    block: bool,
    /// The last stream that a client opened.
    last: u32,
    /// The bound that was exceeded.
    exceeded: Option<&'static str>,
    /// Waits for the end of a frame on its way out.
    reader: Option<Waker>,
    /// The parser behind has refused the connection by itself.
    refused: bool,
    pulse: Rc<Pulse>,
    told: Told,
}

impl<T> Frames<T> {
    pub fn new(inner: T, ahead: BytesMut, rate: u32, pulse: Rc<Pulse>, told: Told) -> Self {
        Self {
            inner: Some(inner),
            ahead,
            incoming: Walk::new(PREFACE),
            outgoing: Walk::new(0),
            budget: Budget::new(rate),
            block: false,
            last: 0,
            exceeded: None,
            reader: None,
            refused: false,
            pulse,
            told,
        }
    }

    fn came(&mut self, bytes: &[u8]) {
        let Self { incoming, budget, block, last, exceeded, .. } = self;
        incoming.pass(bytes, |frame: Frame| {
            if matches!(frame.kind, HEADERS | CONTINUATION) {
                *block = frame.flags & END_HEADERS == 0;
                *last = frame.stream.max(*last);
            }
            if !budget.takes(frame) {
                *exceeded = exceeded.or(Some("control_frames"));
            }
        });
        // What is not DATA comes at once, or somebody lets it wait. Bodies have their own time.
        let begun = self.block || self.incoming.inside_other();
        self.pulse.reading(begun);
    }

    fn went(&mut self, bytes: &[u8]) {
        let Self { outgoing, budget, refused, told, .. } = self;
        outgoing.pass(bytes, |frame| {
            budget.gives(frame);
            match (frame.kind, frame.numbers) {
                (RST_STREAM, (REFUSED_STREAM, _)) => told("streams"),
                (GOAWAY, (_, code)) if code != 0 => {
                    *refused = true;
                    if code == ENHANCE_YOUR_CALM {
                        told("control_frames");
                    }
                }
                _ => {}
            }
        });
        if self.exceeded.is_some()
            && !self.outgoing.inside()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Frames<T> {
    /// Says that it is enough, between two frames, and ends the connection.
    fn end(&mut self, bound: &'static str) -> io::Error {
        (self.told)(bound);
        if let Some(inner) = self.inner.take() {
            let mut goaway = vec![0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
            goaway.extend(self.last.to_be_bytes());
            goaway.extend(ENHANCE_YOUR_CALM.to_be_bytes());
            tokio::task::spawn_local(async move { linger(inner, &goaway).await });
        }
        gone()
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> AsyncRead for Frames<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.pulse.is_late() {
            this.exceeded = this.exceeded.or(Some(Overrun::Head.as_str()));
        }
        if this.exceeded.is_none() {
            let before = buffer.filled().len();
            if this.ahead.is_empty() {
                let Some(inner) = &mut this.inner else { return Poll::Ready(Err(gone())) };
                ready!(Pin::new(inner).poll_read(context, buffer))?;
            } else {
                let length = this.ahead.len().min(buffer.remaining());
                buffer.put_slice(this.ahead.get(..length).unwrap_or_default());
                this.ahead.advance(length);
            }
            let came = buffer.filled().get(before..).unwrap_or_default();
            this.came(came);
            if this.exceeded.is_some() {
                buffer.set_filled(before);
            }
        }
        match this.exceeded {
            Some(_) if this.outgoing.inside() => {
                this.reader = Some(context.waker().clone());
                Poll::Pending
            }
            Some(bound) => Poll::Ready(Err(this.end(bound))),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> AsyncWrite for Frames<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // On its way out, a connection finishes the frame that it has begun and begins no other.
        let most = if this.exceeded.is_some() { this.outgoing.left() } else { bytes.len() };
        if most == 0 && !bytes.is_empty() {
            return Poll::Pending;
        }
        let bytes = bytes.get(..most).unwrap_or(bytes);
        let Some(inner) = &mut this.inner else { return Poll::Ready(Err(gone())) };
        let written = Pin::new(inner).poll_write(context, bytes);
        this.pulse.writing(written.is_pending());
        let count = ready!(written)?;
        this.went(bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.exceeded.is_some() {
            let first = bytes.iter().find(|bytes| !bytes.is_empty()).map_or(&[][..], |bytes| bytes);
            return self.poll_write(context, first);
        }
        let Some(inner) = &mut this.inner else { return Poll::Ready(Err(gone())) };
        let written = Pin::new(inner).poll_write_vectored(context, bytes);
        this.pulse.writing(written.is_pending());
        let count = ready!(written)?;
        let mut left = count;
        for bytes in bytes {
            let part = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            left -= part.len();
            this.went(part);
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(Err(gone())) };
        let flushed = Pin::new(inner).poll_flush(context);
        this.pulse.writing(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refused
            && let Some(inner) = this.inner.take()
        {
            tokio::task::spawn_local(async move { linger(inner, &[]).await });
        }
        match &mut this.inner {
            Some(inner) => Pin::new(inner).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<T> std::fmt::Debug for Frames<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Frames").field("exceeded", &self.exceeded).finish_non_exhaustive()
    }
}
