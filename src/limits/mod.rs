//! What a request takes of the limits that it falls under, and whether there is any left: `rate_limit` of routes and of managed keys.
//! Takes once a request, and where one limit refuses, of none. Says nothing of whether a request is allowed otherwise.

pub mod bucket;
pub mod gcra;
pub mod memory;
pub mod redis;

use std::net::IpAddr;
use std::time::Instant;

use self::redis::{Shared, Unreachable};
use crate::config::limits::{Backend, Limits};
use crate::policy::rule::{Per, RateLimit};
use crate::policy::{Decision, Limited, Outcome};
use crate::principal::record::Rate;
use crate::telemetry::instrument::Counter;
use bucket::{Bucket, Who};
use gcra::{Limit, Refused, seconds};
use memory::Memory;

/// One bucket to take from.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    pub bucket: Bucket<'a>,
    pub rate: Rate,
}

/// That of a managed key and that of the route.
pub type Wants<'a> = [Option<Want<'a>>; 2];

/// A limit that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    pub policy: &'static str,
    pub rate: Rate,
    /// Nanoseconds until there is one again.
    pub wait: u64,
}

#[derive(Debug)]
pub struct Limiter {
    key: [u8; 16],
    origin: Instant,
    memory: Memory,
    shared: Option<Shared>,
    /// Counts what was decided here because Redis was out of reach.
    fallbacks: Counter,
}

impl Default for Limiter {
    /// In memory. The key names buckets and protects no secret: without randomness they could be aimed at, and nothing more.
    fn default() -> Self {
        let mut key = [0; 16];
        let _ = getrandom::fill(&mut key);
        Self { key, origin: Instant::now(), memory: Memory::default(), shared: None, fallbacks: Counter::default() }
    }
}

impl Limiter {
    /// As configured. Call inside the runtime that a connection shall live in.
    pub async fn start(limits: &Limits, fallbacks: Counter) -> Result<Self, String> {
        let shared = match &limits.backend {
            Backend::Memory => None,
            Backend::Redis(redis) => Some(Shared::start(redis, limits.timeout).await?),
        };
        Ok(Self { shared, fallbacks, ..Self::default() })
    }

    /// Takes one of each, or tells of the first that refuses. Where Redis is out of reach, this process decides by what it let through itself.
    pub async fn take(&self, wants: &Wants<'_>) -> Result<(), Exceeded> {
        match self.take_strict(wants).await {
            Ok(taken) => {
                if taken.is_ok() && self.shared.is_some() {
                    // Remembered here too, so that nobody has all of it anew once Redis is gone.
                    let _ = self.take_here(wants, self.now());
                }
                taken
            }
            Err(Unreachable) => {
                self.fallbacks.inc();
                self.take_here(wants, self.now())
            }
        }
    }

    /// The same, for what must not be let through on one process' word where others count too.
    pub async fn take_strict(&self, wants: &Wants<'_>) -> Result<Result<(), Exceeded>, Unreachable> {
        let Some(shared) = &self.shared else { return Ok(self.take_here(wants, self.now())) };
        let taken = shared.take(wants).await?;
        Ok(taken.map_err(|(which, wait)| match wants.iter().flatten().nth(which) {
            Some(want) => Exceeded { policy: want.bucket.who.kind(), rate: want.rate, wait },
            None => Exceeded { policy: "", rate: Rate { count: 0, seconds: 0, burst: 0 }, wait },
        }))
    }

    /// In this process, at `now` in nanoseconds since its start.
    fn take_here(&self, wants: &Wants<'_>, now: u64) -> Result<(), Exceeded> {
        for (index, want) in wants.iter().enumerate() {
            let Some(want) = want else { continue };
            if let Err(Refused { wait }) = self.take_one(want, now) {
                for taken in wants.iter().take(index).flatten() {
                    self.memory.give_back(taken.bucket.tag(&self.key), Limit::of(taken.rate));
                }
                return Err(Exceeded { policy: want.bucket.who.kind(), rate: want.rate, wait });
            }
        }
        Ok(())
    }

