//! `/mfa/…`: a caller's second factor, set up, shown, ended; and an operator's way to take one away.
//! Looks at no code before the store has counted the attempt, and shows what is secret once.

mod attempt;
mod view;

use std::sync::LazyLock;

use axum::Extension;
use axum::extract::State;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::actor::Actor;
use super::body::Json;
use super::problem::Problem;
use super::{Client, Context, instant};
use crate::gate::unix_now;
use crate::mfa::turns::Turns;
use crate::mfa::{backup, enrolment, token};
use crate::principal::record::Holder;
use crate::store::mfa::Of;
use attempt::{Refusal, try_code, used_up};
use view::{Enabled, Nothing, Remaining, Renewed, Setup, Typed, Verified, Whose};

/// However many ask, the process has so much memory for it.
static TURNS: LazyLock<Turns> = LazyLock::new(Turns::default);

pub fn routes() -> [UtoipaMethodRouter<Context>; 6] {
    [routes!(setup), routes!(verify), routes!(enable), routes!(disable), routes!(remaining, renew), routes!(reset)]
}

/// Begin with a new secret
///
/// It waits ten minutes for its first code; another call replaces it.
#[utoipa::path(post, path = "/mfa/setup", tag = "mfa", security(("bearer" = [])),
    responses((status = 200, description = "A secret", body = Setup), (status = 409, description = "On already")))]
async fn setup(State(context): State<Context>, actor: Actor, Json(Nothing {}): Json<Nothing>) -> Result<axum::Json<Setup>, Refusal> {
    let holder = holder(&actor);
    let secret = enrolment::secret().map_err(|_| Problem::unavailable("The system gives no randomness"))?;
    let uri = enrolment::uri(&secret, &holder.subject);
    let svg = enrolment::qr_svg(&uri).ok_or(Problem::unavailable("There is no picture of this secret"))?;
    context.store()?.mfa_setup(&holder, &secret, unix_now()).await?;
    Ok(axum::Json(Setup { secret: secret.base32().to_string(), otpauth_uri: uri.to_string(), qr_svg: svg.to_string() }))
}

/// Show a code
///
/// The first one of a new secret, or, once it is on, one for a token that routes with `mfa` ask for.
#[utoipa::path(post, path = "/mfa/verify", tag = "mfa", security(("bearer" = [])), request_body = Typed,
    responses((status = 200, description = "The code is right", body = Verified), (status = 409, description = "Not set up")))]
async fn verify(
    State(context): State<Context>,
    actor: Actor,
    Extension(client): Extension<Client>,
    Json(Typed { code }): Json<Typed>,
) -> Result<axum::Json<Verified>, Refusal> {
    let (store, holder) = (context.store()?, holder(&actor));
    let (attempt, shown) = try_code(&context, (&holder, client), code, Of::Any).await?;
    let now = unix_now();
    if !store.mfa_show(&holder, &attempt, shown, now).await? {
        return Err(used_up(&context));
    }
    Ok(axum::Json(match attempt.enabled_at {
        None => Verified::Pending { verified: true },
        Some(enabled_at) => {
            Verified::Enabled { mfa_token: token::mint(store.keys.signing(), &holder, now.max(enabled_at)), expires_in: token::LIFETIME }
        }
    }))
}

/// Turn it on
///
/// Needs a code that was verified in the last ten minutes.
#[utoipa::path(post, path = "/mfa/enable", tag = "mfa", security(("bearer" = [])),
    responses((status = 200, description = "It is on", body = Enabled), (status = 409, description = "Nothing was verified, or it is on already")))]
async fn enable(State(context): State<Context>, actor: Actor, Json(Nothing {}): Json<Nothing>) -> Result<axum::Json<Enabled>, Refusal> {
    let (store, holder) = (context.store()?, holder(&actor));
    let standing = store.mfa_standing(&holder, unix_now()).await?;
    if standing.is_none_or(|standing| standing.enabled_at.is_some() || standing.verified_at.is_none()) {
        return Err(Problem::conflict("Multi-factor authentication is on already, or no code was verified in the last ten minutes").into());
    }
    let (codes, hashes) = new_codes().await?;
    store.mfa_enable(&holder, &hashes, unix_now()).await?;
    context.refresh().await;
    Ok(axum::Json(Enabled { enabled: true, backup_codes: Some(codes) }))
}

