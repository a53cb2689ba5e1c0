//! WebSockets towards upstreams of other protocols than HTTP/1.1 in the clear.

use bytes::Bytes;
use h2::server::Builder;
use h2::{RecvStream, SendStream};
use http::{Method, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::before;
use super::peers::{Peer, echo};
use super::protocols::{believing, server};
use crate::harness::Gate;
use crate::harness::authority::Authority;
use crate::harness::frames::{BINARY, UPGRADE, agreed, frame};
use crate::harness::wire::Wire;

async fn opened(gate: &Gate) -> Wire {
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(format!("GET /ws?a HTTP/1.1\r\nhost: app.test\r\nsec-websocket-protocol: chat\r\n{UPGRADE}\r\n")).await;
    wire
}

/// A stream of HTTP/2 as one of bytes.
fn bytes_of(mut to: SendStream<Bytes>, mut from: RecvStream) -> DuplexStream {
    let (near, far) = duplex(64 * 1024);
    let (mut reader, mut writer) = split(far);
    tokio::spawn(async move {
        while let Some(Ok(data)) = from.data().await {
            let _ = from.flow_control().release_capacity(data.len());
            writer.write_all(&data).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let _ = to.send_data(Bytes::copy_from_slice(&buffer[..count]), false);
        }
        let _ = to.send_data(Bytes::new(), true);
    });
    near
}

#[tokio::test]
async fn a_websocket_reaches_an_http2_upstream_as_an_extended_connect() {
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    let peer = Peer::with(None, builder, |request, mut reply| async move {
        let protocol = request.extensions().get::<h2::ext::Protocol>().map(|protocol| protocol.as_str().to_owned());
        assert_eq!((request.method(), protocol.as_deref()), (&Method::CONNECT, Some("websocket")));
        assert_eq!(request.uri().to_string(), "http://app.test/ws?a");
        let headers = request.headers();
        assert_eq!(["sec-websocket-version", "sec-websocket-protocol"].map(|name| headers[name].to_str().unwrap()), ["13", "chat"]);
        for gone in ["sec-websocket-key", "connection", "upgrade", "host", "content-length"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        let response = Response::builder().header("sec-websocket-protocol", "chat").body(()).unwrap();
        let stream = reply.send_response(response, false).unwrap();
        let mut wire = Wire::new(bytes_of(stream, request.into_body()));
        while let Some((opcode, payload, masked)) = wire.frame().await {
            assert!(masked, "a client's frames come as they were sent");
            wire.send(frame(opcode, &payload, false)).await;
        }
    })
    .await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut wire = opened(&gate).await;
    let head = wire.response_head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in ["sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=", "sec-websocket-protocol: chat", "upgrade: websocket", "connection: upgrade"] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    for length in [0, 10, 5_000, 300_000] {
        wire.send(frame(BINARY, &vec![7; length], true)).await;
        assert_eq!(wire.frame().await, Some((BINARY, vec![7; length], false)));
    }
    drop(wire);
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn an_http2_upstream_without_extended_connect_is_502() {
    let peer = Peer::serving(echo).await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut wire = opened(&gate).await;
    assert_eq!(wire.reply(false).await.status, 502);
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn an_http2_upstream_that_does_not_agree_answers_for_itself() {
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    let peer = Peer::with(None, builder, |_, mut reply| async move {
        drop(reply.send_response(Response::builder().status(StatusCode::IM_A_TEAPOT).body(()).unwrap(), true));
    })
    .await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut wire = opened(&gate).await;
    assert_eq!(wire.reply(false).await.status, 418);
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn a_websocket_is_offered_http1_by_an_https_upstream() {
    let authority = Authority::new("upstream");
    let tls = server(&authority.issue(&["localhost"]), &["h2", "http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(tls).accept(stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let mut wire = Wire::new(stream);
        let request = wire.request().await.unwrap();
        wire.send(agreed(&request)).await;
        let (opcode, payload, _) = wire.frame().await.unwrap();
        wire.send(frame(opcode, &payload, false)).await;
        wire.rest().await;
    });
    let gate = believing(&authority, port).await;
    let mut wire = opened(&gate).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    wire.send(frame(BINARY, b"hello", true)).await;
    assert_eq!(wire.frame().await, Some((BINARY, b"hello".to_vec(), false)));
}
