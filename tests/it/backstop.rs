//! Backstop's document, row by row, with its own configuration and the four entries of its example.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::grpc::{self, Asked, Client, metadata, status};
use crate::harness::process::{Serving, refused, scopegate};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Reply, value};
use crate::harness::{Gate, ask, complete, until, write_secret};

const POLICY: &str = include_str!("../../deploy/examples/backstop/scopegate.yaml");
const TOKENS: &str = include_str!("../../deploy/examples/backstop/tokens.json");

/// The fourteen operations: method, path, tool, and the scope that the document gives them.
const OPERATIONS: [(&str, &str, Option<&str>, Option<&str>); 14] = [
    ("GET", "/health", None, None),
    ("POST", "/", Some("execute_query"), Some("query:execute")),
    ("POST", "/", Some("analyze_query"), Some("query:analyze")),
    ("GET", "/pending", None, Some("approval:read")),
    ("POST", "/approve/x", None, Some("approval:write")),
    ("POST", "/deny/x", None, Some("approval:write")),
    ("GET", "/metadata/snapshots", None, Some("metadata:read")),
    ("GET", "/metadata/audit", None, Some("metadata:read")),
    ("GET", "/metadata/alerts", None, Some("metadata:read")),
    ("GET", "/metadata/health", None, Some("metadata:read")),
    ("GET", "/metrics", None, Some("metrics:read")),
    ("POST", "/admin/pause", None, Some("admin:*")),
    ("POST", "/admin/resume", None, Some("admin:*")),
    ("GET", "/admin/status", None, Some("admin:*")),
];

/// Which of the operations each entry of the example may do, in their order.
const MATRIX: [(&str, [bool; 14]); 4] = [
    ("agent-prod-01", [true, true, true, false, false, false, true, true, true, true, false, false, false, false]),
    ("operator-01", [true, false, false, true, true, true, true, true, true, true, false, false, false, false]),
    ("prometheus", [true, false, false, false, false, false, false, false, false, false, true, false, false, false]),
    ("admin", [true; 14]),
];

/// The example's configuration without its upstream, which a test has of its own.
fn policy() -> String {
    POLICY.lines().filter(|line| !line.starts_with("upstream:")).map(|line| format!("{line}\n")).collect()
}

fn token(id: &str) -> String {
    let entries: Vec<Value> = serde_json::from_str(TOKENS).unwrap();
    entries.iter().find(|entry| entry["id"] == id).unwrap()["token"].as_str().unwrap().to_owned()
}

