//! aibtcdev-backend's ways in, WebSockets among them, on SQLite and on PostgreSQL. What is about the start of the process is among the
//! integration tests.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Row, SECRET, drive, signed};
use crate::client::Ask;
use crate::message::Message;
use crate::postgres::Database;
use crate::process::{self, root, until};
use crate::sign::now;
use crate::stage::{Front, Script, Stage};
use crate::telemetry::collector::Collector;
use crate::websocket::{handshake, talk};

const WEBHOOK: &str = "your_webhook_secret_token";
const KEY: &str = "12345678-1234-1234-1234-123456789abc";
const DISABLED: &str = "7d1f4c0e-93a5-4b6e-8c2d-5e0a9b1c3f72";
const OPERATOR: &str = "token-of-the-operator-of-profiles";
const ADA: &str = "ada@example.com";
const EVE: &str = "eve@example.com";
const STRANGER: &str = "nobody@example.com";

fn session(more: &[(&str, Value)]) -> String {
    let mut claims = json!({"sub": "0b7c", "aud": "authenticated", "email": EVE, "iat": now(), "exp": now() + 3600});
    more.iter().for_each(|(name, value)| claims[*name] = value.clone());
    signed(&claims)
}

pub fn script() -> Script {
    let env = [("SESSION_JWT_SECRET", SECRET), ("AIBTC_WEBHOOK_AUTH_TOKEN", "Bearer your_webhook_secret_token"), ("OPERATOR_TOKEN", OPERATOR)];
    Script::of("aibtcdev", "scopegate.yaml", &env, ("/tools/available", 401))
}

