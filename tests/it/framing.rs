//! HTTP/1.1 that two readers could read in two ways: answered once, closed, and never sent on.

use tokio::io::AsyncReadExt;

use crate::harness::wire::Wire;
use crate::harness::{DEADLINE, Gate, ask, metric};

const POLICY: &str = "routes: {/open: public, /app: app:use}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;

/// What smugglers hide behind a request that the gate would let through.
const HIDDEN: &str = "GET /admin HTTP/1.1\r\nhost: a\r\n\r\n";

/// Heads with a doubt in them; each is a POST to an open route.
const DOUBTFUL: &[&str] = &[
    "content-length: 5\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ncontent-length: 5",
    "content-length: 5\r\ncontent-length: 5",
    "content-length: 5\r\nContent-Length: 6",
    "content-length: 5,5",
    "content-length: 5, 6",
    "content-length: +5",
    "content-length: -5",
    "content-length: 0x5",
    "content-length: 5 5",
    "content-length: \u{661}",
    "content-length:",
    "content-length: 99999999999999999999999",
    "content-length : 5",
    " content-length: 5",
    "transfer-encoding: ,chunked",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity, chunked",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: identity",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding:\tchunked",
    "transfer-encoding: chunked\t",
    "transfer-encoding: \u{b}chunked",
    "transfer-encoding\t: chunked",
    "transfer-encoding: x\r\n chunked",
    "transfer-encoding:\r\n chunked",
    "x: y\r\n folded",
    "x: a\rcontent-length: 5",
    "x: a\ncontent-length: 5",
    "x: a\0",
    "x\0: a",
    "no colon",
    ": no name",
    "a name: x",
    "name\u{e9}: x",
];

