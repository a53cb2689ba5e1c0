//! An upstream that is not there, says nothing or comes back: 502 and 504 with the gate's body, and no longer than it takes.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::unbounded_channel;

use super::peers::{Peer, dial, echo, post, soon};
use super::{ANY, TOKENS, before};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Reply, Wire};
use crate::harness::{Gate, ask};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn told(reply: &Reply) -> (u16, String, String) {
    (reply.status, reply.header("x-scopegate-reason").unwrap_or_default(), reply.text())
}

async fn impatient(url: &str, limits: &str) -> Gate {
    Gate::start(&format!("upstream: {{url: '{url}', {limits}}}\n{ANY}"), TOKENS).await
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_502() {
    let nobody = nobody().await;
    for url in [format!("http://{nobody}"), format!("h2c://{nobody}"), format!("https://{nobody}"), "unix:/nowhere/app.sock".to_owned()] {
        let gate = before(&url).await;
        for request in [GET, POST] {
            let reply = ask(gate.proxy(), request).await;
            let body = r#"{"error":"bad_gateway","message":"The upstream cannot be reached"}"#;
            assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (502, Some("bad_gateway")), "{url}");
            assert!(reply.text().starts_with(r#"{"error":"bad_gateway","message":""#), "{url}: {} is not like {body}", reply.text());
        }
        let mut client = dial(gate.proxy()).await;
        assert_eq!(soon(client.send_request(post(gate.proxy(), "/"), true).unwrap().0).await.unwrap().status(), 502);
    }
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_504() {
    let silent = Upstream::serving(|wire: Wire, _: Message| async {
        std::future::pending::<()>().await;
        Some(wire)
    })
    .await;
    let (resets, mut seen) = unbounded_channel();
    let quiet = Peer::serving(move |_, mut reply| {
        let resets = resets.clone();
        async move {
            let reason = std::future::poll_fn(|context| reply.poll_reset(context)).await;
            resets.send(reason.unwrap()).unwrap();
        }
    })
    .await;
    for url in [format!("http://{}", silent.address), format!("h2c://{}", quiet.address)] {
        let gate = impatient(&url, "response_timeout: 50ms").await;
        for request in [GET, POST] {
            let (status, reason, text) = told(&ask(gate.proxy(), request).await);
            assert_eq!((status, reason.as_str()), (504, "gateway_timeout"), "{url}");
            assert!(text.starts_with(r#"{"error":"gateway_timeout","message":""#), "{text}");
        }
    }
    assert_eq!(soon(seen.recv()).await, Some(h2::Reason::CANCEL), "the upstream need not go on");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = impatient(&format!("https://{}", listener.local_addr().unwrap()), "connect_timeout: 50ms").await;
    assert_eq!(told(&ask(gate.proxy(), POST).await).1, "gateway_timeout");
    let mut client = dial(gate.proxy()).await;
    let answers: Vec<_> = (0..5).map(|_| client.send_request(post(gate.proxy(), "/"), true).unwrap().0).collect();
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().status(), 504, "whoever waits for the one connection waits no longer than for their own");
    }
}

#[tokio::test]
async fn an_h2c_upstream_that_speaks_something_else_is_502() {
    let upstream = Upstream::heads(|mut wire: Wire, _| async move {
        wire.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        wire.rest().await;
    })
    .await;
    let gate = before(&format!("h2c://{}", upstream.address)).await;
    for request in [GET, POST] {
        assert_eq!(told(&ask(gate.proxy(), request).await).1, "bad_gateway");
    }
    assert!(upstream.take().iter().all(|message| message.first == "PRI * HTTP/2.0"), "no request went there");
}

/// Listens where somebody has listened before.
fn again(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(64).unwrap()
}

/// An upstream of either protocol that can be killed with all of its connections.
fn alive(listener: TcpListener, two: bool) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                if two {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, reply))) = connection.accept().await {
                        tokio::spawn(echo(request, reply));
                    }
                } else {
                    let mut wire = Wire::new(stream);
                    while wire.request().await.is_some() {
                        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    }
                }
            });
        }
    })
}

#[tokio::test]
async fn an_upstream_that_comes_back_is_found_by_the_next_request() {
    for (scheme, two) in [("http", false), ("h2c", true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = before(&format!("{scheme}://{address}")).await;
        let mut upstream = alive(listener, two);
        let (mut get, mut upload, mut client) = (Wire::connect(gate.proxy()).await, Wire::connect(gate.proxy()).await, dial(gate.proxy()).await);
        for round in 0..3 {
            for status in [200, 502] {
                if status == 502 {
                    upstream.abort();
                    let _ = (&mut upstream).await;
                }
                for (wire, request) in [(&mut get, GET), (&mut upload, POST)] {
                    wire.send(request).await;
                    assert_eq!(wire.reply(false).await.status, status, "{scheme}, {round}, {request}");
                }
                let (answer, mut body) = client.send_request(post(gate.proxy(), "/"), false).unwrap();
                body.send_data(Bytes::from_static(b"hi"), true).unwrap();
                assert_eq!(soon(answer).await.unwrap().status(), status, "{scheme}, {round}");
            }
            upstream = alive(again(address), two);
        }
    }
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let upstream = Upstream::start().await;
    // `localhost` has an IPv6 address too on most machines, and nobody listens there.
    let gate = before(&format!("http://localhost:{}", upstream.address.port())).await;
    assert_eq!(ask(gate.proxy(), POST).await.status, 200);
}

#[tokio::test]
async fn a_client_is_told_to_go_on_only_where_its_body_is_wanted() {
    const EXPECTING: &str = "POST /app HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n";
    let config = "routes: {/app: app:use}\n";
    let gate = Gate::start(config, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(format!("{EXPECTING}\r\n")).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 401"), "a denial needs no body");
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(format!("{EXPECTING}authorization: Bearer token-of-the-app-1\r\n\r\n")).await;
    assert_eq!(wire.response_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send("hi").await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 200"));
    let seen = gate.upstream.take();
    assert_eq!((seen.len(), seen[0].body.as_slice()), (1, b"hi".as_slice()));
    assert!(!String::from_utf8_lossy(&seen[0].head).contains("expect"));
    let gate = Gate::start(&format!("upstream: http://{}\n{config}", nobody().await), TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(format!("{EXPECTING}authorization: Bearer token-of-the-app-1\r\n\r\n")).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 502"), "there is nobody to take it");
}
