//! What passes, passes whole: bodies, streams, limits, and credentials that nobody can check now.

use crate::harness::everywhere::{Doors, Request};
use crate::harness::frames::{BINARY, CLOSE, UPGRADE, agreed, frame};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire, value};
use crate::harness::{Gate, ask, write_secret};

use super::{OTHER, READER, TOKENS, operator, report};

/// Rows of the report as `(principal, reason, count)`.
async fn rows(gate: &Gate) -> Vec<(Option<String>, String, u64)> {
    let told = report(gate).await;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let row = |row: &serde_json::Value| (text(&row["principal"]), text(&row["reason"]).unwrap(), row["count"].as_u64().unwrap());
    let mut rows: Vec<_> = told["rows"].as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

fn said(principal: Option<&str>, reason: &str, count: u64) -> (Option<String>, String, u64) {
    (principal.map(str::to_owned), reason.to_owned(), count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_in_shadow_counts_and_tells_and_lets_pass() {
    // As many as there are doors and dialects, and then none for a day.
    let limit = "rate_limit: {rate: 1/d, burst: 6}";
    let gate = Gate::start(
        &format!("routes: {{GET /x: {{scopes: [orders:read], {limit}, mode: shadow}}, GET /hard: {{scopes: [orders:read], {limit}}}}}\n"),
        TOKENS,
    )
    .await;
    let mut doors = Doors::open(&gate).await;
    for _ in 0..2 {
        // Whoever would be denied uses up nobody's.
        assert_eq!(doors.ask(&Request::get("/x").bearer(OTHER)).await.status, 200);
    }
    assert_eq!(doors.ask(&Request::get("/x").bearer(READER)).await.status, 200);
    assert_eq!(rows(&gate).await, [said(Some("other"), "insufficient_scope", 12)]);
    assert_eq!(doors.ask(&Request::get("/x").bearer(READER)).await.status, 200, "and still passes");
    assert_eq!(rows(&gate).await, [said(Some("other"), "insufficient_scope", 12), said(Some("reader"), "too_many_requests", 6)]);
    assert_eq!(doors.ask(&Request::get("/hard").bearer(READER)).await.status, 200);
    assert!(doors.ask(&Request::get("/hard").bearer(READER)).await.is_denied(429, "too_many_requests"), "another route is enforced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_in_shadow_passes_its_limits_on_every_route() {
    let sources =
        "credentials: {tokens: {kind: static, file: tokens.json}, trial: {kind: static, file: tokens.json, from: header:x-trial, mode: shadow}}\n";
    let gate =
        Gate::start(&format!("{sources}routes: {{GET /x: {{scopes: [orders:read], rate_limit: {{rate: 1/d, burst: 6, per: route}}}}}}\n"), TOKENS)
            .await;
    let mut doors = Doors::open(&gate).await;
    assert_eq!(doors.ask(&Request::get("/x").bearer(READER)).await.status, 200);
    assert!(doors.ask(&Request::get("/x").bearer(READER)).await.is_denied(429, "too_many_requests"));
    assert_eq!(doors.ask(&Request::get("/x").header("x-trial", READER)).await.status, 200);
    assert_eq!(rows(&gate).await, [said(Some("reader"), "too_many_requests", 6)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_nobody_can_check_passes_as_nobodys() {
    // Nobody listens at the issuer's address.
    let issuer = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = |mode: &str| {
        format!("opaque: {{kind: introspection, url: 'http://{issuer}/ask', client_id: a, client_secret: secret-of-the-client, timeout: 50ms{mode}}}")
    };
    let routes = "routes: {GET /soft: {scopes: [orders:read], mode: shadow}, GET /hard: orders:read}\n";
    for (mode, credential) in [("", "a credential"), (", mode: shadow", "a credential of a source in shadow")] {
        let gate = Gate::start(&format!("credentials: {{{}}}\n{routes}", source(mode)), "[]").await;
        let mut doors = Doors::open(&gate).await;
        let passed = doors.ask(&Request::get("/soft").bearer("opaque-of-somebody")).await;
        assert_eq!((passed.status, passed.told("x-scopegate-id")), (200, None), "{credential}");
        assert!(doors.ask(&Request::get("/hard").bearer("opaque-of-somebody")).await.is_denied(503, "credential_unavailable"), "{credential}");
        assert_eq!(rows(&gate).await, [said(None, "credential_unavailable", 6)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_to_look_into_goes_on_whole() {
    let gate = Gate::start("routes: {POST /rpc: {tools: {run: orders:read}, max_body: 1KiB, mode: shadow}}\n", TOKENS).await;
    let body: String = (0..200_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
    let head = format!("POST /rpc HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {READER}\r\n");
    let chunks: String = body.as_bytes().chunks(999).map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk))).collect();
    for request in
        [format!("{head}content-length: {}\r\n\r\n{body}", body.len()), format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")]
    {
        let reply = ask(gate.proxy(), request).await;
        assert_eq!((reply.status, reply.header("x-scopegate-reason")), (200, None));
        let seen = gate.upstream.take();
        assert_eq!((seen.len(), seen[0].body == body.as_bytes()), (1, true));
    }
    assert_eq!(rows(&gate).await, [said(Some("reader"), "partial_body", 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_is_never_sent_as_a_whole_one() {
    let gate = Gate::start("routes: {POST /rpc: {tools: {run: orders:read}, mode: shadow}, POST /after: public}\n", TOKENS).await;
    let head = format!("POST /rpc HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {READER}\r\n");
    for half in [format!("{head}content-length: 100\r\n\r\n0123"), format!("{head}transfer-encoding: chunked\r\n\r\n4\r\n0123\r\n")] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(half).await;
        tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await.unwrap();
        let answer = String::from_utf8(wire.rest().await).unwrap();
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert_eq!(ask(gate.proxy(), "POST /after HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.status, 200);
    let seen: Vec<_> = gate.upstream.take().into_iter().map(|message| message.first).collect();
    assert_eq!(seen, ["POST /after HTTP/1.1"]);
}

/// Agrees to an upgrade, and sends every frame back.
async fn echo(mut wire: Wire, request: Message) -> Option<Wire> {
    wire.send(agreed(&request)).await;
    while let Some((opcode, payload, _)) = wire.frame().await {
        wire.send(frame(opcode, &payload, false)).await;
        if opcode == CLOSE {
            return None;
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_passed_in_shadow_ends_with_shadow_and_not_with_its_credential() {
    let routes = |mode: &str| format!("routes: {{/ws: {{scopes: [orders:read], mode: {mode}}}}}\n");
    let gate = Gate::before(Upstream::serving(echo).await, &routes("shadow"), TOKENS).await;
    let mut open = Vec::new();
    for token in [READER, OTHER, "nobody-knows-this"] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{UPGRADE}authorization: Bearer {token}\r\n\r\n")).await;
        let head = wire.response_head().await;
        assert!(head.starts_with("HTTP/1.1 101 ") && !head.to_lowercase().contains("x-scopegate"), "{head}");
        open.push(wire);
    }
    let told: Vec<_> = gate.upstream.take().into_iter().map(|seen| value(&seen.headers, "x-scopegate-id")).collect();
    assert_eq!(told, [Some("reader".into()), Some("other".into()), None]);
    let carries = async |wire: &mut Wire| {
        wire.send(frame(BINARY, b"ping", true)).await;
        wire.frame().await.map(|(opcode, payload, _)| (opcode, payload))
    };
    // Whoever opened it is nobody now; the route still only watches.
    write_secret(&gate.folder.path().join("tokens.json"), r#"[{"id": "boss", "token": "token-of-the-boss-1", "scopes": ["scopegate:admin"]}]"#);
    assert_eq!(gate.reload().await.status, 200);
    for wire in &mut open {
        assert_eq!(carries(wire).await, Some((BINARY, b"ping".to_vec())));
    }
    gate.rewrite(&routes("enforce"));
    assert_eq!(gate.reload().await.status, 200);
    for wire in &mut open {
        let (opcode, payload, _) = wire.frame().await.expect("a Close frame");
        assert_eq!((opcode, &payload[..2]), (CLOSE, &3000_u16.to_be_bytes()[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_its_credential_counts_once_its_route_is_enforced() {
    let routes = |mode: &str| format!("routes: {{/ws: {{scopes: [orders:read], mode: {mode}}}}}\n");
    let scopes = |scopes: &str| format!(r#"[{{"id": "one", "token": "token-of-number-one", "scopes": [{scopes}]}}]"#);
    let gate = Gate::before(Upstream::serving(echo).await, &routes("shadow"), &scopes(r#""bills:read""#)).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{UPGRADE}authorization: Bearer token-of-number-one\r\n\r\n")).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    write_secret(&gate.folder.path().join("tokens.json"), scopes(r#""orders:read""#));
    gate.rewrite(&routes("enforce"));
    assert_eq!(gate.reload().await.status, 200);
    // Streams are asked about within a second of a reload; a second reload comes behind that of the first.
    for _ in 0..3 {
        assert_eq!(operator(&gate, "POST /reload", "").await.status, 200);
        wire.send(frame(BINARY, b"ping", true)).await;
        assert_eq!(wire.frame().await.map(|(opcode, payload, _)| (opcode, payload)), Some((BINARY, b"ping".to_vec())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_ask_what_passes_in_shadow() {
    let ask_for =
        |path: &str| format!("OPTIONS {path} HTTP/1.1\r\nhost: a\r\norigin: https://page.test\r\naccess-control-request-method: DELETE\r\n\r\n");
    for (mode, methods) in [("enforce", None), ("shadow", Some("DELETE"))] {
        let gate = Gate::start(&format!("mode: {mode}\ncors: {{origins: ['https://page.test']}}\nroutes: {{GET /x: orders:read}}\n"), TOKENS).await;
        let reply = ask(gate.proxy(), ask_for("/no-route")).await;
        assert_eq!((reply.status, reply.header("access-control-allow-methods").as_deref()), (204, methods), "{mode}");
        let refused = ask_for("/no-route").replace("page.test", "evil.test");
        assert_eq!(ask(gate.proxy(), refused).await.header("access-control-allow-methods"), None, "{mode}: another site's page");
    }
}
