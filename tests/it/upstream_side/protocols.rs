//! What an upstream's URL names is what is spoken there, whatever the client speaks.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::Builder;
use http::{HeaderMap, Request};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::peers::{Peer, dial, echo, post, soon, whole};
use super::{ANY, TOKENS, before};
use crate::harness::authority::{Authority, Issued};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Wire, value};
use crate::harness::{Gate, ask, complete, until, write_secret};

const POST: &str = "POST /a?b HTTP/1.1\r\nhost: app.test\r\ncontent-length: 5\r\n\r\nhello";

pub fn server(issued: &Issued, protocols: &[&str]) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut server = server.with_no_client_auth().with_single_cert(chain, key).unwrap();
    server.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(server)
}

/// A gate that believes an authority, before `https://localhost`.
pub async fn believing(authority: &Authority, port: u16) -> Gate {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let dummy = Upstream::start().await;
    let config = format!("upstream: {{url: 'https://localhost:{port}', ca: ca.pem}}\n{ANY}");
    std::fs::write(folder.path().join("scopegate.yaml"), complete(&config, dummy.address)).unwrap();
    Gate::at(folder, dummy).await
}

/// An HTTP/1.1 server over TLS that echoes the method of every request.
async fn https_one(tls: Arc<ServerConfig>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = TlsAcceptor::from(Arc::clone(&tls));
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let mut wire = Wire::new(stream);
                while let Some(request) = wire.request().await {
                    wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", request.first.len(), request.first)).await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn an_http1_client_reaches_an_h2c_upstream() {
    let peer = Peer::serving(echo).await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let reply = ask(gate.proxy(), POST).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
    assert_eq!(reply.header("seen-target").unwrap(), "http://app.test/a?b", "the host that was decided on is the authority");
    assert_eq!(reply.header("seen-host"), None);
    let reply = ask(gate.proxy(), "GET /%7Ea HTTP/1.0\r\n\r\n").await;
    assert_eq!(reply.header("seen-target").unwrap(), format!("http://{}/~a", peer.address), "who named no host gets the upstream's");
    let reply = ask(gate.proxy(), "HEAD / HTTP/1.1\r\nhost: a\r\nte: trailers, deflate\r\nconnection: te\r\n\r\n").await;
    assert_eq!((reply.status, reply.header("seen-te").as_deref()), (200, Some("trailers")));
    let workers = std::thread::available_parallelism().unwrap().get();
    assert!(peer.connections() <= workers, "{} connections of {workers} workers", peer.connections());
}

#[tokio::test]
async fn many_requests_share_one_connection_to_an_h2c_upstream() {
    let barrier = Arc::new(tokio::sync::Barrier::new(40));
    let peer = Peer::serving(move |request, reply| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            echo(request, reply).await;
        }
    })
    .await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut client = dial(gate.proxy()).await;
    let answers: Vec<_> = (0..40).map(|_| client.send_request(post(gate.proxy(), "/a"), true).unwrap().0).collect();
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().status(), 200);
    }
    assert_eq!(peer.connections(), 1, "all were in flight at once");
}

#[tokio::test]
async fn more_requests_than_a_connection_takes_go_over_further_ones() {
    let barrier = Arc::new(tokio::sync::Barrier::new(12));
    let mut builder = Builder::new();
    builder.max_concurrent_streams(4);
    let answer = move |request, reply| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            echo(request, reply).await;
        }
    };
    let peer = Peer::with(None, builder, answer).await;
    let gate = before(&format!("h2c://{}", peer.address)).await;
    let mut client = dial(gate.proxy()).await;
    let answers: Vec<_> = (0..12).map(|_| client.send_request(post(gate.proxy(), "/a"), true).unwrap().0).collect();
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().status(), 200);
    }
    assert!(peer.connections() >= 3, "{} connections", peer.connections());
}

