//! The calls under `/rbac/roles` and `/rbac/permissions`: roles of a tenant beside those of the configuration, and what they may grant.
//! Puts nobody above the caller, changes nothing that is above it, and leaves no role without what it inherits.

mod view;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::Context;
use super::actor::Actor;
use super::body::{Json, Query};
use super::grants::Known;
use super::names::RoleText;
use super::once::{Begun, Repeatable, Work};
use super::page::{PageParams, TenantParam};
use super::problem::{Fault, Problem};
use crate::gate::unix_now;
use crate::live::Snapshot;
use crate::principal::roles::Definition;
use crate::store::Change;
use crate::store::rbac::Role;
use view::{Listing, NewRole, PermissionPage, RoleChange, RolePage, RoleView, Within, configured, view};

/// The most roles of one tenant.
const MAX_ROLES: usize = 1000;

impl From<Role> for Definition {
    fn from(role: Role) -> Self {
        Self { inherits: role.inherits, scopes: role.permissions }
    }
}

/// Every role and permission of a tenant whose own roles are these.
pub fn known((context, snapshot): (&Context, &Snapshot), managed: &[Role], new: Option<&Role>) -> Result<Known, Problem> {
    let own = managed.iter().map(|role| (role.name.clone(), role.clone().into())).collect();
    let new = new.map(|role| (role.name.as_str(), role.clone().into()));
    let is_new = new.is_some();
    Known::with(&snapshot.sources.roles, own, new, context.asked(snapshot)).map_err(|faults| {
        let fault = |message: String| Fault { path: "inherits".to_owned(), message };
        match is_new {
            true => Problem::invalid(faults.into_iter().map(|found| fault(found.to_string())).collect()),
            false => Problem::unavailable("The roles of the store and those of the configuration do not go together"),
        }
    })
}

/// 422 where something is granted that no route needs and no role grants; 403 where it is more than the caller has.
fn weigh(actor: &Actor, of: (&Context, &Snapshot), managed: &[Role], role: &Role) -> Result<(), Problem> {
    let before = known(of, managed, None)?;
    let unknown = role.permissions.iter().enumerate().filter(|(_, permission)| !before.has(permission));
    let unknown = unknown.map(|(index, permission)| Fault {
        path: format!("permissions[{index}]"),
        message: format!("`{permission}` is no permission that a route needs or a role grants; GET /rbac/permissions lists them"),
    });
    let faults: Vec<_> = unknown.collect();
    let after = known(of, managed, Some(role));
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let after = after?;
    actor.may_grant(&role.permissions)?;
    may_touch(actor, &role.name, &after)
}

/// 403 where a role is above the caller.
pub fn may_touch(actor: &Actor, role: &str, known: &Known) -> Result<(), Problem> {
    if actor.below([role], known).is_empty() { Ok(()) } else { Err(above(role)) }
}

fn is_not_configured(snapshot: &Snapshot, name: &str) -> Result<(), Problem> {
    match snapshot.sources.roles.knows(name) {
        true => Err(Problem::conflict(format!("Role `{name}` is one of the configuration, and changed there alone"))),
        false => Ok(()),
    }
}

const NO_ROLE: &str = "No such role";

pub fn routes() -> [UtoipaMethodRouter<Context>; 3] {
    [routes!(list_roles, create_role), routes!(replace_role, delete_role), routes!(list_permissions)]
}

impl Context {
    /// 422 for roles that this tenant does not have, 403 for those above the caller.
    pub async fn may_give_roles(&self, actor: &Actor, change: &mut Change, tenant: Option<&str>, roles: &[String]) -> Result<(), Problem> {
        if roles.is_empty() {
            return Ok(());
        }
        let snapshot = self.snapshot()?;
        let managed = change.roles(tenant.unwrap_or_default()).await?;
        may_give(actor, &known((self, &snapshot), &managed, None)?, roles)
    }
}

