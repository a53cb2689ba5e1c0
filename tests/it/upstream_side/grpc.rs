//! gRPC through the gate: trailers both ways, streams both ways, and ends that are told from breaks.

use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::sync::mpsc::unbounded_channel;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};

use super::before;
use super::peers::{Peer, dial, echo, post, soon, whole};
use crate::harness::wire::Wire;

struct App;

type Stream = Pin<Box<dyn tokio_stream::Stream<Item = Result<HealthCheckResponse, tonic::Status>> + Send>>;

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}

#[tonic::async_trait]
impl Health for App {
    async fn check(&self, request: tonic::Request<HealthCheckRequest>) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        match request.into_inner().service.as_str() {
            "" => Ok(tonic::Response::new(serving())),
            name => Err(tonic::Status::not_found(format!("no {name}"))),
        }
    }

    type WatchStream = Stream;

    async fn watch(&self, _: tonic::Request<HealthCheckRequest>) -> Result<tonic::Response<Stream>, tonic::Status> {
        let items = vec![Ok(serving()), Ok(serving()), Err(tonic::Status::aborted("enough"))];
        Ok(tonic::Response::new(Box::pin(tokio_stream::iter(items))))
    }
}

#[tokio::test]
async fn a_tonic_client_and_a_tonic_server_understand_each_other() {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(HealthServer::new(App)).serve_with_incoming(incoming));
    let gate = before(&format!("h2c://{address}")).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", gate.proxy())).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    let asked = |name: &str| HealthCheckRequest { service: name.into() };
    assert_eq!(soon(client.check(asked(""))).await.unwrap().into_inner(), serving());
    let refused = soon(client.check(asked("x"))).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (tonic::Code::NotFound, "no x"), "an answer of trailers only");
    let mut stream = soon(client.watch(asked(""))).await.unwrap().into_inner();
    assert_eq!(soon(stream.message()).await.unwrap(), Some(serving()));
    assert_eq!(soon(stream.message()).await.unwrap(), Some(serving()));
    let ended = soon(stream.message()).await.unwrap_err();
    assert_eq!((ended.code(), ended.message()), (tonic::Code::Aborted, "enough"), "trailers behind a body");
}

