//! Ten thousand requests of all kinds of callers in shadow, and the same again enforced: whoever is denied then, the report had foretold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::report;
use crate::harness::Gate;
use crate::harness::grpc::{self, Asked};
use crate::harness::sign::{hs256, now};
use crate::harness::wire::{Wire, value};

const REQUESTS: u64 = 10_000;
/// Clients that ask at once, each on a connection of its own.
const CLIENTS: usize = 8;
const SECRET: &str = "hmac-of-the-replay-0123456789abcdef";

const POLICY: &str = "
roles: {clerk: [bills:read], chief: {inherits: clerk, scopes: [bills:write]}}
credentials:
  tokens: {kind: static, file: tokens.json}
  login: {kind: jwt, secret: SECRET, algorithms: HS256, issuer: replay, audiences: app, from: header:x-login}
routes:
  GET /open: public
  GET /orders: orders:read
  GET /orders/{id}: [orders:read, orders:detail]
  POST /orders: orders:write
  DELETE /orders/{id}: {scopes: [orders:write], mfa: {max_age: 5m}}
  GET /bills: {any_scopes: [bills:read, bills:write, audit:read]}
  GET /chiefs: {roles: [chief]}
  GET /logins: {credentials: [login]}
  GET /any: authenticated
  GET /no: deny
  GET /rare: {scopes: [orders:read], rate_limit: {rate: 5/d}}
  GET /crowded: {authenticated: true, rate_limit: {rate: 7/d}}
";
const PATHS: [&str; 14] = [
    "GET /open",
    "GET /orders",
    "GET /orders/7",
    "POST /orders",
    "DELETE /orders/7",
    "GET /bills",
    "GET /chiefs",
    "GET /logins",
    "GET /any",
    "GET /no",
    "GET /rare",
    "GET /crowded",
    "GET /unknown",
    "PUT /orders",
];

/// A caller's headers. The first is nobody.
fn callers() -> (Vec<String>, String) {
    let scopes = [
        &["other:read"][..],
        &["orders:read"],
        &["orders:*"],
        &["orders:read", "orders:detail"],
        &["bills:read"],
        &["audit:read", "orders:write"],
        &["*"],
    ];
    let mut headers = vec![String::new(), "authorization: Bearer nobody-knows-this\r\n".into(), "x-login: no.token.atall\r\n".into()];
    let mut entries = Vec::new();
    for (number, scopes) in scopes.iter().enumerate() {
        let mut entry = json!({"id": format!("static-{number}"), "token": format!("token-of-number-{number:04}"), "scopes": scopes});
        match number % 4 {
            1 => entry["roles"] = json!(["clerk"]),
            2 => (entry["roles"], entry["tenant"]) = (json!(["chief"]), json!("acme")),
            _ => {}
        }
        entries.push(entry);
        headers.push(format!("authorization: Bearer token-of-number-{number:04}\r\n"));
        for expires in [3600, -3600] {
            let claims = json!({"iss": "replay", "aud": "app", "sub": format!("user-{number}"), "exp": now() + expires, "scope": scopes.join(" ")});
            headers.push(format!("x-login: {}\r\n", hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), &claims)));
        }
    }
    for (key, what) in [("expires_at", json!("2001-01-01T00:00:00Z")), ("disabled", json!(true))] {
        entries.push(json!({"id": format!("by-{key}"), "token": format!("token-with-{key}-0"), "scopes": ["*"], key: what}));
        headers.push(format!("authorization: Bearer token-with-{key}-0\r\n"));
    }
    // Somebody of a tenant who asks for another's.
    headers.push("authorization: Bearer token-of-number-0002\r\nx-tenant-id: rival\r\n".into());
    (headers, Value::Array(entries).to_string())
}

/// The number of a request into what it is: the same in both runs.
fn request(number: u64, callers: &[String]) -> (&'static str, &str) {
    let mixed = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let pick = |shift: u32, count: usize| ((mixed >> shift) % count as u64) as usize;
    (PATHS[pick(7, PATHS.len())], &callers[pick(31, callers.len())])
}

/// Who was denied what, and how often.
type Denials = BTreeMap<[String; 5], u64>;

fn key(line: &Value) -> [String; 5] {
    ["credential", "principal", "route", "reason", "missing_scopes"].map(|name| line[name].as_str().unwrap_or("-").to_owned())
}

async fn foretold(gate: &Gate) -> Denials {
    let told = report(gate).await;
    assert_eq!(told["other"], 0);
    told["rows"].as_array().unwrap().iter().map(|row| (key(row), row["count"].as_u64().unwrap())).collect()
}

