//! The bytes of a 429 at each door.

use http::{HeaderMap, Request, StatusCode};
use scopegate::gate::unix_now;
use scopegate::proto::check_response::HttpResponse;
use tokio::net::TcpStream;

use super::{ONE, TOKENS, allowed, bearer, is_in};
use crate::harness::grpc::{self, Asked, denied_header};
use crate::harness::wire::Reply;
use crate::harness::{Gate, ask};

const CONFIG: &str = "\
cors: {origins: ['https://app.example.com']}
routes:
  /x: {scopes: [app:use], rate_limit: {rate: 2/d, burst: 1}}
";
/// Half a day.
const WAIT: i64 = 43_200;
const HEADERS: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("ratelimit-policy", "\"principal\";q=2;w=86400"),
    ("x-ratelimit-limit", "2"),
    ("x-ratelimit-remaining", "0"),
];

async fn used_up() -> Gate {
    let gate = Gate::start(CONFIG, TOKENS).await;
    assert_eq!(allowed(&gate, "GET /x", &bearer(ONE), 1).await, 1);
    gate
}

/// Checks what has no fixed text, and gives the seconds that are told.
fn is_told(header: impl Fn(&str) -> Option<String>, before: i64) -> String {
    for (name, expected) in HEADERS {
        assert_eq!(header(name).as_deref(), Some(expected), "{name}");
    }
    let wait = header("retry-after").unwrap();
    let seconds: i64 = wait.parse().unwrap();
    // Less what has come back since the first.
    assert!((WAIT - 60..=WAIT).contains(&seconds), "{seconds}");
    assert_eq!(header("ratelimit").unwrap(), format!("\"principal\";r=0;t={wait}"));
    assert!(is_in(seconds, &header("x-ratelimit-reset").unwrap(), before));
    assert_eq!(header("www-authenticate"), None);
    assert_eq!(header("x-scopegate-reason").as_deref(), Some("too_many_requests"));
    wait
}

fn is_whole(reply: &Reply, before: i64) {
    let wait = is_told(|name| reply.header(name), before);
    assert_eq!(reply.text(), format!(r#"{{"error":"too_many_requests","message":"Rate limit exceeded","retryAfter":{wait}}}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_door_says_it_on_the_short_way_and_on_the_long_one() {
    let (before, gate) = (unix_now(), used_up().await);
    let origin = "origin: https://app.example.com\r\n";
    for (line, more) in [("GET /x", ""), ("GET /x", "te: trailers\r\n"), ("POST /x", "content-length: 2\r\n")] {
        let body = if more.starts_with("content") { "ok" } else { "" };
        let reply = ask(gate.proxy(), format!("{line} HTTP/1.1\r\nhost: a\r\n{}{origin}{more}\r\n{body}", bearer(ONE))).await;
        assert_eq!(reply.status, 429);
        is_whole(&reply, before);
        // Otherwise a page would see no more than a broken network.
        assert_eq!(reply.header("access-control-allow-origin").as_deref(), Some("https://app.example.com"));
    }
    let head = ask(gate.proxy(), format!("HEAD /x HTTP/1.1\r\nhost: a\r\n{}\r\n", bearer(ONE))).await;
    assert_eq!((head.status, head.body.len()), (429, 0));
    is_told(|name| head.header(name), before);
    assert_eq!(gate.upstream.take().len(), 1, "nothing went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_is_told_that_it_is_unavailable() {
    let gate = used_up().await;
    let stream = TcpStream::connect(gate.proxy()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a/x").header("authorization", format!("Bearer {ONE}")).header("content-type", "application/grpc");
    let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    let response = response.await.unwrap();
    let said = |headers: &HeaderMap, name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(said(response.headers(), "grpc-status").as_deref(), Some("14"));
    assert_eq!(said(response.headers(), "grpc-message").as_deref(), Some("Rate limit exceeded"));
    assert!(said(response.headers(), "retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_given_all_of_it_to_pass_on() {
    let (before, gate) = (unix_now(), used_up().await);
    let mut checks = grpc::connect(gate.ext_authz()).await;
    for raw in [false, true] {
        let response = Asked { raw, ..Asked::get("/x", Some(ONE)) }.ask(&mut checks).await;
        assert_eq!((grpc::status(&response), response.status.as_ref().unwrap().code), (429, 8));
        let wait = is_told(|name| denied_header(&response, name), before);
        let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else { panic!("no denial") };
        assert_eq!(denied.body, format!(r#"{{"error":"too_many_requests","message":"Rate limit exceeded","retryAfter":{wait}}}"#));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forward_auth_door_says_it_and_to_nginx_as_a_403() {
    let (before, gate) = (unix_now(), used_up().await);
    let described = "x-forwarded-method: GET\r\nx-forwarded-uri: /x\r\nx-forwarded-host: a\r\nx-original-method: GET\r\nx-original-uri: /x\r\n";
    for (target, status) in [("/envoy/x", 429), ("/traefik", 429), ("/caddy", 429), ("/nginx", 403)] {
        let reply = ask(gate.forward_auth(), format!("GET {target} HTTP/1.1\r\nhost: a\r\n{}{described}\r\n", bearer(ONE))).await;
        assert_eq!(reply.status, status, "{target}");
        is_whole(&reply, before);
    }
}
