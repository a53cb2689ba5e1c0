//! How large a head may be, and how long it may take.

use std::time::Duration;

use super::{GET, before, counted, gate, serves};
use crate::harness::ask;
use crate::harness::http2::{CONTINUATION, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, Http2, block, frame, get};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Wire;

#[tokio::test(flavor = "multi_thread")]
async fn a_head_a_field_or_a_target_too_many_is_refused_by_its_own_bound() {
    let gate = gate("head: 1KiB, headers: 10, target: 256B").await;
    let ask = async |target: &str, fields: &str| ask(gate.proxy(), format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
    let long = |length: usize| format!("/open/{}", "x".repeat(length - 6));
    for (target, fields, status, reason) in [
        ("/open/x".to_owned(), format!("x: {}\r\n", "y".repeat(1024)), 431, "headers_too_large"),
        ("/open/x".to_owned(), "x: y\r\n".repeat(10), 431, "too_many_headers"),
        (long(257), String::new(), 414, "target_too_long"),
        (long(2000), String::new(), 414, "target_too_long"),
    ] {
        let reply = ask(&target, &fields).await;
        assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (status, Some(reason)), "{target} {fields}");
        assert_eq!((reply.header("connection").as_deref(), reply.header("content-type").as_deref()), (Some("close"), Some("application/json")));
    }
    for (target, fields) in [(long(256), String::new()), ("/open/x".to_owned(), "x: y\r\n".repeat(9)), ("/open/x".to_owned(), "x: y\r\n".repeat(5))] {
        assert_eq!(ask(&target, &fields).await.status, 200, "{target} {fields}");
    }
    counted(&gate, "head", 1.0).await;
    counted(&gate, "headers", 1.0).await;
    counted(&gate, "target", 2.0).await;
    assert_eq!(gate.upstream.take().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_above_the_defaults_hold_too() {
    let gate = gate("head: 1MiB, headers: 5000, target: 60KiB").await;
    let reply = ask(gate.proxy(), format!("GET /open/x?{} HTTP/1.1\r\nhost: a\r\n{}\r\n", "x".repeat(60_000), "x: y\r\n".repeat(4_000))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = ask(gate.proxy(), format!("GET /open/x HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(900_000))).await;
    assert_eq!(reply.status, 200);
    let seen = gate.upstream.take();
    assert_eq!((seen.len(), seen[0].headers.iter().filter(|(name, _)| name == "x").count()), (2, 4_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heads_of_http2_have_the_same_bounds() {
    let gate = gate("head: 1KiB, headers: 10, target: 256B").await;
    let stream = tokio::net::TcpStream::connect(gate.proxy()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut ask = async |target: String, fields: Vec<(String, String)>| {
        let request = http::Request::builder().uri(format!("http://a{target}"));
        let request = fields.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = client.send_request(request.body(()).unwrap(), true).unwrap().0.await.unwrap();
        (response.status().as_u16(), response.headers().get("x-scopegate-reason").map(|reason| reason.to_str().unwrap().to_owned()))
    };
    let many = |count: usize| (0..count).map(|index| (format!("x-{index}"), "y".to_owned())).collect::<Vec<_>>();
    assert_eq!(ask("/open/x".into(), many(9)).await.0, 200);
    assert_eq!(ask("/open/x".into(), many(11)).await, (431, Some("too_many_headers".into())));
    assert_eq!(ask("/open/x".into(), vec![("x".into(), "y".repeat(1000))]).await, (431, Some("headers_too_large".into())));
    assert_eq!(ask(format!("/open/{}", "x".repeat(251)), Vec::new()).await, (414, Some("target_too_long".into())));
    // Far beyond it is refused before it is kept.
    assert_eq!(ask("/open/x".into(), vec![("x".into(), "y".repeat(3000))]).await.0, 431);
    counted(&gate, "head", 1.0).await;
    counted(&gate, "headers", 1.0).await;
    counted(&gate, "target", 1.0).await;
    assert_eq!(gate.upstream.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_byte_by_byte_is_read_like_any_other() {
    let gate = gate("headers: 200").await;
    let head = format!("GET /open/x HTTP/1.1\r\nhost: a\r\n{}\r\n", "x-some-name: some value\r\n".repeat(100));
    let mut wire = Wire::connect(gate.proxy()).await;
    for byte in head.as_bytes() {
        wire.send([*byte]).await;
    }
    assert_eq!(wire.reply(false).await.status, 200);
    assert_eq!(gate.upstream.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_in_its_time_is_408() {
    let gate = gate("head_time: 300ms, idle: 1h").await;
    for first in [true, false] {
        for begun in ["GET /open/x HTTP/1.1\r\nhost: a\r\nx: ", "G", "GET /open/x HTTP/1.1\r\nhost: a\r\n\r"] {
            let mut wire = Wire::connect(gate.proxy()).await;
            if !first {
                wire.send(GET).await;
                assert_eq!(wire.reply(false).await.status, 200);
            }
            wire.send(begun).await;
            let reply = wire.reply(false).await;
            assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (408, Some("request_timeout")), "{begun:?}");
            assert_eq!(reply.text(), r#"{"error":"invalid_request","message":"Request was not sent in time"}"#);
            assert!(wire.is_closed().await);
        }
    }
    counted(&gate, "head_time", 6.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_now_and_then_do_not_prolong_a_heads_time() {
    let gate = gate("head_time: 400ms").await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("GET /open/x HTTP/1.1\r\nhost: a\r\nx: ").await;
    let (reader, mut writer) = wire.stream.into_split();
    let trickle = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut reader = tokio::io::BufReader::new(reader);
    let mut line = String::new();
    let read = tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line);
    tokio::time::timeout(crate::harness::DEADLINE, read).await.expect("an answer in time").unwrap();
    assert_eq!(line, "HTTP/1.1 408 Request Timeout\r\n");
    tokio::time::timeout(crate::harness::DEADLINE, trickle).await.expect("an end in time").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_behind_a_request_has_its_time_from_the_answer_on() {
    let upstream = Upstream::serving(async |mut wire: Wire, _| {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        Some(wire)
    })
    .await;
    let gate = before(upstream, "head_time: 1s").await;
    for request in [GET, "POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(format!("{request}GET /open/x HTT")).await;
        assert_eq!(wire.reply(false).await.status, 200);
        wire.send("P/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(wire.reply(false).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_of_http2_that_does_not_come_in_its_time_ends_its_connection() {
    let gate = gate("head_time: 300ms").await;
    let fields = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/open/x")]);
    let whole = get(3, "/open/x");
    for begun in [
        frame(HEADERS, END_STREAM, 3, &fields),
        [frame(HEADERS, END_STREAM, 3, &fields[..5]), frame(CONTINUATION, 0, 3, &fields[5..7])].concat(),
        whole[..4].to_vec(),
        whole[..12].to_vec(),
        whole[..whole.len() - 1].to_vec(),
    ] {
        let mut client = Http2::open(gate.proxy()).await;
        client.send([get(1, "/open/x"), begun.clone()].concat()).await;
        assert_eq!(client.goaway().await, Some(ENHANCE_YOUR_CALM), "{begun:?}");
    }
    counted(&gate, "head_time", 5.0).await;
    let mut client = Http2::open(gate.proxy()).await;
    client.send(frame(HEADERS, END_STREAM, 1, &fields[..5])).await;
    client.send(frame(CONTINUATION, END_HEADERS, 1, &fields[5..])).await;
    assert_eq!(client.end(1).await, crate::harness::http2::End::Status(200));
    serves(&gate).await;
}
