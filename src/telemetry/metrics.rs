//! Everything that is counted, under the names of the contract: one table, which Prometheus' formats and OTLP walk.
//! Labels come from closed sets only; counting a decision is two or three atomic additions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::instrument::{BOUNDS, Counter, Family, Kind, Metric, Point, Spread, Timings, Unit, Value};
use super::{Ended, Record, process};
use crate::gate::Door;
use crate::policy::{Decision, Reason};

/// Upper bounds of the decision histogram in nanoseconds: 1 µs to 10 ms.
const DECISION: [u64; BOUNDS] = [1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000, 10_000_000];
/// Upper bounds of the upstream histogram in nanoseconds: 1 ms to 30 s.
const UPSTREAM: [u64; BOUNDS] = [1_000_000, 5_000_000, 25_000_000, 100_000_000, 500_000_000, 2_500_000_000, 10_000_000_000, 30_000_000_000];

/// What came of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    Allowed,
    Denied(Reason),
    /// Let pass, and would be denied.
    Shadowed(Reason),
}

/// A door's decisions: those that were allowed, and by reason those that were denied or would be.
#[derive(Debug)]
struct Tally {
    allowed: AtomicU64,
    denied: [AtomicU64; Reason::ALL.len()],
    shadowed: [AtomicU64; Reason::ALL.len()],
    seconds: Timings,
}

#[derive(Debug)]
pub struct Metrics {
    doors: [Tally; Door::ALL.len()],
    shadow_denials: Family,
    generation: AtomicU64,
    tokens: AtomicU64,
    pub reloads: Counter,
    pub reload_failures: Counter,
    pub audit_dropped: Counter,
    pub spans_dropped: Counter,
    pub logs_dropped: Counter,
    pub limits_fallback: Counter,
    refused: Family,
    ended: [AtomicU64; Ended::ALL.len()],
    pub mfa_failures: Family,
    pub mfa_locks: Counter,
    key_sets: Mutex<BTreeMap<String, u64>>,
    /// Seconds, or less than 0 where there is nothing to tell.
    store_age: AtomicI64,
    keys: AtomicU64,
    pub store_failures: Counter,
    pub upstream: Timings,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            doors: std::array::from_fn(|_| Tally::default()),
            shadow_denials: Family::new(&["route", "reason"]),
            generation: AtomicU64::default(),
            tokens: AtomicU64::default(),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
            audit_dropped: Counter::default(),
            spans_dropped: Counter::default(),
            logs_dropped: Counter::default(),
            limits_fallback: Counter::default(),
            refused: Family::new(&["bound"]),
            ended: Default::default(),
            mfa_failures: Family::new(&["kind"]),
            mfa_locks: Counter::default(),
            key_sets: Mutex::default(),
            store_age: AtomicI64::new(-1),
            keys: AtomicU64::default(),
            store_failures: Counter::default(),
            upstream: Timings::new(&UPSTREAM),
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        let none = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { allowed: AtomicU64::new(0), denied: none(), shadowed: none(), seconds: Timings::new(&DECISION) }
    }
}

impl Kept {
    pub fn of(decision: &Decision<'_>) -> Self {
        match (decision.denial(), &decision.shadow) {
            (Some(denial), _) => Self::Denied(denial.reason),
            (None, Some(denial)) => Self::Shadowed(denial.reason),
            (None, None) => Self::Allowed,
        }
    }

    pub fn outcome(self) -> &'static str {
        match self {
            Self::Allowed => "allow",
            Self::Denied(_) => "deny",
            Self::Shadowed(_) => "shadow",
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied(reason) | Self::Shadowed(reason) => reason.as_str(),
        }
    }
}

impl Tally {
    fn slot(&self, kept: Kept) -> Option<&AtomicU64> {
        match kept {
            Kept::Allowed => Some(&self.allowed),
            Kept::Denied(reason) => self.denied.get(reason as usize),
            Kept::Shadowed(reason) => self.shadowed.get(reason as usize),
        }
    }