async fn refused(wire: &mut Wire, status: u16, what: &str) -> String {
    let reply = wire.reply(false).await;
    assert_eq!(reply.status, status, "{what:?}");
    assert!(wire.is_closed().await, "{what:?}: the connection stays open");
    reply.header("x-scopegate-reason").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubtful_head_is_400_and_the_end_of_its_connection() {
    let gate = Gate::start(POLICY, TOKENS).await;
    for fields in DOUBTFUL {
        let request = format!("POST /open HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n0\r\n\r\n{HIDDEN}");
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(&request).await;
        assert_eq!(refused(&mut wire, 400, fields).await, "ambiguous_framing", "{fields:?}");
        let mut wire = Wire::connect(gate.forward_auth()).await;
        wire.send(request.replace("/open", "/envoy/open")).await;
        assert_eq!(refused(&mut wire, 400, fields).await, "ambiguous_framing", "{fields:?} at the forward-auth door");
    }
    for (head, reason) in [
        ("GET /open HTTP/1.1\nhost: a\n\n", "ambiguous_framing"),
        ("GET /open HTTP/1.1\r\nhost: a\n\r\n", "ambiguous_framing"),
        ("GET /open\r\n\r\n", "ambiguous_framing"),
        ("GET /open HTTP/2.0\r\nhost: a\r\n\r\n", "ambiguous_framing"),
        ("GET /open HTTP/0.9\r\nhost: a\r\n\r\n", "ambiguous_framing"),
        ("GET /open HTTP/1.1x\r\nhost: a\r\n\r\n", "ambiguous_framing"),
        ("GET /open http/1.1\r\nhost: a\r\n\r\n", "ambiguous_framing"),
        ("GET  /open HTTP/1.1\r\nhost: a\r\n\r\n", "ambiguous_path"),
        ("GET /open  HTTP/1.1\r\nhost: a\r\n\r\n", "ambiguous_path"),
        ("GET\t/open HTTP/1.1\r\nhost: a\r\n\r\n", "ambiguous_framing"),
        ("G\tET /open HTTP/1.1\r\nhost: a\r\n\r\n", "invalid_method"),
        ("GET /open HTTP/1.1\r\n\r\n", "ambiguous_host"),
        ("GET /open HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", "ambiguous_host"),
        ("POST /open HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "ambiguous_framing"),
        ("\u{16}\u{3}\u{1}\0\u{5}hello", "ambiguous_framing"),
    ] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(head).await;
        assert_eq!(refused(&mut wire, 400, head).await, reason, "{head:?}");
    }
    assert!(gate.upstream.take().is_empty(), "a doubtful request was sent on");
    assert!(metric(&gate.metrics().await, r#"scopegate_refused_connections_total{bound="ambiguous_framing"}"#) > Some(50.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubtful_head_behind_a_good_request_is_refused_after_its_answer() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(format!("GET /open HTTP/1.1\r\nhost: a\r\n\r\nPOST /open HTTP/1.1\r\nhost: a\r\n{}\r\n\r\n{HIDDEN}", DOUBTFUL[0])).await;
    assert_eq!(wire.reply(false).await.status, 200);
    assert_eq!(refused(&mut wire, 400, "the second").await, "ambiguous_framing");
    assert_eq!(gate.upstream.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_its_framing_is_the_end_of_its_connection() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let head = "POST /open HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in [
        "5\r\nhello\r\n0\r\n\r",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhel\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "0\r\nx y: z\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\n folded\r\n\r\n",
    ] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(format!("{head}{body}{HIDDEN}")).await;
        let answer = until_closed(&mut wire).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\r\nx-scopegate-reason: ambiguous_framing\r\n"), "{body:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "what follows is answered: {answer}");
        let seen = gate.upstream.take();
        assert!(seen.is_empty(), "{body:?}: {seen:?}");
    }
}

/// All that comes before the end; there must be one.
async fn until_closed(wire: &mut Wire) -> String {
    let mut text = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(DEADLINE, wire.stream.read_to_end(&mut text)).await.expect("closed in time");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn well_framed_bodies_arrive_as_they_were_sent() {
    let gate = Gate::start(POLICY, TOKENS).await;
    for (fields, body, arrives) in [
        ("content-length: 5", "hello", "hello"),
        ("content-length: 0", "", ""),
        ("content-length:5", "hello", "hello"),
        ("content-length: 005", "hello", "hello"),
        ("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("Transfer-Encoding: CHUNKED", "2\r\nhe\r\n3;x=\"y\"\r\nllo\r\n00\r\n\r\n", "hello"),
        ("transfer-encoding: chunked", "A\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n", "0123456789"),
    ] {
        let reply = ask(gate.proxy(), format!("POST /open HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}")).await;
        assert_eq!(reply.status, 200, "{fields} {body:?}");
        let seen = gate.upstream.take();
        assert_eq!((seen.len(), String::from_utf8_lossy(&seen[0].body).as_ref()), (1, arrives), "{fields} {body:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_beyond_the_bounds_are_431() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let token = "x".repeat(100_000);
    let many = "x: y\r\n".repeat(101);
    for (fields, reason) in [(format!("authorization: Bearer {token}\r\n"), "headers_too_large"), (many, "too_many_headers")] {
        for (address, target) in [(gate.proxy(), "/app"), (gate.forward_auth(), "/envoy/app")] {
            let reply = ask(address, format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
            assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (431, Some(reason)), "{target}");
        }
    }
    let fits = "x: y\r\n".repeat(97);
    assert_eq!(ask(gate.proxy(), format!("GET /open HTTP/1.1\r\nhost: a\r\n{fits}\r\n")).await.status, 200);
    // A token that fits into a head and not into a token is refused without a look.
    let long = format!("authorization: Bearer {}\r\n", "x".repeat(20_000));
    let reply = ask(gate.proxy(), format!("GET /app HTTP/1.1\r\nhost: a\r\n{long}\r\n")).await;
    assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (401, Some("invalid_credential")));
    assert!(gate.audit().await.contains(r#""cause":"malformed""#));
}