/// 422 for roles that nobody defines, 403 for those above the caller.
pub fn may_give(actor: &Actor, known: &Known, roles: &[String]) -> Result<(), Problem> {
    let faults = roles
        .iter()
        .enumerate()
        .filter(|(_, role)| !known.roles.knows(role))
        .map(|(index, _)| Fault { path: format!("roles[{index}]"), message: "is no role of this tenant or of the configuration".to_owned() });
    let faults: Vec<_> = faults.collect();
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    match actor.below(roles.iter().map(String::as_str), known).first() {
        Some(role) => Err(above(role)),
        None => Ok(()),
    }
}

fn above(role: &str) -> Problem {
    Problem::forbidden(format!("Role `{role}` grants more than you hold"))
}

/// The roles of a tenant
///
/// Its own and those of the configuration, by name.
#[utoipa::path(get, path = "/rbac/roles", tag = "roles", operation_id = "list_roles", security(("bearer" = ["rbac:read"])),
    params(TenantParam, PageParams),
    responses((status = 200, description = "A page of them", body = RolePage)))]
pub async fn list_roles(State(context): State<Context>, actor: Actor, Query(query): Query<Listing>) -> Result<axum::Json<RolePage>, Problem> {
    let tenant = actor.tenant_for(query.tenant)?.unwrap_or_default();
    let snapshot = context.snapshot()?;
    let managed = context.store()?.read().await?.roles(&tenant).await?;
    let managed = managed.into_iter().filter(|role| !snapshot.sources.roles.knows(&role.name)).map(|role| view(role, &tenant));
    let mut roles: Vec<_> = configured(&snapshot).chain(managed).filter(|role| role.name.as_str() > query.page.word(0)).collect();
    roles.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let next_cursor = query.page.cut(&mut roles, |role| role.name.clone());
    Ok(axum::Json(RolePage { roles, next_cursor }))
}

/// Makes a role
#[utoipa::path(post, path = "/rbac/roles", tag = "roles", operation_id = "create_role", security(("bearer" = ["rbac:write"])),
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, description = "The same for every try of one create")),
    request_body = NewRole,
    responses((status = 201, description = "It is there", body = RoleView), (status = 409, description = "There is one of this name", body = Problem)))]
pub async fn create_role(
    State(context): State<Context>,
    actor: Actor,
    Repeatable { body: new, once }: Repeatable<NewRole>,
) -> Result<Response, Problem> {
    let mut work = match Work::begin(&context, once, StatusCode::CREATED).await? {
        Begun::Work(work) => work,
        Begun::Done(answer) => return Ok(answer),
    };
    let tenant = actor.tenant_for(new.tenant)?.unwrap_or_default();
    let snapshot = context.snapshot()?;
    let role = Role {
        name: new.name.into(),
        description: new.description.into(),
        permissions: new.permissions,
        inherits: new.inherits.into_iter().map(String::from).collect(),
        created_at: unix_now(),
    };
    is_not_configured(&snapshot, &role.name)?;
    let managed = work.change.roles(&tenant).await?;
    if managed.iter().any(|known| known.name == role.name) {
        return Err(Problem::conflict(format!("There is a role `{}`", role.name)));
    }
    if managed.len() >= MAX_ROLES {
        return Err(Problem::conflict(format!("A tenant has at most {MAX_ROLES} roles")));
    }
    weigh(&actor, (&context, &snapshot), &managed, &role)?;
    work.change.put_role(&tenant, &role).await?;
    work.finish(StatusCode::CREATED, &view(role, &tenant)).await
}

/// Replaces what a role is
///
/// Holds at once for everybody who has it.
#[utoipa::path(put, path = "/rbac/roles/{name}", tag = "roles", operation_id = "replace_role", security(("bearer" = ["rbac:write"])),
    params(
        ("name" = RoleText, Path),
        TenantParam,
    ),
    request_body = RoleChange,
    responses((status = 200, description = "So it is now", body = RoleView), (status = 409, description = "It is one of the configuration", body = Problem)))]
