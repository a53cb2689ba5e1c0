//! Large bodies over HTTP/2, and the WINDOW_UPDATE and PING frames that go with them.

use bytes::Bytes;

use crate::harness::Gate;
use crate::harness::http2::{DATA, END_STREAM, Http2, PING, WINDOW_UPDATE, frame, get};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Wire;

const POLICY: &str = "routes: {/open/: public}\nbounds: {control_frames: 20}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const LARGE: usize = 32 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_download_may_be_acknowledged_piece_by_piece() {
    let upstream = Upstream::serving(async |mut wire: Wire, _| {
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n")).await;
        for _ in 0..LARGE / 65_536 {
            wire.send(vec![b'x'; 65_536]).await;
        }
        Some(wire)
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    let mut client = Http2::open(gate.proxy()).await;
    client.send(get(1, "/open/x")).await;
    let (mut taken, mut ended) = (0, false);
    while !ended {
        let got = client.next().await.unwrap_or_else(|| panic!("closed after {taken} bytes"));
        if got.kind == DATA {
            taken += got.payload.len();
            ended = got.flags & END_STREAM != 0;
            if !got.payload.is_empty() {
                // Each frame by itself, for stream and connection, and the way measured each time.
                let count = u32::try_from(got.payload.len()).unwrap().to_be_bytes();
                client.send([frame(WINDOW_UPDATE, 0, 0, &count), frame(WINDOW_UPDATE, 0, 1, &count), frame(PING, 0, 0, &[1; 8])].concat()).await;
            }
        }
    }
    assert_eq!(taken, LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_arrives_whole() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let stream = tokio::net::TcpStream::connect(gate.proxy()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://a/open/x").body(()).unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    let mut left = LARGE;
    while left > 0 {
        body.reserve_capacity(65_536.min(left));
        let room = std::future::poll_fn(|context| body.poll_capacity(context)).await.unwrap().unwrap().min(left);
        left -= room;
        body.send_data(Bytes::from(vec![b'y'; room]), left == 0).unwrap();
    }
    assert_eq!(response.await.unwrap().status(), 200);
    let seen = gate.upstream.take().remove(0);
    assert!(seen.body.len() == LARGE && seen.body.iter().all(|byte| *byte == b'y'));
}
