//! The service's own calls: each with a fresh credential, to one target, and with nothing of the caller's in its place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use scopegate::config::settings::{Address, Bounds, Listen, Settings};
use scopegate::gate;
use scopegate::jose::{Algorithm, HmacKey, Jws, Key, KeySet};
use scopegate::transport::egress::Target;
use scopegate::transport::egress::token::Token;
use scopegate::transport::ext_authz::Health;
use scopegate::transport::listener::Listener;
use scopegate::transport::worker::{Shared, Way, Workers};
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::harness::frames::UPGRADE;
use crate::harness::tls::Identity;
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Reply, Wire, value};
use crate::harness::{Gate, ask, complete, tcp, write_secret};

/// A listener for calls to one target.
struct Egress {
    address: Address,
    folder: TempDir,
    drain: CancellationToken,
    workers: Workers,
}

impl Egress {
    /// With the token in a file.
    fn start(url: &str, roots: &Arc<ClientConfig>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "token-of-the-service\n").unwrap();
        let token = Token::file(folder.path().join("token"));
        Self::at(Address::Tcp("127.0.0.1:0".parse().unwrap()), folder, Target::new(&url.parse().unwrap(), roots, token).unwrap())
    }

    fn plain(upstream: SocketAddr) -> Self {
        Self::start(&format!("http://{upstream}"), &Identity::of("nobody.test").believer)
    }

    fn at(address: Address, folder: TempDir, target: Target) -> Self {
        let listen = Listen { proxy: None, ext_authz: None, forward_auth: None, admin: None };
        let settings = Settings {
            listen,
            upstream: None,
            trusted_proxies: Vec::new(),
            telemetry: scopegate::config::telemetry::Telemetry { audit: None, otlp: None },
            watch: false,
            lame_duck: Duration::ZERO,
            reuse_port: false,
            tls: false,
            proxy_protocol: false,
            bounds: Bounds::default(),
            drain_timeout: Duration::from_secs(1),
            egress: Vec::new(),
            key_cache: None,
            expose: false,
            limits: Default::default(),
            store: None,
        };
        let gate = gate::Gate { live: Arc::default(), telemetry: Arc::default(), limiter: Arc::default() };
        let drain = CancellationToken::new();
        let shared = Shared {
            gate: Arc::new(gate),
            settings: Arc::new(settings),
            health: Health::default(),
            egress: [Arc::new(target)].into(),
            seats: scopegate::transport::seats::Seats::new(16),
            management: None,
            leaving: CancellationToken::new(),
            parting: CancellationToken::new(),
            drain: drain.clone(),
        };
        let workers = Workers::start(&shared).unwrap();
        let listener = Listener::bind(&address, false).unwrap();
        let address = listener.address().unwrap();
        workers.accept(Way::Egress(0), listener, drain.clone()).unwrap();
        Self { address, folder, drain, workers }
    }

    fn tcp(&self) -> SocketAddr {
        tcp(&Some(self.address.clone()))
    }

    fn token(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    async fn get(&self) -> Reply {
        ask(self.tcp(), "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await
    }
}

fn told(upstream: &Upstream) -> Message {
    let mut seen = upstream.take();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_as_it_is_with_the_targets_host_and_a_credential() {
    let upstream = Upstream::answering("HTTP/1.1 404 Not Found\r\nconnection: x-hop\r\nx-hop: 1\r\nx-mine: 2\r\ncontent-length: 4\r\n\r\nnone").await;
    let egress = Egress::plain(upstream.address);
    let head = "POST //a/%2e%2f;b?c=%20&token=d HTTP/1.1\r\nhost: other.test\r\nconnection: keep-alive, x-own, authorization\r\n";
    let fields = "x-own: 1\r\nte: trailers\r\nx-app: 2\r\nx-scopegate-id: kept\r\ncookie: a=b\r\ncontent-length: 5\r\n";
    let mut wire = Wire::connect(egress.tcp()).await;
    for _ in 0..2 {
        wire.send(format!("{head}{fields}\r\nhello")).await;
        let reply = wire.reply(false).await;
        assert_eq!((reply.status, reply.text().as_str(), reply.header("x-mine").as_deref()), (404, "none", Some("2")));
        assert_eq!(reply.header("x-hop"), None);
        let call = told(&upstream);
        assert_eq!((call.first.as_str(), &*call.body), ("POST //a/%2e%2f;b?c=%20&token=d HTTP/1.1", &b"hello"[..]));
        for (name, expected) in [
            ("host", Some(upstream.address.to_string().as_str())),
            ("authorization", Some("Bearer token-of-the-service")),
            ("x-app", Some("2")),
            ("x-scopegate-id", Some("kept")),
            ("cookie", Some("a=b")),
            ("x-own", None),
            ("te", None),
            ("connection", None),
            ("x-forwarded-for", None),
        ] {
            assert_eq!(value(&call.headers, name).as_deref(), expected, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_brings_a_credential_is_refused() {
    let upstream = Upstream::start().await;
    let egress = Egress::plain(upstream.address);
    for fields in [
        "authorization: Bearer mine",
        "AUTHORIZATION: Basic bWU6bWU=",
        "Authorization:",
        "authorization: Bearer a\r\nauthorization: Bearer b",
        "Proxy-Authorization: Basic bWU6bWU=",
        "proxy_authorization: Bearer mine",
        "Proxy.Authorization: Bearer mine",
        "connection: authorization\r\nauthorization: Bearer mine",
    ] {
        let reply = ask(egress.tcp(), format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n")).await;
        assert_eq!(reply.status, 400, "{fields}");
        assert_eq!(reply.text(), r#"{"error":"invalid_request","message":"This path adds its own credential; send none"}"#);
        assert_eq!(reply.header("content-type").as_deref(), Some("application/json"));
    }
    assert!(upstream.take().is_empty(), "a refused call was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_target_whatever_the_request_line_says() {
    let (upstream, other) = (Upstream::start().await, Upstream::start().await);
    let egress = Egress::plain(upstream.address);
    for line in [format!("GET http://{}/x?y=z", other.address), "GET http://user@elsewhere.test/x?y=z".into()] {
        assert_eq!(ask(egress.tcp(), format!("{line} HTTP/1.1\r\nhost: {}\r\n\r\n", other.address)).await.status, 200);
        let call = told(&upstream);
        assert_eq!(call.first, "GET /x?y=z HTTP/1.1");
        assert_eq!(value(&call.headers, "host").as_deref(), Some(upstream.address.to_string().as_str()));
    }
    assert!(other.take().is_empty());
    let reply = ask(egress.tcp(), format!("CONNECT {0} HTTP/1.1\r\nhost: {0}\r\n\r\n", other.address)).await;
    assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (405, Some("connect")));
    // Not even where the target says so: the caller gets the redirect, and decides.
    let upstream = Upstream::answering("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://elsewhere.test/\r\ncontent-length: 0\r\n\r\n").await;
    let reply = Egress::plain(upstream.address).get().await;
    assert_eq!((reply.status, reply.header("location").as_deref()), (307, Some("http://elsewhere.test/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_counts_as_it_is_at_each_call() {
    let upstream = Upstream::start().await;
    let egress = Egress::plain(upstream.address);
    for token in ["first-token", "a-second-one", "third-tokens", "first-token"] {
        std::fs::write(egress.token(), token).unwrap();
        assert_eq!(egress.get().await.status, 200);
        assert_eq!(value(&told(&upstream).headers, "authorization"), Some(format!("Bearer {token}")));
    }
    for broken in [None, Some(""), Some("two words")] {
        match broken {
            None => std::fs::remove_file(egress.token()).unwrap(),
            Some(text) => std::fs::write(egress.token(), text).unwrap(),
        }
        let reply = egress.get().await;
        assert_eq!((reply.status, reply.header("retry-after").as_deref()), (503, Some("1")), "{broken:?}");
        assert_eq!(reply.text(), r#"{"error":"temporarily_unavailable","message":"No credential can be added to this call"}"#);
        assert!(upstream.take().is_empty(), "a call without a credential");
    }
    std::fs::write(egress.token(), "back").unwrap();
    assert_eq!(egress.get().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_backstage_carry_a_service_token() {
    let (upstream, folder) = (Upstream::start().await, tempfile::tempdir().unwrap());
    let socket = Address::Unix(folder.path().join("calls"));
    let token = Token::backstage(HmacKey::new(b"the secret of the installation"));
    let url = format!("http://{}/", upstream.address).parse().unwrap();
    let target = Target::new(&url, &Identity::of("nobody.test").believer, token).unwrap();
    let egress = Egress::at(socket, folder, target);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::new(UnixStream::connect(egress.folder.path().join("calls")).await.unwrap());
        wire.send("GET /api/catalog/entities HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
        assert_eq!(wire.reply(false).await.status, 200);
        seen.push(value(&told(&upstream).headers, "authorization").unwrap());
    }
    let token = seen[0].strip_prefix("Bearer ").unwrap();
    let jws = Jws::parse(token).unwrap();
    let keys = |secret: &[u8]| KeySet::single(Key::hmac(secret));
    assert!(keys(b"the secret of the installation").verify(&jws, &[Algorithm::Hs256]).is_ok());
    assert!(keys(b"another").verify(&jws, &[Algorithm::Hs256]).is_err());
    let claims: serde_json::Value = serde_json::from_slice(jws.payload()).unwrap();
    let left = claims["exp"].as_i64().unwrap() - gate::unix_now();
    assert!(claims["sub"] == "backstage-server" && (3000..=3600).contains(&left), "{claims}");
    assert!(seen.iter().all(|value| *value == seen[0]), "one token for all: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_streams_both_ways() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let egress = Egress::plain(upstream.local_addr().unwrap());
    let mut caller = Wire::connect(egress.tcp()).await;
    caller.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut target = Wire::new(upstream.accept().await.unwrap().0);
    assert!(target.response_head().await.contains("transfer-encoding: chunked"));
    target.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    caller.response_head().await;
    for _ in 0..3 {
        caller.send("5\r\nhello\r\n").await;
        assert_eq!(target.bytes(10).await, b"5\r\nhello\r\n", "before the next is sent");
        target.send("5\r\nworld\r\n").await;
        assert_eq!(caller.bytes(10).await, b"5\r\nworld\r\n", "before the next is sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doubtful_requests_and_upgrades_are_not_passed_on() {
    let upstream = Upstream::start().await;
    let egress = Egress::plain(upstream.address);
    let mut wire = Wire::connect(egress.tcp()).await;
    wire.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n")).await;
    assert_eq!(wire.reply(false).await.status, 200);
    assert_eq!(value(&told(&upstream).headers, "upgrade"), None, "a plain request");
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let reply = wire.reply(false).await;
    assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (400, Some("ambiguous_framing")));
    assert_eq!(wire.rest().await, b"");
    let host = "GET / HTTP/1.1\r\nhost: a\r\nconnection: host\r\n\r\n";
    assert_eq!(ask(egress.tcp(), host).await.status, 400);
    assert!(upstream.take().is_empty());
    let upstream = Upstream::answering("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    assert_eq!(Egress::plain(upstream.address).get().await.status, 502, "an upgrade that nobody asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_out_of_reach_is_502() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let reply = Egress::plain(nobody).get().await;
    assert_eq!((reply.status, reply.text().as_str()), (502, r#"{"error":"bad_gateway","message":"Upstream is out of reach"}"#));
}

/// An HTTPS server on this machine; gives its port.
async fn serve(identity: &Identity) -> (u16, Arc<std::sync::Mutex<Vec<Message>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, acceptor) = (listener.local_addr().unwrap().port(), identity.acceptor.clone());
    let seen = Arc::<std::sync::Mutex<Vec<Message>>>::default();
    let book = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, book) = (acceptor.clone(), Arc::clone(&book));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut wire = Wire::new(stream);
                while let Some(call) = wire.request().await {
                    book.lock().unwrap().push(call);
                    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecure").await;
                }
            });
        }
    });
    (port, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_target_proves_its_name_or_gets_nothing() {
    let (identity, stranger) = (Identity::of("localhost"), Identity::of("localhost"));
    let (port, seen) = serve(&identity).await;
    let egress = Egress::start(&format!("https://localhost:{port}"), &identity.believer);
    let mut wire = Wire::connect(egress.tcp()).await;
    for _ in 0..2 {
        wire.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let reply = wire.reply(false).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "secure"));
        let call = seen.lock().unwrap().remove(0);
        assert_eq!(value(&call.headers, "host"), Some(format!("localhost:{port}")));
        assert_eq!(value(&call.headers, "authorization").as_deref(), Some("Bearer token-of-the-service"));
    }
    let other_name = format!("https://127.0.0.1:{port}");
    assert_eq!(Egress::start(&other_name, &identity.believer).get().await.status, 502, "a certificate for another name");
    let same_name = format!("https://localhost:{port}");
    assert_eq!(Egress::start(&same_name, &stranger.believer).get().await.status, 502, "a certificate that nobody vouches for");
    assert!(seen.lock().unwrap().is_empty(), "a call to whom nobody knows");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let answer = tokio::spawn(async move {
        let mut wire = Wire::new(listener.accept().await.unwrap().0);
        wire.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        wire.rest().await
    });
    assert_eq!(Egress::start(&plain, &identity.believer).get().await.status, 502, "a server without TLS");
    assert!(!String::from_utf8_lossy(&answer.await.unwrap()).contains("token-of-the-service"), "never without TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_closes_idle_callers_and_the_listener() {
    let upstream = Upstream::start().await;
    let egress = Egress::plain(upstream.address);
    let mut wire = Wire::connect(egress.tcp()).await;
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(wire.reply(false).await.status, 200);
    egress.drain.cancel();
    assert!(wire.is_closed().await);
    tokio::task::spawn_blocking(move || egress.workers.join()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_does_not_speak_as_the_service() {
    let upstream = Upstream::start().await;
    let egress = Egress::plain(upstream.address);
    for site in ["cross-site", "same-site", "same-origin"] {
        let reply = ask(egress.tcp(), format!("GET / HTTP/1.1\r\nhost: a\r\nsec-fetch-site: {site}\r\n\r\n")).await;
        assert_eq!(reply.status, 403, "{site}");
    }
    assert!(upstream.take().is_empty(), "a refused call was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_opens_listeners_and_reads_its_keys() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#);
    write_secret(&folder.path().join("key"), "Z29vZC1zZWNyZXQtb2YtMjQtYnl0ZXMh\n");
    write_secret(&folder.path().join("bearer"), "token-of-the-service\n");
    let target = format!("http://{}", upstream.address);
    let config = format!(
        "egress:\n  - {{listen: '127.0.0.1:0', url: '{target}', backstage: {{key_file: key}}}}\n  - {{listen: '127.0.0.1:0', url: '{target}', bearer_file: bearer}}\nroutes: {{GET /x: app:use}}\n"
    );
    std::fs::write(folder.path().join("scopegate.yaml"), complete(&config, upstream.address)).unwrap();
    let gate = Gate::at(folder, upstream).await;
    let mut sent = Vec::new();
    for address in &gate.running.addresses.egress {
        let reply = ask(tcp(&Some(address.clone())), "GET /entities HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(reply.status, 200);
        sent.push(value(&told(&gate.upstream).headers, "authorization").unwrap());
    }
    assert_eq!(sent[1], "Bearer token-of-the-service");
    let token = sent[0].strip_prefix("Bearer ").unwrap();
    let keys = KeySet::single(Key::hmac(b"good-secret-of-24-bytes!"));
    assert!(keys.verify(&Jws::parse(token).unwrap(), &[Algorithm::Hs256]).is_ok());
}
