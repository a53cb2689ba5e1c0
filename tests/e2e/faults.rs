//! Key servers at their worst behind a running gate: what was good stays good, nobody waits, and the operator sees it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};

use crate::client::Ask;
use crate::gate::{Desk, Gate, now};
use crate::process::until;
use crate::tokens::Minter;

const STATIC: &str = "a-token-that-needs-no-key-set";

/// What makes tokens, and the server of their keys.
struct World {
    minter: Minter,
    server: Minter,
}

impl World {
    fn start() -> Self {
        let (minter, server) = (Minter::start("mint.mjs"), Minter::start("faults.py"));
        for key in ["old", "new", "evil"] {
            minter.ask(&json!({"op": "key", "key": key, "alg": "ES256"}));
        }
        Self { minter, server }
    }

    fn token(&self, key: &str, sub: &str) -> String {
        self.minter.text("token", &json!({"op": "sign", "alg": "ES256", "key": key, "claims": {"sub": sub, "exp": now() + 600}}))
    }

    fn set(&self, keys: &[&str]) -> String {
        self.minter.ask(&json!({"op": "jwks", "keys": keys})).to_string()
    }

    fn lay(&self, name: &str, page: &Json) {
        let mut request = json!({"op": "lay", "path": format!("/{name}")});
        request.as_object_mut().unwrap().extend(page.as_object().unwrap().clone());
        self.server.ask(&request);
    }

    fn fetches(&self, name: &str) -> u64 {
        self.server.ask(&json!({"op": "counts"})).get(format!("/{name}")).and_then(Json::as_u64).unwrap_or(0)
    }

    /// A gate with a source for each name, whose key set is good, and one that needs none.
    fn gate(&self, names: &[&str]) -> Gate {
        let mut credentials = json!({"fixed": {"kind": "webhook", "token": STATIC}});
        for name in names {
            self.lay(name, &json!({"body": self.set(&["old"])}));
            let url = format!("{}/{name}", self.server.ready("address"));
            credentials[name] = json!({"kind": "jwt", "from": format!("header:x-{name}"), "jwks_url": url, "algorithms": ["ES256"]});
        }
        Desk::new().serve(&json!({"credentials": credentials}))
    }
}

fn show(gate: &Gate, name: &str, token: &str) -> (u16, String) {
    gate.told(&Ask::get("/").header(&format!("x-{name}"), token))
}

/// A token under a key that nobody has.
fn unknown(kid: &str) -> String {
    let [header, claims, signature] =
        [json!({"alg": "ES256", "kid": kid}).to_string(), json!({"sub": "x", "exp": now() + 600}).to_string(), "x".repeat(64)]
            .map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}.{signature}")
}

