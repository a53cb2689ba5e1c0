//! One JSON line a decision: from the doors to a collector, from there to whoever watches and to standard output or a file.
//! A door only appends to a buffer of its thread and never waits; what cannot be written is dropped and counted.

mod collector;
mod line;
mod output;
mod rotation;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::telemetry::instrument::Counter;

use super::lanes::Lanes;
use super::recent::Recent;
use super::trace::Context;
use super::{DecisionId, Ended, Record};
use crate::config::telemetry;
use crate::gate::Door;
use collector::{Command, Signals};
use line::Style;
pub use line::shortened;
use output::Output;
use rotation::Rotated;

/// Every one of a million.
const ALL: u32 = 1_000_000;
/// How long the end of the process waits for what is left to write.
const PATIENCE: Duration = Duration::from_secs(2);

/// The doors' end of it.
#[derive(Debug)]
pub struct Audit {
    lanes: Arc<Lanes>,
    signals: Arc<Signals>,
    wake: mpsc::SyncSender<Command>,
    dropped: Counter,
    /// Of a million allows so many are told of.
    sample: u32,
    style: Style,
}

impl Audit {
    /// Lines go to the file that is named or else to `out`, until the process ends, and to whoever reads `recent`.
    pub fn start(said: &telemetry::Audit, out: impl Write + Send + 'static, dropped: Counter, recent: Recent) -> Result<Self, String> {
        let output = match &said.file {
            None => Output::Stream(Box::new(out)),
            Some(path) => Output::File(Rotated::open(path, said.max_size, said.keep).map_err(|error| {
                format!(
                    "`telemetry.audit.file` cannot be written: {}: {error}; make its folder, and let this process's user write to it",
                    path.display()
                )
            })?),
        };
        let (lanes, signals) = (Lanes::new(collector::LANE), Arc::new(Signals::default()));
        let broken = |error: std::io::Error| format!("audit lines cannot be written: {error}");
        let writer = output::spawn(output, dropped.clone()).map_err(broken)?;
        let wake = collector::spawn((Arc::clone(&lanes), Arc::clone(&signals)), recent, writer).map_err(broken)?;
        let sample = (said.sample < ALL).then(|| (f64::from(said.sample) / f64::from(ALL)).to_string());
        Ok(Self { lanes, signals, wake, dropped, sample: said.sample, style: Style { paths: said.paths, sample } })
    }

    pub fn write(&self, record: &Record<'_>, trace: Option<Context>) {
        if self.sample < ALL && record.outcome() == "allow" && !record.id.is_among(self.sample) {
            return;
        }
        self.append(|out| line::decision(out, record, trace, &self.style));
    }

    /// A stream that was let in by the decision of this id, and ended by the gate.
    pub fn ended(&self, door: Door, id: DecisionId, why: Ended) {
        self.append(|out| line::end(out, (door, id, why)));
    }

    fn append(&self, line: impl FnOnce(&mut Vec<u8>)) {
        if !self.lanes.append(line) {
            self.dropped.inc();
            self.signals.lost.fetch_add(1, Ordering::Relaxed);
        }
        if self.signals.sleeping.swap(false, Ordering::SeqCst) {
            let _ = self.wake.try_send(Command::Write);
        }
    }

    /// Of allows, the share that is told of, where not all are.
    pub fn share(&self) -> Option<&str> {
        self.style.sample.as_deref()
    }

    /// Waits until everything that was written so far is out.
    pub fn flush(&self) {
        let (done, finished) = mpsc::sync_channel(1);
        if self.wake.send(Command::Flush(done)).is_ok() {
            let _ = finished.recv_timeout(PATIENCE);
        }
    }
}
