//! A request body from a client into the same body, as long as it comes at the pace that it has to.
//! Blames the client only for the time that somebody waits for it, and passes on no trailer that says what only a head may say.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::flow::{Flow, Streamed};
use super::forward::clean_trailers;
use crate::gate::Gate;
use crate::request::Body as Shown;

/// How long an average is taken before it counts.
const GRACE: Duration = Duration::from_secs(10);

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What a body must keep up with.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub idle: Duration,
    /// Bytes a second.
    pub rate: u64,
}

/// What whoever sends the body on wants to know of it.
#[derive(Debug, Default)]
pub struct Keeping {
    /// The key of the bound that the body fell short of.
    broken: OnceCell<&'static str>,
    /// Nobody minds the pace any longer.
    free: Cell<bool>,
    /// Nobody wants the rest.
    cut: Cell<bool>,
    /// Of whoever waits for it.
    waker: RefCell<Option<Waker>>,
}

/// A body from the other side: an answer as it comes, a request at its pace.
#[derive(Debug)]
pub struct Paced {
    body: Streamed,
    /// What was read ahead of its turn.
    ahead: VecDeque<Bytes>,
    clock: Option<Box<Clock>>,
}

/// The beginning of a body, for whoever has to look into it.
#[derive(Debug)]
pub enum Beginning {
    /// All of it.
    Whole(Bytes),
    /// There is more than was asked for: the body goes on as it came.
    More(Paced),
    /// It broke off.
    Broken,
}

#[derive(Debug)]
struct Clock {
    pace: Pace,
    gate: Arc<Gate>,
    keeping: Rc<Keeping>,
    count: Count,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What came, and how long it was waited for.
#[derive(Debug, Default)]
struct Count {
    bytes: u64,
    waited: Duration,
    since: Option<Instant>,
}

impl Beginning {
    /// To the judge: an empty body is none.
    pub fn shown(&self) -> Shown<'_> {
        match self {
            Self::Whole(bytes) if !bytes.is_empty() => Shown::Whole(bytes),
            Self::Whole(_) | Self::More(_) | Self::Broken => Shown::Partial,
        }
    }

    /// What goes on, and what of it was shown; `None` where the rest will never come.
    pub fn onward(self) -> Option<(Flow, Option<Bytes>)> {
        match self {
            Self::Whole(bytes) => Some((Either::Right(Full::new(bytes.clone())), Some(bytes).filter(|bytes| !bytes.is_empty()))),
            Self::More(body) => Some((Either::Left(body), None)),
            Self::Broken => None,
        }
    }
}

impl From<Streamed> for Paced {
    fn from(body: Streamed) -> Self {
        Self { body, ahead: VecDeque::new(), clock: None }
    }
}

impl Paced {
    pub fn new(body: Streamed, pace: Pace, gate: &Arc<Gate>) -> (Self, Rc<Keeping>) {
        let keeping = Rc::<Keeping>::default();
        let clock = (!body.is_end_stream())
            .then(|| Box::new(Clock { pace, gate: Arc::clone(gate), keeping: Rc::clone(&keeping), count: Count::default(), timer: None }));
        (Self { body, ahead: VecDeque::new(), clock }, keeping)
    }

    /// Reads the body to its end, if that comes within `limit` bytes. Trailers of a body that was read whole are gone.
    pub async fn begin(mut self, limit: usize) -> Beginning {
        let (mut read, mut length) = (VecDeque::new(), 0);
        while length <= limit {
            let data = match self.frame().await {
                Some(Ok(frame)) => frame.into_data().ok(),
                Some(Err(_)) => return Beginning::Broken,
                None => {
                    let whole = read.iter().fold(BytesMut::with_capacity(length), |mut whole, data: &Bytes| {
                        whole.extend_from_slice(data);
                        whole
                    });
                    return Beginning::Whole(whole.freeze());
                }
            };
            let Some(data) = data.filter(|data| !data.is_empty()) else { continue };
            length += data.len();
            read.push_back(data);
        }
        self.ahead = read;
        Beginning::More(self)
    }
}

