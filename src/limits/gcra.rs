//! A rate, what was taken so far and a time into whether one more may be had: the generic cell rate algorithm (ITU-T I.371, annex A).
//! Pure arithmetic on whole nanoseconds. Reads no clock; a clock that goes back gives nobody more, one that jumps locks nobody out for good.

use crate::principal::record::Rate;

const SECOND: u64 = 1_000_000_000;
/// Some 52 days. Up to here a difference of times is exact as a double too, which is what Redis reckons in.
const LONGEST: u64 = 1 << 52;
/// A clock beyond this stands still: what is taken then still has to fit behind it.
const END: u64 = u64::MAX - 2 * LONGEST;

/// A rate in the terms of the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Nanoseconds that one takes to come back, rounded up: what is lost by that is under a nanosecond each.
    pub interval: u64,
    /// Nanoseconds until all of the burst is back.
    pub full: u64,
}

/// The time at which all that was taken is back: all that has to be remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Until(pub u64);

/// How a taking went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub outcome: Result<(), Refused>,
    /// How many more may be had at once.
    pub remaining: u64,
    /// Nanoseconds until all of the burst is back.
    pub reset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Nanoseconds until there is one.
    pub wait: u64,
}

impl Limit {
    /// Of any rate: one that cannot be kept gives less, and never more.
    pub fn of(rate: Rate) -> Self {
        let interval = (u64::from(rate.seconds.max(1)) * SECOND).div_ceil(u64::from(rate.count.max(1))).min(LONGEST);
        let burst = if rate.count == 0 { 0 } else { u64::from(rate.burst) };
        Self { interval, full: burst.min(LONGEST / interval) * interval }
    }

    /// Takes one at `now`, if there is one.
    pub fn take(self, until: Until, now: u64) -> (Until, Taken) {
        let now = now.min(END);
        let backlog = self.backlog(until, now);
        let taken = self.judge(backlog);
        (Until(now + taken.reset), taken)
    }

    /// What taking one comes to where so much of the burst is not back.
    pub fn judge(self, backlog: u64) -> Taken {
        let after = backlog + self.interval;
        if after > self.full {
            let remaining = self.full.saturating_sub(backlog) / self.interval;
            return Taken { outcome: Err(Refused { wait: after - self.full }), remaining, reset: backlog };
        }
        Taken { outcome: Ok(()), remaining: (self.full - after) / self.interval, reset: after }
    }

    /// Gives back one that was taken and not used.
    pub fn give_back(self, until: Until) -> Until {
        Until(until.0.saturating_sub(self.interval))
    }

    /// No more than all of the burst, whatever a clock did meanwhile.
    fn backlog(self, until: Until, now: u64) -> u64 {
        until.0.saturating_sub(now).min(self.full)
    }
}

/// Whole seconds, and no less than the nanoseconds.
pub fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(count: u32, seconds: u32, burst: u32) -> Limit {
        Limit::of(Rate { count, seconds, burst })
    }

    /// How many of `tries` at `now` are let through.
    fn drain(limit: Limit, until: &mut Until, now: u64, tries: usize) -> usize {
        (0..tries)
            .filter(|_| {
                let (next, taken) = limit.take(*until, now);
                *until = next;
                taken.outcome.is_ok()
            })
            .count()
    }

    #[test]
    fn a_burst_goes_at_once_and_then_comes_back_at_the_rate() {
        let (limit, mut until) = (limit(10, 60, 3), Until::default());
        assert_eq!(drain(limit, &mut until, 0, 5), 3);
        assert_eq!(drain(limit, &mut until, 6 * SECOND - 1, 5), 0);
        assert_eq!(drain(limit, &mut until, 6 * SECOND, 5), 1);
        assert_eq!(drain(limit, &mut until, 18 * SECOND, 5), 2);
        assert_eq!(drain(limit, &mut until, 1000 * SECOND, 5), 3, "and never more than the burst");
    }

    #[test]
    fn it_tells_what_remains_when_all_is_back_and_when_to_come_again() {
        let (limit, start) = (limit(1, 10, 2), 7 * SECOND);
        let (until, first) = limit.take(Until::default(), start);
        assert_eq!(first, Taken { outcome: Ok(()), remaining: 1, reset: 10 * SECOND });
        let (until, second) = limit.take(until, start + SECOND);
        assert_eq!(second, Taken { outcome: Ok(()), remaining: 0, reset: 19 * SECOND });
        let (same, third) = limit.take(until, start + 2 * SECOND);
        assert_eq!(third, Taken { outcome: Err(Refused { wait: 8 * SECOND }), remaining: 0, reset: 18 * SECOND });
        assert_eq!(same, until, "a refusal takes nothing");
        let (_, fourth) = limit.take(until, start + 10 * SECOND);
        assert!(fourth.outcome.is_ok(), "after the wait that was told");
    }

    #[test]
    fn a_steady_stream_at_the_rate_is_never_refused() {
        for (count, seconds) in [(1, 1), (3, 1), (7, 60), (999_983, 1), (1, 86_400)] {
            let (limit, mut until) = (limit(count, seconds, 1), Until::default());
            for number in 0..10_000 {
                assert_eq!(drain(limit, &mut until, number * limit.interval, 1), 1, "{count}/{seconds}, {number}");
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_and_one_that_jumped_locks_nobody_out() {
        let (limit, mut until) = (limit(1, 1, 2), Until::default());
        assert_eq!(drain(limit, &mut until, 100 * SECOND, 5), 2);
        assert_eq!(drain(limit, &mut until, 0, 5), 0);
        // It has not come to 100 again by then.
        assert_eq!(drain(limit, &mut until, SECOND, 5), 1);
        assert_eq!(drain(limit, &mut until, 3 * SECOND, 5), 2);
    }

    #[test]
    fn no_clock_and_no_rate_breaks_the_arithmetic() {
        for (count, seconds, burst) in [(0, 0, 0), (1, 0, 1), (0, 1, 5), (u32::MAX, 1, u32::MAX), (1, u32::MAX, u32::MAX), (1, u32::MAX, 1)] {
            let limit = limit(count, seconds, burst);
            assert!(limit.interval > 0 && limit.full <= LONGEST);
            for now in [0, 1, END - 1, END, u64::MAX] {
                for until in [0, now, u64::MAX] {
                    let (_, taken) = limit.take(Until(until), now);
                    assert!(taken.reset <= limit.full);
                }
            }
            let mut until = Until::default();
            let most = usize::try_from(limit.full / limit.interval).unwrap().min(50);
            assert!(drain(limit, &mut until, u64::MAX, 50) <= most, "the end of time is no way around");
        }
        let mut until = Until::default();
        assert_eq!(drain(limit(0, 1, 5), &mut until, 0, 5), 0, "none is none");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (limit, mut until) = (limit(1, 60, 2), Until::default());
        assert_eq!(drain(limit, &mut until, 0, 2), 2);
        until = limit.give_back(until);
        assert_eq!(drain(limit, &mut until, 0, 2), 1);
        assert_eq!(limit.give_back(Until::default()), Until::default());
    }

    #[test]
    fn seconds_are_never_too_few() {
        assert_eq!([0, 1, SECOND, SECOND + 1].map(seconds), [0, 1, 1, 2]);
    }
}
