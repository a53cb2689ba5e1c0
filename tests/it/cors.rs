//! Pages in browsers: who may read an answer, who may ask beforehand, and who may open a WebSocket.

use crate::harness::grpc::{self, Asked};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Reply;
use crate::harness::{Gate, ask};
use scopegate::proto::check_response::HttpResponse;

const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const CONFIG: &str = "\
cors: {origins: ['https://app.example.com'], credentials: true, max_age: 5m}
routes:
  GET /open: public
  POST /use: app:use
  GET /ws: public
  POST /own: {scopes: [app:use], preflight: pass}
  POST /plain: {scopes: [app:use], preflight: require}
";
const PAGE: &str = "https://app.example.com";

async fn sent(gate: &Gate, line: &str, fields: &str) -> Reply {
    ask(gate.proxy(), format!("{line} HTTP/1.1\r\nhost: api.example.com\r\n{fields}\r\n")).await
}

fn preflight(origin: &str, method: &str) -> String {
    format!("origin: {origin}\r\naccess-control-request-method: {method}\r\naccess-control-request-headers: authorization, x-api-key\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_before_authentication_and_goes_no_further() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let reply = sent(&gate, "OPTIONS /use", &preflight(PAGE, "POST")).await;
    assert_eq!((reply.status, reply.text().as_str()), (204, ""));
    for (name, value) in [
        ("access-control-allow-origin", PAGE),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "authorization, x-api-key"),
        ("access-control-max-age", "300"),
        ("vary", "Origin"),
    ] {
        assert_eq!(reply.header(name).as_deref(), Some(value), "{name}");
    }
    // A method that no route has: answered, and not allowed.
    let other = sent(&gate, "OPTIONS /use", &preflight(PAGE, "DELETE")).await;
    assert_eq!((other.status, other.header("access-control-allow-methods")), (204, None));
    for origin in [
        "null",
        "https://app.example.com.evil.com",
        "https://evilapp.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://APP.example.com",
        "https://app.example.com/",
    ] {
        let foreign = sent(&gate, "OPTIONS /use", &preflight(origin, "POST")).await;
        assert_eq!(foreign.status, 204, "{origin}");
        let told: Vec<_> = foreign.headers.iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("access-control")).collect();
        assert!(told.is_empty(), "{origin}: {told:?}");
        assert_eq!(foreign.header("vary").as_deref(), Some("Origin"));
    }
    assert!(gate.upstream.take().is_empty(), "a preflight went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_options_request_that_is_no_preflight_is_decided_like_any() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    assert_eq!(sent(&gate, "OPTIONS /use", "").await.status, 401);
    assert_eq!(sent(&gate, "OPTIONS /use", &format!("origin: {PAGE}\r\n")).await.status, 401);
    assert_eq!(sent(&gate, "OPTIONS /use", "access-control-request-method: POST\r\n").await.status, 401);
    assert_eq!(sent(&gate, "OPTIONS /plain", &preflight(PAGE, "POST")).await.status, 401);
    assert!(gate.upstream.take().is_empty());
    assert_eq!(sent(&gate, "OPTIONS /own", &preflight(PAGE, "POST")).await.status, 200);
    assert_eq!(gate.upstream.take().len(), 1, "a route that passes preflights does");
    assert_eq!(sent(&gate, "POST /own", &format!("origin: {PAGE}\r\ncontent-length: 0\r\n")).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_refusals_tell_the_page_and_the_upstreams_word_does_not_count() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\nvary: accept\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gate = Gate::before(upstream, CONFIG, TOKENS).await;
    let origins = |reply: &Reply| -> Vec<String> {
        let own = reply.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("access-control-allow-origin"));
        own.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    };
    let varies = |reply: &Reply| reply.headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("vary") && value == b"Origin");
    for (line, fields, status) in [
        ("GET /open", "", 200),
        ("POST /use", "authorization: Bearer token-of-the-app-1\r\ncontent-length: 0\r\n", 200),
        ("POST /use", "content-length: 0\r\n", 401),
        ("POST /use", "authorization: Bearer wrong\r\ncontent-length: 0\r\n", 401),
        ("GET /nowhere", "authorization: Bearer token-of-the-app-1\r\n", 403),
        ("GET //", "", 400),
    ] {
        let reply = sent(&gate, line, &format!("origin: {PAGE}\r\n{fields}")).await;
        assert_eq!((reply.status, origins(&reply)), (status, vec![PAGE.to_owned()]), "{line}");
        assert!(varies(&reply), "{line}");
        let foreign = sent(&gate, line, &format!("origin: https://evil.example.com\r\n{fields}")).await;
        assert_eq!((foreign.status, origins(&foreign)), (status, vec![]), "{line}");
        assert!(varies(&foreign), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_of_another_origin_is_refused() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
    for origin in ["https://evil.example.com", "null", "https://app.example.com.evil.com"] {
        let reply = sent(&gate, "GET /ws", &format!("origin: {origin}\r\n{upgrade}")).await;
        assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (403, Some("wrong_origin")), "{origin}");
        let mut check = Asked::get("/ws", None);
        check.headers = format!("origin: {origin}\r\n{upgrade}")
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let response = check.ask(&mut grpc::connect(gate.ext_authz()).await).await;
        assert_eq!((grpc::status(&response), grpc::reason(&response).as_deref()), (403, Some("wrong_origin")), "{origin}");
    }
    assert!(gate.upstream.take().is_empty());
    // Listed, the gate's own, or no browser at all: the upstream of this test does not speak WebSocket and answers 200.
    for origin in ["origin: https://app.example.com\r\n", "origin: http://api.example.com\r\n", ""] {
        assert_eq!(sent(&gate, "GET /ws", &format!("{origin}{upgrade}")).await.status, 200, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_told_the_same() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let mut client = grpc::connect(gate.ext_authz()).await;
    let with = |mut asked: Asked, fields: &[(&str, &str)]| {
        asked.headers.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())));
        asked
    };
    let mut asked = with(Asked::get("/use", None), &[("origin", PAGE), ("access-control-request-method", "POST")]);
    asked.method = b"OPTIONS".to_vec();
    let response = asked.ask(&mut client).await;
    assert_eq!(grpc::status(&response), 204);
    assert_ne!(response.status.as_ref().unwrap().code, 0, "nothing goes on");
    assert_eq!(grpc::denied_header(&response, "access-control-allow-origin").as_deref(), Some(PAGE));
    assert_eq!(grpc::denied_header(&response, "access-control-allow-methods").as_deref(), Some("POST"));
    let response = with(Asked::get("/open", None), &[("origin", PAGE)]).ask(&mut client).await;
    let Some(HttpResponse::OkResponse(allowed)) = &response.http_response else { panic!("{response:?}") };
    let told: Vec<_> =
        allowed.response_headers_to_add.iter().filter_map(|option| option.header.as_ref()).map(|header| (&*header.key, &*header.value)).collect();
    assert!(
        told.contains(&(b"access-control-allow-origin".as_slice(), PAGE.as_bytes())) && told.contains(&(b"vary".as_slice(), b"Origin".as_slice()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_every_2xx_for_an_allow_is_never_told_204() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    for (path, names) in [
        ("/nginx", ["x-original-method", "x-original-uri"]),
        ("/traefik", ["x-forwarded-method", "x-forwarded-uri"]),
        ("/caddy", ["x-forwarded-method", "x-forwarded-uri"]),
    ] {
        let fields = format!("{}: OPTIONS\r\n{}: /use\r\nx-forwarded-host: api.example.com\r\n{}", names[0], names[1], preflight(PAGE, "POST"));
        let reply = ask(gate.forward_auth(), format!("GET {path} HTTP/1.1\r\nhost: gate\r\n{fields}\r\n")).await;
        assert_eq!(reply.status, 401, "{path}");
    }
    let reply = ask(gate.forward_auth(), format!("OPTIONS /envoy/use HTTP/1.1\r\nhost: api.example.com\r\n{}\r\n", preflight(PAGE, "POST"))).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin").as_deref()), (204, Some(PAGE)));
}
