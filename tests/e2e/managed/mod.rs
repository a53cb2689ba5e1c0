//! Gates with a store: replicas of one, what outlasts them, and what becomes of them without it.
//! Makes and uses keys by the doors alone, as people do.

mod durability;
mod factors;
mod outage;
mod replicas;
mod revocation;
mod secrecy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value as Json, json};

use crate::client::{Answer, Ask};
use crate::gate::{Desk, Gate};
use crate::postgres::Database;
use crate::sign::{hs256, now};

pub const ADMIN: &str = "token-of-the-admin-0";
const SECRET: &str = "a-secret-that-is-long-enough-for-hs256";
const STORE_KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// For calls of a test that has no runtime of its own.
pub fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A new folder with the keys of all replicas.
pub fn desk() -> Desk {
    let tokens = json!([{"id": "admin", "token": ADMIN, "scopes": ["*"]}]).to_string();
    Desk::new().file("tokens.json", &tokens).file("store.keys", STORE_KEYS)
}

/// Tokens of a file, signed tokens and managed keys, behind `store`.
pub fn config(store: Json) -> Json {
    json!({
        "store": store,
        "store_keys": {"file": "store.keys"},
        "credentials": {
            "tokens": {"kind": "static", "file": "tokens.json"},
            "sessions": {"kind": "jwt", "secret": SECRET, "algorithms": ["HS256"]},
            "keys": {"kind": "api_key"},
        },
        "routes": {"GET /open": "public"},
        "reload": {"watch": false},
    })
}

pub fn replica(database: &Database) -> Gate {
    desk().serve(&config(json!(database.url())))
}

pub fn session() -> String {
    hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), &json!({"sub": "ada", "iat": now(), "exp": now() + 3600}))
}

/// An operation, as the administrator.
pub fn call(gate: &Gate, method: &str, path: &str, body: Option<&Json>) -> std::io::Result<Answer> {
    let ask = Ask::new(method, path).token(ADMIN);
    let ask = match body {
        Some(body) => ask.header("Content-Type", "application/json").body(body.to_string().as_bytes()),
        None => ask,
    };
    ask.try_send(gate.admin_port())
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Made {
    pub id: String,
    pub key: String,
}

impl Made {
    /// What a create or a rotation answered, where it did.
    pub fn of(answer: &Answer) -> Option<Self> {
        let body: Json = serde_json::from_str(&answer.body()).ok()?;
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        Some(Self { id: text("id")?, key: text("key")? }).filter(|_| matches!(answer.status, 200 | 201))
    }

    pub fn path(&self) -> String {
        format!("/tenant/api-keys/{}", self.id)
    }

    /// What the proxy door says to it.
    pub fn status(&self, gate: &Gate) -> u16 {
        key_status(gate, &self.key)
    }
}

pub fn create(gate: &Gate) -> Made {
    let answer = call(gate, "POST", "/tenant/api-keys", Some(&json!({"name": "test", "scopes": ["a:b"]}))).unwrap();
    Made::of(&answer).unwrap_or_else(|| panic!("{} {}", answer.status, answer.body()))
}

pub fn key_status(gate: &Gate, key: &str) -> u16 {
    gate.ask(&Ask::get("/").header("X-API-Key", key)).status
}

/// A key that no store but a lost one has.
pub fn unknown_key() -> String {
    create(&desk().serve(&config(json!("sqlite:scopegate.db")))).key
}

/// One request after the other until told, on a thread of its own.
pub struct Load {
    going: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u16>>,
}

impl Load {
    pub fn start(port: u16, ask: Ask) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let go_on = Arc::clone(&going);
        let thread = std::thread::spawn(move || {
            let mut statuses = Vec::new();
            while go_on.load(Ordering::Relaxed) {
                statuses.push(ask.send(port).status);
            }
            statuses
        });
        Self { going, thread }
    }

    /// Every status, in order.
    pub fn end(self) -> Vec<u16> {
        self.going.store(false, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
