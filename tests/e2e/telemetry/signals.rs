//! Metrics and the process' own log at a collector, and that no secret is in anything that is sent.

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use serde_json::json;

use super::collector::{Collector, text};
use super::{TOKEN, at, gate, gate_with};
use crate::client::Ask;
use crate::process::until;
use crate::websocket::{handshake, talk};

/// What a counter says of these labels.
fn count(collector: &Collector, name: &str, labels: &[(&str, &str)]) -> i64 {
    let Some(Data::Sum(sum)) = collector.metric(name) else { return 0 };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    let point = sum.data_points.iter().find(|point| labels.iter().all(|(key, value)| text(&point.attributes, key) == *value));
    match point.and_then(|point| point.value) {
        Some(Value::AsInt(count)) => count,
        _ => 0,
    }
}

#[test]
fn metrics_are_sent_again_and_again_and_once_more_at_the_end() {
    let (collector, port) = Collector::start();
    let mut gate = gate(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &at(port)), ("OTEL_METRIC_EXPORT_INTERVAL", "100")]);
    let allowed = [("door", "proxy"), ("outcome", "allow"), ("reason", "allowed")];
    for times in 1..=3 {
        assert_eq!(gate.ask(&Ask::get("/orders/7").token(TOKEN)).status, 200);
        until("the decision's count", || count(&collector, "scopegate.decisions", &allowed) == times);
    }
    let Some(Data::Histogram(seconds)) = collector.metric("scopegate.decision") else { panic!("no histogram") };
    let proxy = seconds.data_points.iter().find(|point| text(&point.attributes, "door") == "proxy").unwrap();
    assert_eq!((proxy.count, proxy.bucket_counts.iter().sum::<u64>(), proxy.explicit_bounds.len()), (3, 3, 8));
    assert!(proxy.start_time_unix_nano > 0 && proxy.time_unix_nano > proxy.start_time_unix_nano);
    let Some(Data::Gauge(_)) = collector.metric("scopegate.generation") else { panic!("no gauge") };
    // The same table as Prometheus reads.
    for name in ["build_info", "tokens", "upstream", "audit_dropped"] {
        assert!(collector.metric(&format!("scopegate.{name}")).is_some(), "{name}");
    }
    assert_eq!(gate.ask(&Ask::get("/orders/7")).status, 401);
    gate.process.signal("INT");
    assert_eq!(gate.process.ended(), Some(0));
    assert_eq!(count(&collector, "scopegate.decisions", &[("door", "proxy"), ("reason", "no_credential")]), 1);
}

#[test]
fn the_log_is_sent_as_it_is_written() {
    let (collector, port) = Collector::start();
    let gate = gate(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &at(port)), ("SCOPEGATE_LOG", "trace")]);
    std::fs::write(gate.desk.path("scopegate.yaml"), "upstream: 7\n").unwrap();
    assert_eq!(Ask::new("POST", "/reload").send(gate.admin_port()).status, 422);
    let mut said = Vec::new();
    until("a warning of the reload that failed", || {
        said = collector.lines();
        said.iter().any(|line| line.severity_text == "ERROR" || line.severity_text == "WARN")
    });
    let out = gate.process.said();
    for line in &said {
        assert!(line.time_unix_nano > 0 && line.severity_number > 0, "{line:?}");
        let target = text(&line.attributes, "code.module.name");
        assert!(out.contains(&format!("\"target\":\"{target}\"")), "standard error says the same: {target}");
        // What libraries say in detail is what they read, and may be a secret.
        assert!(target.starts_with("scopegate") || line.severity_number >= 9, "{line:?}");
    }
}

#[test]
fn no_secret_is_in_a_span_a_metric_or_a_line() {
    const SECRET: &str = "s3cret-of-nobody-0123456789";
    let (collector, port) = Collector::start();
    let headers = "authorization=Bearer%20c0llector-secret";
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*at(port)),
        ("OTEL_EXPORTER_OTLP_HEADERS", headers),
        ("SCOPEGATE_LOG", "trace"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ];
    let mut gate = gate_with(&variables, &json!({"default": {"authenticated": true, "query_credentials": true}}));
    for token in [TOKEN, SECRET] {
        let status = if token == TOKEN { 200 } else { 401 };
        for ask in [
            Ask::get("/orders/7").token(token),
            Ask::get("/orders/7").header("x-key", token),
            Ask::get("/orders/7").header("cookie", &format!("key={token}")),
            Ask::new("POST", "/anything").token(token).body(token.as_bytes()),
        ] {
            assert_eq!(gate.ask(&ask.header("tracestate", &format!("v={token}")).header("x-other", token)).status, status);
        }
        assert_eq!(talk(gate.door(), &handshake(&format!("/socket?key={token}"))).0, if token == TOKEN { 101 } else { 401 });
        assert!(gate.ask(&Ask::get(&format!("/{token}/%zz")).token(token)).status >= 400);
        gate.ask(&Ask::get(&format!("/a/{token}/b?key={token}")).token(token));
        gate.ask(&Ask::new(&token.to_uppercase(), "/a").header("host", token));
    }
    gate.process.signal("INT");
    assert_eq!(gate.process.ended(), Some(0));
    let told = collector.text();
    assert!(collector.all_spans().len() > 16 && !collector.lines().is_empty() && told.contains("scopegate.decisions"));
    assert!(told.contains("c0llector-secret"), "the collector is shown what is for it");
    for secret in [TOKEN, SECRET, &TOKEN.to_uppercase(), &SECRET.to_uppercase()] {
        assert!(!told.contains(secret), "{secret} is in\n{told}");
    }
    let said = gate.process.said();
    assert!(!said.contains("c0llector-secret") && !said.contains(SECRET), "{said}");
}
