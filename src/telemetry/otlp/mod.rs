//! Spans, metrics and lines of the log to a collector over OTLP/gRPC, in the background.
//! Never delays or fails a decision: what a collector does not take is dropped and counted.

pub mod logs;
mod metrics;
mod sender;
pub mod variables;
pub mod wire;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::instrument::Counter;
use super::lanes::Lanes;
use super::metrics::Metrics;
use super::span::Tracer;
use crate::fetch;
use crate::gate::Gate;
use metrics::Span;
use sender::Sender;
use variables::Plan;

/// Bytes of spans that one thread may have waiting.
const LANE: usize = 4 * 1024 * 1024;
/// Bytes of one export: collectors take four times as much, unless they are told otherwise.
const EXPORT: usize = 1024 * 1024;
/// Spans and lines are gathered for this long.
const GATHER: Duration = Duration::from_secs(1);
/// Lines of the log in one export.
const LINES: usize = 512;
/// How long the end of the process waits for what is left to send.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is ready to be sent, and by whom.
#[derive(Debug, Default)]
pub struct Exports {
    spans: Option<(Sender, Arc<Lanes>)>,
    metrics: Option<(Sender, Duration)>,
    lines: Option<(Sender, mpsc::Receiver<Vec<u8>>)>,
}

/// What sends in the background.
#[derive(Debug)]
pub struct Sending {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Exports {
    /// Reads the system's roots, and prepares all that the plan has, and whoever records spans for it, with `paths` or without. Call inside a tokio runtime.
    pub fn new((plan, paths): (Plan, bool), metrics: &Metrics) -> Result<(Self, Option<Tracer>), String> {
        let (mut exports, mut tracer) = (Self::default(), None);
        if plan.is_empty() {
            return Ok((exports, tracer));
        }
        let tls = fetch::tls().map_err(|error| format!("nothing can be sent to a collector: {error}"))?;
        let sender = |target, dropped: &Counter| Sender::new(target, (&plan.resource, tls.clone()), dropped.clone());
        if let Some((target, sampler)) = plan.traces {
            let lanes = Lanes::new(LANE);
            exports.spans = Some((sender(target, &metrics.spans_dropped), Arc::clone(&lanes)));
            tracer = Some(Tracer { lanes, sampler, dropped: metrics.spans_dropped.clone(), paths });
        }
        if let Some((target, interval)) = plan.metrics {
            // An export that is lost loses nothing: the next has all of it.
            exports.metrics = Some((sender(target, &Counter::default()), interval));
        }
        if let Some(target) = plan.logs {
            let lines = logs::take(metrics.logs_dropped.clone());
            exports.lines = lines.map(|lines| (sender(target, &metrics.logs_dropped), lines));
        }
        Ok((exports, tracer))
    }

    pub fn start(self, gate: &Arc<Gate>) -> Sending {
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        if let Some((sender, lanes)) = self.spans {
            tasks.push(tokio::spawn(spans(sender, lanes, stop.clone())));
        }
        if let Some((sender, interval)) = self.metrics {
            tasks.push(tokio::spawn(measures(sender, (Arc::clone(gate), interval), stop.clone())));
        }
        if let Some((sender, taken)) = self.lines {
            tasks.push(tokio::spawn(lines(sender, taken, stop.clone())));
        }
        Sending { stop, tasks }
    }
}

impl Sending {
    /// Sends what is left, as far as a collector takes it soon.
    pub async fn stop(self) {
        self.stop.cancel();
        let all = async {
            for task in self.tasks {
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}

async fn spans(mut sender: Sender, lanes: Arc<Lanes>, stop: CancellationToken) {
    let mut last = false;
    while !last {
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = lanes.filling.notified() => {}
            () = stop.cancelled() => last = true,
        }
        for buffer in lanes.take() {
            let mut rest = &*buffer;
            while !rest.is_empty() {
                let (some, count, more) = portion(rest);
                sender.send(some, count).await;
                rest = more;
            }
        }
    }
}

/// The first spans of those that wait, at least one, how many they are, and the rest.
fn portion(written: &[u8]) -> (&[u8], u64, &[u8]) {
    let (mut length, mut count, mut rest) = (0, 0, written);
    while let Some((one, more)) = wire::next(rest) {
        if count > 0 && length + one.len() > EXPORT {
            break;
        }
        (length, count, rest) = (length + one.len(), count + 1, more);
    }
    match written.split_at_checked(length) {
        Some((some, rest)) if count > 0 => (some, count, rest),
        Some(_) | None => (written, 1, &[]),
    }
}

async fn measures(mut sender: Sender, (gate, interval): (Arc<Gate>, Duration), stop: CancellationToken) {
    let started = SystemTime::now();
    let mut last = false;
    while !last {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = stop.cancelled() => last = true,
        }
        let table = gate.measured();
        sender.send(&metrics::written(&table, Span::since(started)), table.len() as u64).await;
    }
}

async fn lines(mut sender: Sender, mut taken: mpsc::Receiver<Vec<u8>>, stop: CancellationToken) {
    let mut last = false;
    while !last {
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = stop.cancelled() => last = true,
        }
        let (mut batch, mut count) = (Vec::new(), 0);
        while let Ok(line) = taken.try_recv() {
            batch.extend_from_slice(&line);
            count += 1;
            if count == LINES || batch.len() > EXPORT {
                sender.send(&std::mem::take(&mut batch), std::mem::take(&mut count) as u64).await;
            }
        }
        if count > 0 {
            sender.send(&batch, count as u64).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_of_whole_spans_and_no_longer_than_collectors_take() {
        let mut written = Vec::new();
        for length in [10, EXPORT - 20, 20, 3 * EXPORT, 1] {
            wire::message(&mut written, wire::piece(2), |out| out.extend(std::iter::repeat_n(1, length)));
        }
        let (mut rest, mut portions) = (&*written, Vec::new());
        while !rest.is_empty() {
            let (some, count, more) = portion(rest);
            portions.push((some.len() <= EXPORT, count));
            rest = more;
        }
        assert_eq!(portions, [(true, 2), (true, 1), (false, 1), (true, 1)]);
    }
}
