//! Frames that carry no request, requests that nobody waits for: the connection is told to calm down and ends, and others are served.

use super::{counted, gate, serves};
use crate::harness::http2::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, HEADERS, Http2, PING, PRIORITY, SETTINGS, WINDOW_UPDATE, block,
    frame, get, post, reset,
};
use crate::harness::{Gate, ask};

/// The frames of one round.
type Next = Box<dyn FnMut(u32) -> Vec<u8> + Send>;

/// Sends the same again and again beside one who asks, and gives the code of the end.
async fn flood(gate: &Gate, begin: &[u8], mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let mut client = Http2::open(gate.proxy()).await;
    client.send(begin).await;
    let bytes: Vec<u8> = (0..10_000).flat_map(&mut next).collect();
    for (index, piece) in bytes.chunks(16 * 1024).enumerate() {
        client.send(piece).await;
        if index % 8 == 0 {
            serves(gate).await;
        }
    }
    client.goaway().await
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_that_carry_no_request_are_told_to_calm_down() {
    let gate = gate("").await;
    let floods: [(&str, Vec<u8>, Next); 9] = [
        ("PING", Vec::new(), Box::new(|_| frame(PING, 0, 0, &[7; 8]))),
        ("PING that answers nothing", Vec::new(), Box::new(|_| frame(PING, 1, 0, &[7; 8]))),
        ("SETTINGS", Vec::new(), Box::new(|_| frame(SETTINGS, 0, 0, &[]))),
        ("PRIORITY", Vec::new(), Box::new(|_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]))),
        ("WINDOW_UPDATE", Vec::new(), Box::new(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ("an unknown type", Vec::new(), Box::new(|_| frame(200, 0, 0, b"what"))),
        ("empty DATA", post(1, "/open/x"), Box::new(|_| frame(DATA, 0, 1, &[]))),
        ("CONTINUATION without an end", frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")])), Box::new(|_| frame(CONTINUATION, 0, 1, &[]))),
        ("resets of one stream", get(1, "/open/x"), Box::new(|_| reset(1, CANCEL))),
    ];
    for (what, begin, next) in floods {
        assert_eq!(flood(&gate, &begin, next).await, Some(ENHANCE_YOUR_CALM), "{what}");
    }
    counted(&gate, "control_frames", 9.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_that_are_given_up_at_once_are_told_to_calm_down() {
    let gate = gate("").await;
    let ended = flood(&gate, &[], |index| [get(2 * index + 1, "/open/x"), reset(2 * index + 1, CANCEL)].concat()).await;
    assert_eq!(ended, Some(ENHANCE_YOUR_CALM));
    counted(&gate, "control_frames", 1.0).await;
    assert!(gate.upstream.take().len() < 2_500, "the upstream has to do with most of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_bomb_is_refused_without_being_kept() {
    let gate = gate("").await;
    // One entry of 4,000 bytes in the dynamic table, and then a byte for each time that it is meant.
    let mut bomb = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/open/x")]);
    bomb.extend([0x40, 1, b'x', 127, 0xA1, 30]);
    bomb.extend(vec![b'y'; 4000]);
    bomb.extend(vec![0x80 | 62; 12_000]);
    let mut client = Http2::open(gate.proxy()).await;
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb)).await;
    assert!(matches!(client.end(1).await, End::Goaway(ENHANCE_YOUR_CALM) | End::Status(0)), "neither 431 nor the end");
    assert!(gate.upstream.take().is_empty());
    serves(&gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_header_fields_are_refused_while_others_are_served() {
    let gate = gate("").await;
    let head = format!("GET /open/x HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(1_000_000));
    let (reply, ()) = tokio::join!(ask(gate.proxy(), &head), async {
        for _ in 0..20 {
            serves(&gate).await;
        }
    });
    assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (431, Some("headers_too_large")));
    counted(&gate, "head", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_and_a_few_that_are_given_up_are_no_flood() {
    let gate = gate("control_frames: 10").await;
    let mut client = Http2::open(gate.proxy()).await;
    for round in 0..100 {
        let first = round * 20 + 1;
        let streams: Vec<u32> = (0..10).map(|index| first + 2 * index).collect();
        let mut asked: Vec<u8> = streams.iter().flat_map(|stream| get(*stream, "/open/x")).collect();
        // As browsers do: a window for each stream.
        asked.extend(streams.iter().flat_map(|stream| frame(WINDOW_UPDATE, 0, *stream, &[0, 1, 0, 0])));
        if round % 2 == 0 {
            asked.extend(reset(streams[9], CANCEL));
        }
        client.send(asked).await;
        client.all(&streams[..9], 200).await;
    }
}
