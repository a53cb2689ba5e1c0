//! Managed keys with a rate of their own.

use serde_json::{Value, json};

use crate::harness::wire::Reply;
use crate::harness::{Gate, ask};

const CONFIG: &str = "\
credentials: {tokens: {kind: static, file: tokens.json}, keys: {kind: api_key}}
routes:
  GET /free: app:use
  GET /p: {scopes: [app:use], rate_limit: {rate: 2/d}}
  GET /t: {scopes: [app:use], rate_limit: {rate: 3/d, per: tenant}}
";
const TOKENS: &str = r#"[{"id": "admin", "token": "token-of-admin-0123", "scopes": ["*"], "tenant": "acme"}]"#;

/// A new key, with this limit.
async fn made(gate: &Gate, limit: Value) -> Reply {
    let mut body = json!({"name": "a key", "scopes": ["app:use"]});
    if !limit.is_null() {
        body["rate_limit"] = limit;
    }
    let body = body.to_string();
    let head = "POST /tenant/api-keys HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token-of-admin-0123\r\ncontent-type: application/json\r\n";
    ask(gate.admin(), format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await
}

async fn key(gate: &Gate, limit: Value) -> String {
    let reply = made(gate, limit).await;
    let said: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(reply.status, 201, "{said}");
    said["key"].as_str().unwrap().to_owned()
}

async fn used(gate: &Gate, path: &str, key: &str) -> Reply {
    ask(gate.proxy(), format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n")).await
}

async fn allowed(gate: &Gate, path: &str, key: &str, tries: usize) -> usize {
    let mut count = 0;
    for _ in 0..tries {
        let reply = used(gate, path, key).await;
        assert!(matches!(reply.status, 200 | 429), "{}", reply.text());
        count += usize::from(reply.status == 200);
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_counted_by_its_own_rate_in_place_of_the_routes_and_on_all_routes_together() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let (own, plain) = (key(&gate, json!({"rate": "5/d"})).await, key(&gate, Value::Null).await);
    assert_eq!([allowed(&gate, "/p", &plain, 4).await, allowed(&gate, "/free", &plain, 9).await], [2, 9], "without one, the route's");
    assert_eq!([allowed(&gate, "/p", &own, 4).await, allowed(&gate, "/free", &own, 4).await], [4, 1]);
    let reply = used(&gate, "/p", &own).await;
    assert_eq!((reply.status, reply.header("ratelimit-policy").as_deref()), (429, Some("\"key\";q=5;w=86400")));
    let burst = key(&gate, json!({"rate": "1/d", "burst": 3})).await;
    assert_eq!(allowed(&gate, "/p", &burst, 5).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_opens_what_its_tenant_has_used_up() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let high = key(&gate, json!({"rate": "1000000/s"})).await;
    let low = key(&gate, json!({"rate": "1/d", "burst": 2})).await;
    assert_eq!(allowed(&gate, "/t", &high, 5).await, 3);
    let reply = used(&gate, "/t", &low).await;
    assert_eq!((reply.status, reply.header("ratelimit-policy").as_deref()), (429, Some("\"tenant\";q=3;w=86400")));
    assert_eq!(allowed(&gate, "/free", &low, 5).await, 2, "what the tenant's limit refused took nothing of the key's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_cannot_be_kept_is_refused_when_the_key_is_made() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    for limit in [json!({"rate": "0/s"}), json!({"rate": "10"}), json!({"rate": "1/d", "burst": 31}), json!({"rate": "1/s", "burst": 0}), json!({})] {
        let reply = made(&gate, limit.clone()).await;
        assert_eq!(reply.status, 422, "{limit}: {}", reply.text());
    }
}
