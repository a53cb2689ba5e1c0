//! WebSockets at the proxy door: decided before anything is switched, carried as they are afterwards, and nothing hidden behind them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::harness::frames::{BINARY, CLOSE, KEY, TEXT, UPGRADE, agreed, frame};
use crate::harness::process::Serving;
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire, value};
use crate::harness::{DEADLINE, Gate, complete, until, write_secret};

const POLICY: &str = "routes: {/open: public, /ws: app:use, /no: deny}\n";
const TOKENS: &str = r#"[
  {"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]},
  {"id": "other", "token": "token-of-another-1", "scopes": ["other:use"]}
]"#;
const APP: &str = "authorization: Bearer token-of-the-app-1\r\n";
const OTHER: &str = "authorization: Bearer token-of-another-1\r\n";

/// What smugglers hide behind an upgrade.
const HIDDEN: &str = "GET /open HTTP/1.1\r\nhost: a\r\n\r\n";

fn upgrade(fields: &str) -> String {
    format!("GET /ws HTTP/1.1\r\nhost: a\r\n{UPGRADE}{fields}\r\n")
}

/// Agrees, and sends every frame back until a close frame, which it answers and then closes.
async fn echo(mut wire: Wire, request: Message) -> Option<Wire> {
    wire.send(agreed(&request)).await;
    while let Some((opcode, payload, masked)) = wire.frame().await {
        assert!(masked, "a client's frames come as they were sent");
        wire.send(frame(opcode, &payload, false)).await;
        if opcode == CLOSE {
            return None;
        }
    }
    None
}

/// Agrees where an upgrade is asked for, and answers anything else as a plain server.
async fn either(mut wire: Wire, request: Message) -> Option<Wire> {
    if value(&request.headers, "upgrade").is_some() {
        return echo(wire, request).await;
    }
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    Some(wire)
}

async fn gate() -> Gate {
    Gate::before(Upstream::serving(either).await, POLICY, TOKENS).await
}

async fn open(gate: &Gate) -> Wire {
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(upgrade(APP)).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    wire
}

