//! The calls under `/profiles`: who a session token's e-mail address or a key stands for, and what it may do.
//! Gives no profile more than the caller holds, and changes none that has more.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::actor::Actor;
use super::body::{At, Json, Members, Object, Query, flag, list, scope};
use super::grants::Known;
use super::names::{RoleText, ScopeText, Word};
use super::once::{Begun, Repeatable, Work};
use super::page::{Page, PageParams, TenantParam};
use super::problem::Problem;
use super::roles::{known, may_give};
use super::{Context, instant, named, names};
use crate::gate::unix_now;
use crate::scope::Scope;
use crate::store::profiles::Profile;
use crate::store::{Change, Reach};

const MAX_SCOPES: usize = 128;
const MAX_ROLES: usize = 32;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
pub struct ProfileView {
    id: String,
    /// In lower case
    email: String,
    enabled: bool,
    scopes: Vec<String>,
    roles: Vec<String>,
    #[schema(required)]
    tenant: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProfilePage {
    profiles: Vec<ProfileView>,
    #[schema(required)]
    next_cursor: Option<String>,
}

#[derive(Debug, ToSchema)]
pub struct NewProfile {
    /// One profile of a tenant has it
    #[schema(max_length = 254, pattern = r"^[^\s@\u0000-\u001f\u007f-\u009f]{1,64}@[^\s@\u0000-\u001f\u007f-\u009f]{1,189}$")]
    email: String,
    /// `true` where it is not said
    #[schema(value_type = Option<bool>)]
    enabled: bool,
    #[schema(value_type = Option<Vec<ScopeText>>, max_items = 128)]
    scopes: Vec<Scope>,
    /// Roles of the tenant or of the configuration
    #[schema(value_type = Option<Vec<RoleText>>, max_items = 32)]
    roles: Vec<Box<str>>,
    /// Another than the caller's own is for callers that reach all
    #[schema(value_type = Option<Word>)]
    tenant: Option<Box<str>>,
}

/// What is not said stays as it is.
#[derive(Debug, ToSchema)]
pub struct ProfileChange {
    #[schema(value_type = String, required = false, max_length = 254, pattern = r"^[^\s@\u0000-\u001f\u007f-\u009f]{1,64}@[^\s@\u0000-\u001f\u007f-\u009f]{1,189}$")]
    email: Option<String>,
    #[schema(value_type = bool, required = false)]
    enabled: Option<bool>,
    #[schema(value_type = Vec<ScopeText>, required = false, max_items = 128)]
    scopes: Option<Vec<Scope>>,
    /// Roles of the tenant or of the configuration
    #[schema(value_type = Vec<RoleText>, required = false, max_items = 32)]
    roles: Option<Vec<Box<str>>>,
}

#[derive(Debug)]
pub struct Listing {
    tenant: Option<Box<str>>,
    email: Option<String>,
    page: Page,
}

fn email(value: Value, at: &mut At<'_>) -> Option<String> {
    let Some(text) = value.as_str() else {
        at.fault("is not a text");
        return None;
    };
    names::email(text).map_err(|fault| at.fault(fault)).ok()
}

impl Members for NewProfile {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let email = object.required("email", email);
        let enabled = object.optional("enabled", flag);
        let scopes = object.optional("scopes", list(0..=MAX_SCOPES, scope));
        let roles = object.optional("roles", list(0..=MAX_ROLES, names::checked(names::role)));
        let tenant = object.optional("tenant", names::checked(names::tenant));
        Some(Self {
            email: email?,
            enabled: enabled?.unwrap_or(true),
            scopes: scopes?.unwrap_or_default(),
            roles: roles?.unwrap_or_default(),
            tenant: tenant?,
        })
    }
}

impl Members for ProfileChange {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let email = object.replacement("email", email);
        let enabled = object.replacement("enabled", flag);
        let scopes = object.replacement("scopes", list(0..=MAX_SCOPES, scope));
        let roles = object.replacement("roles", list(0..=MAX_ROLES, names::checked(names::role)));
        Some(Self { email: email?, enabled: enabled?, scopes: scopes?, roles: roles? })
    }
}

impl Members for Listing {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let tenant = object.optional("tenant", names::checked(names::tenant));
        let email = object.optional("email", email);
        let page = Page::read(object, 1);
        Some(Self { tenant: tenant?, email: email?, page: page? })
    }
}

