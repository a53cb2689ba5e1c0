//! What an upstream answers: an answer with two readings is none, and its connection serves nobody again.

use bytes::Bytes;
use tokio::sync::mpsc::unbounded_channel;

use super::before;
use super::peers::{dial, post, soon};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire};
use crate::harness::{Gate, ask};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";

/// An upstream that answers with these bytes and then waits for the end of the connection, and what came before that end.
async fn upstream(answer: String) -> (Gate, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let (ends, seen) = unbounded_channel();
    let upstream = Upstream::serving(move |mut wire: Wire, _: Message| {
        let (ends, answer) = (ends.clone(), answer.clone());
        async move {
            wire.send(answer).await;
            let _ = ends.send(wire.rest().await);
            None
        }
    })
    .await;
    (before(&format!("http://{}", upstream.address)).await, seen)
}

/// The status that a client of HTTP/2 gets for a request with a body.
async fn over_two(gate: &Gate) -> u16 {
    let mut client = dial(gate.proxy()).await;
    let (answer, mut body) = client.send_request(post(gate.proxy(), "/"), false).unwrap();
    body.send_data(Bytes::from_static(b"hi"), true).unwrap();
    soon(answer).await.unwrap().status().as_u16()
}

fn doubtful() -> Vec<String> {
    let framings = [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 12\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "content-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "content-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "content-length: 2, 2\r\n\r\nok",
        "content-length: +2\r\n\r\nok",
        "content-length: -2\r\n\r\nok",
        "content-length: 0x2\r\n\r\nok",
        "content-length: \r\n\r\n",
        "content-length: 99999999999999999999999\r\n\r\nok",
        "transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "transfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "transfer-encoding: identity\r\n\r\nok",
        "transfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "a: b\r\n c\r\ncontent-length: 2\r\n\r\nok",
        "content-length : 2\r\n\r\nok",
        "a: \0\r\ncontent-length: 2\r\n\r\nok",
        "a: b\rc\r\ncontent-length: 2\r\n\r\nok",
        "a b: c\r\ncontent-length: 2\r\n\r\nok",
        ": c\r\ncontent-length: 2\r\n\r\nok",
        "none\r\ncontent-length: 2\r\n\r\nok",
    ];
    let heads = framings.iter().map(|framing| format!("HTTP/1.1 200 OK\r\n{framing}"));
    let others = [
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        "HTTP/2 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 2x0 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
        "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\u{1}\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(600 * 1024)),
        format!("{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100_000)),
    ];
    heads.chain(others).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_doubt_is_502_and_the_end_of_its_connection() {
    for answer in doubtful() {
        let shown = answer.chars().take(90).collect::<String>();
        let (gate, mut ends) = upstream(answer).await;
        for request in [GET, POST] {
            let mut wire = Wire::connect(gate.proxy()).await;
            for round in 0..2 {
                wire.send(request).await;
                let reply = wire.reply(false).await;
                assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (502, Some("bad_gateway")), "{shown:?}, {round}");
                assert_eq!(soon(ends.recv()).await.unwrap(), b"", "{shown:?}: nothing more was sent on the connection");
            }
        }
        assert_eq!(over_two(&gate).await, 502, "{shown:?}");
        assert_eq!(soon(ends.recv()).await.unwrap(), b"", "{shown:?}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_never_looks_whole() {
    for answer in [
        "transfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
        "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nokok\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "content-length: 9\r\n\r\nok",
    ] {
        let upstream = Upstream::serving(move |mut wire: Wire, _: Message| async move {
            wire.send(format!("HTTP/1.1 200 OK\r\n{answer}")).await;
            None
        })
        .await;
        let gate = before(&format!("http://{}", upstream.address)).await;
        for request in [GET, POST] {
            let mut wire = Wire::connect(gate.proxy()).await;
            wire.send(request).await;
            // The head may go down with the body.
            let text = String::from_utf8(wire.rest().await).unwrap();
            let rest = text.split_once("\r\n\r\n").map_or("", |(_, rest)| rest);
            assert!(!rest.ends_with("0\r\n\r\n") && (answer.starts_with('t') || rest.len() < 9), "{answer:?}: {text:?}");
        }
        let mut client = dial(gate.proxy()).await;
        let (response, _) = client.send_request(post(gate.proxy(), "/"), true).unwrap();
        let body = soon(response).await.unwrap().into_body();
        super::peers::whole(body).await.expect_err("a stream that broke off");
    }
}

#[tokio::test]
async fn announcements_before_an_answer_are_skipped() {
    let gate = before(&format!(
        "http://{}",
        Upstream::answering(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        )
        .await
        .address
    ))
    .await;
    for request in [GET, POST] {
        let mut wire = Wire::connect(gate.proxy()).await;
        for _ in 0..2 {
            wire.send(request).await;
            assert!(wire.response_head().await.starts_with("HTTP/1.1 200"));
            assert_eq!(wire.bytes(2).await, b"ok");
        }
    }
    assert_eq!(over_two(&gate).await, 200);
}

#[tokio::test]
async fn an_answer_that_has_no_body_ends_with_its_head() {
    for (answer, method) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", "POST"),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", "POST"),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 900\r\n\r\n", "POST"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n", "HEAD"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "HEAD"),
    ] {
        let upstream = Upstream::answering(answer).await;
        let gate = before(&format!("http://{}", upstream.address)).await;
        let mut wire = Wire::connect(gate.proxy()).await;
        for _ in 0..2 {
            wire.send(format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")).await;
            let head = wire.response_head().await;
            assert!(head.starts_with(&answer[..12]), "{answer:?}: {head}");
            assert_eq!(head.contains("content-length: 900"), answer.contains("900"), "{head}");
        }
        let mut client = dial(gate.proxy()).await;
        let request = http::Request::builder().method(method).uri(format!("http://{}/", gate.proxy())).body(()).unwrap();
        let response = soon(client.send_request(request, true).unwrap().0).await.unwrap();
        assert_eq!(super::peers::whole(response.into_body()).await.unwrap().0, b"");
    }
    let until_closed = Upstream::answering("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end").await;
    let gate = before(&format!("http://{}", until_closed.address)).await;
    assert_eq!(ask(gate.proxy(), POST).await.text(), "to the end");
    assert_eq!(ask(gate.proxy(), "POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await.text(), "to the end");
}
