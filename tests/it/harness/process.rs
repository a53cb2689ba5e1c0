//! The real binary as a child: for what is a process's own, its environment, signals, standard streams and exit status.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;

use super::{DEADLINE, until};

/// The command with none of the variables that it reads.
pub fn scopegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scopegate"));
    let own = ["SCOPEGATE_CONFIG", "SCOPEGATE_LOG", "SCOPEGATE_DEV_MODE", "SCOPEGATE_TOKEN_FILE"];
    for name in own.into_iter().chain(["BACKSTOP_TOKENS", "BACKSTOP_AUTH_TOKENS_FILE", "BACKSTOP_DEV_MODE"]) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs to its end, for commands that are expected to have one.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().expect("ended by itself"), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A `scopegate serve`, ended with its holder.
pub struct Serving {
    child: Child,
    out: Lines,
    err: Lines,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Serving {
    /// Starts it and waits until its doors are open.
    pub async fn start(config: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = scopegate();
        command.arg("serve").arg("--config").arg(config).envs(env.iter().copied());
        Self::spawn(command).await
    }

    pub async fn spawn(command: Command) -> Self {
        let mut command = tokio::process::Command::from(command);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (out, err) = (Lines::default(), Lines::default());
        out.follow(child.stdout.take().unwrap());
        err.follow(child.stderr.take().unwrap());
        let mut serving = Self { child, out, err };
        until("serving", async || {
            assert!(serving.child.try_wait().unwrap().is_none(), "ended at start: {}", serving.log());
            serving.log().contains("\"message\":\"serving\"").then_some(())
        })
        .await;
        serving
    }

    /// Standard error so far.
    pub fn log(&self) -> String {
        self.err.0.lock().unwrap().clone()
    }

    /// Standard output so far.
    pub fn audit(&self) -> String {
        self.out.0.lock().unwrap().clone()
    }

    /// The address of `proxy`, `ext_authz`, `forward_auth` or `admin`, as the log tells it.
    pub fn address(&self, door: &str) -> SocketAddr {
        let log = self.log();
        let start = log.split_once(&format!(" {door}: Some(Tcp(")).unwrap_or_else(|| panic!("no {door} in {log}")).1;
        start.split_once(')').unwrap().0.parse().unwrap()
    }

    /// Sends a signal by name, such as `HUP`.
    pub fn id(&self) -> u32 {
        self.child.id().expect("still running")
    }

    pub fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(pid).status().unwrap().success());
    }

    /// Waits for the end; gives its status.
    pub async fn end(&mut self) -> i32 {
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("ends in time").unwrap();
        status.code().expect("ended by itself")
    }

    /// Waits until the log says `text`, and gives all of it.
    pub async fn logged(&self, text: &str) -> String {
        until(&format!("{text:?} in the log"), async || Some(self.log()).filter(|log| log.contains(text))).await
    }
}

impl Lines {
    fn follow(&self, stream: impl AsyncRead + Unpin + Send + 'static) {
        let book = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut book = book.lock().unwrap();
                book.push_str(&line);
                book.push('\n');
            }
        });
    }
}

/// Runs `scopegate serve` where it must refuse to start; gives what it said.
pub fn refused(config: &Path, env: &[(&str, &str)]) -> String {
    let started = Instant::now();
    let mut command = scopegate();
    let mut child =
        command.arg("serve").arg("--config").arg(config).envs(env.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("it started");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}
