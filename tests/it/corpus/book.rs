//! What the store holds for a corpus file, written into a SQLite store before the gate starts; instants are seconds from now, like `+300`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use scopegate::credential::key_format::{self, SECRET};
use scopegate::gate::unix_now;
use scopegate::mfa::token;
use scopegate::principal::record::Holder;
use scopegate::store::secrets::StoreKeys;
use scopegate::store::{Place, Store};
use serde::Deserialize;

use crate::harness::write_secret;

macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$(scopegate::store::Value::from($value)),*] };
}

/// `store.keys` of every such gate.
const KEYS: &str = "corpus:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Book {
    /// By name: the key's text is made of it, or is its `uuid`.
    keys: BTreeMap<String, Key>,
    profiles: Vec<Profile>,
    roles: Vec<Role>,
    /// Tenant, subject, role.
    assignments: Vec<(String, String, String)>,
    /// Kind, tenant, value, until when.
    revocations: Vec<(String, String, String, String)>,
    /// Realm, tenant, subject, since when.
    enrolments: Vec<(String, String, String, String)>,
    /// By name, tokens of a second factor: realm, tenant, subject, shown when.
    factors: BTreeMap<String, (String, String, String, String)>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Key {
    id: String,
    tenant: String,
    scopes: Vec<String>,
    roles: Vec<String>,
    profile: Option<String>,
    uuid: Option<String>,
    disabled: bool,
    expires: Option<String>,
    revoked: Option<String>,
    /// Until when the secret before this one counts.
    previous: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Profile {
    id: String,
    tenant: String,
    email: String,
    disabled: bool,
    scopes: Vec<String>,
    roles: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Role {
    tenant: String,
    name: String,
    inherits: Vec<String>,
    permissions: Vec<String>,
}

fn keys() -> StoreKeys {
    StoreKeys::parse(KEYS).unwrap()
}

fn instant(text: &str, now: i64) -> i64 {
    now + text.parse::<i64>().unwrap_or_else(|_| panic!("{text:?} is no number of seconds from now"))
}

fn list(texts: &[String]) -> String {
    serde_json::to_string(texts).unwrap()
}

impl Book {
    fn text(&self, name: &str, secret: char) -> String {
        if let Some(uuid) = &self.keys.get(name).unwrap_or_else(|| panic!("no key {name}")).uuid {
            return uuid.clone();
        }
        let id = format!("{name:0<8}");
        key_format::form("live", &id, &secret.to_string().repeat(SECRET)).unwrap_or_else(|| panic!("{name} is no id")).to_string()
    }

    /// Puts what a text names into it; gives what it was.
    pub fn put_into(&self, text: &mut String, now: i64) -> Vec<String> {
        let holder = |(realm, tenant, subject, at): &(String, String, String, String)| {
            let tenant = (!tenant.is_empty()).then(|| Arc::from(tenant.as_str()));
            token::mint(keys().signing(), &Holder { realm: realm.as_str().into(), tenant, subject: subject.as_str().into() }, instant(at, now))
        };
        let keys = self
            .keys
            .keys()
            .flat_map(|name| [(format!("{{key:{name}}}"), self.text(name, 'N')), (format!("{{previous:{name}}}"), self.text(name, 'P'))]);
        let factors = self.factors.iter().map(|(name, factor)| (format!("{{factor:{name}}}"), holder(factor)));
        let mut put = Vec::new();
        for (mark, secret) in keys.chain(factors).filter(|(mark, _)| text.contains(mark)).collect::<Vec<_>>() {
            *text = text.replace(&mark, &secret);
            put.push(secret);
        }
        put
    }

    /// Into the store beside `scopegate.yaml`.
    pub async fn write(&self, folder: &Path) {
        write_secret(&folder.join("store.keys"), KEYS);
        let store = Store::open(&Place::Sqlite(folder.join("scopegate.db")), Arc::new(keys())).unwrap();
        store.prepare().await.unwrap();
        let mut change = store.change().await.unwrap();
        let (version, now) = (change.version, unix_now());
        for (name, key) in &self.keys {
            let (pepper, digest) = store.keys.peppers.newest(&self.text(name, 'N'));
            let previous = key.previous.as_ref().map(|until| (store.keys.peppers.newest(&self.text(name, 'P')).1.0.to_vec(), instant(until, now)));
            let (previous, until) = previous.unzip();
            let at = |text: &Option<String>| text.as_ref().map(|text| instant(text, now));
            let sql = "INSERT INTO api_keys (id, tenant, name, prefix, form, digest, pepper, previous_digest, previous_pepper, previous_until, scopes, roles,
                profile, rate_limit, enabled, expires_at, revoked_at, created_at, created_by, request_count, last_used_at, version)
                VALUES ($1, $2, $3, '', $4, $5, $6, $7, $6, $8, $9, $10, $11, NULL, $12, $13, $14, 0, 'corpus', 0, NULL, $15)";
            let form = if key.uuid.is_some() { "uuid" } else { "scopegate" };
            let values = values![
                key.id.as_str(),
                key.tenant.as_str(),
                name.as_str(),
                form,
                digest.0.as_slice(),
                pepper,
                previous,
                until,
                list(&key.scopes),
                list(&key.roles),
                key.profile.clone(),
                !key.disabled,
                at(&key.expires),
                at(&key.revoked),
                version,
            ];
            change.execute(sql, values).await.unwrap();
        }
        for Profile { id, tenant, email, disabled, scopes, roles } in &self.profiles {
            let sql = "INSERT INTO profiles (id, tenant, email, enabled, scopes, roles, created_at, deleted, version) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7)";
            let values = values![id.as_str(), tenant.as_str(), email.as_str(), !disabled, list(scopes), list(roles), version];
            change.execute(sql, values).await.unwrap();
        }
        for Role { tenant, name, inherits, permissions } in &self.roles {
            let sql = "INSERT INTO roles (tenant, name, description, permissions, inherits, created_at, deleted, version) VALUES ($1, $2, '', $3, $4, 0, 0, $5)";
            change.execute(sql, values![tenant.as_str(), name.as_str(), list(permissions), list(inherits), version]).await.unwrap();
        }
        for (tenant, subject, role) in &self.assignments {
            let sql = "INSERT INTO role_assignments (tenant, subject, role, created_at, deleted, version) VALUES ($1, $2, $3, 0, 0, $4)";
            change.execute(sql, values![tenant.as_str(), subject.as_str(), role.as_str(), version]).await.unwrap();
        }
        for (kind, tenant, value, until) in &self.revocations {
            let sql =
                "INSERT INTO revocations (kind, tenant, value, until, created_at, created_by, version) VALUES ($1, $2, $3, $4, 0, 'corpus', $5)";
            change.execute(sql, values![kind.as_str(), tenant.as_str(), value.as_str(), Some(instant(until, now)), version]).await.unwrap();
        }
        for (realm, tenant, subject, since) in &self.enrolments {
            let sql = "INSERT INTO mfa (realm, tenant, subject, last_step, enabled_at, window_start, window_failures, failures_in_a_row, version)
                VALUES ($1, $2, $3, 0, $4, 0, 0, 0, $5)";
            change.execute(sql, values![realm.as_str(), tenant.as_str(), subject.as_str(), Some(instant(since, now)), version]).await.unwrap();
        }
        change.commit().await.unwrap();
        store.close().await;
    }
}
