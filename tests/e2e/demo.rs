//! `scopegate demo` as a newcomer meets it: every line that it prints is pasted into a shell.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::client::Ask;
use crate::process::{Process, scopegate, tool, tools, until};

#[test]
fn every_line_that_the_demo_prints_gives_what_it_says_and_nothing_stays_behind() {
    let folder = tempfile::tempdir().unwrap();
    tool("envoy");
    let mut demo = Process::start("demo", &scopegate(), folder.path(), |command| {
        command.arg("demo").env("PATH", format!("{}:/usr/bin:/bin", tools().display())).env("TMPDIR", folder.path());
    });
    demo.until("telling how it is stopped", |demo| demo.said().contains("Ctrl-C stops."));
    let children = children(demo.id());
    assert_eq!(children.len(), 1, "one Envoy");
    let said = demo.said();
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    let mut promised = 0;
    for line in &lines {
        let (status, output) = paste(line);
        match line.split_once("   # ").map(|(_, comment)| comment.trim()) {
            Some(comment) => {
                promised += 1;
                assert_eq!(Some(status), comment.get(..3).and_then(|number| number.parse().ok()), "{line}\n{output}");
            }
            // As the text says: prometheus asks for `/pending`, which it may not see.
            None if line.contains("/traefik") => assert_eq!(status, 403, "{line}\n{output}"),
            None if line.contains("/explain") => assert!(output.contains("insufficient_scope"), "{line}\n{output}"),
            None => assert!(output.contains("\"ready\"") && output.contains("scopegate_decisions_total"), "{line}\n{output}"),
        }
    }
    assert_eq!((lines.len(), promised), (14, 11), "{said}");
    demo.signal("INT");
    assert_eq!(demo.ended(), Some(0), "{}", demo.said());
    for child in children {
        until("the end of Envoy", || !Path::new(&format!("/proc/{child}")).exists());
    }
    let left = fs::read_dir(folder.path()).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("scopegate-"));
    assert_eq!(left.count(), 0, "the tokens are still there");
}

/// Processes that `parent` started: the second field behind the name in `/proc/…/stat` is the parent (proc(5)).
fn children(parent: u32) -> Vec<u32> {
    let is_child = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&*parent.to_string())
    };
    let ids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(is_child).collect()
}

/// The status of the last answer to a line of curl commands, and all that they printed.
fn paste(line: &str) -> (u16, String) {
    let has_curl = Command::new("bash").args(["-c", "command -v curl"]).output().unwrap().status.success();
    if !has_curl {
        return line
            .split_once("   # ")
            .map_or(line, |(commands, _)| commands)
            .split(';')
            .map(send)
            .fold((0, String::new()), |(_, all), (status, output)| (status, all + &output));
    }
    let done = Command::new("bash").arg("-c").arg(line).output().unwrap();
    assert!(done.status.success(), "{line}: {done:?}");
    let output = String::from_utf8_lossy(&done.stdout).into_owned();
    let status = output.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|number| number.parse().ok());
    (status.unwrap_or_default(), output)
}

/// One curl command, on a machine without curl: `-i`, `-s`, `-X METHOD`, `-H HEADER`, `-d BODY` and an address.
fn send(command: &str) -> (u16, String) {
    let words = words(command);
    let (mut method, mut headers, mut body, mut address) = (None, Vec::new(), None, "");
    let mut words = words.iter().map(String::as_str).skip(1);
    while let Some(word) = words.next() {
        match word {
            "-i" | "-s" => {}
            "-X" => method = words.next(),
            "-H" => headers.extend(words.next().and_then(|header| header.split_once(": "))),
            "-d" => body = words.next(),
            _ => address = word,
        }
    }
    let (host, path) = address.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let port = host.rsplit(':').next().unwrap().parse().unwrap();
    let ask = Ask::new(method.unwrap_or(if body.is_some() { "POST" } else { "GET" }), &format!("/{path}"));
    let ask = headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
    let says = headers.iter().any(|(name, _)| *name == "Content-Type");
    let ask = if body.is_some() && !says { ask.header("Content-Type", "application/x-www-form-urlencoded") } else { ask };
    let ask = if let Some(body) = body { ask.body(body.as_bytes()) } else { ask };
    let answer = ask.send(port);
    (answer.status, answer.body())
}

/// A command's words, single quotes obeyed.
fn words(command: &str) -> Vec<String> {
    let quoted = command.split('\'').enumerate();
    quoted
        .flat_map(|(index, part)| {
            let whole = index % 2 == 1;
            if whole { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
        })
        .collect()
}

#[test]
fn a_curl_line_is_read_as_a_shell_reads_it() {
    let words = words("curl -i -H 'Authorization: Bearer t' http://h/p");
    assert_eq!(words, ["curl", "-i", "-H", "Authorization: Bearer t", "http://h/p"]);
}
