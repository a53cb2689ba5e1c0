//! The counters of now and of a moment ago into rates and times of the last quarter of an hour, for the panel.
//! Keeps so many points and no more, and knows nothing that the metrics do not.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Telemetry;
use super::instrument::Spread;
use super::metrics::{Kept, Metrics};
use crate::gate::{Door, unix_now};
use crate::policy::Reason;

/// Between two points.
pub const STEP: Duration = Duration::from_secs(5);
/// A quarter of an hour.
pub const POINTS: usize = 180;

#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Point>>);

/// What one step of time was like.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// The second since 1970 at which it ended.
    pub at: i64,
    /// Decisions a second.
    pub allowed: f64,
    pub denied: f64,
    /// Let pass, and would be denied.
    pub shadowed: f64,
    /// How many were denied, or would be, for which reason; only those that there were.
    pub denials: Vec<(Reason, u64)>,
    /// How long decisions took, by door in the order of [`Door::ALL`]; `None` where there was none.
    pub doors: [Option<Times>; Door::ALL.len()],
    /// How long the upstream took.
    pub upstream: Option<Times>,
}

/// Half of all took at most `p50`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub p50: Duration,
    pub p99: Duration,
}

impl History {
    /// From the oldest to the newest.
    pub fn points(&self) -> Vec<Point> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, point: Point) {
        let mut points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if points.len() >= POINTS {
            points.pop_front();
        }
        points.push_back(point);
    }
}

/// Adds a point each step, for as long as there is somebody to look at them.
pub async fn keep(telemetry: Weak<Telemetry>) {
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last: Option<Reading> = None;
    loop {
        steps.tick().await;
        let Some(telemetry) = telemetry.upgrade() else { return };
        let now = Reading::of(&telemetry.metrics);
        if let Some(last) = last {
            telemetry.history.push(now.since(&last));
        }
        last = Some(now);
    }
}

/// The counters at one moment.
struct Reading {
    taken: Instant,
    at: i64,
    decisions: HashMap<(Door, Kept), u64>,
    seconds: [Spread; Door::ALL.len()],
    upstream: Spread,
}

impl Reading {
    fn of(metrics: &Metrics) -> Self {
        let decisions = metrics.decisions().map(|(door, kept, count)| ((door, kept), count)).collect();
        Self { taken: Instant::now(), at: unix_now(), decisions, seconds: metrics.seconds(), upstream: metrics.upstream.spread() }
    }

    fn since(&self, earlier: &Self) -> Point {
        let step = self.taken.duration_since(earlier.taken).as_secs_f64().max(f64::EPSILON);
        let mut point = Point { at: self.at, upstream: Times::of(&self.upstream.since(&earlier.upstream)), ..Point::default() };
        let mut denials = BTreeMap::new();
        for (key, count) in &self.decisions {
            let more = count.saturating_sub(earlier.decisions.get(key).copied().unwrap_or_default());
            let (rate, reason) = match key.1 {
                Kept::Allowed => (&mut point.allowed, None),
                Kept::Denied(reason) => (&mut point.denied, Some(reason)),
                Kept::Shadowed(reason) => (&mut point.shadowed, Some(reason)),
            };
            *rate += more as f64 / step;
            if let Some(reason) = reason.filter(|_| more > 0) {
                denials.entry(reason as usize).or_insert((reason, 0)).1 += more;
            }
        }
        point.denials = denials.into_values().collect();
        for (times, (now, earlier)) in point.doors.iter_mut().zip(self.seconds.iter().zip(&earlier.seconds)) {
            *times = Times::of(&now.since(earlier));
        }
        point
    }
}

impl Times {
    fn of(spread: &Spread) -> Option<Self> {
        Some(Self { p50: spread.quantile(0.5)?, p99: spread.quantile(0.99)? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::Decision;
    use crate::telemetry::{DecisionId, Record};

    fn decide(telemetry: &Telemetry, door: Door, (reason, times): (Reason, u64)) {
        for _ in 0..times {
            let decision = Decision::refuse(reason);
            let record = Record {
                door,
                decision: &decision,
                id: DecisionId::next(),
                generation: 1,
                elapsed: Duration::from_micros(2),
                seen: Default::default(),
            };
            telemetry.metrics.decided(&record);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_point_tells_of_its_own_step_only_and_the_oldest_go() {
        let telemetry = Arc::new(Telemetry::default());
        decide(&telemetry, Door::Proxy, (Reason::NoRule, 3));
        tokio::spawn(keep(Arc::downgrade(&telemetry)));
        tokio::time::sleep(STEP / 2).await;
        assert!(telemetry.history.points().is_empty(), "one reading is no step");
        decide(&telemetry, Door::ExtAuthz, (Reason::NoCredential, 2));
        decide(&telemetry, Door::Proxy, (Reason::NoRule, 1));
        tokio::time::sleep(STEP).await;
        let points = telemetry.history.points();
        assert_eq!(points.len(), 1);
        assert_eq!(points[0].denials, [(Reason::NoCredential, 2), (Reason::NoRule, 1)]);
        assert!(points[0].denied > 0.0 && points[0].allowed == 0.0);
        let seen = points[0].doors.map(|times| times.is_some());
        assert_eq!(seen, [true, true, false, false], "the proxy door's and the gRPC door's");
        assert!(points[0].doors[0].unwrap().p99 <= Duration::from_nanos(2_500));
        tokio::time::sleep(STEP * 2 * u32::try_from(POINTS).unwrap()).await;
        let points = telemetry.history.points();
        assert_eq!(points.len(), POINTS);
        assert!(points.iter().all(|point| point.denied == 0.0 && point.doors == [None; 4] && point.denials.is_empty()));
    }
}
