//! `/mfa/…`: a caller's second factor, set up, shown, ended; and an operator's way to take one away.
//! Looks at no code before the store has counted the attempt, and says nothing of why a code is wrong.

use std::net::IpAddr;
use std::sync::LazyLock;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::actor::Actor;
use super::body::{Json, Members, Object, text};
use super::problem::Problem;
use super::{Client, Context, instant};
use crate::gate::unix_now;
use crate::limits::Want;
use crate::limits::bucket::{Bucket, Who};
use crate::limits::redis::Unreachable;
use crate::mfa::attempts::{Kind, Locked};
use crate::mfa::code::{BackupCode, Code};
use crate::mfa::turns::{Busy, Turns};
use crate::mfa::{backup, enrolment, token, totp};
use crate::principal::record::{Holder, Rate};
use crate::store::StoreError;
use crate::store::mfa::{Attempt, Begun, Of, Shown};
use crate::transport::bounds;

/// However many ask, the process has so much memory for it.
static TURNS: LazyLock<Turns> = LazyLock::new(Turns::default);

pub fn routes() -> [UtoipaMethodRouter<Context>; 6] {
    [routes!(setup), routes!(verify), routes!(enable), routes!(disable), routes!(remaining, renew), routes!(reset)]
}

/// A code as somebody types it
#[derive(ToSchema)]
#[schema(example = json!({"code": "123456"}))]
struct Typed {
    /// Six digits of an authenticator, or a backup code; spaces count for nothing
    #[schema(value_type = String, max_length = 32)]
    code: Code,
}

/// Whose second factor is taken away
#[derive(ToSchema)]
#[schema(example = json!({"realm": "sessions", "subject": "ada@example.com"}))]
struct Whose {
    /// The credential's name in the configuration, or `profile`
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    realm: Box<str>,
    /// The principal's id
    #[schema(value_type = String, min_length = 1, max_length = 4096)]
    subject: Box<str>,
    /// The principal's tenant, where it is not the caller's
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    tenant: Option<Box<str>>,
}

/// Nothing is said
#[derive(ToSchema)]
#[schema(example = json!({}), max_properties = 0)]
struct Nothing {}

/// Shown this once
#[derive(Serialize, ToSchema)]
struct Setup {
    /// Base 32, for authenticators without a camera
    secret: String,
    otpauth_uri: String,
    /// The same as a picture
    qr_svg: String,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Verified {
    /// The first code of a secret that waits
    Pending { verified: bool },
    /// For `X-MFA-Token`
    Enabled { mfa_token: String, expires_in: i64 },
}

#[derive(Serialize, ToSchema)]
struct Enabled {
    enabled: bool,
    /// Shown this once
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_codes: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
struct Remaining {
    remaining: i64,
    /// RFC 3339
    generated_at: Option<String>,
}

/// Shown this once
#[derive(Serialize, ToSchema)]
struct Renewed {
    backup_codes: Vec<String>,
    generated_at: String,
}

/// Why there is no result.
enum Refusal {
    Problem(Problem),
    Wrong,
    /// Why, and seconds until it may be tried again.
    TooMany(&'static str, u64),
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
        return Err(Refusal::Wrong);
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
        return Err(Refusal::Wrong);
    }
    context.refresh().await;
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
        return Err(Refusal::Wrong);
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
    context.refresh().await;
    Ok(axum::Json(Enabled { enabled: false, backup_codes: None }))
}

fn holder(actor: &Actor) -> Holder {
    Holder { realm: actor.realm.clone(), tenant: actor.tenant.as_deref().map(Into::into), subject: actor.id.clone() }
}

/// Before the store is asked, so that nobody keeps it busy; its own count is what a guess is up against.
const OFTEN: Rate = Rate { count: 30, seconds: 60, burst: 30 };

async fn take_turn(context: &Context, holder: &Holder, client: Option<IpAddr>) -> Result<(), Refusal> {
    let who = [&*holder.realm, holder.tenant.as_deref().unwrap_or_default(), &*holder.subject];
    let want = |who| Want { bucket: Bucket { route: "mfa", who }, rate: OFTEN };
    // Of several addresses that are not known, none is to use up another's.
    let address = client.map(|address| want(Who::Ip(Some(address))));
    match context.gate.limiter.take_strict(&[Some(want(Who::Principal(who))), address]).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(exceeded)) => Err(Refusal::TooMany("Too many attempts", exceeded.told(unix_now()).wait)),
        // Nobody can tell how many were tried elsewhere.
        Err(Unreachable) => Err(Problem::unavailable("Attempts cannot be counted now").into()),
    }
}

