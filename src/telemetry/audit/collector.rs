//! The lanes of the doors' threads, drained by one thread of its own into the last lines, the readers' feeds and the writer.
//! Waits for neither readers nor the disk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;

use super::output::Writer;
use crate::telemetry::lanes::Lanes;
use crate::telemetry::recent::Recent;

/// Bytes that one thread may have waiting; a second's lines at fifty thousand decisions.
pub const LANE: usize = 16 * 1024 * 1024;
/// Lines are gathered for this long, so that a busy gate writes in large pieces.
const GATHER: Duration = Duration::from_millis(5);

/// What the doors and the collector tell each other.
#[derive(Debug, Default)]
pub struct Signals {
    /// Whether the collector wants to be woken.
    pub sleeping: AtomicBool,
    /// Lines that found no room since the collector last looked.
    pub lost: AtomicU64,
}

#[derive(Debug)]
pub enum Command {
    Write,
    Flush(mpsc::SyncSender<()>),
}

/// Starts the thread; it ends with whoever could wake it.
pub fn spawn((lanes, signals): (Arc<Lanes>, Arc<Signals>), recent: Recent, writer: Writer) -> std::io::Result<mpsc::SyncSender<Command>> {
    let (wake, inbox) = mpsc::sync_channel(64);
    let mut collector = Collector { lanes, signals, recent, writer };
    std::thread::Builder::new().name("audit".into()).spawn(move || {
        loop {
            // First say that a wake is wanted, then look: a line that comes after the look wakes.
            collector.signals.sleeping.store(true, Ordering::SeqCst);
            if collector.drain() {
                std::thread::sleep(GATHER);
                continue;
            }
            match inbox.recv() {
                Ok(Command::Write) => {}
                Ok(Command::Flush(done)) => {
                    collector.drain();
                    collector.writer.flush(done);
                }
                Err(mpsc::RecvError) => return,
            }
        }
    })?;
    Ok(wake)
}

#[derive(Debug)]
struct Collector {
    lanes: Arc<Lanes>,
    signals: Arc<Signals>,
    recent: Recent,
    writer: Writer,
}

impl Collector {
    /// Whether there was anything to hand on.
    fn drain(&mut self) -> bool {
        let missed = self.signals.lost.swap(0, Ordering::Relaxed);
        let lines = Bytes::from(in_order(self.lanes.take()));
        if lines.is_empty() && missed == 0 {
            return false;
        }
        self.recent.add(&lines, missed);
        if !lines.is_empty() {
            self.writer.write(lines);
        }
        true
    }
}

/// All lines by their time, which each lane has in order.
fn in_order(mut lanes: Vec<Vec<u8>>) -> Vec<u8> {
    if lanes.len() < 2 {
        return lanes.pop().unwrap_or_default();
    }
    let mut all = Vec::with_capacity(lanes.iter().map(Vec::len).sum());
    let mut rest: Vec<_> = lanes.iter().map(|lines| lines.split_inclusive(|byte| *byte == b'\n').peekable()).collect();
    loop {
        let first = |lane: &mut std::iter::Peekable<_>| lane.peek().map(|line: &&[u8]| time(line));
        let next = rest.iter_mut().enumerate().filter_map(|(index, lane)| Some((first(lane)?, index))).min();
        match next.and_then(|(_, index)| rest.get_mut(index)?.next()) {
            Some(line) => all.extend_from_slice(line),
            None => return all,
        }
    }
}

/// RFC 3339 of one length, as every line begins.
fn time(line: &[u8]) -> &[u8] {
    line.get(..36).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_lanes_are_in_the_order_of_their_time() {
        let line = |second: u32| format!("{{\"time\":\"2026-01-01T00:00:{second:02}.000000Z\",\"kind\":\"decision\"}}\n");
        let lane = |seconds: &[u32]| seconds.iter().map(|second| line(*second)).collect::<String>().into_bytes();
        let all = in_order(vec![lane(&[3, 4, 9]), lane(&[1, 5]), lane(&[2, 5, 6])]);
        assert_eq!(String::from_utf8(all).unwrap().into_bytes(), lane(&[1, 2, 3, 4, 5, 5, 6, 9]));
        assert_eq!((in_order(Vec::new()), in_order(vec![lane(&[1])])), (Vec::new(), lane(&[1])));
    }
}
