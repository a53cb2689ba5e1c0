//! Decisions and calls of the upstream into spans, as OTLP writes them, in the lane of the thread that they happen on.
//! Waits for nobody: what finds no room is dropped and counted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::audit::shortened;
use super::instrument::Counter;
use super::lanes::Lanes;
use super::metrics::Kept;
use super::otlp::wire::{Any, attribute, bytes, eight, fixed, message, number, piece, whole};
use super::trace::{Context, Sampler};
use super::{Record, Telemetry};
use crate::gate::Verdict;
use crate::policy::Reason;
use crate::policy::rule::Rule;
use crate::request::path::{NormalPath, split_target};

/// `ScopeSpans.spans`.
const SPAN: u8 = piece(2);
/// `Span.attributes`.
const ATTRIBUTE: u8 = piece(9);

/// `Span.SpanKind`.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Internal = 1,
    Client = 3,
}

#[derive(Debug)]
pub struct Tracer {
    pub lanes: Arc<Lanes>,
    pub sampler: Sampler,
    pub dropped: Counter,
    /// Whether spans have paths.
    pub paths: bool,
}

/// A call of the upstream that is under way. Whoever gives it up leaves a span that says so.
#[derive(Debug)]
pub struct Call {
    telemetry: Arc<Telemetry>,
    context: Context,
    /// What is known of it so far, where it is recorded.
    attributes: Option<Vec<u8>>,
    decision: Context,
    method: &'static str,
    started: SystemTime,
}

impl Tracer {
    /// Records the span of a decision, and gives its place in the trace.
    pub fn decided(&self, record: &Record<'_>, parent: Option<Context>) -> Context {
        let context = Context::below(parent, record.id.0, self.sampler);
        if context.is_sampled() {
            self.append(|out| decision(out, record, (context, parent), self.paths));
        }
        context
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.lanes.append(|out| message(out, SPAN, write)) {
            self.dropped.inc();
        }
    }
}

impl Call {
    /// `None` where traces are off. `server` is `host:port`, a path or an address.
    pub fn begin(telemetry: &Arc<Telemetry>, verdict: &Verdict<'_>, (method, target, server): (&str, &str, &str)) -> Option<Self> {
        let decision = verdict.trace?;
        let paths = telemetry.tracer.as_ref().is_some_and(|tracer| tracer.paths);
        let method = known(method);
        let attributes = decision.is_sampled().then(|| {
            let mut out = Vec::with_capacity(256);
            text(&mut out, "http.request.method", method);
            verdict.decision.rule.into_iter().for_each(|rule| route(&mut out, rule));
            if let Ok(normal) = NormalPath::parse(split_target(target.as_bytes()).0)
                && paths
            {
                path(&mut out, &normal, verdict.decision.rule);
            }
            let split = server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
            text(&mut out, "server.address", split.map_or(server, |(host, _)| host.trim_matches(['[', ']'])));
            if let Some((_, port)) = split {
                attribute(&mut out, ATTRIBUTE, "server.port", Any::Whole(port.into()));
            }
            text(&mut out, "scopegate.decision", str::from_utf8(&verdict.id.hex()).unwrap_or_default());
            out
        });
        let (context, telemetry) = (decision.child(), Arc::clone(telemetry));
        Some(Self { telemetry, context, attributes, decision, method, started: SystemTime::now() })
    }

    /// What the upstream is told.
    pub fn context(&self) -> Context {
        self.context
    }

    /// With the status of the answer, or why there is none.
    pub fn ended(mut self, answer: Result<u16, Reason>) {
        match answer {
            Ok(status) => {
                let failed = (status >= 400).then(|| status.to_string());
                self.end(failed.as_deref(), |out| attribute(out, ATTRIBUTE, "http.response.status_code", Any::Whole(status.into())));
            }
            Err(reason) => self.end(Some(reason.as_str()), |_| {}),
        }
    }

