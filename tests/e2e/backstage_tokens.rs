//! Backstage's service tokens: those of its real token manager and of a real backend, which is asked the same questions as the gate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::client::Ask;
use crate::gate::{Desk, Gate, now};
use crate::process::free_port;
use crate::tokens::Minter;

fn secret(text: &str) -> String {
    STANDARD.encode(format!("{text}, and long enough for a secret of Backstage's"))
}

/// A token under a shared secret with other claims than the manager would give it.
fn odd(minter: &Minter, secret: &str, claims: &Json) -> String {
    minter.text("token", &json!({"op": "sign", "alg": "HS256", "secret_base64": secret, "claims": claims}))
}

#[test]
fn the_gate_and_the_real_manager_take_the_same_tokens_and_each_others() {
    let (backstage, minter) = (Minter::start("backstage.mjs"), Minter::start("mint.mjs"));
    let (first, second, stranger) = (secret("first"), secret("second"), secret("stranger"));
    let keys = json!([{"secret": first}, {"secret": second}]);
    let desk = Desk::new().file("first", &format!("{first}\n")).file("stranger", &stranger);
    let gate = desk.serve(&json!({"credentials": {"backstage": {"kind": "backstage", "keys": keys}}}));
    let is_accepted = |token: &str| backstage.ask(&json!({"op": "authenticate", "keys": [first, second], "token": token}))["accepted"] == true;
    let get = |secrets: &[&str]| backstage.text("token", &json!({"op": "getToken", "keys": secrets}));
    let mint = |file: &str| gate.desk.run(&["token", "mint", "--secret-base64-file", file], "").1;
    let claims = |sub: &str, exp: u64| json!({"sub": sub, "exp": exp});
    for (what, token, told) in [
        ("the manager's", get(&[&first]), (200, "backstage-server")),
        ("one under the second key", get(&[&second]), (200, "backstage-server")),
        ("ours", mint("first"), (200, "backstage-server")),
        ("another secret", get(&[&stranger]), (401, "signature")),
        ("ours under another secret", mint("stranger"), (401, "signature")),
        ("an end in the past", odd(&minter, &first, &claims("backstage-server", now() - 5)), (401, "expired")),
        ("another subject", odd(&minter, &first, &claims("somebody", now() + 600)), (401, "unknown")),
        ("no end", odd(&minter, &first, &json!({"sub": "backstage-server"})), (401, "claims")),
    ] {
        assert_eq!(is_accepted(&token), told.0 == 200, "{what}");
        assert_eq!(gate.bearer(&token), (told.0, told.1.to_owned()), "{what}");
    }
    let (status, said, _) = gate.desk.run(&["token", "verify", "--secret-base64-file", "first", "--alg", "HS256"], &get(&[&first]));
    assert_eq!((status, &*said), (0, "valid"));
    let (status, _, why) = gate.desk.run(&["token", "verify", "--secret-base64-file", "first", "--alg", "HS256"], &get(&[&stranger]));
    assert!(status == 1 && why.contains("the signature does not hold"), "{why}");
}

const CI: &str = "a-static-token-of-the-pipeline";
const SCAFFOLDING: &str = "a-static-token-for-the-scaffolder";
const READING: &str = "a-static-token-for-reading-only";

/// A real backend with the plugins `catalog`, `scaffolder` and `search`, and the servers that its callers' keys come from.
struct Backend {
    backstage: Minter,
    idp: Minter,
    _server: Minter,
    api: String,
    legacy: String,
    access: Json,
}

impl Backend {
    fn start() -> Self {
        let (backstage, idp, server) = (Minter::start("backstage.mjs"), Minter::start("mint.mjs"), Minter::start("faults.py"));
        idp.ask(&json!({"op": "key", "key": "k", "alg": "RS256"}));
        server.ask(&json!({"op": "lay", "path": "/keys", "body": idp.ask(&json!({"op": "jwks", "keys": ["k"]})).to_string()}));
        let url = format!("{}/keys", server.ready("address"));
        let legacy = secret("legacy");
        let fixed = |token: &str, subject: &str| json!({"token": token, "subject": subject});
        let access = json!([
            {"type": "static", "options": fixed(CI, "ci")},
            {"type": "static", "options": fixed(SCAFFOLDING, "scaffolding"), "accessRestrictions": [{"plugin": "scaffolder"}]},
            {"type": "static", "options": fixed(READING, "reader"), "accessRestrictions": [{"plugin": "catalog", "permission": "catalog.entity.read"}]},
            {"type": "legacy", "options": {"secret": legacy, "subject": "scripts"}},
            {
                "type": "jwks",
                "options": {"url": url, "issuer": "https://idp.test", "algorithm": "RS256", "audience": "orders", "subjectPrefix": "idp"},
            },
        ]);
        let plugins = ["catalog", "scaffolder", "search"];
        let api = backstage.text("api", &json!({"op": "start", "plugins": plugins, "auth": {"externalAccess": access}}));
        Self { backstage, idp, _server: server, api, legacy, access }
    }

    /// Status and subject, as the real catalog sees a token.
    fn told(&self, token: &str) -> (u16, String) {
        let port = self.api.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
        let answer = Ask::get("/api/catalog/x").token(token).send(port);
        let body: Json = serde_json::from_str(&answer.body()).unwrap();
        (answer.status, body["principal"]["subject"].as_str().unwrap_or_default().to_owned())
    }

