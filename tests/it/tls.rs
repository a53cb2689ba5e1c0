//! The proxy door's own TLS: which protocol and which certificate, who the client is, and what a reload makes of it.

mod clients;
mod proxied;

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::authority::{Authority, Issued, dial, wire};
use crate::harness::frames::{BINARY, UPGRADE, agreed, frame};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Reply, Wire, value};
use crate::harness::{DEADLINE, Gate, ask, complete, metric, until, write_secret};

const ROUTES: &str = "routes: {/open: public, /app: app:use}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const APP: &str = "authorization: Bearer token-of-the-app-1\r\n";
const OPEN: &str = "GET /open HTTP/1.1\r\nhost: a\r\n\r\n";
const HOST: &str = "gate.test";

/// A gate before an upstream with the files that `write` puts beside its configuration.
async fn start(upstream: Upstream, config: &str, write: impl FnOnce(&Path)) -> Gate {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    write(folder.path());
    std::fs::write(folder.path().join("scopegate.yaml"), complete(config, upstream.address)).unwrap();
    Gate::at(folder, upstream).await
}

/// With one certificate for [`HOST`], and an authority for clients beside it.
async fn gate(authority: &Authority, config: &str) -> Gate {
    start(Upstream::start().await, &format!("tls: {{cert: gate.crt, key: gate.key}}\n{config}"), |folder| {
        authority.issue(&[HOST]).write(folder, "gate");
        std::fs::write(folder.join("clients.pem"), authority.pem()).unwrap();
    })
    .await
}

async fn get<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(wire: &mut Wire<S>, path: &str, fields: &str) -> Reply {
    wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
    wire.reply(false).await
}

