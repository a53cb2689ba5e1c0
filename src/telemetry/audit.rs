//! One JSON line a decision, to standard output by a thread of its own.
//! A door only appends to a buffer of its thread; where the reader is too slow, lines are dropped and counted.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use super::trace::Context;
use super::{DecisionId, Ended, Record};
use crate::gate::Door;
use crate::principal::Caller;

/// Bytes that one thread may have waiting; a second's lines at fifty thousand decisions.
const LANE: usize = 16 * 1024 * 1024;
/// Lines are gathered for this long, so that a busy gate writes in large pieces.
const GATHER: Duration = Duration::from_millis(5);

/// A thread's own buffer.
#[derive(Debug, Default)]
struct Lane(Mutex<Vec<u8>>);

#[derive(Debug)]
pub struct Audit {
    lanes: Arc<Mutex<Vec<Arc<Lane>>>>,
    sleeping: Arc<AtomicBool>,
    wake: mpsc::SyncSender<Command>,
    dropped: Counter,
}

#[derive(Debug)]
enum Command {
    Write,
    Flush(mpsc::SyncSender<()>),
}

thread_local! {
    static MINE: std::cell::RefCell<Option<(usize, Arc<Lane>)>> = const { std::cell::RefCell::new(None) };
}

#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    kind: &'static str,
    id: &'a str,
    door: &'static str,
    outcome: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_scopes: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    generation: u64,
    micros: f64,
}

#[derive(Serialize)]
struct End<'a> {
    time: &'a str,
    kind: &'static str,
    id: &'a str,
    door: &'static str,
    cause: &'static str,
}

impl Audit {
    /// Lines go to `out` until the process ends.
    pub fn start(mut out: impl Write + Send + 'static, dropped: Counter) -> std::io::Result<Self> {
        let lanes: Arc<Mutex<Vec<Arc<Lane>>>> = Arc::default();
        let sleeping = Arc::new(AtomicBool::new(false));
        let (wake, inbox) = mpsc::sync_channel(64);
        let (all, asleep) = (Arc::clone(&lanes), Arc::clone(&sleeping));
        std::thread::Builder::new().name("audit".into()).spawn(move || {
            loop {
                // First say that a wake is wanted, then look: a line that comes after the look wakes.
                asleep.store(true, Ordering::SeqCst);
                if drain(&all, &mut out) {
                    std::thread::sleep(GATHER);
                    continue;
                }
                match inbox.recv() {
                    Ok(Command::Write) => {}
                    Ok(Command::Flush(done)) => {
                        drain(&all, &mut out);
                        let _ = done.send(());
                    }
                    Err(mpsc::RecvError) => return,
                }
            }
        })?;
        Ok(Self { lanes, sleeping, wake, dropped })
    }

    pub fn write(&self, record: &Record<'_>, trace: Option<Context>) {
        self.append(&line(record, trace, &now(), &record.id.hex()));
    }

    /// A stream that was let in by the decision of this id, and ended by the gate.
    pub fn ended(&self, door: Door, id: DecisionId, why: Ended) {
        let id = id.hex();
        let id = str::from_utf8(&id).unwrap_or_default();
        self.append(&End { time: &now(), kind: "stream_ended", id, door: door.as_str(), cause: why.as_str() });
    }

    fn append(&self, line: &impl Serialize) {
        self.with_lane(|lane| {
            let mut buffer = lane.0.lock().unwrap_or_else(PoisonError::into_inner);
            if buffer.len() > LANE {
                self.dropped.inc();
                return;
            }
            let before = buffer.len();
            if serde_json::to_writer(&mut *buffer, line).is_ok() {
                buffer.push(b'\n');
            } else {
                buffer.truncate(before);
            }
        });
        if self.sleeping.swap(false, Ordering::SeqCst) {
            let _ = self.wake.try_send(Command::Write);
        }
    }

    /// Waits until everything that was written so far is out.
    pub fn flush(&self) {
        let (done, finished) = mpsc::sync_channel(1);
        if self.wake.send(Command::Flush(done)).is_ok() {
            let _ = finished.recv_timeout(Duration::from_secs(2));
        }
    }

    fn with_lane(&self, write: impl FnOnce(&Lane)) {
        let owner = Arc::as_ptr(&self.lanes) as usize;
        MINE.with(|mine| {
            let mut mine = mine.borrow_mut();
            match &*mine {
                Some((known, lane)) if *known == owner => write(lane),
                _ => {
                    let lane = Arc::new(Lane::default());
                    self.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&lane));
                    write(&lane);
                    *mine = Some((owner, lane));
                }
            }
        });
    }
}

/// Whether there was anything to write.
fn drain(lanes: &Mutex<Vec<Arc<Lane>>>, out: &mut impl Write) -> bool {
    let mut any = false;
    let lanes: Vec<Arc<Lane>> = lanes.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for lane in lanes {
        let lines = std::mem::take(&mut *lane.0.lock().unwrap_or_else(PoisonError::into_inner));
        any |= !lines.is_empty();
        // A full disk or a closed pipe must not stop the gate; there is nobody to tell but the log.
        if !lines.is_empty() && out.write_all(&lines).and_then(|()| out.flush()).is_err() {
            tracing::error!("audit lines could not be written");
        }
    }
    any
}

fn line<'a>(record: &'a Record<'_>, trace: Option<Context>, time: &'a str, id: &'a [u8]) -> Line<'a> {
    let Record { door, decision, generation, elapsed, .. } = record;
    let denial = decision.denial();
    Line {
        time,
        kind: "decision",
        id: str::from_utf8(id).unwrap_or_default(),
        door: door.as_str(),
        outcome: record.outcome(),
        reason: denial.map_or("allowed", |denial| denial.reason.as_str()),
        cause: decision.refused.as_ref().map(|(cause, _)| cause.as_str()),
        route: decision.rule.map(|rule| &*rule.name),
        credential: decision.caller.as_ref().map(|caller| caller.credential),
        principal: decision.principal(),
        tenant: decision.caller.as_ref().and_then(Caller::tenant),
        missing_scopes: denial.and_then(|denial| denial.missing.as_ref()).map(|missing| missing.scopes()),
        trace_id: trace.map(|trace| trace.trace_id()),
        generation: *generation,
        micros: elapsed.as_nanos() as f64 / 1000.0,
    }
}

thread_local! {
    static SECOND: std::cell::RefCell<(u64, String)> = const { std::cell::RefCell::new((u64::MAX, String::new())) };
}

/// RFC 3339 in microseconds; the text of the second is kept from one line to the next.
fn now() -> String {
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SECOND.with(|second| {
        let (known, prefix) = &mut *second.borrow_mut();
        if *known != age.as_secs() {
            *known = age.as_secs();
            let stamp = jiff::Timestamp::from_second(i64::try_from(*known).unwrap_or_default()).unwrap_or_default();
            *prefix = stamp.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        let mut text = String::with_capacity(27);
        text.push_str(prefix);
        let micros = age.subsec_micros();
        text.push('.');
        for scale in [100_000, 10_000, 1000, 100, 10, 1] {
            text.push(char::from_digit(micros / scale % 10, 10).unwrap_or('0'));
        }
        text.push('Z');
        text
    })
}
