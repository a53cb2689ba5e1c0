//! `rate_limit`: who shares one, what takes of it and what does not, and the same numbers at every door. Rates are by the day, so that
//! nothing comes back while a test looks.

mod answers;
mod clients;
mod keys;

use std::sync::Arc;

use scopegate::gate::unix_now;

use crate::harness::everywhere::{Doors, Request};
use crate::harness::frames::{UPGRADE, agreed};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire};
use crate::harness::{Gate, ask};

const TOKENS: &str = r#"[
  {"id": "one", "token": "token-of-one-0001", "scopes": ["app:use"], "tenant": "acme"},
  {"id": "two", "token": "token-of-two-0002", "scopes": ["app:use"], "tenant": "acme"},
  {"id": "three", "token": "token-of-three-03", "scopes": ["app:use"], "tenant": "other"},
  {"id": "four", "token": "token-of-four-004", "scopes": ["other:use"]}
]"#;
const ONE: &str = "token-of-one-0001";
const TWO: &str = "token-of-two-0002";
const THREE: &str = "token-of-three-03";
const FOUR: &str = "token-of-four-004";

/// How many of `tries` are let through at the proxy door.
async fn allowed(gate: &Gate, line: &str, fields: &str, tries: usize) -> usize {
    let mut count = 0;
    for _ in 0..tries {
        let reply = ask(gate.proxy(), format!("{line} HTTP/1.1\r\nhost: a\r\n{fields}content-length: 0\r\n\r\n")).await;
        assert!(matches!(reply.status, 200 | 429), "{} {}", reply.status, reply.text());
        count += usize::from(reply.status == 200);
    }
    count
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_takes_one_at_every_door_and_where_none_is_left_they_all_say_so() {
    // As many as there are doors and dialects.
    let gate = Gate::start("routes: {GET /x: {scopes: [app:use], rate_limit: {rate: 1/d, burst: 6}}}\n", TOKENS).await;
    let mut doors = Doors::open(&gate).await;
    let request = Request::get("/x").bearer(ONE);
    assert_eq!(doors.ask(&request).await.status, 200);
    assert!(doors.ask(&request).await.is_denied(429, "too_many_requests"));
    assert_eq!(doors.ask(&Request::get("/x").bearer(TWO)).await.status, 200, "another has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_and_a_route_are_shared_and_a_principal_is_not() {
    let limit = |per: &str| format!("{{scopes: [app:use], rate_limit: {{rate: 1/d, burst: 3, per: {per}}}}}");
    let routes = ["principal", "tenant", "route"].map(|per| format!("  GET /{per}: {}\n", limit(per))).concat();
    let gate = Gate::start(&format!("routes:\n{routes}  GET /again: {}\n", limit("tenant")), TOKENS).await;
    for (path, counts) in [("principal", [3, 3, 3]), ("tenant", [3, 0, 3]), ("route", [3, 0, 0]), ("again", [3, 0, 3])] {
        for (token, expected) in [ONE, TWO, THREE].into_iter().zip(counts) {
            assert_eq!(allowed(&gate, &format!("GET /{path}"), &bearer(token), 5).await, expected, "{path} {token}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_takes_nothing_that_others_share() {
    let config = "routes:\n  GET /p: {scopes: [app:use], rate_limit: {rate: 1/d, burst: 2}}\n  GET /r: {scopes: [app:use], rate_limit: {rate: 1/d, burst: 2, per: route}}\n";
    let gate = Gate::start(config, TOKENS).await;
    let mut doors = Doors::open(&gate).await;
    for path in ["/p", "/r"] {
        for _ in 0..2 {
            assert!(doors.ask(&Request::get(path)).await.is_denied(401, "no_credential"));
            assert!(doors.ask(&Request::get(path).bearer("token-of-nobody-9")).await.is_denied(401, "invalid_credential"));
            assert!(doors.ask(&Request::get(path).bearer(FOUR)).await.is_denied(403, "insufficient_scope"));
        }
        assert_eq!(allowed(&gate, &format!("GET {path}"), &bearer(ONE), 5).await, 2, "{path}");
    }
    // A principal that has used its own up is still told what it lacks.
    assert!(doors.ask(&Request::get("/p").bearer(FOUR)).await.is_denied(403, "insufficient_scope"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_has_to_be_looked_at_takes_one() {
    let gate = Gate::start("routes: {POST /rpc: {tools: {run: app:use}, rate_limit: {rate: 1/d, burst: 2}}}\n", TOKENS).await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run"}}"#;
    let request = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nhost: a\r\n{}{more}content-length: {}\r\n\r\n{call}", bearer(ONE), call.len());
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(ask(gate.proxy(), request("POST /rpc", "")).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(ask(gate.forward_auth(), request("POST /envoy/rpc", "")).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_an_explanation_nor_an_open_stream_takes_any() {
    let upstream = Upstream::serving(async |mut wire: Wire, request: Message| {
        let upgrade = request.first.starts_with("GET /ws");
        wire.send(if upgrade { agreed(&request) } else { "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into() }).await;
        Some(wire)
    })
    .await;
    let config = "routes: {/: {scopes: [app:use], rate_limit: {rate: 1/d, burst: 3}}}\n";
    let gate = Gate::before(upstream, config, TOKENS).await;
    let mut stream = Wire::connect(gate.proxy()).await;
    stream.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{}{UPGRADE}\r\n", bearer(ONE))).await;
    assert!(stream.response_head().await.starts_with("HTTP/1.1 101 "));
    let question = format!(r#"{{"method":"GET","path":"/x","headers":{{"authorization":"Bearer {ONE}"}}}}"#);
    for _ in 0..5 {
        // Every reload looks at the stream again.
        assert_eq!(gate.reload().await.status, 200);
        let head = format!("POST /explain HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", question.len());
        assert_eq!(ask(gate.admin(), format!("{head}{question}")).await.status, 200);
    }
    assert_eq!(allowed(&gate, "GET /x", &bearer(ONE), 5).await, 2, "and a reload gives none back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_rate_and_forgets_nothing() {
    let config = |burst: u32| format!("routes: {{GET /x: {{scopes: [app:use], rate_limit: {{rate: 1/d, burst: {burst}}}}}}}\n");
    let gate = Gate::start(&config(2), TOKENS).await;
    assert_eq!(allowed(&gate, "GET /x", &bearer(ONE), 5).await, 2);
    gate.rewrite(&config(5));
    assert_eq!(gate.reload().await.status, 200);
    assert_eq!(allowed(&gate, "GET /x", &bearer(ONE), 5).await, 3, "of five, two are taken");
    gate.rewrite(&format!("{}limits: {{timeout: 1s}}\n", config(5)));
    let reply = gate.reload().await;
    assert!(reply.status != 200 && reply.text().contains("`limits`"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_no_more_than_there_are() {
    let gate = Arc::new(Gate::start("routes: {GET /x: {scopes: [app:use], rate_limit: {rate: 1/d, burst: 25, per: tenant}}}\n", TOKENS).await);
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { allowed(&gate, "GET /x", &bearer(if number % 2 == 0 { ONE } else { TWO }), 10).await })
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    assert_eq!(sum, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_to_the_operator_too() {
    let gate = Gate::start("routes: {GET /x: {scopes: [app:use], rate_limit: {rate: 1/d}}}\n", TOKENS).await;
    assert_eq!(allowed(&gate, "GET /x", &bearer(ONE), 2).await, 1);
    let line = gate.audit().await.lines().last().unwrap().to_owned();
    for part in [r#""outcome":"deny""#, r#""reason":"too_many_requests""#, r#""principal":"one""#, r#""route":"GET /x""#] {
        assert!(line.contains(part), "{line}");
    }
    let metrics = gate.metrics().await;
    assert!(metrics.contains(r#"scopegate_decisions_total{door="proxy",outcome="deny",reason="too_many_requests"} 1"#), "{metrics}");
}

/// Whether a time of a header is this many seconds from now, give or take those of the test itself.
fn is_in(seconds: i64, at: &str, before: i64) -> bool {
    (before + seconds..=unix_now() + seconds).contains(&at.parse().unwrap())
}
