//! Counters and histograms under the names of the contract, as Prometheus text.
//! Labels come from closed sets only; counting is one atomic addition.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

use super::{Ended, Record};
use crate::gate::Door;
use crate::policy::Reason;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    door: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShadowLabels {
    route: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BoundLabels {
    bound: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabels {
    credential: String,
}

/// Upper bounds of the decision histogram in nanoseconds: 1 µs to 10 ms.
const DECISION: [u64; 8] = [1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000, 10_000_000];
/// Upper bounds of the upstream histogram in nanoseconds: 1 ms to 30 s.
const UPSTREAM: [u64; 8] = [1_000_000, 5_000_000, 25_000_000, 100_000_000, 500_000_000, 2_500_000_000, 10_000_000_000, 30_000_000_000];

/// A histogram without a lock.
#[derive(Debug)]
pub struct Timings {
    bounds: &'static [u64],
    counts: [AtomicU64; 9],
    sum: AtomicU64,
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    shadow: Family<ShadowLabels, Counter>,
    /// The counter of each door and reason, once it has counted.
    /// Those of denials that passed in shadow come behind the others.
    slots: [[OnceLock<Counter>; 2 * Reason::ALL.len() + 1]; Door::ALL.len()],
    seconds: [std::sync::Arc<Timings>; Door::ALL.len()],
    generation: Gauge,
    tokens: Gauge,
    pub reloads: Counter,
    pub reload_failures: Counter,
    pub audit_dropped: Counter,
    pub limits_fallback: Counter,
    refused: Family<BoundLabels, Counter>,
    ended: Family<CauseLabels, Counter>,
    key_sets: Family<CredentialLabels, Gauge>,
    store_age: std::sync::Arc<AtomicI64>,
    keys: Gauge,
    pub store_failures: Counter,
    pub upstream: std::sync::Arc<Timings>,
}

impl Default for Metrics {
    fn default() -> Self {
        let timings = |bounds| std::sync::Arc::new(Timings { bounds, counts: Default::default(), sum: AtomicU64::new(0) });
        let mut metrics = Self {
            registry: Registry::with_prefix("scopegate"),
            decisions: Family::default(),
            shadow: Family::default(),
            slots: std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())),
            seconds: std::array::from_fn(|_| timings(&DECISION)),
            generation: Gauge::default(),
            tokens: Gauge::default(),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
            audit_dropped: Counter::default(),
            limits_fallback: Counter::default(),
            refused: Family::default(),
            ended: Family::default(),
            key_sets: Family::default(),
            store_age: std::sync::Arc::new(AtomicI64::new(-1)),
            keys: Gauge::default(),
            store_failures: Counter::default(),
            upstream: timings(&UPSTREAM),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("decisions", "Decisions by door, outcome and reason", self.decisions.clone());
        registry.register("shadow_denials", "Requests that passed in shadow and would be denied, by route and reason", self.shadow.clone());
        registry.register("generation", "Generation of the set of tokens and routes in use", self.generation.clone());
        registry.register("tokens", "Tokens that may be presented", self.tokens.clone());
        registry.register("reloads", "Reloads that put a new set in place", self.reloads.clone());
        registry.register("reload_failures", "Reloads that were refused; the old set stayed", self.reload_failures.clone());
        registry.register("audit_dropped", "Audit lines dropped because they could not be written in time", self.audit_dropped.clone());
        registry.register(
            "limits_fallback",
            "Requests whose rate limit was counted here because Redis was out of reach",
            self.limits_fallback.clone(),
        );
        registry.register("refused_connections", "Connections and requests refused at a bound", self.refused.clone());
        registry.register("streams_ended", "Open streams that the gate ended, by cause", self.ended.clone());
        registry.register_with_unit(
            "keyset_age",
            "Age of the key set of a source; no line where none is loaded",
            Unit::Seconds,
            self.key_sets.clone(),
        );
        registry.register_with_unit(
            "store_age",
            "Time since the store was known to be as decisions take it; no line without a store or before it was first read",
            Unit::Seconds,
            Told(self.store_age.clone()),
        );
        registry.register("store_failures", "Readings of the store that failed", self.store_failures.clone());
        registry.register("keys", "Managed keys that are known, revoked ones included", self.keys.clone());
        registry.register_with_unit(
            "upstream",
            "Time to the head of the upstream's answer",
            Unit::Seconds,
            Shared(vec![(None, self.upstream.clone())]),
        );
        let doors = Door::ALL.iter().zip(&self.seconds).map(|(door, timings)| (Some(door.as_str()), timings.clone())).collect();
        registry.register_with_unit("decision", "Time that a decision took, reading and writing aside", Unit::Seconds, Shared(doors));
    }

    pub fn decided(&self, record: &Record<'_>) {
        let reason = record.decision.objection().map(|denial| denial.reason);
        let shadow = record.decision.shadow.as_ref().map(|_| Reason::ALL.len());
        let column = reason.map_or(0, |reason| reason as usize + 1) + shadow.unwrap_or_default();
        let row = record.door as usize;
        if let Some(timings) = self.seconds.get(row) {
            timings.observe(record.elapsed);
        }
        if let Some(slot) = self.slots.get(row).and_then(|slots| slots.get(column)) {
            let labels =
                || DecisionLabels { door: record.door.as_str(), outcome: record.outcome(), reason: reason.map_or("allowed", Reason::as_str) };
            slot.get_or_init(|| self.decisions.get_or_create(&labels()).clone()).inc();
        }
        if let (Some(denial), Some(rule)) = (&record.decision.shadow, record.decision.rule) {
            let labels = ShadowLabels { route: rule.name.to_string(), reason: denial.reason.as_str() };
            self.shadow.get_or_create(&labels).inc();
        }
    }

    pub fn loaded(&self, generation: u64, tokens: usize) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.tokens.set(i64::try_from(tokens).unwrap_or(i64::MAX));
    }

    /// `bound` names what was exceeded.
    pub fn refused(&self, bound: &'static str) {
        self.refused.get_or_create(&BoundLabels { bound }).inc();
    }

    pub fn ended(&self, why: Ended) {
        self.ended.get_or_create(&CauseLabels { cause: why.as_str() }).inc();
    }

    /// `None` where no set is loaded.
    pub fn key_set(&self, credential: String, age: Option<u64>) {
        let labels = CredentialLabels { credential };
        match age {
            Some(age) => drop(self.key_sets.get_or_create(&labels).set(i64::try_from(age).unwrap_or(i64::MAX))),
            None => drop(self.key_sets.remove(&labels)),
        }
    }

    /// `age` is `None` where no store was read yet.
    pub fn store(&self, age: Option<Duration>, keys: usize) {
        if let Some(age) = age {
            self.store_age.store(i64::try_from(age.as_secs()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// OpenMetrics text, which Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl Timings {
    pub fn observe(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let slot = self.bounds.iter().position(|bound| nanos <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get(slot) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Timings by door, as one metric.
#[derive(Debug)]
struct Shared(Vec<(Option<&'static str>, std::sync::Arc<Timings>)>);

/// Seconds, or less than 0 where there is nothing to tell.
#[derive(Debug)]
struct Told(std::sync::Arc<AtomicI64>);

impl TypedMetric for Told {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Told {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        match self.0.load(Ordering::Relaxed) {
            ..0 => Ok(()),
            age => encoder.encode_gauge(&age),
        }
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Shared {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Shared {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        for (door, timings) in &self.0 {
            let counts: Vec<u64> = timings.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let bounds = timings.bounds.iter().map(|nanos| *nanos as f64 / 1e9).chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
            let sum = timings.sum.load(Ordering::Relaxed) as f64 / 1e9;
            let total = counts.iter().sum();
            match door {
                Some(door) => encoder.encode_family(&[("door", *door)])?.encode_histogram::<[(&str, &str); 0]>(sum, total, &buckets, None)?,
                None => encoder.encode_histogram::<[(&str, &str); 0]>(sum, total, &buckets, None)?,
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
