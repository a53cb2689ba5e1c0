//! Shadow beyond the corpus: limits, bodies, streams, outages, what is told to the operator, and what can never be in shadow.

mod passing;
mod replay;

use serde_json::{Value, json};

use crate::harness::everywhere::{Doors, Request};
use crate::harness::process::{Serving, run, scopegate};
use crate::harness::upstream::Upstream;
use crate::harness::{Gate, ask, complete, metric, write_secret};

const TOKENS: &str = r#"[
  {"id": "reader", "token": "token-of-the-reader", "scopes": ["orders:read"]},
  {"id": "other", "token": "token-of-the-other-", "scopes": ["bills:read"]},
  {"id": "boss", "token": "token-of-the-boss-1", "scopes": ["scopegate:admin"]}
]"#;
const READER: &str = "token-of-the-reader";
const OTHER: &str = "token-of-the-other-";
const OPEN_TO_ALL: &str = "listen: {proxy: 127.0.0.1:0, ext_authz: 127.0.0.1:0, forward_auth: 127.0.0.1:0, admin: 0.0.0.0:0}\n";

/// One request at the operator's door.
async fn operator(gate: &Gate, line: &str, fields: &str) -> crate::harness::wire::Reply {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], gate.admin().port()));
    ask(address, format!("{line} HTTP/1.1\r\nhost: localhost\r\n{fields}content-length: 0\r\n\r\n")).await
}

