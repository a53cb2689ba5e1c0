//! A request as spans: the decision on it and the call of the upstream, in the trace that it came with.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use super::collector::{Collector, hex, text};
use super::{TOKEN, at, gate, gate_with};
use crate::client::Ask;
use crate::process::{Process, free_port, scopegate, until};
use crate::stage::{Front, Stage};
use crate::websocket::{handshake, talk};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const DECISION: &str = "scopegate.decision";

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

#[test]
fn a_decision_is_a_span_of_the_clients_trace_at_every_kind_of_door() {
    for (front, door) in
        [(Front::Proxy, "proxy"), (Front::EnvoyGrpc, "ext_authz"), (Front::EnvoyHttp, "forward_auth"), (Front::Traefik, "forward_auth")]
    {
        let (collector, port) = Collector::start();
        let mut stage = Stage::start_with(front, &format!("telemetry: {{otlp: '{}'}}", at(port)));
        let ask = Ask::get("/pending?secret=1").token(stage.token("operator-01")).header("traceparent", &parent("01"));
        let (answer, seen) = stage.ask(&ask.header("tracestate", "vendor=1"));
        assert_eq!((answer.status, seen.len()), (200, 1));
        // What is waiting is sent before the gate ends.
        stage.gate.signal("INT");
        assert_eq!(stage.gate.ended(), Some(0));
        let (service, span) = collector.spans(DECISION, TRACE, 1).remove(0);
        assert_eq!((&*service, &*hex(&span.parent_span_id), span.kind), ("scopegate", PARENT, 1));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0);
        for (key, value) in [
            ("scopegate.door", door),
            ("scopegate.outcome", "allow"),
            ("scopegate.credential", "backstop"),
            ("enduser.id", "operator-01"),
            ("scopegate.route", "GET /pending"),
            ("http.route", "/pending"),
            ("http.request.method", "GET"),
            ("url.path", "/pending"),
        ] {
            assert_eq!(text(&span.attributes, key), value, "{key}");
        }
        let told = collector.text();
        assert!(!told.contains("secret") && !told.contains(stage.token("operator-01")), "{told}");
        // The proxy door stands in the trace itself; behind another proxy, that one passes the trace on.
        let called = collector.all_spans().iter().find(|span| span.kind == 3).map(|span| hex(&span.span_id));
        assert_eq!(called.is_some(), front == Front::Proxy);
        assert_eq!(seen[0].header("traceparent"), Some(&*format!("00-{TRACE}-{}-01", called.as_deref().unwrap_or(PARENT))));
        assert_eq!(seen[0].header("tracestate"), Some("vendor=1"));
    }
}

#[test]
fn a_decision_is_a_span_below_envoys_own_where_envoy_traces() {
    const TRACING: &str = r#"stat_prefix: front
                tracing:
                  provider:
                    name: envoy.tracers.opentelemetry
                    typed_config:
                      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                      grpc_service: {envoy_grpc: {cluster_name: collector}}"#;
    const CLUSTER: &str = r#"clusters:
    - name: collector
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
      load_assignment:
        cluster_name: collector
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: COLLECTOR}}}}]}]"#;
    let (collector, port) = Collector::start();
    let gate = gate(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &at(port))]);
    let envoy = gate.envoy(&[("stat_prefix: front", TRACING), ("clusters:", &CLUSTER.replace("COLLECTOR", &port.to_string()))]);
    let answer = Ask::get("/orders/7").token(TOKEN).header("traceparent", &parent("01")).send(envoy.port);
    assert_eq!(answer.status, 200);
    let (_, decision) = collector.spans(DECISION, TRACE, 1).remove(0);
    let above = hex(&decision.parent_span_id);
    until("Envoy's own spans", || collector.all_spans().iter().any(|span| hex(&span.span_id) == above));
    let envoys = collector.all_spans();
    let above = envoys.iter().find(|span| hex(&span.span_id) == above).unwrap();
    assert_eq!(hex(&above.trace_id), TRACE);
    assert!(above.name.contains("Authorization.Check") || above.name.contains("ingress"), "{}", above.name);
}

