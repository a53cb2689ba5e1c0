//! The calls `/rbac/assign` and `/rbac/assignments`: which subject has which role.
//! Gives nobody, and takes from nobody, a role that grants more than the caller holds.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::actor::Actor;
use super::body::{Json, Members, Object, Query};
use super::names::{RoleText, Word};
use super::page::{Page, PageParams, TenantParam};
use super::problem::Problem;
use super::roles::{known, may_touch};
use super::{Context, named, names};
use crate::gate::unix_now;

/// The most roles that one subject may be assigned.
const MAX_ASSIGNED: usize = 64;

/// A role that somebody has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Assignment)]
pub struct AssignmentView {
    subject: String,
    role: String,
    #[schema(required)]
    tenant: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AssignmentPage {
    assignments: Vec<AssignmentView>,
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Who is to have a role, or no longer.
#[derive(Debug, ToSchema)]
pub struct Assignee {
    /// The id of a profile, of a key, or of whoever a token or a file names
    #[schema(value_type = Word)]
    subject: Box<str>,
    #[schema(value_type = RoleText)]
    role: Box<str>,
    /// Another than the caller's own is for callers that reach all
    #[schema(value_type = Option<Word>)]
    tenant: Option<Box<str>>,
}

pub fn routes() -> [UtoipaMethodRouter<Context>; 2] {
    [routes!(list_assignments), routes!(assign_role, unassign_role)]
}

#[derive(Debug)]
pub struct Listing {
    subject: Option<Box<str>>,
    tenant: Option<Box<str>>,
    page: Page,
}

impl Members for Assignee {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let subject = object.required("subject", names::checked(names::word));
        let role = object.required("role", names::checked(names::role));
        let tenant = object.optional("tenant", names::checked(names::tenant));
        Some(Self { subject: subject?, role: role?, tenant: tenant? })
    }
}

impl Members for Listing {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let subject = object.optional("subject", names::checked(names::word));
        let tenant = object.optional("tenant", names::checked(names::tenant));
        let page = Page::read(object, 2);
        Some(Self { subject: subject?, tenant: tenant?, page: page? })
    }
}

/// Who has which role
///
/// By subject and role.
#[utoipa::path(get, path = "/rbac/assignments", tag = "roles", operation_id = "list_assignments", security(("bearer" = ["rbac:read"])),
    params(
        ("subject" = Option<Word>, Query, description = "Of everybody where it is not said"),
        TenantParam,
        PageParams,
    ),
    responses((status = 200, description = "A page of them", body = AssignmentPage)))]
pub async fn list_assignments(
    State(context): State<Context>,
    actor: Actor,
    Query(query): Query<Listing>,
) -> Result<axum::Json<AssignmentPage>, Problem> {
    let tenant = actor.tenant_for(query.tenant)?.unwrap_or_default();
    let subject = query.subject.unwrap_or_default();
    let after = (query.page.word(0), query.page.word(1));
    let mut rows = context.store()?.read().await?.assignments(&tenant, &subject, after, query.page.rows()).await?;
    let next_cursor = query.page.cut(&mut rows, |row| format!("{} {}", row.subject, row.role));
    let assignments = rows.into_iter().map(|row| AssignmentView { subject: row.subject, role: row.role, tenant: named(&tenant) });
    Ok(axum::Json(AssignmentPage { assignments: assignments.collect(), next_cursor }))
}

/// Gives somebody a role
///
/// Does nothing where it is there already.
#[utoipa::path(post, path = "/rbac/assign", tag = "roles", operation_id = "assign_role", security(("bearer" = ["rbac:write"])),
    request_body = Assignee,
    responses((status = 200, description = "It is given", body = AssignmentView), (status = 409, description = "There are too many", body = Problem)))]
pub async fn assign_role(State(context): State<Context>, actor: Actor, Json(new): Json<Assignee>) -> Result<axum::Json<AssignmentView>, Problem> {
    let tenant = actor.tenant_for(new.tenant)?.unwrap_or_default();
    let snapshot = context.snapshot()?;
    let mut change = context.store()?.change().await?;
    let known = known((&context, &snapshot), &change.roles(&tenant).await?, None)?;
    if !known.roles.knows(&new.role) {
        return Err(Problem::fault("role", "is no role of this tenant or of the configuration"));
    }
    may_touch(&actor, &new.role, &known)?;
    let assigned = change.roles_assigned(&tenant, &new.subject).await?;
    if !assigned.iter().any(|role| **role == *new.role) {
        if assigned.len() >= MAX_ASSIGNED {
            return Err(Problem::conflict(format!("A subject has at most {MAX_ASSIGNED} roles")));
        }
        change.assign(&tenant, &new.subject, &new.role, unix_now()).await?;
        change.commit().await?;
        context.refresh().await;
    }
    Ok(axum::Json(AssignmentView { subject: new.subject.into(), role: new.role.into(), tenant: named(&tenant) }))
}

/// Takes a role from somebody
#[utoipa::path(delete, path = "/rbac/assign", tag = "roles", operation_id = "unassign_role", security(("bearer" = ["rbac:write"])),
    request_body = Assignee,
    responses((status = 204, description = "It is taken"), (status = 404, description = "It was not given", body = Problem)))]
pub async fn unassign_role(State(context): State<Context>, actor: Actor, Json(old): Json<Assignee>) -> Result<StatusCode, Problem> {
    let tenant = actor.tenant_for(old.tenant)?.unwrap_or_default();
    let snapshot = context.snapshot()?;
    let mut change = context.store()?.change().await?;
    let known = known((&context, &snapshot), &change.roles(&tenant).await?, None)?;
    // A role that is defined no more may be tidied away by anybody.
    if known.roles.knows(&old.role) {
        may_touch(&actor, &old.role, &known)?;
    }
    let missing = Problem::of_missing("This subject does not have this role");
    change.unassign(&tenant, &old.subject, &old.role).await.map_err(missing)?;
    change.commit().await?;
    context.hold().await?;
    Ok(StatusCode::NO_CONTENT)
}