async fn report(gate: &Gate) -> Value {
    let reply = operator(gate, "GET /shadow", "").await;
    assert_eq!(reply.status, 200);
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_door_is_never_in_shadow() {
    let all = "mode: shadow\ncredentials: {tokens: {kind: static, file: tokens.json, mode: shadow}}\nroutes: {/: orders:read}\n";
    let gate = Gate::start(&format!("{all}{OPEN_TO_ALL}"), TOKENS).await;
    for line in ["GET /shadow", "DELETE /shadow", "POST /reload", "POST /explain"] {
        for (fields, status) in
            [(String::new(), 401), ("authorization: Bearer nobody-knows-this\r\n".into(), 401), (format!("authorization: Bearer {OTHER}\r\n"), 403)]
        {
            assert_eq!(operator(&gate, line, &fields).await.status, status, "{line} {fields}");
        }
    }
    assert_eq!(operator(&gate, "GET /shadow", "authorization: Bearer token-of-the-boss-1\r\n").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_management_api_is_never_in_shadow() {
    let sources = "credentials: {tokens: {kind: static, file: tokens.json, mode: shadow}, keys: {kind: api_key, mode: shadow}}\n";
    let gate = Gate::start(&format!("mode: shadow\n{sources}management: {{expose: true}}\nroutes: {{/: orders:read}}\n"), TOKENS).await;
    for door in [gate.proxy(), gate.admin()] {
        for (line, token, status) in [
            ("GET /tenant/api-keys", "", 401),
            ("GET /tenant/api-keys", "authorization: Bearer nobody-knows-this\r\n", 401),
            ("GET /tenant/api-keys", "authorization: Bearer token-of-the-other-\r\n", 403),
            ("POST /tokens/revoke", "authorization: Bearer token-of-the-other-\r\n", 403),
        ] {
            let reply = ask(door, format!("{line} HTTP/1.1\r\nhost: a\r\n{token}content-length: 0\r\n\r\n")).await;
            assert_eq!(reply.status, status, "{line} {token}: {}", reply.text());
        }
    }
    assert!(gate.upstream.take().is_empty());
    assert_eq!(report(&gate).await["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_shadow_is_told_wherever_an_operator_looks() {
    let routes = "routes: {GET /orders: {scopes: [orders:read], mode: shadow}, GET /open: public}\n";
    let gate = Gate::start(routes, TOKENS).await;
    let mut doors = Doors::open(&gate).await;
    for request in [Request::get("/orders").bearer(OTHER), Request::get("/orders"), Request::get("/orders").bearer(READER)] {
        assert_eq!(doors.ask(&request).await.status, 200);
    }
    assert_eq!(gate.readyz().await.1["shadow"], json!({"routes": 1, "credentials": 0}), "how much, and not where: anybody may ask");
    let told = report(&gate).await;
    assert_eq!(told["in_shadow"], json!({"routes": ["GET /orders"], "credentials": []}));
    assert_eq!((&told["total"], &told["other"], &told["generation"]), (&json!(12), &json!(0), &json!(1)));
    let mut rows = told["rows"].as_array().unwrap().clone();
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        assert!(row.remove("first").unwrap().as_str() <= row.remove("last").unwrap().as_str());
    }
    let row = json!({"credential": "tokens", "principal": "other", "route": "GET /orders", "reason": "insufficient_scope",
        "missing_scopes": "orders:read", "count": 6, "generation": 1});
    assert!(rows.contains(&row), "{rows:#?}");
    assert!(rows.contains(&json!({"route": "GET /orders", "reason": "no_credential", "count": 6, "generation": 1})), "{rows:#?}");
    let metrics = gate.metrics().await;
    let counted = |labels: &str| metric(&metrics, &format!("scopegate_shadow_denials_total{{route=\"GET /orders\",reason=\"{labels}\"}}"));
    assert_eq!((counted("insufficient_scope"), counted("no_credential")), (Some(6.0), Some(6.0)), "{metrics}");
    let decided = "scopegate_decisions_total{door=\"proxy\",outcome=\"shadow\",reason=\"no_credential\"}";
    assert_eq!(metric(&metrics, decided), Some(1.0), "{metrics}");
    let table = operator(&gate, "GET /shadow", "accept: text/plain\r\n").await.text();
    assert!(table.starts_with("in shadow, so that what would be denied is let through: route `GET /orders`; `mode: enforce` ends it\n"), "{table}");
    assert!(table.lines().any(|line| line.split_whitespace().take(5).eq(["6", "tokens/other", "GET", "/orders", "insufficient_scope"])), "{table}");
    gate.rewrite("routes: {GET /orders: orders:read}\n");
    assert_eq!(gate.reload().await.status, 200);
    assert!(doors.ask(&Request::get("/orders")).await.is_denied(401, "no_credential"));
    assert_eq!(gate.readyz().await.1.get("shadow"), None);
    let told = report(&gate).await;
    assert_eq!((&told["in_shadow"], &told["total"], &told["generation"]), (&Value::Null, &json!(12), &json!(2)), "a reload forgets nothing");
    assert_eq!(operator(&gate, "DELETE /shadow", "").await.status, 204);
    assert_eq!(report(&gate).await["rows"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_check_warn_of_what_is_in_shadow() {
    let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::start().await);
    let path = folder.path().join("scopegate.yaml");
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    let configured = |mode: &str| complete(&format!("{mode}routes: {{GET /orders: orders:read}}\n"), upstream.address);
    std::fs::write(&path, configured("mode: shadow\n")).unwrap();
    let warning = "in shadow, so that what would be denied is let through: routes `GET /orders`, `default`; `mode: enforce` ends it";
    let (status, _, messages) = run(scopegate().args(["check", "--config"]).arg(&path));
    assert_eq!((status, messages.contains(warning)), (0, true), "{messages}");
    let serving = Serving::start(&path, &[]).await;
    assert_eq!(serving.log().matches(warning).count(), 1, "{}", serving.log());
    let reload = async || ask(serving.address("admin"), "POST /reload HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.status;
    assert_eq!(reload().await, 200);
    crate::harness::until("the warning of the reload", async || (serving.log().matches(warning).count() == 2).then_some(())).await;
    std::fs::write(&path, configured("")).unwrap();
    let (status, _, messages) = run(scopegate().args(["check", "--config"]).arg(&path));
    assert_eq!((status, messages.contains("shadow")), (0, false), "{messages}");
}

#[test]
fn a_mode_is_one_of_two_words_wherever_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    let path = folder.path().join("scopegate.yaml");
    for (before, source, route) in
        [("mode: Shadow\n", "", ""), ("mode: true\n", "", ""), ("", ", mode: off", ""), ("", "", ", mode: [shadow]"), ("", "", ", mode: ''")]
    {
        let text = format!("{before}credentials: {{tokens: {{kind: static, file: tokens.json{source}}}}}\nroutes: {{/: {{scopes: [a:b]{route}}}}}\n");
        std::fs::write(&path, &text).unwrap();
        let (status, faults, _) = run(scopegate().args(["check", "--config"]).arg(&path));
        assert_eq!((status, faults.contains("`enforce`") && faults.contains("`shadow`")), (1, true), "{text}: {faults}");
    }
}
