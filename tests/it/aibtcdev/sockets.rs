//! WebSockets: what opens them, in which order, and whose pages may.

use serde_json::Value;

use super::{ADA, DISABLED, EVE, KEY, VARIABLES, WEBHOOK, chat, gate, is_refused, session, text, tools};
use crate::harness::everywhere::{Doors, Request};
use crate::harness::frames::{TEXT, UPGRADE, frame};
use crate::harness::process::refused;
use crate::harness::sign::now;
use crate::harness::wire::{Wire, value};
use crate::harness::{DEADLINE, ask, example};

#[tokio::test(flavor = "multi_thread")]
async fn a05_a_websocket_may_have_either_in_its_query_and_nothing_else_may() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let token = session(&[]);
    for (query, id) in [
        (format!("?token={token}"), EVE),
        (format!("?key={KEY}"), ADA),
        (format!("?room=7&token={token}&lang=en"), EVE),
        (format!("?%74oken={token}"), EVE),
        (format!("?key={}", KEY.replace('-', "%2D")), ADA),
    ] {
        let said = doors.ask(&chat(&query)).await;
        assert_eq!((said.status, said.told("x-user-email").as_deref()), (200, Some(id)), "{query}");
        assert_eq!(said.target(), if query.contains("room") { "/chat/ws?room=7&lang=en" } else { "/chat/ws" }, "{query}");
    }
    for request in [Request::get(format!("/chat/ws?key={KEY}")), Request::get(format!("/tools/available?token={token}"))] {
        assert!(doors.ask(&request).await.is_denied(401, "no_credential"), "{request:?}");
    }
    // The headers count on an upgrade too.
    assert_eq!(doors.ask(&chat("").bearer(&token)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a06_a_key_decides_before_a_token_does() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let (good, bad) = (session(&[]), "invalid_token");
    for (request, id) in [
        (tools().header("x-api-key", KEY).bearer(&good), Some(ADA)),
        (tools().header("x-api-key", KEY).bearer(bad), Some(ADA)),
        (tools().header("x-api-key", DISABLED).bearer(&good), None),
        (tools().header("x-api-key", "").bearer(&good), None),
        (chat(&format!("?token={good}&key={KEY}")), Some(ADA)),
        (chat(&format!("?key={KEY}&token={bad}")), Some(ADA)),
        (chat(&format!("?token={good}&key={DISABLED}")), None),
        (chat(&format!("?token={good}&key=")), None),
        (chat(&format!("?key={KEY}")).bearer(bad), Some(ADA)),
        (chat(&format!("?token={bad}")).bearer(&good), Some(EVE)),
        (chat(&format!("?key={DISABLED}")).header("x-api-key", KEY), Some(ADA)),
    ] {
        let said = doors.ask(&request).await;
        match id {
            Some(id) => assert_eq!((said.status, said.told("x-user-email").as_deref()), (200, Some(id)), "{request:?}"),
            None => assert!(is_refused(&said), "{request:?}: {said:?}"),
        }
        // The one that did not decide goes no further either.
        assert!(!said.forwards(KEY) && !said.forwards(&good) && !said.forwards(bad) && !said.forwards(DISABLED), "{said:?}");
    }
    for doubled in [format!("?key={KEY}&key={KEY}"), format!("?token={good}&token={bad}")] {
        assert!(doors.ask(&chat(&doubled)).await.is_denied(400, "ambiguous_credential"), "{doubled}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a07_a_websocket_is_verified_as_any_request_and_its_caller_is_told() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    for bad in [
        session(&[("exp", (now() - 120).into())]),
        session(&[("email", Value::Null)]),
        session(&[("aud", "anon".into())]),
        "invalid_token".into(),
        KEY.into(),
        WEBHOOK.into(),
    ] {
        let said = doors.ask(&chat(&format!("?token={bad}"))).await;
        assert!(is_refused(&said), "{bad}: {said:?}");
    }
    let said = doors.ask(&chat(&format!("?token={}", session(&[]))).header("x-user-email", ADA)).await;
    assert_eq!(said.told("x-user-email").as_deref(), Some(EVE), "told once, for as long as the connection lasts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a08_a_websocket_with_a_bad_credential_fails_before_101() {
    let gate = gate().await;
    let connect = async |query: &str| {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(format!("GET /chat/ws{query} HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n")).await;
        wire
    };
    for query in ["", "?token=", "?key=", "?token=invalid_token", "?key=not-a-uuid", &format!("?key={DISABLED}"), &format!("?token={KEY}")] {
        let mut wire = connect(query).await;
        wire.send(frame(TEXT, b"hello", true)).await;
        assert_eq!(wire.reply(false).await.status, 401, "{query}");
        assert_eq!(wire.rest().await, b"", "{query}: the connection ends");
    }
    assert!(gate.upstream.take().is_empty());
    let mut wire = connect(&format!("?key={KEY}")).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    wire.send(frame(TEXT, b"hello", true)).await;
    let back = tokio::time::timeout(DEADLINE, wire.frame()).await.expect("a frame in time");
    assert_eq!(back, Some((TEXT, b"hello".to_vec(), false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a13_pages_of_known_origins_may_call_and_no_others() {
    let gate = gate().await;
    let page = "https://app.example.com";
    let others = [
        "https://app.example.com.evil.com",
        "https://evil-app.example.com",
        "https://preview.app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "null",
        "*",
    ];
    let preflight = async |origin: &str| {
        let asked = format!("origin: {origin}\r\naccess-control-request-method: GET\r\naccess-control-request-headers: x-api-key\r\n");
        ask(gate.proxy(), format!("OPTIONS /tools/available HTTP/1.1\r\nhost: a\r\n{asked}\r\n")).await
    };
    let shared = |headers: &[(String, Vec<u8>)]| ["access-control-allow-origin", "access-control-allow-credentials"].map(|name| value(headers, name));
    let reply = preflight(page).await;
    assert_eq!((reply.status, shared(&reply.headers)), (204, [Some(page.to_owned()), Some("true".to_owned())]));
    let connect = async |origin: &str| {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(format!("GET /chat/ws?key={KEY} HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\n{UPGRADE}\r\n")).await;
        wire.response_head().await
    };
    assert!(connect(page).await.starts_with("HTTP/1.1 101 "));
    gate.upstream.take();
    for origin in others {
        assert_eq!(shared(&preflight(origin).await.headers), [None, None], "{origin}");
        assert!(connect(origin).await.starts_with("HTTP/1.1 403 "), "{origin}");
    }
    assert!(gate.upstream.take().is_empty(), "a WebSocket of a strange page, or a preflight, went on");
    // `*` beside credentials is not taken at all.
    let desk = example::desk("aibtcdev", &text().replace("\"https://app.example.com\"", "\"*\""), gate.upstream.address);
    assert!(refused(&desk.path().join("scopegate.yaml"), &VARIABLES).contains("`cors.origins` has `*`"));
}
