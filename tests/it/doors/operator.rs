//! The operator door: what it tells to anybody, and what only to who may know.

use serde_json::Value;

use crate::harness::wire::Wire;
use crate::harness::{Gate, ask};

const POLICY: &str = "
routes:
  GET /app: app:use
  /app: app:write
  other.test/app: public
";
const TOKENS: &str = r#"[
  {"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]},
  {"id": "operator", "token": "token-of-the-boss-1", "scopes": ["scopegate:admin"]},
  {"id": "root", "token": "token-of-the-root-1", "scopes": ["*"]}
]"#;
const OPEN_TO_ALL: &str = "listen: {proxy: 127.0.0.1:0, ext_authz: 127.0.0.1:0, forward_auth: 127.0.0.1:0, admin: 0.0.0.0:0}\n";

async fn post(gate: &Gate, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let port = gate.admin().port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    let reply = ask(address, request).await;
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
}

const QUESTION: &str = r#"{"method":"GET","path":"/app","credential_id":"app"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_others_can_reach_asks_for_the_operators_scope() {
    let gate = Gate::start(&format!("{POLICY}{OPEN_TO_ALL}"), TOKENS).await;
    for path in ["/explain", "/reload"] {
        for (headers, status) in [
            ("", 401),
            ("authorization: Bearer token-of-nobody-1\r\n", 401),
            ("authorization: Bearer token-of-the-app-1\r\n", 403),
            ("authorization: Bearer token-of-the-boss-1\r\nauthorization: Bearer token-of-the-boss-1\r\n", 400),
            ("authorization: Bearer token-of-the-boss-1\r\n", 200),
            ("authorization: Bearer token-of-the-root-1\r\n", 200),
        ] {
            let (found, body) = post(&gate, path, headers, QUESTION).await;
            assert_eq!(found, status, "{path} {headers}: {body}");
            if found == 403 {
                assert_eq!(body["required_scope"], "scopegate:admin");
            }
        }
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], gate.admin().port()));
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/nowhere", 404)] {
        assert_eq!(ask(address, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await.status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_on_this_machine_is_not_its_operator() {
    let gate = Gate::start(POLICY, TOKENS).await;
    for path in ["/explain", "/reload"] {
        assert_eq!(post(&gate, path, "", QUESTION).await.0, 200, "{path} from this machine");
        for headers in ["origin: http://evil.test\r\n", "origin: null\r\n", "sec-fetch-site: cross-site\r\n", "sec-fetch-site: same-site\r\n"] {
            assert_eq!(post(&gate, path, headers, QUESTION).await.0, 401, "{path} {headers}");
        }
        assert_eq!(post(&gate, path, "sec-fetch-site: none\r\n", QUESTION).await.0, 200, "{path} typed by hand");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_is_the_decision_and_its_reasons() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let (status, told) = post(&gate, "/explain", "", r#"{"method":"POST","path":"/app?x=1","host":"a.test","credential_id":"app"}"#).await;
    assert_eq!(status, 200);
    let expected = serde_json::json!({
        "decision": "deny", "status": 403, "reason": "insufficient_scope", "rule": "/app", "needs": "app:write", "path": "/app",
        "credential": "tokens", "id": "app", "scopes": "app:use", "missing_scopes": "app:write",
        "holders": {"ids": ["root"], "count": 1},
        "considered": [
            {"rule": "/app", "needs": "app:write", "verdict": "wins"},
            {
                "rule": "other.test/app", "needs": "public", "verdict": "other host",
                "why": "it is for the host `other.test`, and the request's is `a.test`"
            },
            {"rule": "GET /app", "needs": "app:use", "verdict": "other method", "why": "it is for `GET`, and the request's method is `POST`"}
        ],
        "generation": 1
    });
    assert_eq!(told, expected, "{told:#}");
    for (question, decision, reason) in [
        (r#"{"method":"GET","path":"/app","host":"a","headers":{"Authorization":"Bearer token-of-the-app-1"}}"#, "allow", Value::Null),
        (r#"{"method":"GET","path":"/app","headers":{"host":"other.test"}}"#, "allow", Value::Null),
        (r#"{"method":"GET","path":"/app","host":"a"}"#, "deny", "no_credential".into()),
        (r#"{"method":"GET","path":"/app"}"#, "deny", "ambiguous_host".into()),
        (r#"{"method":"GET","path":"//app","host":"a","credential_id":"app"}"#, "deny", "ambiguous_path".into()),
        (r#"{"method":"get","path":"/app","host":"a","credential_id":"root"}"#, "deny", "no_rule".into()),
    ] {
        let (status, told) = post(&gate, "/explain", "", question).await;
        assert_eq!((status, &told["decision"], &told["reason"]), (200, &decision.into(), &reason), "{question}: {told}");
    }
    for (question, status) in [
        ("{}", 422),
        ("", 422),
        (r#"{"method":"GET","path":"/app","more":1}"#, 422),
        (r#"{"method":"GET","path":"/app","credential_id":"nobody"}"#, 404),
    ] {
        assert_eq!(post(&gate, "/explain", "", question).await.0, status, "{question}");
    }
    let audit = gate.audit().await;
    assert_eq!(audit, "", "a question is no decision");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_refused_unread_costs_nobody_the_connection() {
    let gate = Gate::start(&format!("{POLICY}{OPEN_TO_ALL}"), TOKENS).await;
    let mut wire = Wire::connect(std::net::SocketAddr::from(([127, 0, 0, 1], gate.admin().port()))).await;
    for (target, status) in [("/explain", 401), ("/nowhere", 404), ("/metrics", 405)] {
        wire.send(format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n{}", "x".repeat(200_000))).await;
        assert_eq!(wire.reply(false).await.status, status, "{target}");
    }
    wire.send("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(wire.reply(false).await.status, 200);
}