/// By the script that the example has for it.
pub fn settle(stage: &Stage) {
    let mut script = Command::new("/bin/sh");
    script.arg(root().join("deploy/examples/aibtcdev/people.sh")).arg(format!("http://127.0.0.1:{}", stage.admin));
    let path = format!("{}:/usr/bin:/bin", process::tools().display());
    let done = script.env_clear().env("PATH", path).env("OPERATOR_TOKEN", OPERATOR).output().unwrap();
    assert!(done.status.success() && done.stdout.is_empty(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
}

/// The same on PostgreSQL, and the folder of its keys.
fn on(database: &Database) -> (Script, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("store.keys");
    std::fs::write(&keys, "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
    let more = format!("store: '{}'\nstore_keys: {{file: '{}'}}", database.url(), keys.display());
    (Script { more, ..script() }, folder)
}

fn play(front: Front, script: &Script) -> Stage {
    let stage = Stage::play(front, script);
    settle(&stage);
    stage
}

/// An operator's call.
fn operate(stage: &Stage, method: &str, path: &str, body: &Value) -> Value {
    let ask = Ask::new(method, path).token(OPERATOR).header("Content-Type", "application/json").body(body.to_string().as_bytes());
    let answer = ask.send(stage.admin);
    assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body());
    serde_json::from_str(&answer.body()).unwrap_or_default()
}

/// The id of somebody's profile.
pub fn profile(stage: &Stage, email: &str) -> String {
    let answer = Ask::get(&format!("/profiles?email={}", email.replace('@', "%40"))).token(OPERATOR).send(stage.admin);
    let list: Value = serde_json::from_str(&answer.body()).unwrap();
    list["profiles"][0]["id"].as_str().unwrap_or_else(|| panic!("no {email} in {list}")).to_owned()
}

/// Switches somebody's key on or off.
fn switch(stage: &Stage, name: &str, enabled: bool) {
    let answer = Ask::get("/tenant/api-keys").token(OPERATOR).send(stage.admin);
    let list: Value = serde_json::from_str(&answer.body()).unwrap();
    let key = list["keys"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}"));
    operate(stage, "PATCH", &format!("/tenant/api-keys/{}", key["id"].as_str().unwrap()), &json!({"enabled": enabled}));
}

fn tools() -> Ask {
    Ask::get("/tools/available")
}

fn tools_for(token: &str) -> Ask {
    tools().token(token)
}

fn hook(path: &str) -> Ask {
    Ask::new("POST", path).body(b"{}")
}

/// Nothing of what was shown at the gate is anywhere in what arrived.
fn assert_hidden(seen: &Message, secrets: &[&str]) {
    let told = format!("{} {:?}", seen.start, seen.headers);
    assert!(secrets.iter().all(|secret| !told.contains(secret)), "{told}");
}

/// Every row of a plain request, at Envoy and at the proxy door.
fn requests(stage: &Stage) {
    let good = session(&[]);
    let rows: Vec<Row> = vec![
        ("A-02", tools_for(&good), 200),
        ("A-02", tools_for(&session(&[("exp", (now() - 120).into())])), 401),
        ("A-02", tools_for(&session(&[("email", Value::Null)])), 401),
        ("A-03", tools().header("Authorization", "invalid_format"), 401),
        ("A-03", tools_for("invalid_token"), 401),
        ("A-04", tools().header("X-API-Key", KEY), 200),
        ("A-04", tools().header("X-API-Key", &KEY.to_uppercase()), 200),
        ("A-04", tools().header("X-API-Key", DISABLED), 401),
        ("A-04", tools().header("X-API-Key", &KEY.replace('-', "")), 401),
        ("A-04", tools().header("X-API-Key", "12345678-1234-1234-1234-123456789abd"), 401),
        ("A-05", Ask::get(&format!("/tools/available?key={KEY}&token={good}")), 401),
        ("A-06", tools_for(&good).header("X-API-Key", KEY), 200),
        ("A-06", tools_for(&good).header("X-API-Key", "not-a-uuid"), 401),
        ("A-10", hook("/webhooks/chainhook").token(WEBHOOK), 200),
        ("A-10", hook("/webhooks/dao").token(WEBHOOK), 200),
        ("A-10", hook("/webhooks/dao").token(&format!("{WEBHOOK}x")), 401),
        ("A-10", hook("/webhooks/dao").token(&format!("{WEBHOOK} extra")), 401),
        ("A-11", hook("/webhooks/dao").token(&good), 401),
        ("A-11", hook("/webhooks/dao").header("X-API-Key", KEY), 401),
        ("A-11", tools_for(WEBHOOK), 401),
        ("A-11", tools_for(OPERATOR), 401),
        ("A-12", tools_for(&session(&[("email", STRANGER.into())])), 404),
        ("A-16", tools(), 401),
    ];
    for (row, seen) in drive(stage, &rows) {
        let email = match row {
            "A-02" => Some(EVE),
            "A-10" => None,
            _ => Some(ADA),
        };
        assert_eq!(seen.header("x-user-email").filter(|value| !value.is_empty()), email, "{row}");
        assert!(seen.header("x-scopegate-id").is_some_and(|id| (id == "webhooks") == email.is_none()), "{row}");
        assert_hidden(&seen, &[KEY, DISABLED, &good, WEBHOOK]);
    }
    let (answer, _) = stage.ask(&tools_for(&session(&[("email", STRANGER.into())])));
    assert_eq!(answer.body(), r#"{"error":"profile_not_found","message":"Profile not found"}"#);
}

/// A-15, and A-12 the other way round: what an operator changes counts with the next request.
fn changes(stage: &Stage) {
    let rows = |row, ask: Ask, status| drive(stage, &[(row, ask, status)]);
    for (enabled, status) in [(true, 200), (false, 401)] {
        switch(stage, "Bob's agent", enabled);
        rows("A-15", tools().header("X-API-Key", DISABLED), status);
    }
    let token = session(&[("jti", "a-session".into())]);
    rows("A-15", tools_for(&token), 200);
    operate(stage, "POST", "/tokens/revoke", &json!({"jti": "a-session"}));
    rows("A-15", tools_for(&token), 401);
    let stranger = session(&[("email", STRANGER.into())]);
    let profile = operate(stage, "POST", "/profiles", &json!({"email": STRANGER}));
    rows("A-12", tools_for(&stranger), 200);
    operate(stage, "DELETE", &format!("/profiles/{}", profile["id"].as_str().unwrap()), &json!({}));
    rows("A-12", tools_for(&stranger), 404);
}

/// A-07: a WebSocket at the gate's own door ends with its key.
fn ends(stage: &Stage) {
    let stream = TcpStream::connect(("127.0.0.1", stage.proxy_door)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (&stream).write_all(&handshake(&format!("/chat/ws?key={KEY}")).bytes()).unwrap();
    let mut from = BufReader::new(&stream);
    assert_eq!(Message::read(&mut from, |start| !start.contains(" 101 ")).unwrap().unwrap().word(1), "101");
    switch(stage, "Ada's agent", false);
    let mut close = [0; 4];
    from.read_exact(&mut close).unwrap();
    assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 3000));
    switch(stage, "Ada's agent", true);
    stage.application.take();
}

/// Everything, at one front and at the proxy door of the same gate.
fn all(stage: &Stage) {
    requests(stage);
    changes(stage);
    websockets(stage, stage.port);
    websockets(stage, stage.proxy_door);
    ends(stage);
}

#[test]
fn every_row_through_envoy_and_the_proxy_door_on_sqlite() {
    all(&play(Front::EnvoyGrpc, &script()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_through_envoy_and_the_proxy_door_on_postgresql() {
    let database = Database::new().await;
    let (script, _keys) = on(&database);
    all(&play(Front::EnvoyGrpc, &script));
    let dump = database.dump();
    assert!(dump.contains(ADA) && !dump.contains(KEY) && !dump.contains(DISABLED) && !dump.contains(&DISABLED.replace('-', "")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_a_database_that_is_gone_is_503_for_whom_it_is_needed_and_no_401_or_404() {
    let database = Database::alone().await;
    let (script, _keys) = on(&database);
    let stage = play(Front::EnvoyGrpc, &script);
    database.stop();
    let stranger = tools_for(&session(&[("email", STRANGER.into())]));
    let unknown = tools().header("X-API-Key", "12345678-1234-1234-1234-123456789abd");
    until("the gate sees that its store is gone", || stage.ask(&stranger).0.status == 503);
    drive(&stage, &[("A-12", stranger.clone(), 503), ("A-12", unknown.clone(), 503)]);
    drive(&stage, &[("A-04", tools().header("X-API-Key", KEY), 200), ("A-02", tools_for(&session(&[])), 200)]);
    database.start_again();
    until("the gate sees that its store is back", || stage.ask(&stranger).0.status == 404);
    drive(&stage, &[("A-12", stranger, 404), ("A-12", unknown, 401)]);
}

/// A-05 to A-08 at a front: what a WebSocket's query opens, and that the application does not see it.
fn websockets(stage: &Stage, port: u16) {
    let (good, expired) = (session(&[]), session(&[("exp", (now() - 120).into())]));
    for (query, email) in [
        (format!("?token={good}"), Some(EVE)),
        (format!("?key={KEY}"), Some(ADA)),
        (format!("?a=1&token={good}&key={KEY}&b=%7e"), Some(ADA)),
        (format!("?token={good}&key={DISABLED}"), None),
        (format!("?token={expired}"), None),
        (format!("?token={KEY}"), None),
        ("?token=invalid_token".to_owned(), None),
        (String::new(), None),
    ] {
        let (status, echoed) = talk(port, &handshake(&format!("/chat/ws{query}")));
        let seen = stage.application.take();
        let told = format!("{query} at {:?}, {port}: {status}", stage.front);
        let Some(email) = email else {
            assert_eq!((status, seen.len()), (401, 0), "{told}");
            continue;
        };
        assert_eq!((status, echoed, seen.len()), (101, true, 1), "{told}");
        assert_eq!(seen[0].header("x-scopegate-id"), Some(&*profile(stage, email)), "{told}");
        assert_eq!(seen[0].word(1), if query.contains("a=1") { "/chat/ws?a=1&b=%7e" } else { "/chat/ws" }, "{told}");
        assert_hidden(&seen[0], &[KEY, DISABLED, &good]);
    }
    // A-13: a page of another origin, with a good key.
    for (origin, expected) in [("https://app.example.com", 101), ("https://app.example.com.evil.com", 403)] {
        let (status, _) = talk(port, &handshake(&format!("/chat/ws?key={KEY}")).header("Origin", origin));
        assert_eq!((status, stage.application.take().len()), (expected, usize::from(expected == 101)), "{origin} at {:?}", stage.front);
    }
    // Without an upgrade, the query is no place for credentials.
    let (answer, seen) = stage.ask_at(port, &Ask::get(&format!("/chat/ws?key={KEY}")));
    assert_eq!((answer.status, seen.len()), (401, 0));
    // Another upgrade than that to a WebSocket goes no further.
    let other = Ask::upgrade("/chat/ws").header("Upgrade", "h2c").header("HTTP2-Settings", "AAMAAABk").header("X-API-Key", KEY);
    if let Ok(answer) = other.try_send(port) {
        assert!(answer.status == 200 || (400..500).contains(&answer.status), "{}", answer.status);
        assert!(stage.application.take().iter().all(|seen| seen.header("upgrade").is_none()));
    }
}

#[test]
fn a05_to_a08_websockets_through_envoy_without_raw_headers() {
    let stage = play(Front::EnvoyGrpcPlainHeaders, &script());
    websockets(&stage, stage.port);
}

#[test]
fn a05_to_a08_websockets_through_nginx_which_is_told_the_target_without_credentials() {
    let stage = play(Front::Nginx, &script());
    websockets(&stage, stage.port);
}

#[test]
fn a14_spans_name_the_caller_and_show_no_credential() {
    let (collector, port) = Collector::start();
    let script = Script { more: format!("telemetry: {{otlp: 'http://127.0.0.1:{port}'}}"), ..script() };
    let mut stage = play(Front::Proxy, &script);
    let (trace, good) = ("0af7651916cd43dd8448eb211c80319d", session(&[]));
    let ask = handshake(&format!("/chat/ws?token={good}&key={KEY}")).header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
    assert_eq!(talk(stage.port, &ask), (101, true));
    stage.gate.signal("INT");
    assert_eq!(stage.gate.ended(), Some(0));
    let (_, span) = collector.spans("scopegate.decision", trace, 1).remove(0);
    let told = format!("{span:?}");
    let id = stage.application.take()[0].header("x-scopegate-id").unwrap().to_owned();
    assert!(told.contains(&id) && !told.contains(KEY) && !told.contains(&good), "{told}");
    let said = stage.gate.said();
    assert!(said.contains(&id) && !said.contains(KEY) && !said.contains(&good), "{said}");
}
