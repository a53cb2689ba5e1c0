//! Every kind of bearer token at one gate: each is taken by its own source, whatever the others think of it or whether they can think at all.

use serde_json::{Value as Json, json};

use crate::client::Ask;
use crate::gate::{Desk, now};
use crate::tokens::Minter;

const API: &str = "https://api.test";
const SECRET: &str = "the secret of an application that signs its own tokens";

#[test]
fn each_kind_of_token_is_taken_by_its_own_source_and_no_other() {
    let [provider, firebase, backstage, minter] = ["provider.mjs", "firebase.mjs", "backstage.mjs", "mint.mjs"].map(Minter::start);
    let shared = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "a shared secret of the plugins");
    let credentials = json!({
        "fixed": {"kind": "static", "file": "tokens.json"},
        "hook": {"kind": "webhook", "token": "the-token-of-a-webhook"},
        "backstage": {"kind": "backstage", "keys": [{"secret": shared}]},
        "firebase": {"kind": "firebase", "project_id": firebase.ready("project"), "keys_url": firebase.ready("x509")},
        "oidc": {"kind": "jwt", "issuer_url": provider.ready("issuer"), "audiences": [API], "algorithms": ["RS256"]},
        "app": {"kind": "jwt", "secret": SECRET, "algorithms": ["HS256"]},
        "opaque": {
            "kind": "introspection", "url": provider.ready("introspection"), "timeout": "10s",
            "client_id": provider.ready("client_id"), "client_secret": provider.ready("client_secret"),
        },
    });
    let names: Vec<&String> = credentials.as_object().unwrap().keys().collect();
    let routes: serde_json::Map<String, Json> = names.iter().map(|name| (format!("GET /{name}"), json!({"credentials": name}))).collect();
    let config = json!({"credentials": credentials, "routes": routes});
    let listed = json!([{"id": "prometheus", "token": "the-token-of-an-entry", "scopes": ["metrics:read"]}]);
    let desk = || Desk::new().file("tokens.json", &listed.to_string());
    let access = |format: &str| provider.text("access_token", &json!({"op": "token", "format": format}));
    let claims = json!({"sub": "user-123", "exp": now() + 600});
    let tokens = [
        ("fixed", "prometheus", "the-token-of-an-entry".to_owned()),
        ("hook", "hook", "the-token-of-a-webhook".to_owned()),
        ("backstage", "backstage-server", backstage.text("token", &json!({"op": "getToken", "keys": [shared]}))),
        ("firebase", "alice", firebase.text("token", &json!({"op": "idToken", "uid": "alice"}))),
        ("oidc", "robot", access("jwt")),
        ("app", "user-123", minter.text("token", &json!({"op": "sign", "lib": "jsonwebtoken", "alg": "HS256", "secret": SECRET, "claims": claims}))),
        ("opaque", "robot", access("opaque")),
    ];
    let gate = desk().serve(&config);
    for (own, id, token) in &tokens {
        for name in &names {
            let told = gate.told(&Ask::get(&format!("/{name}")).token(token));
            let expected = if name == own { (200, (*id).to_owned()) } else { (401, "wrong_credential".to_owned()) };
            assert_eq!(told, expected, "{own} at /{name}");
        }
    }
    // A gate that never saw the provider: whoever does not need it does not notice.
    provider.ask(&json!({"op": "front", "down": true}));
    let gate = desk().begin(&config);
    let firebase_is_known = || gate.key_set("firebase")["keys"] == 1;
    crate::process::until("the keys of Firebase", firebase_is_known);
    for (own, id, token) in &tokens {
        let doubt = ["oidc", "opaque"].contains(own);
        let expected = if doubt { (503, "credential_unavailable".to_owned()) } else { (200, (*id).to_owned()) };
        assert_eq!(gate.told(&Ask::get(&format!("/{own}")).token(token)), expected, "{own}");
    }
}
