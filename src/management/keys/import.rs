//! Keys that exist elsewhere, UUIDs, into managed ones: all of them or none.
//! Tells a bad entry by its place, never by its key.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::secret::Secret;
use super::view::{KeyView, More, NewKey, RateLimit};
use crate::management::Context;
use crate::management::actor::Actor;
use crate::management::body::{At, Members, Object, list, object, scope, text};
use crate::management::names;
use crate::management::once::{Begun, Repeatable, Work};
use crate::management::problem::{Fault, Problem};
use crate::principal::pepper::Peppers;
use crate::scope::Scope;
use crate::store::StoreError;
use crate::store::keys::Key;

/// What fits in one body.
const MOST: usize = 1000;

#[derive(Debug, ToSchema)]
pub struct Import {
    #[schema(min_items = 1, max_items = 1000)]
    keys: Vec<Entry>,
}

/// A key that exists already
#[derive(ToSchema)]
#[schema(as = ImportedKey, example = json!({"key": "0b0e2b5c-6f0f-4b0a-9d0e-3a1f8f1f2a3b", "name": "Mobile app", "scopes": ["orders:read"]}))]
pub struct Entry {
    /// A UUID in its one canonical spelling; upper case is taken for lower case
    #[schema(value_type = String, format = "uuid")]
    key: Secret,
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    name: Box<str>,
    /// None that the caller does not hold itself; may be left out beside a profile
    #[schema(value_type = Option<Vec<String>>, max_items = 128)]
    scopes: Vec<Scope>,
    /// The profile that it stands for, whose scopes and roles it has
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    profile_id: Option<Box<str>>,
    /// In the future; never, where it is not said
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<i64>,
    /// The profile's, else the caller's own; another one only for callers that reach every tenant
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    tenant: Option<Box<str>>,
    /// None above the caller
    #[schema(value_type = Option<Vec<String>>, max_items = 128)]
    roles: Vec<String>,
    rate_limit: Option<RateLimit>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Imported {
    /// In the order in which they were given
    keys: Vec<KeyView>,
}

impl Members for Import {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let keys = object.required("keys", list(1..=MOST, self::object));
        Some(Self { keys: keys? })
    }
}

impl Members for Entry {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let key = object.required("key", uuid);
        let name = object.required("name", text(1..=256));
        let scopes = object.optional("scopes", list(0..=128, scope));
        let profile_id = object.optional("profile_id", names::checked(names::word));
        let More { expires_at, tenant, roles, rate_limit } = More::read(object)?;
        let (scopes, profile_id) = (scopes?.unwrap_or_default(), profile_id?);
        if scopes.is_empty() && profile_id.is_none() {
            object.fault("has neither scopes nor a profile");
        }
        Some(Self { key: key?, name: name?, scopes, profile_id, expires_at, tenant, roles, rate_limit })
    }
}

fn uuid(value: serde_json::Value, at: &mut At<'_>) -> Option<Secret> {
    let key = Secret::imported(value.as_str().unwrap_or_default()).ok().flatten();
    if key.is_none() {
        at.fault("is no UUID of 8-4-4-4-12 hexadecimal digits");
    }
    key
}

/// Takes keys that exist already; all of them, or none
#[utoipa::path(post, path = "/tenant/api-keys/import", tag = "keys", security(("bearer" = ["apikeys:write"])),
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, description = "The same for every try of one import")),
    request_body = Import, responses((status = 201, description = "Taken", body = Imported)))]
pub async fn import(State(context): State<Context>, actor: Actor, Repeatable { body, once }: Repeatable<Import>) -> Result<Response, Problem> {
    let mut work = match Work::begin(&context, once, StatusCode::CREATED).await? {
        Begun::Work(work) => work,
        Begun::Done(answer) => return Ok(answer),
    };
    let peppers = &context.store()?.keys.peppers;
    let (mut faults, mut seen, mut done) = (Vec::new(), HashSet::new(), Vec::new());
    for (index, entry) in body.keys.into_iter().enumerate() {
        let mut fault = |member: &str, message: &str| {
            faults.push(Fault { path: format!("keys[{index}].{member}"), message: message.into() });
        };
        if !seen.insert(entry.key.kept(peppers).digest) {
            fault("key", "is there twice");
            continue;
        }
        for digest in peppers.digests(entry.key.text()) {
            if work.change.knows_secret(digest).await? {
                fault("key", "is in the store already, or was");
            }
        }
        let mut tenant = actor.tenant_for(entry.tenant.clone())?;
        if let Some(id) = &entry.profile_id {
            match work.change.profile(actor.reach(), id).await {
                Ok(profile) => {
                    let own = Some(profile.tenant.into_boxed_str()).filter(|tenant| !tenant.is_empty());
                    if entry.tenant.is_some() && tenant != own {
                        fault("tenant", "is not that of the profile");
                    }
                    tenant = own;
                    actor.may_grant(&profile.scopes)?;
                    context.may_give_roles(&actor, &mut work.change, tenant.as_deref(), &profile.roles).await?;
                }
                Err(StoreError::NotFound) => fault("profile_id", "is no profile"),
                Err(error) => return Err(error.into()),
            }
        }
        actor.may_grant(&entry.scopes)?;
        context.may_give_roles(&actor, &mut work.change, tenant.as_deref(), &entry.roles).await?;
        done.push(entry.key(peppers, (tenant.as_deref(), &actor)));
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    for key in &mut done {
        while !work.change.add_key(key).await? {
            key.id = Secret::new("import")?.id;
        }
    }
    work.finish(StatusCode::CREATED, &Imported { keys: done.iter().map(KeyView::of).collect() }).await
}

impl Entry {
    fn key(self, peppers: &Peppers, whose: (Option<&str>, &Actor)) -> Key {
        let Self { key, name, scopes, profile_id, expires_at, tenant, roles, rate_limit } = self;
        let new = NewKey { name, scopes, expires_at, tenant, roles, rate_limit };
        Key { profile: profile_id.map(String::from), ..new.key(&key, peppers, whose) }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}
