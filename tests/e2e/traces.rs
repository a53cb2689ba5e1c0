//! Spans as a collector gets them, over OTLP/gRPC.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::client::Ask;
use crate::process::until;
use crate::stage::{Front, Stage};

/// Keeps what is sent to it, with the name of the service that sent it.
#[derive(Clone, Debug, Default)]
pub struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let service = resource.resource.as_ref().map(|resource| text(&resource.attributes, "service.name")).unwrap_or_default();
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Listens until the test's process ends; gives its port too.
    pub fn start() -> (Self, u16) {
        let collector = Self::default();
        let (tell, port) = std::sync::mpsc::channel();
        let service = TraceServiceServer::new(collector.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                tell.send(incoming.local_addr().unwrap().port()).unwrap();
                Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
            });
        });
        (collector, port.recv().unwrap())
    }

    /// The decision's span in a trace, once it has come.
    pub fn span_of(&self, trace: &str) -> (String, Span) {
        let mut found = None;
        until("a span of the trace", || {
            found = self.0.lock().unwrap().iter().find(|(_, span)| hex(&span.trace_id) == trace).cloned();
            found.is_some()
        });
        found.unwrap()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text attribute, or nothing.
fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.clone()?.value);
    if let Some(Value::StringValue(text)) = value { text } else { String::new() }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[test]
fn a_decision_is_a_span_of_the_clients_trace_at_every_kind_of_door() {
    for (front, door) in [(Front::Proxy, "proxy"), (Front::EnvoyGrpc, "ext_authz"), (Front::Traefik, "forward_auth")] {
        let (collector, port) = Collector::start();
        let mut stage = Stage::start_with(front, &format!("telemetry: {{otlp: 'http://127.0.0.1:{port}'}}"));
        let ask = Ask::get("/pending?secret=1").token(stage.token("operator-01")).header("traceparent", &format!("00-{TRACE}-{PARENT}-01"));
        let (answer, seen) = stage.ask(&ask);
        assert_eq!((answer.status, seen.len()), (200, 1));
        // Spans are sent in batches, and what is waiting is sent before the gate ends.
        stage.gate.signal("INT");
        assert_eq!(stage.gate.ended(), Some(0));
        let (service, span) = collector.span_of(TRACE);
        assert_eq!((&*service, &*span.name, &*hex(&span.parent_span_id)), ("scopegate", "scopegate.decision", PARENT));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        for (key, value) in [
            ("scopegate.door", door),
            ("scopegate.outcome", "allow"),
            ("scopegate.credential", "backstop"),
            ("enduser.id", "operator-01"),
            ("http.route", "GET /pending"),
        ] {
            assert_eq!(text(&span.attributes, key), value, "{key}");
        }
        let told = format!("{:?}", span.attributes);
        assert!(!told.contains("secret") && !told.contains(stage.token("operator-01")), "{told}");
        // The proxy door stands in the trace itself; behind another proxy, that one passes the trace on.
        let parent = if front == Front::Proxy { hex(&span.span_id) } else { PARENT.into() };
        assert_eq!(seen[0].header("traceparent"), Some(&*format!("00-{TRACE}-{parent}-01")));
    }
}

#[test]
fn a_denial_is_a_span_with_its_reason() {
    let (collector, port) = Collector::start();
    let mut stage = Stage::start_with(Front::Proxy, &format!("telemetry: {{otlp: 'http://127.0.0.1:{port}'}}"));
    let (answer, _) = stage.ask(&Ask::get("/pending").header("traceparent", &format!("00-{TRACE}-{PARENT}-01")));
    assert_eq!(answer.status, 401);
    stage.gate.signal("INT");
    assert_eq!(stage.gate.ended(), Some(0));
    let (_, span) = collector.span_of(TRACE);
    assert_eq!(text(&span.attributes, "scopegate.outcome"), "deny");
    assert_eq!(text(&span.attributes, "scopegate.reason"), "no_credential");
}