fn call(tool: Option<&str>) -> String {
    tool.map_or_else(String::new, |tool| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#))
}

fn request(method: &str, path: &str, token: Option<&str>, more: &str, body: &str) -> String {
    let credential = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    format!("{method} {path} HTTP/1.1\r\nhost: backstop\r\n{credential}{more}content-length: {}\r\n\r\n{body}", body.len())
}

async fn gate() -> Gate {
    Gate::start(&policy(), TOKENS).await
}

/// Asserts a cell, and that a denial is the scope's.
fn cell(what: &str, allowed: bool, scope: Option<&str>, reply: &Reply) {
    if allowed {
        assert_eq!(reply.status, 200, "{what}");
        return;
    }
    let scope = scope.unwrap();
    let body = format!(r#"{{"error":"insufficient_scope","message":"Token does not have {scope} scope","required_scope":"{scope}"}}"#);
    assert_eq!((reply.status, reply.text()), (403, body), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_health_alone_needs_no_token() {
    let gate = gate().await;
    let reply = ask(gate.proxy(), request("GET", "/health", None, "", "")).await;
    assert_eq!(reply.status, 200);
    for (method, path, tool, _) in &OPERATIONS[1..] {
        let reply = ask(gate.proxy(), request(method, path, None, "", &call(*tool))).await;
        assert_eq!(reply.status, 401, "{method} {path}");
    }
    for path in ["/", "/healthz", "/health/", "/nowhere", "/metrics/x"] {
        assert_eq!(ask(gate.proxy(), request("GET", path, None, "", "")).await.status, 401, "{path}");
    }
    let bad = ask(gate.proxy(), request("GET", "/health", Some("bsp_nobody_knows_this"), "", "")).await;
    assert_eq!(bad.status, 200, "a health request never evaluates credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn b02_the_credential_is_an_opaque_bearer_token() {
    let gate = gate().await;
    let pending = async |line: String| ask(gate.proxy(), format!("GET /pending HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n")).await.status;
    assert_eq!(pending(format!("Authorization: Bearer {}", token("operator-01"))).await, 200);
    assert_eq!(pending(format!("Authorization: {}", token("operator-01"))).await, 401);
    assert_eq!(pending(format!("Authorization: Token {}", token("operator-01"))).await, 401);
    assert_eq!(pending(format!("X-Backstop-Token: {}", token("operator-01"))).await, 401, "not a place of this configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_the_token_file_is_named_by_either_variable_in_either_shape() {
    let array = TOKENS.to_owned();
    let object = format!(r#"{{"tokens": {}}}"#, TOKENS.replace("\"id\"", "\"name\""));
    for (variable, credential) in [("BACKSTOP_TOKENS", "backstop"), ("BACKSTOP_AUTH_TOKENS_FILE", "backstop-auth")] {
        for text in [&array, &object] {
            let case = Files::new(text).await;
            let tokens = case.tokens();
            let serving = Serving::start(&case.config(), &[(variable, &tokens)]).await;
            let proxy = serving.address("proxy");
            assert_eq!(ask(proxy, request("GET", "/pending", Some(&token("operator-01")), "", "")).await.status, 200, "{variable}");
            assert_eq!(ask(proxy, request("GET", "/pending", Some(&token("prometheus")), "", "")).await.status, 403, "{variable}");
            assert_eq!(ask(proxy, request("GET", "/pending", None, "", "")).await.status, 401, "{variable}");
            // Backstop's other header wins over the bearer.
            let other = format!("x-backstop-token: {}\r\n", token("prometheus"));
            assert_eq!(ask(proxy, request("GET", "/pending", Some(&token("operator-01")), &other, "")).await.status, 403, "{variable}");
            let told = case.upstream.take();
            assert_eq!(value(&told[0].headers, "x-scopegate-credential").as_deref(), Some(credential));
        }
    }
    let case = Files::new(TOKENS).await;
    assert!(refused(&case.config(), &[("BACKSTOP_TOKENS", "/nowhere/tokens.json")]).contains("token file cannot be read"));
    assert!(refused(&case.config(), &[("BACKSTOP_TOKENS", "")]).contains("`BACKSTOP_TOKENS` is empty"));
    assert!(refused(&case.config(), &[]).contains("no credential source"));
}

/// A configuration that names no token file, and the file that a variable names.
struct Files {
    folder: tempfile::TempDir,
    upstream: Upstream,
}

impl Files {
    async fn new(tokens: &str) -> Self {
        let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::start().await);
        let config: String =
            complete(&policy(), upstream.address).lines().filter(|line| !line.starts_with("credentials:")).map(|line| format!("{line}\n")).collect();
        std::fs::write(folder.path().join("scopegate.yaml"), config).unwrap();
        write_secret(&folder.path().join("elsewhere.json"), tokens);
        Self { folder, upstream }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("scopegate.yaml")
    }

    fn tokens(&self) -> String {
        self.folder.path().join("elsewhere.json").display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_with_the_variable_alone_the_built_in_routes_are_served() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    let mut command = scopegate();
    command.args(["check"]).current_dir(folder.path()).env("BACKSTOP_TOKENS", "tokens.json");
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "no faults (routes: 12, tokens: 4)\n");
    let mut command = scopegate();
    command.args(["explain", "GET", "/pending", "--as", "prometheus"]).current_dir(folder.path()).env("BACKSTOP_TOKENS", "tokens.json");
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(said.starts_with("decision       deny 403 (insufficient_scope)"), "{said}");
}

#[test]
fn b04_the_example_entries_load_as_they_stand() {
    let entries: Vec<Value> = serde_json::from_str(TOKENS).unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect::<Vec<_>>(),
        ["agent-prod-01", "operator-01", "prometheus", "admin"]
    );
    assert!(entries.iter().all(|entry| entry["description"].as_str().unwrap().contains('\u{2014}')), "the em dashes are UTF-8");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/backstop");
    let mut command = scopegate();
    command.arg("check").arg("--config").arg(folder.join("scopegate.yaml")).env("BACKSTOP_TOKENS", folder.join("tokens.json"));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "no faults (routes: 12, tokens: 4)\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_a_caller_is_known_by_its_id_and_never_by_its_token() {
    let gate = gate().await;
    for (id, scopes) in
        [("agent-prod-01", "query:execute query:analyze metadata:read"), ("operator-01", "approval:read approval:write metadata:read")]
    {
        ask(gate.proxy(), request("GET", "/metadata/health", Some(&token(id)), "", "")).await;
        let told = gate.upstream.take().remove(0);
        assert_eq!(value(&told.headers, "x-scopegate-id").as_deref(), Some(id));
        assert_eq!(value(&told.headers, "x-scopegate-scopes").as_deref(), Some(scopes));
        assert!(!String::from_utf8_lossy(&told.head).contains(&token(id)), "the upstream gets the token");
    }
    let (audit, metrics) = (gate.audit().await, gate.metrics().await);
    assert!(audit.contains(r#""principal":"agent-prod-01""#) && audit.contains(r#""principal":"operator-01""#), "{audit}");
    for (id, _) in MATRIX {
        assert!(!audit.contains(&token(id)) && !metrics.contains(&token(id)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_to_b12_and_b17_every_cell_of_the_matrix_at_the_proxy_door() {
    let gate = gate().await;
    let mut cells = 0;
    for (id, row) in MATRIX {
        for ((method, path, tool, scope), allowed) in OPERATIONS.into_iter().zip(row) {
            let what = format!("{id}: {method} {path} {tool:?}");
            let reply = ask(gate.proxy(), request(method, path, Some(&token(id)), "", &call(tool))).await;
            cell(&what, allowed, scope, &reply);
            assert_eq!(gate.upstream.take().len(), usize::from(allowed), "{what}");
            cells += 1;
        }
    }
    assert_eq!(cells, 56);
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_to_b12_and_b17_every_cell_of_the_matrix_at_the_ext_authz_door() {
    let gate = gate().await;
    let mut client: Client = grpc::connect(gate.ext_authz()).await;
    for (id, row) in MATRIX {
        for ((method, path, tool, scope), allowed) in OPERATIONS.into_iter().zip(row) {
            let body = call(tool).into_bytes();
            let asked = Asked { method: method.into(), body, raw: allowed, ..Asked::get(path, Some(&token(id))) };
            let response = asked.ask(&mut client).await;
            let what = format!("{id}: {method} {path} {tool:?}");
            assert_eq!(status(&response), if allowed { 200 } else { 403 }, "{what}");
            let challenge =
                scope.filter(|_| !allowed).map(|scope| format!("Bearer realm=\"scopegate\", error=\"insufficient_scope\", scope=\"{scope}\""));
            assert_eq!(grpc::denied_header(&response, "www-authenticate"), challenge, "{what}");
            assert_eq!(metadata(&response, "id").as_deref(), scope.map(|_| id), "{what}: a public route tells no name");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_to_b12_and_b17_every_cell_of_the_matrix_at_the_forward_auth_doors() {
    let gate = gate().await;
    for (id, row) in MATRIX {
        for ((method, path, tool, scope), allowed) in OPERATIONS.into_iter().zip(row) {
            let described = format!(
                "x-forwarded-method: {method}\r\nx-forwarded-uri: {path}\r\nx-original-method: {method}\r\nx-original-uri: {path}\r\nx-forwarded-host: a\r\n"
            );
            for (door, asked, more) in [
                ("envoy", request(method, &format!("/envoy{path}"), Some(&token(id)), "", &call(tool)), true),
                ("traefik", request("GET", "/traefik", Some(&token(id)), &described, &call(tool)), true),
                ("caddy", request("GET", "/caddy", Some(&token(id)), &described, &call(tool)), true),
                ("nginx", request("GET", "/nginx", Some(&token(id)), &described, ""), false),
            ] {
                let reply = ask(gate.forward_auth(), asked).await;
                let what = format!("{id}: {method} {path} {tool:?} at {door}");
                if tool.is_some() && !more {
                    // nginx shows no body, so that which tool is called cannot be known.
                    assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (403, Some("partial_body")), "{what}");
                    continue;
                }
                cell(&what, allowed, scope, &reply);
                if allowed {
                    assert_eq!(reply.header("x-scopegate-id").as_deref(), Some(scope.map_or("", |_| id)), "{what}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b13_tokens_of_every_usual_make_work() {
    let hex = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    let prefixed = "bsp_staging_8f3a1c";
    let tokens = format!(
        r#"[{{"id": "hex", "token": "{hex}", "scopes": ["approval:read"]}}, {{"id": "prefixed", "token": "{prefixed}", "scopes": ["approval:read"]}}]"#
    );
    let gate = Gate::start(&policy(), &tokens).await;
    for token in [hex, prefixed] {
        assert_eq!(ask(gate.proxy(), request("GET", "/pending", Some(token), "", "")).await.status, 200, "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b14_a_missing_and_an_invalid_token_are_401() {
    let gate = gate().await;
    for (token, challenge) in [
        (None, r#"Bearer realm="scopegate""#),
        (Some("bsp_prod_of_somebody_else"), r#"Bearer realm="scopegate", error="invalid_token""#),
        (Some(""), r#"Bearer realm="scopegate", error="invalid_token""#),
    ] {
        let reply = ask(gate.proxy(), request("GET", "/pending", token, "", "")).await;
        assert_eq!((reply.status, reply.header("www-authenticate").as_deref()), (401, Some(challenge)), "{token:?}");
        assert_eq!(reply.text(), r#"{"error":"unauthorized","message":"Missing or invalid token"}"#);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b15_a_missing_scope_is_403_with_exactly_these_bytes() {
    let gate = gate().await;
    let reply = ask(gate.proxy(), request("POST", "/approve/x", Some(&token("prometheus")), "", "")).await;
    assert_eq!(reply.status, 403);
    assert_eq!(
        reply.body,
        br#"{"error":"insufficient_scope","message":"Token does not have approval:write scope","required_scope":"approval:write"}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn b16_the_development_token_works_in_development_mode_alone() {
    let case = Files::new(TOKENS).await;
    let tokens = case.tokens();
    for mode in [None, Some("false"), Some("1"), Some("TRUE"), Some("True"), Some("true "), Some("yes"), Some("")] {
        let mut env = vec![("BACKSTOP_TOKENS", tokens.as_str())];
        env.extend(mode.map(|mode| ("BACKSTOP_DEV_MODE", mode)));
        let serving = Serving::start(&case.config(), &env).await;
        let reply = ask(serving.address("proxy"), request("GET", "/pending", Some("dev-token"), "", "")).await;
        assert_eq!((reply.status, reply.header("x-scopegate-reason").as_deref()), (401, Some("invalid_credential")), "{mode:?}");
        assert!(!serving.log().contains("DEVELOPMENT MODE"), "{mode:?}");
    }
    for variable in ["BACKSTOP_DEV_MODE", "SCOPEGATE_DEV_MODE"] {
        let serving = Serving::start(&case.config(), &[("BACKSTOP_TOKENS", &tokens), (variable, "true")]).await;
        for (method, path, tool, _) in OPERATIONS {
            let reply = ask(serving.address("proxy"), request(method, path, Some("dev-token"), "", &call(tool))).await;
            assert_eq!(reply.status, 200, "{variable}: {method} {path}");
        }
        assert_eq!(ask(serving.address("proxy"), request("GET", "/pending", None, "", "")).await.status, 401, "{variable} opens nothing to nobody");
        serving.logged("DEVELOPMENT MODE: `dev-token` opens every route").await;
    }
    // Without a token file, development mode is a source of its own.
    let serving = Serving::start(&case.config(), &[("BACKSTOP_DEV_MODE", "true")]).await;
    until("the development token", async || {
        (ask(serving.address("proxy"), request("GET", "/pending", Some("dev-token"), "", "")).await.status == 200).then_some(())
    })
    .await;
}