    fn plugin_token(&self, plugin: &str, target: &str) -> String {
        self.backstage.text("token", &json!({"op": "pluginToken", "api": self.api, "plugin": plugin, "target": target}))
    }

    /// A token of the identity provider; `more` adds claims, and `null` takes one away.
    fn idp_token(&self, key: &str, more: &Json) -> String {
        let mut claims = json!({"iss": "https://idp.test", "aud": "orders", "sub": "robot", "exp": now() + 600});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.idp.text("token", &json!({"op": "sign", "alg": "RS256", "key": key, "header": {"kid": "k"}, "claims": claims}))
    }

    /// A gate before a plugin `catalog`, with the backend's own words about who may call.
    fn gate(&self, more: &Json) -> Gate {
        let plugin = |name: &str| format!("{}/{name}", self.api);
        let plugins = json!({"catalog": plugin("catalog"), "scaffolder": plugin("scaffolder"), "search": plugin("search")});
        let backstage = json!({"kind": "backstage", "plugin": "catalog", "plugins": plugins, "external_access": self.access});
        let mut config = json!({"credentials": {"backstage": backstage}, "routes": {"GET /entities": {"scopes": "catalog.entity.read"}}});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Desk::new().serve(&config)
    }
}

#[test]
fn the_gate_sees_callers_as_a_real_backend_with_the_same_configuration_sees_them() {
    let backend = Backend::start();
    let gate = backend.gate(&json!({}));
    let legacy = |secret: &str| backend.backstage.text("token", &json!({"op": "getToken", "keys": [secret]}));
    let who = |name: &str| (200, name.to_owned());
    let (refused, forbidden) = ((401, String::new()), (403, String::new()));
    let forged = |token: String, other: String| format!("{}.{}", token.rsplit_once('.').unwrap().0, other.rsplit('.').next().unwrap());
    for (what, token, told) in [
        ("static", CI.to_owned(), who("ci")),
        ("static, another plugin's", SCAFFOLDING.to_owned(), forbidden),
        ("static, of some permissions", READING.to_owned(), who("reader")),
        ("static, unknown", format!("{CI}s"), refused.clone()),
        ("legacy", legacy(&backend.legacy), who("scripts")),
        ("legacy, another secret", legacy(&secret("other")), refused.clone()),
        ("jwks", backend.idp_token("k", &json!({})), who("external:idp:robot")),
        ("jwks, several audiences", backend.idp_token("k", &json!({"aud": ["other", "orders"]})), who("external:idp:robot")),
        ("jwks, another key", backend.idp_token("stranger", &json!({})), refused.clone()),
        ("jwks, another audience", backend.idp_token("k", &json!({"aud": "other"})), refused.clone()),
        ("jwks, another issuer", backend.idp_token("k", &json!({"iss": "https://other.test"})), refused.clone()),
        ("jwks, expired", backend.idp_token("k", &json!({"exp": now() - 90})), refused.clone()),
        ("jwks, nobody", backend.idp_token("k", &json!({"sub": null})), refused.clone()),
        ("plugin", backend.plugin_token("scaffolder", "catalog"), who("plugin:scaffolder")),
        ("plugin, itself", backend.plugin_token("catalog", "catalog"), who("plugin:catalog")),
        ("plugin, for another", backend.plugin_token("scaffolder", "search"), refused.clone()),
        (
            "plugin, another's signature",
            forged(backend.plugin_token("scaffolder", "catalog"), backend.plugin_token("search", "catalog")),
            refused.clone(),
        ),
    ] {
        assert_eq!(backend.told(&token), told, "{what}, at the backend");
        let (status, said) = gate.bearer(&token);
        assert_eq!((status, if status == 200 { said.clone() } else { String::new() }), told, "{what}, at the gate: {said}");
    }
    // What is left to a restricted caller is its scopes, which the others got none of.
    assert_eq!(gate.told(&Ask::get("/entities").token(READING)), who("reader"));
    assert_eq!(gate.told(&Ask::get("/entities").token(CI)), (403, "insufficient_scope".into()));
}

#[test]
fn a_real_backend_takes_the_credentials_that_the_gate_adds_to_calls() {
    let backend = Backend::start();
    let url = backend.api.trim_end_matches("/api");
    let ports = [free_port(), free_port(), free_port()];
    let listen = |index: usize| format!("127.0.0.1:{}", ports[index]);
    let desk = Desk::new().file("token", CI);
    let minted = |index: usize, key: &str| json!({"listen": listen(index), "url": url, "backstage": {"key": key}});
    let egress = json!([
        minted(0, &backend.legacy),
        {"listen": listen(1), "url": url, "bearer_file": desk.path("token")},
        minted(2, &secret("other")),
    ]);
    let _gate = desk.serve(&json!({"credentials": {"fixed": {"kind": "webhook", "token": CI}}, "egress": egress}));
    for (port, status, subject) in [(ports[0], 200, json!("scripts")), (ports[1], 200, json!("ci")), (ports[2], 401, Json::Null)] {
        let answer = Ask::get("/api/catalog/x").send(port);
        let body: Json = serde_json::from_str(&answer.body()).unwrap();
        assert_eq!((answer.status, &body["principal"]["subject"]), (status, &subject));
    }
}
