//! The commands that tell of decisions: of a running gate's own by id, and into a pipe that nobody reads to its end.

use std::process::Stdio;

use serde_json::Value;

use super::{POLICY, TOKENS, lines};
use crate::harness::process::{run, scopegate};
use crate::harness::{Gate, ask, complete, write_secret};

async fn explain(gate: &Gate, args: &[&str]) -> (i32, String, String) {
    let url = format!("http://127.0.0.1:{}", gate.admin().port());
    let mut command = scopegate();
    command.args(["explain", "--url", &url, "--decision"]).args(args);
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

async fn denied(gate: &Gate) -> String {
    let few = "POST /app HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token-of-the-few-1\r\ncontent-length: 0\r\n\r\n";
    let id = ask(gate.proxy(), few).await.header("x-scopegate-decision").unwrap();
    lines(gate).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_tells_of_a_decision_that_a_running_gate_took() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let id = denied(&gate).await;
    let (status, out, err) = explain(&gate, &[&id]).await;
    assert_eq!((status, err.as_str()), (1, ""), "{out}");
    for line in [
        "then           deny (insufficient_scope) at ",
        "request        POST /app\n",
        "caller         few\n",
        "missing        app:use\n",
        "now, on generation 1:\n",
        "decision       deny 403 (insufficient_scope)\n",
        "held by        app\n",
        "considered     POST /app [app:use, app:read]: wins\n",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let (_, out, _) = explain(&gate, &[&id, "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["then"]["id"], id);
    let (status, _, err) = explain(&gate, &["0123456789abcdef"]).await;
    assert!(status == 1 && err.starts_with("404: The decision is no longer kept"), "{err}");
    for args in [&[&*id, "--as", "app"][..], &[&*id, "GET", "/app"]] {
        assert_eq!(explain(&gate, args).await.0, 2, "{args:?}: one or the other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_a_token_where_the_door_asks_for_one() {
    let open = "listen: {proxy: 127.0.0.1:0, ext_authz: 127.0.0.1:0, forward_auth: 127.0.0.1:0, admin: 0.0.0.0:0}\n";
    let gate = Gate::start(&format!("{POLICY}{open}"), &TOKENS.replace("own:more", "scopegate:admin")).await;
    let id = denied(&gate).await;
    let file = gate.folder.path().join("admin.token");
    write_secret(&file, super::APP);
    assert_eq!(explain(&gate, &[&id, "--token-file", file.to_str().unwrap()]).await.0, 1);
    let (status, out, err) = explain(&gate, &[&id]).await;
    assert!(status == 1 && out.is_empty() && err.starts_with("401: "), "{out} {err}");
}

#[test]
fn no_command_minds_a_reader_that_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    std::fs::write(folder.path().join("scopegate.yaml"), complete(POLICY, ([127, 0, 0, 1], 1).into())).unwrap();
    for args in [
        &["explain", "GET", "/app", "--as", "few"][..],
        &["explain", "GET", "/app", "--as", "few", "--json"],
        &["schema"],
        &["check"],
        &["--help"],
        &["token", "hash", "--token-file", "tokens.json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = scopegate().args(args).current_dir(folder.path()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(0..=2)), "{args:?}: {:?} {said}", output.status);
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}