/// By the audit lines.
async fn denied(gate: &Gate) -> Denials {
    let mut denials = Denials::new();
    for line in gate.audit().await.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line["outcome"] == "deny") {
        *denials.entry(key(&line)).or_default() += 1;
    }
    denials
}

async fn start(mode: &str, tokens: &str) -> Gate {
    Gate::start(&format!("mode: {mode}{}", POLICY.replace("SECRET", SECRET)), tokens).await
}

/// A client at one of the doors.
enum Client {
    Proxy(Wire),
    ExtAuthz(grpc::Client),
}

impl Client {
    /// Whether the request was let through.
    async fn asks(&mut self, line: &str, lines: &str) -> bool {
        match self {
            Self::Proxy(wire) => {
                wire.send(format!("{line} HTTP/1.1\r\nhost: app.test\r\n{lines}content-length: 0\r\n\r\n")).await;
                let reply = wire.reply(false).await;
                assert_eq!(reply.status == 200, reply.header("x-scopegate-reason").is_none());
                reply.status == 200
            }
            Self::ExtAuthz(checks) => {
                let (method, target) = line.split_once(' ').unwrap();
                let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
                let asked = Asked { method: method.into(), headers: lines.lines().filter_map(header).collect(), ..Asked::get(target, None) };
                grpc::status(&asked.ask(checks).await) == 200
            }
        }
    }
}

/// Puts all of the requests, by several clients at once; gives how many were let through.
async fn replay(clients: Vec<Client>, callers: &[String]) -> u64 {
    let (callers, share) = (Arc::<[String]>::from(callers), clients.len());
    let all: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(first, mut client)| {
            let callers = Arc::clone(&callers);
            tokio::spawn(async move {
                let mut passed = 0;
                for number in (first as u64..REQUESTS).step_by(share) {
                    let (line, headers) = request(number, &callers);
                    passed += u64::from(client.asks(line, headers).await);
                }
                passed
            })
        })
        .collect();
    let mut passed = 0;
    for client in all {
        passed += client.await.unwrap();
    }
    passed
}

async fn at_the_proxy(gate: &Gate, callers: &[String]) -> u64 {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::Proxy(Wire::connect(gate.proxy()).await));
    }
    replay(clients, callers).await
}

async fn at_ext_authz(gate: &Gate, callers: &[String]) -> u64 {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::ExtAuthz(grpc::connect(gate.ext_authz()).await));
    }
    replay(clients, callers).await
}

/// Compares what was foretold with what came.
async fn compare(shadow: &Gate, enforced: &Gate, passed: (u64, u64)) {
    let (foretold, came) = (foretold(shadow).await, denied(enforced).await);
    let counted = came.values().sum::<u64>();
    assert_eq!(passed, (REQUESTS, REQUESTS - counted), "all pass in shadow, and when enforced all that are not denied");
    let reasons: BTreeSet<_> = came.keys().map(|[_, _, _, reason, _]| &**reason).collect();
    let all = [
        "denied",
        "insufficient_scope",
        "invalid_credential",
        "no_credential",
        "no_rule",
        "step_up",
        "too_many_requests",
        "wrong_credential",
        "wrong_role",
        "wrong_tenant",
    ];
    assert!(reasons.iter().copied().eq(all), "the mix has everything in it: {reasons:?}");
    for (what, count) in &came {
        assert_eq!(foretold.get(what), Some(count), "{what:?} was not foretold");
    }
    for what in foretold.keys() {
        assert!(came.contains_key(what), "{what:?} was foretold and did not come");
    }
    assert!(denied(shadow).await.is_empty(), "nothing is denied in shadow");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_at_the_proxy_door_the_report_has_foretold() {
    let (callers, tokens) = callers();
    let (shadow, enforced) = (start("shadow", &tokens).await, start("enforce", &tokens).await);
    let passed = (at_the_proxy(&shadow, &callers).await, at_the_proxy(&enforced, &callers).await);
    let seen = shadow.upstream.take();
    assert_eq!(seen.len() as u64, REQUESTS, "the upstream gets all of them in shadow");
    assert_eq!(enforced.upstream.take().len() as u64, passed.1);
    let somebody = seen.iter().filter(|seen| value(&seen.headers, "x-scopegate-id").is_some()).count();
    assert!(somebody > 4000 && somebody < 10_000, "and who was proved, it is told: {somebody}");
    compare(&shadow, &enforced, passed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_at_the_ext_authz_door_the_report_has_foretold() {
    let (callers, tokens) = callers();
    let (shadow, enforced) = (start("shadow", &tokens).await, start("enforce", &tokens).await);
    let passed = (at_ext_authz(&shadow, &callers).await, at_ext_authz(&enforced, &callers).await);
    compare(&shadow, &enforced, passed).await;
}
