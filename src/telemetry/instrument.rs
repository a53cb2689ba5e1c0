//! What can be counted: counters, families of them, histograms, each into points that every way of telling walks alike.
//! Counting waits for nothing but the map of a family, which is asked on rare paths only.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::{Equivalent, HashMap};

/// One metric as it stands.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Without the unit, and without what a format adds.
    pub name: &'static str,
    pub unit: Unit,
    pub help: &'static str,
    pub kind: Kind,
    pub points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    None,
    Seconds,
    Bytes,
}

#[derive(Clone, Debug)]
pub struct Point {
    pub labels: Labels,
    pub value: Value,
}

pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

#[derive(Clone, Debug)]
pub enum Value {
    Whole(u64),
    Real(f64),
    Spread(Spread),
}

/// A histogram at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Upper bounds in nanoseconds.
    pub bounds: &'static [u64; BOUNDS],
    /// Of each bound, and of what is above all of them.
    pub counts: [u64; BOUNDS + 1],
    /// Nanoseconds.
    pub sum: u64,
}

/// How many bounds a histogram has.
pub const BOUNDS: usize = 8;

#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// Counters by the values of some labels, each from a set that the house knows.
#[derive(Debug)]
pub struct Family {
    names: &'static [&'static str],
    counts: Mutex<HashMap<Box<[Box<str>]>, u64>>,
}

/// A histogram without a lock.
#[derive(Debug)]
pub struct Timings {
    bounds: &'static [u64; BOUNDS],
    counts: [AtomicU64; BOUNDS + 1],
    sum: AtomicU64,
}

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The values of a family's labels, to look up without a copy.
#[derive(Hash)]
struct Key<'a>(&'a [&'a str]);

impl Equivalent<Box<[Box<str>]>> for Key<'_> {
    fn equivalent(&self, key: &Box<[Box<str>]>) -> bool {
        self.0.iter().copied().eq(key.iter().map(|value| &**value))
    }
}

impl Family {
    pub fn new(names: &'static [&'static str]) -> Self {
        Self { names, counts: Mutex::default() }
    }

    /// `values` stand in the order of the names.
    pub fn inc(&self, values: &[&str]) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&Key(values)) {
            Some(count) => *count += 1,
            None => drop(counts.insert(values.iter().map(|value| (*value).into()).collect(), 1)),
        }
    }

    pub fn points(&self) -> Vec<Point> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = |values: &[Box<str>]| self.names.iter().zip(values).map(|(name, value)| (*name, Cow::Owned(value.to_string()))).collect();
        let mut points: Vec<_> = counts.iter().map(|(values, count)| Point { labels: labels(values), value: Value::Whole(*count) }).collect();
        points.sort_by(|one, other| one.labels.cmp(&other.labels));
        points
    }
}

impl Timings {
    pub fn new(bounds: &'static [u64; BOUNDS]) -> Self {
        Self { bounds, counts: Default::default(), sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let slot = self.bounds.iter().position(|bound| nanos <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get(slot) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    pub fn spread(&self) -> Spread {
        Spread {
            bounds: self.bounds,
            counts: self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl Spread {
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = std::array::from_fn(|at| {
            let of = |spread: &Self| spread.counts.get(at).copied().unwrap_or_default();
            of(self).saturating_sub(of(earlier))
        });
        Self { bounds: self.bounds, counts, sum: self.sum.saturating_sub(earlier.sum) }
    }

    /// The time within which a share of all lies, as even within a bucket as can be assumed; `None` of nothing. What is above the last bound
    /// counts as the bound.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = self.count() as f64 * share;
        let (mut below, mut low) = (0, 0);
        for (bound, count) in self.bounds.iter().zip(self.counts) {
            if count > 0 && (below + count) as f64 >= wanted {
                let part = (wanted - below as f64) / count as f64;
                return Some(Duration::from_nanos(low + ((bound - low) as f64 * part.clamp(0.0, 1.0)) as u64));
            }
            (below, low) = (below + count, *bound);
        }
        (self.count() > 0).then_some(Duration::from_nanos(low))
    }
}

impl Metric {
    pub fn new((name, unit): (&'static str, Unit), kind: Kind, help: &'static str, points: Vec<Point>) -> Self {
        Self { name, unit, help, kind, points }
    }
}

impl Point {
    /// The one of a metric without labels.
    pub fn only(value: Value) -> Vec<Self> {
        vec![Self { labels: Vec::new(), value }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_TEN: [u64; BOUNDS] = [10, 20, 30, 40, 50, 60, 70, 80];

    fn spread(nanos: impl IntoIterator<Item = u64>) -> Spread {
        let timings = Timings::new(&BY_TEN);
        nanos.into_iter().for_each(|nanos| timings.observe(Duration::from_nanos(nanos)));
        timings.spread()
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_that_holds_it() {
        let nanos = |spread: &Spread, share| spread.quantile(share).map(|time| time.as_nanos());
        assert_eq!(nanos(&spread([]), 0.5), None);
        assert_eq!(nanos(&spread([15]), 0.5), Some(15));
        assert_eq!(nanos(&spread(1..=80), 0.5), Some(40));
        assert_eq!(nanos(&spread(1..=80), 0.99), Some(79));
        assert_eq!(nanos(&spread([5, 5, 5, 900]), 0.99), Some(80), "above all bounds");
        assert_eq!(nanos(&spread(1..=80).since(&spread(1..=40)), 0.5), Some(60));
    }

    #[test]
    fn a_family_counts_each_of_its_labels_by_itself() {
        let family = Family::new(&["route", "reason"]);
        for values in [["b", "x"], ["a", "y"], ["b", "x"]] {
            family.inc(&values);
        }
        let told: Vec<_> = family.points().into_iter().map(|point| format!("{:?}", (point.labels, point.value))).collect();
        assert_eq!(told, [r#"([("route", "a"), ("reason", "y")], Whole(1))"#, r#"([("route", "b"), ("reason", "x")], Whole(2))"#]);
    }
}
