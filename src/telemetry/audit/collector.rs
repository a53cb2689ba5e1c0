//! The lanes of the doors' threads, drained by one thread of its own into the last lines, the readers' feeds and the writer.
//! Waits for neither readers nor the disk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use bytes::Bytes;

use super::output::Writer;
use crate::telemetry::recent::Recent;

/// Bytes that one thread may have waiting; a second's lines at fifty thousand decisions.
pub const LANE: usize = 16 * 1024 * 1024;
/// Lines are gathered for this long, so that a busy gate writes in large pieces.
const GATHER: Duration = Duration::from_millis(5);

/// A thread's own buffer.
#[derive(Debug, Default)]
pub struct Lane {
    pub lines: Mutex<Vec<u8>>,
}

/// Everybody's, and what the doors and the collector tell each other.
#[derive(Debug, Default)]
pub struct Lanes {
    all: Mutex<Vec<Arc<Lane>>>,
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

impl Lanes {
    /// A lane of its own for one more thread.
    pub fn open(&self) -> Arc<Lane> {
        let lane = Arc::new(Lane::default());
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&lane));
        lane
    }
}

/// Starts the thread; it ends with whoever could wake it.
pub fn spawn(lanes: Arc<Lanes>, recent: Recent, writer: Writer) -> std::io::Result<mpsc::SyncSender<Command>> {
    let (wake, inbox) = mpsc::sync_channel(64);
    let mut collector = Collector { lanes, recent, writer };
    std::thread::Builder::new().name("audit".into()).spawn(move || {
        loop {
            // First say that a wake is wanted, then look: a line that comes after the look wakes.
            collector.lanes.sleeping.store(true, Ordering::SeqCst);
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
    recent: Recent,
    writer: Writer,
}

impl Collector {
    /// Whether there was anything to hand on.
    fn drain(&mut self) -> bool {
        let mut any = false;
        let lanes: Vec<Arc<Lane>> = self.lanes.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for lane in lanes {
            let lines = std::mem::take(&mut *lane.lines.lock().unwrap_or_else(PoisonError::into_inner));
            let missed = self.lanes.lost.swap(0, Ordering::Relaxed);
            if lines.is_empty() && missed == 0 {
                continue;
            }
            any = true;
            let lines = Bytes::from(lines);
            self.recent.add(&lines, missed);
            if !lines.is_empty() {
                self.writer.write(lines);
            }
        }
        any
    }
}
