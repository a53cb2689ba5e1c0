//! What goes on on a client's connection, and what is to be done about it when nothing does.
//! Reads and writes nothing itself; whoever moves bytes or answers requests tells it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::config::settings::Bounds;

/// What has taken longer than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// No request is open.
    Idle,
    /// A head is not whole.
    Head,
    /// The client takes no byte of what is written.
    Send,
}

impl Overrun {
    /// The bound's key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Head => "head_time",
            Self::Send => "send_idle",
        }
    }
}

#[derive(Debug)]
pub struct Pulse {
    /// Requests that are being answered.
    open: Cell<usize>,
    /// When the last of them was done with, or the connection began.
    rested: Cell<Instant>,
    /// Since when a head is coming in.
    head: Cell<Option<Instant>>,
    /// Since when bytes wait for the client to take them.
    sending: Cell<Option<Instant>>,
    /// The head that is coming in is too late.
    late: Cell<bool>,
    /// A head is read while requests are open (HTTP/2).
    at_once: bool,
}

/// One request, for as long as it is open.
#[derive(Debug)]
pub struct Open(Rc<Pulse>);

impl Pulse {
    pub fn new(at_once: bool) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self { open: Cell::new(0), rested: Cell::new(now), head: Cell::default(), sending: Cell::default(), late: Cell::default(), at_once })
    }

    pub fn open(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        Open(Rc::clone(self))
    }

    /// Whether the beginning of a head is there and its end is not.
    pub fn reading(&self, head: bool) {
        match (head, self.head.get()) {
            (true, None) => self.head.set(Some(Instant::now())),
            (false, Some(_)) => self.head.set(None),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether a write waits for the client.
    pub fn writing(&self, waits: bool) {
        match (waits, self.sending.get()) {
            (true, None) => self.sending.set(Some(Instant::now())),
            (false, Some(_)) => self.sending.set(None),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether the head that is coming in has had its time; whoever reads it ends it.
    pub fn is_late(&self) -> bool {
        self.late.get()
    }

    /// Waits until something takes too long. To be polled in the task that reads and writes, behind it: only there does anything become due earlier.
    pub async fn watch(&self, bounds: &Bounds) -> Overrun {
        let (at, _) = self.due(bounds);
        let mut timer = std::pin::pin!(sleep_until(at));
        std::future::poll_fn(|context| {
            loop {
                let (at, what) = self.due(bounds);
                if at < timer.deadline() {
                    timer.as_mut().reset(at);
                }
                std::task::ready!(timer.as_mut().poll(context));
                match what {
                    Some(overrun) if at <= Instant::now() => {
                        self.told(overrun);
                        return std::task::Poll::Ready(overrun);
                    }
                    Some(_) | None => timer.as_mut().reset(at.max(Instant::now() + TICK)),
                }
            }
        })
        .await
    }

    /// What is due next, and when; where nothing is, when to look again.
    fn due(&self, bounds: &Bounds) -> (Instant, Option<Overrun>) {
        let rests = self.open.get() == 0;
        let sending = self.sending.get().map(|since| (since + bounds.send_idle, Some(Overrun::Send)));
        let reads = |since: Instant| (since.max(if self.at_once { since } else { self.rested.get() }) + bounds.head_time, Some(Overrun::Head));
        let head = self.head.get().filter(|_| (rests || self.at_once) && !self.late.get()).map(reads);
        let idle = (rests && self.head.get().is_none()).then(|| (self.rested.get() + bounds.idle, Some(Overrun::Idle)));
        let next = [sending, head, idle].into_iter().flatten().min_by_key(|(at, _)| *at);
        next.unwrap_or_else(|| (Instant::now() + bounds.idle, None))
    }

    /// Each is told once, and then again after as long.
    fn told(&self, overrun: Overrun) {
        match overrun {
            Overrun::Idle => self.rested.set(Instant::now()),
            Overrun::Head => self.late.set(true),
            Overrun::Send => self.sending.set(None),
        }
    }
}

/// A timer's own grain.
const TICK: Duration = Duration::from_millis(1);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.rested.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds { idle: Duration::from_secs(60), head_time: Duration::from_secs(10), send_idle: Duration::from_secs(20), ..Bounds::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_due_after_its_last_request() {
        let (pulse, started) = (Pulse::new(false), Instant::now());
        let open = pulse.open();
        let answered = async {
            tokio::time::sleep(Duration::from_secs(500)).await;
            drop(open);
        };
        let bounds = bounds();
        let ((), overrun) = tokio::join!(answered, pulse.watch(&bounds));
        assert_eq!((overrun, started.elapsed().as_secs()), (Overrun::Idle, 560));
        assert_eq!((pulse.watch(&bounds).await, started.elapsed().as_secs()), (Overrun::Idle, 620));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte_and_behind_a_request_from_the_answer() {
        let (pulse, bounds, started) = (Pulse::new(false), bounds(), Instant::now());
        tokio::time::advance(Duration::from_secs(59)).await;
        pulse.reading(true);
        assert_eq!((pulse.watch(&bounds).await, started.elapsed().as_secs()), (Overrun::Head, 69));
        assert!(pulse.is_late());

        let (pulse, started) = (Pulse::new(false), Instant::now());
        let open = pulse.open();
        pulse.reading(true);
        let answered = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(open);
        };
        let ((), overrun) = tokio::join!(answered, pulse.watch(&bounds));
        assert_eq!((overrun, started.elapsed().as_secs()), (Overrun::Head, 110));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_due_though_requests_are_open() {
        let (pulse, bounds, started) = (Pulse::new(true), bounds(), Instant::now());
        let _open = pulse.open();
        pulse.writing(true);
        tokio::time::advance(Duration::from_secs(5)).await;
        pulse.writing(false);
        pulse.writing(true);
        assert_eq!((pulse.watch(&bounds).await, started.elapsed().as_secs()), (Overrun::Send, 25));
    }
}