/// Most memory that the process ever had, in KiB (proc(5)).
fn peak(gate: &Gate) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn no_answer_of_a_key_server_takes_a_good_set_away() {
    let (world, other) = (World::start(), Minter::start("faults.py"));
    let evil = world.set(&["evil"]);
    other.ask(&json!({"op": "lay", "path": "/keys", "body": evil}));
    let secret = json!({"keys": [{"kty": "oct", "kid": "evil", "k": URL_SAFE_NO_PAD.encode([7; 32])}]}).to_string();
    let elsewhere = format!("{}/keys", other.ready("address"));
    let faults = [
        ("html", json!({"headers": {"content-type": "text/html"}, "body": "<!DOCTYPE html><title>Sign in</title>"})),
        ("object", json!({"body": "{}"})),
        ("none", json!({"body": r#"{"keys":[]}"#})),
        ("nothing", json!({"body": ""})),
        ("secret", json!({"body": secret})),
        ("error", json!({"status": 500, "body": evil})),
        ("gone", json!({"status": 404, "body": evil})),
        ("redirect", json!({"status": 302, "headers": {"location": elsewhere}})),
        ("endless", json!({"fault": "endless"})),
        ("huge", json!({"fault": "huge"})),
        ("short", json!({"fault": "short", "body": evil})),
        ("slow", json!({"fault": "slow", "body": evil})),
        ("slow-head", json!({"fault": "slow_head"})),
        ("hang", json!({"fault": "hang"})),
        ("close", json!({"fault": "close"})),
        ("garbage", json!({"fault": "garbage"})),
    ];
    let names: Vec<&str> = faults.iter().map(|(name, _)| *name).collect();
    let gate = world.gate(&names);
    let before = world.token("old", "before");
    for (name, page) in &faults {
        assert_eq!(show(&gate, name, &before), (200, "before".into()), "{name}");
        assert_eq!(gate.key_set(name)["last_error"], Json::Null, "{name}");
        world.lay(name, page);
        // Asks for a newer set, and gets none.
        refused(&show(&gate, name, &unknown("nobody")), name);
        assert_eq!(gate.bearer(STATIC), (200, "fixed".into()), "{name}");
    }
    let (after, forged) = (world.token("old", "after"), world.token("evil", "forged"));
    for (name, _) in &faults {
        until("the failure", || gate.key_set(name)["last_error"].is_string());
        assert_eq!(show(&gate, name, &before), (200, "before".into()), "{name}");
        assert_eq!(show(&gate, name, &after), (200, "after".into()), "{name}");
        // Whether its key has been published since is what nobody can tell.
        assert_eq!(show(&gate, name, &forged), (503, "credential_unavailable".into()), "{name}");
        let set = gate.key_set(name);
        assert!(set["keys"] == 1 && set["age_seconds"].is_u64() && set["stale"] == false, "{set}");
        let line = format!("scopegate_keyset_age_seconds{{credential=\"{name}\"}} ");
        assert!(gate.metrics().lines().any(|said| said.starts_with(&line)), "{name}");
    }
    assert_eq!(gate.readyz().0, 200);
    assert_eq!(other.ask(&json!({"op": "counts"})), json!({}), "the redirect was followed");
    assert!(peak(&gate) < 512 * 1024, "{} KiB", peak(&gate));
    for name in &names {
        world.lay(name, &json!({"body": world.set(&["new"])}));
    }
    let new = world.token("new", "new");
    for name in &names {
        until("the end of the fault", || gate.key_set(name)["last_error"].is_null());
        assert_eq!(show(&gate, name, &new), (200, "new".into()), "{name}");
        // Remembered, and not beyond the set that vouched for it.
        assert_eq!(show(&gate, name, &before), (401, "unknown_key".into()), "{name}");
    }
}

#[test]
fn nobody_waits_for_a_fetch_that_hangs() {
    let world = World::start();
    let gate = world.gate(&["keys"]);
    let envoy = gate.envoy(&[]);
    let (old, new) = (world.token("old", "old"), world.token("new", "new"));
    world.lay("keys", &json!({"held": true}));
    refused(&show(&gate, "keys", &new), "at once");
    world.server.ask(&json!({"op": "wait", "path": "/keys", "count": 2}));
    assert_eq!(show(&gate, "keys", &old), (200, "old".into()));
    assert_eq!(show(&gate, "keys", &world.token("old", "fresh")), (200, "fresh".into()));
    assert_eq!(gate.bearer(STATIC), (200, "fixed".into()));
    // Within the time that Envoy waits.
    refused(&gate.told_by(&Ask::get("/").header("x-keys", &new).send(envoy.port)), "through Envoy");
    assert_eq!(gate.told_by(&Ask::get("/").header("x-keys", &old).send(envoy.port)), (200, "old".into()));
    gate.process.signal("HUP");
    until("the reload", || gate.readyz().1["generation"] == 2);
    assert_eq!(show(&gate, "keys", &old), (200, "old".into()));
    world.lay("keys", &json!({"body": world.set(&["old", "new"])}));
    until("the new set", || show(&gate, "keys", &new).0 == 200);
}

/// Unknown as long as the fetch may still succeed, unavailable once it has failed.
fn refused((status, why): &(u16, String), what: &str) {
    assert!(matches!((status, why.as_str()), (401, "unknown_key") | (503, "credential_unavailable")), "{what}: {status} {why}");
}

#[test]
fn a_flood_of_unknown_keys_causes_one_fetch() {
    let world = World::start();
    let gate = world.gate(&["keys", "quiet"]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let gate = &gate;
            scope.spawn(move || {
                for number in 0..250 {
                    let token = unknown(&format!("{thread}-{number}"));
                    let answer = gate.ask(&Ask::get("/").header("x-keys", &token));
                    assert_eq!((answer.status, answer.header("x-scopegate-reason")), (401, Some("invalid_credential")));
                }
            });
        }
    });
    assert_eq!((world.fetches("keys"), world.fetches("quiet")), (2, 1));
    assert_eq!(gate.application.take().len(), 0);
    assert_eq!(show(&gate, "keys", &world.token("old", "old")), (200, "old".into()));
}

#[test]
fn keys_over_tls_come_from_whom_the_system_trusts() {
    let (world, certifier) = (World::start(), Minter::start("mint.py"));
    let ca = certifier.text("pem", &json!({"op": "certificate", "key": "ca", "authority": true}));
    let made = certifier.ask(&json!({"op": "certificate", "key": "server", "issuer": "ca", "ip": ["127.0.0.1"]}));
    let text = |member: &str| made[member].as_str().unwrap();
    let desk = Desk::new().file("ca.pem", &ca).file("server.pem", text("pem")).file("server.key", text("private"));
    let server = Minter::start_with("faults.py", &[desk.path("server.pem"), desk.path("server.key")]);
    server.ask(&json!({"op": "lay", "path": "/keys", "body": world.set(&["old"])}));
    let url = format!("{}/keys", server.ready("address"));
    assert!(url.starts_with("https://"), "{url}");
    let config = json!({"credentials": {"keys": {"kind": "jwt", "from": "header:x-keys", "jwks_url": url, "algorithms": ["ES256"]}}});
    let old = world.token("old", "old");
    let trusting = Desk::new().variable("SSL_CERT_FILE", desk.path("ca.pem").to_str().unwrap()).serve(&config);
    assert_eq!(show(&trusting, "keys", &old), (200, "old".into()));
    let distrusting = Desk::new().begin(&config);
    until("the failure", || distrusting.key_set("keys")["last_error"].as_str().is_some_and(|error| error.contains("certificate")));
    assert_eq!(show(&distrusting, "keys", &old), (503, "credential_unavailable".into()));
}
