//! The management API from outside, on a SQLite store: what each call answers, and that whatever it refuses has changed nothing.

mod bodies;
mod frame;
mod grants;
mod import;
mod keys;
mod office;
mod outage;
mod profiles;
mod repeats;
mod revocation;
mod roles;
mod rotation;
mod shown_once;
mod tenants;
mod usage;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::wire::Reply;
use crate::harness::{Gate, ask};

pub const CONFIG: &str = "
credentials:
  tokens: {kind: static, file: tokens.json}
  keys: {kind: api_key}
  old: {kind: api_key, format: uuid, header: x-old-key}
management: {expose: true}
roles: {reader: [orders:read], chief: [users:delete]}
routes:
  GET /orders: orders:read
  GET /any: authenticated
  GET /open: public
  DELETE /users: users:delete
";

/// Who calls, by the token of the same name.
pub const TOKENS: &str = r#"[
  {"id": "admin", "token": "token-of-admin-0123", "scopes": ["*"]},
  {"id": "bare", "token": "token-of-bare-01234", "scopes": ["apikeys:*", "orders:*"]},
  {"id": "reader", "token": "token-of-reader-012", "scopes": ["apikeys:read"]},
  {"id": "stranger", "token": "token-of-stranger-0", "scopes": ["orders:read"]},
  {"id": "acme", "token": "token-of-acme-01234", "scopes": ["*"], "tenant": "acme"},
  {"id": "acme-lead", "token": "token-of-acme-lead-", "scopes": ["apikeys:*", "orders:read"], "roles": ["reader"], "tenant": "acme"},
  {"id": "globex", "token": "token-of-globex-012", "scopes": ["*"], "tenant": "globex"}
]"#;
pub const ADMIN: &str = "token-of-admin-0123";
pub const BARE: &str = "token-of-bare-01234";
pub const READER: &str = "token-of-reader-012";
pub const STRANGER: &str = "token-of-stranger-0";
pub const ACME: &str = "token-of-acme-01234";
pub const ACME_LEAD: &str = "token-of-acme-lead-";
pub const GLOBEX: &str = "token-of-globex-012";

pub const KEYS: &str = "/tenant/api-keys";

/// A gate with a SQLite store beside its configuration.
pub struct Desk(pub Gate);

impl Desk {
    pub async fn new() -> Self {
        Self(Gate::start(CONFIG, TOKENS).await)
    }

    /// At the operator's door.
    pub async fn call(&self, line: &str, token: &str, body: Option<&Value>) -> Reply {
        call(self.0.admin(), line, token, body).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        let reply = self.call(&format!("POST {path}"), token, Some(&body)).await;
        (reply.status, said(&reply))
    }

    pub async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let reply = self.call(&format!("GET {path}"), token, None).await;
        (reply.status, said(&reply))
    }

    pub async fn patch(&self, id: &str, token: &str, body: Value) -> (u16, Value) {
        let reply = self.call(&format!("PATCH {KEYS}/{id}"), token, Some(&body)).await;
        (reply.status, said(&reply))
    }

    pub async fn delete(&self, id: &str, token: &str) -> u16 {
        self.call(&format!("DELETE {KEYS}/{id}"), token, None).await.status
    }

    /// A new key: its id and itself.
    pub async fn made(&self, token: &str, body: Value) -> (String, String) {
        let (status, made) = self.post(KEYS, token, body).await;
        assert_eq!(status, 201, "{made}");
        (text(&made, "id"), text(&made, "key"))
    }

    /// What the proxy door answers to a key.
    pub async fn uses(&self, line: &str, key: &str) -> u16 {
        self.with(line, &format!("X-API-Key: {key}\r\n")).await.status
    }

    pub async fn with(&self, line: &str, fields: &str) -> Reply {
        ask(self.0.proxy(), format!("{line} HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\n{fields}\r\n")).await
    }

    /// Every key that the operator sees.
    pub async fn all(&self) -> Value {
        self.get(&format!("{KEYS}?limit=1000"), ADMIN).await.1["keys"].clone()
    }
}

pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

pub fn orders() -> Value {
    json!({"name": "Orders", "scopes": ["orders:read"]})
}

/// One call with a bearer token, if any, and a JSON body, if any.
pub async fn call(address: SocketAddr, line: &str, token: &str, body: Option<&Value>) -> Reply {
    let mut request = format!("{line} HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\n");
    if !token.is_empty() {
        request.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    match body {
        Some(body) => {
            let body = body.to_string();
            request.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
        None => request.push_str("content-length: 0\r\n\r\n"),
    }
    ask(address, request).await
}

pub fn said(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&reply.body)))
}
