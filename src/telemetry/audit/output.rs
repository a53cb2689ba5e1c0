//! Chunks of lines, by a thread of its own, to standard output or a file.
//! Holds up nobody: what does not fit in its queue, and what cannot be written, is dropped and counted; an outage is told of once.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::telemetry::instrument::Counter;
use bytes::Bytes;

use super::rotation::Rotated;

/// Bytes that may wait for a slow disk or a slow reader.
const QUEUE: usize = 32 * 1024 * 1024;
/// How long to wait for a pipe that says that it is full.
const FULL: Duration = Duration::from_millis(5);

/// Where lines go.
pub enum Output {
    Stream(Box<dyn Write + Send>),
    File(Rotated),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(_) => out.write_str("Stream(…)"),
            Self::File(file) => file.fmt(out),
        }
    }
}

#[derive(Debug)]
enum Job {
    Write(Bytes),
    Flush(mpsc::SyncSender<()>),
}

/// The collector's end of the writer thread.
#[derive(Debug)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
    dropped: Counter,
    /// Whether chunks find no room, which is told of once.
    full: bool,
}

/// Starts the thread; it ends with the collector.
pub fn spawn(output: Output, dropped: Counter) -> std::io::Result<Writer> {
    let (jobs, inbox) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let (queued, lost) = (Arc::clone(&waiting), dropped.clone());
    std::thread::Builder::new().name("audit-writer".into()).spawn(move || {
        let mut sink = Sink { output, torn: false, outage: None, dropped: lost };
        for job in inbox {
            match job {
                Job::Write(lines) => {
                    sink.write(&lines);
                    queued.fetch_sub(lines.len(), Ordering::Relaxed);
                }
                Job::Flush(done) => drop(done.send(())),
            }
        }
    })?;
    Ok(Writer { jobs, waiting, dropped, full: false })
}

impl Writer {
    /// Takes whole lines, or drops them where too many wait already.
    pub fn write(&mut self, lines: Bytes) {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let full = waiting > 0 && waiting + lines.len() > QUEUE;
        if full {
            self.dropped.add(count(&lines));
        } else {
            self.waiting.fetch_add(lines.len(), Ordering::Relaxed);
            let _ = self.jobs.send(Job::Write(lines));
        }
        if full && !self.full {
            // The log may be as stuck as this is, and the collector must not be.
            let told = std::thread::Builder::new().name("audit-full".into());
            let _ = told.spawn(|| tracing::error!("audit lines are not taken in time; they are dropped and counted until they are"));
        }
        // A small chunk that finds room between two large ones is no end of it.
        self.full = full || (self.full && waiting > QUEUE / 2);
    }

    /// Tells once all that was written so far is out.
    pub fn flush(&self, done: mpsc::SyncSender<()>) {
        let _ = self.jobs.send(Job::Flush(done));
    }
}

/// The output with its troubles.
struct Sink {
    output: Output,
    /// Whether the last line on a stream is half a line.
    torn: bool,
    /// Lines that were dropped since writing last worked.
    outage: Option<u64>,
    dropped: Counter,
}

impl Sink {
    fn write(&mut self, lines: &[u8]) {
        let (written, result) = match &mut self.output {
            Output::Stream(out) => stream(out, &mut self.torn, lines),
            Output::File(file) => file.write(lines),
        };
        let lost = count(lines.get(written..).unwrap_or_default());
        self.dropped.add(lost);
        match (result, self.outage) {
            (Ok(()), None) => {}
            (Ok(()), Some(lost)) => {
                self.outage = None;
                tracing::info!(dropped = lost, "audit lines are written again");
            }
            (Err(_), Some(before)) => self.outage = Some(before + lost),
            (Err(error), None) => {
                self.outage = Some(lost);
                tracing::error!("audit lines cannot be written: {error}; they are dropped and counted until they can");
            }
        }
    }
}

/// How many bytes of whole lines went out.
fn stream(out: &mut dyn Write, torn: &mut bool, lines: &[u8]) -> (usize, std::io::Result<()>) {
    if *torn {
        // Ends the half line, so that the next one stands alone.
        match put(out, b"\n") {
            (_, Ok(())) => *torn = false,
            (_, Err(error)) => return (0, Err(error)),
        }
    }
    let (written, result) = put(out, lines);
    let whole = memchr::memrchr(b'\n', lines.get(..written).unwrap_or_default()).map_or(0, |end| end + 1);
    *torn = written > whole;
    (whole, result.and_then(|()| out.flush()))
}

/// [`Write::write_all`] that tells how far it came, and waits where a pipe says that it is full.
pub fn put(out: &mut (impl Write + ?Sized), bytes: &[u8]) -> (usize, std::io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL),
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Takes as many bytes as it is told to, and says the error then.
    #[derive(Clone, Default)]
    struct Narrow(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Narrow {
        fn room(&self, bytes: usize) {
            self.0.lock().unwrap().1 = bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let (kept, room) = &mut *self.0.lock().unwrap();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            *room -= count;
            kept.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_is_written_or_counted_and_half_a_line_stands_alone() {
        let narrow = Narrow::default();
        let dropped = Counter::default();
        let mut sink = Sink { output: Output::Stream(Box::new(narrow.clone())), torn: false, outage: None, dropped: dropped.clone() };
        narrow.room(7);
        sink.write(b"aaa\nbbb\nccc\n");
        assert_eq!((narrow.text().as_str(), dropped.get(), sink.outage), ("aaa\nbbb", 2, Some(2)));
        sink.write(b"ddd\n");
        assert_eq!((narrow.text().as_str(), dropped.get(), sink.outage), ("aaa\nbbb", 3, Some(3)));
        narrow.room(100);
        sink.write(b"eee\n");
        assert_eq!((narrow.text().as_str(), dropped.get(), sink.outage), ("aaa\nbbb\neee\n", 3, None));
    }

    /// Blocks until somebody lets it go.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_nobody_waits() {
        let (free, stuck) = mpsc::channel();
        let dropped = Counter::default();
        let mut writer = spawn(Output::Stream(Box::new(Stuck(stuck))), dropped.clone()).unwrap();
        let chunk = Bytes::from("x\n".repeat(QUEUE / 8));
        for _ in 0..6 {
            writer.write(chunk.clone());
        }
        assert_eq!(dropped.get(), 2 * (QUEUE / 8) as u64, "four have room");
        drop(free);
        let (done, finished) = mpsc::sync_channel(1);
        writer.flush(done);
        finished.recv().unwrap();
        writer.write(chunk);
        assert_eq!((dropped.get(), writer.full), (2 * (QUEUE / 8) as u64, false));
    }
}
