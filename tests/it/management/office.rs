//! A gate with a store, two tenants and callers of every kind, and a look at all that is in the store.

use std::sync::Arc;

use scopegate::store::secrets::StoreKeys;
use scopegate::store::{Place, Store};
use serde_json::Value;

use super::call;
use crate::harness::upstream::Upstream;
use crate::harness::{Gate, ask};

const CONFIG: &str = "
credentials:
  tokens: {kind: static, file: tokens.json}
  keys: {kind: api_key}
  old: {kind: api_key, format: uuid, header: x-old-key}
  jwt: {kind: jwt, secret: a-secret-of-more-than-thirty-two-characters, algorithms: HS256}
management: {expose: true}
roles:
  default: user
  user: [profile:read]
  editor: {inherits: user, scopes: articles:*}
  chief: {inherits: editor, scopes: users:*}
  operator: []
routes:
  GET /profile: profile:read
  GET /articles: articles:read
  PUT /articles: articles:write
  DELETE /users: users:delete
  GET /night: {roles: operator}
  GET /any: authenticated
  GET /ws: authenticated
";

/// Every caller's token is its id, filled up.
const CALLERS: &str = r#"[
  {"id": "root", "token": "root-0123456789abcdef", "scopes": ["*"]},
  {"id": "bare", "token": "bare-0123456789abcdef", "scopes": ["apikeys:*", "rbac:*", "profiles:*", "tokens:*", "articles:*", "profile:read"]},
  {"id": "north", "token": "north-0123456789abcdef", "scopes": ["*"], "tenant": "north"},
  {"id": "south", "token": "south-0123456789abcdef", "scopes": ["*"], "tenant": "south"},
  {"id": "clerk", "token": "clerk-0123456789abcdef", "scopes": ["apikeys:*", "rbac:*", "profiles:*", "tokens:*", "articles:read", "profile:read"], "tenant": "north"},
  {"id": "star", "token": "star-0123456789abcdef", "scopes": ["*"], "tenant": "*"},
  {"id": "plain", "token": "plain-0123456789abcdef", "scopes": ["some:thing"], "tenant": "north"},
  {"id": "loose", "token": "loose-0123456789abcdef", "scopes": ["some:thing"]}
]"#;

/// Every column of every table but what is written behind.
const TABLES: [&str; 8] = [
    "SELECT 'version ' || version FROM store_version",
    "SELECT 'role ' || tenant || '|' || name || '|' || description || '|' || permissions || '|' || inherits || '|' || created_at || '|' || deleted || '|' || version FROM roles ORDER BY 1",
    "SELECT 'assigned ' || tenant || '|' || subject || '|' || role || '|' || created_at || '|' || deleted || '|' || version FROM role_assignments ORDER BY 1",
    "SELECT 'profile ' || id || '|' || tenant || '|' || email || '|' || enabled || '|' || scopes || '|' || roles || '|' || created_at || '|' || deleted || '|' || version FROM profiles ORDER BY 1",
    "SELECT 'revoked ' || kind || '|' || tenant || '|' || value || '|' || COALESCE(until, '') || '|' || created_at || '|' || created_by || '|' || version FROM revocations ORDER BY 1",
    "SELECT 'key ' || id || '|' || tenant || '|' || name || '|' || hex(digest) || '|' || COALESCE(hex(previous_digest), '') || '|' || COALESCE(previous_until, '') || '|' || scopes || '|' || roles
        || '|' || COALESCE(profile, '') || '|' || COALESCE(rate_limit, '') || '|' || enabled || '|' || COALESCE(expires_at, '') || '|' || COALESCE(revoked_at, '') || '|' || version FROM api_keys ORDER BY 1",
    "SELECT 'factor ' || realm || '|' || tenant || '|' || subject || '|' || version FROM mfa ORDER BY 1",
    "SELECT 'answer ' || actor || '|' || created_at FROM idempotency ORDER BY 1",
];

pub struct Office {
    pub gate: Gate,
    store: Store,
}

impl Office {
    pub async fn open() -> Self {
        Self::of(Gate::start(CONFIG, CALLERS).await)
    }

    pub async fn before(upstream: Upstream) -> Self {
        Self::of(Gate::before(upstream, CONFIG, CALLERS).await)
    }

    fn of(gate: Gate) -> Self {
        let place = Place::Sqlite(gate.folder.path().join("scopegate.db"));
        let store = Store::open(&place, Arc::new(StoreKeys::passing().unwrap())).unwrap();
        Self { gate, store }
    }

    /// The same after its process has ended.
    pub async fn again(self) -> Self {
        let Gate { running, upstream, folder, .. } = self.gate;
        running.stop().await;
        Self::of(Gate::at(folder, upstream).await)
    }

    /// What an operation answers to a caller; nobody's name is nobody.
    pub async fn call(&self, who: &str, line: &str, body: Option<Value>) -> (u16, Value) {
        let token = if who.is_empty() { String::new() } else { token(who) };
        let reply = call(self.gate.admin(), line, &token, body.as_ref()).await;
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
    }

    /// What it answers when it is done.
    pub async fn done(&self, who: &str, line: &str, body: Option<Value>) -> Value {
        let (status, said) = self.call(who, line, body).await;
        assert!((200..300).contains(&status), "{who}: {line}: {status} {said}");
        said
    }

    /// What it answers with this status; nothing in the store is another than before.
    pub async fn refused(&self, who: &str, line: &str, body: Option<Value>, status: u16) -> Value {
        let before = self.rows().await;
        let told = format!("{who}: {line}: {}", body.as_ref().map(|body| body.to_string().chars().take(300).collect::<String>()).unwrap_or_default());
        let (answered, said) = self.call(who, line, body).await;
        assert_eq!(answered, status, "{told}: {said}");
        assert!(said["error"].is_string() && said["message"].is_string(), "{told}: {said}");
        assert_eq!(self.rows().await, before, "{told}");
        said
    }

    /// All that is in the store.
    pub async fn rows(&self) -> Vec<String> {
        let mut read = self.store.read().await.unwrap();
        let mut rows = Vec::new();
        for table in TABLES {
            rows.extend(read.rows(table, vec![]).await.unwrap().iter().map(|row| row.text(0).unwrap()));
        }
        rows
    }

    /// The status of a request through the gate with these header lines.
    pub async fn with_lines(&self, line: &str, lines: &str) -> u16 {
        ask(self.gate.proxy(), format!("{line} HTTP/1.1\r\nhost: gate.example\r\n{lines}content-length: 0\r\n\r\n")).await.status
    }

    /// The status of a caller's request through the gate.
    pub async fn at(&self, who: &str, line: &str) -> u16 {
        self.with_lines(line, &format!("authorization: Bearer {}\r\n", token(who))).await
    }
}

pub fn token(who: &str) -> String {
    format!("{who}-0123456789abcdef")
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The names of a list of objects by one of their members.
pub fn names(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap_or_else(|| panic!("no list: {list}")).iter().map(|entry| text(&entry[member])).collect()
}
