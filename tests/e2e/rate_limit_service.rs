//! What Envoy's own global rate limiting is told of a request that the gate let through: the real Envoy with the shipped file, and a service
//! that speaks `envoy.service.ratelimit.v3`, writes down what it is asked, and refuses one principal.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use prost::Message;
use serde_json::json;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::client::Ask;
use crate::gate::Desk;

// Field numbers of Envoy 1.40.

#[derive(Clone, PartialEq, Message)]
struct RateLimitRequest {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
}

/// `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor`
#[derive(Clone, PartialEq, Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct RateLimitResponse {
    /// 1 is OK, 2 is OVER_LIMIT.
    #[prost(int32, tag = "1")]
    overall_code: i32,
}

/// Each descriptor as `key=value` texts, of each request.
type Asked = Arc<Mutex<Vec<(String, Vec<Vec<String>>)>>>;

#[derive(Clone, Default)]
struct Limits(Asked);

impl NamedService for Limits {
    const NAME: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
}

impl Service<http::Request<tonic::body::Body>> for Limits {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        assert_eq!(request.uri().path(), "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");
        let method = self.clone();
        let codec = ProstCodec::<RateLimitResponse, RateLimitRequest>::default();
        Box::pin(async move { Ok(tonic::server::Grpc::new(codec).unary(method, request).await) })
    }
}

impl Service<Request<RateLimitRequest>> for Limits {
    type Response = Response<RateLimitResponse>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RateLimitRequest>) -> Self::Future {
        let RateLimitRequest { domain, descriptors } = request.into_inner();
        let text = |entry: Entry| format!("{}={}", entry.key, entry.value);
        let texts: Vec<Vec<String>> = descriptors.into_iter().map(|descriptor| descriptor.entries.into_iter().map(text).collect()).collect();
        let is_over = texts.iter().flatten().any(|entry| entry == "principal=tokens/acme/greedy");
        self.0.lock().unwrap().push((domain, texts));
        ready(Ok(Response::new(RateLimitResponse { overall_code: if is_over { 2 } else { 1 } })))
    }
}

impl Limits {
    /// Listens until the test's process ends; gives its port too.
    fn start() -> (Self, u16) {
        let limits = Self::default();
        let (tell, port) = std::sync::mpsc::channel();
        let service = limits.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                tell.send(incoming.local_addr().unwrap().port()).unwrap();
                Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
            });
        });
        (limits, port.recv().unwrap())
    }

    fn take(&self) -> Vec<(String, Vec<Vec<String>>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn envoys_own_rate_limiting_counts_by_what_the_gate_tells_it() {
    let (limits, port) = Limits::start();
    let tokens = json!([
        {"id": "agent/1", "token": "token-of-the-agent-1", "scopes": ["app:use"], "tenant": "acme"},
        {"id": "loner", "token": "token-of-the-loner-1", "scopes": ["app:use"]},
        {"id": "greedy", "token": "token-of-the-greedy-1", "scopes": ["app:use"], "tenant": "acme"},
    ]);
    let gate = Desk::new().file("tokens.json", &tokens.to_string()).serve(&json!({
        "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
        "routes": {"GET /x": "app:use", "GET /open": "public"},
        // To Envoy a client on its own machine is at that machine's address, whatever that is.
        "trusted_proxies": ["0.0.0.0/0"],
    }));
    let envoy = gate.envoy_of("rate_limit.yaml", &[("port_value: 8081", &format!("port_value: {port}"))]);
    let of = |descriptors: &[&[&str]]| {
        let texts = descriptors.iter().map(|entries| entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).collect::<Vec<_>>();
        vec![("scopegate".to_owned(), texts)]
    };
    let ip: &[&str] = &["route=GET /x", "ip=2001:db8:1:2::"];
    for (ask, status, expected) in [
        (Ask::get("/x").token("token-of-the-agent-1"), 200, of(&[&["route=GET /x", "principal=tokens/acme/agent%2F1"], &["tenant=acme"], ip])),
        (Ask::get("/x").token("token-of-the-loner-1"), 200, of(&[&["route=GET /x", "principal=tokens//loner"], ip])),
        (Ask::get("/x").token("token-of-the-greedy-1"), 429, of(&[&["route=GET /x", "principal=tokens/acme/greedy"], &["tenant=acme"], ip])),
        (Ask::get("/open"), 200, of(&[&["route=GET /open", "ip=2001:db8:1:2::"]])),
        // What the gate refuses is nobody's to count.
        (Ask::get("/x"), 401, Vec::new()),
    ] {
        let answer = ask.header("X-Forwarded-For", "2001:db8:1:2::7").send(envoy.port);
        assert_eq!((answer.status, limits.take()), (status, expected));
    }
}
