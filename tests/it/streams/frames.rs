//! What goes through a tunnel goes through unchanged; what is no frame ends it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::frames::{BINARY, CLOSE, TEXT, UPGRADE, agreed, frame};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire};
use crate::harness::{DEADLINE, Gate, metric, until};

const ROUTES: &str = "routes: {/ws: public}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const MEGABYTE: usize = 1024 * 1024;

async fn open(gate: &Gate) -> Wire {
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n")).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    wire
}

/// An upstream that agrees, sends this once it is spoken to, and keeps what it hears.
async fn upstream(says: Vec<u8>) -> (Upstream, Arc<Mutex<Vec<u8>>>) {
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let book = Arc::clone(&heard);
    let upstream = Upstream::serving(move |mut wire: Wire, request: Message| {
        let (says, book) = (says.clone(), Arc::clone(&book));
        async move {
            wire.send(agreed(&request)).await;
            let (mut from, mut to) = wire.stream.into_split();
            from.readable().await.unwrap();
            let saying = tokio::spawn(async move {
                let _ = to.write_all(&says).await;
                to
            });
            let mut piece = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut piece).await {
                book.lock().unwrap().extend_from_slice(&piece[..count]);
            }
            drop(saying.await);
            None
        }
    })
    .await;
    (upstream, heard)
}

