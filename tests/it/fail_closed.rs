//! Doubt is a denial. Each way of being in doubt has a reason of its own, and the upstream hears of none of them.

mod credentials;

use std::sync::Arc;

use scopegate::gate::{Door, Gate as Decider};
use scopegate::live::Live;
use scopegate::policy::Outcome;
use scopegate::proto::attribute_context::{HttpRequest, Request};
use scopegate::proto::{AttributeContext, CheckRequest, Entry, HeaderMap, HeaderValue};
use scopegate::request::{Body, RawRequest};
use scopegate::telemetry::Telemetry;
use scopegate::transport::ext_authz::{self, Health, check};

use crate::harness::grpc::{self, Asked, Client, metadata, reason, status};
use crate::harness::{Gate, ask};

const POLICY: &str = "
routes:
  GET /app: app:use
  GET /open: public
  POST /rpc: {authenticated: true, tools: {run: query:run}, max_body: 1KiB}
";
const TOKENS: &str = r#"[
  {"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use", "query:run"]},
  {"id": "other", "token": "token-of-another-1", "scopes": ["other:use"]}
]"#;
const APP: &str = "token-of-the-app-1";
const CALL: &str = r#"{"method":"tools/call","params":{"name":"run"}}"#;

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

async fn proxied(gate: &Gate, request: String) -> (u16, Option<String>) {
    let reply = ask(gate.proxy(), request).await;
    (reply.status, reply.header("x-scopegate-reason"))
}