/// A request over HTTP/2, and its status.
async fn h2_get(stream: TlsStream<TcpStream>, path: &str) -> u16 {
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().uri(format!("https://{HOST}{path}")).body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    tokio::time::timeout(DEADLINE, response).await.expect("an answer in time").unwrap().status().as_u16()
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(issued: &Issued) -> Vec<u8> {
    CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap().to_vec()
}

async fn is_refused(gate: &Gate, client: &Arc<ClientConfig>, what: &str) {
    // In TLS 1.3 a client is done before the server has looked at its certificate.
    if let Ok(stream) = dial(gate.proxy(), client, HOST, b"").await {
        let mut wire = Wire::new(stream);
        wire.send(OPEN).await;
        assert_eq!(String::from_utf8_lossy(&wire.rest().await), "", "{what}: there is an answer");
    }
}

async fn refused_at(gate: &Gate, bound: &str) -> f64 {
    metric(&gate.metrics().await, &format!("scopegate_refused_connections_total{{bound=\"{bound}\"}}")).unwrap_or_default()
}

/// Waits until so many connections have been refused at a bound.
async fn refused(gate: &Gate, bound: &str, count: f64) {
    until(&format!("{count} refused at {bound}"), async || (refused_at(gate, bound).await >= count).then_some(())).await;
    assert!((refused_at(gate, bound).await - count).abs() < 0.5, "more than {count} at {bound}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_the_protocol_that_it_agrees_on_and_the_upstream_is_told_of_https() {
    let authority = Authority::new("ours");
    let gate = gate(&authority, ROUTES).await;
    for (offered, chosen) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1", "h2"], "h2"), (&["h2"], "h2"), (&["http/1.1"], "http/1.1"), (&[], "")] {
        let stream = dial(gate.proxy(), &authority.believer(None, offered), HOST, b"").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol().unwrap_or_default(), chosen.as_bytes(), "{offered:?}");
        if chosen == "h2" {
            assert_eq!(h2_get(stream, "/open").await, 200);
        } else {
            let mut wire = Wire::new(stream);
            assert_eq!(get(&mut wire, "/app", "").await.status, 401);
            assert_eq!(get(&mut wire, "/app", APP).await.status, 200, "on the same connection");
        }
        let seen = gate.upstream.take();
        assert_eq!(seen.len(), 1, "{offered:?}");
        assert_eq!(value(&seen[0].headers, "x-forwarded-proto").as_deref(), Some("https"));
    }
    let other = dial(gate.proxy(), &authority.believer(None, &["spdy/3"]), HOST, b"").await;
    assert!(other.is_err(), "none of its protocols is spoken here");
    refused(&gate, "tls_handshake", 1.0).await;
    // HTTP/2 is agreed on, not guessed.
    let mut wire = wire(gate.proxy(), &authority.believer(None, &[]), HOST).await;
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(wire.reply(false).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_certificates_the_client_is_shown_the_one_that_names_its_host() {
    let authority = Authority::new("ours");
    let issued = [&["first.test"][..], &["*.wild.test"], &["one.wild.test", "second.test"]].map(|names| authority.issue(names));
    let config = format!("tls: {{cert: [a.crt, b.crt, c.crt], key: [a.key, b.key, c.key]}}\n{ROUTES}");
    let gate = start(Upstream::start().await, &config, |folder| {
        for (issued, name) in issued.iter().zip(["a", "b", "c"]) {
            issued.write(folder, name);
        }
    })
    .await;
    let client = authority.believer(None, &[]);
    for (host, index) in [("first.test", 0), ("second.test", 2), ("one.wild.test", 2), ("two.wild.test", 1), ("TWO.Wild.test", 1)] {
        let stream = dial(gate.proxy(), &client, host, b"").await.unwrap_or_else(|error| panic!("{host}: {error}"));
        assert_eq!(shown(&stream), der(&issued[index]), "{host}");
    }
    // A name of nobody gets the first, which its client does not take.
    for host in ["other.test", "a.b.wild.test", "wild.test"] {
        let error = dial(gate.proxy(), &client, host, b"").await.expect_err(host);
        assert!(error.to_string().contains("first.test"), "{host}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_whoever_comes_next_and_a_broken_one_to_nobody() {
    let authority = Authority::new("ours");
    let gate = gate(&authority, ROUTES).await;
    let client = || authority.believer(None, &[]);
    let mut early = wire(gate.proxy(), &client(), HOST).await;
    assert_eq!(get(&mut early, "/open", "").await.status, 200);
    let renewed = authority.issue(&[HOST]);
    renewed.write(gate.folder.path(), "gate");
    assert_eq!(gate.reload().await.status, 200);
    assert_eq!(shown(&dial(gate.proxy(), &client(), HOST, b"").await.unwrap()), der(&renewed));
    assert_eq!(get(&mut early, "/open", "").await.status, 200, "an open connection goes on");
    // A certificate without its key, and a key that is none.
    let key = std::fs::read(gate.folder.path().join("gate.key")).unwrap();
    for broken in [authority.issue(&[HOST]).key, "no key".into()] {
        write_secret(&gate.folder.path().join("gate.key"), broken);
        assert_eq!(gate.reload().await.status, 422);
        assert_eq!(shown(&dial(gate.proxy(), &client(), HOST, b"").await.unwrap()), der(&renewed));
    }
    write_secret(&gate.folder.path().join("gate.key"), key);
    // Whether there is TLS is settled at the start.
    gate.rewrite(ROUTES);
    let reply = gate.reload().await;
    assert!(reply.status == 422 && reply.text().contains("`tls` differs"), "{}", reply.text());
    assert_eq!(get(&mut early, "/open", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_noticed_on_disk() {
    let authority = Authority::new("ours");
    let gate = gate(&authority, &format!("{ROUTES}reload: {{watch: true}}\n")).await;
    let renewed = authority.issue(&[HOST]);
    renewed.write(gate.folder.path(), "gate");
    until("the renewed certificate", async || {
        let stream = dial(gate.proxy(), &authority.believer(None, &[]), HOST, b"").await.unwrap();
        (shown(&stream) == der(&renewed)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_speaks_plain_http_to_it_is_told_so_and_nothing_is_sent_on() {
    let authority = Authority::new("ours");
    let gate = gate(&authority, ROUTES).await;
    for request in [OPEN, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n", "\0"] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(request).await;
        let reply = wire.reply(false).await;
        assert_eq!(reply.status, 400, "{request:?}");
        assert_eq!(reply.text(), r#"{"error":"invalid_request","message":"This port speaks TLS; ask by https://"}"#);
        assert_eq!(reply.header("connection").as_deref(), Some("close"));
        assert!(wire.is_closed().await);
    }
    refused(&gate, "tls_handshake", 4.0).await;
    // A handshake that is none is closed, and so is one that breaks off; an open and shut connection is nobody's fault.
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(b"\x16\x03\x01\x00\x05hello").await;
    wire.rest().await;
    refused(&gate, "tls_handshake", 5.0).await;
    drop(Wire::connect(gate.proxy()).await);
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(b"\x16\x03\x01").await;
    drop(wire);
    refused(&gate, "tls_handshake", 6.0).await;
    assert!(gate.upstream.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_shakes_hands_is_closed_after_its_time() {
    let authority = Authority::new("ours");
    let gate = gate(&authority, &format!("{ROUTES}bounds: {{handshake_time: 200ms}}\n")).await;
    let (mut silent, mut slow) = (Wire::connect(gate.proxy()).await, Wire::connect(gate.proxy()).await);
    slow.send(b"\x16\x03\x01\x02").await;
    assert!(silent.is_closed().await && slow.is_closed().await);
    refused(&gate, "handshake_time", 2.0).await;
}

/// Agrees to every upgrade and sends each frame back.
async fn echo(mut wire: Wire, request: Message) -> Option<Wire> {
    wire.send(agreed(&request)).await;
    while let Some((opcode, payload, _)) = wire.frame().await {
        wire.send(frame(opcode, &payload, false)).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_and_a_large_body_go_through_it_unchanged() {
    let authority = Authority::new("ours");
    let config = format!("tls: {{cert: gate.crt, key: gate.key}}\n{ROUTES}");
    let echoing = start(Upstream::serving(echo).await, &config, |folder| authority.issue(&[HOST]).write(folder, "gate")).await;
    let payload: Vec<u8> = (0..2_000_000_u32).map(|index| index.to_le_bytes()[(index % 3) as usize]).collect();
    let mut socket = wire(echoing.proxy(), &authority.believer(None, &["http/1.1"]), HOST).await;
    socket.send(format!("GET /open HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n")).await;
    assert!(socket.response_head().await.starts_with("HTTP/1.1 101 "));
    socket.send(frame(BINARY, &payload, true)).await;
    let back = tokio::time::timeout(DEADLINE, socket.frame()).await.expect("a frame in time").expect("the tunnel is open");
    assert!(back == (BINARY, payload.clone(), false));
    let gate = gate(&authority, ROUTES).await;
    let mut posting = wire(gate.proxy(), &authority.believer(None, &["http/1.1"]), HOST).await;
    posting.send(format!("POST /open HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", payload.len())).await;
    posting.send(&payload).await;
    assert_eq!(posting.reply(false).await.status, 200);
    assert!(gate.upstream.take()[0].body == payload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_says_that_nothing_was_cut_off() {
    let authority = Authority::new("ours");
    let gate = gate(&authority, ROUTES).await;
    for (method, fields) in [("GET", "connection: close\r\n"), ("GET", "connection: close\r\nexpect: 100-continue\r\n"), ("POST", "a\r\n")] {
        let mut stream = dial(gate.proxy(), &authority.believer(None, &[]), HOST, b"").await.unwrap();
        stream.write_all(format!("{method} /open HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes()).await.unwrap();
        let mut all = Vec::new();
        // RFC 8446 §6.1: without `close_notify` this is an error.
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut all)).await.expect("closed in time").expect("with a word");
        assert!(all.starts_with(if method == "GET" { b"HTTP/1.1 200 " } else { b"HTTP/1.1 400 " }), "{fields:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_doors_stay_as_they_are() {
    let authority = Authority::new("ours");
    let gate = gate(&authority, ROUTES).await;
    assert_eq!(ask(gate.forward_auth(), "GET /envoy/open HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    assert_eq!(gate.readyz().await.0, 200);
}
