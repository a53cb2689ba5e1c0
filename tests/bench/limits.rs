//! What a limit adds to a decision, counted in memory: of callers that come again, and with a flood of those that come once.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use scopegate::limits::bucket::{Bucket, Who};
use scopegate::limits::{Limiter, Want};
use scopegate::principal::record::Rate;

use crate::{Effort, Table, decisions, files};

/// High enough that nobody is refused, and slow enough that nobody is forgotten.
const RATE: Rate = Rate { count: 1_000_000, seconds: 3600, burst: 1_000_000 };
const CALLERS: usize = 65_536;

fn takes(limiter: &Limiter, id: &str) -> bool {
    let want = Want { bucket: Bucket { route: "GET /service-1/orders/1/{item}", who: Who::Principal(["tokens", "acme", id]) }, rate: RATE };
    // In memory there is nothing to wait for.
    match pin!(limiter.take(&[Some(want), None])).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(taken) => taken.is_ok(),
        Poll::Pending => panic!("it waits"),
    }
}

/// Nanoseconds of one, the best of some rounds.
fn take(limiter: &Limiter, ids: &[String], rounds: usize) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..rounds * 3 {
        let started = Instant::now();
        for id in ids {
            black_box(takes(limiter, black_box(id)));
        }
        best = best.min(started.elapsed().as_nanos() as f64 / ids.len() as f64);
    }
    best
}

pub fn measure(effort: Effort, table: &mut Table) {
    let ids = |from: usize| (from..from + CALLERS).map(files::id).collect::<Vec<_>>();
    let decision = decisions::one(effort);
    let limiter = Limiter::default();
    let known = take(&limiter, &ids(0), effort.rounds);
    table.ratio(format!("a limit in memory ÷ a decision ({known:.0} ns, {decision:.0} ns)"), (known, decision), "");
    // Half as many again as there is room for.
    for part in 1..24 {
        ids(part * CALLERS).iter().for_each(|id| assert!(takes(&limiter, id)));
    }
    let full = take(&limiter, &ids(0), effort.rounds);
    let flood = take(&limiter, &ids(30 * CALLERS), effort.rounds);
    table.ratio(format!("the same in a full memory, of one who is in it ({full:.0} ns)"), (full, known), "");
    table.ratio(format!("the same, of one who found no room ({flood:.0} ns)"), (flood, known), "");
}
