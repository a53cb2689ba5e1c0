//! One JSON line a decision, to standard output by a thread of its own.
//! A door only appends to a buffer of its thread; where the reader is too slow, lines are dropped and counted.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use super::instrument::Counter;
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
        self.append(|out| line(out, record, trace));
    }

    /// A stream that was let in by the decision of this id, and ended by the gate.
    pub fn ended(&self, door: Door, id: DecisionId, why: Ended) {
        self.append(|out| end(out, (door, id, why)));
    }

    fn append(&self, line: impl FnOnce(&mut Vec<u8>)) {
        self.with_lane(|lane| {
            let mut buffer = lane.0.lock().unwrap_or_else(PoisonError::into_inner);
            if buffer.len() > LANE {
                self.dropped.inc();
                return;
            }
            line(&mut buffer);
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

/// One line of JSON. By hand, because it is written for every request and its keys never change.
fn line(out: &mut Vec<u8>, record: &Record<'_>, trace: Option<Context>) {
    let Record { door, decision, generation, elapsed, id } = record;
    let denial = decision.objection();
    out.extend_from_slice(b"{\"time\":\"");
    now(out);
    out.extend_from_slice(b"\",\"kind\":\"decision\"");
    let mut text = |key: &str, value: &str| {
        for part in [",\"", key, "\":"] {
            out.extend_from_slice(part.as_bytes());
        }
        quoted(out, value);
    };
    text("id", str::from_utf8(&id.hex()).unwrap_or_default());
    text("door", door.as_str());
    text("outcome", record.outcome());
    text("reason", denial.map_or("allowed", |denial| denial.reason.as_str()));
    let missing = denial.and_then(|denial| denial.missing.as_ref()).map(|missing| missing.scopes());
    for (key, value) in [
        ("cause", decision.refused.as_ref().map(|(cause, _)| cause.as_str())),
        ("route", decision.rule.map(|rule| &*rule.name)),
        ("credential", decision.caller.as_ref().map(|caller| caller.credential)),
        ("principal", decision.principal()),
        ("tenant", decision.caller.as_ref().and_then(Caller::tenant)),
        ("missing_scopes", missing),
    ] {
        if let Some(value) = value {
            text(key, value);
        }
    }
    if let Some(trace) = trace {
        text("trace_id", &trace.trace_id());
    }
    out.extend_from_slice(b",\"generation\":");
    whole(out, *generation, 1);
    out.extend_from_slice(b",\"micros\":");
    let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    whole(out, nanos / 1000, 1);
    out.push(b'.');
    whole(out, nanos % 1000, 3);
    out.extend_from_slice(b"}\n");
}

/// A number with at least so many digits.
fn whole(out: &mut Vec<u8>, mut number: u64, least: usize) {
    let (mut digits, mut at) = ([b'0'; 20], 20);
    while number > 0 || at > 20 - least {
        at -= 1;
        if let (Some(slot), Ok(digit)) = (digits.get_mut(at), u8::try_from(number % 10)) {
            *slot = b'0' + digit;
        }
        number /= 10;
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

fn end(out: &mut Vec<u8>, (door, id, why): (Door, DecisionId, Ended)) {
    out.extend_from_slice(b"{\"time\":\"");
    now(out);
    let (door, why) = (door.as_str(), why.as_str());
    // Writing to a vector does not fail.
    let _ = writeln!(out, "\",\"kind\":\"stream_ended\",\"id\":\"{id}\",\"door\":\"{door}\",\"cause\":\"{why}\"}}");
}

/// A text as JSON has it (RFC 8259 §7).
fn quoted(out: &mut Vec<u8>, text: &str) {
    if text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\')) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Neither does this.
        let _ = serde_json::to_writer(out, text);
    }
}

thread_local! {
    static SECOND: std::cell::RefCell<(u64, String)> = const { std::cell::RefCell::new((u64::MAX, String::new())) };
}

/// RFC 3339 in microseconds; the text of the second is kept from one line to the next.
fn now(out: &mut Vec<u8>) {
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SECOND.with(|second| {
        let (known, prefix) = &mut *second.borrow_mut();
        if *known != age.as_secs() {
            *known = age.as_secs();
            let stamp = jiff::Timestamp::from_second(i64::try_from(*known).unwrap_or_default()).unwrap_or_default();
            *prefix = stamp.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        out.extend_from_slice(prefix.as_bytes());
        let micros = age.subsec_micros();
        out.extend([100_000, 10_000, 1000, 100, 10, 1].map(|scale| b"0123456789".get((micros / scale % 10) as usize).copied().unwrap_or(b'0')));
        out.push(b'Z');
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_json_whatever_they_hold() {
        for text in ["", "plain", "a \"b\" \\c", "line\nend\u{0}\u{7f}", "Jürgen \u{2028}", "\u{1f}"] {
            let mut out = Vec::new();
            quoted(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn numbers_are_decimal() {
        for (number, least, expected) in [(0, 1, "0"), (7, 1, "7"), (7, 3, "007"), (1000, 3, "1000"), (u64::MAX, 1, "18446744073709551615")] {
            let mut out = Vec::new();
            whole(&mut out, number, least);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn the_time_is_rfc_3339() {
        let mut out = Vec::new();
        now(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!((text.len(), text.parse::<jiff::Timestamp>().is_ok()), (27, true), "{text}");
    }
}
