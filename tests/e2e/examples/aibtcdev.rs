//! aibtcdev-backend's ways in, WebSockets among them. What is about the start of the process is among the integration tests.

use serde_json::{Value, json};

use super::{Row, SECRET, drive, signed};
use crate::client::Ask;
use crate::message::Message;
use crate::process::until;
use crate::sign::now;
use crate::stage::{Front, Script, Stage};
use crate::traces::Collector;
use crate::websocket::{handshake, talk};

const WEBHOOK: &str = "your_webhook_secret_token";
const KEY: &str = "12345678-1234-1234-1234-123456789abc";
const DISABLED: &str = "7d1f4c0e-93a5-4b6e-8c2d-5e0a9b1c3f72";
const ADA: &str = "ada@example.com";
const EVE: &str = "eve@example.com";

fn session(more: &[(&str, Value)]) -> String {
    let mut claims = json!({"sub": "0b7c", "aud": "authenticated", "email": EVE, "iat": now(), "exp": now() + 3600});
    more.iter().for_each(|(name, value)| claims[*name] = value.clone());
    signed(&claims)
}

fn script() -> Script {
    let env = [("SESSION_JWT_SECRET", SECRET), ("AIBTC_WEBHOOK_AUTH_TOKEN", "Bearer your_webhook_secret_token")];
    Script::of("aibtcdev", "scopegate.yaml", &env, ("/tools/available", 401))
}

fn tools() -> Ask {
    Ask::get("/tools/available")
}

fn hook(path: &str) -> Ask {
    Ask::new("POST", path).body(b"{}")
}

/// Nothing of what was shown at the gate is anywhere in what arrived.
fn assert_hidden(seen: &Message, secrets: &[&str]) {
    let told = format!("{} {:?}", seen.start, seen.headers);
    assert!(secrets.iter().all(|secret| !told.contains(secret)), "{told}");
}

#[test]
fn every_row_of_a_request_that_needs_no_store() {
    let stage = Stage::play(Front::EnvoyGrpc, &script());
    let good = session(&[]);
    let rows: Vec<Row> = vec![
        ("A-02", tools().token(&good), 200),
        ("A-02", tools().token(&session(&[("exp", (now() - 120).into())])), 401),
        ("A-02", tools().token(&session(&[("email", Value::Null)])), 401),
        ("A-03", tools().header("Authorization", "invalid_format"), 401),
        ("A-03", tools().token("invalid_token"), 401),
        ("A-04", tools().header("X-API-Key", KEY), 200),
        ("A-04", tools().header("X-API-Key", DISABLED), 401),
        ("A-04", tools().header("X-API-Key", &KEY.replace('-', "")), 401),
        ("A-05", Ask::get(&format!("/tools/available?key={KEY}&token={good}")), 401),
        ("A-06", tools().token(&good).header("X-API-Key", KEY), 200),
        ("A-06", tools().token(&good).header("X-API-Key", "not-a-uuid"), 401),
        ("A-10", hook("/webhooks/chainhook").token(WEBHOOK), 200),
        ("A-10", hook("/webhooks/dao").token(WEBHOOK), 200),
        ("A-10", hook("/webhooks/dao").token(&format!("{WEBHOOK}x")), 401),
        ("A-10", hook("/webhooks/dao").token(&format!("{WEBHOOK} extra")), 401),
        ("A-11", hook("/webhooks/dao").token(&good), 401),
        ("A-11", hook("/webhooks/dao").header("X-API-Key", KEY), 401),
        ("A-11", tools().token(WEBHOOK), 401),
        ("A-16", tools(), 401),
    ];
    for (row, seen) in drive(&stage, &rows) {
        let id = match row {
            "A-02" => EVE,
            "A-10" => "webhooks",
            _ => ADA,
        };
        assert_eq!(seen.header("x-scopegate-id"), Some(id), "{row}");
        assert_hidden(&seen, &[KEY, DISABLED, &good, WEBHOOK]);
    }
    // a key that is switched on or off counts so without a restart.
    let (path, ask) = (stage.folder.path().join("keys.json"), tools().header("X-API-Key", DISABLED));
    let keys = std::fs::read_to_string(&path).unwrap();
    for (disabled, status) in [("false", 200), ("true", 401)] {
        std::fs::write(&path, keys.replace("\"disabled\": true", &format!("\"disabled\": {disabled}"))).unwrap();
        until("the new keys", || stage.ask(&ask).0.status == status);
        assert_eq!(stage.ask_at(stage.proxy_door, &ask).0.status, status);
    }
}

/// at a front: what a WebSocket's query opens, and that the application does not see it.
fn websockets(stage: &Stage, port: u16) {
    let (good, expired) = (session(&[]), session(&[("exp", (now() - 120).into())]));
    for (query, id) in [
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
        let Some(id) = id else {
            assert_eq!((status, seen.len()), (401, 0), "{told}");
            continue;
        };
        assert_eq!((status, echoed, seen.len()), (101, true, 1), "{told}");
        assert_eq!(seen[0].header("x-scopegate-id"), Some(id), "{told}");
        assert_eq!(seen[0].word(1), if query.contains("a=1") { "/chat/ws?a=1&b=%7e" } else { "/chat/ws" }, "{told}");
        assert_hidden(&seen[0], &[KEY, DISABLED, &good]);
    }
    // a page of another origin, with a good key.
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
fn a05_to_a08_websockets_through_envoy_and_the_proxy_door() {
    for front in [Front::EnvoyGrpc, Front::EnvoyGrpcPlainHeaders] {
        let stage = Stage::play(front, &script());
        websockets(&stage, stage.port);
        websockets(&stage, stage.proxy_door);
    }
}

#[test]
fn a05_to_a08_websockets_through_nginx_which_is_told_the_target_without_credentials() {
    let stage = Stage::play(Front::Nginx, &script());
    websockets(&stage, stage.port);
}

#[test]
fn a14_spans_name_the_caller_and_show_no_credential() {
    let (collector, port) = Collector::start();
    let script = Script { more: format!("telemetry: {{otlp: 'http://127.0.0.1:{port}'}}"), ..script() };
    let mut stage = Stage::play(Front::Proxy, &script);
    let (trace, good) = ("0af7651916cd43dd8448eb211c80319d", session(&[]));
    let ask = handshake(&format!("/chat/ws?token={good}&key={KEY}")).header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
    assert_eq!(talk(stage.port, &ask), (101, true));
    stage.gate.signal("INT");
    assert_eq!(stage.gate.ended(), Some(0));
    let (_, span) = collector.span_of(trace);
    let told = format!("{span:?}");
    assert!(told.contains(ADA) && !told.contains(KEY) && !told.contains(&good), "{told}");
    let said = stage.gate.said();
    assert!(said.contains(ADA) && !said.contains(KEY) && !said.contains(&good), "{said}");
}
