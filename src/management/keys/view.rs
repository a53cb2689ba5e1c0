//! What the calls for keys take and show.
//! No secret is in any of it but `key` of a key that was made just now.

use serde::{Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::secret::Secret;
use crate::gate::unix_now;
use crate::management;
use crate::management::actor::Actor;
use crate::management::body::{At, Members, Object, digits, flag, instant, list, number, object, scope, text};
use crate::management::names;
use crate::principal::pepper::Peppers;
use crate::principal::record::Rate;
use crate::scope::Scope;
use crate::store::keys::Key;

/// The most scopes or roles of one key.
const MOST: usize = 128;
const NAME: usize = 256;
/// A day, and a week.
const GRACE: i64 = 86_400;
const LONGEST_GRACE: u64 = 604_800;

/// What a key is to be.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"name": "Production API", "scopes": ["orders:read"], "expires_at": "2031-01-31T00:00:00Z"}))]
pub struct NewKey {
    /// What people call it
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    pub name: Box<str>,
    /// None that the caller does not hold itself
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 128)]
    pub scopes: Vec<Scope>,
    /// In the future; never, where it is not said
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<i64>,
    /// The caller's own where it is not said; another one only for callers that reach every tenant
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    pub tenant: Option<Box<str>>,
    /// None above the caller
    #[schema(value_type = Option<Vec<String>>, max_items = 128)]
    pub roles: Vec<String>,
    pub rate_limit: Option<RateLimit>,
}

/// How often a key may be used; overrides the route's
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RateLimit {
    /// `10/s`, `100/m`, `1000/h` or `10000/d`
    #[schema(value_type = String, pattern = "^[0-9]{1,7}/[smhd]$", example = "100/m")]
    rate: Box<str>,
    /// How many at once; the rate's number where it is not said
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    burst: Option<u32>,
}

/// What of a key is to be another; `null` takes an expiry away
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"enabled": false}))]
pub struct KeyChange {
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 256)]
    pub name: Option<Box<str>>,
    #[schema(value_type = Option<Vec<String>>, nullable = false, min_items = 1, max_items = 128)]
    pub scopes: Option<Vec<Scope>>,
    #[schema(nullable = false)]
    pub enabled: Option<bool>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Option<i64>>,
}

#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(example = json!({"grace_seconds": 86400}))]
pub struct Rotation {
    /// How long the old secret goes on; a day where it is not said
    #[schema(value_type = Option<i64>, nullable = false, minimum = 0, maximum = 604_800)]
    pub grace_seconds: i64,
}

/// Which keys to list
#[derive(Clone, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// `next_cursor` of the page before
    #[param(value_type = Option<String>)]
    cursor: Box<str>,
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    limit: usize,
}

/// A key, without its secret
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyView {
    id: String,
    /// Empty for a key that was imported
    prefix: String,
    name: String,
    #[schema(value_type = Vec<String>)]
    #[serde(serialize_with = "texts")]
    scopes: Vec<Scope>,
    roles: Vec<String>,
    #[schema(required)]
    tenant: Option<String>,
    /// The profile that it stands for
    #[schema(required)]
    profile_id: Option<String>,
    #[schema(value_type = Option<RateLimit>, required)]
    rate_limit: Option<serde_json::Value>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime, required)]
    expires_at: Option<String>,
    enabled: bool,
    /// Written down every few seconds
    #[schema(format = DateTime, required)]
    last_used_at: Option<String>,
    /// Written down every few seconds
    request_count: i64,
    /// Until when the secret before the last rotation goes on
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    old_key_expires_at: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyPage {
    keys: Vec<KeyView>,
    /// For the next page; `null` at the last
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A key with a new secret
#[derive(Serialize, ToSchema)]
pub struct MadeKey {
    id: String,
    /// Shown this once
    key: String,
    prefix: String,
    name: String,
    #[schema(value_type = Vec<String>)]
    #[serde(serialize_with = "texts")]
    scopes: Vec<Scope>,
    #[schema(required)]
    tenant: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime, required)]
    expires_at: Option<String>,
    /// Until when the secret before goes on
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    old_key_expires_at: Option<String>,
}

fn texts<S: Serializer>(scopes: &[Scope], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(scopes.iter().map(Scope::as_str))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// An instant that has not come.
fn future(value: serde_json::Value, at: &mut At<'_>) -> Option<i64> {
    let instant = instant(value, at)?;
    if instant <= unix_now() {
        at.fault("is not in the future");
        return None;
    }
    Some(instant)
}

impl Members for NewKey {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let name = object.required("name", text(1..=NAME));
        let scopes = object.required("scopes", list(1..=MOST, scope));
        let more = More::read(object);
        let More { expires_at, tenant, roles, rate_limit } = more?;
        Some(Self { name: name?, scopes: scopes?, expires_at, tenant, roles, rate_limit })
    }
}

/// What may be said of a new key, made here or elsewhere.
pub struct More {
    pub expires_at: Option<i64>,
    pub tenant: Option<Box<str>>,
    pub roles: Vec<String>,
    pub rate_limit: Option<RateLimit>,
}

impl More {
    pub fn read(object: &mut Object<'_>) -> Option<Self> {
        let expires_at = object.optional("expires_at", future);
        let tenant = object.optional("tenant", names::checked(names::word));
        let roles = object.optional("roles", list(0..=MOST, names::checked(names::role)));
        let rate_limit = object.optional("rate_limit", self::object);
        let roles = roles?.unwrap_or_default().into_iter().map(String::from).collect();
        Some(Self { expires_at: expires_at?, tenant: tenant?, roles, rate_limit: rate_limit? })
    }
}

