//! Every kind of credential with a secret of its own, and the tokens that are shown to it: sound ones, and some for each way to be refused.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use scopegate::gate::unix_now;
use scopegate::jose::{HmacKey, sign_hs256};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::frames::agreed;
use super::upstream::Upstream;
use super::wire::{Message, Wire, value};
use super::{complete, write_secret};

/// Shared secrets of HMAC tokens; each is known by its first letters.
pub const CLEAR: &str = "hmac-in-clear-0a1b2c3d4e5f6a7b8c9d";
pub const FILE: &str = "hmac-in-a-file-1b2c3d4e5f6a7b8c9d0e";
pub const CODED: &str = "hmac-in-base64-2c3d4e5f6a7b8c9d0e1f";
pub const VARIABLE: &str = "hmac-in-environment-3d4e5f6a7b8c9d";
pub const SERVICE: &str = "backstage-key-of-ours-4e5f6a7b8c9d";
pub const SERVICE_FILE: &str = "service-key-in-a-file-5f6a7b8c9d0e";
pub const LEGACY: &str = "legacy-secret-access-6a7b8c9d0e1f2a";
pub const OUTGOING: &str = "egress-key-of-ours-7b8c9d0e1f2a3b";
/// Tokens that stand in the configuration or beside it.
pub const HOOK: &str = "token-of-webhook-8c9d0e1f2a3b4c5d";
pub const STATIC: &str = "access-token-of-ci-9d0e1f2a3b4c5d";
pub const BEARER: &str = "bearer-file-of-ours-0e1f2a3b4c5d6e";
/// Of clients of an issuer; the characters are those that a form escapes.
pub const CLIENT: &str = "client-secret-one-&=%:1f2a3b4c5d6e";
pub const CLIENT_FILE: &str = "client-in-a-file-2a3b4c5d6e7f8a9b";
/// In the query of an address that is fetched from.
pub const ADDRESS: &str = "key-in-an-address-3b4c5d6e7f8a9b0c";
pub const ALL: [&str; 14] =
    [CLEAR, FILE, CODED, VARIABLE, SERVICE, SERVICE_FILE, LEGACY, OUTGOING, HOOK, STATIC, BEARER, CLIENT, CLIENT_FILE, ADDRESS];

/// A token that its issuer knows, and others.
const OPAQUE: &str = "opaque-of-somebody-4c5d6e7f8a9b0c1d";
const UNKNOWN: &str = "opaque-of-nobody-5d6e7f8a9b0c1d2e";

const CONFIG: &str = "
credentials:
  clear: {kind: jwt, secret: CLEAR, algorithms: HS256, issuer: clear, audiences: app, from: PLACES}
  file: {kind: jwt, secret_file: hmac.secret, algorithms: HS256, issuer: file, audiences: app, from: PLACES}
  coded: {kind: jwt, secret_base64: CODED, algorithms: HS256, issuer: coded, audiences: app, from: PLACES}
  variable: {kind: jwt, secret: '${JWT_SECRET}', algorithms: HS256, issuer: variable, audiences: app, from: PLACES}
  published: {kind: jwt, jwks_url: 'http://ISSUER/jwks?key=ADDRESS', algorithms: EdDSA, issuer: published, audiences: app, from: PLACES}
  never: {kind: jwt, jwks_url: 'http://ISSUER/never?key=ADDRESS', algorithms: ES256, issuer: never, audiences: app, from: PLACES}
  hook: {kind: webhook, token: HOOK, scopes: app:use, from: PLACES}
  catalog:
    kind: backstage
    scopes: app:use
    keys: [{secret: SERVICE}, {secret_file: service.secret}]
    external_access:
      - {type: static, options: {token: STATIC, subject: ci}}
      - {type: legacy, options: {secret: LEGACY, subject: scripts}}
    from: PLACES
  opaque: {kind: introspection, url: 'http://ISSUER/ask?key=ADDRESS', client_id: gate, client_secret: 'CLIENT', timeout: 20s, from: PLACES}
  lost: {kind: introspection, url: 'http://ISSUER/lost?key=ADDRESS', client_id: gate, client_secret_file: client.secret, timeout: 20s, from: 'header:x-lost'}
egress:
  - {listen: '127.0.0.1:0', url: 'http://UPSTREAM', backstage: {key: OUTGOING}}
  - {listen: '127.0.0.1:0', url: 'http://UPSTREAM', bearer_file: bearer}
key_cache: kept
forward: {headers: {x-user: '{{auth.sub}}', x-note: 'for {{auth.note}}'}}
routes:
  /app: app:use
  /query: {scopes: app:use, query_credentials: true}
  /open: public
";
const PLACES: &str = "[bearer, 'header:x-jwt', 'cookie:session', 'query:token', 'query:key']";

/// A token and what becomes of it at `/app`.
#[derive(Clone)]
pub struct Shown {
    pub name: &'static str,
    pub text: String,
    pub status: u16,
    /// Another place than the usual ones.
    pub header: Option<&'static str>,
}

/// A folder with the configuration, and whom it speaks of.
pub struct Desk {
    pub folder: TempDir,
    pub upstream: Upstream,
    pub issuer: Upstream,
    pub shown: Vec<Shown>,
}

