//! What is a door's own: sockets, connections, streams, the upstream's failures, health, and who may ask the operator's questions.

mod operator;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::grpc::{self, Asked, Client, metadata, status};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire, value};
use crate::harness::{DEADLINE, Gate, ask, metric, until};

const POLICY: &str = "routes: {/open/: public, GET /app: app:use, \"POST /rpc\": {tools: {run: app:use}}}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const APP: &str = "token-of-the-app-1";

#[tokio::test(flavor = "multi_thread")]
async fn every_door_can_be_a_unix_socket() {
    let sockets = tempfile::tempdir().unwrap();
    let path = |door: &str| sockets.path().join(door).display().to_string();
    // What is left of a process that was killed is no hindrance.
    drop(std::os::unix::net::UnixListener::bind(path("ext_authz")).unwrap());
    let listen: Vec<String> = ["proxy", "ext_authz", "forward_auth", "admin"].iter().map(|door| format!("{door}: \"unix:{}\"", path(door))).collect();
    let gate = Gate::start(&format!("{POLICY}listen: {{{}}}\n", listen.join(", ")), TOKENS).await;
    let channel = Endpoint::from_shared(format!("unix:{}", path("ext_authz"))).unwrap().connect().await.unwrap();
    let response = Asked::get("/app", Some(APP)).ask(&mut Client::new(channel)).await;
    assert_eq!((status(&response), metadata(&response, "id").as_deref()), (200, Some("app")));
    let credential = format!("authorization: Bearer {APP}\r\n");
    let described = "x-forwarded-method: GET\r\nx-forwarded-uri: /app\r\nx-forwarded-host: a\r\n";
    for (door, target) in [("proxy", "/app"), ("forward_auth", "/caddy"), ("admin", "/readyz")] {
        let mut wire = Wire::new(UnixStream::connect(path(door)).await.unwrap());
        wire.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n{credential}{described}\r\n")).await;
        assert_eq!(wire.reply(false).await.status, 200, "{door}");
    }
    let told = gate.upstream.take().remove(0);
    assert_eq!(value(&told.headers, "x-scopegate-id").as_deref(), Some("app"));
    gate.running.stop().await;
    for door in ["proxy", "ext_authz", "forward_auth"] {
        assert!(!std::path::Path::new(&path(door)).exists(), "{door}'s socket is left behind");
    }
}

/// A client that is not told loses the request that it sends next, and a reset overtakes the refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_does_not_wait_for_the_body_keeps_the_connection_or_says_that_it_ends() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let cut = format!("authorization: Bearer {APP}\r\ncontent-type: application/json\r\nx-envoy-auth-partial-body: true\r\n");
    for (door, target, headers, status) in [
        (gate.forward_auth(), "/envoy/app", "", 401),
        (gate.forward_auth(), "/envoy/rpc", &*cut, 400),
        (gate.forward_auth(), "/nowhere", "", 404),
        (gate.proxy(), "/app", "", 401),
    ] {
        let head = |framing: &str| format!("POST {target} HTTP/1.1\r\nhost: a\r\n{headers}{framing}\r\n\r\n");
        let mut wire = Wire::connect(door).await;
        for whole in [head("content-length: 50000") + &"x".repeat(50_000), head("transfer-encoding: chunked") + &chunked(50)] {
            wire.send(whole).await;
            let reply = wire.reply(false).await;
            assert_eq!((reply.status, reply.header("connection")), (status, None), "{target}");
        }
        // One that does not come, one that may not, and one that is too long.
        for framing in ["content-length: 65536", "content-length: 65536\r\nexpect: 100-continue", "content-length: 1000000"] {
            wire.send(head(framing)).await;
            let reply = wire.reply(false).await;
            assert_eq!((reply.status, reply.header("connection").as_deref()), (status, Some("close")), "{target} {framing}");
            for piece in [[b'x'; 1024]; 32] {
                wire.stream.write_all(&piece).await.unwrap_or_else(|error| panic!("{target}: {error}"));
            }
            assert!(wire.is_closed().await, "{target}");
            wire = Wire::connect(door).await;
        }
    }
}