    fn end(&mut self, failed: Option<&str>, more: impl FnOnce(&mut Vec<u8>)) {
        let (Some(attributes), Some(tracer)) = (self.attributes.take(), &self.telemetry.tracer) else { return };
        let name = if self.method == OTHER { "HTTP" } else { self.method };
        tracer.append(|out| {
            head(out, (self.context, Some(self.decision)), (name, Kind::Client), (self.started, SystemTime::now()));
            out.extend_from_slice(&attributes);
            more(out);
            if let Some(why) = failed {
                text(out, "error.type", why);
                error(out);
            }
        });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Some("cancelled"), |_| {});
    }
}

/// What OpenTelemetry calls a method that nobody knows.
const OTHER: &str = "_OTHER";

fn known(method: &str) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or(OTHER)
}

fn decision(out: &mut Vec<u8>, record: &Record<'_>, (context, parent): (Context, Option<Context>), paths: bool) {
    let Record { decision, elapsed, .. } = record;
    let end = SystemTime::now();
    head(out, (context, parent), ("scopegate.decision", Kind::Internal), (end.checked_sub(*elapsed).unwrap_or(end), end));
    let kept = Kept::of(decision);
    text(out, "scopegate.door", record.door.as_str());
    text(out, "scopegate.outcome", kept.outcome());
    text(out, "scopegate.decision", str::from_utf8(&record.id.hex()).unwrap_or_default());
    attribute(out, ATTRIBUTE, "scopegate.generation", Any::Whole(record.generation));
    decision.rule.into_iter().for_each(|rule| route(out, rule));
    if let Some(method) = record.seen.method {
        text(out, "http.request.method", known(method));
    }
    if let Some(normal) = record.seen.path.filter(|_| paths) {
        path(out, normal, decision.rule);
    }
    if let Some(caller) = &decision.caller {
        text(out, "scopegate.credential", caller.credential);
        text(out, "enduser.id", caller.id());
    }
    if let Kept::Denied(reason) | Kept::Shadowed(reason) = kept {
        text(out, "scopegate.reason", reason.as_str());
        // A refusal is no fault of the gate's, but these are.
        if reason.status() >= 500 {
            error(out);
        }
    }
}

/// The fields that every span has.
fn head(out: &mut Vec<u8>, (context, parent): (Context, Option<Context>), (name, kind): (&str, Kind), (start, end): (SystemTime, SystemTime)) {
    let nanos = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0, Duration::as_nanos);
    bytes(out, piece(1), &context.trace_bytes());
    bytes(out, piece(2), &context.span_bytes());
    if let Some(parent) = parent {
        bytes(out, piece(4), &parent.span_bytes());
    }
    bytes(out, piece(5), name.as_bytes());
    number(out, whole(6), kind as u64);
    fixed(out, eight(7), u64::try_from(nanos(start)).unwrap_or_default());
    fixed(out, eight(8), u64::try_from(nanos(end)).unwrap_or_default());
}

fn text(out: &mut Vec<u8>, key: &str, value: &str) {
    attribute(out, ATTRIBUTE, key, Any::Text(value));
}

/// The rule as the operator wrote it, and of it the template of the path.
fn route(out: &mut Vec<u8>, rule: &Rule) {
    text(out, "scopegate.route", &rule.name);
    if let Some(path) = rule.name.rsplit(' ').next().filter(|path| path.starts_with('/')) {
        text(out, "http.route", path);
    }
}

/// As in audit lines.
fn path(out: &mut Vec<u8>, path: &NormalPath<'_>, rule: Option<&Rule>) {
    let mut shown = Vec::with_capacity(64);
    shortened(&mut shown, path.canonical(), rule);
    text(out, "url.path", str::from_utf8(&shown).unwrap_or_default());
}

/// `Span.status` with `STATUS_CODE_ERROR`.
fn error(out: &mut Vec<u8>) {
    message(out, piece(15), |out| number(out, whole(3), 2));
}