impl Desk {
    pub async fn new(more: &str) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let (upstream, issuer) = (Upstream::serving(service).await, issuer(&pair).await);
        let desk = Self { folder: tempfile::tempdir().unwrap(), upstream, issuer, shown: shown(&pair) };
        for (name, secret) in [
            ("hmac.secret", FILE.to_owned()),
            ("service.secret", STANDARD.encode(SERVICE_FILE)),
            ("client.secret", CLIENT_FILE.to_owned()),
            ("bearer", BEARER.to_owned()),
        ] {
            write_secret(&desk.path(name), secret + "\n");
        }
        std::fs::write(desk.config(), desk.text(&format!("{CONFIG}{more}"))).unwrap();
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("scopegate.yaml")
    }

    fn text(&self, config: &str) -> String {
        let mut text = complete(config, self.upstream.address).replace("ISSUER", &self.issuer.address.to_string()).replace("PLACES", PLACES);
        for (name, secret) in [("CLEAR", CLEAR), ("HOOK", HOOK), ("STATIC", STATIC), ("CLIENT", CLIENT), ("ADDRESS", ADDRESS)] {
            text = text.replace(name, secret);
        }
        for (name, secret) in [("CODED", CODED), ("SERVICE", SERVICE), ("LEGACY", LEGACY), ("OUTGOING", OUTGOING)] {
            text = text.replace(name, &STANDARD.encode(secret));
        }
        text
    }

    pub fn variable(name: &str) -> Option<String> {
        (name == "JWT_SECRET").then(|| VARIABLE.to_owned())
    }
}

/// Agrees to every upgrade and then closes; answers anything else as a plain server.
async fn service(mut wire: Wire, request: Message) -> Option<Wire> {
    if value(&request.headers, "upgrade").is_some() {
        wire.send(agreed(&request)).await;
        return None;
    }
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    Some(wire)
}

/// Publishes one key, answers about tokens, and fails elsewhere.
async fn issuer(pair: &Ed25519KeyPair) -> Upstream {
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x}]}).to_string();
    Upstream::serving(move |mut wire: Wire, request: Message| {
        let body = match request.first.split(['?', ' ']).nth(1) {
            Some("/jwks") => Some(keys.clone()),
            Some("/ask") => {
                let known = request.body == format!("token={OPAQUE}").into_bytes();
                Some(json!({"active": known, "sub": "somebody", "scope": "app:use", "note": "kept"}).to_string())
            }
            _ => None,
        };
        let answer = body.map_or_else(
            || "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".to_owned(),
            |body| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        );
        async move {
            wire.send(answer).await;
            Some(wire)
        }
    })
    .await
}

/// Claims that every source takes, for an issuer.
pub fn claims(issuer: &str, more: &Value) -> Value {
    let mut claims = json!({"iss": issuer, "aud": "app", "sub": "somebody", "scope": "app:use", "note": "kept", "exp": unix_now() + 900});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

pub fn hs256(secret: &str, claims: &Value) -> String {
    sign_hs256(&HmacKey::new(secret.as_bytes()), &json!({"alg": "HS256"}), claims)
}

fn ed25519(pair: &Ed25519KeyPair, kid: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": kid})), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn shown(pair: &Ed25519KeyPair) -> Vec<Shown> {
    let plain = |issuer| claims(issuer, &json!({}));
    let service = |secret: &str| hs256(secret, &json!({"sub": "backstage-server", "exp": unix_now() + 900}));
    let clear = |more: Value| hs256(CLEAR, &claims("clear", &more));
    let mut shown: Vec<Shown> = [
        ("clear", clear(json!({})), 200),
        ("file", hs256(FILE, &plain("file")), 200),
        ("coded", hs256(CODED, &plain("coded")), 200),
        ("variable", hs256(VARIABLE, &plain("variable")), 200),
        ("published", ed25519(pair, "one", &plain("published")), 200),
        ("service", service(SERVICE), 200),
        ("service by a file", service(SERVICE_FILE), 200),
        ("legacy", service(LEGACY), 200),
        ("static", STATIC.into(), 200),
        ("hook", HOOK.into(), 200),
        ("opaque", OPAQUE.into(), 200),
        ("wrong signature", hs256("nobody's", &plain("clear")), 401),
        ("expired", clear(json!({"exp": unix_now() - 900})), 401),
        ("of another audience", clear(json!({"aud": "other"})), 401),
        ("bound", clear(json!({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}})), 401),
        ("of another service", service("nobody's"), 401),
        ("of an unknown key", ed25519(pair, "two", &plain("published")), 401),
        ("unknown", UNKNOWN.into(), 401),
        ("without scopes", clear(json!({"scope": ""})), 403),
    ]
    .into_iter()
    .map(|(name, text, status)| Shown { name, text, status, header: None })
    .collect();
    let es256 = format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#),
        URL_SAFE_NO_PAD.encode(plain("never").to_string()),
        URL_SAFE_NO_PAD.encode([0x7a; 64])
    );
    shown.push(Shown { name: "of keys that never came", text: es256, status: 503, header: None });
    shown.push(Shown { name: "of an issuer that is lost", text: "opaque-that-is-lost-6e7f8a9b0c1d".into(), status: 503, header: Some("x-lost") });
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(plain("clear").to_string()));
    shown.push(Shown { name: "unsigned", text: unsigned, status: 401, header: None });
    let long = clear(json!({"note": "x".repeat(9000)}));
    shown.push(Shown { name: "too long", text: long, status: 401, header: None });
    shown
}
