//! `scopegate suggest`: what a gate wrote down of a day into scope sets with which the day would have gone the same.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::process::{run, scopegate};
use crate::harness::{Gate, ask, write_secret};

const CONFIG: &str = "
roles: {clerk: [bills:read]}
routes:
  GET /open: public
  GET /any: authenticated
  GET /orders: orders:read
  POST /orders: [orders:read, orders:write]
  GET /admin/{x}: admin:read
  PUT /admin/{x}: admin:write
  GET /reports: {any_scopes: [reports:all, reports:some, audit:read]}
  GET /audit: {any_scopes: [audit:read, audit:write]}
  GET /bills: bills:read
  GET /clerks: {roles: [clerk]}
  POST /rpc: {authenticated: true, tools: {run: query:run, stop: query:stop}}
";

fn entry(id: &str, scopes: &[&str]) -> Value {
    json!({"id": id, "token": format!("token-of-somebody-{id}"), "scopes": scopes})
}

fn entries() -> Vec<Value> {
    let mut clerk = entry("clerk", &["orders:*", "other:use"]);
    clerk["roles"] = json!(["clerk"]);
    vec![
        entry("wide", &["*"]),
        entry("admin", &["admin:*", "orders:read", "orders:write"]),
        entry("auditor", &["reports:all", "reports:some", "audit:read", "audit:write"]),
        entry("poor", &["orders:write", "query:run"]),
        entry("idle", &["orders:read"]),
        clerk,
    ]
}

const TOOL: &str = r#"{"method":"tools/call","params":{"name":"NAME"}}"#;

/// Who asks for what on that day.
const DAY: [(&str, &str, &str); 22] = [
    ("wide", "GET /orders", ""),
    ("wide", "GET /reports", ""),
    ("wide", "GET /audit", ""),
    ("admin", "GET /admin/x", ""),
    ("admin", "PUT /admin/x", ""),
    ("admin", "GET /admin/y", ""),
    ("admin", "GET /any", ""),
    ("admin", "POST /orders", ""),
    ("admin", "GET /bills", ""),
    ("auditor", "GET /reports", ""),
    ("auditor", "GET /audit", ""),
    ("poor", "POST /orders", ""),
    ("poor", "GET /audit", ""),
    ("poor", "POST /rpc", "run"),
    ("poor", "POST /rpc", "stop"),
    ("poor", "GET /clerks", ""),
    ("poor", "GET /nowhere", ""),
    ("clerk", "GET /bills", ""),
    ("clerk", "GET /clerks", ""),
    ("clerk", "GET /orders", ""),
    ("", "GET /orders", ""),
    ("", "GET /open", ""),
];

/// The statuses of the day.
async fn live(gate: &Gate) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (id, line, tool) in DAY {
        let bearer = if id.is_empty() { String::new() } else { format!("authorization: Bearer token-of-somebody-{id}\r\n") };
        let body = if tool.is_empty() { String::new() } else { TOOL.replace("NAME", tool) };
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\n{bearer}content-length: {}\r\n\r\n{body}", body.len());
        statuses.push(ask(gate.proxy(), request).await.status);
    }
    statuses
}

fn suggest(gate: &Gate, audit: &str, more: &[&str]) -> (i32, String, String) {
    let log = gate.folder.path().join("audit.jsonl");
    std::fs::write(&log, audit).unwrap();
    run(scopegate().args(["suggest", "--decisions"]).arg(&log).args(more).current_dir(gate.folder.path()))
}

fn told(gate: &Gate, audit: &str, more: &[&str]) -> Value {
    let (status, out, messages) = suggest(gate, audit, &[more, &["--json"]].concat());
    assert_eq!((status, &*messages), (0, ""), "{out}");
    serde_json::from_str(&out).unwrap()
}

fn principal<'v>(told: &'v Value, id: &str) -> &'v Value {
    told["principals"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id} in {told:#}"))
}

