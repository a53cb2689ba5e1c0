//! Firebase ID tokens under keys of our own in both forms that Google publishes, and those of the real emulator, which signs none.

use serde_json::{Value as Json, json};

use crate::client::Ask;
use crate::gate::{Desk, Gate, now};
use crate::process::until;
use crate::tokens::Minter;

/// Where the emulator would be; the gate never asks it anything.
const EMULATOR: (&str, &str) = ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099");
const DEVELOPMENT: (&str, &str) = ("SCOPEGATE_DEV_MODE", "true");

fn firebase() -> Minter {
    Minter::start("firebase.mjs")
}

/// Two sources that differ in the form of their keys.
fn gate(firebase: &Minter, variables: &[(&'static str, &str)]) -> Gate {
    let source =
        |from: &str, keys: &str| json!({"kind": "firebase", "from": from, "project_id": firebase.ready("project"), "keys_url": firebase.ready(keys)});
    let config = json!({
        "credentials": {"x509": source("bearer", "x509"), "jwks": source("header:x-jwks", "jwks")},
        "roles": {"owner": ["orders:write"]},
        "routes": {"GET /orders": "orders:read", "GET /owner": {"roles": "owner"}},
    });
    let desk = variables.iter().fold(Desk::new(), |desk, (name, value)| desk.variable(name, value));
    desk.serve(&config)
}

fn token(firebase: &Minter, more: &Json) -> String {
    let mut request = json!({"op": "idToken"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    firebase.text("token", &request)
}

fn is_taken_by_firebase_admin(firebase: &Minter, token: &str) -> bool {
    firebase.ask(&json!({"op": "verify", "token": token}))["accepted"] == true
}

#[test]
fn id_tokens_are_taken_by_certificate_and_by_key_set() {
    let firebase = firebase();
    let gate = gate(&firebase, &[]);
    let claims = json!({"scope": "orders:read", "role": "owner", "firebase": {"tenant": "acme", "sign_in_provider": "custom"}});
    let good = token(&firebase, &json!({"uid": "alice", "claims": claims}));
    for ask in ["/", "/orders", "/owner"].map(Ask::get) {
        assert_eq!(gate.told(&ask.clone().token(&good)), (200, "alice".into()));
        assert_eq!(gate.told(&ask.header("x-jwks", &good)), (200, "alice".into()));
    }
    // The tenant that the token was made for, and no other.
    assert_eq!(gate.told(&Ask::get("/").token(&good).header("x-tenant-id", "acme")), (200, "alice".into()));
    assert_eq!(gate.told(&Ask::get("/").token(&good).header("x-tenant-id", "other")).0, 403);
    let plain = token(&firebase, &json!({}));
    assert_eq!(gate.told(&Ask::get("/orders").token(&plain)), (403, "insufficient_scope".into()));
    assert_eq!(gate.told(&Ask::get("/owner").token(&plain)).0, 403);
}

#[test]
fn what_is_no_id_token_of_the_project_is_refused_as_firebase_admin_refuses_it() {
    let firebase = firebase();
    let gate = gate(&firebase, &[]);
    let project = firebase.ready("project");
    let long = "u".repeat(128);
    for uid in ["a", &long] {
        let good = token(&firebase, &json!({"uid": uid}));
        assert!(is_taken_by_firebase_admin(&firebase, &good));
        assert_eq!(gate.bearer(&good), (200, uid.to_owned()));
    }
    let custom = firebase.text("token", &json!({"op": "customToken", "claims": {"role": "owner"}}));
    for (what, bad, cause) in [
        ("another project's audience", token(&firebase, &json!({"claims": {"aud": "other"}})), "audience"),
        ("another project's issuer", token(&firebase, &json!({"claims": {"iss": "https://securetoken.google.com/other"}})), "issuer"),
        ("both", token(&firebase, &json!({"claims": {"aud": "other", "iss": "https://securetoken.google.com/other"}})), "issuer"),
        ("an issuer with a slash", token(&firebase, &json!({"claims": {"iss": format!("https://securetoken.google.com/{project}/")}})), "issuer"),
        ("a session cookie", token(&firebase, &json!({"claims": {"iss": format!("https://session.firebase.google.com/{project}")}})), "issuer"),
        ("a custom token", custom, "issuer"),
        ("a list of audiences", token(&firebase, &json!({"claims": {"aud": [project]}})), "audience"),
        ("no audience", token(&firebase, &json!({"claims": {"aud": null}})), "audience"),
        ("no subject", token(&firebase, &json!({"claims": {"sub": null}})), "claims"),
        ("an empty subject", token(&firebase, &json!({"uid": ""})), "claims"),
        ("a long subject", token(&firebase, &json!({"uid": format!("{long}u")})), "claims"),
        ("an end in the past", token(&firebase, &json!({"claims": {"exp": now() - 600}})), "expired"),
        ("a key that nobody has", token(&firebase, &json!({"header": {"kid": "nobody"}})), "unknown_key"),
        ("no key", token(&firebase, &json!({"header": {"kid": null}})), "claims"),
    ] {
        assert!(!is_taken_by_firebase_admin(&firebase, &bad), "{what}");
        assert_eq!(gate.bearer(&bad), (401, cause.into()), "{what}");
        assert_eq!(gate.told(&Ask::get("/").header("x-jwks", &bad)), (401, cause.into()), "{what}");
    }
    // Google's own list of what to check has these too, and firebase-admin leaves them out.
    for (what, bad, cause) in [
        ("a sign-in in the future", token(&firebase, &json!({"claims": {"auth_time": now() + 600}})), "not_yet_valid"),
        ("no sign-in", token(&firebase, &json!({"claims": {"auth_time": null}})), "claims"),
        ("an issue in the future", token(&firebase, &json!({"claims": {"iat": now() + 600}})), "not_yet_valid"),
    ] {
        assert_eq!(gate.bearer(&bad), (401, cause.into()), "{what}");
    }
}

#[test]
fn the_emulators_unsigned_tokens_count_in_development_mode_alone() {
    let firebase = firebase();
    let claims = json!({"role": "owner", "scope": "orders:read"});
    let emulated = firebase.ask(&json!({"op": "emulatorToken", "email": "e@example.test", "claims": claims}));
    let (uid, unsigned) = (emulated["uid"].as_str().unwrap(), emulated["token"].as_str().unwrap());
    assert!(unsigned.ends_with('.'), "{unsigned}");
    let cookie = firebase.text("token", &json!({"op": "sessionCookie", "token": unsigned}));
    let signed = token(&firebase, &json!({"uid": "alice"}));
    for variables in [&[][..], &[EMULATOR], &[DEVELOPMENT], &[EMULATOR, ("SCOPEGATE_DEV_MODE", "1")]] {
        let gate = gate(&firebase, variables);
        assert_eq!(gate.bearer(unsigned), (401, "unknown".into()), "{variables:?}");
        assert_eq!(gate.bearer(&signed), (200, "alice".into()), "{variables:?}");
    }
    let gate = gate(&firebase, &[EMULATOR, DEVELOPMENT]);
    for path in ["/", "/orders", "/owner"] {
        assert_eq!(gate.told(&Ask::get(path).token(unsigned)), (200, uid.to_owned()), "{path}");
    }
    assert_eq!(gate.bearer(&signed), (200, "alice".into()));
    assert_eq!(gate.bearer(&cookie), (401, "issuer".into()));
    assert!(gate.process.said().contains("UNSIGNED"), "nobody was warned");
    let with_signature = format!("{unsigned}{}", signed.rsplit('.').next().unwrap());
    assert_eq!(gate.bearer(&with_signature), (401, "unknown".into()));
}

#[test]
fn a_new_key_of_googles_is_learnt_from_either_form() {
    let firebase = firebase();
    let gate = gate(&firebase, &[]);
    let old = token(&firebase, &json!({"uid": "alice"}));
    let both = |token: &str| [gate.bearer(token), gate.told(&Ask::get("/").header("x-jwks", token))];
    assert_eq!(both(&old), [(200, "alice".to_owned()), (200, "alice".to_owned())]);
    firebase.ask(&json!({"op": "requests"}));
    firebase.ask(&json!({"op": "rotate", "drop": true}));
    let new = token(&firebase, &json!({"uid": "alice"}));
    until("the new key", || both(&new).iter().all(|(status, _)| *status == 200));
    assert_eq!(both(&old), [(401, "unknown_key".to_owned()), (401, "unknown_key".to_owned())]);
    assert_eq!(firebase.ask(&json!({"op": "requests"})), json!({"/x509": 1, "/jwks": 1}));
}
