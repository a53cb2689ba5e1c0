//! The calls under `/tenant/api-keys`: managed keys from the day they are made to the day they are revoked.
//! Shows a key once, and hands nothing on that the caller does not hold itself.

mod import;
mod secret;
mod view;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::Context;
use super::actor::Actor;
use super::body::{Json, Query};
use super::once::{Begun, Repeatable, Work};
use super::problem::Problem;
use crate::gate::unix_now;
use crate::store::keys::Key;
use crate::store::{Change, Reach};
use secret::Secret;
use view::{KeyChange, KeyPage, KeyView, Listing, MadeKey, NewKey, Rotation};

const NOT_THERE: &str = "No such key";

pub fn routes() -> [UtoipaMethodRouter<Context>; 4] {
    [routes!(create, index), routes!(import::import), routes!(show, change, revoke), routes!(rotate)]
}

/// Makes a key, and shows it this once
#[utoipa::path(post, path = "/tenant/api-keys", tag = "keys", security(("bearer" = ["apikeys:write"])),
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, description = "The same for every try of one create")),
    request_body = NewKey, responses((status = 201, description = "Made; `key` is shown this once", body = MadeKey)))]
async fn create(State(context): State<Context>, actor: Actor, Repeatable { body, once }: Repeatable<NewKey>) -> Result<Response, Problem> {
    let mut work = match Work::begin(&context, once, StatusCode::CREATED).await? {
        Begun::Work(work) => work,
        Begun::Done(answer) => return Ok(answer),
    };
    let tenant = actor.tenant_for(body.tenant.clone())?;
    actor.may_grant(&body.scopes)?;
    context.may_give_roles(&actor, &mut work.change, tenant.as_deref(), &body.roles).await?;
    // An id of 62^8 is taken now and then, in a store of millions.
    loop {
        let secret = Secret::new(&context.environment()?)?;
        let key = body.key(&secret, &context.store()?.keys.peppers, (tenant.as_deref(), &actor));
        if work.change.add_key(&key).await? {
            return work.finish(StatusCode::CREATED, &MadeKey::of(&key, &secret, None)).await;
        }
    }
}

/// Lists keys
#[utoipa::path(get, path = "/tenant/api-keys", tag = "keys", security(("bearer" = ["apikeys:read"])), params(Listing),
    responses((status = 200, description = "A page", body = KeyPage)))]
async fn index(State(context): State<Context>, actor: Actor, Query(listing): Query<Listing>) -> Result<axum::Json<KeyPage>, Problem> {
    let rows = context.store()?.read().await?.keys(actor.reach(), listing.after(), listing.rows()).await?;
    Ok(axum::Json(listing.page(&rows)))
}

/// Shows one key, without its secret
#[utoipa::path(get, path = "/tenant/api-keys/{id}", tag = "keys", security(("bearer" = ["apikeys:read"])),
    params(("id" = String, Path, description = "The key's id")), responses((status = 200, description = "The key", body = KeyView)))]
async fn show(State(context): State<Context>, actor: Actor, Path(id): Path<String>) -> Result<axum::Json<KeyView>, Problem> {
    let key = context.store()?.read().await?.key(actor.reach(), &id).await.map_err(Problem::of_missing(NOT_THERE))?;
    Ok(axum::Json(KeyView::of(&key)))
}

/// Changes a key; what is not said stays
#[utoipa::path(patch, path = "/tenant/api-keys/{id}", tag = "keys", security(("bearer" = ["apikeys:write"])),
    params(("id" = String, Path, description = "The key's id")), request_body = KeyChange,
    responses((status = 200, description = "The key as it is now", body = KeyView)))]
async fn change(
    State(context): State<Context>,
    actor: Actor,
    Path(id): Path<String>,
    Json(said): Json<KeyChange>,
) -> Result<axum::Json<KeyView>, Problem> {
    let mut change = context.store()?.change().await?;
    let mut key = change.key(actor.reach(), &id).await.map_err(Problem::of_missing(NOT_THERE))?;
    actor.may_grant(said.added(&key))?;
    if said.revives(&key) {
        may_hand_out(&context, &actor, &mut change, &key).await?;
    }
    said.apply(&mut key);
    change.put_key(&key).await?;
    change.commit().await?;
    context.hold().await?;
    Ok(axum::Json(KeyView::of(&key)))
}

/// Gives a key a new secret, shown this once; the old one goes on until the grace ends
#[utoipa::path(post, path = "/tenant/api-keys/{id}/rotate", tag = "keys", security(("bearer" = ["apikeys:write"])),
    params(("id" = String, Path, description = "The key's id"),
        ("Idempotency-Key" = Option<String>, Header, max_length = 255, description = "The same for every try of one rotation")),
    request_body = Rotation,
    responses((status = 200, description = "The key with its new secret", body = MadeKey),
        (status = 409, description = "The grace of the last rotation has not ended")))]
async fn rotate(
    State(context): State<Context>,
    actor: Actor,
    Path(id): Path<String>,
    Repeatable { body, once }: Repeatable<Rotation>,
) -> Result<Response, Problem> {
    let mut work = match Work::begin(&context, once, StatusCode::OK).await? {
        Begun::Work(work) => work,
        Begun::Done(answer) => return Ok(answer),
    };
    let mut key = work.change.key(actor.reach(), &id).await.map_err(Problem::of_missing(NOT_THERE))?;
    may_hand_out(&context, &actor, &mut work.change, &key).await?;
    let now = unix_now();
    if key.previous.as_ref().is_some_and(|(_, until)| *until > now) {
        return Err(Problem::conflict("The grace of the last rotation has not ended"));
    }
    let secret = Secret::again(&key)?;
    let until = now.saturating_add(body.grace_seconds);
    let old = std::mem::replace(&mut key.secret, secret.kept(&context.store()?.keys.peppers));
    key.previous = (body.grace_seconds > 0).then_some((old, until));
    work.change.put_key(&key).await?;
    work.finish(StatusCode::OK, &MadeKey::of(&key, &secret, Some(until))).await
}

/// Revokes a key: old and new secret stop at once
#[utoipa::path(delete, path = "/tenant/api-keys/{id}", tag = "keys", security(("bearer" = ["apikeys:write"])),
    params(("id" = String, Path, description = "The key's id")), responses((status = 204, description = "Revoked")))]
async fn revoke(State(context): State<Context>, actor: Actor, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let mut change = context.store()?.change().await?;
    let key = change.key(actor.reach(), &id).await.map_err(Problem::of_missing(NOT_THERE))?;
    change.revoke_key(&key.id, unix_now()).await?;
    change.commit().await?;
    context.hold().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 403 where whoever has the secret would hold more than the caller does.
async fn may_hand_out(context: &Context, actor: &Actor, change: &mut Change, key: &Key) -> Result<(), Problem> {
    let tenant = Some(key.tenant.as_str()).filter(|tenant| !tenant.is_empty());
    actor.may_grant(&key.scopes)?;
    context.may_give_roles(actor, change, tenant, &key.roles).await?;
    if let Some(profile) = &key.profile {
        // A key whose profile is gone stands for nobody.
        if let Ok(profile) = change.profile(Reach::All, profile).await {
            actor.may_grant(&profile.scopes)?;
            context.may_give_roles(actor, change, tenant, &profile.roles).await?;
        }
    }
    Ok(())
}
