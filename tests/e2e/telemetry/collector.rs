//! A collector of traces, metrics and logs over OTLP/gRPC, which takes what it is sent, refuses it, or never answers.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{MetricsService, MetricsServiceServer};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::process::until;

/// What becomes of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Takes,
    Refuses,
    Sleeps,
}

#[derive(Clone, Debug, Default)]
pub struct Collector(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    mood: Mood,
    spans: Vec<(String, Span)>,
    /// The last that was said of each.
    metrics: Vec<Metric>,
    logs: Vec<LogRecord>,
    /// All of it, with what came along.
    text: String,
}

impl Collector {
    /// Listens until the test's process ends; gives its port too.
    pub fn start() -> (Self, u16) {
        Self::start_in(Mood::Takes)
    }

    pub fn start_in(mood: Mood) -> (Self, u16) {
        let collector = Self::default();
        collector.becomes(mood);
        let (tell, port) = std::sync::mpsc::channel();
        let (traces, metrics, logs) =
            (TraceServiceServer::new(collector.clone()), MetricsServiceServer::new(collector.clone()), LogsServiceServer::new(collector.clone()));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                tell.send(incoming.local_addr().unwrap().port()).unwrap();
                let server = Server::builder().add_service(traces).add_service(metrics).add_service(logs);
                server.serve_with_incoming(incoming).await.unwrap();
            });
        });
        (collector, port.recv().unwrap())
    }

    pub fn becomes(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    async fn take<T: std::fmt::Debug>(&self, request: Request<T>, keep: impl FnOnce(&mut Kept, T)) -> Result<(), Status> {
        let mood = self.0.lock().unwrap().mood;
        match mood {
            Mood::Takes => {}
            Mood::Refuses => return Err(Status::unavailable("come again later")),
            Mood::Sleeps => std::future::pending().await,
        }
        let mut kept = self.0.lock().unwrap();
        kept.text += &format!("{request:?}\n");
        keep(&mut kept, request.into_inner());
        Ok(())
    }

    /// All that came, as text.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().text.clone()
    }

    /// Spans of this name and trace, once there are so many, with the name of the service that sent them.
    pub fn spans(&self, name: &str, trace: &str, count: usize) -> Vec<(String, Span)> {
        let mut found = Vec::new();
        until(&format!("{count} spans `{name}` of the trace {trace}"), || {
            let kept = self.0.lock().unwrap();
            found = kept.spans.iter().filter(|(_, span)| span.name == name && hex(&span.trace_id) == trace).cloned().collect();
            found.len() >= count
        });
        assert_eq!(found.len(), count, "{found:?}");
        found
    }

    pub fn all_spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().spans.iter().map(|(_, span)| span.clone()).collect()
    }

    /// What was last said of a metric.
    pub fn metric(&self, name: &str) -> Option<Data> {
        let kept = self.0.lock().unwrap();
        kept.metrics.iter().find(|metric| metric.name == name)?.data.clone()
    }

    /// What the log said.
    pub fn lines(&self) -> Vec<LogRecord> {
        self.0.lock().unwrap().logs.clone()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let keep = |kept: &mut Kept, export: ExportTraceServiceRequest| {
            for of in export.resource_spans {
                let service = service(of.resource.as_ref());
                kept.spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| (service.clone(), span)));
            }
        };
        self.take(request, keep).await?;
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(&self, request: Request<ExportMetricsServiceRequest>) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let keep = |kept: &mut Kept, export: ExportMetricsServiceRequest| {
            kept.metrics = export.resource_metrics.into_iter().flat_map(|of| of.scope_metrics).flat_map(|scope| scope.metrics).collect();
        };
        self.take(request, keep).await?;
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(&self, request: Request<ExportLogsServiceRequest>) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let keep = |kept: &mut Kept, export: ExportLogsServiceRequest| {
            kept.logs.extend(export.resource_logs.into_iter().flat_map(|of| of.scope_logs).flat_map(|scope| scope.log_records));
        };
        self.take(request, keep).await?;
        Ok(Response::new(Default::default()))
    }
}

fn service(resource: Option<&Resource>) -> String {
    resource.map(|resource| text(&resource.attributes, "service.name")).unwrap_or_default()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text, or nothing.
pub fn text(attributes: &[KeyValue], key: &str) -> String {
    match attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}
