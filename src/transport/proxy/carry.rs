//! The two ends of an agreed WebSocket into one conversation, until an end closes it or the gate has to.
//! Ends no conversation in the middle of a frame that can be finished, and carries nothing that is no frame.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use super::frames::{Frames, close};
use crate::telemetry::Ended;
use crate::transport::bounds;

/// What one read asks for.
const READ: usize = 16 * 1024;
/// Reads of one direction before the other has its turn.
const ROUNDS: usize = 16;

/// Why a direction carries no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Its sender is gone.
    Unsent,
    /// Its receiver is gone.
    Unread,
    Malformed,
}

/// One direction.
struct Way {
    frames: Frames,
    /// Read and not yet written; the first `good` bytes may go on.
    held: BytesMut,
    good: usize,
    written: bool,
    over: Option<Over>,
    /// Whether a Close frame of ours, or of the sender, is the last that goes this way.
    parted: bool,
}

struct Tunnel<C, U> {
    client: C,
    upstream: U,
    up: Way,
    down: Way,
    moved: Instant,
}

/// Carries frames both ways until `lost` says why they must not go on, nothing has moved for `idle`, or an end is done.
/// Tells why, where it is the gate that ends it.
pub async fn carry<C, U>((client, upstream): (C, U), lost: impl Future<Output = Ended>, idle: Duration, tell: impl FnOnce(Ended))
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut tunnel = Tunnel { client, upstream, up: Way::new(true), down: Way::new(false), moved: Instant::now() };
    let ended = tokio::select! {
        ended = lost => Some(ended),
        ended = tunnel.run(idle) => ended,
    };
    match ended {
        Some(ended) => {
            tell(ended);
            tunnel.part(ended).await;
        }
        None => tunnel.finish().await,
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin, U: AsyncRead + AsyncWrite + Unpin> Tunnel<C, U> {
    async fn run(&mut self, idle: Duration) -> Option<Ended> {
        loop {
            let moved = self.moved;
            match timeout_at(moved + idle, std::future::poll_fn(|context| self.poll(context))).await {
                Ok(ended) => return ended,
                Err(_) if self.moved == moved => return Some(Ended::Idle),
                Err(_) => {}
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Ended>> {
        let Self { client, upstream, up, down, moved } = self;
        let is_closing = up.frames.is_closed() || down.frames.is_closed();
        if let Poll::Ready(over) = up.poll(context, (client, upstream), moved) {
            return Poll::Ready(match over {
                Over::Unsent => None,
                Over::Malformed => Some(Ended::Protocol),
                Over::Unread => (!is_closing).then_some(Ended::Upstream),
            });
        }
        if let Poll::Ready(over) = down.poll(context, (upstream, client), moved) {
            return Poll::Ready(match over {
                Over::Unread => None,
                Over::Malformed => Some(Ended::Upstream),
                Over::Unsent => (!is_closing).then_some(Ended::Upstream),
            });
        }
        Poll::Pending
    }

    /// An end has closed in its own words, or the client is gone: the other gets a moment to finish (RFC 6455 §7.1.1).
    async fn finish(&mut self) {
        let Self { client, upstream, up, down, moved } = self;
        if up.over.is_some() {
            let _ = timeout(bounds::FAREWELL, upstream.shutdown()).await;
            let _ = timeout(bounds::LINGER, std::future::poll_fn(|context| down.poll(context, (upstream, client), moved))).await;
        } else {
            let _ = timeout(bounds::FAREWELL, client.shutdown()).await;
            let _ = timeout(bounds::LINGER, std::future::poll_fn(|context| up.poll_rest(context, client))).await;
        }
        self.close().await;
    }

    /// The gate ends it: a Close frame to each end that has had none, and a moment for its answer.
    async fn part(&mut self, ended: Ended) {
        let (code, reason) = words(ended);
        let to_client = close(code, reason, None);
        let to_upstream = close(1001, "going away", Some(getrandom::u32().unwrap_or_default().to_be_bytes()));
        let Self { client, upstream, up, down, .. } = self;
        if down.over == Some(Over::Unsent) {
            // Nobody is there to be told.
            up.over = Some(Over::Unread);
        }
        let farewell = std::future::poll_fn(|context| {
            let said = down.poll_part(context, (upstream, client), &to_client);
            let told = up.poll_part(context, (client, upstream), &to_upstream);
            if said.is_ready() && told.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = timeout(bounds::FAREWELL, farewell).await;
        let answers = std::future::poll_fn(|context| {
            let answered = up.poll_rest(context, client);
            let told = down.poll_rest(context, upstream);
            if answered.is_ready() && told.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = timeout(bounds::FAREWELL, answers).await;
        self.close().await;
    }

    async fn close(&mut self) {
        let _ = timeout(bounds::FAREWELL, async { tokio::join!(self.client.shutdown(), self.upstream.shutdown()) }).await;
    }
}

impl Way {
    fn new(masked: bool) -> Self {
        Self { frames: Frames::new(masked), held: BytesMut::new(), good: 0, written: false, over: None, parted: false }
    }

    /// Carries until there is a reason not to; what came before it goes first.
    fn poll<F, T>(&mut self, context: &mut Context<'_>, (from, to): (&mut F, &mut T), moved: &mut Instant) -> Poll<Over>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        for _ in 0..ROUNDS {
            ready!(self.poll_write(context, to));
            if let Some(over) = self.over {
                return Poll::Ready(over);
            }
            match self.poll_read(context, from, READ) {
                Poll::Ready(()) => *moved = Instant::now(),
                Poll::Pending => {
                    ready!(self.poll_flush(context, to));
                    return self.over.map_or(Poll::Pending, Poll::Ready);
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Brings the frame under way to its end and sends `farewell` behind it; without that end, nothing can be said.
    fn poll_part<F, T>(&mut self, context: &mut Context<'_>, (from, to): (&mut F, &mut T), farewell: &[u8]) -> Poll<()>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_write(context, to));
            if self.over == Some(Over::Unread) {
                return Poll::Ready(());
            }
            if self.parted {
                return self.poll_flush(context, to);
            }
            match self.frames.left() {
                0 => {
                    self.parted = true;
                    self.held.clear();
                    if !self.frames.is_closed() {
                        self.held.extend_from_slice(farewell);
                        self.good = self.held.len();
                    }
                }
                _ if self.over.is_some() => return Poll::Ready(()),
                left => ready!(self.poll_read(context, from, usize::try_from(left).unwrap_or(READ).min(READ))),
            }
        }
    }

    /// Reads on and carries nothing, until the sender has closed or is gone.
    fn poll_rest<F: AsyncRead + Unpin>(&mut self, context: &mut Context<'_>, from: &mut F) -> Poll<()> {
        loop {
            match self.over {
                Some(Over::Unsent) => return Poll::Ready(()),
                None | Some(Over::Unread) if self.frames.is_closed() => return Poll::Ready(()),
                None | Some(Over::Unread | Over::Malformed) => {}
            }
            ready!(self.poll_read(context, from, READ));
            self.held.advance(self.good);
            self.good = 0;
            if self.over == Some(Over::Malformed) {
                self.held.clear();
            }
        }
    }

    fn poll_write<T: AsyncWrite + Unpin>(&mut self, context: &mut Context<'_>, to: &mut T) -> Poll<()> {
        while self.good > 0 && self.over != Some(Over::Unread) {
            match ready!(Pin::new(&mut *to).poll_write(context, self.held.get(..self.good).unwrap_or_default())) {
                Ok(count) if count > 0 => {
                    self.held.advance(count);
                    self.good -= count;
                    self.written = true;
                }
                Ok(_) | Err(_) => self.over = Some(Over::Unread),
            }
        }
        if self.held.is_empty() {
            // Most tunnels are quiet most of the time.
            self.held = BytesMut::new();
        }
        Poll::Ready(())
    }

    fn poll_flush<T: AsyncWrite + Unpin>(&mut self, context: &mut Context<'_>, to: &mut T) -> Poll<()> {
        if self.written {
            if ready!(Pin::new(to).poll_flush(context)).is_err() {
                self.over = Some(Over::Unread);
            }
            self.written = false;
        }
        Poll::Ready(())
    }

    /// Ready once something has been read, or never will be.
    fn poll_read<F: AsyncRead + Unpin>(&mut self, context: &mut Context<'_>, from: &mut F, most: usize) -> Poll<()> {
        let mut room = [0; READ];
        let mut room = ReadBuf::new(room.get_mut(..most).unwrap_or_default());
        let read = ready!(Pin::new(from).poll_read(context, &mut room));
        if read.is_err() || room.filled().is_empty() {
            self.over = Some(Over::Unsent);
            return Poll::Ready(());
        }
        self.held.extend_from_slice(room.filled());
        self.good += self.frames.walk(self.held.get(self.good..).unwrap_or_default());
        if self.frames.is_malformed() {
            self.over = Some(Over::Malformed);
        }
        Poll::Ready(())
    }
}

/// Close codes: 3000 and 3003 of the registry of RFC 6455 §11.7, the rest of §7.4.1.
fn words(ended: Ended) -> (u16, &'static str) {
    match ended {
        Ended::Expired => (3000, "credential expired"),
        Ended::Revoked => (3000, "credential revoked"),
        Ended::Scope => (3003, "insufficient scope"),
        Ended::Shutdown => (1001, "going away"),
        Ended::Idle => (1001, "idle"),
        Ended::Upstream => (1011, "upstream gone"),
        Ended::Protocol => (1002, "malformed frame"),
    }
}
