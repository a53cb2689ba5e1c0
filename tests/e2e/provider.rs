//! A certified OpenID Provider as the issuer: its keys found and followed, its outages outlived, its opaque tokens asked about.

use std::fs;

use serde_json::{Value as Json, json};

use crate::client::Ask;
use crate::gate::{Desk, Gate};
use crate::process::until;
use crate::tokens::Minter;

const API: &str = "https://api.test";
const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
const STATIC: &str = "a-token-that-needs-no-issuer";

fn provider() -> Minter {
    Minter::start("provider.mjs")
}

/// An access token; `more` adds to the request for it.
fn token(provider: &Minter, more: &Json) -> String {
    let mut request = json!({"op": "token", "scope": "orders:read"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    provider.text("access_token", &request)
}

/// How often the key set was asked for since the last time.
fn fetches(provider: &Minter) -> u64 {
    provider.ask(&json!({"op": "requests"})).get("/jwks").and_then(Json::as_u64).unwrap_or(0)
}

/// Sources that need the provider and one that does not.
fn config(provider: &Minter) -> Json {
    let issuer = provider.ready("issuer");
    let oidc = json!({"kind": "jwt", "issuer_url": issuer, "audiences": [API], "algorithms": ALGORITHMS, "typ": "at+jwt"});
    json!({"credentials": {"oidc": oidc, "fixed": {"kind": "webhook", "token": STATIC}}, "routes": {"GET /orders": "orders:read"}})
}

fn gate(provider: &Minter) -> Gate {
    Desk::new().serve(&config(provider))
}

/// Once the gate's copy of a key set lies on disk.
fn until_kept(gate: &Gate) {
    let folder = gate.desk.path("scopegate-keys");
    until("the copy of the key set", || {
        fs::read_dir(&folder).is_ok_and(|files| files.flatten().any(|file| file.path().extension().is_some_and(|kind| kind == "json")))
    });
}

#[test]
fn access_tokens_are_judged_by_issuer_audience_and_type() {
    let provider = provider();
    let issuer = provider.ready("issuer").to_owned();
    let mut config = config(&provider);
    let jwks = provider.ready("jwks");
    let elsewhere = json!({"kind": "jwt", "from": "header:x-elsewhere", "jwks_url": jwks, "issuer": "https://other.test", "audiences": [API], "algorithms": ALGORITHMS});
    let plain = json!({"kind": "jwt", "from": "header:x-plain", "jwks_url": jwks, "issuer": issuer, "audiences": [API], "algorithms": ALGORITHMS, "typ": "JWT"});
    config["credentials"]["elsewhere"] = elsewhere;
    config["credentials"]["plain"] = plain;
    let gate = Desk::new().serve(&config);
    for alg in ALGORITHMS {
        let token = token(&provider, &json!({"alg": alg}));
        assert_eq!(gate.told(&Ask::get("/orders").token(&token)), (200, "robot".into()), "{alg}");
        assert_eq!(gate.told(&Ask::get("/").header("x-elsewhere", &token)), (401, "issuer".into()), "{alg}");
        assert_eq!(gate.told(&Ask::get("/").header("x-plain", &token)), (401, "typ".into()), "{alg}");
    }
    for (audience, told) in [("https://other.test", (401, "audience".into())), (API, (200, "robot".into()))] {
        assert_eq!(gate.bearer(&token(&provider, &json!({"audience": audience}))), told);
    }
    let narrow = token(&provider, &json!({"scope": "orders:write"}));
    assert_eq!(gate.told(&Ask::get("/orders").token(&narrow)), (403, "insufficient_scope".into()));
}

#[test]
fn a_token_under_a_new_key_costs_one_fetch() {
    let provider = provider();
    let gate = gate(&provider);
    let old = token(&provider, &json!({}));
    assert_eq!(gate.bearer(&old), (200, "robot".into()));
    assert_eq!(fetches(&provider), 1);
    provider.ask(&json!({"op": "rotate"}));
    let new = token(&provider, &json!({}));
    // A slow provider's answer helps the next request.
    until("the new key", || gate.bearer(&new).0 == 200);
    for token in [&new, &old, &token(&provider, &json!({}))] {
        assert_eq!(gate.bearer(token), (200, "robot".into()));
    }
    assert_eq!(fetches(&provider), 1);
}

#[test]
fn tokens_under_a_key_that_was_taken_back_are_refused_even_if_they_were_known() {
    let provider = provider();
    let gate = gate(&provider);
    let old = token(&provider, &json!({}));
    assert_eq!(gate.bearer(&old), (200, "robot".into()));
    provider.ask(&json!({"op": "rotate", "drop": true}));
    let new = token(&provider, &json!({}));
    until("the new key", || gate.bearer(&new).0 == 200);
    assert_eq!(gate.bearer(&old), (401, "unknown_key".into()));
}

#[test]
fn an_outage_of_the_provider_is_felt_by_nobody_whose_key_is_known() {
    let provider = provider();
    let gate = gate(&provider);
    let (known, later) = (token(&provider, &json!({})), token(&provider, &json!({"alg": "ES256"})));
    assert_eq!(gate.bearer(&known), (200, "robot".into()));
    provider.ask(&json!({"op": "rotate"}));
    let unknown = token(&provider, &json!({}));
    provider.ask(&json!({"op": "front", "down": true}));
    until("the failure", || gate.bearer(&unknown) == (503, "credential_unavailable".into()));
    for token in [&known, &later] {
        assert_eq!(gate.bearer(token), (200, "robot".into()));
    }
    assert_eq!(gate.readyz().0, 200);
    // Without anybody's doing.
    provider.ask(&json!({"op": "front"}));
    until("the end of the outage", || gate.key_set("oidc")["last_error"].is_null());
    assert_eq!(gate.bearer(&unknown), (200, "robot".into()));
}

#[test]
fn a_start_without_the_provider_is_a_doubt_and_ends_by_itself() {
    let provider = provider();
    let good = token(&provider, &json!({}));
    provider.ask(&json!({"op": "front", "down": true}));
    let mut gate = Desk::new().begin(&config(&provider));
    assert_eq!(gate.bearer(&good), (503, "credential_unavailable".into()));
    assert_eq!(gate.bearer(STATIC), (200, "fixed".into()));
    // What cannot be a token of the provider's is no doubt.
    assert_eq!(gate.bearer("no-token-of-anybody"), (401, "unknown".into()));
    let (status, ready) = gate.readyz();
    assert_eq!((status, &ready["ready"]), (503, &json!(false)));
    until("the failure", || gate.key_set("oidc")["last_error"].is_string());
    assert_eq!(gate.key_set("oidc")["age_seconds"], Json::Null);
    assert!(!gate.metrics().contains("keyset_age_seconds{"));
    provider.ask(&json!({"op": "front"}));
    gate.until_ready();
    assert_eq!(gate.bearer(&good), (200, "robot".into()));
}

#[test]
fn a_restart_without_the_provider_goes_on_with_the_copy_on_disk() {
    let provider = provider();
    let mut gate = gate(&provider);
    let good = token(&provider, &json!({}));
    until_kept(&gate);
    provider.ask(&json!({"op": "front", "down": true}));
    gate.restart();
    gate.until_ready();
    assert_eq!(gate.bearer(&good), (200, "robot".into()));
    until("the failure", || gate.key_set("oidc")["last_error"].is_string());
    assert_eq!(gate.bearer(&good), (200, "robot".into()));
}

#[test]
fn an_issuer_by_another_name_is_not_believed() {
    let provider = provider();
    let mut config = config(&provider);
    let other = provider.ready("issuer").replace("127.0.0.1", "localhost");
    config["credentials"]["oidc"]["issuer_url"] = json!(other);
    let gate = Desk::new().begin(&config);
    until("the failure", || gate.key_set("oidc")["last_error"].as_str().is_some_and(|error| error.contains("does not speak for")));
    assert_eq!(gate.readyz().0, 503);
    assert_eq!(gate.bearer(&token(&provider, &json!({}))), (401, "issuer".into()));
}

/// A source that asks about tokens, patient enough for a busy machine.
fn introspection(provider: &Minter, cache: &str) -> Json {
    let said = |name: &str| provider.ready(name);
    json!({
        "kind": "introspection", "url": said("introspection"), "client_id": said("client_id"), "client_secret": said("client_secret"),
        "cache": cache, "timeout": "10s", "audiences": [API],
    })
}

#[test]
fn an_opaque_token_counts_as_long_as_its_issuer_says() {
    let provider = provider();
    let mut briefly = introspection(&provider, "1s");
    briefly["from"] = json!("header:x-briefly");
    let mut elsewhere = introspection(&provider, "1s");
    elsewhere["from"] = json!("header:x-elsewhere");
    elsewhere["audiences"] = json!(["https://other.test"]);
    let credentials = json!({"oidc": introspection(&provider, "5m"), "briefly": briefly, "elsewhere": elsewhere});
    let gate = Desk::new().serve(&json!({"credentials": credentials, "routes": {"GET /orders": "orders:read"}}));
    let envoy = gate.envoy(&[]);
    let good = token(&provider, &json!({"format": "opaque"}));
    let orders = Ask::get("/orders").token(&good);
    let brief = Ask::get("/orders").header("x-briefly", &good);
    assert_eq!(gate.told(&orders), (200, "robot".into()));
    assert_eq!(gate.told_by(&orders.send(envoy.port)), (200, "robot".into()));
    assert_eq!(gate.told(&brief), (200, "robot".into()));
    assert_eq!(gate.told(&Ask::get("/").header("x-elsewhere", &good)), (401, "audience".into()));
    assert_eq!(gate.told(&Ask::new("DELETE", "/orders").token(&token(&provider, &json!({"format": "opaque", "scope": ""})))), (200, "robot".into()));
    assert_eq!(
        gate.told(&Ask::get("/orders").token(&token(&provider, &json!({"format": "opaque", "scope": ""})))),
        (403, "insufficient_scope".into())
    );
    assert_eq!(gate.bearer("nobody-ever-made-this-token"), (401, "inactive".into()));
    // What was answered is remembered.
    provider.ask(&json!({"op": "requests"}));
    for _ in 0..10 {
        assert_eq!(gate.told(&orders), (200, "robot".into()));
    }
    assert_eq!(provider.ask(&json!({"op": "requests"})), json!({}));
    provider.ask(&json!({"op": "revoke", "token": good}));
    until("the end of the answer", || gate.told(&brief) == (401, "inactive".into()));
    // As the operator said: this source remembers for longer.
    assert_eq!(gate.told(&orders), (200, "robot".into()));
    assert_eq!(gate.bearer(&token(&provider, &json!({"format": "opaque"}))), (200, "robot".into()));
}

#[test]
fn an_issuer_that_cannot_be_asked_is_a_doubt() {
    let (provider, server) = (provider(), Minter::start("faults.py"));
    let good = token(&provider, &json!({"format": "opaque"}));
    let mut down = introspection(&provider, "1s");
    down["from"] = json!("header:x-down");
    let mut credentials = json!({"down": down});
    let faults = [
        ("hang", json!({"fault": "hang"})),
        ("slow", json!({"fault": "slow", "body": r#"{"active":true,"sub":"robot","exp":4102444800}"#})),
        ("slow-head", json!({"fault": "slow_head"})),
        ("endless", json!({"fault": "endless"})),
        ("huge", json!({"fault": "huge"})),
        ("short", json!({"fault": "short", "body": r#"{"active":true,"sub":"robot"}"#})),
        ("garbage", json!({"fault": "garbage"})),
        ("broken", json!({"status": 500, "body": r#"{"active":true,"sub":"robot"}"#})),
        ("forbidden", json!({"status": 401, "body": r#"{"active":false}"#})),
        ("html", json!({"body": "<html>sign in"})),
        ("text", json!({"body": r#"{"active":"true","sub":"robot"}"#})),
        ("empty", json!({"body": "{}"})),
        ("away", json!({"status": 302, "headers": {"location": provider.ready("introspection")}})),
    ];
    for (name, page) in &faults {
        let mut source = introspection(&provider, "1s");
        source["from"] = json!(format!("header:x-{name}"));
        source["url"] = json!(format!("{}/{name}", server.ready("address")));
        // The default, which Envoy waits for.
        source.as_object_mut().unwrap().remove("timeout");
        credentials[name] = source;
        let mut request = json!({"op": "lay", "path": format!("/{name}")});
        request.as_object_mut().unwrap().extend(page.as_object().unwrap().clone());
        server.ask(&request);
    }
    credentials["fixed"] = json!({"kind": "webhook", "token": STATIC});
    let gate = Desk::new().serve(&json!({"credentials": credentials}));
    let envoy = gate.envoy(&[]);
    provider.ask(&json!({"op": "front", "down": true}));
    assert_eq!(gate.told(&Ask::get("/").header("x-down", &good)), (503, "credential_unavailable".into()));
    for (name, _) in &faults {
        let ask = Ask::get("/").header(&format!("x-{name}"), &good);
        assert_eq!(gate.told(&ask), (503, "credential_unavailable".into()), "{name}");
        assert_eq!(gate.told_by(&ask.send(envoy.port)), (503, "credential_unavailable".into()), "{name}");
        assert_eq!(gate.bearer(STATIC), (200, "fixed".into()), "{name}");
    }
    provider.ask(&json!({"op": "front"}));
    assert_eq!(gate.told(&Ask::get("/").header("x-down", &good)), (200, "robot".into()));
}
