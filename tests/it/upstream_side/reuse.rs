//! An upstream connection serves another request only after a whole request and a whole answer.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::before;
use super::peers::{dial, post, soon, whole};
use crate::harness::Gate;
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The client's port of every request's connection.
type Ports = Arc<Mutex<Vec<u16>>>;

/// An upstream that closes nothing, and answers the first request of each connection with these bytes, the others plainly.
async fn upstream(first: &'static str) -> (Gate, Ports) {
    let ports = Ports::default();
    let book = Arc::clone(&ports);
    let upstream = Upstream::serving(move |mut wire: Wire, _: Message| {
        let book = Arc::clone(&book);
        async move {
            let port = wire.stream.peer_addr().unwrap().port();
            let again = book.lock().unwrap().contains(&port);
            book.lock().unwrap().push(port);
            wire.send(if again { OK } else { first }).await;
            Some(wire)
        }
    })
    .await;
    (before(&format!("http://{}", upstream.address)).await, ports)
}

/// Three requests of one client, with a body over HTTP/1.1, without one, and over HTTP/2; how many connections the upstream saw for each.
async fn connections(first: &'static str) -> [usize; 3] {
    let mut counts = [0; 3];
    for (count, request) in counts.iter_mut().zip(["POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"])
    {
        let (gate, ports) = upstream(first).await;
        let mut wire = Wire::connect(gate.proxy()).await;
        for _ in 0..3 {
            wire.send(request).await;
            assert_eq!(wire.reply(false).await.text(), "ok", "{first:?}");
        }
        *count = distinct(&ports);
    }
    let (gate, ports) = upstream(first).await;
    let mut client = dial(gate.proxy()).await;
    for _ in 0..3 {
        let (answer, mut body) = client.send_request(post(gate.proxy(), "/"), false).unwrap();
        body.send_data(Bytes::from_static(b"hi"), true).unwrap();
        assert_eq!(whole(soon(answer).await.unwrap().into_body()).await.unwrap().0, b"ok", "{first:?}");
    }
    counts[2] = distinct(&ports);
    counts
}

fn distinct(ports: &Ports) -> usize {
    let mut ports = ports.lock().unwrap().clone();
    assert_eq!(ports.len(), 3);
    ports.sort_unstable();
    ports.dedup();
    ports.len()
}

#[tokio::test]
async fn a_whole_answer_leaves_its_connection_to_the_next_request() {
    assert_eq!(connections(OK).await, [1, 1, 1]);
    assert_eq!(connections("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await, [1, 1, 1]);
    assert_eq!(connections("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok").await, [1, 1, 1]);
}

#[tokio::test]
async fn an_answer_that_is_the_last_leaves_none() {
    for first in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nconnection: x-a, Close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
    ] {
        assert_eq!(connections(first).await, [3, 3, 3], "{first:?}");
    }
}

#[tokio::test]
async fn what_stands_behind_an_answer_answers_nobody() {
    for first in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    ] {
        assert_eq!(connections(first).await, [3, 3, 3], "{first:?}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_leaves_none() {
    // Its connections serve one request each: whoever were given a second one would have no answer.
    let upstream = Upstream::heads(|mut wire: Wire, _| async move {
        wire.send(OK).await;
        wire.rest().await;
    })
    .await;
    let gate = before(&format!("http://{}", upstream.address)).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    for _ in 0..3 {
        wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nhi").await;
        assert!(wire.response_head().await.starts_with("HTTP/1.1 200"));
        assert_eq!(wire.bytes(2).await, b"ok");
        wire.send("hi").await;
    }
    let mut client = dial(gate.proxy()).await;
    for _ in 0..3 {
        let (answer, mut body) = client.send_request(post(gate.proxy(), "/"), false).unwrap();
        body.send_data(Bytes::from_static(b"hi"), false).unwrap();
        assert_eq!(whole(soon(answer).await.unwrap().into_body()).await.unwrap().0, b"ok");
        drop(body.send_data(Bytes::from_static(b"hi"), true));
    }
    assert_eq!(upstream.take().len(), 6);
}

#[tokio::test]
async fn an_answer_that_its_client_does_not_want_leaves_none() {
    let upstream = Upstream::heads(|mut wire: Wire, _| async move {
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nok").await;
        wire.rest().await;
    })
    .await;
    let gate = before(&format!("http://{}", upstream.address)).await;
    let mut client = dial(gate.proxy()).await;
    for _ in 0..3 {
        let (answer, _) = client.send_request(post(gate.proxy(), "/"), true).unwrap();
        let mut body = soon(answer).await.unwrap().into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), "ok");
    }
    assert_eq!(upstream.take().len(), 3);
}
