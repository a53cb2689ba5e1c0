//! A collector that is not there, that never answers or that refuses: every request is decided on, what is lost is counted and told of
//! once, and what comes after arrives.

use std::net::TcpListener;

use super::collector::{Collector, Mood, text};
use super::{TOKEN, at, gate};
use crate::client::Ask;
use crate::gate::Gate;
use crate::process::{free_port, until};

const REQUESTS: usize = 50;

fn started(port: u16) -> Gate {
    gate(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &at(port)), ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"), ("OTEL_METRIC_EXPORT_INTERVAL", "500")])
}

fn counted(gate: &Gate, name: &str) -> u64 {
    let metrics = gate.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().unwrap()
}

fn ask(gate: &Gate) {
    for number in 0..REQUESTS {
        let (ask, status) = if number % 2 == 0 { (Ask::get("/orders/7").token(TOKEN), 200) } else { (Ask::get("/orders/7"), 401) };
        assert_eq!(gate.ask(&ask).status, status);
    }
}

/// A decision each, and a call of the upstream for every other.
const SPANS: u64 = REQUESTS as u64 * 3 / 2;

/// All is decided, lost, counted and told of once for each signal; and the process ends when it is told to.
fn suffer(gate: &mut Gate) {
    ask(gate);
    until("the loss of all spans", || counted(gate, "scopegate_spans_dropped_total") == SPANS);
    ask(gate);
    until("the loss of all spans", || counted(gate, "scopegate_spans_dropped_total") == 2 * SPANS);
    assert_eq!(counted(gate, "scopegate_audit_dropped_total"), 0);
    for signal in ["traces", "metrics"] {
        let said = format!("{signal} do not reach the collector");
        until("a word in the log", || gate.process.said().contains(&said));
        assert_eq!(gate.process.said().matches(&said).count(), 1, "once an outage");
    }
}

fn end(gate: &mut Gate) {
    gate.process.signal("INT");
    assert_eq!(gate.process.ended(), Some(0));
}

#[test]
fn a_collector_that_is_not_there_holds_up_nothing() {
    let mut gate = started(free_port());
    suffer(&mut gate);
    end(&mut gate);
}

#[test]
fn a_collector_that_never_says_a_word_holds_up_nothing() {
    // The system takes the connection, and nobody reads from it.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut gate = started(listener.local_addr().unwrap().port());
    suffer(&mut gate);
    end(&mut gate);
}

#[test]
fn a_collector_that_never_answers_holds_up_nothing_and_gets_what_comes_after() {
    comes_back(Mood::Sleeps);
}

#[test]
fn a_collector_that_refuses_gets_what_comes_after() {
    comes_back(Mood::Refuses);
}

fn comes_back(mood: Mood) {
    let (collector, port) = Collector::start_in(mood);
    let mut gate = started(port);
    suffer(&mut gate);
    assert!(collector.all_spans().is_empty());
    collector.becomes(Mood::Takes);
    let lost = counted(&gate, "scopegate_spans_dropped_total");
    ask(&gate);
    until("the spans of what came after", || collector.all_spans().len() as u64 == SPANS);
    assert_eq!(counted(&gate, "scopegate_spans_dropped_total"), lost, "nothing more is lost");
    until("a word in the log", || gate.process.said().contains("traces reach the collector at"));
    let denied = collector.all_spans().iter().filter(|span| text(&span.attributes, "scopegate.outcome") == "deny").count();
    assert_eq!(denied, REQUESTS / 2);
    end(&mut gate);
}
