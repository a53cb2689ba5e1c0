//! The client's side of the short way: heads in, answers out.
//! Reads nothing ahead but what shows whether the client is still there.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use crate::config::settings::Bounds;
use crate::transport::drain::too_late;
use crate::transport::framing::{Heads, Limits};
use crate::transport::listener::Stream;

/// What one read asks for.
const READ: usize = 8 * 1024;
/// A longer head that does not come at once is the long way's to wait for.
const PARTIAL: usize = 16 * 1024;
const AT_ONCE: Duration = Duration::from_secs(1);

pub struct Client {
    pub stream: Stream,
    pub inbox: BytesMut,
    heads: Heads,
    clock: Clock,
    /// What a head gets here before the long way waits for it.
    at_once: Duration,
    send_idle: Duration,
}

/// Reads what is there: a client that sends nothing holds no buffer.
async fn read(stream: &mut Stream, inbox: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|context| {
        let mut space = [MaybeUninit::uninit(); READ];
        let mut scratch = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut scratch))?;
        inbox.extend_from_slice(scratch.filled());
        Poll::Ready(Ok(scratch.filled().len()))
    })
    .await
}

impl Client {
    pub fn new(stream: Stream, inbox: BytesMut, bounds: &Bounds) -> Self {
        let heads = Heads::new(Limits::from(bounds));
        Self { stream, inbox, heads, clock: Clock::new(), at_once: bounds.head_time.min(AT_ONCE), send_idle: bounds.send_idle }
    }

    /// The length of the next head. `None` where the long way has to look at it; `Err` where no more will come.
    pub async fn head(&mut self, idle: Duration, (drain, fresh): (&CancellationToken, bool)) -> io::Result<Option<usize>> {
        let mut begun = None;
        loop {
            let is_first = self.inbox.is_empty();
            if !is_first {
                match self.heads.length(&self.inbox) {
                    Ok(Some(length)) => return Ok(Some(length)),
                    Ok(None) if self.inbox.len() <= PARTIAL => {}
                    Ok(None) | Err(_) => return Ok(None),
                }
            }
            // However many reads it comes in.
            let limit = if is_first { idle } else { self.at_once.saturating_sub(begun.get_or_insert_with(Instant::now).elapsed()) };
            let Self { stream, inbox, clock, .. } = self;
            let read = clock.within(limit, async {
                tokio::select! {
                    biased;
                    read = read(stream, inbox) => read,
                    () = too_late(drain, fresh) => Ok(0),
                }
            });
            match read.await.transpose()? {
                Some(0) if is_first => return Err(io::ErrorKind::UnexpectedEof.into()),
                None if is_first => return Err(io::ErrorKind::TimedOut.into()),
                Some(0) | None => return Ok(None),
                Some(_) => {}
            }
        }
    }

    /// What `work` gives, `None` after `limit`, `Err` where the client goes away meanwhile.
    pub async fn watching<T>(&mut self, limit: Duration, work: impl Future<Output = T>) -> io::Result<Option<T>> {
        let Self { stream, inbox, clock, .. } = self;
        let mut work = pin!(work);
        let watched = poll_fn(|context| {
            if let Poll::Ready(value) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            // One byte is enough to know, and pipelined requests wait in the system's buffer.
            if inbox.is_empty() {
                let mut byte = [0];
                let mut scratch = ReadBuf::new(&mut byte);
                if let Poll::Ready(read) = Pin::new(&mut *stream).poll_read(context, &mut scratch) {
                    read?;
                    match scratch.filled() {
                        [] => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                        byte => inbox.extend_from_slice(byte),
                    }
                }
            }
            Poll::Pending
        });
        clock.within(limit, watched).await.transpose()
    }

    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Self { stream, clock, .. } = self;
            let written = clock.within(self.send_idle, stream.write(bytes)).await.ok_or(io::ErrorKind::TimedOut)??;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        let Self { stream, clock, .. } = self;
        clock.within(self.send_idle, stream.flush()).await.ok_or(io::ErrorKind::TimedOut)?
    }

    /// Says that nothing was cut off (RFC 8446 §6.1); TCP does by itself.
    pub async fn end(&mut self) {
        let Self { stream, clock, .. } = self;
        if matches!(stream, Stream::Tls(_)) {
            let _ = clock.within(AT_ONCE, stream.shutdown()).await;
        }
    }
}