/// Turn it off
///
/// Tokens that were given for it count no more.
#[utoipa::path(post, path = "/mfa/disable", tag = "mfa", security(("bearer" = [])), request_body = Typed,
    responses((status = 200, description = "It is off", body = Enabled), (status = 409, description = "It is not on")))]
async fn disable(
    State(context): State<Context>,
    actor: Actor,
    Extension(client): Extension<Client>,
    Json(Typed { code }): Json<Typed>,
) -> Result<axum::Json<Enabled>, Refusal> {
    let (store, holder) = (context.store()?, holder(&actor));
    let (attempt, shown) = try_code(&context, (&holder, client), code, Of::Enabled).await?;
    if !store.mfa_disable(&holder, &attempt, shown, unix_now()).await? {
        return Err(used_up(&context));
    }
    context.hold().await?;
    Ok(axum::Json(Enabled { enabled: false, backup_codes: None }))
}

/// How many backup codes are left
#[utoipa::path(get, path = "/mfa/backup-codes", tag = "mfa", security(("bearer" = [])),
    responses((status = 200, description = "No code is shown", body = Remaining)))]
async fn remaining(State(context): State<Context>, actor: Actor) -> Result<axum::Json<Remaining>, Refusal> {
    let standing = context.store()?.mfa_standing(&holder(&actor), unix_now()).await?;
    Ok(axum::Json(Remaining {
        remaining: standing.map_or(0, |standing| standing.remaining),
        generated_at: standing.and_then(|standing| standing.codes_at).map(instant),
    }))
}

/// Ten new backup codes
///
/// In place of the others.
#[utoipa::path(post, path = "/mfa/backup-codes", tag = "mfa", security(("bearer" = [])), request_body = Typed,
    responses((status = 200, description = "New codes", body = Renewed), (status = 409, description = "It is not on")))]
async fn renew(
    State(context): State<Context>,
    actor: Actor,
    Extension(client): Extension<Client>,
    Json(Typed { code }): Json<Typed>,
) -> Result<axum::Json<Renewed>, Refusal> {
    let (store, holder) = (context.store()?, holder(&actor));
    let (attempt, shown) = try_code(&context, (&holder, client), code, Of::Enabled).await?;
    let (codes, hashes) = new_codes().await?;
    let now = unix_now();
    if !store.mfa_renew(&holder, &attempt, shown, (&hashes, now)).await? {
        return Err(used_up(&context));
    }
    Ok(axum::Json(Renewed { backup_codes: codes, generated_at: instant(now) }))
}

/// Take somebody's second factor and its locks away
///
/// For who has lost the authenticator and the backup codes.
#[utoipa::path(post, path = "/mfa/reset", tag = "mfa", security(("bearer" = ["mfa:write"])), request_body = Whose,
    responses((status = 200, description = "It is off", body = Enabled), (status = 404, description = "There is none")))]
async fn reset(State(context): State<Context>, actor: Actor, Json(whose): Json<Whose>) -> Result<axum::Json<Enabled>, Refusal> {
    let tenant = actor.tenant_for(whose.tenant)?;
    let holder = Holder { realm: whose.realm, tenant: tenant.map(|tenant| (*tenant).into()), subject: whose.subject };
    context.store()?.mfa_reset(&holder, unix_now()).await?;
    context.hold().await?;
    Ok(axum::Json(Enabled { enabled: false, backup_codes: None }))
}

fn holder(actor: &Actor) -> Holder {
    Holder { realm: actor.realm.clone(), tenant: actor.tenant.as_deref().map(Into::into), subject: actor.id.clone() }
}

/// Ten codes, and what is kept of them.
async fn new_codes() -> Result<(Vec<String>, Vec<String>), Refusal> {
    let made = TURNS.take(|| {
        let codes = backup::generate().ok()?;
        let hashes = backup::hash(&codes)?;
        Some((codes.iter().map(|code| code.expose().to_owned()).collect(), hashes))
    });
    Ok(made.await?.ok_or(Problem::unavailable("The system gives no randomness"))?)
}