    /// Whatever was counted.
    fn each(&self) -> impl Iterator<Item = (Kept, u64)> {
        let denied = Reason::ALL.iter().map(|reason| Kept::Denied(*reason));
        let shadowed = Reason::ALL.iter().map(|reason| Kept::Shadowed(*reason));
        let all = std::iter::once(Kept::Allowed).chain(denied).chain(shadowed);
        all.filter_map(|kept| Some((kept, read(self.slot(kept)?)))).filter(|(_, count)| *count > 0)
    }
}

impl Metrics {
    pub fn decided(&self, record: &Record<'_>) {
        let Some(tally) = self.doors.get(record.door as usize) else { return };
        tally.seconds.observe(record.elapsed);
        if let Some(slot) = tally.slot(Kept::of(record.decision)) {
            slot.fetch_add(1, Ordering::Relaxed);
        }
        if let (Some(denial), Some(rule)) = (&record.decision.shadow, record.decision.rule) {
            self.shadow_denials.inc(&[&rule.name, denial.reason.as_str()]);
        }
    }

    pub fn loaded(&self, generation: u64, tokens: usize) {
        self.generation.store(generation, Ordering::Relaxed);
        self.tokens.store(tokens as u64, Ordering::Relaxed);
    }

    /// `bound` names what was exceeded.
    pub fn refused(&self, bound: &'static str) {
        self.refused.inc(&[bound]);
    }

