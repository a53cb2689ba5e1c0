//! A whole gate in shadow behind the real proxies: everything gets through, and its report foretells what they will refuse.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::client::{Answer, Ask};
use crate::stage::{Front, Stage};

const REQUESTS: usize = 600;

/// A request, and the route that is its own.
const CALLS: [(&str, &str, &str); 8] = [
    ("GET", "/health", "GET /health"),
    ("GET", "/pending", "GET /pending"),
    ("POST", "/approve/7", "POST /approve/{id}"),
    ("POST", "/deny/7", "POST /deny/{id}"),
    ("GET", "/metadata/audit", "/metadata/audit"),
    ("GET", "/metrics", "GET /metrics"),
    ("POST", "/admin/pause", "/admin/{rest...}"),
    ("GET", "/nowhere", "default"),
];
/// Nobody, and somebody whom nobody knows, beside the entries of the example.
const CALLERS: [&str; 6] = ["", "?", "agent-prod-01", "operator-01", "prometheus", "admin"];

fn ask(stage: &Stage, number: usize) -> (Ask, &'static str, &'static str) {
    // 8 and 7 have no common part, so that all come with all.
    let ((method, path, route), caller) = (CALLS[number % CALLS.len()], CALLERS[(number / 7) % CALLERS.len()]);
    let ask = Ask::new(method, path).header("X-Scopegate-Id", "admin").header("X-Scopegate-Scopes", "*");
    let ask = match caller {
        "" => ask,
        "?" => ask.token("nobody-knows-this"),
        id => ask.token(stage.token(id)),
    };
    (ask, route, caller)
}

/// Principal, route, reason and missing scopes.
type Denials = BTreeMap<[String; 4], u64>;

fn denial(answer: &Answer, route: &str, caller: &str) -> [String; 4] {
    let body: Json = serde_json::from_str(&answer.body()).unwrap();
    let proved = if matches!(caller, "" | "?") { "-" } else { caller };
    let reason = answer.header("x-scopegate-reason").unwrap();
    [proved, route, reason, body["required_scope"].as_str().unwrap_or("-")].map(str::to_owned)
}

/// The application itself says something under the gate's name, which the gate takes away at its own door only.
fn is_told_nothing(answer: &Answer) -> bool {
    let said = |name: &str| answer.header(name).is_some_and(|value| value != "forged");
    !["x-scopegate-shadow", "x-scopegate-reason"].into_iter().any(said)
}

fn foretold(stage: &Stage) -> Denials {
    let told: Json = serde_json::from_str(&Ask::get("/shadow").host("localhost").send(stage.admin).body()).unwrap();
    let text = |row: &Json, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let key = |row: &Json| ["principal", "route", "reason", "missing_scopes"].map(|key| text(row, key));
    told["rows"].as_array().unwrap().iter().map(|row| (key(row), row["count"].as_u64().unwrap())).collect()
}

#[test]
fn what_envoy_refuses_the_report_of_its_gate_in_shadow_has_foretold() {
    let (shadow, enforced) = (Stage::start_with(Front::EnvoyGrpc, "mode: shadow\n"), Stage::start(Front::EnvoyGrpc));
    let mut came = Denials::new();
    for number in 0..REQUESTS {
        let (request, route, caller) = ask(&shadow, number);
        let (answer, seen) = shadow.ask(&request);
        assert_eq!((answer.status, seen.len()), (200, 1), "{caller:?} {route}");
        assert!(is_told_nothing(&answer));
        let proved = caller.len() > 1 && route != "GET /health";
        assert_eq!(seen[0].header("x-scopegate-id"), proved.then_some(caller), "{route}");
        assert_eq!(seen[0].header("authorization").is_some(), !caller.is_empty(), "the service may still check it");
        let (answer, seen) = enforced.ask(&request);
        assert_eq!(seen.len(), usize::from(answer.status == 200));
        if answer.status != 200 {
            *came.entry(denial(&answer, route, caller)).or_default() += 1;
        }
    }
    assert!(came.len() > 20, "{came:?}");
    assert_eq!(foretold(&shadow), came);
}

#[test]
fn every_front_lets_a_gate_in_shadow_pass_and_sends_no_forged_identity_on() {
    for front in [Front::EnvoyHttp, Front::Nginx, Front::Traefik, Front::Caddy, Front::Proxy] {
        let stage = Stage::start_with(front, "mode: shadow\n");
        for (caller, told) in [("", None), ("?", None), ("prometheus", Some("prometheus"))] {
            let request = Ask::get("/pending").header("X-Scopegate-Id", "admin");
            let request = match caller {
                "" => request,
                "?" => request.token("nobody-knows-this"),
                id => request.token(stage.token(id)),
            };
            let (answer, seen) = stage.ask(&request);
            assert_eq!((answer.status, seen.len()), (200, 1), "{front:?} {caller:?}");
            let id = seen[0].header("x-scopegate-id").filter(|id| !id.is_empty());
            assert_eq!((id, is_told_nothing(&answer)), (told, true), "{front:?} {caller:?}");
        }
        let denials = foretold(&stage);
        assert_eq!(denials.values().sum::<u64>(), 3, "{front:?}: {denials:?}");
    }
}
