//! Changes on disk into calls of whoever reads the files again: the files themselves, and Kubernetes' `..data` links beside them.
//! Calls only where what would be read has changed; decides nothing of whether it is right.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// How long the disk must be quiet: an editor or a kubelet writes in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// It is waited for no longer than this: a log that is written into the folder would put off every reload for ever.
const LONGEST: Duration = Duration::from_secs(1);
/// Where the system cannot tell of changes, they are looked for this often.
const POLL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub enum Event {
    /// Something happened in a watched folder.
    Disk,
    /// These are the files from now on.
    Files(Vec<PathBuf>),
}

/// What tells one state of a file from another: where its links lead, inode, length and time.
type Print = Option<(PathBuf, u64, u64, i64, i64)>;

/// A channel to tell of files by, and the thread that listens to it once `follow` is called.
#[derive(Debug)]
pub struct Watch {
    pub events: Sender<Event>,
    inbox: Receiver<Event>,
}

impl Default for Watch {
    fn default() -> Self {
        let (events, inbox) = channel();
        Self { events, inbox }
    }
}

impl Watch {
    /// Follows `files` until the process ends; `changed` is called where one of them has.
    pub fn follow(self, files: Vec<PathBuf>, changed: impl Fn() + Send + 'static) -> std::io::Result<()> {
        let disk = self.events.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Whoever only reads in the folder changes nothing.
            let reads = |kind| matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write));
            if !event.is_ok_and(|event| reads(event.kind)) {
                let _ = disk.send(Event::Disk);
            }
        });
        let watcher = watcher.inspect_err(|error| tracing::warn!("cannot watch for changes, looking every 2 s: {error}")).ok();
        let mut follower = Follower { watcher, folders: HashSet::new(), prints: Vec::new(), files: Vec::new() };
        follower.set(files);
        std::thread::Builder::new().name("watch".into()).spawn(move || follower.run(&self.inbox, &changed))?;
        Ok(())
    }
}

struct Follower {
    watcher: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
    files: Vec<PathBuf>,
    prints: Vec<Print>,
}

impl Follower {
    fn run(mut self, inbox: &Receiver<Event>, changed: &impl Fn()) {
        loop {
            let first = if self.watcher.is_some() { inbox.recv().map_err(|_| RecvTimeoutError::Disconnected) } else { inbox.recv_timeout(POLL) };
            match first {
                Ok(Event::Files(files)) => self.set(files),
                Ok(Event::Disk) => self.settle(inbox),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let prints: Vec<Print> = self.files.iter().map(|file| print(file)).collect();
            if prints != self.prints {
                self.prints = prints;
                changed();
            }
        }
    }

    /// Waits until nothing has happened for a while, or for as long as anybody should.
    fn settle(&mut self, inbox: &Receiver<Event>) {
        let end = Instant::now() + LONGEST;
        while Instant::now() < end
            && let Ok(event) = inbox.recv_timeout(QUIET)
        {
            if let Event::Files(files) = event {
                self.set(files);
            }
        }
    }

    fn set(&mut self, files: Vec<PathBuf>) {
        if files != self.files {
            self.prints = files.iter().map(|file| print(file)).collect();
            self.files = files;
        }
        for file in &self.files {
            let real = file.canonicalize().ok();
            for folder in [Some(file.as_path()), real.as_deref()].into_iter().flatten().filter_map(Path::parent) {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                if let Some(watcher) = &mut self.watcher
                    && self.folders.insert(folder.to_owned())
                    && let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
                {
                    tracing::warn!("cannot watch {}: {error}; reload by SIGHUP", folder.display());
                }
            }
        }
    }
}

fn print(file: &Path) -> Print {
    let real = file.canonicalize().ok()?;
    let meta = std::fs::metadata(&real).ok()?;
    Some((real, meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}
