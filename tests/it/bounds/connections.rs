//! How many connections there may be, and how long one may be of no use.

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::{GET, before, counted, gate, serves};
use crate::harness::frames::{TEXT, agreed, frame as websocket};
use crate::harness::http2::{DATA, END_HEADERS, End, GOAWAY, HEADERS, Http2, PING, block, frame, get};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Wire;
use crate::harness::{DEADLINE, Gate, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_beyond_the_bound_is_closed_at_once_and_its_place_is_free_again_later() {
    let gate = gate("connections: 2").await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(GET).await;
        assert_eq!(wire.reply(false).await.status, 200);
        kept.push(wire);
    }
    let mut beyond = Wire::connect(gate.proxy()).await;
    assert!(beyond.is_closed().await);
    counted(&gate, "connections", 1.0).await;
    drop(kept.pop());
    until("a free place", async || {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(GET).await;
        let mut first = [0];
        matches!(wire.stream.read(&mut first).await, Ok(1)).then_some(())
    })
    .await;
    kept[0].send(GET).await;
    assert_eq!(kept[0].reply(false).await.status, 200, "the first is served all along");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_quietly_before_and_after_its_requests() {
    for (behind, long_way) in [("", false), ("content-length: 2\r\n\r\nhi", true)] {
        let gate = gate("idle: 1s").await;
        let mut wire = Wire::connect(gate.proxy()).await;
        let request = if long_way { format!("POST /open/x HTTP/1.1\r\nhost: a\r\n{behind}") } else { GET.to_owned() };
        for _ in 0..3 {
            wire.send(&request).await;
            assert_eq!(wire.reply(false).await.status, 200);
        }
        assert!(wire.is_closed().await, "something was said");
        counted(&gate, "idle", 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_told_to_go_and_goes() {
    let gate = gate("idle: 300ms").await;
    let mut client = Http2::open(gate.proxy()).await;
    client.send(get(1, "/open/x")).await;
    client.next_of(GOAWAY).await.expect("a GOAWAY");
    counted(&gate, "idle", 1.0).await;
    // It answers no PING, and is closed all the same.
    while let Some(frame) = client.next().await {
        assert!(frame.kind == PING || frame.kind == GOAWAY, "{frame:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_an_answer_on_its_way_is_not_idle() {
    let upstream = Upstream::serving(async |mut wire: Wire, _| {
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
        wire.send("1\r\nb\r\n0\r\n\r\n").await;
        Some(wire)
    })
    .await;
    let gate = before(upstream, "idle: 1s").await;
    for request in [GET, "POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(request).await;
        assert_eq!(wire.reply(false).await.text(), "ab", "{request}");
    }
    let mut client = Http2::open(gate.proxy()).await;
    client.send(get(1, "/open/x")).await;
    let mut data = Vec::new();
    while data != b"ab" {
        let frame = client.next().await.expect("the answer whole");
        assert_ne!(frame.kind, GOAWAY, "{data:?}");
        if frame.kind == DATA {
            data.extend(frame.payload);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_an_open_tunnel_is_not_idle() {
    let upstream = Upstream::serving(async |mut wire: Wire, message| {
        wire.send(agreed(&message)).await;
        let (_, payload, _) = wire.frame().await?;
        wire.send(websocket(TEXT, &payload, false)).await;
        Some(wire)
    })
    .await;
    let gate = before(upstream, "idle: 1s").await;
    let mut client = Http2::open(gate.proxy()).await;
    let fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a"), (":path", "/open/x")];
    let fields = [&fields[..], &[("sec-websocket-version", "13")]].concat();
    client.send(frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
    assert_eq!(client.end(1).await, End::Status(200));
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    client.send(frame(DATA, 0, 1, &websocket(TEXT, b"still there", true))).await;
    let frame = client.next_of(DATA).await.expect("an open tunnel");
    assert_eq!(frame.payload, websocket(TEXT, b"still there", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_of_its_answer_loses_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut wire = Wire::new(stream);
                wire.request().await;
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
                wire.send(vec![0; 100_000_000]).await;
            });
        }
    });
    let gate = Gate::start(&format!("{}bounds: {{send_idle: 300ms}}\nupstream: http://{address}\n", super::POLICY), super::TOKENS).await;
    let mut waiting = Vec::new();
    for request in [GET, "POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(request).await;
        assert!(wire.response_head().await.starts_with("HTTP/1.1 200 "));
        waiting.push(wire);
    }
    let mut client = Http2::with(gate.proxy(), &[(4, 0x7FFF_FFFF)]).await;
    client.send([get(1, "/open/x"), frame(8, 0, 0, &0x7FFF_0000_u32.to_be_bytes())].concat()).await;
    counted(&gate, "send_idle", 3.0).await;
    for mut wire in waiting {
        let mut taken = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, wire.stream.read_to_end(&mut taken)).await.expect("closed in time");
        assert!(taken.len() < 100_000_000, "all of it came");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed_after_the_handshakes_time() {
    let gate = gate("handshake_time: 300ms").await;
    assert!(Wire::connect(gate.proxy()).await.is_closed().await);
    let mut begun = Wire::connect(gate.proxy()).await;
    begun.send("PRI * HTTP/2").await;
    assert!(begun.is_closed().await);
    counted(&gate, "handshake_time", 2.0).await;
    serves(&gate).await;
}
