//! A limit agrees with a bucket of tokens that is reckoned in fractions, and no clock gives more than the time that it went forward.

use scopegate::limits::bucket::Tag;
use scopegate::limits::gcra::{Limit, Until};
use scopegate::limits::memory::Memory;
use scopegate::principal::record::Rate;

use crate::random::{Random, check};

const SECOND: u64 = 1_000_000_000;

/// Tokens in units of one over `count` of a nanosecond's worth, so that nothing is rounded.
struct Bucket {
    rate: Rate,
    tokens: u128,
    last: u64,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self { rate, tokens: Self::one(rate) * u128::from(rate.burst), last: 0 }
    }

    fn one(rate: Rate) -> u128 {
        u128::from(rate.seconds) * u128::from(SECOND)
    }

    fn take(&mut self, now: u64) -> bool {
        let one = Self::one(self.rate);
        let gained = u128::from(now.saturating_sub(self.last)) * u128::from(self.rate.count);
        self.tokens = (self.tokens + gained).min(one * u128::from(self.rate.burst));
        self.last = now;
        let there_is = self.tokens >= one;
        if there_is {
            self.tokens -= one;
        }
        there_is
    }
}

fn rate(random: &mut Random) -> Rate {
    let rate = Rate { count: 1 + random.below(20) as u32, seconds: random.pick(&[1, 60, 3600, 86_400]), burst: 1 + random.below(20) as u32 };
    rate.checked().unwrap_or(Rate { burst: 1, ..rate })
}

/// A step of the clock: nothing, a part of what one takes to come back, exactly that, or long.
fn step(limit: Limit, random: &mut Random) -> u64 {
    match random.below(6) {
        0 | 1 => 0,
        2 => random.next() % limit.interval,
        3 => limit.interval,
        4 => limit.interval - 1,
        _ => random.next() % (3 * limit.full),
    }
}

/// Where the interval is whole, the two agree on every single request.
fn agree(random: &mut Random) {
    let rate = rate(random);
    if !(u64::from(rate.seconds) * SECOND).is_multiple_of(u64::from(rate.count)) {
        return;
    }
    let (limit, mut until, mut bucket, mut now) = (Limit::of(rate), Until::default(), Bucket::new(rate), SECOND);
    for _ in 0..100 {
        now += step(limit, random);
        let (next, taken) = limit.take(until, now);
        until = next;
        let expected = bucket.take(now);
        assert_eq!(taken.outcome.is_ok(), expected, "{rate:?} at {now}");
        assert_eq!(u128::from(taken.remaining), bucket.tokens / Bucket::one(rate), "{rate:?} at {now}");
        if let Err(refused) = taken.outcome {
            assert!(limit.take(until, now + refused.wait).1.outcome.is_ok(), "after the wait there is one");
            assert!(limit.take(until, now + refused.wait - 1).1.outcome.is_err(), "and not before");
        }
        assert!(limit.take(until, now + taken.reset).1.remaining + 1 == u64::from(rate.burst), "all is back at the reset");
    }
}

/// Whatever the clock does, no more is given than the burst and what came back while it went forward, rounding against the caller.
fn bounded(random: &mut Random) {
    let rate = rate(random);
    let (limit, mut until) = (Limit::of(rate), Until::default());
    let (mut now, mut forward, mut given) = (random.next(), 0_u128, 0_u128);
    for _ in 0..100 {
        let before = now;
        now = match random.below(8) {
            0 => random.next(),
            1 => now.saturating_sub(step(limit, random)),
            2 => random.pick(&[0, 1, u64::MAX, u64::MAX - 1]),
            _ => now.saturating_add(step(limit, random)),
        };
        forward += u128::from(now.saturating_sub(before));
        let (next, taken) = limit.take(until, now);
        until = next;
        given += u128::from(taken.outcome.is_ok());
        let most = u128::from(rate.burst) + forward * u128::from(rate.count) / Bucket::one(rate);
        assert!(given <= most, "{rate:?} gave {given} of {most}");
        assert!(taken.reset <= limit.full, "nobody is locked out for longer than all takes to come back");
    }
}

/// A memory of many buckets is many buckets, in whatever order they are taken from.
fn separate(random: &mut Random) {
    let memory = Memory::default();
    let rate = rate(random);
    let limit = Limit::of(rate);
    let mut single: Vec<Until> = vec![Until::default(); 8];
    let mut now = SECOND;
    for _ in 0..100 {
        now += step(limit, random);
        let which = random.below(single.len());
        // Some share a shard, some a half of their tag.
        let tag = Tag([which as u64 / 2, which as u64 % 3]);
        let (next, expected) = limit.take(single[which], now);
        single[which] = next;
        assert_eq!(memory.take(tag, limit, now, || unreachable!("there is room")), expected);
        if expected.outcome.is_ok() && random.once_in(4) {
            memory.give_back(tag, limit);
            single[which] = limit.give_back(next);
        }
    }
}

#[test]
fn a_limit_is_a_bucket_of_tokens() {
    check(20_000, agree);
}

#[test]
fn no_clock_gives_more_than_it_went_forward() {
    check(20_000, bounded);
}

#[test]
fn buckets_do_not_touch_each_other() {
    check(5_000, separate);
}
