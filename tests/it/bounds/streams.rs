//! How many requests may be open on one HTTP/2 connection, and how long an answer may wait for its client.

use super::{before, counted, serves};
use crate::harness::http2::{CANCEL, DATA, END_STREAM, End, Http2, PING, REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, post};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Wire;

/// Answers with more than a client's window.
async fn large() -> Upstream {
    Upstream::serving(async |mut wire: Wire, _| {
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
        wire.send(vec![b'x'; 1_000_000]).await;
        Some(wire)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_beyond_the_bound_is_refused_and_the_others_go_on() {
    let gate = before(Upstream::start().await, "streams: 3").await;
    let mut client = Http2::open(gate.proxy()).await;
    let settings = client.next_of(SETTINGS).await.unwrap().payload;
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 3]), "SETTINGS_MAX_CONCURRENT_STREAMS is not told: {settings:?}");
    for stream in [1, 3, 5, 7] {
        client.send(post(stream, "/open/x")).await;
    }
    assert_eq!(client.end(7).await, End::Reset(REFUSED_STREAM));
    client.send([1, 3, 5].map(|stream| frame(DATA, END_STREAM, stream, b"body")).concat()).await;
    client.all(&[1, 3, 5], 200).await;
    client.send(get(9, "/open/x")).await;
    assert_eq!(client.end(9).await, End::Status(200));
    counted(&gate, "streams", 1.0).await;
    serves(&gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_window_stays_closed_is_reset_and_the_others_go_on() {
    let gate = before(large().await, "send_idle: 300ms").await;
    // No window at all for any stream, but for the second.
    let mut client = Http2::with(gate.proxy(), &[(4, 0)]).await;
    client.send([get(1, "/open/x"), get(3, "/open/x")].concat()).await;
    client.send([frame(WINDOW_UPDATE, 0, 3, &2_000_000_u32.to_be_bytes()), frame(WINDOW_UPDATE, 0, 0, &2_000_000_u32.to_be_bytes())].concat()).await;
    let (mut taken, mut reset) = (0, None);
    while taken < 1_000_000 || reset.is_none() {
        let frame = client.next().await.expect("an open connection");
        match (frame.kind, frame.stream) {
            (DATA, 3) => taken += frame.payload.len(),
            (RST_STREAM, 1) => reset = Some(frame.payload),
            (DATA, _) => panic!("the first has no window"),
            _ => {}
        }
    }
    assert_eq!(reset.unwrap(), CANCEL.to_be_bytes());
    counted(&gate, "send_idle", 1.0).await;
    client.send(frame(PING, 0, 0, b"the ping")).await;
    assert_eq!(client.next_of(PING).await.unwrap().payload, b"the ping");
}
