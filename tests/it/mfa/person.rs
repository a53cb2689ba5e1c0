//! Somebody with a session and, once enrolled, an authenticator. The codes are another implementation's.

use std::net::SocketAddr;

use serde_json::{Value, json};
use totp_rs::Builder;

use crate::harness::Gate;
use crate::harness::sign::{hs256, now};
use crate::harness::wire::Reply;
use crate::management::{call, said as json};

const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";

/// Sessions, tokens of a file, and a route that asks for a second factor.
pub const CONFIG: &str = "store: sqlite:scopegate.db
credentials:
  sessions:
    kind: jwt
    secret: a-secret-of-more-than-thirty-two-characters
    algorithms: [HS256]
    claims: {scopes: scope, tenant: tenant}
  tokens: {kind: static, file: tokens.json}
routes:
  GET /open: authenticated
  POST /payouts: {authenticated: true, mfa: {max_age: 5m}}
";
pub const TOKENS: &str = r#"[
  {"id": "ops", "token": "token-of-the-operator", "scopes": ["scopegate:admin", "mfa:write"]},
  {"id": "agent", "token": "token-of-the-agent-0", "scopes": ["mfa:write"]}
]"#;

pub async fn gate() -> Gate {
    Gate::start(CONFIG, TOKENS).await
}

#[derive(Clone)]
pub struct Person {
    pub door: SocketAddr,
    pub token: String,
    /// Of an authenticator, once there is one.
    pub secret: Vec<u8>,
    /// The step of the clock at the beginning. Its code and the next one's are right for half a minute at least.
    pub step: i64,
}

/// What somebody has after enrolling.
pub struct Enrolled {
    pub person: Person,
    pub codes: Vec<String>,
}

pub fn session(subject: &str, more: &Value) -> String {
    let mut claims = json!({"sub": subject, "exp": now() + 3600});
    more.as_object().into_iter().flatten().for_each(|(name, value)| claims[name] = value.clone());
    hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), &claims)
}

impl Person {
    pub fn new(gate: &Gate, subject: &str) -> Self {
        Self::of(gate.admin(), session(subject, &json!({})))
    }

    pub fn of(door: SocketAddr, token: String) -> Self {
        Self { door, token, secret: Vec::new(), step: now() / 30 }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        call(self.door, &format!("POST /mfa/{path}"), &self.token, Some(body)).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        call(self.door, &format!("GET /mfa/{path}"), &self.token, None).await
    }

    /// The status of `verify`.
    pub async fn verify(&self, code: &str) -> u16 {
        self.post("verify", &json!({"code": code})).await.status
    }

    /// The code of this many steps after the first.
    pub fn code(&self, after: i64) -> String {
        let totp = Builder::new().with_secret(self.secret.clone()).with_skew(0).build_noncompliant();
        totp.generate(u64::try_from((self.step + after) * 30).unwrap()).to_string()
    }

    /// One that is right at no step around.
    pub fn wrong(&self) -> String {
        let near: Vec<String> = (-3..5).map(|after| self.code(after)).collect();
        (0..).map(|number| format!("{number:06}")).find(|code| !near.contains(code)).unwrap()
    }

    pub async fn set_up(&mut self) -> Value {
        let said = json(&self.post("setup", &json!({})).await);
        self.secret = from_base32(said["secret"].as_str().unwrap());
        said
    }

    /// Enrols by the code of the first step.
    pub async fn enrol(mut self) -> Enrolled {
        self.set_up().await;
        assert_eq!(self.verify(&self.code(0)).await, 200);
        let reply = self.post("enable", &json!({})).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let codes = texts(&json(&reply)["backup_codes"]);
        Enrolled { person: self, codes }
    }

    /// By a code that is right.
    pub async fn mfa_token(&self, code: &str) -> String {
        let reply = self.post("verify", &json!({"code": code})).await;
        json(&reply)["mfa_token"].as_str().unwrap_or_else(|| panic!("{} {}", reply.status, reply.text())).to_owned()
    }
}

pub fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn from_base32(text: &str) -> Vec<u8> {
    let value = |letter| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(letter).unwrap();
    let bits: String = text.chars().map(|letter| format!("{:05b}", value(letter))).collect();
    bits.as_bytes().chunks_exact(8).map(|eight| u8::from_str_radix(std::str::from_utf8(eight).unwrap(), 2).unwrap()).collect()
}
