//! A process that goes: it says so, serves on, takes nobody by surprise; another can stand in its place before it is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::http2::{GOAWAY, HEADERS, Http2, PREFACE, SETTINGS, frame, get};
use crate::harness::process::{Serving, run, scopegate};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Wire;
use crate::harness::{DEADLINE, ask, complete, until, write_secret};

const POLICY: &str = "routes: {/open: public}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const ASK: &str = "GET /open HTTP/1.1\r\nhost: a\r\n\r\n";

struct Stage {
    upstream: SocketAddr,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_secret(&folder.path().join("tokens.json"), TOKENS);
        Self { upstream: Upstream::start().await.address, folder }
    }

    async fn start(&self, settings: &str) -> Serving {
        let config = self.folder.path().join("scopegate.yaml");
        std::fs::write(&config, complete(&format!("{POLICY}{settings}"), self.upstream)).unwrap();
        Serving::start(&config, &[]).await
    }
}

/// gRPC's number for how the ext_authz door feels.
async fn health(address: SocketAddr) -> i32 {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap().into_inner().status
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_says_so_and_serves_on_until_the_second() {
    let stage = Stage::set().await;
    let mut serving = stage.start("lame_duck: 1h\n").await;
    let (proxy, admin) = (serving.address("proxy"), serving.address("admin"));
    let ready = async || ask(admin, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    until("ready", async || (ready().await.status == 200).then_some(())).await;
    until("healthy", async || (health(serving.address("ext_authz")).await == 1).then_some(())).await;
    let mut kept = Wire::connect(proxy).await;
    let mut long = Wire::connect(proxy).await;
    for wire in [&mut kept, &mut long] {
        wire.send(ASK).await;
        assert_eq!(wire.reply(false).await.header("connection"), None);
    }
    serving.signal("TERM");
    until("not ready", async || (ready().await.status == 503).then_some(())).await;
    assert!(ready().await.text().contains("\"draining\":true"));
    until("not healthy", async || (health(serving.address("ext_authz")).await == 2).then_some(())).await;
    // A connection of before is told to go elsewhere, on the short way and on the long one, and so is a new one.
    long.send("POST /open HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
    kept.send(ASK).await;
    let mut fresh = Wire::connect(proxy).await;
    fresh.send(ASK).await;
    for wire in [&mut kept, &mut long, &mut fresh] {
        let reply = wire.reply(false).await;
        assert_eq!((reply.status, reply.header("connection").as_deref()), (200, Some("close")));
        assert!(wire.is_closed().await);
    }
    serving.signal("TERM");
    assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
    assert!(serving.log().contains("\"message\":\"draining\""));
}

/// As the `preStop` of a sidecar does it, whose SIGTERM comes after the application has ended.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_retired_sends_its_clients_away_and_serves_on() {
    let stage = Stage::set().await;
    let mut serving = stage.start("lame_duck: 50ms\n").await;
    let (proxy, admin) = (serving.address("proxy"), serving.address("admin"));
    let mut kept = Wire::connect(proxy).await;
    kept.send(ASK).await;
    assert_eq!(kept.reply(false).await.header("connection"), None);
    let mut multiplexed = Http2::open(proxy).await;
    multiplexed.send(get(1, "/open")).await;
    multiplexed.all(&[1], 200).await;
    assert_eq!(retire(&serving).await, (0, "retired\n".to_owned(), String::new()));
    until("not ready", async || (ask(admin, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.status == 503).then_some(())).await;
    assert_eq!(multiplexed.next_of(GOAWAY).await.unwrap().code(), 0);
    assert!(kept.is_closed().await, "who asks nothing more is not waited for");
    for _ in 0..3 {
        let mut fresh = Wire::connect(proxy).await;
        fresh.send(ASK).await;
        let reply = fresh.reply(false).await;
        assert_eq!((reply.status, reply.header("connection").as_deref()), (200, Some("close")));
    }
    let mut late = Http2::open(proxy).await;
    late.send(get(1, "/open")).await;
    let (mut is_answered, mut is_told) = (false, false);
    while !(is_answered && is_told) {
        let frame = late.next().await.expect("an open connection");
        is_answered |= frame.kind == HEADERS && frame.stream == 1;
        is_told |= frame.kind == GOAWAY && frame.code() == 0;
    }
    drop((multiplexed, late));
    serving.signal("TERM");
    assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_retired_waits_for_what_is_left_and_no_more() {
    let stage = Stage::set().await;
    let mut serving = stage.start("lame_duck: 1h\n").await;
    let mut kept = Wire::connect(serving.address("proxy")).await;
    kept.send(ASK).await;
    assert_eq!(kept.reply(false).await.header("connection"), None);
    for _ in 0..2 {
        assert_eq!(retire(&serving).await.0, 0);
    }
    serving.logged("retired").await;
    kept.send(ASK).await;
    assert_eq!(kept.reply(false).await.header("connection").as_deref(), Some("close"));
    // An hour of it is left: as at any SIGTERM, a second one ends it.
    serving.signal("TERM");
    serving.logged("leaving").await;
    let mut fresh = Wire::connect(serving.address("proxy")).await;
    fresh.send(ASK).await;
    assert_eq!(fresh.reply(false).await.status, 200);
    serving.signal("TERM");
    assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
}

async fn retire(serving: &Serving) -> (i32, String, String) {
    let pid = serving.id().to_string();
    tokio::task::spawn_blocking(move || run(scopegate().args(["retire", "--pid", &pid]))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_does_not_wait() {
    let stage = Stage::set().await;
    let mut serving = stage.start("lame_duck: 1h\n").await;
    serving.signal("INT");
    assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_the_lame_duck_ends_by_itself() {
    let stage = Stage::set().await;
    let mut serving = stage.start("lame_duck: 100ms\n").await;
    serving.signal("TERM");
    assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_just_connected_is_served_before_the_end() {
    let stage = Stage::set().await;
    for _ in 0..5 {
        let mut serving = stage.start("").await;
        let proxy = serving.address("proxy");
        let mut wires = Vec::new();
        for _ in 0..20 {
            wires.push(Wire::connect(proxy).await);
        }
        serving.signal("TERM");
        for wire in &mut wires {
            wire.send(ASK).await;
        }
        for wire in &mut wires {
            assert_eq!(wire.reply(false).await.status, 200);
            assert!(wire.is_closed().await);
        }
        assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_has_just_connected_is_answered_before_the_end() {
    let stage = Stage::set().await;
    for _ in 0..5 {
        let mut serving = stage.start("").await;
        let door = serving.address("ext_authz");
        let mut gateways = Vec::new();
        for _ in 0..20 {
            gateways.push(Http2 { wire: Wire::connect(door).await });
        }
        serving.signal("TERM");
        for gateway in &mut gateways {
            // No service of the door's, which it says in a trailer of a 200.
            gateway.send([PREFACE, &frame(SETTINGS, 0, 0, &[]), &get(1, "/none/None")].concat()).await;
        }
        for gateway in &mut gateways {
            gateway.all(&[1], 200).await;
        }
        drop(gateways);
        assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
    }
}

#[derive(Default)]
struct Load {
    done: AtomicBool,
    answers: AtomicUsize,
}

impl Load {
    fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    fn answered(&self, status: u16) {
        assert_eq!(status, 200);
        self.answers.fetch_add(1, Ordering::SeqCst);
    }

    async fn goes_on(&self) {
        let before = self.answers.load(Ordering::SeqCst);
        until("answers", async || (self.answers.load(Ordering::SeqCst) > before + 100).then_some(())).await;
    }
}

/// Asks again and again on one connection, for as long as it may; retries nothing.
async fn kept(proxy: SocketAddr, load: Arc<Load>) {
    while !load.is_done() {
        let mut wire = Wire::connect(proxy).await;
        loop {
            wire.send(ASK).await;
            let reply = wire.reply(false).await;
            load.answered(reply.status);
            if reply.header("connection").as_deref() == Some("close") || load.is_done() {
                break;
            }
        }
    }
}

/// Asks on a connection of its own each time; retries nothing.
async fn fresh(proxy: SocketAddr, load: Arc<Load>) {
    while !load.is_done() {
        load.answered(ask(proxy, ASK).await.status);
    }
}

/// Asks on a connection of HTTP/2 until that is told to go; what was never sent is no failure.
async fn multiplexed(proxy: SocketAddr, load: Arc<Load>) {
    while !load.is_done() {
        let stream = TokioIo::new(tokio::net::TcpStream::connect(proxy).await.unwrap());
        let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let running = tokio::spawn(connection);
        while client.ready().await.is_ok() && !load.is_done() {
            let request = http::Request::get("http://a/open").body(Empty::<bytes::Bytes>::new()).unwrap();
            match client.try_send_request(request).await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
                    load.answered(status);
                }
                Err(mut failed) => {
                    assert!(failed.take_message().is_some(), "{:?}", failed.error());
                    break;
                }
            }
        }
        drop(client);
        running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_fails_no_request() {
    let stage = Stage::set().await;
    let settings = "lame_duck: 1s\nreuse_port: true\n";
    let mut serving = stage.start(settings).await;
    let (proxy, admin) = (serving.address("proxy"), serving.address("admin"));
    let same = format!("{settings}listen: {{proxy: '{proxy}', ext_authz: off, forward_auth: off, admin: '{admin}'}}\n");
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        clients.spawn(kept(proxy, Arc::clone(&load)));
        clients.spawn(fresh(proxy, Arc::clone(&load)));
        clients.spawn(multiplexed(proxy, Arc::clone(&load)));
    }
    for _ in 0..4 {
        load.goes_on().await;
        // The next one listens before the last one goes.
        let next = stage.start(&same).await;
        serving.signal("TERM");
        load.goes_on().await;
        assert_eq!(tokio::time::timeout(DEADLINE, serving.end()).await, Ok(0));
        serving = next;
        assert!(clients.try_join_next().is_none(), "a client went home");
    }
    load.goes_on().await;
    load.done.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_reuse_port_nobody_takes_a_port_that_is_in_use() {
    let stage = Stage::set().await;
    for (first, second) in [("", ""), ("", "reuse_port: true\n"), ("reuse_port: true\n", "")] {
        let serving = stage.start(first).await;
        let same = format!("listen: {{proxy: '{}', ext_authz: off, forward_auth: off, admin: off}}\n", serving.address("proxy"));
        let config = stage.folder.path().join("second.yaml");
        std::fs::write(&config, complete(&format!("{POLICY}{second}{same}"), stage.upstream)).unwrap();
        let said = crate::harness::process::refused(&config, &[]);
        assert!(said.contains("`listen.proxy` cannot listen on"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_handed_over_and_kept() {
    let stage = Stage::set().await;
    let path = stage.folder.path().join("proxy.sock");
    let settings = format!("reuse_port: true\nlisten: {{proxy: 'unix:{}', ext_authz: off, forward_auth: off, admin: off}}\n", path.display());
    let asked = async || {
        let mut wire = Wire::new(UnixStream::connect(&path).await.unwrap());
        wire.send(ASK).await;
        wire.reply(false).await.status
    };
    let mut first = stage.start(&settings).await;
    assert_eq!(asked().await, 200);
    let mut second = stage.start(&settings).await;
    assert_eq!(asked().await, 200);
    first.signal("TERM");
    assert_eq!(first.end().await, 0);
    assert_eq!(asked().await, 200, "the first has left the second its name");
    // One that cannot start takes nothing away.
    let config = stage.folder.path().join("broken.yaml");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = settings.replace("admin: off", &format!("admin: '{}'", taken.local_addr().unwrap()));
    std::fs::write(&config, complete(&format!("{POLICY}{broken}"), stage.upstream)).unwrap();
    crate::harness::process::refused(&config, &[]);
    assert_eq!(asked().await, 200);
    second.signal("TERM");
    assert_eq!(second.end().await, 0);
    let left: Vec<_> = std::fs::read_dir(stage.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".sock")), "{left:?}");
}

/// An upstream that can be killed with all of its connections.
async fn mortal(address: SocketAddr) -> (SocketAddr, JoinSet<()>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1024).unwrap();
    let address = listener.local_addr().unwrap();
    let mut life = JoinSet::new();
    life.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut wire = Wire::new(stream);
                while wire.request().await.is_some() {
                    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    (address, life)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_killed_and_comes_back_is_502_meanwhile_and_nothing_else() {
    let (address, mut life) = mortal("127.0.0.1:0".parse().unwrap()).await;
    let stage = Stage { upstream: address, ..Stage::set().await };
    let mut serving = stage.start("").await;
    let proxy = serving.address("proxy");
    let (load, down) = (Arc::new(Load::default()), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for client in 0..4 {
        let (load, down) = (Arc::clone(&load), Arc::clone(&down));
        clients.spawn(async move {
            let mut wire = Wire::connect(proxy).await;
            while !load.is_done() {
                if client % 2 == 0 {
                    wire = Wire::connect(proxy).await;
                }
                wire.send(ASK).await;
                match wire.reply(false).await.status {
                    502 => drop(down.fetch_add(1, Ordering::SeqCst)),
                    status => load.answered(status),
                }
            }
        });
    }
    for _ in 0..5 {
        load.goes_on().await;
        life.shutdown().await;
        let before = down.load(Ordering::SeqCst);
        until("refusals", async || (down.load(Ordering::SeqCst) > before + 20).then_some(())).await;
        life = mortal(address).await.1;
        load.goes_on().await;
        // Whatever was refused meanwhile, soon nothing is.
        until("recovery", async || {
            let settled = down.load(Ordering::SeqCst);
            load.goes_on().await;
            (down.load(Ordering::SeqCst) == settled).then_some(())
        })
        .await;
    }
    load.done.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    serving.signal("TERM");
    assert_eq!(serving.end().await, 0);
}
