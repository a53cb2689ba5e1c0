//! WebSockets over HTTP/2 (RFC 8441), and routes that take none.

use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::open::{House, Stream};
use super::{ROUTES, TOKEN, whole};
use crate::harness::frames::{BINARY, CLOSE, KEY, UPGRADE, frame};
use crate::harness::grpc::{self, Asked};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Wire, value};
use crate::harness::{DEADLINE, Gate, ask, until};

type Client = SendRequest<Empty<bytes::Bytes>>;

async fn client(gate: &Gate) -> Client {
    let stream = TokioIo::new(TcpStream::connect(gate.proxy()).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    // Its settings have come when the first answer has, and with them whether an extended CONNECT may be sent.
    let request = Request::get("http://a/nowhere").body(Empty::new()).unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 401);
    client
}

fn connect(target: &str, protocol: Option<&'static str>, fields: &[(&str, &str)]) -> Request<Empty<bytes::Bytes>> {
    let mut request = Request::builder().method(Method::CONNECT).uri(target).version(Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Empty::new()).unwrap();
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(Protocol::from_static(protocol));
    }
    request
}

async fn opened(response: Response<Incoming>) -> Wire<TokioIo<Upgraded>> {
    assert_eq!(response.status(), 200);
    Wire::new(TokioIo::new(hyper::upgrade::on(response).await.unwrap()))
}

const VERSION: (&str, &str) = ("sec-websocket-version", "13");
const BEARER: (&str, &str) = ("authorization", "Bearer token-of-the-app-1");