/// An attempt that is counted, and what the code is. What it is may be used up by now: the store knows.
async fn try_code(context: &Context, (holder, Client(client)): (&Holder, Client), code: Code, of: Of) -> Result<(Attempt, Shown), Refusal> {
    let kind = match &code {
        Code::Totp(_) => Kind::Totp,
        Code::Backup(_) => Kind::Backup,
    };
    take_turn(context, holder, client).await?;
    let attempt = match context.store()?.mfa_begin(holder, (kind, of), unix_now()).await? {
        Begun::Attempt(attempt) => attempt,
        Begun::Locked(locked) => return Err(locked.into()),
        Begun::Absent => return Err(Problem::conflict("Multi-factor authentication is not set up").into()),
    };
    match code {
        Code::Totp(digits) => {
            let step = totp::matching(&attempt.secret, digits, unix_now()).ok_or(Refusal::Wrong)?;
            Ok((attempt, Shown::Step(step)))
        }
        Code::Backup(code) => find(attempt, code).await,
    }
}

async fn find(attempt: Attempt, code: BackupCode) -> Result<(Attempt, Shown), Refusal> {
    let (attempt, slot) = TURNS
        .take(move || {
            let slot = backup::find(&code, &attempt.kept);
            (attempt, slot)
        })
        .await?;
    let slot = slot.ok_or(Refusal::Wrong)?;
    Ok((attempt, Shown::Slot(slot)))
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

impl Members for Nothing {
    fn read(_object: &mut Object<'_>) -> Option<Self> {
        Some(Self {})
    }
}

impl Members for Typed {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let code = object.required("code", |value, at| {
            let code = value.as_str().and_then(Code::parse);
            if code.is_none() {
                at.fault("is neither six digits nor a backup code `xxxxx-xxxxx`");
            }
            code
        });
        Some(Self { code: code? })
    }
}

impl Members for Whose {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let name = text(1..=bounds::MANAGED_NAME);
        let realm = object.required("realm", &name);
        // As long as a claim of a token may be.
        let subject = object.required("subject", text(1..=4096));
        let tenant = object.optional("tenant", &name);
        Some(Self { realm: realm?, subject: subject?, tenant: tenant? })
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Locked> for Refusal {
    fn from(Locked { retry_after, for_good }: Locked) -> Self {
        let message = if for_good { "Too many wrong codes; a backup code or an operator unlocks" } else { "Too many wrong codes" };
        Self::TooMany(message, retry_after.unsigned_abs())
    }
}

impl From<Busy> for Refusal {
    fn from(_: Busy) -> Self {
        Self::Problem(Problem::unavailable("Too many backup codes are being computed"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, body, name, value) = match self {
            Self::Problem(problem) => return problem.into_response(),
            Self::Wrong => {
                let body = json!({"error": "invalid_mfa_code", "message": "The code is wrong, or was used before"});
                // RFC 9110 §15.5.2: a 401 says how to do better.
                let challenge = "Bearer realm=\"scopegate\", error=\"insufficient_user_authentication\"";
                (StatusCode::UNAUTHORIZED, body, WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
            }
            Self::TooMany(message, seconds) => {
                let body = json!({"error": "too_many_requests", "message": message, "retryAfter": seconds});
                (StatusCode::TOO_MANY_REQUESTS, body, RETRY_AFTER, HeaderValue::from(seconds))
            }
        };
        (status, [(CACHE_CONTROL, HeaderValue::from_static("no-store")), (name, value)], axum::Json::<Value>(body)).into_response()
    }
}
