//! The frames that an HTTP/2 client sends beside its requests into whether they are too many.
//! Lends nothing: what a client may send for nothing is little, the rest goes with what it asks for and is sent.

use tokio::time::Instant;

use super::walk::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, PRIORITY, PRIORITY_UPDATE, RST_STREAM, WINDOW_UPDATE};

/// What earns room for the frames that go with it: a WINDOW_UPDATE for the stream and one for the connection, and a PING that measures the way.
const BY_DATA: u32 = 4;
/// Priorities and windows of a new stream, as browsers send them.
const BY_REQUEST: u32 = 4;
/// No more than this is earned ahead; far beyond what windows of the usual size let be in flight.
const MOST: u32 = 65_536;
/// A CONTINUATION of less than this has no reason to be one.
const SMALL: usize = 1024;
const BURST: u64 = 10;

#[derive(Debug)]
pub struct Budget {
    /// Frames a second.
    rate: u64,
    /// In thousandths of a frame.
    free: u64,
    refilled: Instant,
    /// For what goes with requests and answers.
    earned: u32,
    /// Answers that have ended, whose streams may be reset.
    ended: u32,
}

impl Budget {
    pub fn new(rate: u32) -> Self {
        let rate = u64::from(rate);
        Self { rate, free: rate * BURST * 1000, refilled: Instant::now(), earned: 0, ended: 0 }
    }

    /// A frame of the client's; `false` where it is one too many.
    pub fn takes(&mut self, frame: Frame) -> bool {
        match frame.kind {
            HEADERS => {
                self.earned = self.earned.saturating_add(BY_REQUEST).min(MOST);
                true
            }
            DATA => frame.length > 0 || frame.flags & END_STREAM != 0 || self.spends(),
            CONTINUATION => frame.length >= SMALL || frame.flags & END_HEADERS != 0 || self.spends(),
            PING | PRIORITY | PRIORITY_UPDATE | WINDOW_UPDATE => draws(&mut self.earned) || self.spends(),
            RST_STREAM => draws(&mut self.ended) || self.spends(),
            _ => self.spends(),
        }
    }

    /// A frame of the gate's.
    pub fn gives(&mut self, frame: Frame) {
        if frame.kind == DATA && frame.length > 0 {
            self.earned = self.earned.saturating_add(BY_DATA).min(MOST);
        }
        if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
            self.ended = self.ended.saturating_add(1).min(MOST);
        }
    }

    fn spends(&mut self) -> bool {
        let now = Instant::now();
        let gained = u64::try_from(now.duration_since(self.refilled).as_micros()).unwrap_or(u64::MAX).saturating_mul(self.rate) / 1000;
        if gained > 0 {
            self.refilled = now;
            self.free = self.free.saturating_add(gained).min(self.rate * BURST * 1000);
        }
        let left = self.free.checked_sub(1000);
        self.free = left.unwrap_or(self.free);
        left.is_some()
    }
}

fn draws(from: &mut u32) -> bool {
    let left = from.checked_sub(1);
    *from = left.unwrap_or_default();
    left.is_some()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::walk::GOAWAY;
    use super::*;

    const SETTINGS: u8 = 4;

    fn frame(kind: u8, flags: u8, length: usize) -> Frame {
        Frame { kind, flags, stream: 1, length, numbers: (0, 0) }
    }

    /// How many of the same are taken in one moment.
    fn taken(budget: &mut Budget, frame: Frame) -> usize {
        (0..100_000).take_while(|_| budget.takes(frame)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_carry_no_request_have_a_rate_and_a_burst() {
        for (kind, flags, length) in [
            (PING, 0, 8),
            (PING, 1, 8),
            (SETTINGS, 0, 0),
            (SETTINGS, 1, 0),
            (RST_STREAM, 0, 4),
            (PRIORITY, 0, 5),
            (WINDOW_UPDATE, 0, 4),
            (DATA, 0, 0),
            (CONTINUATION, 0, 0),
            (CONTINUATION, 0, 1),
            (GOAWAY, 0, 8),
            (PRIORITY_UPDATE, 0, 4),
            (5, 0, 0),
            (200, 0, 100),
        ] {
            let mut budget = Budget::new(100);
            assert_eq!(taken(&mut budget, frame(kind, flags, length)), 1000, "type {kind}");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(taken(&mut budget, frame(kind, flags, length)), 100, "type {kind}, a second later");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_carries_a_request_or_its_body_is_free() {
        let mut budget = Budget::new(1);
        for (kind, flags, length) in [(HEADERS, 4, 20), (DATA, 0, 1), (DATA, END_STREAM, 0), (CONTINUATION, 0, SMALL), (CONTINUATION, END_HEADERS, 3)]
        {
            assert_eq!(taken(&mut budget, frame(kind, flags, length)), 100_000, "type {kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_earns_the_window_updates_that_go_with_it() {
        let mut budget = Budget::new(1);
        for _ in 0..100_000 {
            budget.gives(frame(DATA, 0, 16_384));
            assert!(budget.takes(frame(WINDOW_UPDATE, 0, 4)) && budget.takes(frame(WINDOW_UPDATE, 0, 4)) && budget.takes(frame(PING, 0, 8)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_earn_no_resets_and_answers_that_ended_do() {
        let mut budget = Budget::new(100);
        let resets = (0..10_000).take_while(|_| budget.takes(frame(HEADERS, 5, 20)) && budget.takes(frame(RST_STREAM, 0, 4))).count();
        assert_eq!(resets, 1000);
        for _ in 0..10_000 {
            budget.takes(frame(HEADERS, 5, 20));
            budget.gives(frame(HEADERS, 4, 20));
            budget.gives(frame(DATA, END_STREAM, 20));
            assert!(budget.takes(frame(RST_STREAM, 0, 4)));
        }
    }
}