    pub fn ended(&self, why: Ended) {
        if let Some(count) = self.ended.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `None` where no set is loaded.
    pub fn key_set(&self, credential: String, age: Option<u64>) {
        let mut sets = self.key_sets.lock().unwrap_or_else(PoisonError::into_inner);
        match age {
            Some(age) => sets.insert(credential, age),
            None => sets.remove(&credential),
        };
    }

    /// `age` is `None` where no store was read yet.
    pub fn store(&self, age: Option<Duration>, keys: usize) {
        if let Some(age) = age {
            self.store_age.store(i64::try_from(age.as_secs()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
        self.keys.store(keys as u64, Ordering::Relaxed);
    }

    /// What every door has decided so far.
    pub fn decisions(&self) -> impl Iterator<Item = (Door, Kept, u64)> {
        Door::ALL.iter().zip(&self.doors).flat_map(|(door, tally)| tally.each().map(|(kept, count)| (*door, kept, count)))
    }

    /// How long every door's decisions took.
    pub fn seconds(&self) -> [Spread; Door::ALL.len()] {
        self.doors.each_ref().map(|tally| tally.seconds.spread())
    }

    /// The table.
    pub fn collect(&self) -> Vec<Metric> {
        use Kind::{Counter, Gauge, Histogram};
        use Unit::{None as Plain, Seconds};
        let whole = |value: &AtomicU64| Point::only(Value::Whole(read(value)));
        let count = |counter: &super::instrument::Counter| Point::only(Value::Whole(counter.get()));
        let version = Point { labels: vec![("version", env!("CARGO_PKG_VERSION").into())], value: Value::Whole(1) };
        #[rustfmt::skip]
        let mut table = vec![
            Metric::new(("scopegate_build_info", Plain), Gauge, "Version of the program; always 1", vec![version]),
            Metric::new(("scopegate_decisions", Plain), Counter, "Decisions by door, outcome and reason", self.decision_points()),
            Metric::new(("scopegate_shadow_denials", Plain), Counter, "Requests that passed in shadow and would be denied, by route and reason", self.shadow_denials.points()),
            Metric::new(("scopegate_decision", Seconds), Histogram, "Time that a decision took, reading and writing aside", self.second_points()),
            Metric::new(("scopegate_upstream", Seconds), Histogram, "Time to the head of the upstream's answer", Point::only(Value::Spread(self.upstream.spread()))),
            Metric::new(("scopegate_generation", Plain), Gauge, "Generation of the set of tokens and routes in use", whole(&self.generation)),
            Metric::new(("scopegate_tokens", Plain), Gauge, "Tokens that may be presented", whole(&self.tokens)),
            Metric::new(("scopegate_keys", Plain), Gauge, "Managed keys that are known, revoked ones included", whole(&self.keys)),
            Metric::new(("scopegate_reloads", Plain), Counter, "Reloads that put a new set in place", count(&self.reloads)),
            Metric::new(("scopegate_reload_failures", Plain), Counter, "Reloads that were refused; the old set stayed", count(&self.reload_failures)),
            Metric::new(("scopegate_keyset_age", Seconds), Gauge, "Age of the key set of a source; no line where none is loaded", self.key_set_points()),
            Metric::new(("scopegate_store_age", Seconds), Gauge, "Time since the store was known to be as decisions take it; no line without a store or before it was first read", self.store_points()),
            Metric::new(("scopegate_store_failures", Plain), Counter, "Readings of the store that failed", count(&self.store_failures)),
            Metric::new(("scopegate_refused_connections", Plain), Counter, "Connections and requests refused at a bound", self.refused.points()),
            Metric::new(("scopegate_streams_ended", Plain), Counter, "Open streams that the gate ended, by cause", self.ended_points()),
            Metric::new(("scopegate_limits_fallback", Plain), Counter, "Requests whose rate limit was counted here because Redis was out of reach", count(&self.limits_fallback)),
            Metric::new(("scopegate_mfa_failures", Plain), Counter, "Codes of second factors that were wrong, by kind", self.mfa_failures.points()),
            Metric::new(("scopegate_mfa_locks", Plain), Counter, "Codes that were not looked at, because too many before them were wrong", count(&self.mfa_locks)),
            Metric::new(("scopegate_audit_dropped", Plain), Counter, "Audit lines dropped because they could not be written in time", count(&self.audit_dropped)),
            Metric::new(("scopegate_spans_dropped", Plain), Counter, "Spans dropped because they could not be sent in time", count(&self.spans_dropped)),
            Metric::new(("scopegate_logs_dropped", Plain), Counter, "Lines of the log dropped on their way to the collector", count(&self.logs_dropped)),
        ];
        table.extend(process::collect());
        table.retain(|metric| !metric.points.is_empty());
        table
    }

    fn decision_points(&self) -> Vec<Point> {
        let labels =
            |door: Door, kept: Kept| vec![("door", door.as_str().into()), ("outcome", kept.outcome().into()), ("reason", kept.reason().into())];
        self.decisions().map(|(door, kept, count)| Point { labels: labels(door, kept), value: Value::Whole(count) }).collect()
    }

    fn second_points(&self) -> Vec<Point> {
        let point = |(door, spread): (&Door, Spread)| Point { labels: vec![("door", door.as_str().into())], value: Value::Spread(spread) };
        Door::ALL.iter().zip(self.seconds()).map(point).collect()
    }

    fn ended_points(&self) -> Vec<Point> {
        let point = |(why, count): (&Ended, &AtomicU64)| Point { labels: vec![("cause", why.as_str().into())], value: Value::Whole(read(count)) };
        Ended::ALL.iter().zip(&self.ended).filter(|(_, count)| read(count) > 0).map(point).collect()
    }

    fn key_set_points(&self) -> Vec<Point> {
        let sets = self.key_sets.lock().unwrap_or_else(PoisonError::into_inner);
        let point = |(name, age): (&String, &u64)| Point { labels: vec![("credential", Cow::Owned(name.clone()))], value: Value::Whole(*age) };
        sets.iter().map(point).collect()
    }

    fn store_points(&self) -> Vec<Point> {
        u64::try_from(self.store_age.load(Ordering::Relaxed)).map_or_else(|_| Vec::new(), |age| Point::only(Value::Whole(age)))
    }
}

fn read(value: &AtomicU64) -> u64 {
    value.load(Ordering::Relaxed)
}
