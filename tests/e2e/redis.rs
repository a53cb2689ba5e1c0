//! A real Redis for a test, without a disk: started, stopped, frozen and thawed.
//! Says what it holds; judges nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::process::{Process, free_port, tool, until};

#[derive(Debug)]
pub struct Redis {
    pub port: u16,
    process: Process,
}

impl Redis {
    /// On a port of its own, with more of its options.
    pub fn start(folder: &Path, options: &[&str]) -> Self {
        Self::at(folder, free_port(), options)
    }

    /// Empty, on this port.
    pub fn at(folder: &Path, port: u16, options: &[&str]) -> Self {
        let process = Process::start(&format!("redis-{port}"), &tool("redis-server"), folder, |command| {
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]).args(options);
        });
        let mut redis = Self { port, process };
        redis.process.until("ready", |process| process.said().contains("Ready to accept connections"));
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, and all that it held with it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Takes no part in anything until it is thawed; connections to it stand.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    pub fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// The answer to a command in Redis' own plain form, as bytes of its protocol.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned()
    }

    /// How many commands it has carried out of this kind.
    pub fn calls(&self, command: &str) -> u64 {
        let stats = self.ask("INFO commandstats");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// Waits until somebody who was cut off has found back.
    pub fn until_called(&self, command: &str, mut prompt: impl FnMut()) {
        let before = self.calls(command);
        until("a call", || {
            prompt();
            self.calls(command) > before
        });
    }
}