#[test]
fn a_denial_is_a_span_with_its_reason() {
    let (collector, port) = Collector::start();
    let gate = gate_with(&[], &json!({"telemetry": {"otlp": at(port)}}));
    assert_eq!(gate.ask(&Ask::get("/orders/7").header("traceparent", &parent("01"))).status, 401);
    assert_eq!(gate.ask(&Ask::new("BREW", "/nowhere").token(TOKEN).header("traceparent", &parent("01"))).status, 200, "`default: authenticated`");
    let spans = collector.spans(DECISION, TRACE, 2);
    let told = |at: usize, key| text(&spans[at].1.attributes, key);
    assert_eq!([told(0, "scopegate.outcome"), told(0, "scopegate.reason")], ["deny", "no_credential"]);
    // A method that nobody defined is no name of a series.
    assert_eq!([told(1, "scopegate.outcome"), told(1, "http.request.method")], ["allow", "_OTHER"]);
}

#[test]
fn a_call_of_the_upstream_is_a_span_below_the_decision_on_every_way_to_it() {
    let (collector, port) = Collector::start();
    let gate = gate(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &at(port))]);
    let traced = |ask: Ask| ask.token(TOKEN).header("traceparent", &parent("01"));
    assert_eq!(gate.ask(&traced(Ask::get("/orders/7?key=x"))).status, 200, "the short way");
    assert_eq!(gate.ask(&traced(Ask::new("PUT", "/things/ABCDEFGHIJKLMNOP1")).body(b"{}")).status, 200, "the long way");
    assert_eq!(talk(gate.door(), &traced(handshake("/socket"))), (101, true));
    let seen = gate.application.take();
    let decisions = collector.spans(DECISION, TRACE, 3);
    let calls = [collector.spans("GET", TRACE, 2), collector.spans("PUT", TRACE, 1)].concat();
    for (call, (status, route, path)) in
        calls.iter().zip([("200", "/orders/{id}", "/orders/7"), ("101", "/socket", "/socket"), ("200", "", "/things/ABCD…")])
    {
        let (_, call) = call;
        let told = |key| text(&call.attributes, key);
        assert_eq!(
            (call.kind, told("http.response.status_code"), told("http.route"), told("url.path")),
            (3, status.into(), route.into(), path.into())
        );
        assert_eq!((told("server.address"), told("server.port")), ("127.0.0.1".into(), gate.application.port.to_string()));
        assert_eq!((told("error.type"), call.status.clone().map(|status| status.code)), (String::new(), None));
        let above = decisions.iter().find(|(_, decision)| decision.span_id == call.parent_span_id);
        let above = above.expect("the decision is above the call");
        assert_eq!(text(&above.1.attributes, "scopegate.decision"), told("scopegate.decision"));
        let sent = format!("00-{TRACE}-{}-01", hex(&call.span_id));
        assert!(seen.iter().any(|request| request.header("traceparent") == Some(&sent)), "the upstream is told of the call");
    }
}

#[test]
fn a_call_that_fails_says_why() {
    let (collector, port) = Collector::start();
    let nobody = at(free_port());
    let gate = gate_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &at(port))], &json!({"upstream": nobody}));
    for ask in [Ask::get("/public"), Ask::new("PUT", "/things").token(TOKEN).body(b"{}")] {
        assert_eq!(gate.ask(&ask.header("traceparent", &parent("01"))).status, 502);
    }
    for (_, span) in [collector.spans("GET", TRACE, 1), collector.spans("PUT", TRACE, 1)].concat() {
        assert_eq!((text(&span.attributes, "error.type"), span.status.map(|status| status.code)), ("bad_gateway".into(), Some(2)));
    }
}

#[test]
fn a_call_that_its_client_gives_up_says_so() {
    let (collector, port) = Collector::start();
    let upstream = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let more = json!({"upstream": at(upstream.local_addr().unwrap().port())});
    let gate = gate_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &at(port))], &more);
    let mut client = TcpStream::connect(("127.0.0.1", gate.door())).unwrap();
    client.write_all(&Ask::get("/public").header("traceparent", &parent("01")).bytes()).unwrap();
    // The upstream has the request, and does not answer.
    let (mut asked, _) = upstream.accept().unwrap();
    asked.read_exact(&mut [0; 11]).unwrap();
    drop(client);
    let (_, span) = collector.spans("GET", TRACE, 1).remove(0);
    assert_eq!((text(&span.attributes, "error.type"), span.status.map(|status| status.code)), ("cancelled".into(), Some(2)));
}

