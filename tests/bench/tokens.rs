//! A signed token seen for the first time, against its bare signature check; seen again, against a static token.

use std::hint::black_box;
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use scopegate::config::{Input, Loaded, load};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;
use scopegate::policy::Outcome;
use scopegate::policy::judge::Question;
use scopegate::request::{Body, RawRequest};
use serde_json::json;

use crate::{Effort, Table};

/// Fewer than the gate remembers.
const TOKENS: usize = 1_000;
const NOW: i64 = 1_900_000_000;
const STATIC: &str = "token-of-the-static-one-0123456789";

enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn new(algorithm: &str) -> Self {
        match algorithm {
            "RS256" => Self::Rsa(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap()),
            "ES256" => Self::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            _ => Self::Ed(Ed25519KeyPair::generate().unwrap()),
        }
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut out = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut out).unwrap();
                out
            }
            Self::Ec(key) => key.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(text.as_bytes()).as_ref().to_vec(),
        }
    }

    fn public(&self) -> ParsedPublicKey {
        let parsed = match self {
            Self::Rsa(key) => ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref()),
            Self::Ec(key) => ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key.public_key().as_ref()),
            Self::Ed(key) => ParsedPublicKey::new(&signature::ED25519, key.public_key().as_ref()),
        };
        parsed.unwrap()
    }

    /// What the source is told of the key: PEM (PKCS#1) for RSA, a JWKS for the others.
    fn published(&self) -> (&'static str, String) {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = match self {
            Self::Rsa(key) => {
                let body = STANDARD.encode(key.public_key().as_ref());
                return ("public_key_file", format!("-----BEGIN RSA PUBLIC KEY-----\n{body}\n-----END RSA PUBLIC KEY-----\n"));
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": text(&point[1..33]), "y": text(&point[33..])})
            }
            Self::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": text(key.public_key().as_ref())}),
        };
        ("jwks_file", json!({"keys": [jwk]}).to_string())
    }
}

/// A token of some 600 bytes, as an issuer's access tokens are.
fn token(signer: &Signer, algorithm: &str, number: usize) -> String {
    let header = json!({"alg": algorithm, "typ": "at+jwt", "kid": "1"});
    let claims = json!({
        "iss": "https://issuer.example.com", "aud": "orders", "sub": format!("user-{number}"), "client_id": "web", "jti": format!("{number:032x}"),
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 3600, "scope": "orders:read orders:write profile:read", "tenant_id": "t-1",
    });
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signer.sign(&signed)))
}

fn loaded(signer: &Signer, algorithm: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let (keys, tokens) = (folder.path().join("keys"), folder.path().join("tokens.json"));
    let (place, published) = signer.published();
    std::fs::write(&keys, published).unwrap();
    std::fs::write(&tokens, json!([{"id": "one", "token": STATIC, "scopes": ["orders:read"]}]).to_string()).unwrap();
    let text = format!(
        "credentials:\n  tokens: {{kind: static, file: {}}}\n  users: {{kind: jwt, {place}: {}, algorithms: [{algorithm}], issuer: https://issuer.example.com, audiences: [orders]}}\nroutes:\n  GET /orders/{{id}}: orders:read\n",
        tokens.display(),
        keys.display()
    );
    load(&Input::Text { name: "bench.yaml", text }, &|_| None, &TagKey::new([7; 32]), &Registry::offline())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

/// Nanoseconds of a decision on each of the headers, once.
fn decisions(loaded: &Loaded, headers: &[String]) -> f64 {
    let started = Instant::now();
    for header in headers {
        let headers: [(&str, &[u8]); 2] = [("accept", b"*/*"), ("authorization", header.as_bytes())];
        let raw =
            RawRequest { method: b"GET", target: b"/orders/7", host: Some(b"api.example.com"), headers: &&headers[..], link: Default::default() };
        let question = Question { body: Body::Unread, extra_scopes: "", now: NOW, settled: &[] };
        let decision = loaded.policy.decide(&loaded.sources, black_box(&raw), question);
        assert!(matches!(black_box(&decision).outcome, Outcome::Allow(_)), "{decision:?}");
    }
    started.elapsed().as_nanos() as f64 / headers.len() as f64
}

fn bare(key: &ParsedPublicKey, parts: &[(String, Vec<u8>)]) -> f64 {
    let started = Instant::now();
    for (signed, signature) in parts {
        assert!(black_box(key).verify_sig(black_box(signed.as_bytes()), signature).is_ok());
    }
    started.elapsed().as_nanos() as f64 / parts.len() as f64
}

pub fn measure(effort: Effort, table: &mut Table) {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let signer = Signer::new(algorithm);
        let key = signer.public();
        let tokens: Vec<String> = (0..TOKENS).map(|number| token(&signer, algorithm, number)).collect();
        let parts: Vec<(String, Vec<u8>)> = tokens
            .iter()
            .map(|token| token.rsplit_once('.').unwrap())
            .map(|(signed, signature)| (signed.to_owned(), URL_SAFE_NO_PAD.decode(signature).unwrap()))
            .collect();
        let headers: Vec<String> = tokens.iter().map(|token| format!("Bearer {token}")).collect();
        let known: Vec<String> = (0..TOKENS).map(|_| format!("Bearer {STATIC}")).collect();
        let (mut first, mut check, mut again, mut still) = (f64::MAX, f64::MAX, f64::MAX, f64::MAX);
        for _ in 0..effort.rounds * 3 {
            // A set of its own for each round, which remembers nothing yet.
            let loaded = loaded(&signer, algorithm);
            check = check.min(bare(&key, &parts));
            first = first.min(decisions(&loaded, &headers));
            again = again.min(decisions(&loaded, &headers));
            still = still.min(decisions(&loaded, &known));
        }
        table.ratio(format!("{algorithm} token, first sight ÷ bare signature check ({first:.0} ns, {check:.0} ns)"), (first, check), "≤ 1.15");
        table.ratio(format!("{algorithm} token, seen again ÷ static token ({again:.0} ns, {still:.0} ns)"), (again, still), "≤ 1.5");
    }
}