impl Keeping {
    /// Whether the body has fallen short.
    pub fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    /// Breaks the body off, because its answer was.
    pub fn cut(&self) {
        self.cut.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// From here on both sides talk at their own pace.
    pub fn release(&self) {
        self.free.set(true);
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Self { body, ahead, clock } = &mut *self;
        if let Some(data) = ahead.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let polled = Pin::new(body).poll_frame(context);
        let Some(clock) = clock else { return polled };
        if clock.keeping.cut.get() {
            return Poll::Ready(Some(Err("the answer was ended".into())));
        }
        if polled.is_pending() {
            clock.keeping.waker.replace(Some(context.waker().clone()));
        }
        let short = match &polled {
            Poll::Ready(Some(Ok(frame))) => clock.count.came(frame.data_ref().map_or(0, Bytes::len), clock.pace),
            Poll::Ready(Some(Err(_)) | None) => None,
            Poll::Pending => clock.wait(context),
        };
        match short.filter(|_| !clock.keeping.free.get()) {
            Some(bound) => {
                clock.gate.telemetry.metrics.refused(bound);
                let _ = clock.keeping.broken.set(bound);
                Poll::Ready(Some(Err(bound.into())))
            }
            None => polled.map(|polled| polled.map(|frame| Ok(clock.cleaned(frame?)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (ahead, rest) = (self.ahead.iter().map(|data| data.len() as u64).sum::<u64>(), self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ahead));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ahead)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Clock {
    /// The bound that is exceeded by now; asks to be woken when it would be.
    fn wait(&mut self, context: &mut Context<'_>) -> Option<&'static str> {
        let (at, bound) = self.count.due(self.pace);
        if self.keeping.free.get() {
            return None;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(context).is_ready().then_some(bound)
    }

    fn cleaned(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_trailers() {
            Ok(mut trailers) => {
                clean_trailers(&mut trailers, self.gate.live.current().as_deref());
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }
    }
}

impl Count {
    fn came(&mut self, bytes: usize, pace: Pace) -> Option<&'static str> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        (self.waited > self.rated(pace)).then_some("body_rate")
    }

    /// When the wait will have been too long, and for what.
    fn due(&mut self, pace: Pace) -> (Instant, &'static str) {
        let since = *self.since.get_or_insert_with(Instant::now);
        let (idle, slow) = (since + pace.idle, since + self.rated(pace).saturating_sub(self.waited));
        if slow < idle { (slow, "body_rate") } else { (idle, "body_idle") }
    }

    /// How long so much may be waited for.
    fn rated(&self, pace: Pace) -> Duration {
        Duration::from_millis(self.bytes.saturating_mul(1000) / pace.rate.max(1)).max(GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { idle: Duration::from_secs(30), rate: 100 };

    /// Waits for `bytes` for some seconds.
    async fn after(count: &mut Count, seconds: u64, bytes: usize) -> Option<&'static str> {
        count.due(PACE);
        tokio::time::advance(Duration::from_secs(seconds)).await;
        count.came(bytes, PACE)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_cut_once_its_average_is_too_low() {
        let mut count = Count::default();
        assert_eq!(after(&mut count, 9, 1).await, None, "the first ten seconds");
        assert_eq!(after(&mut count, 2, 1).await, Some("body_rate"));
        let mut count = Count::default();
        for _ in 0..1000 {
            assert_eq!(after(&mut count, 1, 100).await, None, "at the rate");
        }
        assert_eq!(count.due(PACE), (Instant::now() + Duration::from_secs(0), "body_rate"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_cut_and_time_that_nobody_waited_does_not_count() {
        let mut count = Count::default();
        count.came(1_000_000, PACE);
        tokio::time::advance(Duration::from_secs(100_000)).await;
        assert_eq!(count.due(PACE), (Instant::now() + Duration::from_secs(30), "body_idle"));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(count.due(PACE), (Instant::now() + Duration::from_secs(10), "body_idle"), "asked again, the wait is the same");
        assert_eq!(count.came(1, PACE), None);
    }
}