fn chunked(count: usize) -> String {
    format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(count) + "0\r\n\r\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ext_authz_door_is_healthy_under_both_names_and_no_third() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let channel = Endpoint::from_shared(format!("http://{}", gate.ext_authz())).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    for service in ["", "envoy.service.auth.v3.Authorization"] {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service:?} is SERVING");
    }
    let unknown = client.check(HealthCheckRequest { service: "other".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_beyond_four_mebibytes_is_an_error_and_no_allow() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut client = grpc::connect(gate.ext_authz()).await;
    let big = |size: usize| Asked { body: vec![b'x'; size], ..Asked::get("/open/x", None) }.check();
    assert_eq!(status(&client.check(big(4_000_000)).await.unwrap().into_inner()), 200);
    let error = client.check(big(4 * 1024 * 1024)).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::OutOfRange, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_its_answer_and_the_end() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("GET /open/x HTTP/1.0\r\n\r\n").await;
    let reply = wire.reply(false).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    assert!(wire.is_closed().await);
    assert_eq!(gate.upstream.take()[0].first, "GET /open/x HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_for_allowed_and_denied_requests_alike() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    for index in 0..50 {
        let (target, expected) = [("/open/x", 200), ("/app", 401), ("//", 400), ("/nowhere", 401)][index % 4];
        wire.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!(wire.reply(false).await.status, expected, "{target}");
    }
    wire.send("GET /open/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(wire.reply(false).await.status, 200);
    assert!(wire.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_their_order() {
    let upstream = Upstream::serving(async |mut wire: Wire, message: Message| {
        let path = message.first.split(' ').nth(1).unwrap().to_owned();
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len())).await;
        Some(wire)
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    let mut all = String::new();
    for index in 0..20 {
        all.push_str(&format!("POST /open/{index} HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"));
        all.push_str("GET /app HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    wire.send(all).await;
    for index in 0..20 {
        assert_eq!(wire.reply(false).await.text(), format!("/open/{index}"));
        assert_eq!(wire.reply(false).await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_does_not_wait_for_the_body() {
    let gate = Gate::start(POLICY, TOKENS).await;
    for more in ["", "expect: 100-continue\r\n"] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(format!("POST /app HTTP/1.1\r\nhost: a\r\n{more}content-length: 1000000\r\n\r\n")).await;
        assert_eq!(wire.reply(false).await.status, 401, "{more:?}");
    }
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("POST /open/x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await;
    assert_eq!(wire.response_head().await.lines().next(), Some("HTTP/1.1 100 Continue"));
    wire.send("abc").await;
    assert_eq!(wire.reply(false).await.status, 200);
    let told = gate.upstream.take().remove(0);
    assert_eq!((told.body.as_slice(), value(&told.headers, "expect")), (&b"abc"[..], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_gone_is_502_and_one_that_is_silent_504() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let timeout = "upstream: {url: \"http://UPSTREAM\", response_timeout: 200ms}\n";
    let gate = Gate::start(&format!("{POLICY}upstream: http://{gone}\n"), TOKENS).await;
    let reply = ask(gate.proxy(), "GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((reply.status, reply.text().as_str()), (502, r#"{"error":"bad_gateway","message":"Upstream is out of reach"}"#));
    assert_eq!(reply.header("x-scopegate-reason").as_deref(), Some("bad_gateway"));

    let silent = Upstream::serving(async |wire, _| {
        tokio::time::sleep(DEADLINE).await;
        Some(wire)
    })
    .await;
    let gate = Gate::before(silent, &format!("{POLICY}{timeout}"), TOKENS).await;
    let reply = ask(gate.proxy(), "GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((reply.status, reply.text().as_str()), (504, r#"{"error":"gateway_timeout","message":"Upstream did not answer in time"}"#));
    // An outage of the upstream is no decision: the request was allowed.
    let metrics = gate.metrics().await;
    assert_eq!(metric(&metrics, r#"scopegate_decisions_total{door="proxy",outcome="allow",reason="allowed"}"#), Some(1.0), "{metrics}");

    let broken = Upstream::serving(async |mut wire: Wire, _| {
        wire.send("HTTP/1.1 2").await;
        None
    })
    .await;
    let gate = Gate::before(broken, POLICY, TOKENS).await;
    assert_eq!(ask(gate.proxy(), "GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_connection_that_went_stale_is_replaced_unnoticed() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    // Says nothing of closing, and closes.
    let upstream = Upstream::serving(move |mut wire: Wire, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            None
        }
    })
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    for index in 0..100 {
        wire.send("GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(wire.reply(false).await.status, 200, "request {index}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_says_in_the_gates_name_is_not_passed_on() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nx-scopegate-reason: forged\r\nX-Scopegate-Id: forged\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: 1\r\nx-own: kept\r\nwww-authenticate: Basic\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    let reply = ask(gate.proxy(), "GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for gone in ["x-scopegate-reason", "x-scopegate-id", "x-hop", "keep-alive"] {
        assert_eq!(reply.header(gone), None, "{gone}");
    }
    assert_eq!(reply.header("x-own").as_deref(), Some("kept"));
    assert_eq!(reply.header("www-authenticate").as_deref(), Some("Basic"), "the application's own challenge is its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_headers_are_added_to_for_the_trusted_and_replaced_for_others() {
    let sent = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: public.test\r\nforwarded: for=203.0.113.9\r\nx-real-ip: 203.0.113.9\r\n";
    for (networks, list, proto, host, real) in [
        ("127.0.0.0/8", "203.0.113.9, 127.0.0.1", "https", "public.test", Some("203.0.113.9")),
        ("192.0.2.0/24", "127.0.0.1", "http", "a.test", None),
    ] {
        let gate = Gate::start(&format!("{POLICY}trusted_proxies: [{networks}]\n"), TOKENS).await;
        ask(gate.proxy(), format!("GET /open/x HTTP/1.1\r\nhost: a.test\r\n{sent}\r\n")).await;
        let told = gate.upstream.take().remove(0).headers;
        assert_eq!(value(&told, "x-forwarded-for").as_deref(), Some(list), "{networks}");
        assert_eq!(value(&told, "x-forwarded-proto").as_deref(), Some(proto), "{networks}");
        assert_eq!(value(&told, "x-forwarded-host").as_deref(), Some(host), "{networks}");
        assert_eq!(value(&told, "x-real-ip").as_deref(), real, "{networks}");
        let forwarded = real.map(|_| "for=203.0.113.9, for=127.0.0.1;host=a.test;proto=http");
        assert_eq!(value(&told, "forwarded").as_deref(), forwarded, "{networks}");
        ask(gate.proxy(), "GET /open/x HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 203.0.113.9\r\n\r\n").await;
        assert_eq!(value(&gate.upstream.take().remove(0).headers, "forwarded"), None, "nobody has spoken of it before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_one_audit_line_and_one_count() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut checks = grpc::connect(gate.ext_authz()).await;
    let call = r#"{"method":"tools/call","params":{"name":"run"}}"#;
    for _ in 0..5 {
        ask(gate.proxy(), format!("GET /app HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {APP}\r\n\r\n")).await;
        ask(gate.proxy(), "GET /app HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // Asked twice, for the head and for the body, and decided once.
        let head = format!("POST /rpc HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {APP}\r\ncontent-length: {}\r\n\r\n", call.len());
        ask(gate.proxy(), format!("{head}{call}")).await;
        Asked::get("/app", None).ask(&mut checks).await;
    }
    let audit = gate.audit().await;
    let lines: Vec<serde_json::Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 20);
    let ids: std::collections::HashSet<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 20, "every decision has an id of its own");
    let first = lines.iter().find(|line| line["outcome"] == "allow" && line["route"] == "GET /app").unwrap();
    assert_eq!((&first["principal"], &first["credential"], &first["generation"]), (&"app".into(), &"tokens".into(), &1.into()));
    until("the counts", async || {
        let metrics = gate.metrics().await;
        let count = |labels: &str| metric(&metrics, &format!("scopegate_decisions_total{{{labels}}}"));
        let counts = [
            count(r#"door="proxy",outcome="allow",reason="allowed""#),
            count(r#"door="proxy",outcome="deny",reason="no_credential""#),
            count(r#"door="ext_authz",outcome="deny",reason="no_credential""#),
            metric(&metrics, r#"scopegate_decision_seconds_count{door="proxy"}"#),
            metric(&metrics, "scopegate_tokens"),
        ];
        (counts == [Some(10.0), Some(5.0), Some(5.0), Some(15.0), Some(1.0)]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_copies_is_told_the_target_and_the_cookies_without_credentials() {
    let routes = "routes: {/open: public, GET /app: app:use}\n";
    let from = "credentials: {tokens: {kind: static, file: tokens.json, from: ['cookie:session', 'query:token']}}\n";
    let (gate, plain) = (Gate::start(&format!("{from}{routes}"), TOKENS).await, Gate::start(routes, TOKENS).await);
    let told = async |gate: &Gate, dialect: &str, target: &str, fields: &str| {
        let about = format!("x-forwarded-method: GET\r\nx-forwarded-uri: {target}\r\nx-forwarded-host: a\r\n");
        let about = if dialect == "nginx" {
            about.replace("x-forwarded-method", "x-original-method").replace("-forwarded-uri", "-original-uri")
        } else {
            about
        };
        let reply = ask(gate.forward_auth(), format!("GET /{dialect} HTTP/1.1\r\nhost: g\r\n{about}{fields}\r\n")).await;
        assert_eq!(reply.status, 200, "{dialect} {target} {fields}");
        ["cookie", "x-scopegate-target"].map(|name| reply.header(name))
    };
    for dialect in ["nginx", "traefik", "caddy"] {
        for (target, cookie, left) in [
            ("/app", format!("a=1; session={APP}; b=2"), Some("a=1; b=2")),
            ("/app", format!("session={APP}"), Some("")),
            ("/open", format!("session={APP}; a=1"), Some("a=1")),
            // One that copies takes the client's away: what stays is told as well.
            ("/open", "a=1".to_owned(), Some("a=1")),
        ] {
            assert_eq!(told(&gate, dialect, target, &format!("cookie: {cookie}\r\n")).await, [left.map(str::to_owned), None], "{dialect}: {cookie}");
        }
        assert_eq!(told(&gate, dialect, "/open", "").await, [None, None], "{dialect}");
        assert_eq!(told(&plain, dialect, "/open", "cookie: a=1\r\n").await, [None, None], "{dialect}: no source reads cookies");
        let upgrade = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (query, left) in [(format!("?token={APP}"), "/app"), (format!("?a=%7e&token={APP}&b"), "/app?a=%7e&b")] {
            assert_eq!(told(&gate, dialect, &format!("/app{query}"), upgrade).await, [None, Some(left.to_owned())], "{dialect}: {query}");
        }
    }
}