fn view(profile: Profile) -> ProfileView {
    let Profile { id, tenant, email, enabled, scopes, roles, created_at } = profile;
    let scopes = scopes.iter().map(ToString::to_string).collect();
    ProfileView { id, email, enabled, scopes, roles, tenant: named(&tenant), created_at: instant(created_at) }
}

/// Whoever could change the address of a profile could become it: so what it has, the caller must have.
async fn may_touch(actor: &Actor, change: &mut Change, known: &Known, profile: &Profile) -> Result<(), Problem> {
    let assigned = change.roles_assigned(&profile.tenant, &profile.id).await?;
    let roles = profile.roles.iter().chain(&assigned).map(String::as_str).filter(|role| known.roles.knows(role));
    if actor.lacks(&profile.scopes).is_empty() && actor.below(roles, known).is_empty() {
        Ok(())
    } else {
        Err(Problem::forbidden("This profile has more than you hold"))
    }
}

const NO_PROFILE: &str = "No such profile";

pub fn routes() -> [UtoipaMethodRouter<Context>; 2] {
    [routes!(list_profiles, create_profile), routes!(get_profile, change_profile, delete_profile)]
}

/// The profiles
///
/// By id; those of every tenant for a caller that reaches all and names none.
#[utoipa::path(get, path = "/profiles", tag = "profiles", operation_id = "list_profiles", security(("bearer" = ["profiles:read"])),
    params(
        TenantParam,
        ("email" = Option<String>, Query, description = "The one that has this address", max_length = 254, pattern = r"^[^\s@\u0000-\u001f\u007f-\u009f]{1,64}@[^\s@\u0000-\u001f\u007f-\u009f]{1,189}$"),
        PageParams,
    ),
    responses((status = 200, description = "A page of them", body = ProfilePage)))]
pub async fn list_profiles(State(context): State<Context>, actor: Actor, Query(query): Query<Listing>) -> Result<axum::Json<ProfilePage>, Problem> {
    let named = query.tenant.is_some();
    let tenant = actor.tenant_for(query.tenant)?;
    let reach = match &tenant {
        Some(tenant) if named => Reach::Tenant(tenant),
        Some(_) | None => actor.reach(),
    };
    let email = query.email.unwrap_or_default();
    let mut profiles = context.store()?.read().await?.profiles(reach, &email, query.page.word(0), query.page.rows()).await?;
    let next_cursor = query.page.cut(&mut profiles, |profile| profile.id.clone());
    Ok(axum::Json(ProfilePage { profiles: profiles.into_iter().map(view).collect(), next_cursor }))
}

/// Makes a profile
#[utoipa::path(post, path = "/profiles", tag = "profiles", operation_id = "create_profile", security(("bearer" = ["profiles:write"])),
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, description = "The same for every try of one create")),
    request_body = NewProfile,
    responses((status = 201, description = "It is there", body = ProfileView), (status = 409, description = "Another has the address", body = Problem)))]
pub async fn create_profile(
    State(context): State<Context>,
    actor: Actor,
    Repeatable { body: new, once }: Repeatable<NewProfile>,
) -> Result<Response, Problem> {
    let mut work = match Work::begin(&context, once, StatusCode::CREATED).await? {
        Begun::Work(work) => work,
        Begun::Done(answer) => return Ok(answer),
    };
    let tenant = actor.tenant_for(new.tenant)?.unwrap_or_default();
    let snapshot = context.snapshot()?;
    let roles: Vec<String> = new.roles.into_iter().map(String::from).collect();
    let known = known((&context, &snapshot), &work.change.roles(&tenant).await?, None)?;
    actor.may_grant(&new.scopes)?;
    may_give(&actor, &known, &roles)?;
    let profile = Profile {
        id: uuid().ok_or(Problem::unavailable("The system gives no random numbers"))?,
        tenant: tenant.into(),
        email: new.email,
        enabled: new.enabled,
        scopes: new.scopes,
        roles,
        created_at: unix_now(),
    };
    work.change.put_profile(&profile).await?;
    work.finish(StatusCode::CREATED, &view(profile)).await
}

/// A profile
#[utoipa::path(get, path = "/profiles/{id}", tag = "profiles", operation_id = "get_profile", security(("bearer" = ["profiles:read"])),
    params(("id" = String, Path)), responses((status = 200, description = "As it is", body = ProfileView)))]
