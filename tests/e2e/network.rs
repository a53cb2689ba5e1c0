//! Two machines on one cable, as network namespaces of this one: `client` and `pod`, with addresses of both kinds.
//! Needs root, or user namespaces with a range of users; says so where it has neither, and leaves nothing behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::client::{Answer, Ask};
use crate::process::tool;

pub const CLIENT: [&str; 2] = ["10.92.0.2", "fd92::2"];
pub const POD: [&str; 2] = ["10.92.0.1", "fd92::1"];

/// A network namespace, for as long as its first process has its standard input.
#[derive(Debug)]
pub struct Machine {
    holder: Child,
}

#[derive(Debug)]
pub struct Network {
    pub client: Machine,
    pub pod: Machine,
}

/// Whether the test may go on. Where this process may make no namespaces, it runs the test in a process that may.
pub fn may_begin(test: &str) -> bool {
    if ran("unshare", &["--net", "true"]) {
        return true;
    }
    let namespaces = ["--user", "--map-root-user", "--map-auto", "--net"];
    assert!(
        ran("unshare", &[&namespaces[..], &["true"]].concat()),
        "this test makes network namespaces: run it as root, or as a user with newuidmap (package uidmap) and a range in /etc/subuid and /etc/subgid"
    );
    let this = std::env::current_exe().unwrap();
    let status = Command::new("unshare").args(namespaces).arg(this).args(["--exact", test, "--nocapture"]).status().unwrap();
    assert!(status.success(), "{test} in a user namespace");
    false
}

impl Network {
    pub fn new() -> Self {
        let (client, pod) = (Machine::new(), Machine::new());
        client.ip(&format!("link add eth0 type veth peer name eth0 netns {}", pod.holder.id()));
        for (machine, [v4, v6]) in [(&client, CLIENT), (&pod, POD)] {
            machine.ip("link set lo up");
            machine.ip(&format!("address add {v4}/24 dev eth0"));
            // Nobody else has it: there is nothing to wait for.
            machine.ip(&format!("address add {v6}/64 dev eth0 nodad"));
            machine.ip("link set eth0 up");
        }
        Self { client, pod }
    }
}

impl Machine {
    /// One that has no cable yet.
    pub fn new() -> Self {
        let mut unshare = Command::new("unshare");
        let mut holder = unshare.args(["--net", "sh", "-c", "echo; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It is in its own namespace once it says something.
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        Self { holder }
    }

    /// Does it on this machine; sockets, threads and processes that are made there stay there.
    pub fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub fn ip(&self, arguments: &str) {
        self.apply("ip", &arguments.split(' ').collect::<Vec<_>>(), "");
    }

    /// The output of one of `target/tools` with this on its standard input.
    pub fn apply(&self, program: &str, arguments: &[&str], input: &str) -> String {
        self.enter(|| {
            let mut command = Command::new(tool(program));
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{program} {arguments:?}: {}\n{input}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// The answer to what this machine asks there.
    pub fn ask(&self, ask: &Ask, ip: &str, port: u16) -> Answer {
        let stream = self.connect(ip, port).unwrap_or_else(|error| panic!("{ip} port {port}: {error}"));
        ask.exchange(stream).unwrap_or_else(|error| panic!("{ip} port {port}: {error}"))
    }

    pub fn connect(&self, ip: &str, port: u16) -> std::io::Result<TcpStream> {
        self.enter(|| {
            let stream = TcpStream::connect_timeout(&SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port), Duration::from_secs(20))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            Ok(stream)
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ran(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(Path::new("/"));
    command.status().is_ok_and(|status| status.success())
}
