//! Who wants a fetch and who waits for one, into fetches one after another.
//! Lets callers cause no more than one in thirty seconds, and none that would run beside another.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Between two fetches that callers may cause.
pub const FORCED: Duration = Duration::from_secs(30);

/// The fetches of one key set.
#[derive(Debug)]
pub struct Rounds {
    now: watch::Sender<Round>,
    /// Whether somebody fetches at all.
    tended: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub finished: u64,
    pub running: bool,
    pub wanted: bool,
    forced: Option<Instant>,
}

impl Rounds {
    /// The first fetch is on its way, and is waited for like any other.
    pub fn new(tended: bool) -> Self {
        Self { now: watch::Sender::new(Round { finished: 0, running: tended, wanted: false, forced: None }), tended }
    }

    /// Ends with the rounds.
    pub fn follow(&self) -> watch::Receiver<Round> {
        self.now.subscribe()
    }

    /// Joins the fetch that is on its way or asks for one: how many are finished before it. `None` if there is none to wait for.
    pub fn ask(&self, at: Instant) -> Option<u64> {
        let mut awaited = None;
        self.now.send_if_modified(|round| {
            let on_its_way = round.running || round.wanted;
            let allowed = self.tended && round.forced.is_none_or(|last| at.saturating_duration_since(last) >= FORCED);
            awaited = (on_its_way || allowed).then_some(round.finished);
            let asks = allowed && !on_its_way;
            if asks {
                round.wanted = true;
                round.forced = Some(at);
            }
            asks
        });
        awaited
    }

    pub fn begin(&self) {
        self.now.send_modify(|round| {
            round.running = true;
            round.wanted = false;
        });
    }

    pub fn end(&self) {
        self.now.send_modify(|round| {
            round.running = false;
            round.finished += 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_join_what_runs_and_ask_once_in_thirty_seconds() {
        let (rounds, start) = (Rounds::new(true), Instant::now());
        assert_eq!((rounds.ask(start), rounds.ask(start)), (Some(0), Some(0)));
        assert!(!rounds.follow().borrow().wanted);
        rounds.end();
        assert_eq!((rounds.ask(start), rounds.follow().borrow().wanted), (Some(1), true));
        // Wanted, and not yet begun.
        assert_eq!(rounds.ask(start), Some(1));
        rounds.begin();
        assert_eq!((rounds.ask(start + FORCED), rounds.follow().borrow().wanted), (Some(1), false));
        rounds.end();
        assert_eq!(rounds.ask(start + FORCED - Duration::from_nanos(1)), None);
        assert_eq!(rounds.ask(start + FORCED), Some(2));
    }

    #[test]
    fn nobody_waits_where_nobody_fetches() {
        let rounds = Rounds::new(false);
        assert_eq!(rounds.ask(Instant::now()), None);
        assert!(!rounds.follow().borrow().wanted);
    }
}
