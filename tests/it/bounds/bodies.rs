//! How long a request's body may take, over either protocol.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::{GET, counted, gate, serves};
use crate::harness::http2::{DATA, END_HEADERS, End, HEADERS, Http2, block, frame, post};
use crate::harness::wire::Wire;
use crate::harness::{DEADLINE, Gate, ask, until};

/// An upstream that answers nothing: what each connection brought, and whether it has ended.
async fn silent() -> (std::net::SocketAddr, Arc<Mutex<Vec<(Vec<u8>, bool)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::<(Vec<u8>, bool)>::new()));
    let book = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let index = {
                let mut book = book.lock().unwrap();
                book.push((Vec::new(), false));
                book.len() - 1
            };
            let book = Arc::clone(&book);
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    book.lock().unwrap()[index].0.extend_from_slice(&bytes[..count]);
                }
                book.lock().unwrap()[index].1 = true;
            });
        }
    });
    (address, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_408_and_the_end_of_both_connections() {
    let (address, seen) = silent().await;
    let gate = Gate::start(&format!("{}bounds: {{body_idle: 300ms}}\nupstream: http://{address}\n", super::POLICY), super::TOKENS).await;
    for (framing, body) in [("content-length: 100", "half"), ("transfer-encoding: chunked", "4\r\nhalf\r\n")] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(format!("POST /open/x HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}")).await;
        let reply = wire.reply(false).await;
        assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (408, Some("request_timeout")), "{framing}");
        assert_eq!(reply.header("connection").as_deref(), Some("close"));
        assert!(wire.is_closed().await);
    }
    until("the upstream's connections end", async || seen.lock().unwrap().iter().all(|(_, ended)| *ended).then_some(())).await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2, "a connection whose request was cut short is used again");
    assert!(seen.iter().all(|(bytes, _)| String::from_utf8_lossy(bytes).contains("half")));
    counted(&gate, "body_idle", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_http2_that_stops_is_408_and_its_connection_goes_on() {
    let gate = gate("body_idle: 300ms").await;
    let mut client = Http2::open(gate.proxy()).await;
    client.send([post(1, "/open/x"), frame(DATA, 0, 1, b"half")].concat()).await;
    assert_eq!(client.end(1).await, End::Status(0));
    counted(&gate, "body_idle", 1.0).await;
    client.send([post(3, "/open/x"), frame(DATA, 1, 3, b"whole")].concat()).await;
    assert_eq!(client.end(3).await, End::Status(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_to_be_inspected_has_the_same_time() {
    let policy = "routes: {POST /rpc: {tools: {read: app:use}}}\nbounds: {body_idle: 300ms}\n";
    let gate = Gate::start(policy, super::TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("POST /rpc HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token-of-the-app-1\r\ncontent-length: 100\r\n\r\n{\"js").await;
    assert_eq!(wire.reply(false).await.status, 408);
    assert!(wire.is_closed().await && gate.upstream.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_keeps_moving_has_all_the_time_it_needs() {
    let gate = gate("body_idle: 2s").await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        wire.send("x").await;
    }
    assert_eq!(wire.reply(false).await.status, 200);
    serves(&gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_not_blamed_for_an_upstream_that_does_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let mut wire = Wire::new(stream);
        wire.request().await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        std::future::pending::<()>().await;
    });
    let gate = Gate::start(&format!("{}bounds: {{body_idle: 2s}}\nupstream: http://{address}\n", super::POLICY), super::TOKENS).await;
    let body = "x".repeat(20_000_000);
    assert_eq!(ask(gate.proxy(), format!("POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_both_directions_may_be_silent_once_it_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let _ = stream.read(&mut head).await;
                let mut wire = Wire::new(stream);
                wire.send("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
                tokio::time::sleep(Duration::from_secs(3)).await;
                wire.send("1\r\nb\r\n0\r\n\r\n").await;
                std::future::pending::<()>().await;
            });
        }
    });
    let gate = Gate::start(&format!("{}bounds: {{body_idle: 1s}}\nupstream: http://{address}\n", super::POLICY), super::TOKENS).await;
    let mut client = Http2::open(gate.proxy()).await;
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/open/x"), ("content-type", "application/grpc")];
    client.send([frame(HEADERS, END_HEADERS, 1, &block(&fields)), frame(DATA, 0, 1, b"asked")].concat()).await;
    let mut data = Vec::new();
    while data != b"ab" {
        let frame = tokio::time::timeout(DEADLINE, client.next_of(DATA)).await.unwrap().expect("the answer whole");
        data.extend(frame.payload);
    }
    drop(client);
    assert_eq!(ask(gate.proxy(), GET).await.status, 200);
}
