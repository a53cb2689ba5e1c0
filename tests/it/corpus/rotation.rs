//! Keys that come and go while a gate runs, and callers that ask for keys that never were.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scopegate::gate::unix_now;
use scopegate::jose::{HmacKey, sign_hs256};
use serde_json::json;

use super::keys::{Keys, SECRET};
use crate::harness::grpc::{self, Asked};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire};
use crate::harness::{Gate, ask, until};

/// A key set at an address of its own, which a test can change.
struct Issuer {
    keys: Keys,
    published: Arc<Mutex<String>>,
    server: Upstream,
}

impl Issuer {
    async fn start(names: &[&str]) -> Self {
        let published = Arc::new(Mutex::new(String::new()));
        let document = Arc::clone(&published);
        let serve = move |mut wire: Wire, _: Message| {
            let body = document.lock().unwrap().clone();
            async move {
                wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\ncache-control: max-age=3600\r\n\r\n{body}", body.len())).await;
                Some(wire)
            }
        };
        let issuer = Self { keys: Keys::generate(), published, server: Upstream::serving(serve).await };
        issuer.publish(names);
        issuer
    }

    /// Each key under its own name.
    fn publish(&self, names: &[&str]) {
        let keys = names.iter().map(|name| {
            let mut key = self.keys.jwk(name);
            key["kid"] = json!(name);
            key
        });
        *self.published.lock().unwrap() = json!({"keys": keys.collect::<Vec<_>>()}).to_string();
    }

    fn token(&self, key: &str, kid: &str) -> String {
        let alg = if key.starts_with("rsa") { "RS256" } else { "ES256" };
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"sub": "user-1", "scope": "app:use", "exp": unix_now() + 300});
        let signed = format!("{}.{}", part(json!({"alg": alg, "kid": kid})), part(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.keys.sign(key, alg, signed.as_bytes())))
    }

    /// A gate that has loaded what is published.
    async fn gate(&self) -> Gate {
        let source = format!("{{kind: jwt, jwks_url: \"http://{}/\", algorithms: [RS256, ES256]}}", self.server.address);
        let gate = Gate::start(&format!("credentials: {{users: {source}}}\nroutes: {{/: app:use}}\n"), "[]").await;
        until("the key set", async || (gate.readyz().await.0 == 200).then_some(())).await;
        gate
    }
}

async fn status(gate: &Gate, token: &str) -> u16 {
    ask(gate.proxy(), format!("GET /x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n")).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_unknown_keys_causes_one_fetch() {
    let issuer = Issuer::start(&["rsa"]).await;
    let gate = issuer.gate().await;
    let began = Instant::now();
    assert_eq!(issuer.server.take().len(), 1);
    let mut checks = grpc::connect(gate.ext_authz()).await;
    for number in 0..300 {
        let token = issuer.token("ec", &format!("unknown-{number}"));
        assert_eq!(grpc::status(&Asked::get("/x", Some(&token)).ask(&mut checks).await), 401);
        if number % 100 == 0 {
            assert_eq!(status(&gate, &issuer.token("rsa", "rsa")).await, 200, "who has a known key goes on");
        }
    }
    let fetches = u64::try_from(issuer.server.take().len()).unwrap();
    assert!((1..=1 + began.elapsed().as_secs() / 30).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_published_since_is_found_and_one_that_was_withdrawn_counts_no_more() {
    let issuer = Issuer::start(&["rsa"]).await;
    let gate = issuer.gate().await;
    let (old, new) = (issuer.token("rsa", "rsa"), issuer.token("ec", "ec"));
    assert_eq!((status(&gate, &old).await, status(&gate, &old).await), (200, 200));
    issuer.publish(&["ec"]);
    assert_eq!(status(&gate, &old).await, 200, "the set that was loaded counts until a newer one comes");
    // A busy machine may be slow to fetch: who comes next finds the key.
    until("the new key", async || (status(&gate, &new).await == 200).then_some(())).await;
    assert_eq!(status(&gate, &old).await, 401, "though it was remembered");
    assert_eq!(status(&gate, &new).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_forgets_every_token() {
    let policy = |secret: &str| format!("credentials: {{users: {{kind: jwt, secret: {secret}, algorithms: [HS256]}}}}\nroutes: {{/: app:use}}\n");
    let gate = Gate::start(&policy(SECRET), "[]").await;
    let claims = json!({"sub": "user-1", "scope": "app:use", "exp": unix_now() + 300});
    let token = sign_hs256(&HmacKey::new(SECRET.as_bytes()), &json!({"alg": "HS256"}), &claims);
    assert_eq!((status(&gate, &token).await, status(&gate, &token).await), (200, 200));
    gate.rewrite(&policy("another-secret-of-more-than-thirty-two-bytes"));
    assert_eq!(gate.reload().await.status, 200);
    assert_eq!(status(&gate, &token).await, 401);
    gate.rewrite(&policy(SECRET).replace("app:use", "other:use"));
    assert_eq!(gate.reload().await.status, 200);
    assert_eq!(status(&gate, &token).await, 403);
}
