//! What is wrong with a body is told whole, and nothing is written.

use serde_json::{Value, json};

use super::{ADMIN, Desk, KEYS, orders, said};
use crate::harness::ask;

/// The paths of the faults, sorted.
fn paths(refused: &Value) -> Vec<String> {
    let mut paths: Vec<String> =
        refused["faults"].as_array().unwrap_or_else(|| panic!("{refused}")).iter().map(|fault| fault["path"].as_str().unwrap().to_owned()).collect();
    paths.sort_unstable();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_body_is_told_at_once() {
    let desk = Desk::new().await;
    let body = json!({
        "name": "", "scopes": ["orders:read", "", 7, "a b"], "expires_at": "yesterday", "tenant": 5, "roles": "reader",
        "rate_limit": {"rate": "often", "per": "ip"}, "admin": true
    });
    let (status, refused) = desk.post(KEYS, ADMIN, body).await;
    assert_eq!((status, &refused["error"]), (422, &json!("invalid_request")));
    let expected = ["admin", "expires_at", "name", "rate_limit", "rate_limit.per", "roles", "scopes[1]", "scopes[2]", "scopes[3]", "tenant"];
    assert_eq!(paths(&refused), expected, "{refused}");
    assert_eq!(desk.all().await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_bounds_is_told_by_its_place() {
    let desk = Desk::new().await;
    let with = |name: &str, value: Value| {
        let mut body = orders();
        body[name] = value;
        body
    };
    for (body, path) in [
        (json!({}), "name scopes"),
        (json!({"name": "x"}), "scopes"),
        (with("name", json!("x".repeat(257))), "name"),
        (with("name", json!("a\nb")), "name"),
        (with("name", json!(null)), "name"),
        (with("scopes", json!(null)), "scopes"),
        (with("scopes", json!([])), "scopes"),
        (with("scopes", json!("orders:read")), "scopes"),
        (with("scopes", json!(["orders"])), ""),
        (with("scopes", json!(vec!["orders:read"; 129])), "scopes"),
        (with("expires_at", json!("2001-01-01T00:00:00Z")), "expires_at"),
        (with("expires_at", json!("2031-02-30T00:00:00Z")), "expires_at"),
        (with("expires_at", json!(2_000_000_000)), "expires_at"),
        (with("tenant", json!("")), "tenant"),
        (with("tenant", json!("a b")), "tenant"),
        (with("roles", json!(["nobody"])), "roles[0]"),
        (with("roles", json!([""])), "roles[0]"),
        (with("rate_limit", json!({})), "rate_limit.rate"),
        (with("rate_limit", json!({"rate": "0/s"})), "rate_limit"),
        (with("rate_limit", json!({"rate": "1/s", "burst": 0})), "rate_limit.burst"),
        (with("key", json!("sg_live_of-my-own")), "key"),
    ] {
        let (status, refused) = desk.post(KEYS, ADMIN, body.clone()).await;
        if path.is_empty() {
            assert_eq!(status, 201, "{body}: {refused}");
            continue;
        }
        assert_eq!((status, paths(&refused).join(" ")), (422, path.to_owned()), "{body}: {refused}");
    }
    assert_eq!(desk.all().await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_repeats_no_value_and_no_odd_name() {
    let desk = Desk::new().await;
    let secret = "sg_live_0123456789abcdefghijklmnopqrstuvwxyz01234567";
    let body = json!({"name": [secret], "scopes": [{"a": secret}], "expires_at": secret, "tenant": format!("{secret} x"), secret: 1});
    let reply = desk.call(&format!("POST {KEYS}"), ADMIN, Some(&body)).await;
    assert_eq!((reply.status, reply.text().contains("0123456789")), (422, false), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_object_is_refused_by_its_kind() {
    let desk = Desk::new().await;
    let post = async |media: &str, body: &str| {
        let head = format!("POST {KEYS} HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\nauthorization: Bearer {ADMIN}\r\n");
        let reply = ask(desk.0.admin(), format!("{head}{media}content-length: {}\r\n\r\n{body}", body.len())).await;
        (reply.status, said(&reply)["error"].clone())
    };
    let good = orders().to_string();
    for media in ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n", "content-type: application/jsonx\r\n"] {
        assert_eq!(post(media, &good).await, (415, json!("unsupported_media_type")), "{media}");
    }
    let encoded = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    assert_eq!(post(encoded, &good).await.0, 415);
    let plain = "content-type: application/json; charset=utf-8\r\n";
    for body in ["{", "nonsense", "{\"name\": \"a\",}", "\u{feff}{}", "{} {}"] {
        assert_eq!(post(plain, body).await, (400, json!("invalid_request")), "{body}");
    }
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(20), "]".repeat(20));
    for body in ["[]", "\"text\"", "7", "null", r#"{"name":"a","name":"b","scopes":["a:b"]}"#, deep.as_str()] {
        assert_eq!(post(plain, body).await.0, 422, "{body}");
    }
    assert_eq!(desk.all().await, json!([]));
    assert_eq!(post(plain, &good).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_at_both_doors() {
    let desk = Desk::new().await;
    let mut body = orders();
    body["name"] = json!("x".repeat(10 * 1024 * 1024));
    for door in [desk.0.admin(), desk.0.proxy()] {
        let reply = super::call(door, &format!("POST {KEYS}"), ADMIN, Some(&body)).await;
        assert_eq!((reply.status, &said(&reply)["error"]), (413, &json!("payload_too_large")));
        // Nobody reads that much for a stranger.
        assert_eq!(super::call(door, &format!("POST {KEYS}"), "", Some(&body)).await.status, 401);
    }
    assert_eq!(desk.all().await, json!([]));
}
