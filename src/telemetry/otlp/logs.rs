//! Lines of the process' own log into records of OTLP's, beside standard error.
//! Says nothing of its own sending, so that no line makes another, and waits for nobody.

use std::fmt::{Debug, Write};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::wire::{Any, attribute, bytes, eight, fixed, message, number, piece, whole};
use crate::telemetry::instrument::Counter;

/// Lines that may wait.
const WAITING: usize = 2048;
/// A line as long as this is cut.
const LONGEST: usize = 16 * 1024;
/// `LogRecord.attributes`.
const ATTRIBUTE: u8 = piece(6);

/// Where lines go once somebody takes them. The log is the process' own, and there is one.
static TAKEN: OnceLock<Sink> = OnceLock::new();

#[derive(Debug)]
struct Sink {
    lines: mpsc::Sender<Vec<u8>>,
    dropped: Counter,
}

/// Begins to take what the log says from now on; the first who asks gets it.
pub fn take(dropped: Counter) -> Option<mpsc::Receiver<Vec<u8>>> {
    let (lines, taken) = mpsc::channel(WAITING);
    TAKEN.set(Sink { lines, dropped }).ok().map(|()| taken)
}

/// To stand beside the layer that writes to standard error, behind the same filters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let Some(sink) = TAKEN.get() else { return };
        if event.metadata().target().starts_with("scopegate::telemetry::otlp") {
            return;
        }
        if sink.lines.try_send(written(event)).is_err() {
            sink.dropped.inc();
        }
    }
}

/// `ScopeLogs.log_records`, one of them.
fn written(event: &Event<'_>) -> Vec<u8> {
    let (number_of, text) = match *event.metadata().level() {
        Level::TRACE => (1, "TRACE"),
        Level::DEBUG => (5, "DEBUG"),
        Level::INFO => (9, "INFO"),
        Level::WARN => (13, "WARN"),
        Level::ERROR => (17, "ERROR"),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0, Duration::as_nanos);
    let now = u64::try_from(now).unwrap_or_default();
    let mut fields = Fields::default();
    event.record(&mut fields);
    let mut out = Vec::with_capacity(256);
    message(&mut out, piece(2), |out| {
        fixed(out, eight(1), now);
        number(out, whole(2), number_of);
        bytes(out, piece(3), text.as_bytes());
        message(out, piece(5), |out| bytes(out, piece(1), cut(&fields.message).as_bytes()));
        attribute(out, ATTRIBUTE, "code.module.name", Any::Text(event.metadata().target()));
        out.extend_from_slice(&fields.attributes);
        fixed(out, eight(11), now);
    });
    out
}

/// What a line says, and the fields beside.
#[derive(Default)]
struct Fields {
    message: String,
    attributes: Vec<u8>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Any<'_>) {
        attribute(&mut self.attributes, ATTRIBUTE, field.name(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a string does not fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.add(field, Any::Text(cut(&format!("{value:?}"))));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.add(field, Any::Text(cut(value))),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Any::Whole(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Any::Real(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Any::Bool(value));
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::logs::v1::ScopeLogs;
    use prost::Message;
    use tracing_subscriber::prelude::*;

    use super::*;

    /// One at a time: there is one log.
    #[test]
    fn a_line_is_a_record_but_for_what_the_sending_says() {
        let dropped = Counter::default();
        let mut taken = take(dropped.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Lines), || {
            tracing::warn!(target: "scopegate::gate", count = 3_u64, who = "ada", yes = true, "something {} happened", "odd");
            tracing::error!(target: "scopegate::telemetry::otlp::sender", "traces do not reach the collector");
            for _ in 0..WAITING {
                tracing::info!(target: "scopegate::gate", "{}", "x".repeat(2 * LONGEST));
            }
        });
        assert_eq!(dropped.get(), 1, "there is so much room");
        let next = taken.try_recv().unwrap();
        let record = ScopeLogs::decode(&*next).unwrap().log_records.remove(0);
        let text = |value: Option<Value>| if let Some(Value::StringValue(text)) = value { text } else { String::new() };
        assert_eq!((record.severity_number, &*record.severity_text), (13, "WARN"));
        assert_eq!(text(record.body.unwrap().value), "something odd happened");
        let attributes: Vec<_> = record.attributes.into_iter().map(|one| (one.key, one.value.unwrap().value.unwrap())).collect();
        for expected in [("count", Value::IntValue(3)), ("who", Value::StringValue("ada".into())), ("yes", Value::BoolValue(true))] {
            assert!(attributes.contains(&(expected.0.into(), expected.1)), "{attributes:?}");
        }
        assert!(record.time_unix_nano > 0);
        let long = ScopeLogs::decode(&*taken.try_recv().unwrap()).unwrap().log_records.remove(0);
        assert_eq!(text(long.body.unwrap().value).len(), LONGEST);
        assert!(take(Counter::default()).is_none(), "the log is taken");
    }
}