/// The day again, by tokens that hold what `scopes` says of them; whom it does not mention keeps what it has.
async fn again(scopes: BTreeMap<String, Vec<String>>) -> Vec<u16> {
    let mut entries = entries();
    for entry in &mut entries {
        if let Some(scopes) = scopes.get(entry["id"].as_str().unwrap()) {
            entry["scopes"] = json!(scopes);
        }
    }
    live(&Gate::start(CONFIG, &Value::Array(entries).to_string()).await).await
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_suggested_scopes_the_day_goes_the_same() {
    let gate = Gate::start(CONFIG, &Value::Array(entries()).to_string()).await;
    let statuses = live(&gate).await;
    let audit = gate.audit().await;
    let told = told(&gate, &audit, &[]);
    for (id, scopes) in [
        ("wide", json!(["audit:read", "orders:read"])),
        ("admin", json!(["admin:read", "admin:write", "orders:read", "orders:write"])),
        ("auditor", json!(["audit:read"])),
        ("poor", json!(["query:run"])),
        ("clerk", json!(["orders:read"])),
    ] {
        let one = principal(&told, id);
        assert_eq!((&one["scopes"], &one["least"]), (&scopes, &json!(true)), "{id}");
    }
    let suggested = |one: &Value| (one["id"].as_str().unwrap().to_owned(), texts(&one["scopes"]));
    let scopes = told["principals"].as_array().unwrap().iter().map(suggested).collect();
    assert_eq!(again(scopes).await, statuses, "who did something does it still, and nobody does more");
    // One scope less, and somebody is denied.
    for one in told["principals"].as_array().unwrap() {
        let (id, scopes) = suggested(one);
        for left_out in 0..scopes.len() {
            let mut fewer = scopes.clone();
            fewer[left_out] = "nothing:else".into();
            assert_ne!(again([(id.clone(), fewer)].into()).await, statuses, "{id} without {}", scopes[left_out]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lacked_is_told_apart_and_lets_its_requests_through() {
    for (mode, passes) in [("", 403), ("mode: shadow\n", 200)] {
        let gate = Gate::start(&format!("{mode}{CONFIG}"), &Value::Array(entries()).to_string()).await;
        let statuses = live(&gate).await;
        assert_eq!(statuses[11], passes);
        let told = told(&gate, &gate.audit().await, &[]);
        let poor = principal(&told, "poor");
        assert_eq!(poor["lacked"], json!({"requests": 3, "scopes": ["audit:read", "orders:read", "orders:write", "query:stop"]}), "{mode}");
        assert_eq!(poor["otherwise"], json!({"no_rule": 1, "wrong_role": 1}));
        assert_eq!(told["unproved"], 2);
        let whole = [texts(&poor["scopes"]), texts(&poor["lacked"]["scopes"])].concat();
        let after = again([("poor".to_owned(), whole)].into()).await;
        assert_eq!(after[11..17], [200, 200, 200, 200, 403, 403], "{mode}: all that scopes can change");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_and_not_used_is_told_where_the_configuration_is_at_hand() {
    let gate = Gate::start(CONFIG, &Value::Array(entries()).to_string()).await;
    live(&gate).await;
    let audit = gate.audit().await;
    let told = told(&gate, &audit, &[]);
    let held = |id: &str| principal(&told, id)["held"].clone();
    assert_eq!(held("admin")["wider"], json!({"admin:*": ["admin:read", "admin:write"]}));
    assert_eq!(held("auditor")["unused"], json!(["audit:write", "reports:all", "reports:some"]));
    assert_eq!((&held("clerk")["by_roles"], &held("clerk")["unused"]), (&json!(["bills:read"]), &json!(["other:use"])));
    assert_eq!(told["unseen"], json!([{"credential": "tokens", "id": "idle"}]));
    let (status, text, _) = suggest(&gate, &audit, &[]);
    assert_eq!(status, 0);
    for line in [
        "- {\"id\":\"auditor\",\"scopes\":[\"audit:read\"]}",
        "  # holds and did not use: [audit:write, reports:all, reports:some]",
        "  # holds admin:* and used of it: [admin:read, admin:write]",
        "  # lacked for 3 requests: [audit:read, orders:read, orders:write, query:stop]",
        "  # by its roles: [bills:read]",
        "#   tokens/idle",
    ] {
        assert!(text.lines().any(|said| said == line), "{line}\n{text}");
    }
    // Without rules nobody knows that one of several is enough.
    std::fs::rename(gate.folder.path().join("scopegate.yaml"), gate.folder.path().join("elsewhere.yaml")).unwrap();
    let (_, text, _) = suggest(&gate, &audit, &[]);
    assert!(text.contains("without --config, all scopes that were used count as needed"), "{text}");
    let entry = "- {\"id\":\"auditor\",\"scopes\":[\"audit:read\",\"audit:write\",\"reports:all\",\"reports:some\"]}";
    assert!(text.lines().any(|said| said == entry), "{text}");
    let (_, named, _) = suggest(&gate, &audit, &["--config", "elsewhere.yaml"]);
    assert!(named.contains("\"scopes\":[\"audit:read\"]"), "{named}");
}

#[test]
fn a_log_with_faults_is_read_as_far_as_it_goes_and_never_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let line = |id: &str, more: &str| {
        format!(
            r#"{{"time":"2026-01-01T00:00:0{id}Z","kind":"decision","id":"{id}","door":"proxy","outcome":"allow","reason":"allowed","credential":"tokens","principal":"one","used_scopes":"a:b"{more}}}"#
        )
    };
    let long = format!("{{\"time\":\"{}", "x".repeat(200_000));
    let end = r#"{"time":"2026-01-01T00:00:05Z","kind":"stream_ended","id":"3","door":"proxy","cause":"idle"}"#;
    let log =
        [&line("1", ""), "secret-in-a-line-of-another", "", &long, &line("2", r#","sample":0.25"#), end, "{\"kind\":\"deci", "\u{1b}[2J"].join("\n");
    write_secret(&folder.path().join("log"), &log);
    std::fs::write(folder.path().join("more"), line("3", r#","sample":0.5"#)).unwrap();
    let (status, out, messages) = run(scopegate().args(["suggest", "--decisions", "log", "more", "--json"]).current_dir(folder.path()));
    assert_eq!((status, &*messages), (0, ""));
    assert!(!out.contains("secret-in-a-line"), "{out}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["decisions"], &told["sample"], &told["unreadable"]), (&json!(3), &json!(0.25), &json!({"lines": 4, "first": "log:2"})));
    assert_eq!((&told["since"], &told["until"]), (&json!("2026-01-01T00:00:01Z"), &json!("2026-01-01T00:00:03Z")));
    let (_, text, _) = run(scopegate().args(["suggest", "--decisions", "log", "more"]).current_dir(folder.path()));
    assert!(text.contains("# allows are there at 25 % only") && text.contains("# 4 lines are no audit lines, the first is log:2"), "{text}");
    write_secret(&folder.path().join("log"), "secret-in-a-line-of-another\n");
    let (status, out, messages) = run(scopegate().args(["suggest", "--decisions", "log"]).current_dir(folder.path()));
    assert_eq!((status, &*out, messages.starts_with("no decisions in the log")), (1, "", true), "{messages}");
    let (status, _, messages) = run(scopegate().args(["suggest", "--decisions", "absent"]).current_dir(folder.path()));
    assert_eq!((status, messages.starts_with("decisions cannot be read: ")), (1, true), "{messages}");
    assert_eq!(run(scopegate().args(["suggest"]).current_dir(folder.path())).0, 2, "used wrongly");
}

#[test]
fn a_log_may_come_on_standard_input() {
    let line = r#"{"time":"2026-01-01T00:00:01Z","kind":"decision","id":"1","door":"proxy","outcome":"allow","credential":"k","principal":"o\u001bne","tenant":"t","used_scopes":"a:b c:d"}"#;
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        scopegate().args(["suggest", "--decisions", "-"]).current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("- {\"id\":\"o\\u001bne\",\"scopes\":[\"a:b\",\"c:d\"]}\n  # 1 allowed, of tenant t\n"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'));
}