impl Members for RateLimit {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let rate = object.required("rate", text(1..=16));
        let burst = object.optional("burst", number(1..=1_000_000));
        let (rate, burst) = (rate?, burst?.and_then(|burst| u32::try_from(burst).ok()));
        match Rate::parse(&rate, burst) {
            Ok(_) => Some(Self { rate, burst }),
            Err(fault) => {
                object.fault(fault.to_string());
                None
            }
        }
    }
}

impl Members for KeyChange {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let name = object.replacement("name", text(1..=NAME));
        let scopes = object.replacement("scopes", list(1..=MOST, scope));
        let enabled = object.replacement("enabled", flag);
        let expires_at = object.change("expires_at", future);
        Some(Self { name: name?, scopes: scopes?, enabled: enabled?, expires_at: expires_at? })
    }
}

impl Members for Rotation {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let grace = object.replacement("grace_seconds", number(0..=LONGEST_GRACE))?;
        Some(Self { grace_seconds: grace.map_or(GRACE, |seconds| i64::try_from(seconds).unwrap_or(GRACE)) })
    }
}

impl Members for Listing {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let cursor = object.optional("cursor", text(1..=NAME));
        let limit = object.optional("limit", digits(1..=1000));
        let limit = limit?.map_or(100, |limit| usize::try_from(limit).unwrap_or(100));
        Some(Self { cursor: cursor?.unwrap_or_default(), limit })
    }
}

impl Listing {
    pub fn after(&self) -> &str {
        &self.cursor
    }

    /// One more than the page, to see whether there is another.
    pub fn rows(&self) -> i64 {
        i64::try_from(self.limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
    }

    pub fn page(&self, rows: &[Key]) -> KeyPage {
        let keys: Vec<_> = rows.iter().take(self.limit).map(KeyView::of).collect();
        let next_cursor = keys.last().filter(|_| rows.len() > self.limit).map(|last| last.id.clone());
        KeyPage { keys, next_cursor }
    }
}

impl NewKey {
    pub fn key(&self, secret: &Secret, peppers: &Peppers, (tenant, actor): (Option<&str>, &Actor)) -> Key {
        Key {
            id: secret.id.clone(),
            tenant: tenant.unwrap_or_default().to_owned(),
            name: self.name.to_string(),
            prefix: secret.prefix.clone(),
            form: secret.form,
            secret: secret.kept(peppers),
            previous: None,
            scopes: self.scopes.clone(),
            roles: self.roles.clone(),
            profile: None,
            rate_limit: self.rate_limit.as_ref().and_then(|limit| serde_json::to_string(limit).ok()),
            enabled: true,
            expires_at: self.expires_at,
            created_at: unix_now(),
            created_by: actor.id.to_string(),
            request_count: 0,
            last_used_at: None,
        }
    }
}

impl KeyChange {
    /// Whether a secret that counts for nothing now, or soon, would count for more.
    pub fn revives(&self, key: &Key) -> bool {
        let later = |new: Option<i64>| key.expires_at.is_some_and(|old| new.is_none_or(|new| new > old));
        (self.enabled == Some(true) && !key.enabled) || self.expires_at.is_some_and(later)
    }

    /// Of the scopes that it says, those that the key does not hold yet.
    pub fn added(&self, key: &Key) -> impl Iterator<Item = &Scope> {
        let held = |scope: &&Scope| key.scopes.iter().any(|held| held.satisfies(scope.as_str()));
        self.scopes.iter().flatten().filter(move |scope| !held(scope))
    }

    pub fn apply(self, key: &mut Key) {
        let Self { name, scopes, enabled, expires_at } = self;
        key.name = name.map_or_else(|| std::mem::take(&mut key.name), String::from);
        key.scopes = scopes.unwrap_or_else(|| std::mem::take(&mut key.scopes));
        key.enabled = enabled.unwrap_or(key.enabled);
        key.expires_at = expires_at.unwrap_or(key.expires_at);
    }
}

impl KeyView {
    pub fn of(key: &Key) -> Self {
        let until = key.previous.as_ref().map(|(_, until)| *until).filter(|until| *until > unix_now());
        Self {
            id: key.id.clone(),
            prefix: key.prefix.clone(),
            name: key.name.clone(),
            scopes: key.scopes.clone(),
            roles: key.roles.clone(),
            tenant: some(&key.tenant),
            profile_id: key.profile.clone(),
            rate_limit: key.rate_limit.as_ref().and_then(|text| serde_json::from_str(text).ok()),
            created_at: management::instant(key.created_at),
            expires_at: key.expires_at.map(management::instant),
            enabled: key.enabled,
            last_used_at: key.last_used_at.map(management::instant),
            request_count: key.request_count,
            old_key_expires_at: until.map(management::instant),
        }
    }
}

impl MadeKey {
    /// `until` is when the secret before ends.
    pub fn of(key: &Key, secret: &Secret, until: Option<i64>) -> Self {
        Self {
            id: key.id.clone(),
            key: secret.text().to_owned(),
            prefix: key.prefix.clone(),
            name: key.name.clone(),
            scopes: key.scopes.clone(),
            tenant: some(&key.tenant),
            created_at: management::instant(key.created_at),
            expires_at: key.expires_at.map(management::instant),
            old_key_expires_at: until.map(management::instant),
        }
    }
}

impl std::fmt::Debug for MadeKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("MadeKey").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