pub async fn get_profile(State(context): State<Context>, actor: Actor, Path(id): Path<String>) -> Result<axum::Json<ProfileView>, Problem> {
    let id = known_id(&id)?;
    let profile = context.store()?.read().await?.profile(actor.reach(), id).await.map_err(Problem::of_missing(NO_PROFILE))?;
    Ok(axum::Json(view(profile)))
}

/// Changes a profile
///
/// What is not said stays. Holds at once for sessions and keys that stand for it.
#[utoipa::path(patch, path = "/profiles/{id}", tag = "profiles", operation_id = "change_profile", security(("bearer" = ["profiles:write"])),
    params(("id" = String, Path)), request_body = ProfileChange,
    responses((status = 200, description = "So it is now", body = ProfileView), (status = 409, description = "Another has the address", body = Problem)))]
pub async fn change_profile(
    State(context): State<Context>,
    actor: Actor,
    Path(id): Path<String>,
    Json(new): Json<ProfileChange>,
) -> Result<axum::Json<ProfileView>, Problem> {
    let id = known_id(&id)?;
    let snapshot = context.snapshot()?;
    let mut change = context.store()?.change().await?;
    let mut profile = change.profile(actor.reach(), id).await.map_err(Problem::of_missing(NO_PROFILE))?;
    let known = known((&context, &snapshot), &change.roles(&profile.tenant).await?, None)?;
    may_touch(&actor, &mut change, &known, &profile).await?;
    let roles: Option<Vec<String>> = new.roles.map(|roles| roles.into_iter().map(String::from).collect());
    actor.may_grant(new.scopes.iter().flatten())?;
    may_give(&actor, &known, roles.as_deref().unwrap_or_default())?;
    profile.email = new.email.unwrap_or(profile.email);
    profile.enabled = new.enabled.unwrap_or(profile.enabled);
    profile.scopes = new.scopes.unwrap_or(profile.scopes);
    profile.roles = roles.unwrap_or(profile.roles);
    change.put_profile(&profile).await?;
    change.commit().await?;
    context.hold().await?;
    Ok(axum::Json(view(profile)))
}

/// Deletes a profile
///
/// Sessions and keys that stand for it are refused at once; roles that were assigned to it go with it.
#[utoipa::path(delete, path = "/profiles/{id}", tag = "profiles", operation_id = "delete_profile", security(("bearer" = ["profiles:write"])),
    params(("id" = String, Path)), responses((status = 204, description = "It is gone")))]
pub async fn delete_profile(State(context): State<Context>, actor: Actor, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let id = known_id(&id)?;
    let snapshot = context.snapshot()?;
    let mut change = context.store()?.change().await?;
    let profile = change.profile(actor.reach(), id).await.map_err(Problem::of_missing(NO_PROFILE))?;
    let known = known((&context, &snapshot), &change.roles(&profile.tenant).await?, None)?;
    may_touch(&actor, &mut change, &known, &profile).await?;
    change.delete_profile(&profile).await?;
    change.commit().await?;
    context.hold().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Nothing else is ever an id, and a database need not be asked.
fn known_id(id: &str) -> Result<&str, Problem> {
    let form = |(index, byte): (usize, u8)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    if id.len() == 36 && id.bytes().enumerate().all(form) { Ok(id) } else { Err(Problem::not_found(NO_PROFILE)) }
}

/// A random UUID (RFC 9562 §5.4).
fn uuid() -> Option<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    let number = (u128::from_be_bytes(bytes) & !(0xf << 76 | 0x3 << 62)) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{number:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range);
    Some([part(0..8)?, part(8..12)?, part(12..16)?, part(16..20)?, part(20..32)?].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_random_uuid_and_nothing_else_is_an_id() {
        let (one, other) = (uuid().unwrap(), uuid().unwrap());
        assert!(one != other && known_id(&one).is_ok(), "{one}");
        assert!(one.as_bytes()[14] == b'4' && matches!(one.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{one}");
        for bad in ["", "x", &one.to_uppercase(), &one.replace('-', ""), &format!("{one} "), &one.replace('-', "_"), "' OR '1'='1"] {
            assert!(known_id(bad).is_err() || bad == one, "{bad}");
        }
    }
}
