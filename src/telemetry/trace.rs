//! W3C trace context in and out, and a span a decision over OTLP where an endpoint is named.
//! Without one, what a client sent is passed on untouched.

use std::time::SystemTime;

use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider,
};
use opentelemetry::{Context as OtelContext, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::Record;

/// A `traceparent` (W3C Trace Context, level 1, §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl Context {
    /// `None` where the text is not of version 00 or has an all-zero id.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (version == "00" && parts.next().is_none() && hex(trace, 32) && hex(span, 16) && hex(flags, 2)).then_some(())?;
        let context = Self {
            trace: TraceId::from_hex(trace).ok()?,
            span: SpanId::from_hex(span).ok()?,
            flags: TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        };
        (context.trace != TraceId::INVALID && context.span != SpanId::INVALID).then_some(context)
    }

    pub fn trace_id(&self) -> String {
        self.trace.to_string()
    }

    /// The header to send on.
    pub fn header(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, self.flags.to_u8())
    }
}

/// Sends spans in the background.
#[derive(Debug)]
pub struct Tracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Tracer {
    /// `endpoint` is `http://host:port`; without one the standard `OTEL_EXPORTER_OTLP_…` variables say where. Call inside a tokio runtime.
    pub fn start(endpoint: Option<&str>) -> Result<Self, String> {
        let mut exporter = SpanExporter::builder().with_tonic();
        if let Some(endpoint) = endpoint {
            exporter = exporter.with_endpoint(endpoint);
        }
        let exporter = exporter.build().map_err(|error| format!("traces cannot be sent: {error}"))?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("scopegate");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let tracer = provider.tracer("scopegate");
        Ok(Self { provider, tracer })
    }

    /// Records the span of a decision, and gives its place in the trace.
    pub fn decided(&self, record: &Record<'_>, parent: Option<Context>) -> Context {
        let end = SystemTime::now();
        let parent = parent.map(|parent| SpanContext::new(parent.trace, parent.span, parent.flags, true, TraceState::NONE));
        let parent = parent.map_or_else(OtelContext::new, |parent| OtelContext::new().with_remote_span_context(parent));
        let mut attributes = vec![
            KeyValue::new("scopegate.door", record.door.as_str()),
            KeyValue::new("scopegate.outcome", record.outcome()),
            KeyValue::new("scopegate.decision", record.id.to_string()),
            KeyValue::new("scopegate.generation", i64::try_from(record.generation).unwrap_or(i64::MAX)),
        ];
        if let Some(rule) = record.decision.rule {
            attributes.push(KeyValue::new("http.route", rule.name.to_string()));
        }
        if let Some(caller) = &record.decision.caller {
            attributes.push(KeyValue::new("scopegate.credential", caller.credential.to_owned()));
            attributes.push(KeyValue::new("enduser.id", caller.id().to_owned()));
        }
        let builder = self.tracer.span_builder("scopegate.decision").with_kind(SpanKind::Internal);
        let builder = builder.with_start_time(end.checked_sub(record.elapsed).unwrap_or(end)).with_attributes(attributes);
        let mut span = self.tracer.build_with_context(builder, &parent);
        if let Some(denial) = record.decision.objection() {
            span.set_attribute(KeyValue::new("scopegate.reason", denial.reason.as_str()));
            span.set_status(Status::Ok);
        }
        span.end_with_timestamp(end);
        let context = span.span_context();
        Context { trace: context.trace_id(), span: context.span_id(), flags: context.trace_flags() }
    }

    /// Sends what is waiting.
    pub fn shutdown(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!("the last traces were not sent: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_traceparent_is_read() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(Context::parse(text.as_bytes()).map(|context| context.header()).as_deref(), Some(text));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(Context::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
