//! `per: ip`: where a client is, whom the gate believes about it, and what it cannot do by guessing.

use scopegate::proto::address::{Pipe, SocketAddress};
use scopegate::proto::attribute_context::Peer;
use scopegate::proto::{Address, CheckResponse, Value, value::Kind};

use super::{FOUR, ONE, TOKENS, allowed, bearer};
use crate::harness::grpc::{self, Asked, Client};
use crate::harness::wire::Wire;
use crate::harness::{Gate, ask};

const CONFIG: &str = "\
routes:
  GET /open: {public: true, rate_limit: {rate: 1/d, burst: 2, per: ip}}
  GET /app: {scopes: [app:use], rate_limit: {rate: 1/d, burst: 2, per: ip}}
";

fn from(list: &str) -> String {
    format!("x-forwarded-for: {list}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_has_its_own() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    for (list, expected) in [
        ("192.0.2.1", 2),
        ("192.0.2.2", 2),
        ("192.0.2.1", 0),
        ("198.51.100.7, 192.0.2.1", 0),
        ("192.0.2.3, 127.0.0.1", 2),
        ("192.0.2.3", 0),
        ("2001:db8:1:2::1", 2),
        ("2001:db8:1:2:ffff::7", 0),
        ("2001:db8:1:3::1", 2),
        // Who cannot be told apart is one.
        ("unknown", 2),
        ("_hidden", 0),
    ] {
        assert_eq!(allowed(&gate, "GET /open", &from(list), 3).await, expected, "{list}");
    }
    assert_eq!(allowed(&gate, "GET /open", "", 3).await, 2, "the proxy itself");
    assert_eq!(allowed(&gate, "GET /app", &(bearer(ONE) + &from("192.0.2.1")), 3).await, 2, "each route counts for itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_become_another_by_saying_so() {
    let gate = Gate::start(&format!("{CONFIG}trusted_proxies: [192.0.2.0/24]\n"), TOKENS).await;
    assert_eq!(allowed(&gate, "GET /open", &from("198.51.100.1"), 3).await, 2);
    assert_eq!(allowed(&gate, "GET /open", &from("198.51.100.2"), 3).await, 0);
    assert_eq!(allowed(&gate, "GET /open", "te: trailers\r\nx-forwarded-for: 198.51.100.3\r\n", 3).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_tells_where_a_connection_comes_from() {
    let gate = Gate::start(&format!("{CONFIG}proxy_protocol: true\n"), TOKENS).await;
    for (header, expected) in [
        ("PROXY TCP4 192.0.2.1 192.0.2.9 1000 80\r\n", [200, 200, 429]),
        ("PROXY TCP4 192.0.2.2 192.0.2.9 1000 80\r\n", [200, 200, 429]),
        ("PROXY TCP4 192.0.2.1 192.0.2.9 1001 80\r\n", [429, 429, 429]),
        ("PROXY UNKNOWN\r\n", [200, 200, 429]),
    ] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(header).await;
        for (number, status) in expected.into_iter().enumerate() {
            // What such a client says of itself does not count.
            wire.send(format!("GET /open HTTP/1.1\r\nhost: a\r\n{}\r\n", from(&format!("198.51.100.{number}")))).await;
            assert_eq!(wire.reply(false).await.status, status, "{header} {number}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_is_counted_with_the_guesses() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let ask_as = async |credential: String, address: &str| {
        ask(gate.proxy(), format!("GET /app HTTP/1.1\r\nhost: a\r\n{credential}{}\r\n", from(address))).await.status
    };
    for expected in [401, 401, 429] {
        assert_eq!(ask_as(bearer("token-of-nobody-9"), "192.0.2.1").await, expected);
    }
    assert_eq!(ask_as(bearer(ONE), "192.0.2.1").await, 429, "a right guess looks like a wrong one");
    assert_eq!(ask_as(String::new(), "192.0.2.1").await, 429);
    for expected in [403, 403, 429] {
        assert_eq!(ask_as(bearer(FOUR), "192.0.2.2").await, expected);
    }
    // Nobody can use up what all share whose address is not known.
    for _ in 0..5 {
        assert_eq!(ask_as(bearer("token-of-nobody-9"), "unknown").await, 401);
    }
    assert_eq!(ask_as(bearer(ONE), "unknown").await, 200);
}

fn socket(address: &str) -> Option<Address> {
    Some(Address { socket_address: Some(SocketAddress { address: address.to_owned().into() }), pipe: None })
}

async fn check(checks: &mut Client, address: Option<Address>, list: Option<&str>) -> CheckResponse {
    let headers = list.map(|list| ("x-forwarded-for".to_owned(), list.as_bytes().to_vec())).into_iter().collect();
    let source = Some(Peer { address, ..Peer::default() });
    Asked { source, headers, raw: true, ..Asked::get("/open", None) }.ask(checks).await
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_says_who_called_it_and_a_client_of_its_own_says_nothing() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let mut checks = grpc::connect(gate.ext_authz()).await;
    let pipe = || Some(Address { socket_address: None, pipe: Some(Pipe {}) });
    for (address, list, expected) in [
        (socket("192.0.2.1"), None, [200, 200, 429]),
        (socket("192.0.2.1"), Some("198.51.100.1"), [429, 429, 429]),
        // Behind a proxy that is trusted, its account counts; Envoy itself may have added that proxy to it.
        (socket("127.0.0.1"), Some("198.51.100.1"), [200, 200, 429]),
        (socket("127.0.0.1"), Some("198.51.100.1, 127.0.0.1"), [429, 429, 429]),
        (pipe(), Some("198.51.100.2"), [200, 200, 429]),
        (None, Some("198.51.100.3"), [200, 200, 429]),
        (None, Some("198.51.100.4"), [429, 429, 429]),
        (socket("not an address"), Some("198.51.100.5"), [429, 429, 429]),
    ] {
        for status in expected {
            let response = check(&mut checks, address.clone(), list).await;
            assert_eq!(grpc::status(&response), status, "{address:?} {list:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_own_rate_limiting_is_told_whom_to_count() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let mut checks = grpc::connect(gate.ext_authz()).await;
    let source = |address| Some(Peer { address: socket(address), ..Peer::default() });
    for (asked, expected) in [
        (
            Asked { source: source("2001:db8:1:2::7"), ..Asked::get("/app", Some(ONE)) },
            &[("principal", "tokens/acme/one"), ("tenant", "acme"), ("route", "GET /app"), ("ip", "2001:db8:1:2::")][..],
        ),
        (Asked { source: source("192.0.2.1"), ..Asked::get("/open", None) }, &[("route", "GET /open"), ("ip", "192.0.2.1")]),
        (Asked::get("/open", None), &[("route", "GET /open")]),
    ] {
        assert_eq!(counted(&asked.ask(&mut checks).await), Some(expected.iter().map(|(key, value)| format!("{key}={value}")).collect()));
    }
    // What is refused goes no further, and nobody counts it.
    assert_eq!(counted(&Asked::get("/app", None).ask(&mut checks).await), None);
}

/// `rate_limit` of the dynamic metadata.
fn counted(response: &CheckResponse) -> Option<Vec<String>> {
    let fields = &response.dynamic_metadata.as_ref()?.fields;
    let found = fields.iter().find(|field| field.key == b"rate_limit".as_slice())?;
    let Some(Kind::StructValue(list)) = found.value.as_ref()?.kind.as_ref() else { panic!("no struct") };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let one = |value: &Value| match &value.kind {
        Some(Kind::StringValue(value)) => text(value),
        other => panic!("Envoy reads texts alone, not {other:?}"),
    };
    Some(list.fields.iter().map(|field| format!("{}={}", text(&field.key), one(field.value.as_ref().unwrap()))).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxies_of_the_forward_auth_door_say_it_in_a_header() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let described = "x-forwarded-method: GET\r\nx-forwarded-uri: /open\r\nx-forwarded-host: a\r\nx-original-method: GET\r\nx-original-uri: /open\r\n";
    for (number, (target, denied)) in [("/envoy/open", 429), ("/traefik", 429), ("/caddy", 429), ("/nginx", 403)].into_iter().enumerate() {
        for status in [200, 200, denied] {
            let list = from(&format!("192.0.2.{number}"));
            let reply = ask(gate.forward_auth(), format!("GET {target} HTTP/1.1\r\nhost: a\r\n{described}{list}\r\n")).await;
            assert_eq!(reply.status, status, "{target}");
        }
    }
}
