//! What lies outside of a gate: an issuer that publishes key sets and writes down who asks, and a trap that nobody must ever reach.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::keys::{Keys, pem};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire};
use crate::harness::{Gate, until};

/// Everything that cases and configurations refer to.
pub struct World {
    pub keys: Keys,
    pub issuer: Upstream,
    pub trap: Trap,
}

/// An address that tokens name and that is never asked.
pub struct Trap {
    pub address: SocketAddr,
    caught: Arc<AtomicUsize>,
}

impl Trap {
    async fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, caught) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&caught);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, caught }
    }

    pub fn caught(&self) -> usize {
        self.caught.load(Ordering::SeqCst)
    }
}

impl World {
    pub async fn make() -> Self {
        let (keys, trap) = (Keys::generate(), Trap::set().await);
        let answers = Arc::new(answers(&keys, trap.address));
        let serve = move |mut wire: Wire, message: Message| {
            let path = message.first.split(' ').nth(1).unwrap_or_default();
            let answer = answers.get(path).cloned().unwrap_or_else(|| "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".into());
            async move {
                wire.send(answer).await;
                Some(wire)
            }
        };
        let issuer = Upstream::serving(serve).await;
        Self { keys, issuer, trap }
    }

    /// The configuration with the issuer's address, and the files that it may name.
    pub fn policy(&self, text: &str) -> String {
        text.replace("ISSUER", &format!("http://{}", self.issuer.address))
    }

    /// Waits until every key set is there, or is known not to come.
    pub async fn settled(gate: &Gate) {
        until("key sets", async || {
            let (_, status) = gate.readyz().await;
            let sets = status["key_sets"].as_array().cloned().unwrap_or_default();
            let settled = |set: &Value| set["keys"] != 0 || (set["address"].as_str().unwrap().contains("/never/") && !set["last_error"].is_null());
            sets.iter().all(settled).then_some(())
        })
        .await;
    }

    /// Who fetched what more often than its keeper alone does, once, and a caller can make it, once in thirty seconds.
    pub fn asked_too_often(&self, since: Instant) -> Vec<String> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for message in self.issuer.take() {
            *counts.entry(message.first).or_default() += 1;
        }
        let most = 2 + since.elapsed().as_secs() / 30;
        let often = counts.into_iter().filter(|(first, count)| !first.contains("/never/") && *count > most);
        often.map(|(first, count)| format!("{first}: {count} times")).collect()
    }
}

/// By path.
fn answers(keys: &Keys, trap: SocketAddr) -> BTreeMap<String, String> {
    let key = |name: &str, kid: &str, members: Value| {
        let mut key = keys.jwk(name);
        key["kid"] = json!(kid);
        key.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        key
    };
    let plain = |name: &str, kid: &str| key(name, kid, json!({}));
    let certificate = |name: &str| pem("CERTIFICATE", &keys.certificate_of_file(name));
    let documents = [
        ("/jwks.json", json!({"keys": [plain("rsa", "rsa-1"), plain("ec", "ec-1"), plain("ed", "ed-1")]})),
        // What of these two holds a private or shared half has been seen by others.
        (
            "/shown.json",
            json!({"keys": [
                key("ec", "shown", json!({"d": "AQAB"})),
                {"kty": "oct", "kid": "secret", "k": "Y29ycHVzLXNlY3JldC1vZi1zaXh0eS1mb3VyLWNoYXJhY3RlcnMtMDEyMzQ1Njc4OS1hYmNkZWZnaGlqa2xtbg"},
                plain("rsa", "good"),
            ]}),
        ),
        ("/google/x509", json!({"google-1": certificate("rsa"), "google-2": certificate("ec")})),
        ("/google/jwks", json!({"keys": [key("rsa", "google-1", json!({"alg": "RS256", "use": "sig"}))]})),
        ("/catalog/.backstage/auth/v1/jwks.json", json!({"keys": [key("ec", "catalog-1", json!({"alg": "ES256"}))]})),
        ("/search/.backstage/auth/v1/jwks.json", json!({"keys": [key("ec2", "search-1", json!({"alg": "ES256"}))]})),
        ("/ci.json", json!({"keys": [plain("rsa", "ci-1")]})),
        ("/never/empty", json!({})),
        ("/never/none", json!({"keys": []})),
    ];
    let with_length = |head: &str, body: &str| format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let good = |(path, document): (&str, Value)| {
        (path.to_owned(), with_length("200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=3600", &document.to_string()))
    };
    let mut answers: BTreeMap<String, String> = documents.into_iter().map(good).collect();
    answers.insert("/never/page".into(), with_length("200 OK\r\ncontent-type: text/html", "<html>log in</html>"));
    answers.insert("/never/elsewhere".into(), with_length(&format!("302 Found\r\nlocation: http://{trap}/jwks.json"), ""));
    answers
}