#[tokio::test]
async fn both_directions_of_a_stream_flow_at_once_with_trailers_at_both_ends() {
    let peer = Peer::serving(echo).await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut client = dial(gate.proxy()).await;
    let mut request = post(gate.proxy(), "/chat.Chat/Talk");
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let (answer, mut out) = client.send_request(request, false).unwrap();
    let answer = soon(answer).await.unwrap();
    assert_eq!(answer.headers()["seen-te"], "trailers");
    let mut back = answer.into_body();
    for word in ["one", "two", "three"] {
        out.send_data(Bytes::from(word), false).unwrap();
        let data = soon(back.data()).await.unwrap().unwrap();
        back.flow_control().release_capacity(data.len()).unwrap();
        assert_eq!(data, word, "each word comes back before the next one goes out");
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("checksum", "abc".parse().unwrap());
    let mut claims = trailers.clone();
    for (name, value) in [
        ("x-scopegate-id", "admin"),
        ("x_scopegate_roles", "admin"),
        ("x.scopegate.tenant", "admin"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x_forwarded!host", "a.test"),
        ("x.real.ip", "1.1.1.1"),
        ("cache_control", "no-store"),
        ("authorization", "Basic YQ=="),
    ] {
        claims.insert(name, value.parse().unwrap());
    }
    out.send_trailers(claims).unwrap();
    assert!(soon(back.data()).await.is_none());
    assert_eq!(soon(back.trailers()).await.unwrap(), Some(trailers));
}

#[tokio::test]
async fn an_answer_of_trailers_only_is_whole_though_the_upload_goes_on() {
    let peer = Peer::serving(|request, mut reply| async move {
        let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", "7").body(()).unwrap();
        drop(reply.send_response(response, true));
        // What is not read any more is reset, with NO_ERROR (RFC 9113 §8.1).
        drop(request);
    })
    .await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut client = dial(gate.proxy()).await;
    for _ in 0..20 {
        let (answer, _upload) = client.send_request(post(gate.proxy(), "/a.B/C"), false).unwrap();
        let answer = soon(answer).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "7");
        assert_eq!(whole(answer.into_body()).await.unwrap().0, b"");
    }
}

#[tokio::test]
async fn a_client_that_cancels_resets_the_upstreams_stream() {
    let (resets, mut seen) = unbounded_channel();
    let (begun, mut begins) = unbounded_channel();
    let peer = Peer::serving(move |request, mut reply| {
        let (resets, begun) = (resets.clone(), begun.clone());
        async move {
            begun.send(()).unwrap();
            let quiet = request.uri().path() == "/before";
            let stream = if quiet { None } else { Some(reply.send_response(Response::new(()), false).unwrap()) };
            let reason = match stream {
                Some(mut stream) => std::future::poll_fn(|context| stream.poll_reset(context)).await,
                None => std::future::poll_fn(|context| reply.poll_reset(context)).await,
            };
            resets.send(reason.unwrap()).unwrap();
        }
    })
    .await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut client = dial(gate.proxy()).await;
    let (answer, mut upload) = client.send_request(post(gate.proxy(), "/before"), false).unwrap();
    // It has begun once there is something to reset.
    soon(begins.recv()).await.unwrap();
    upload.send_reset(h2::Reason::CANCEL);
    drop(answer);
    assert_eq!(soon(seen.recv()).await, Some(h2::Reason::CANCEL), "before an answer");
    let (answer, mut upload) = client.send_request(post(gate.proxy(), "/after"), false).unwrap();
    let answer = soon(answer).await.unwrap();
    upload.send_reset(h2::Reason::CANCEL);
    assert_eq!(soon(seen.recv()).await, Some(h2::Reason::CANCEL), "in the middle of it");
    drop(answer);
}

#[tokio::test]
async fn a_stream_that_the_upstream_resets_ends_in_no_other_way_at_the_client() {
    for reason in [h2::Reason::INTERNAL_ERROR, h2::Reason::CANCEL, h2::Reason::NO_ERROR] {
        let peer = Peer::serving(move |request, mut reply| async move {
            let mut stream = reply.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"half"), false).unwrap();
            // Once the client has it, or the reset would overtake it.
            let mut body = request.into_body();
            let _ = body.data().await;
            stream.send_reset(reason);
        })
        .await;
        let gate = before(&format!("h2c://{}", peer.address)).await;
        let mut client = dial(gate.proxy()).await;
        let (answer, mut upload) = client.send_request(post(gate.proxy(), "/a"), false).unwrap();
        let mut body = soon(answer).await.unwrap().into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), "half");
        upload.send_data(Bytes::from_static(b"seen"), false).unwrap();
        let end = match soon(body.data()).await {
            Some(end) => end.map(|_| ()),
            None => soon(body.trailers()).await.map(|_| ()),
        };
        let fault = end.expect_err("a reset is no end");
        assert!(fault.is_reset() && fault.reason() != Some(h2::Reason::NO_ERROR), "{reason:?}: {fault}");

        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        assert!(wire.response_head().await.starts_with("HTTP/1.1 200"));
        assert_eq!(wire.bytes(9).await, b"4\r\nhalf\r\n");
        wire.send("4\r\nseen\r\n").await;
        assert_eq!(wire.rest().await, b"", "{reason:?}: no final chunk, and the end of the connection");
    }
}

#[tokio::test]
async fn an_upload_that_the_client_resets_never_looks_whole_to_the_upstream() {
    let (ends, mut seen) = unbounded_channel();
    let upstream = crate::harness::upstream::Upstream::heads(move |mut wire: Wire, _| {
        let ends = ends.clone();
        async move {
            let rest = wire.rest().await;
            ends.send(rest).unwrap();
        }
    })
    .await;
    let gate = before(&format!("http://{}", upstream.address)).await;
    for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR, h2::Reason::INTERNAL_ERROR] {
        let mut client = dial(gate.proxy()).await;
        let (answer, mut upload) = client.send_request(post(gate.proxy(), "/a"), false).unwrap();
        upload.send_data(Bytes::from_static(b"half"), false).unwrap();
        crate::harness::until("the request at the upstream", async || (!upstream.take().is_empty()).then_some(())).await;
        upload.send_reset(reason);
        let rest = soon(seen.recv()).await.unwrap();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{reason:?}: {:?}", String::from_utf8_lossy(&rest));
        drop(answer);
    }
}

#[tokio::test]
async fn an_answers_trailers_say_nothing_that_is_the_gates_to_say() {
    let peer = Peer::serving(|_, mut reply| async move {
        let mut stream = reply.send_response(Response::new(()), false).unwrap();
        let mut trailers = HeaderMap::new();
        for (name, value) in [("grpc-status", "0"), ("x-scopegate-decision", "forged"), ("proxy-authenticate", "Basic")] {
            trailers.insert(name, value.parse().unwrap());
        }
        stream.send_trailers(trailers).unwrap();
    })
    .await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut client = dial(gate.proxy()).await;
    let answer = soon(client.send_request(post(gate.proxy(), "/"), true).unwrap().0).await.unwrap();
    let trailers = whole(answer.into_body()).await.unwrap().1.unwrap();
    assert_eq!(trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["grpc-status"]);
}