pub async fn replace_role(
    State(context): State<Context>,
    actor: Actor,
    Path(name): Path<String>,
    Query(within): Query<Within>,
    Json(change): Json<RoleChange>,
) -> Result<axum::Json<RoleView>, Problem> {
    let tenant = actor.tenant_for(within.tenant)?.unwrap_or_default();
    let snapshot = context.snapshot()?;
    is_not_configured(&snapshot, &name)?;
    let mut work = context.store()?.change().await?;
    let managed = work.roles(&tenant).await?;
    let old = managed.iter().find(|known| known.name == name).ok_or(Problem::not_found(NO_ROLE))?;
    may_touch(&actor, &name, &known((&context, &snapshot), &managed, None)?)?;
    let role = Role {
        name,
        description: change.description.into(),
        permissions: change.permissions,
        inherits: change.inherits.into_iter().map(String::from).collect(),
        created_at: old.created_at,
    };
    weigh(&actor, (&context, &snapshot), &managed, &role)?;
    work.put_role(&tenant, &role).await?;
    work.commit().await?;
    context.hold().await?;
    Ok(axum::Json(view(role, &tenant)))
}

/// Deletes a role
///
/// That nobody has and no other role inherits.
#[utoipa::path(delete, path = "/rbac/roles/{name}", tag = "roles", operation_id = "delete_role", security(("bearer" = ["rbac:write"])),
    params(
        ("name" = RoleText, Path),
        TenantParam,
    ),
    responses((status = 204, description = "It is gone"), (status = 409, description = "Somebody has it, and who", body = Problem)))]
pub async fn delete_role(
    State(context): State<Context>,
    actor: Actor,
    Path(name): Path<String>,
    Query(within): Query<Within>,
) -> Result<StatusCode, Problem> {
    let tenant = actor.tenant_for(within.tenant)?.unwrap_or_default();
    let snapshot = context.snapshot()?;
    is_not_configured(&snapshot, &name)?;
    let mut change = context.store()?.change().await?;
    let managed = change.roles(&tenant).await?;
    if !managed.iter().any(|known| known.name == name) {
        return Err(Problem::not_found(NO_ROLE));
    }
    may_touch(&actor, &name, &known((&context, &snapshot), &managed, None)?)?;
    let heirs = managed.iter().filter(|role| role.inherits.contains(&name)).take(5).map(|role| format!("role `{}`", role.name));
    let mut holders: Vec<_> = heirs.collect();
    holders.extend(change.holders(&tenant, &name).await?);
    if !holders.is_empty() {
        return Err(Problem::conflict(format!("Role `{name}` is in use by {}", holders.join(", "))));
    }
    change.delete_role(&tenant, &name).await?;
    change.commit().await?;
    context.hold().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Every permission
///
/// That a route needs or a role grants, by name.
#[utoipa::path(get, path = "/rbac/permissions", tag = "roles", operation_id = "list_permissions", security(("bearer" = ["rbac:read"])),
    params(TenantParam, PageParams),
    responses((status = 200, description = "A page of them", body = PermissionPage)))]
pub async fn list_permissions(
    State(context): State<Context>,
    actor: Actor,
    Query(query): Query<Listing>,
) -> Result<axum::Json<PermissionPage>, Problem> {
    let tenant = actor.tenant_for(query.tenant)?.unwrap_or_default();
    let snapshot = context.snapshot()?;
    let managed = context.store()?.read().await?.roles(&tenant).await?;
    let known = known((&context, &snapshot), &managed, None)?;
    let mut permissions: Vec<_> = known.permissions().map(ToString::to_string).filter(|text| text.as_str() > query.page.word(0)).collect();
    let next_cursor = query.page.cut(&mut permissions, Clone::clone);
    Ok(axum::Json(PermissionPage { permissions, next_cursor }))
}
