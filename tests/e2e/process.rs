//! Real programs as children: found, started with their words kept, ended with the test.
//! Never passes the test's own environment on, and never leaves a child behind.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for anything; what is well takes a small part of it, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    said: PathBuf,
}

impl Process {
    /// Starts `program` in `folder`, where its output goes too.
    pub fn start(name: &str, program: &Path, folder: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let said = folder.join(format!("{name}.out"));
        let out = File::create(&said).unwrap();
        let mut command = Command::new(program);
        command.current_dir(folder).env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        command.stdout(out.try_clone().unwrap()).stderr(out);
        prepare(&mut command);
        let child = command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        Self { name: name.to_owned(), child, said }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written, to both of its outputs.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.said).unwrap_or_default()).into_owned()
    }

    /// Its input and output, once, where `prepare` made pipes of them.
    pub fn pipes(&mut self) -> (ChildStdin, ChildStdout) {
        (self.child.stdin.take().unwrap(), self.child.stdout.take().unwrap())
    }

    /// Waits until `ready`, as long as the process runs.
    pub fn until(&mut self, what: &str, mut ready: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !ready(self) {
            let status = self.child.try_wait().unwrap();
            assert!(status.is_none(), "{} ended ({status:?}) before {what}:\n{}", self.name, self.said());
            assert!(Instant::now() < end, "{} did not come to this in time: {what}\n{}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal, `INT` or `TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("bash").arg("-c").arg(format!("kill -{signal} {}", self.id())).status().unwrap();
        assert!(sent.success(), "kill -{signal}");
    }

    /// The exit status of a process that ends by itself.
    pub fn ended(&mut self) -> Option<i32> {
        self.ended_within(DEADLINE)
    }

    /// The same of one that has much to do.
    pub fn ended_within(&mut self, time: Duration) -> Option<i32> {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "{} does not end:\n{}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it without a word of warning.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.said());
        }
    }
}

/// Waits for what no process of ours can be asked about.
pub fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !ready() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the programs that `tests/run tools` installs.
pub fn tools() -> PathBuf {
    root().join("target/tools/bin")
}

pub fn tool(name: &str) -> PathBuf {
    let path = tools().join(name);
    assert!(path.exists(), "{} is not there; `tests/run tools` installs it", path.display());
    path
}

/// The gate under test: the release build where `tests/run` names one.
pub fn scopegate() -> PathBuf {
    std::env::var_os("SCOPEGATE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_scopegate").into(), PathBuf::from)
}

/// A port that nobody listens on. Below the range that outgoing connections take theirs from, and handed out once.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 400).unwrap() * 50;
    loop {
        // None begins with a port of the shipped files (3000, 10000), which are replaced by text.
        let port = 11_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 18_900;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
