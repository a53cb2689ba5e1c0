//! Whoever reads slowly slows the writer down, and fills nothing in between but bounded buffers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use h2::SendStream;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::before;
use super::peers::{Peer, dial, post, soon, whole};
use crate::harness::until;
use crate::harness::upstream::Upstream;
use crate::harness::wire::Wire;

const PIECE: usize = 64 * 1024;
const ALL: usize = 64 * 1024 * 1024;
/// The system's own buffers on three connections, and the gate's.
const BETWEEN: usize = 32 * 1024 * 1024;

/// Waits until a count stands still; it must have begun and be far from its end.
async fn stalled(count: &AtomicUsize, what: &str) {
    let (mut last, mut still) = (0, 0);
    until(what, async || {
        let now = count.load(SeqCst);
        still = if now > 0 && now == last { still + 1 } else { 0 };
        last = now;
        (still > 60).then_some(())
    })
    .await;
    assert!(count.load(SeqCst) < BETWEEN, "{what}: {} bytes are on their way", count.load(SeqCst));
}

/// Sends [`ALL`] bytes as the other side makes room.
async fn pour(mut stream: SendStream<Bytes>, sent: Arc<AtomicUsize>) {
    let mut left = ALL;
    while left > 0 {
        stream.reserve_capacity(PIECE.min(left));
        let Some(Ok(room)) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else { return };
        let piece = room.min(left);
        left -= piece;
        sent.fetch_add(piece, SeqCst);
        stream.send_data(Bytes::from(vec![7; piece]), left == 0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_its_reader_over_http1() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let upstream = Upstream::heads(move |mut wire: Wire, _| {
        let counted = Arc::clone(&counted);
        async move {
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {ALL}\r\n\r\n")).await;
            for _ in 0..ALL / PIECE {
                wire.send(vec![7; PIECE]).await;
                counted.fetch_add(PIECE, SeqCst);
            }
        }
    })
    .await;
    let gate = before(&format!("http://{}", upstream.address)).await;
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"] {
        sent.store(0, SeqCst);
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(request).await;
        assert!(wire.response_head().await.starts_with("HTTP/1.1 200"));
        stalled(&sent, request).await;
        // What came with the head, and the rest.
        let mut left = ALL;
        while left > 0 {
            left -= wire.bytes(PIECE.min(left)).await.len();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_waits_for_its_reader_over_http1() {
    let (go, gone) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicUsize::new(0)));
    let waits = Arc::clone(&go);
    let upstream = Upstream::heads(move |mut wire: Wire, _| {
        let waits = Arc::clone(&waits);
        async move {
            waits.notified().await;
            let mut left = ALL;
            while left > 0 {
                left -= wire.bytes(PIECE.min(left)).await.len();
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let gate = before(&format!("http://{}", upstream.address)).await;
    let wire = Wire::connect(gate.proxy()).await;
    let (mut from, mut to) = wire.stream.into_split();
    let counted = Arc::clone(&gone);
    tokio::spawn(async move {
        to.write_all(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {ALL}\r\n\r\n").as_bytes()).await.unwrap();
        for _ in 0..ALL / PIECE {
            to.write_all(&[7; PIECE]).await.unwrap();
            counted.fetch_add(PIECE, SeqCst);
        }
        std::future::pending::<()>().await;
    });
    stalled(&gone, "an upload").await;
    go.notify_one();
    let mut answer = [0; 12];
    soon(from.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(gone.load(SeqCst), ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_its_reader_over_http2_and_holds_up_nobody_else() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let peer = Peer::serving(move |request, mut reply| {
        let counted = Arc::clone(&counted);
        async move {
            let is_large = request.uri().path() == "/large";
            let stream = reply.send_response(Response::new(()), !is_large).unwrap();
            if is_large {
                pour(stream, counted).await;
            }
        }
    })
    .await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut slow = dial(gate.proxy()).await;
    let answer = soon(slow.send_request(post(gate.proxy(), "/large"), true).unwrap().0).await.unwrap();
    stalled(&sent, "an answer").await;
    let mut other = dial(gate.proxy()).await;
    for _ in 0..20 {
        assert_eq!(soon(other.send_request(post(gate.proxy(), "/small"), true).unwrap().0).await.unwrap().status(), 200);
    }
    assert_eq!(whole(answer.into_body()).await.unwrap().0.len(), ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_waits_for_its_reader_over_http2() {
    let go = Arc::new(tokio::sync::Notify::new());
    let waits = Arc::clone(&go);
    let peer = Peer::serving(move |request, mut reply| {
        let waits = Arc::clone(&waits);
        async move {
            waits.notified().await;
            let count = whole(request.into_body()).await.unwrap().0.len();
            reply.send_response(Response::builder().header("count", count).body(()).unwrap(), true).unwrap();
        }
    })
    .await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut client = dial(gate.proxy()).await;
    let (answer, body) = client.send_request(post(gate.proxy(), "/"), false).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    tokio::spawn(pour(body, Arc::clone(&sent)));
    stalled(&sent, "an upload").await;
    go.notify_one();
    assert_eq!(soon(answer).await.unwrap().headers()["count"], ALL.to_string().as_str());
}