    fn take_one(&self, want: &Want<'_>, now: u64) -> Result<(), Refused> {
        let crowd = || {
            let Rate { count, seconds, burst } = want.rate;
            let rate = [count, seconds, burst].map(|number| number.to_string());
            let who = Who::Other("crowd", [&rate[0], &rate[1], &rate[2]]);
            Bucket { route: want.bucket.route, who }.tag(&self.key)
        };
        self.memory.take(want.bucket.tag(&self.key), Limit::of(want.rate), now, crowd).outcome
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What a request takes that was decided on, from a client at this address. A refused one takes nothing of what its principal, its tenant or
/// everybody shares, so that a stranger uses up nobody's; of its own address it does, so that nobody guesses faster than that.
pub fn wants<'a>(decision: &'a Decision<'_>, client: Option<IpAddr>) -> Wants<'a> {
    let none = [None, None];
    let Some(rule) = decision.rule else { return none };
    // What passes in shadow takes what it would take if it were denied.
    let is_allowed = match (&decision.outcome, decision.objection()) {
        (Outcome::Allow(_), None) => true,
        (Outcome::Allow(_) | Outcome::Deny(_), Some(denial)) if (400..=404).contains(&denial.reason.status()) => false,
        (Outcome::Allow(_) | Outcome::Deny(_) | Outcome::Inspect { .. } | Outcome::Preflight(_) | Outcome::Wait(_), _) => return none,
    };
    let caller = decision.caller.as_ref().filter(|_| is_allowed);
    let own = caller.and_then(|caller| caller.rate());
    let own_want = own.map(|(key, rate)| Want { bucket: Bucket { route: "", who: Who::Key(key) }, rate });
    let Some(RateLimit { rate, per }) = rule.rate_limit else { return [own_want, None] };
    let who = match (per, caller) {
        // A key's own rate takes the place of the one that callers have by default.
        (Per::Principal, Some(caller)) if own.is_none() => Some(Who::Principal([caller.realm(), caller.tenant().unwrap_or(""), caller.id()])),
        // A preflight that is passed on has no caller, and is not the request.
        (Per::Principal, _) => None,
        (Per::Tenant, caller) => caller.map(|caller| Who::Tenant(caller.tenant().unwrap_or(""))),
        (Per::Ip, _) => Some(Who::Ip(client)).filter(|_| is_allowed || client.is_some()),
        (Per::Route, _) => is_allowed.then_some(Who::Route),
    };
    [own_want, who.map(|who| Want { bucket: Bucket { route: &rule.name, who }, rate })]
}

impl Exceeded {
    /// For the caller, at the second `now` since 1970.
    pub fn told(&self, now: i64) -> Limited {
        let Rate { count, seconds: window, burst } = self.rate;
        let (count, window, burst) = (u64::from(count), u64::from(window), u64::from(burst));
        // So many at once, and the time in which they come back; of a burst under a second that would be no whole number.
        let (quota, window) = if burst >= count { (burst, (burst * window).div_ceil(count.max(1))) } else { (count, window) };
        let wait = seconds(self.wait).max(1);
        Limited { policy: self.policy, quota, window, wait, at: now.saturating_add(i64::try_from(wait).unwrap_or(i64::MAX)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::Redis;

    const SECOND: u64 = 1_000_000_000;

    fn rate(count: u32, seconds: u32, burst: u32) -> Rate {
        Rate { count, seconds, burst }
    }

    #[test]
    fn where_one_limit_refuses_nothing_is_taken_of_the_other() {
        let limiter = Limiter::default();
        let key = Want { bucket: Bucket { route: "", who: Who::Key("a") }, rate: rate(1, 60, 3) };
        let route = Want { bucket: Bucket { route: "GET /", who: Who::Route }, rate: rate(1, 60, 1) };
        assert_eq!(limiter.take_here(&[Some(key), Some(route)], SECOND), Ok(()));
        for _ in 0..5 {
            let refused = limiter.take_here(&[Some(key), Some(route)], SECOND);
            assert_eq!(refused, Err(Exceeded { policy: "route", rate: route.rate, wait: 60 * SECOND }));
        }
        let left = (0..5).filter(|_| limiter.take_here(&[Some(key), None], SECOND).is_ok()).count();
        assert_eq!(left, 2);
        assert_eq!(limiter.take_here(&[None, None], SECOND), Ok(()));
    }

    #[test]
    fn the_numbers_that_are_told_describe_the_rate() {
        let told = |rate, wait| {
            let Limited { quota, window, wait, at, .. } = Exceeded { policy: "ip", rate, wait }.told(1000);
            (quota, window, wait, at)
        };
        assert_eq!(told(rate(100, 60, 100), 45 * SECOND), (100, 60, 45, 1045));
        assert_eq!(told(rate(10, 1, 50), SECOND / 10), (50, 5, 1, 1001));
        assert_eq!(told(rate(1, 86_400, 2), 1), (2, 172_800, 1, 1001));
        assert_eq!(told(rate(100, 1, 10), 0), (100, 1, 1, 1001));
        assert_eq!(told(rate(3, 1, 4), SECOND + 1), (4, 2, 2, 1002));
        assert_eq!(told(rate(0, 0, 0), u64::MAX).0, 0, "whatever the numbers are");
    }

    #[tokio::test(start_paused = true)]
    async fn what_must_not_be_let_through_on_one_process_word_is_refused_without_redis() {
        // It takes connections and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let redis = Redis::parse(&format!("redis://{}", silent.local_addr().unwrap())).unwrap();
        let limits = Limits { backend: Backend::Redis(redis), ..Limits::default() };
        let limiter = Limiter::start(&limits, Counter::default()).await.unwrap();
        let want = Want { bucket: Bucket { route: "", who: Who::Other("mfa", ["tokens", "", "one"]) }, rate: rate(1, 60, 1) };
        assert_eq!(limiter.take_strict(&[Some(want), None]).await, Err(Unreachable));
        assert_eq!((limiter.take(&[Some(want), None]).await, limiter.fallbacks.get()), (Ok(()), 1));
        assert!(limiter.take(&[Some(want), None]).await.is_err(), "and what it let through itself it knows");
        assert_eq!(limiter.take_strict(&[Some(want), None]).await, Err(Unreachable));
        let alone = Limiter::default();
        assert_eq!(alone.take_strict(&[Some(want), None]).await, Ok(Ok(())));
        assert!(alone.take_strict(&[Some(want), None]).await.unwrap().is_err());
    }
}