fn denied(status: u16, reason: &str) -> (u16, Option<String>) {
    (status, Some(reason.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_allows_is_denied() {
    let gate = Gate::start(POLICY, TOKENS).await;
    for (target, headers, answer) in [
        ("GET /nowhere", String::new(), denied(401, "no_credential")),
        ("GET /nowhere", bearer(APP), denied(403, "no_rule")),
        ("GET /", bearer(APP), denied(403, "no_rule")),
        ("POST /open", bearer(APP), denied(403, "no_rule")),
        ("GET /app", bearer("token-of-another-1"), denied(403, "insufficient_scope")),
        ("GET /app", bearer("token-of-nobody-1"), denied(401, "invalid_credential")),
    ] {
        assert_eq!(proxied(&gate, format!("{target} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await, answer, "{target} {headers}");
    }
    assert!(gate.upstream.take().is_empty());
    assert_eq!(proxied(&gate, format!("GET /app HTTP/1.1\r\nhost: a\r\n{}\r\n", bearer(APP))).await, (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_loaded_set_every_decision_is_503() {
    let gate = Decider { live: Arc::new(Live::default()), telemetry: Arc::new(Telemetry::default()), limiter: Arc::default() };
    let headers: &[(&str, &[u8])] = &[("authorization", b"Bearer token-of-the-app-1")];
    for target in [&b"/app"[..], b"/open", b"//", b""] {
        let raw = RawRequest { method: b"GET", target, host: Some(b"a"), headers: &headers, link: Default::default() };
        let guard = gate.live.current();
        for door in Door::ALL {
            let verdict = gate.decide(door, guard.as_deref(), &raw, (Body::Unread, "")).await;
            let Outcome::Deny(denial) = &verdict.decision.outcome else { panic!("{:?}", verdict.decision) };
            assert_eq!((denial.reason.as_str(), denial.reason.status(), verdict.generation), ("not_ready", 503, 0));
        }
    }
    let response = check(&gate, &[], (&Asked::get("/open", None).check(), None)).await;
    assert_eq!((status(&response), reason(&response).as_deref()), (503, Some("not_ready")));
    assert_eq!(grpc::denied_header(&response, "retry-after").as_deref(), Some("1"));
    assert_eq!(response.status.unwrap().code, 14, "UNAVAILABLE");
    let status = gate.live.status();
    assert!(!status.ready && status.generation == 0, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_without_a_loaded_set_does_not_serve() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, incoming) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(Decider { live: Arc::new(Live::default()), telemetry: Arc::new(Telemetry::default()), limiter: Arc::default() });
    let health = Health::default();
    health.set(false).await;
    tokio::spawn(ext_authz::serve((gate, Vec::new()), health.clone(), incoming));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = connections.send(scopegate::transport::listener::Stream::Tcp(stream));
        }
    });
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let response = Asked::get("/open", None).ask(&mut Client::new(channel.clone())).await;
    assert_eq!(status(&response), 503);
    let mut client = HealthClient::new(channel);
    for (serving, expected) in [(false, 2), (true, 1)] {
        health.set(serving).await;
        for service in ["", "envoy.service.auth.v3.Authorization"] {
            let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
            assert_eq!(answer.status, expected, "{service:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_says_nothing_of_http_is_denied() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut client = grpc::connect(gate.ext_authz()).await;
    let attributes = |request| CheckRequest { attributes: Some(AttributeContext { request, context_extensions: Vec::new(), source: None }) };
    for request in [CheckRequest { attributes: None }, attributes(None), attributes(Some(Request { http: None }))] {
        let response = client.check(request).await.unwrap().into_inner();
        assert_eq!((status(&response), reason(&response).as_deref()), (400, Some("no_http_attributes")));
    }
    // Attributes there are, and nothing in them.
    let response = client.check(attributes(Some(Request { http: Some(HttpRequest::default()) }))).await.unwrap().into_inner();
    assert_eq!((status(&response), reason(&response).as_deref()), (400, Some("invalid_method")));
    let response = Asked::get("", Some(APP)).ask(&mut client).await;
    assert_eq!((status(&response), reason(&response).as_deref()), (400, Some("empty_path")));
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_of_the_peers_route_add_to_the_gates_own() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut client = grpc::connect(gate.ext_authz()).await;
    let mut asked = async |target: &str, token: Option<&str>, extensions: &[(&'static str, &'static str)]| {
        let asked = Asked { extensions: extensions.to_vec(), ..Asked::get(target, token) };
        let response = asked.ask(&mut client).await;
        (status(&response), reason(&response))
    };
    assert_eq!(asked("/app", Some(APP), &[("scopegate.scopes", "query:run")]).await, (200, None));
    assert_eq!(asked("/app", Some(APP), &[("scopegate.scopes", "query:run more:use")]).await, denied(403, "insufficient_scope"));
    assert_eq!(asked("/open", None, &[("scopegate.scopes", "query:run")]).await, denied(401, "no_credential"), "an open route is closed by it");
    assert_eq!(asked("/open", Some(APP), &[("scopegate.scopes", "query:run")]).await, (200, None));
    let two = [("scopegate.scopes", "query:run"), ("scopegate.scopes", "app:use")];
    assert_eq!(asked("/app", Some(APP), &two).await, denied(400, "ambiguous_header"), "a doubled map key");
    assert_eq!(asked("/app", Some(APP), &[("other", "query:none")]).await, (200, None));
    assert_eq!(asked("/app", Some("token-of-another-1"), &[("scopegate.scopes", "")]).await, denied(403, "insufficient_scope"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_are_refused_in_both_encodings() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut client = grpc::connect(gate.ext_authz()).await;
    let (one, two) = (format!("Bearer {APP}"), "Bearer token-of-another-1".to_owned());
    let entry = |key: &'static str, value: &str| Entry { key: key.into(), value: value.to_owned().into() };
    let header = |value: &str| HeaderValue { key: "authorization".into(), raw_value: value.to_owned().into(), ..Default::default() };
    let http = HttpRequest { method: "GET".into(), path: "/app".into(), host: "a".into(), ..Default::default() };
    let map = |values: &[&str]| Some(HeaderMap { headers: values.iter().map(|value| header(value)).collect() });
    let encodings = [
        HttpRequest { headers: vec![entry("authorization", &format!("{one},{two}"))], ..http.clone() },
        HttpRequest { headers: vec![entry("authorization", &one), entry("authorization", &two)], ..http.clone() },
        HttpRequest { headers: vec![entry("authorization", &one), entry("Authorization", &one)], ..http.clone() },
        HttpRequest { header_map: map(&[&one, &two]), ..http.clone() },
        HttpRequest { header_map: map(&[&format!("{one}, {two}")]), ..http.clone() },
        // Both encodings at once: the raw one counts, and the other does not make up for it.
        HttpRequest { header_map: map(&[&one, &two]), headers: vec![entry("authorization", &one)], ..http.clone() },
    ];
    for http in encodings {
        let attributes = AttributeContext { request: Some(Request { http: Some(http.clone()) }), context_extensions: Vec::new(), source: None };
        let response = client.check(CheckRequest { attributes: Some(attributes) }).await.unwrap().into_inner();
        assert_eq!((status(&response), reason(&response)), denied(400, "ambiguous_credential"), "{http:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_there_whole_is_denied_where_it_decides() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut client = grpc::connect(gate.ext_authz()).await;
    for raw in [false, true] {
        let asked = |headers: &[(&str, &str)], body: &str| Asked {
            method: b"POST".to_vec(),
            body: body.as_bytes().to_vec(),
            headers: [("authorization", format!("Bearer {APP}").as_str())]
                .iter()
                .chain(headers)
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            raw,
            ..Asked::get("/rpc", None)
        };
        let whole = asked(&[], CALL).ask(&mut client).await;
        assert_eq!((status(&whole), metadata(&whole, "id").as_deref()), (200, Some("app")));
        for (headers, body) in [
            (&[][..], ""),
            (&[("x-envoy-auth-partial-body", "true")], CALL),
            (&[("x-envoy-auth-partial-body", "")], CALL),
            (&[("x-envoy-auth-partial-body", "false"), ("x-envoy-auth-partial-body", "true")], CALL),
            (&[("content-length", "46")], CALL),
            (&[("content-length", "48")], CALL),
            (&[("content-length", "1000000")], CALL),
            (&[("content-length", "-1")], CALL),
            (&[("content-length", "x")], CALL),
            (&[("content-length", "47"), ("content-length", "47")], CALL),
        ] {
            let response = asked(headers, body).ask(&mut client).await;
            assert_eq!((status(&response), reason(&response)), denied(400, "partial_body"), "raw {raw}: {headers:?} {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_inspected_as_it_will_be_read() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let head = format!("POST /rpc HTTP/1.1\r\nhost: a\r\n{}transfer-encoding: chunked\r\n\r\n", bearer(APP));
    let halves = format!("14\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", &CALL[..20], CALL.len() - 20, &CALL[20..]);
    assert_eq!(proxied(&gate, format!("{head}{halves}")).await, (200, None));
    let seen = gate.upstream.take();
    assert_eq!((seen.len(), String::from_utf8(seen[0].body.clone()).unwrap()), (1, CALL.to_owned()));
    let long = format!("{head}800\r\n{}\r\n0\r\n\r\n", " ".repeat(0x800));
    assert_eq!(proxied(&gate, long).await, denied(400, "partial_body"), "longer than `max_body`");
    assert_eq!(proxied(&gate, format!("{head}0\r\n\r\n")).await, denied(400, "partial_body"), "an empty one");
    assert!(gate.upstream.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_host_is_denied_where_some_rule_speaks_of_hosts() {
    let hosts = format!("{POLICY}  example.com/app: deny\n");
    for (policy, answer) in [(POLICY, (200, None)), (&hosts, denied(400, "ambiguous_host"))] {
        let gate = Gate::start(policy, TOKENS).await;
        let mut client = grpc::connect(gate.ext_authz()).await;
        let response = Asked { host: Vec::new(), ..Asked::get("/app", Some(APP)) }.ask(&mut client).await;
        assert_eq!((status(&response), reason(&response)), answer, "ext_authz");
        let old = format!("GET /app HTTP/1.0\r\n{}\r\n", bearer(APP));
        assert_eq!(proxied(&gate, old).await, answer, "HTTP/1.0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forward_auth_believes_nobody_but_its_proxies() {
    let gate = Gate::start(&format!("{POLICY}trusted_proxies: [192.0.2.0/24]\n"), TOKENS).await;
    let described = "x-forwarded-method: GET\r\nx-forwarded-uri: /open\r\nx-forwarded-host: a\r\nx-original-method: GET\r\nx-original-uri: /open\r\nx-original-url: http://a/open\r\n";
    for (path, status) in [("/traefik", 400), ("/caddy", 400), ("/nginx", 403), ("/ingress-nginx/a", 403), ("/envoy/open", 400)] {
        let reply = ask(gate.forward_auth(), format!("GET {path} HTTP/1.1\r\nhost: a\r\n{described}\r\n")).await;
        assert_eq!((reply.status, reply.header("x-scopegate-reason")), denied(status, "invalid_forwarded"), "{path}");
    }
}

/// The controller's own word of a request is one URL, with the client's `Host` in it; the path says which host nginx chose by.
#[tokio::test(flavor = "multi_thread")]
async fn an_original_url_counts_once_and_only_for_the_host_that_nginx_chose() {
    let gate = Gate::start("routes: {open.test/orders: public, shop.test/orders: app:use, '[::1]/orders': public}\n", TOKENS).await;
    let asked = async |path: &str, lines: &str| {
        let reply = ask(gate.forward_auth(), format!("GET {path} HTTP/1.1\r\nhost: gate\r\nx-original-method: GET\r\n{lines}\r\n")).await;
        (reply.status, reply.header("x-scopegate-reason"))
    };
    let refused = denied(403, "invalid_forwarded");
    let [open, shop] = ["open", "shop"].map(|name| format!("/ingress-nginx/{name}.test"));
    for (url, path) in [
        ("http://open.test/orders", &*open),
        ("https://open.test/orders?x=1", &open),
        ("http://OPEN.test.:8443/orders", &open),
        ("http://[::1]:80/orders", "/ingress-nginx/[::1]"),
    ] {
        assert_eq!(asked(path, &format!("x-original-url: {url}\r\n")).await, (200, None), "{url}");
        // What other dialects go by is the client's own here.
        let others = "x-original-uri: /none\r\nx-forwarded-host: shop.test\r\nx-forwarded-uri: /none\r\nx-forwarded-method: PUT\r\n";
        assert_eq!(asked(path, &format!("x-original-url: {url}\r\n{others}")).await, (200, None), "{url}");
        assert_eq!(asked(path, &format!("x-original-url: {url}\r\nx-original-url: {url}\r\n")).await, refused, "{url} twice");
        assert_eq!(asked(path, &format!("x-original-url: {url}\r\nx-original-method: GET\r\n")).await, refused, "the method twice");
        // nginx went by `shop.test`, and the client wrote another into `Host`.
        assert_eq!(asked(&shop, &format!("x-original-url: {url}\r\n")).await, refused, "{url}");
    }
    assert_eq!(asked(&shop, "x-original-url: http://shop.test/orders\r\n").await, denied(401, "no_credential"));
    assert_eq!(asked(&open, "").await, refused);
    let urls = ["", "/orders", "open.test/orders", "ftp://open.test/orders", "HTTP://open.test/orders", "http://open.test", "http:///orders"];
    for url in
        urls.into_iter().chain(["http://a@open.test/orders", "http://open.test:x/orders", "http://open.test..shop.test/orders", "//open.test/orders"])
    {
        assert_eq!(asked(&open, &format!("x-original-url: {url}\r\n")).await, refused, "{url:?}");
    }
    for path in
        ["/ingress-nginx/OPEN.test", "/ingress-nginx/open.test:80", "/ingress-nginx/open.test/", "/ingress-nginx/open.test?x", "/ingress-nginx/$host"]
    {
        assert_eq!(asked(path, "x-original-url: http://open.test/orders\r\n").await, refused, "{path}");
    }
    assert_eq!(asked(&open, "x-original-url: http://open.test/a/../orders\r\n").await, denied(403, "ambiguous_path"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dialect_reads_its_own_headers_once() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let traefik = ["x-forwarded-method: GET", "x-forwarded-uri: /open", "x-forwarded-host: a"];
    let nginx = ["x-original-method: GET", "x-original-uri: /open", "x-forwarded-host: a"];
    let asked = async |path: &str, headers: &[&str]| {
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        ask(gate.forward_auth(), format!("GET {path} HTTP/1.1\r\nhost: gate\r\n{lines}\r\n")).await.status
    };
    for (path, own, other, refused) in [("/traefik", traefik, nginx, 400), ("/caddy", traefik, nginx, 400), ("/nginx", nginx, traefik, 403)] {
        assert_eq!(asked(path, &own).await, 200, "{path}");
        assert_eq!(asked(path, &other).await, refused, "{path} described in another dialect");
        assert_eq!(asked(path, &[]).await, refused, "{path} described in none");
        for index in 0..own.len() {
            let mut less = own.to_vec();
            let line = less.remove(index);
            assert_eq!(asked(path, &less).await, refused, "{path} without {line}");
            let mut more = own.to_vec();
            more.push(line);
            assert_eq!(asked(path, &more).await, refused, "{path} with {line} twice");
        }
        // What the other dialects would say does not matter.
        let mut both = own.to_vec();
        both.extend(other.iter().filter(|line| !own.contains(line)).map(|line| if line.contains("uri") { "x-original-url: /app" } else { *line }));
        assert_eq!(asked(path, &both).await, 200, "{path} with another dialect's headers beside its own");
    }
    for path in ["/", "/nginx/", "/ingress-nginx", "/ingress-nginx/", "/Traefik", "/envoy", "/traefik/open", "/verify"] {
        assert_eq!(asked(path, &traefik).await, 404, "{path} is no dialect");
    }
}
