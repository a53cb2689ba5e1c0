//! What is written of each decision, to whom it is shown as it comes, and what becomes of it where nobody takes it.

mod asked;
mod files;
mod watched;

use serde_json::{Value, json};

use crate::harness::grpc::{self, Asked};
use crate::harness::{Gate, ask, metric, until};

const POLICY: &str = "
credentials:
  tokens: {kind: static, file: tokens.json, from: [bearer, 'header:x-api-key', 'cookie:session', 'query:token']}
routes:
  GET /app: {any_scopes: [app:use, app:write], query_credentials: true}
  GET /app/{id}/{rest...}: {any_scopes: [app:use, app:write], query_credentials: true}
  POST /app: [app:use, app:read]
  POST /rpc: {tools: {run: [app:use, tool:run], look: app:read}}
  /open/: public
";
const APP: &str = "token-of-the-app-1";
const TOKENS: &str = r#"[
  {"id": "app", "token": "token-of-the-app-1", "scopes": ["app:*", "tool:run", "own:more"], "tenant": "t"},
  {"id": "few", "token": "token-of-the-few-1", "scopes": ["app:read"]}
]"#;

async fn get(gate: &Gate, target: &str, headers: &str) -> u16 {
    ask(gate.proxy(), format!("GET {target} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await.status
}

async fn lines(gate: &Gate) -> Vec<Value> {
    gate.audit().await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_says_what_was_asked_and_what_the_allow_rested_on() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let bearer = format!("authorization: Bearer {APP}\r\n");
    assert_eq!(get(&gate, "/app?a=b", &bearer).await, 200);
    assert_eq!(get(&gate, "/app/7/%61b%20c", &bearer).await, 200);
    assert_eq!(get(&gate, "/open/x", "").await, 200);
    assert_eq!(get(&gate, "/../app", "").await, 400);
    let purge = format!("BREW /app HTTP/1.1\r\nhost: a\r\n{bearer}\r\n");
    assert_eq!(ask(gate.proxy(), purge).await.status, 403);
    let few = "POST /app HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token-of-the-few-1\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(ask(gate.proxy(), few).await.status, 403);
    let call = r#"[{"method":"tools/call","params":{"name":"run"}},{"method":"tools/call","params":{"name":"look"}}]"#;
    let head = format!("POST /rpc HTTP/1.1\r\nhost: a\r\n{bearer}content-length: {}\r\n\r\n", call.len());
    assert_eq!(ask(gate.proxy(), format!("{head}{call}")).await.status, 200);
    let told = lines(&gate).await;
    let of = |key: &str| told.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("method"), ["GET", "GET", "GET", "GET", "other", "POST", "POST"]);
    assert_eq!(of("path"), [json!("/app"), json!("/app/7/ab%20c"), json!("/open/x"), Value::Null, json!("/app"), json!("/app"), json!("/rpc")]);
    let used = [json!("app:use app:write"), json!("app:use app:write"), Value::Null, Value::Null, Value::Null, Value::Null];
    assert_eq!(of("used_scopes")[..6], used);
    assert_eq!(told[6]["used_scopes"], "app:use tool:run app:read", "what both tools need");
    assert_eq!(told[5]["missing_scopes"], "app:use");
    assert!(told.iter().all(|line| line["host"].is_null() && line["sample"].is_null() && line["mode"].is_null()), "{told:?}");
    let mut checks = grpc::connect(gate.ext_authz()).await;
    let more = Asked { extensions: vec![("scopegate.scopes", "own:more app:use")], ..Asked::get("/app", Some(APP)) };
    assert_eq!(grpc::status(&more.ask(&mut checks).await), 200);
    assert_eq!(lines(&gate).await.last().unwrap()["used_scopes"], "app:use app:write own:more", "what the peer asked for beside, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_has_a_credential_wherever_it_was() {
    const SECRET: &str = "Zq8wK3vX0mB5nL2s";
    let tokens = format!(r#"[{{"id": "app", "token": "{SECRET}", "scopes": ["app:use"]}}]"#);
    let gate = Gate::start(POLICY, &tokens).await;
    for (target, headers, status) in [
        ("/app", format!("authorization: Bearer {SECRET}\r\n"), 200),
        ("/app", format!("x-api-key: {SECRET}\r\n"), 200),
        ("/app", format!("cookie: a=b; session={SECRET}\r\n"), 200),
        (&*format!("/app?token={SECRET}"), String::new(), 200),
        (&format!("/app?token=%5A{}", &SECRET[1..]), String::new(), 200),
        (&format!("/app?other={SECRET}"), String::new(), 401),
        (&format!("/{SECRET}"), String::new(), 401),
        (&format!("/app/{SECRET}/x"), format!("authorization: Bearer {SECRET}\r\n"), 200),
        (&format!("/app/7/{SECRET}"), format!("authorization: Bearer {SECRET}\r\n"), 200),
        (&format!("/open/%5A{}", &SECRET[1..]), String::new(), 200),
        (&format!("/open//{SECRET}"), String::new(), 400),
        (&format!("/open/x;{SECRET}"), String::new(), 400),
        ("/app", format!("x-request-id: {SECRET}\r\nuser-agent: {SECRET}\r\nreferer: https://a/{SECRET}\r\ntraceparent: 00-{SECRET}-1\r\n"), 401),
    ] {
        assert_eq!(get(&gate, target, &headers).await, status, "{target} {headers}");
    }
    let method = format!("{SECRET} /app HTTP/1.1\r\nhost: {SECRET}.test\r\n\r\n");
    ask(gate.proxy(), method).await;
    let audit = gate.audit().await;
    assert_eq!(audit.lines().count(), 14);
    for part in [SECRET, &SECRET[1..], &SECRET[..8], &SECRET[8..]] {
        assert!(!audit.to_lowercase().contains(&part.to_lowercase()), "{part} in {audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_told_where_rules_speak_of_hosts_and_paths_can_be_left_out() {
    let gate = Gate::start("routes: {one.test/app: public, /app: public}\ntelemetry: {audit: {paths: false}}\n", TOKENS).await;
    for host in ["one.test", "TWO.test:80"] {
        assert_eq!(ask(gate.proxy(), format!("GET /app HTTP/1.1\r\nhost: {host}\r\n\r\n")).await.status, 200);
    }
    let told = lines(&gate).await;
    assert_eq!((&told[0]["host"], &told[1]["host"]), (&json!("one.test"), &json!("two.test")));
    assert!(told.iter().all(|line| line["path"].is_null() && line["method"] == "GET"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_of_allows_and_never_of_denials() {
    for (share, sample) in [("0%", None), ("50%", Some(0.5)), ("100%", None)] {
        let gate = Gate::start(&format!("{POLICY}telemetry: {{audit: {{sample: {share}}}}}\n"), TOKENS).await;
        let mut checks = grpc::connect(gate.ext_authz()).await;
        for _ in 0..200 {
            Asked::get("/open/x", None).ask(&mut checks).await;
            Asked::get("/app", None).ask(&mut checks).await;
        }
        let told = lines(&gate).await;
        let (allows, denials): (Vec<&Value>, Vec<&Value>) = told.iter().partition(|line| line["outcome"] == "allow");
        assert_eq!(denials.len(), 200);
        assert!(denials.iter().all(|line| line["sample"].is_null()));
        assert!(allows.iter().all(|line| line["sample"].as_f64() == sample), "{allows:?}");
        match share {
            "0%" => assert_eq!(allows.len(), 0),
            "100%" => assert_eq!(allows.len(), 200),
            // Beyond these once in 10^17 runs.
            _ => assert!((40..=160).contains(&allows.len()), "{}", allows.len()),
        }
        let metrics = gate.metrics().await;
        let counted = metric(&metrics, r#"scopegate_decisions_total{door="ext_authz",outcome="allow",reason="allowed"}"#);
        assert_eq!(counted, Some(200.0), "all are counted");
        assert_eq!(metric(&metrics, "scopegate_audit_dropped_total"), Some(0.0), "what is not in the sample is not lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_explained_by_its_id() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let explain = async |id: &str| {
        let body = json!({"decision_id": id}).to_string();
        let reply = ask(gate.admin(), format!("POST /explain HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    let few = "POST /app?x=1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token-of-the-few-1\r\ncontent-length: 0\r\n\r\n";
    let id = ask(gate.proxy(), few).await.header("x-scopegate-decision").unwrap();
    lines(&gate).await;
    let (status, told) = explain(&id).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!((&told["then"]["id"], &told["then"]["reason"], &told["then"]["path"]), (&json!(id), &json!("insufficient_scope"), &json!("/app")));
    assert_eq!((&told["now"]["decision"], &told["now"]["id"], &told["now"]["missing_scopes"]), (&json!("deny"), &json!("few"), &json!("app:use")));
    assert_eq!((&told["now"]["holders"], &told["notes"]), (&json!({"ids": ["app"], "count": 1}), &json!([])));
    assert_eq!(told["now"]["considered"][0], json!({"rule": "POST /app", "needs": "app:use, app:read", "verdict": "wins"}));
    crate::harness::write_secret(&gate.folder.path().join("tokens.json"), TOKENS.replace("\"app:read\"]", "\"app:read\", \"app:use\"]"));
    assert_eq!(gate.reload().await.status, 200);
    let (_, told) = explain(&id).await;
    assert_eq!((&told["then"]["outcome"], &told["now"]["decision"]), (&json!("deny"), &json!("allow")));
    assert!(told["notes"][0].as_str().unwrap().contains("decided on generation 1; what is said of now is of generation 2"), "{told}");
    let id = ask(gate.proxy(), "GET /../a HTTP/1.1\r\nhost: a\r\n\r\n").await.header("x-scopegate-decision").unwrap();
    let wrong = format!("GET /app/{}/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer nobody-has-this-1\r\n\r\n", "A1".repeat(10));
    let hidden = ask(gate.proxy(), wrong).await.header("x-scopegate-decision").unwrap();
    lines(&gate).await;
    let (status, told) = explain(&id).await;
    assert_eq!((status, &told["now"], told["notes"].as_array().unwrap().len()), (200, &Value::Null, 1), "{told}");
    let (_, told) = explain(&hidden).await;
    assert_eq!((&told["now"]["decision"], &told["now"]["rule"]), (&json!("depends_on_credential"), &json!("GET /app/{id}/{rest...}")), "{told}");
    assert_eq!(told["notes"].as_array().unwrap().len(), 2, "{told}");
    for (id, message) in [("0123456789abcdef", "no longer kept"), ("x", "sixteen hexadecimal digits"), ("", "sixteen hexadecimal digits")] {
        let (status, told) = explain(id).await;
        assert!(status == 404 && told["message"].as_str().unwrap().contains(message), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_written_nothing_is_shown() {
    let gate = Gate::start(&format!("{POLICY}telemetry: {{audit: 'off'}}\n"), TOKENS).await;
    let id = ask(gate.proxy(), "GET /app HTTP/1.1\r\nhost: a\r\n\r\n").await.header("x-scopegate-decision").unwrap();
    let reply = ask(gate.admin(), "GET /decisions HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(reply.status == 404 && reply.text().contains("`telemetry.audit` is `off`"), "{}", reply.text());
    let body = json!({"decision_id": id}).to_string();
    let reply = ask(gate.admin(), format!("POST /explain HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    assert!(reply.status == 404 && reply.text().contains("`telemetry.audit` is `off`"), "{}", reply.text());
}

/// So many decisions, each an allow.
async fn decide(gate: &Gate, count: usize) {
    let mut checks = grpc::connect(gate.ext_authz()).await;
    for _ in 0..count {
        assert_eq!(grpc::status(&Asked::get("/open/x", None).ask(&mut checks).await), 200);
    }
}

async fn dropped(gate: &Gate) -> f64 {
    metric(&gate.metrics().await, "scopegate_audit_dropped_total").unwrap()
}

async fn until_dropped(gate: &Gate, least: f64) {
    until("drops", async || (dropped(gate).await >= least).then_some(())).await;
}
