//! Bodies go through as they come, in both directions, and no faster than the slower side takes them.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::{POLICY, TOKENS};
use crate::harness::process::Serving;
use crate::harness::upstream::Upstream;
use crate::harness::wire::Wire;
use crate::harness::{DEADLINE, Gate, ask, complete, until, write_secret};

const LARGE: usize = 20 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// Bytes that show where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from((index / 251 + index) % 251).unwrap()).collect()
}

/// An upstream that sends back what it gets as it gets it, from the first connection's first request on.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut inbox = Vec::new();
        let end = loop {
            if let Some(start) = inbox.windows(4).position(|window| window == b"\r\n\r\n") {
                break start + 4;
            }
            assert_ne!(stream.read_buf(&mut inbox).await.unwrap(), 0);
        };
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes()).await.unwrap();
        stream.write_all(&inbox[end..]).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_mebibytes_go_up_and_come_down_while_they_go() {
    let address = echo().await;
    let gate = Gate::start(&format!("{POLICY}upstream: http://{address}\n"), TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    let body = pattern(LARGE);
    wire.send(format!("POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n")).await;
    wire.send(&body[..PIECE]).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(wire.bytes(PIECE).await == body[..PIECE], "the first piece is back before the second is sent");
    for piece in body[PIECE..].chunks(PIECE) {
        wire.send(piece).await;
        assert!(wire.bytes(piece.len()).await == piece);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_mebibytes_in_chunks_arrive_whole() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let body = pattern(LARGE);
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("POST /open/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for piece in body.chunks(PIECE - 1) {
        wire.send(format!("{:x}\r\n", piece.len())).await;
        wire.send(piece).await;
        wire.send("\r\n").await;
    }
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.reply(false).await.status, 200);
    assert!(gate.upstream.take().remove(0).body == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_before_the_next_is_made() {
    let go_on = Arc::new(Notify::new());
    let waiting = Arc::clone(&go_on);
    let upstream = Upstream::serving(move |mut wire: Wire, _| {
        let waiting = Arc::clone(&waiting);
        async move {
            wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
            for event in ["data: one\n\n", "data: two\n\n"] {
                wire.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
                waiting.notified().await;
            }
            wire.send("0\r\n\r\n").await;
            Some(wire)
        }
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("GET /open/events HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = wire.response_head().await;
    assert!(head.contains("text/event-stream"), "{head}");
    assert_eq!(wire.bytes(16).await, b"B\r\ndata: one\n\n\r\n");
    go_on.notify_one();
    assert_eq!(wire.bytes(16).await, b"B\r\ndata: two\n\n\r\n");
    go_on.notify_one();
    assert_eq!(wire.bytes(5).await, b"0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_read_holds_its_client_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Gate::start(&format!("{POLICY}upstream: http://{}\n", listener.local_addr().unwrap()), TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").await;
    let (_unread, _) = listener.accept().await.unwrap();
    let (mut taken, piece) = (0, vec![0; PIECE]);
    while tokio::time::timeout(Duration::from_millis(500), wire.stream.write_all(&piece)).await.is_ok() {
        taken += PIECE;
        assert!(taken < 64 * 1024 * 1024, "the gate holds {taken} bytes that nobody reads");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_in_flight_and_ends_with_status_0() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&arrived), Arc::clone(&go_on));
    let upstream = Upstream::serving(move |mut wire: Wire, _| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").await;
            tell.notify_one();
            wait.notified().await;
            wire.send("-last").await;
            Some(wire)
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("scopegate.yaml");
    std::fs::write(&config, complete(POLICY, upstream.address)).unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    let mut serving = Serving::start(&config, &[]).await;
    let (proxy, admin) = (serving.address("proxy"), serving.address("admin"));
    let mut idle = Wire::connect(proxy).await;
    let mut wire = Wire::connect(proxy).await;
    wire.send("GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    arrived.notified().await;
    wire.response_head().await;
    assert_eq!(wire.bytes(5).await, b"first");
    serving.signal("TERM");
    until("not ready while it drains", async || {
        let reply = ask(admin, "GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await;
        (reply.status == 503 && reply.text().contains("\"draining\":true")).then_some(())
    })
    .await;
    assert_eq!(ask(admin, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200, "alive all the same");
    assert!(idle.is_closed().await, "an idle connection is closed at once");
    until("no more connections", async || tokio::net::TcpStream::connect(proxy).await.is_err().then_some(())).await;
    go_on.notify_one();
    assert_eq!(wire.bytes(5).await, b"-last");
    assert!(wire.is_closed().await, "closed after its answer");
    assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
    let audit = serving.audit();
    assert_eq!(audit.lines().count(), 1, "the audit line is written out: {audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_take_longer_than_an_answer_may() {
    let config = format!("{POLICY}upstream: {{url: \"http://UPSTREAM\", response_timeout: 1s}}\n");
    let gate = Gate::before(Upstream::start().await, &config, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        wire.send("x").await;
    }
    assert_eq!(wire.reply(false).await.status, 200);
}