#[tokio::test(flavor = "multi_thread")]
async fn an_extended_connect_becomes_a_tunnel_and_ends_with_its_credential() {
    let house = House::open(ROUTES, &whole()).await;
    let [gate, _] = house.gates();
    let mut client = client(gate).await;
    gate.upstream.take();
    let asked = [VERSION, BEARER, ("sec-websocket-protocol", "chat"), ("sec-websocket-key", "of the client"), ("x-scopegate-id", "root")];
    let response = client.send_request(connect("http://a/ws?x=1", Some("websocket"), &asked)).await.unwrap();
    assert_eq!(response.status(), 200, "{:?}", response.headers());
    for name in ["sec-websocket-accept", "connection", "upgrade", "content-length"] {
        assert_eq!(response.headers().get(name), None, "{name}");
    }
    let mut wire = opened(response).await;
    let told = gate.upstream.take().remove(0);
    assert_eq!(told.first, "GET /ws?x=1 HTTP/1.1");
    for (name, expected) in [
        ("host", Some("a")),
        ("connection", Some("Upgrade")),
        ("upgrade", Some("websocket")),
        ("sec-websocket-version", Some("13")),
        ("sec-websocket-protocol", Some("chat")),
        ("x-scopegate-id", Some("app")),
        ("authorization", None),
    ] {
        assert_eq!(value(&told.headers, name).as_deref(), expected, "{name}");
    }
    assert_eq!(value(&told.headers, "sec-websocket-key").unwrap().len(), 24, "a key of the gate's");
    for size in [0, 5, 70_000, 1_000_000] {
        wire.send(frame(BINARY, &vec![7; size], true)).await;
        let back = tokio::time::timeout(DEADLINE, wire.frame()).await.unwrap();
        assert!(back == Some((BINARY, vec![7; size], false)), "{size} bytes");
    }
    // Other requests go on beside it, and after it.
    let other = |path: &str| Request::get(format!("http://a{path}")).body(Empty::new()).unwrap();
    assert_eq!(client.send_request(other("/other")).await.unwrap().status(), 200);
    house.change(ROUTES, r#"[{"id": "other", "token": "token-of-another-1", "scopes": ["app:use"]}]"#).await;
    let (opcode, payload, masked) = tokio::time::timeout(DEADLINE, wire.frame()).await.unwrap().unwrap();
    assert_eq!((opcode, &payload[..], masked), (CLOSE, &b"\x0b\xb8credential revoked"[..], false));
    wire.send(frame(CLOSE, &payload[..2], true)).await;
    assert!(wire.is_closed().await);
    assert_eq!(client.send_request(other("/other")).await.unwrap().status(), 200);
}

/// A proxy that carries a client's HTTP/1.1 over HTTP/2, as Envoy does, leaves the handshake to its two ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_came_along_goes_on_and_is_answered() {
    let house = House::open(ROUTES, &whole()).await;
    let [gate, _] = house.gates();
    let mut client = client(gate).await;
    gate.upstream.take();
    let response = client.send_request(connect("http://a/ws", Some("websocket"), &[VERSION, BEARER, ("sec-websocket-key", KEY)])).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["sec-websocket-accept"]), (200, &"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".parse().unwrap()));
    let mut wire = opened(response).await;
    assert_eq!(value(&gate.upstream.take().remove(0).headers, "sec-websocket-key").as_deref(), Some(KEY));
    wire.send(frame(BINARY, b"hello", true)).await;
    assert_eq!(tokio::time::timeout(DEADLINE, wire.frame()).await.unwrap(), Some((BINARY, b"hello".to_vec(), false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extended_connect_is_decided_as_the_get_that_it_stands_for() {
    let routes = "routes: {/ws: app:use, GET /get: app:use, POST /post: app:use, /more: app:more, /no: {authenticated: true, websocket: false}}\n";
    let source = "credentials: {tokens: {kind: static, file: tokens.json, from: [bearer, 'query:token']}}\ncors: {origins: ['https://app.test']}\n";
    let house = House::open(&format!("{routes}{source}"), &whole()).await;
    let [gate, _] = house.gates();
    let mut client = client(gate).await;
    gate.upstream.take();
    let socket = Some("websocket");
    for (target, protocol, fields, status, reason) in [
        ("http://a/ws", socket, &[VERSION][..], 401, "no_credential"),
        ("http://a/ws", socket, &[VERSION, ("authorization", "Bearer token-of-nobody-1")], 401, "invalid_credential"),
        ("http://a/more", socket, &[VERSION, BEARER], 403, "insufficient_scope"),
        ("http://a/post", socket, &[VERSION, BEARER], 403, "no_rule"),
        ("http://a/no", socket, &[VERSION, BEARER], 403, "websocket_denied"),
        ("http://a/no", socket, &[VERSION], 401, "no_credential"),
        ("http://a/ws", socket, &[VERSION, BEARER, ("origin", "https://evil.test")], 403, "wrong_origin"),
        ("http://a/ws", socket, &[BEARER], 400, "invalid_upgrade"),
        ("http://a/ws", socket, &[("sec-websocket-version", "8"), BEARER], 400, "invalid_upgrade"),
        ("http://a/ws", Some("connect-udp"), &[VERSION, BEARER], 400, "invalid_upgrade"),
        ("a:443", None, &[BEARER], 405, "connect"),
    ] {
        let response = client.send_request(connect(target, protocol, fields)).await.unwrap();
        let said = response.headers().get("x-scopegate-reason").map(|reason| reason.to_str().unwrap().to_owned());
        assert_eq!((response.status().as_u16(), said.as_deref()), (status, Some(reason)), "{target} {protocol:?} {fields:?}");
        let _ = response.into_body().collect().await;
    }
    assert!(gate.upstream.take().is_empty(), "something was sent on");
    for (target, fields) in
        [("http://a/ws?token=token-of-the-app-1", &[VERSION][..]), ("http://a/get", &[VERSION, BEARER, ("origin", "https://app.test")])]
    {
        let response = client.send_request(connect(target, socket, fields)).await.unwrap();
        let told = gate.upstream.take().remove(0);
        assert!(!told.first.contains("token"), "{}", told.first);
        // What is no WebSocket upstream answers 200 in its own way, which must not look like a tunnel.
        assert_eq!(response.status().as_u16(), if target.contains("/ws") { 200 } else { 502 }, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_takes_no_websocket_takes_none_at_any_door() {
    let routes = "routes: {/no: {scopes: app:use, websocket: false}, /yes: {scopes: app:use, websocket: true}}\n";
    let gate = Gate::before(Upstream::start().await, routes, &whole()).await;
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let reply = ask(gate.proxy(), format!("GET /no HTTP/1.1\r\nhost: a\r\n{UPGRADE}{bearer}\r\n")).await;
    assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (403, Some("websocket_denied")));
    assert_eq!(reply.text(), r#"{"error":"forbidden","message":"No rule allows this request"}"#);
    let reply = ask(gate.proxy(), format!("GET /no HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n")).await;
    assert_eq!(reply.status, 401, "a stranger learns nothing of it");
    assert_eq!(ask(gate.proxy(), format!("GET /no HTTP/1.1\r\nhost: a\r\n{bearer}\r\n")).await.status, 200, "other requests are let through");
    let described = |path: &str| format!("x-forwarded-method: GET\r\nx-forwarded-uri: {path}\r\nx-forwarded-host: a\r\n");
    for (path, status) in [("/no", 403), ("/yes", 200)] {
        let reply = ask(gate.forward_auth(), format!("GET /caddy HTTP/1.1\r\nhost: a\r\n{UPGRADE}{bearer}{}\r\n", described(path))).await;
        assert_eq!(reply.status, status, "{path}");
        let mut asked = Asked::get(path, Some(TOKEN));
        for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")] {
            asked.headers.push((name.into(), value.into()));
        }
        let response = asked.ask(&mut grpc::connect(gate.ext_authz()).await).await;
        assert_eq!(grpc::status(&response), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_the_clients_of_http2_and_closes_their_tunnels() {
    let house = House::open(ROUTES, &whole()).await;
    let mut client = client(house.gates()[0]).await;
    let response = client.send_request(connect("http://a/ws", Some("websocket"), &[VERSION, BEARER])).await.unwrap();
    let mut wire = opened(response).await;
    let [Stream::WebSocket(mut one), ..] = house.streams(TOKEN).await else { panic!("the first is a WebSocket") };
    let stopping = tokio::spawn(house.stop_first());
    for wire in [&mut one] {
        let (opcode, payload, _) = tokio::time::timeout(DEADLINE, wire.frame()).await.unwrap().unwrap();
        assert_eq!((opcode, &payload[..]), (CLOSE, &b"\x03\xe9going away"[..]));
        wire.send(frame(CLOSE, &payload[..2], true)).await;
    }
    let (opcode, payload, _) = tokio::time::timeout(DEADLINE, wire.frame()).await.unwrap().unwrap();
    assert_eq!((opcode, &payload[..]), (CLOSE, &b"\x03\xe9going away"[..]));
    wire.send(frame(CLOSE, &payload[..2], true)).await;
    until("GOAWAY", async || client.is_closed().then_some(())).await;
    tokio::time::timeout(DEADLINE, stopping).await.expect("nothing is left to wait for").unwrap();
}