/// At least `size` bytes of frames: fragments of all lengths with control frames between them, the reserved bits of an extension set.
fn conversation(size: usize, masked: bool) -> Vec<u8> {
    let mut random = vec![0; size];
    getrandom::fill(&mut random).unwrap();
    let (mut bytes, mut rest, mut round) = (Vec::with_capacity(size + size / 8), &random[..], 0);
    while !rest.is_empty() {
        let length = [1, 125, 126, 3000, 0xFFFF, 0x1_0000, 300_000][round % 7].min(rest.len());
        let (piece, left) = rest.split_at(length);
        let mut fragment = frame([BINARY, 0][usize::from(round % 3 > 0)], piece, masked);
        // No final bit but on each third, and RSV1 as of permessage-deflate on the first.
        fragment[0] = fragment[0] & 0x0F | if round % 3 == 2 { 0x80 } else { 0 } | if round % 3 == 0 { 0x40 } else { 0 };
        bytes.extend(fragment);
        if round % 2 == 0 {
            bytes.extend(frame([9, 10][round % 4 / 2], &piece[..piece.len().min(125)], masked));
        }
        (rest, round) = (left, round + 1);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_each_way_arrive_byte_for_byte() {
    let (up, down) = (conversation(10 * MEGABYTE, true), conversation(10 * MEGABYTE, false));
    let (upstream, heard) = upstream(down.clone()).await;
    let gate = Gate::before(upstream, ROUTES, TOKENS).await;
    let wire = open(&gate).await;
    let (from, mut to) = wire.stream.into_split();
    let sent = up.clone();
    let sending = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to
    });
    let mut reader = Wire::new(tokio::io::join(from, tokio::io::sink()));
    let mut got = Vec::new();
    while got.len() < down.len() {
        got.extend(reader.bytes((down.len() - got.len()).min(MEGABYTE)).await);
    }
    assert!(got == down, "the client got other bytes");
    sending.await.unwrap();
    until("the upstream has it all", async || (heard.lock().unwrap().len() >= up.len()).then_some(())).await;
    assert!(*heard.lock().unwrap() == up, "the upstream got other bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_ends_the_tunnel_and_never_reaches_the_upstream() {
    let good = frame(TEXT, b"hello", true);
    for bad in [
        frame(BINARY, b"not masked", false),
        // 2^63 bytes.
        vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
        b"GET /ws HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
    ] {
        let (upstream, heard) = upstream(Vec::new()).await;
        let gate = Gate::before(upstream, ROUTES, TOKENS).await;
        let mut wire = open(&gate).await;
        wire.send([&good[..], &bad].concat()).await;
        assert_eq!(limited(&mut wire).await, Some((CLOSE, b"\x03\xeamalformed frame".to_vec(), false)), "1002");
        wire.stream.shutdown().await.unwrap();
        assert!(wire.is_closed().await);
        // The upstream was told in a frame of its own, masked as a client's are.
        let told = until("the upstream's part", async || Some(heard.lock().unwrap().clone()).filter(|heard| heard.len() >= good.len() + 18)).await;
        assert_eq!((&told[..good.len()], told[good.len()], told[good.len() + 1]), (&good[..], 0x88, 0x80 | 12));
        assert_eq!(told.len(), good.len() + 18, "nothing else");
        assert_eq!(metric(&gate.metrics().await, "scopegate_streams_ended_total{cause=\"protocol\"}"), Some(1.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_sends_no_frames_is_an_upstream_gone() {
    let (upstream, _heard) = upstream([frame(TEXT, b"hello", false), frame(TEXT, b"masked", true)].concat()).await;
    let gate = Gate::before(upstream, ROUTES, TOKENS).await;
    let mut wire = open(&gate).await;
    wire.send(frame(TEXT, b"go on", true)).await;
    assert_eq!(limited(&mut wire).await, Some((TEXT, b"hello".to_vec(), false)));
    assert_eq!(limited(&mut wire).await, Some((CLOSE, b"\x03\xf3upstream gone".to_vec(), false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_under_way_is_brought_to_its_end_before_the_close() {
    let (upstream, heard) = upstream(Vec::new()).await;
    let gate = Gate::before(upstream, &format!("{ROUTES}bounds: {{tunnel_idle: 300ms}}\n"), TOKENS).await;
    let mut wire = open(&gate).await;
    let message = frame(BINARY, &[7; 1000], true);
    let (first, rest) = message.split_at(500);
    wire.send(first).await;
    // The gate has nothing to say in the middle of the client's frame, but can say it to the client.
    assert_eq!(limited(&mut wire).await, Some((CLOSE, b"\x03\xe9idle".to_vec(), false)));
    wire.send(rest).await;
    let told = until("the frame", async || Some(heard.lock().unwrap().clone()).filter(|heard| heard.len() == message.len() + 18)).await;
    assert_eq!(told[..message.len()], message[..]);
    assert_eq!(told[message.len()], 0x88);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_in_which_nothing_moves_is_closed_at_its_bound() {
    let upstream = Upstream::serving(async |mut wire: Wire, request: Message| {
        wire.send(agreed(&request)).await;
        while let Some((opcode, payload, _)) = wire.frame().await {
            wire.send(frame(opcode, &payload, false)).await;
        }
        None
    })
    .await;
    let gate = Gate::before(upstream, &format!("{ROUTES}bounds: {{tunnel_idle: 400ms}}\n"), TOKENS).await;
    let mut wire = open(&gate).await;
    // Whoever speaks stays, for longer than the bound.
    for _ in 0..8 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        wire.send(frame(TEXT, b"here", true)).await;
        assert_eq!(limited(&mut wire).await, Some((TEXT, b"here".to_vec(), false)));
    }
    assert_eq!(limited(&mut wire).await, Some((CLOSE, b"\x03\xe9idle".to_vec(), false)));
    wire.send(frame(CLOSE, b"\x03\xe9", true)).await;
    assert!(wire.is_closed().await);
    let metrics = gate.metrics().await;
    assert_eq!(metric(&metrics, "scopegate_refused_connections_total{bound=\"tunnel_idle\"}"), Some(1.0), "{metrics}");
    assert_eq!(metric(&metrics, "scopegate_streams_ended_total{cause=\"idle\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_handshake_goes_through_in_the_words_of_its_ends() {
    for (by_client, code) in [(true, 4321_u16), (false, 1000)] {
        let says = if by_client { Vec::new() } else { frame(CLOSE, &code.to_be_bytes(), false) };
        let (upstream, heard) = upstream(says).await;
        let gate = Gate::before(upstream, ROUTES, TOKENS).await;
        let mut wire = open(&gate).await;
        let go = frame(TEXT, b"go on", true);
        wire.send(&go).await;
        if by_client {
            wire.send(frame(CLOSE, &code.to_be_bytes(), true)).await;
        } else {
            assert_eq!(limited(&mut wire).await, Some((CLOSE, code.to_be_bytes().to_vec(), false)));
            wire.send(frame(CLOSE, &code.to_be_bytes(), true)).await;
        }
        wire.stream.shutdown().await.unwrap();
        assert!(wire.is_closed().await, "nothing is added");
        assert_eq!(*heard.lock().unwrap(), [go, frame(CLOSE, &code.to_be_bytes(), true)].concat());
        assert!(!gate.audit().await.contains("stream_ended"));
    }
}

async fn limited(wire: &mut Wire) -> Option<(u8, Vec<u8>, bool)> {
    tokio::time::timeout(DEADLINE, wire.frame()).await.expect("in time")
}