#[tokio::test]
async fn an_http2_client_reaches_an_http1_upstream() {
    let gate = Gate::start(ANY, TOKENS).await;
    let mut client = dial(gate.proxy()).await;
    let mut request = post(gate.proxy(), "/a?b");
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    assert_eq!(whole(soon(answer).await.unwrap().into_body()).await.unwrap().0, b"ok");
    let mut request = post(gate.proxy(), "/b");
    request.headers_mut().insert("content-length", "5".parse().unwrap());
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
    let seen = gate.upstream.take();
    assert_eq!(seen[0].first, "POST /a?b HTTP/1.1");
    assert_eq!(seen[1].first, "POST /b HTTP/1.1");
    for (message, framing) in [(&seen[0], "transfer-encoding"), (&seen[1], "content-length")] {
        assert_eq!(message.body, b"hello");
        assert_eq!(value(&message.headers, "host").unwrap(), gate.proxy().to_string());
        assert_eq!(value(&message.headers, "te"), None);
        let framings = ["transfer-encoding", "content-length"].map(|name| value(&message.headers, name).is_some());
        assert_eq!(framings, ["transfer-encoding" == framing, "content-length" == framing]);
    }
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut wire = Wire::new(stream);
                while let Some(request) = wire.request().await {
                    let host = value(&request.headers, "host").unwrap();
                    wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{host}", host.len())).await;
                }
            });
        }
    });
    let gate = before(&format!("unix:{}", path.display())).await;
    for _ in 0..2 {
        assert_eq!(ask(gate.proxy(), POST).await.text(), "app.test");
    }
    assert_eq!(ask(gate.proxy(), "GET / HTTP/1.0\r\n\r\n").await.text(), "localhost");
    std::fs::remove_file(&path).unwrap();
    drop(folder);
}

#[tokio::test]
async fn an_https_upstream_chooses_between_http2_and_http1() {
    let authority = Authority::new("upstream");
    let issued = authority.issue(&["localhost"]);
    let peer = Peer::with(Some(server(&issued, &["h2", "http/1.1"])), Builder::new(), echo).await;
    let gate = believing(&authority, peer.address.port()).await;
    let reply = ask(gate.proxy(), POST).await;
    assert_eq!((reply.text().as_str(), reply.header("seen-target").unwrap().as_str()), ("hello", "https://app.test/a?b"));
    for protocols in [&["http/1.1"][..], &[]] {
        let gate = believing(&authority, https_one(server(&issued, protocols)).await).await;
        for _ in 0..2 {
            assert_eq!(ask(gate.proxy(), POST).await.text(), "POST /a?b HTTP/1.1");
        }
        let mut client = dial(gate.proxy()).await;
        let request = Request::get(format!("http://{}/c", gate.proxy())).body(()).unwrap();
        let answer = soon(client.send_request(request, true).unwrap().0).await.unwrap();
        assert_eq!(whole(answer.into_body()).await.unwrap(), (b"GET /c HTTP/1.1".to_vec(), None::<HeaderMap>));
    }
}

#[tokio::test]
async fn an_https_upstream_that_nobody_vouches_for_gets_nothing() {
    let (authority, stranger) = (Authority::new("upstream"), Authority::new("stranger"));
    for issued in [stranger.issue(&["localhost"]), authority.issue(&["other.test"])] {
        let peer = Peer::with(Some(server(&issued, &["h2"])), Builder::new(), echo).await;
        let gate = believing(&authority, peer.address.port()).await;
        let reply = ask(gate.proxy(), POST).await;
        assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (502, Some("bad_gateway")));
    }
    let plain = Upstream::start().await;
    let gate = believing(&authority, plain.address.port()).await;
    // It waits for the rest of a request that it takes the handshake for.
    assert!([502, 504].contains(&ask(gate.proxy(), POST).await.status), "never in the clear");
    assert!(plain.take().is_empty());
}

#[tokio::test]
async fn a_reload_brings_another_authority() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let port = https_one(server(&new.issue(&["localhost"]), &["http/1.1"])).await;
    let gate = believing(&old, port).await;
    assert_eq!(ask(gate.proxy(), POST).await.status, 502);
    std::fs::write(gate.folder.path().join("ca.pem"), new.pem()).unwrap();
    gate.reload().await;
    until("the new authority", async || (ask(gate.proxy(), POST).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_version_of_the_client_is_none_of_the_upstreams() {
    let gate = Gate::start(ANY, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").await;
    assert_eq!(wire.reply(false).await.text(), "ok");
    wire.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert_eq!(wire.reply(false).await.text(), "ok");
    assert!(wire.is_closed().await);
    assert!(gate.upstream.take().iter().all(|message| message.first == "GET / HTTP/1.1"));
}
