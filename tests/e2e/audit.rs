//! Audit lines where nobody takes them: a pipe that is not read or closed, a disk that is full, a file that is moved while it grows.
//! Every decision is answered, and each has its line or is counted as dropped.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::Ask;
use crate::process::{Process, free_port, scopegate, until};

struct Gate {
    process: Process,
    folder: TempDir,
    proxy: u16,
    admin: u16,
    log: PathBuf,
}

impl Gate {
    /// `prepare` says where its standard output goes; its log is kept.
    fn start(telemetry: &str, program: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let (folder, proxy, admin) = (tempfile::tempdir().unwrap(), free_port(), free_port());
        let config = format!(
            "listen: {{proxy: 127.0.0.1:{proxy}, ext_authz: 'off', forward_auth: 'off', admin: 127.0.0.1:{admin}}}\nupstream: http://127.0.0.1:1\ncredentials: {{tokens: {{kind: static, file: tokens.json}}}}\nroutes: {{/app: app:use}}\nlame_duck: 0s\nreload: {{watch: false}}\ntelemetry: {{audit: {telemetry}}}\n"
        );
        fs::write(folder.path().join("scopegate.yaml"), config).unwrap();
        fs::write(folder.path().join("tokens.json"), r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#).unwrap();
        let log = folder.path().join("log");
        let out = fs::File::create(&log).unwrap();
        let mut process = Process::start("scopegate", program, folder.path(), |command| {
            command.stderr(out);
            prepare(command);
        });
        process.until("alive", |_| Ask::get("/healthz").try_send(admin).is_ok_and(|answer| answer.status == 200));
        Self { process, folder, proxy, admin, log }
    }

    fn serve(telemetry: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start(telemetry, &scopegate(), |command| {
            command.args(["serve", "--config", "scopegate.yaml"]);
            prepare(command);
        })
    }

    /// So many requests, each answered.
    fn refuse(&self, count: usize) {
        refuse(self.proxy, count);
    }

    fn dropped(&self) -> usize {
        let metrics = Ask::get("/metrics").send(self.admin).body();
        metrics.lines().find_map(|line| line.strip_prefix("scopegate_audit_dropped_total ")).unwrap().parse().unwrap()
    }

    fn logged(&self, text: &str) -> usize {
        fs::read_to_string(&self.log).unwrap().matches(text).count()
    }

    fn ends(&mut self) {
        self.process.signal("TERM");
        assert_eq!(self.process.ended(), Some(0));
    }
}

const OUTAGE: &str = "audit lines cannot be written";
const STUCK: &str = "audit lines are not taken in time";
const AGAIN: &str = "audit lines are written again";

/// Lines as long as they get, a hundred requests at a time on one connection.
fn refuse(port: u16, count: usize) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = format!("GET /app/{} HTTP/1.1\r\nHost: a\r\n\r\n", "abc/".repeat(120));
    let (mut answers, mut line) = (BufReader::new(&stream), String::new());
    for part in (0..count).step_by(100) {
        let part = (count - part).min(100);
        (&stream).write_all(request.repeat(part).as_bytes()).unwrap();
        let mut answered = 0;
        while answered < part {
            line.clear();
            assert!(answers.read_line(&mut line).unwrap() > 0, "closed after {answered} answers of {part}");
            answered += line.matches("HTTP/1.1 401").count();
        }
    }
}

/// Whole lines, and no decision twice.
fn ids(text: &str) -> HashSet<String> {
    let id = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        line["id"].as_str().unwrap().to_owned()
    };
    let ids: HashSet<String> = text.lines().map(id).collect();
    assert_eq!(ids.len(), text.lines().count(), "a line is there twice");
    ids
}

