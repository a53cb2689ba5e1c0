//! The last quarter of an hour as charts: how much was decided, how long it took, and what denials were for.
//! Shows what the counters say, sampled or not.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};

use super::chart::{Series, chart};
use super::form::address;
use super::page::count;
use crate::gate::Door;
use crate::telemetry::history::{Point, STEP, Times};

const OVER: &str = "last 15 minutes";

pub fn show(points: &[Point]) -> Markup {
    let rate = |label, kind, of: fn(&Point) -> f64| Series { label, kind, values: points.iter().map(|point| Some(of(point))).collect() };
    let mut rates = vec![rate("allowed", "", |point| point.allowed), rate("denied", "second", |point| point.denied)];
    if points.iter().any(|point| point.shadowed > 0.0) {
        rates.push(rate("passed in shadow", "third", |point| point.shadowed));
    }
    html! {
        @if points.is_empty() { p.empty { "The charts begin after " (STEP.as_secs() * 2) " seconds." } } @else {
            div.charts {
                (chart("Decisions a second", OVER, &rates, per_second))
                @for (index, door) in Door::ALL.iter().enumerate() {
                    @if points.iter().any(|point| at(point, index).is_some()) {
                        (chart(&format!("Time of a decision at {}", door.as_str()), OVER, &times(points, |point| at(point, index)), duration))
                    }
                }
                @if points.iter().any(|point| point.upstream.is_some()) {
                    (chart("Time of the upstream", OVER, &times(points, |point| point.upstream), duration))
                }
            }
            (reasons(points))
        }
    }
}

fn at(point: &Point, door: usize) -> Option<Times> {
    point.doors.get(door).copied().flatten()
}

fn times(points: &[Point], of: impl Fn(&Point) -> Option<Times>) -> [Series; 2] {
    let series = |label, kind, part: fn(Times) -> Duration| Series {
        label,
        kind,
        values: points.iter().map(|point| of(point).map(|times| part(times).as_secs_f64())).collect(),
    };
    [series("p99", "", |times| times.p99), series("p50", "pale", |times| times.p50)]
}

fn per_second(rate: f64) -> String {
    if rate >= 100.0 { count(rate.round() as u64) } else { format!("{rate:.1}") }
}

fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 0.001 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.0} µs", seconds * 1e6),
    }
}

/// What was denied, or would be, and why; the most frequent first.
fn reasons(points: &[Point]) -> Markup {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (reason, times) in points.iter().flat_map(|point| &point.denials) {
        *counts.entry(reason.as_str()).or_default() += times;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    let most = counts.first().map_or(1, |(_, times)| *times);
    html! {
        @if !counts.is_empty() {
            h2 { "Why denied, " (OVER) }
            table.cards {
                thead { tr { th scope="col" { "Reason" } th.right scope="col" { "Requests" } th.bars scope="col" { "Share" } } }
                tbody {
                    @for (reason, times) in counts.iter().take(10) {
                        tr {
                            th scope="row" { a href=(address("/panel/decisions", [("reason", *reason)])) { code { (reason) } } }
                            td.right data-label="Requests" { (count(*times)) }
                            td.bars { svg.bar aria-hidden="true" viewBox="0 0 100 8" preserveAspectRatio="none" { rect x="0" y="0" height="8" width=(format!("{:.1}", 100.0 * *times as f64 / most as f64)) {} } }
                        }
                    }
                }
            }
        }
    }
}
