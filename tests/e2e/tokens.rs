//! The programs of `tests/e2e/tokens/` as children: what makes tokens for real, and what serves keys. A line of JSON asks, a line answers.
//! Knows nothing of what is asked; each program says that itself, at its end.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::process::{Process, root, tool};

#[derive(Debug)]
pub struct Minter {
    name: &'static str,
    /// What it said when it was ready: its addresses.
    ready: Json,
    /// Answers come in the order of the requests, so one asks at a time.
    lines: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _process: Process,
    _folder: TempDir,
}

impl Minter {
    /// Starts a program by its file's name.
    pub fn start(name: &'static str) -> Self {
        Self::start_with::<&OsStr>(name, &[])
    }

    pub fn start_with<A: AsRef<OsStr>>(name: &'static str, arguments: &[A]) -> Self {
        Self::start_in("tests/e2e/tokens", name, arguments)
    }

    /// A program of another folder.
    pub fn start_in<A: AsRef<OsStr>>(home: &str, name: &'static str, arguments: &[A]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let is_python = name.ends_with(".py");
        let mut process = Process::start(name, &tool(if is_python { "python3" } else { "node" }), folder.path(), |command| {
            // No compiled files among the sources.
            command.args(is_python.then_some("-B")).arg(root().join(home).join(name)).args(arguments);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        });
        let (input, output) = process.pipes();
        let mut lines = (input, BufReader::new(output));
        let ready = answer(name, &mut lines.1);
        Self { name, ready, lines: Mutex::new(lines), _process: process, _folder: folder }
    }

    /// A member of what it said when it was ready.
    pub fn ready(&self, member: &str) -> &str {
        self.ready[member].as_str().unwrap_or_else(|| panic!("{} did not tell its `{member}`: {}", self.name, self.ready))
    }

    /// The answer to `{"op": …}`, which is no error.
    pub fn ask(&self, request: &Json) -> Json {
        let mut lines = self.lines.lock().unwrap();
        writeln!(lines.0, "{request}").unwrap();
        let answer = answer(self.name, &mut lines.1);
        drop(lines);
        assert!(answer.get("error").is_none(), "{} was asked {request}: {answer}", self.name);
        answer
    }

    /// A text of the answer: `token`, `pem`.
    pub fn text(&self, member: &str, request: &Json) -> String {
        let answer = self.ask(request);
        answer[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {answer}")).to_owned()
    }
}

fn answer(name: &str, output: &mut BufReader<ChildStdout>) -> Json {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{name} answered `{line}`: {error}"))
}
