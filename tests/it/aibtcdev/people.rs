//! The example's people in the store, as `people.sh` puts them there, and what becomes of them later.

use std::net::SocketAddr;
use std::ops::Deref;

use serde_json::{Value, json};

use super::{ADA, BOB, DISABLED, EVE, KEY, OPERATOR};
use crate::harness::Gate;
use crate::management::{call, said};

/// A gate whose store has Ada and Bob, each with a key, and Eve.
pub struct Town {
    pub gate: Gate,
    pub people: People,
}

/// Ids of profiles and keys.
pub struct People {
    admin: SocketAddr,
    pub ada: String,
    pub bob: String,
    pub eve: String,
    pub adas_key: String,
    pub bobs_key: String,
}

impl Deref for Town {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.gate
    }
}

impl Town {
    pub async fn of(gate: Gate) -> Self {
        let people = People::settle(gate.admin()).await;
        Self { gate, people }
    }
}

impl People {
    /// By the operator's door at this address.
    pub async fn settle(admin: SocketAddr) -> Self {
        let mut people = Self { admin, ada: String::new(), bob: String::new(), eve: String::new(), adas_key: String::new(), bobs_key: String::new() };
        people.ada = people.person(ADA).await;
        people.bob = people.person(BOB).await;
        people.eve = people.person(EVE).await;
        people.adas_key = people.key(KEY, &people.ada).await;
        people.bobs_key = people.key(DISABLED, &people.bob).await;
        people.switch_key(&people.bobs_key, false).await;
        people
    }

    pub async fn ask(&self, line: &str, body: &Value) -> Value {
        let reply = call(self.admin, line, OPERATOR, Some(body)).await;
        assert!((200..300).contains(&reply.status), "{line}: {} {}", reply.status, reply.text());
        if reply.body.is_empty() { Value::Null } else { said(&reply) }
    }

    async fn person(&self, email: &str) -> String {
        text(&self.ask("POST /profiles", &json!({"email": email})).await["id"])
    }

    async fn key(&self, key: &str, profile: &str) -> String {
        let entry = json!({"key": key, "name": "an agent", "profile_id": profile});
        text(&self.ask("POST /tenant/api-keys/import", &json!({"keys": [entry]})).await["keys"][0]["id"])
    }

    pub async fn switch_key(&self, id: &str, enabled: bool) {
        self.ask(&format!("PATCH /tenant/api-keys/{id}"), &json!({"enabled": enabled})).await;
    }

    pub async fn switch_profile(&self, id: &str, enabled: bool) {
        self.ask(&format!("PATCH /profiles/{id}"), &json!({"enabled": enabled})).await;
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