#[test]
fn what_is_no_trace_is_not_continued_and_a_trace_that_is_not_recorded_stays_so() {
    let (collector, port) = Collector::start();
    let mut gate = gate(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &at(port))]);
    let new = |ask: Ask| {
        assert_eq!(gate.ask(&ask.header("tracestate", "vendor=1")).status, 200);
        let seen = gate.application.take().remove(0);
        (seen.header("traceparent").unwrap().to_owned(), seen.header("tracestate").map(str::to_owned))
    };
    for long_way in [false, true] {
        let ask = || if long_way { Ask::new("POST", "/things").token(TOKEN).body(b"{}") } else { Ask::get("/public") };
        for malformed in [&*parent("01").to_uppercase(), &parent("01")[3..], &parent("01-and-more"), &parent("01").replace("00-", "ff-")] {
            let (sent, state) = new(ask().header("traceparent", malformed));
            assert!(!sent.contains(TRACE) && sent.ends_with("-01") && sent.len() == 55, "{malformed}: {sent}");
            assert_eq!(state, None, "nobody's state belongs to a new trace");
        }
        let (sent, state) = new(ask().header("traceparent", &parent("00")));
        assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00") && !sent.contains(PARENT), "{sent}");
        assert_eq!(state.as_deref(), Some("vendor=1"));
        // W3C Trace Context §3.2.4: of a version to come, what is known of it counts.
        let (sent, _) = new(ask().header("traceparent", &parent("01-and-more").replace("00-0af", "cc-0af")));
        assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-01"), "{sent}");
    }
    gate.process.signal("INT");
    assert_eq!(gate.process.ended(), Some(0));
    let spans = collector.all_spans();
    assert_eq!(spans.len(), 20, "of ten requests that are recorded, a decision and a call each");
    assert_eq!(spans.iter().filter(|span| hex(&span.trace_id) == TRACE).count(), 4);
}

#[test]
fn without_a_collector_a_trace_goes_through_untouched() {
    let stage = Stage::start(Front::Proxy);
    for (traceparent, state) in [(parent("01"), "vendor=1"), ("nonsense".to_owned(), "vendor=1")] {
        let (_, seen) = stage.ask(&Ask::get("/health").header("traceparent", &traceparent).header("tracestate", state));
        assert_eq!((seen[0].header("traceparent"), seen[0].header("tracestate")), (Some(&*traceparent), Some(state)));
    }
}

#[test]
fn samplers_of_the_environment_count() {
    let (collector, port) = Collector::start();
    let (endpoint, off) = (("OTEL_EXPORTER_OTLP_ENDPOINT", &*at(port)), ("OTEL_TRACES_SAMPLER", "parentbased_always_off"));
    let mut gate = gate(&[endpoint, off, ("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none"), ("OTEL_SERVICE_NAME", "the-gate")]);
    for ask in [Ask::get("/public"), Ask::get("/public").header("traceparent", &parent("01"))] {
        assert_eq!(gate.ask(&ask).status, 200);
    }
    gate.process.signal("INT");
    assert_eq!(gate.process.ended(), Some(0));
    assert_eq!((collector.all_spans().len(), collector.lines().len(), collector.metric("scopegate.decisions")), (2, 0, None));
    assert_eq!(collector.spans("GET", TRACE, 1)[0].0, "the-gate");
}

#[test]
fn a_wrong_variable_ends_the_start_with_what_would_be_right() {
    let config = json!({"upstream": at(1), "credentials": {"hook": {"kind": "webhook", "token": TOKEN}}, "routes": {"GET /": "public"}});
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("scopegate.yaml"), config.to_string()).unwrap();
    let mut gate = Process::start("scopegate", &scopegate(), folder.path(), |command| {
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*at(4318)), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
        command.args(["serve", "--config", "scopegate.yaml"]).envs(variables);
    });
    assert_eq!(gate.ended(), Some(1));
    assert!(gate.said().contains("`OTEL_EXPORTER_OTLP_PROTOCOL` is `http/protobuf`; only `grpc`"), "{}", gate.said());
}