fn pipe(telemetry: &str) -> (Gate, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let gate = Gate::serve(telemetry, |command| {
        command.stdout(writer);
    });
    (gate, reader)
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_no_decision_and_each_line_is_written_or_counted() {
    let (mut gate, mut reader) = pipe("stdout");
    let mut decided = 0;
    while gate.dropped() == 0 {
        assert!(decided < 200_000, "the pipe and the queue hold that much?");
        gate.refuse(5000);
        decided += 5000;
    }
    until("a line in the log", || gate.logged(STUCK) > 0);
    assert_eq!((gate.logged(STUCK), gate.logged(OUTAGE)), (1, 0), "one line for all of it");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    until("room again", || {
        let before = gate.dropped();
        gate.refuse(100);
        decided += 100;
        gate.dropped() == before
    });
    let metrics = Ask::get("/metrics").send(gate.admin).body();
    let counted = format!("scopegate_decisions_total{{door=\"proxy\",outcome=\"deny\",reason=\"no_credential\"}} {decided}");
    assert!(metrics.contains(&counted), "{counted} is not in {metrics}");
    let dropped = gate.dropped();
    gate.ends();
    assert_eq!(ids(&reading.join().unwrap()).len() + dropped, decided);
}

#[test]
fn a_pipe_whose_reader_is_gone_costs_lines_and_nothing_else() {
    let (mut gate, reader) = pipe("stdout");
    drop(reader);
    gate.refuse(500);
    until("drops", || gate.dropped() == 500);
    gate.refuse(500);
    until("drops", || gate.dropped() == 1000);
    assert_eq!((gate.logged(OUTAGE), gate.logged(AGAIN)), (1, 0));
    gate.ends();
}

#[test]
fn a_full_disk_costs_lines_until_there_is_room_again() {
    let disk =
        "mkdir disk && mount -t tmpfs -o size=256k tmpfs disk && head -c 200000 /dev/zero > disk/other && exec \"$0\" serve --config scopegate.yaml";
    let mut gate = Gate::start("{file: disk/audit.log, max_size: 100MiB}", Path::new("/usr/bin/unshare"), |command| {
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", disk]).arg(scopegate());
    });
    // The disk is mounted for that process alone.
    let inside = PathBuf::from(format!("/proc/{}/cwd/disk", gate.process.id()));
    let mut decided = 0;
    until("a full disk", || {
        gate.refuse(50);
        decided += 50;
        gate.dropped() > 0
    });
    gate.refuse(200);
    decided += 200;
    fs::remove_file(inside.join("other")).unwrap();
    let before = fs::metadata(inside.join("audit.log")).unwrap().len();
    until("lines again", || {
        gate.refuse(1);
        decided += 1;
        fs::metadata(inside.join("audit.log")).unwrap().len() > before
    });
    assert!(gate.logged(OUTAGE) >= 1 && gate.logged(OUTAGE) - gate.logged(AGAIN) <= 1, "one line for each end and each beginning");
    let mut written = 0;
    until("every line accounted for", || {
        written = fs::read_to_string(inside.join("audit.log")).unwrap().matches('\n').count();
        written + gate.dropped() == decided
    });
    assert_eq!(ids(&fs::read_to_string(inside.join("audit.log")).unwrap()).len(), written, "whole lines, and each once");
    gate.ends();
}

#[test]
fn a_file_that_rotates_and_is_moved_under_load_loses_no_line() {
    let mut gate = Gate::serve("{file: audit.log, max_size: 256KiB, keep: 200}", |_| {});
    let port = gate.proxy;
    let clients: Vec<_> = (0..4).map(|_| std::thread::spawn(move || refuse(port, 2500))).collect();
    let path = |name: &str| gate.folder.path().join(name);
    for number in 0..20 {
        // As logrotate does; where the gate itself rotates at that very moment, there is none for an instant.
        until("a file", || fs::rename(path("audit.log"), path(&format!("moved.{number}"))).is_ok());
        until("a new one", || path("audit.log").exists() || clients.iter().all(|client| client.is_finished()));
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    let dropped = gate.dropped();
    gate.ends();
    let (mut all, mut files) = (HashSet::new(), 0);
    for entry in fs::read_dir(gate.folder.path()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("audit.log") || name.starts_with("moved.") {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.len() <= 256 * 1024, "{name} has {} bytes", text.len());
            for id in ids(&text) {
                assert!(all.insert(id), "a line is in two files");
            }
            files += 1;
        }
    }
    assert_eq!((all.len() + dropped, dropped), (10_000, 0));
    assert!(files > 20, "{files}");
}