async fn echoed(wire: &mut Wire, payload: &[u8]) {
    wire.send(frame(BINARY, payload, true)).await;
    let back = tokio::time::timeout(DEADLINE, wire.frame()).await.expect("a frame in time").expect("the tunnel is open");
    assert!(back == (BINARY, payload.to_vec(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_upgrade_becomes_a_tunnel_of_frames() {
    let gate = gate().await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(upgrade(&format!("{APP}sec-websocket-protocol: chat\r\nx-scopegate-id: root\r\n"))).await;
    let head = wire.response_head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in ["\r\nconnection: upgrade\r\n", "\r\nupgrade: websocket\r\n", "\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"] {
        assert_eq!(head.matches(line).count(), 1, "{line:?} in {head}");
    }
    for name in ["content-length", "transfer-encoding"] {
        assert!(!head.contains(name), "{head}");
    }
    let told = gate.upstream.take().remove(0);
    for (name, expected) in [
        ("connection", Some("Upgrade")),
        ("upgrade", Some("websocket")),
        ("sec-websocket-key", Some(KEY)),
        ("sec-websocket-version", Some("13")),
        ("sec-websocket-protocol", Some("chat")),
        ("x-scopegate-id", Some("app")),
        ("authorization", None),
        ("content-length", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(value(&told.headers, name).as_deref(), expected, "{name}");
    }
    for payload in [&b""[..], b"hello", &[0xFF; 126], &[7; 70_000]] {
        echoed(&mut wire, payload).await;
    }
    // What no HTTP parser would let through is a frame like any other.
    echoed(&mut wire, HIDDEN.as_bytes()).await;
    echoed(&mut wire, b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n\0").await;
    wire.send(frame(CLOSE, &[3, 232], true)).await;
    assert_eq!(wire.frame().await, Some((CLOSE, vec![3, 232], false)));
    assert!(wire.is_closed().await, "the upstream closed");
    let audit = gate.audit().await;
    assert_eq!(audit.lines().count(), 1, "one decision: {audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_asked_for_in_every_spelling_of_the_rfc() {
    let gate = gate().await;
    let rest = format!("{APP}sec-websocket-key: {KEY}\r\nsec-websocket-version: 13\r\n");
    for asked in [
        "Connection: upgrade\r\nUpgrade: WebSocket\r\n",
        "CONNECTION: keep-alive, UPGRADE\r\nUPGRADE: WEBSOCKET\r\n",
        "connection: keep-alive\r\nconnection: Upgrade\r\nupgrade: h2c, websocket\r\n",
        "upgrade: h2c\r\nupgrade:websocket\r\nconnection:\tclose,\tupgrade\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n",
    ] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{asked}{rest}\r\n")).await;
        assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "), "{asked}");
        echoed(&mut wire, b"hello").await;
        let told = gate.upstream.take().remove(0);
        assert_eq!(value(&told.headers, "upgrade").as_deref(), Some("websocket"), "{asked}");
        assert_eq!(value(&told.headers, "connection").as_deref(), Some("Upgrade"), "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_upgrade_is_answered_before_101_and_nothing_behind_it_is_read() {
    let gate = gate().await;
    let behind = [Vec::new(), HIDDEN.into(), frame(TEXT, b"hello", true), HIDDEN.repeat(1000).into()];
    for (request, status, reason) in [
        (upgrade(""), 401, "no_credential"),
        (upgrade("authorization: Bearer token-of-nobody-1\r\n"), 401, "invalid_credential"),
        (upgrade(OTHER), 403, "insufficient_scope"),
        (upgrade(&format!("{APP}{APP}")), 400, "ambiguous_credential"),
        (upgrade(APP).replace("/ws", "/no"), 403, "denied"),
        (upgrade(APP).replace("/ws", "//ws"), 400, "ambiguous_path"),
        (upgrade(APP).replace("connection: Upgrade", "connection: Upgrade, host"), 400, "ambiguous_host"),
    ] {
        for behind in &behind {
            let mut wire = Wire::connect(gate.proxy()).await;
            wire.send([request.as_bytes(), behind].concat()).await;
            let reply = wire.reply(false).await;
            assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (status, Some(reason)), "{request}");
            assert_eq!(reply.header("connection").as_deref(), Some("close"), "{request}");
            assert_eq!(String::from_utf8_lossy(&wire.rest().await), "", "{request}: more than one answer");
        }
    }
    assert!(gate.upstream.take().is_empty(), "something was sent on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_handshake_is_400_and_the_end_of_its_connection() {
    let gate = gate().await;
    let asked = "connection: Upgrade\r\nupgrade: websocket\r\n";
    let (key, version) = (format!("sec-websocket-key: {KEY}\r\n"), "sec-websocket-version: 13\r\n");
    for (rest, body) in [
        (String::new(), ""),
        (key.clone(), ""),
        (version.to_owned(), ""),
        (format!("{key}{key}{version}"), ""),
        (format!("{key}{version}{version}"), ""),
        (format!("{key}sec-websocket-version: 12\r\n"), ""),
        (format!("sec-websocket-key: c2hvcnQ=\r\n{version}"), ""),
        (format!("sec-websocket-key: {KEY}, {KEY}\r\n{version}"), ""),
        (format!("{key}{version}content-length: 5\r\n"), "hello"),
        (format!("{key}{version}transfer-encoding: chunked\r\n"), "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        for behind in ["", HIDDEN] {
            let mut wire = Wire::connect(gate.proxy()).await;
            wire.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{APP}{asked}{rest}\r\n{body}{behind}")).await;
            let reply = wire.reply(false).await;
            assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (400, Some("invalid_upgrade")), "{rest}");
            assert_eq!(reply.text(), r#"{"error":"invalid_request","message":"Malformed WebSocket upgrade"}"#);
            assert_eq!(wire.rest().await, b"", "{rest}: more than one answer");
        }
    }
    // The key is named as for this hop only, and so it is not there to send.
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(upgrade(APP).replace("connection: Upgrade", "connection: Upgrade, sec-websocket-key") + HIDDEN).await;
    assert_eq!(wire.reply(false).await.status, 400);
    assert_eq!(wire.rest().await, b"");
    assert!(gate.upstream.take().is_empty(), "something was sent on");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_upgrades_are_dropped_and_their_connection_goes_on() {
    let gate = gate().await;
    let mut wire = Wire::connect(gate.proxy()).await;
    let websocket = "connection: Upgrade\r\nupgrade: websocket\r\n";
    for request in [
        format!("GET /ws HTTP/1.1\r\nhost: a\r\n{APP}connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n"),
        format!("GET /ws HTTP/1.1\r\nhost: a\r\n{APP}connection: Upgrade\r\nupgrade: TLS/1.0\r\n\r\n"),
        format!("GET /ws HTTP/1.1\r\nhost: a\r\n{APP}connection: Upgrade\r\nupgrade: websocket/13\r\n\r\n"),
        format!("GET /ws HTTP/1.1\r\nhost: a\r\n{APP}upgrade: websocket\r\nsec-websocket-key: {KEY}\r\n\r\n"),
        format!("GET /ws HTTP/1.1\r\nhost: a\r\n{APP}connection: keep-alive\r\nupgrade: websocket\r\n\r\n"),
        format!("POST /ws HTTP/1.1\r\nhost: a\r\n{APP}{websocket}content-length: 5\r\n\r\nhello"),
        format!("GET /ws HTTP/1.0\r\nhost: a\r\n{APP}connection: Upgrade, keep-alive\r\nupgrade: websocket\r\n\r\n"),
    ] {
        wire.send(&request).await;
        let reply = wire.reply(false).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"), "{request}");
        let told = gate.upstream.take().remove(0);
        for name in ["upgrade", "http2-settings"] {
            assert_eq!(value(&told.headers, name), None, "{request}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_an_upgrade_wait_for_the_upstreams_101() {
    let (arrived, agree) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&arrived), Arc::clone(&agree));
    let upstream = Upstream::serving(move |wire: Wire, request| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            tell.notify_one();
            wait.notified().await;
            echo(wire, request).await
        }
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    for size in [1, 5000, 300_000] {
        let mut wire = Wire::connect(gate.proxy()).await;
        let (early, late) = (vec![1; size], vec![2; size]);
        let with_head = [upgrade(APP).as_bytes(), &frame(BINARY, &early, true)].concat();
        let (mut reader, mut writer) = wire.stream.into_split();
        let sending = tokio::spawn(async move {
            writer.write_all(&with_head).await.unwrap();
            writer.write_all(&frame(BINARY, &late, true)).await.unwrap();
            writer
        });
        arrived.notified().await;
        let mut one = [0];
        assert!(reader.try_read(&mut one).is_err(), "nothing is answered yet");
        agree.notify_one();
        let mut back = Wire::new(tokio::io::join(&mut reader, tokio::io::sink()));
        assert!(back.response_head().await.starts_with("HTTP/1.1 101 "));
        for byte in [1, 2] {
            let echoed = tokio::time::timeout(DEADLINE, back.frame()).await.expect("in time").expect("open");
            assert!(echoed == (BINARY, vec![byte; size], false), "{size} bytes of {byte}");
        }
        wire = Wire::new(reader.reunite(sending.await.unwrap()).unwrap());
        echoed(&mut wire, b"and on").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_behind_a_plain_request_has_its_turn() {
    let gate = gate().await;
    let mut wire = Wire::connect(gate.proxy()).await;
    let pipelined = [HIDDEN.as_bytes(), upgrade(APP).as_bytes(), &frame(TEXT, b"early", true)].concat();
    wire.send(pipelined).await;
    assert_eq!(wire.reply(false).await.status, 200);
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(wire.frame().await, Some((TEXT, b"early".to_vec(), false)));
    assert_eq!(gate.upstream.take().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_refusal_goes_back_and_nothing_behind_the_upgrade_reaches_it() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let book = Arc::clone(&heard);
    let upstream = Upstream::serving(move |mut wire: Wire, _| {
        let book = Arc::clone(&book);
        async move {
            wire.send("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 4\r\nx-why: version\r\n\r\nlate").await;
            let rest = wire.rest().await;
            book.lock().unwrap().push(rest);
            None
        }
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    for behind in [String::new(), HIDDEN.to_owned(), HIDDEN.repeat(1000)] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(upgrade(APP) + &behind).await;
        let reply = wire.reply(false).await;
        assert_eq!((reply.status, reply.text().as_str(), reply.header("x-why").as_deref()), (426, "late", Some("version")));
        assert_eq!(reply.header("connection").as_deref(), Some("close"));
        assert_eq!(wire.rest().await, b"");
        let rest = until("the upstream's end of the connection", async || heard.lock().unwrap().pop()).await;
        assert_eq!(String::from_utf8_lossy(&rest), "", "the connection is of no further use");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_that_does_not_go_with_the_upgrade_is_502() {
    let gate = |response: &'static str| async move {
        let upstream = Upstream::serving(move |mut wire: Wire, _| async move {
            wire.send(response).await;
            wire.send(frame(TEXT, b"hello", false)).await;
            assert_eq!(wire.rest().await, b"");
            None
        })
        .await;
        Gate::before(upstream, POLICY, TOKENS).await
    };
    let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let asked = "connection: upgrade\r\nupgrade: websocket\r\n";
    for headers in [
        asked.to_owned(),
        format!("{asked}sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n"),
        format!("{asked}{accept}{accept}"),
        format!("connection: upgrade\r\n{accept}"),
        format!("upgrade: websocket\r\n{accept}"),
        format!("connection: upgrade\r\nupgrade: h2c\r\n{accept}"),
    ] {
        let response = format!("HTTP/1.1 101 Switching Protocols\r\n{headers}\r\n").leak();
        let gate = gate(response).await;
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(upgrade(APP) + HIDDEN).await;
        let reply = wire.reply(false).await;
        assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (502, Some("bad_gateway")), "{headers}");
        assert_eq!(wire.rest().await, b"");
        assert_eq!(gate.upstream.take().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_upgrade_has_an_upstream_connection_of_its_own() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let upstream = Upstream::serving(move |mut wire: Wire, request: Message| {
        let count = Arc::clone(&count);
        async move {
            if value(&request.headers, "upgrade").is_none() {
                return either(wire, request).await;
            }
            // Its answer says that the connection could go on.
            count.fetch_add(1, Ordering::Relaxed);
            wire.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
            assert!(wire.is_closed().await, "used again after an upgrade");
            None
        }
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    for _ in 0..5 {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(HIDDEN).await;
        assert_eq!(wire.reply(false).await.status, 200);
        wire.send(upgrade(APP)).await;
        assert_eq!(wire.reply(false).await.status, 403);
        assert!(wire.is_closed().await);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_either_side_is_the_end_of_the_tunnel() {
    let ended = Arc::new(Notify::new());
    let tell = Arc::clone(&ended);
    let upstream = Upstream::serving(move |mut wire: Wire, request: Message| {
        let tell = Arc::clone(&tell);
        async move {
            wire.send(agreed(&request)).await;
            match wire.frame().await {
                // Closes, and the client hears it.
                Some((TEXT, ..)) => {}
                _ => tell.notify_one(),
            }
            None
        }
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    let mut wire = open(&gate).await;
    wire.send(frame(TEXT, b"bye", true)).await;
    // The upstream went without a Close frame of its own.
    assert_eq!(wire.frame().await, Some((CLOSE, b"\x03\xf3upstream gone".to_vec(), false)));
    wire.send(frame(CLOSE, b"\x03\xf3", true)).await;
    assert!(wire.is_closed().await);
    drop(open(&gate).await);
    tokio::time::timeout(DEADLINE, ended.notified()).await.expect("the upstream hears that the client is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_whose_client_leaves_is_given_up() {
    let (arrived, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (came, tell) = (Arc::clone(&arrived), Arc::clone(&ended));
    let upstream = Upstream::serving(move |mut wire: Wire, _| {
        let (came, tell) = (Arc::clone(&came), Arc::clone(&tell));
        async move {
            came.notify_one();
            assert_eq!(wire.rest().await, b"", "nothing was agreed on");
            tell.notify_one();
            None
        }
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send([upgrade(APP).as_bytes(), &frame(TEXT, b"early", true)].concat()).await;
    arrived.notified().await;
    drop(wire);
    tokio::time::timeout(DEADLINE, ended.notified()).await.expect("the upstream hears that the client is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_does_not_read_holds_the_other_back() {
    let upstream = Upstream::serving(async |mut wire: Wire, request: Message| {
        wire.send(agreed(&request)).await;
        std::future::pending::<()>().await;
        Some(wire)
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    let mut wire = open(&gate).await;
    // The beginning of a frame of 1 GiB.
    wire.send([0x82, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]).await;
    let (mut taken, piece) = (0, vec![0; 64 * 1024]);
    while tokio::time::timeout(Duration::from_millis(500), wire.stream.write_all(&piece)).await.is_ok() {
        taken += piece.len();
        assert!(taken < 64 * 1024 * 1024, "the gate holds {taken} bytes that nobody reads");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forward_auth_door_answers_and_goes_on_whatever_upgrade_it_is_told_of() {
    let gate = gate().await;
    let mut wire = Wire::connect(gate.forward_auth()).await;
    for _ in 0..2 {
        let described = "x-forwarded-method: GET\r\nx-forwarded-uri: /ws\r\nx-forwarded-host: a\r\n";
        wire.send(format!("GET /caddy HTTP/1.1\r\nhost: a\r\n{UPGRADE}{APP}{described}\r\n")).await;
        assert_eq!(wire.reply(false).await.status, 200);
    }
}

async fn serving(settings: &str) -> (Serving, Upstream, tempfile::TempDir) {
    let upstream = Upstream::serving(either).await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("scopegate.yaml");
    std::fs::write(&config, complete(&format!("{POLICY}{settings}"), upstream.address)).unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    (Serving::start(&config, &[]).await, upstream, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_closes_an_open_tunnel_and_waits_for_the_answer() {
    let (mut serving, _upstream, _folder) = serving("").await;
    let mut wire = Wire::connect(serving.address("proxy")).await;
    wire.send(upgrade(APP)).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    echoed(&mut wire, b"open").await;
    serving.signal("TERM");
    let (opcode, payload, masked) = wire.frame().await.expect("a frame");
    assert_eq!((opcode, &payload[..2], masked), (CLOSE, &[3, 233][..], false));
    wire.send(frame(CLOSE, &[3, 233], true)).await;
    assert!(wire.is_closed().await);
    assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0), "the last tunnel's end is the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_a_tunnel_no_longer_than_it_may() {
    let (mut serving, _upstream, _folder) = serving("drain_timeout: 100ms\n").await;
    let mut wire = Wire::connect(serving.address("proxy")).await;
    wire.send(upgrade(APP)).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    echoed(&mut wire, b"open").await;
    serving.signal("TERM");
    // A client that has no answer to the Close frame.
    assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
    assert_eq!(wire.frame().await.map(|(opcode, ..)| opcode), Some(CLOSE));
    assert_eq!(wire.frame().await, None);
    assert!(serving.log().contains("did not end within `drain_timeout`"), "{}", serving.log());
}
