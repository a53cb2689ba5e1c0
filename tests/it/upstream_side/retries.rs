//! A request is sent a second time only where the upstream has done nothing with the first, or twice is as good as once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::before;
use super::peers::{Peer, dial, echo, post, soon, whole};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire};

/// Answers the first request of each connection, and reads a second one without a word before it closes.
async fn forgetful() -> Upstream {
    let known = Mutex::new(HashSet::new());
    Upstream::serving(move |mut wire: Wire, message: Message| {
        let is_first = known.lock().unwrap().insert(wire.stream.peer_addr().unwrap().port());
        async move {
            if !is_first {
                return None;
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
            if !message.first.starts_with("HEAD ") {
                wire.send("ok").await;
            }
            Some(wire)
        }
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_dies_costs_only_what_must_not_be_repeated() {
    for (method, body, expected) in [
        ("GET", "", (200, 3)),
        ("HEAD", "", (200, 3)),
        ("OPTIONS", "", (200, 3)),
        ("PUT", "", (200, 3)),
        ("DELETE", "", (200, 3)),
        ("POST", "", (502, 2)),
        ("PATCH", "", (502, 2)),
        ("POST", "hi", (502, 2)),
        ("PUT", "hi", (502, 2)),
        ("GET", "hi", (502, 2)),
    ] {
        let upstream = forgetful().await;
        let gate = before(&format!("http://{}", upstream.address)).await;
        let mut wire = Wire::connect(gate.proxy()).await;
        let request = format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        wire.send(&request).await;
        assert_eq!(wire.reply(method == "HEAD").await.status, 200);
        wire.send(&request).await;
        let status = wire.reply(method == "HEAD").await.status;
        assert_eq!((status, upstream.take().len()), expected, "{method} {body}");

        let gate = before(&format!("http://{}", upstream.address)).await;
        let mut client = dial(gate.proxy()).await;
        let mut status = 0;
        for _ in 0..2 {
            let request = Request::builder().method(method).uri(format!("http://{}/", gate.proxy())).body(()).unwrap();
            let (answer, mut out) = client.send_request(request, body.is_empty()).unwrap();
            if !body.is_empty() {
                out.send_data(Bytes::from(body), true).unwrap();
            }
            let answer = soon(answer).await.unwrap();
            status = answer.status().as_u16();
            whole(answer.into_body()).await.unwrap();
        }
        assert_eq!((status, upstream.take().len()), expected, "{method} {body} over HTTP/2");
    }
}

#[tokio::test]
async fn a_new_connection_that_dies_is_not_tried_twice() {
    let upstream = Upstream::serving(|_: Wire, _: Message| async { None }).await;
    let gate = before(&format!("http://{}", upstream.address)).await;
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"] {
        assert_eq!(crate::harness::ask(gate.proxy(), request).await.status, 502);
        assert_eq!(upstream.take().len(), 1);
    }
    let mut client = dial(gate.proxy()).await;
    let answer = client.send_request(Request::get(format!("http://{}/", gate.proxy())).body(()).unwrap(), true).unwrap().0;
    assert_eq!((soon(answer).await.unwrap().status().as_u16(), upstream.take().len()), (502, 1));
}

/// Resets the first `count` streams with REFUSED_STREAM once it has seen some of their body, and echoes the others.
async fn refusing(count: usize) -> (Peer, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let peer = Peer::serving(move |request, mut reply| {
        let turn = counted.fetch_add(1, SeqCst);
        async move {
            if turn >= count {
                return echo(request, reply).await;
            }
            let _ = request.into_body().data().await;
            reply.send_reset(Reason::REFUSED_STREAM);
        }
    })
    .await;
    (peer, asked)
}

async fn upload(gate: std::net::SocketAddr, pieces: &[Bytes]) -> (u16, Vec<u8>) {
    let mut client = dial(gate).await;
    let (answer, mut body) = client.send_request(post(gate, "/a.B/C"), false).unwrap();
    for piece in pieces {
        body.send_data(piece.clone(), false).unwrap();
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("end", "yes".parse().unwrap());
    body.send_trailers(trailers).unwrap();
    let answer = soon(answer).await.unwrap();
    (answer.status().as_u16(), whole(answer.into_body()).await.unwrap().0)
}

#[tokio::test]
async fn a_refused_stream_is_asked_for_once_more_with_all_of_its_body() {
    let pieces = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let (peer, asked) = refusing(1).await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    assert_eq!(upload(gate.proxy(), &pieces).await, (200, b"onetwo".to_vec()));
    assert_eq!(asked.load(SeqCst), 2);
    let (peer, asked) = refusing(9).await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    assert_eq!(upload(gate.proxy(), &pieces).await.0, 502);
    assert_eq!(asked.load(SeqCst), 2, "once, and not for ever");
}

#[tokio::test]
async fn a_stream_that_failed_in_another_way_is_not_asked_for_again() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let peer = Peer::serving(move |_, mut reply| {
            counted.fetch_add(1, SeqCst);
            async move { reply.send_reset(reason) }
        })
        .await;
        let gate = before(&format!("h2c://{}", peer.address)).await;
        assert_eq!(upload(gate.proxy(), &[Bytes::from_static(b"one")]).await.0, 502);
        assert_eq!(asked.load(SeqCst), 1, "{reason:?}");
    }
}

/// An HTTP/2 upstream by hand: takes a request and sends a GOAWAY that counts in what is up to `last`, then closes. Its second connection
/// is served; gives how many connections there were.
async fn leaving(last: u32) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        counted.fetch_add(1, SeqCst);
        leave(stream, last).await;
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, SeqCst);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, reply))) = connection.accept().await {
                    tokio::spawn(echo(request, reply));
                }
            });
        }
    });
    (address, connections)
}

async fn leave(mut stream: TcpStream, last: u32) {
    const HEADERS: u8 = 1;
    // Settings of its own, and the acknowledgement of the other side's.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    let mut goaway = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    goaway.extend(last.to_be_bytes());
    goaway.extend(0u32.to_be_bytes());
    stream.write_all(&goaway).await.unwrap();
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn a_goaway_that_leaves_a_request_out_sends_it_elsewhere() {
    let (address, connections) = leaving(0).await;
    let gate = before(&format!("h2c://{address}")).await;
    assert_eq!(upload(gate.proxy(), &[Bytes::from_static(b"one")]).await, (200, b"one".to_vec()));
    assert_eq!(connections.load(SeqCst), 2);
}

#[tokio::test]
async fn a_goaway_that_counts_a_request_in_is_no_leave_to_repeat_it() {
    let (address, connections) = leaving(1).await;
    let gate = before(&format!("h2c://{address}")).await;
    assert_eq!(upload(gate.proxy(), &[Bytes::from_static(b"one")]).await.0, 502);
    assert_eq!(connections.load(SeqCst), 1);
    assert_eq!(upload(gate.proxy(), &[Bytes::from_static(b"two")]).await.0, 200, "the next one goes over a new connection");
}
