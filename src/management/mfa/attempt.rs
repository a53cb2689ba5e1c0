//! A code into what it is, once the attempt is counted; and why there is no result.
//! Says nothing of why a code is wrong.

use std::net::IpAddr;

use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::problem::Problem;
use super::super::{Client, Context};
use super::TURNS;
use crate::gate::unix_now;
use crate::limits::Want;
use crate::limits::bucket::{Bucket, Who};
use crate::limits::redis::Unreachable;
use crate::mfa::attempts::{Kind, Locked};
use crate::mfa::code::{BackupCode, Code};
use crate::mfa::turns::Busy;
use crate::mfa::{backup, totp};
use crate::principal::record::{Holder, Rate};
use crate::store::StoreError;
use crate::store::mfa::{Attempt, Begun, Of, Shown};

/// Before the store is asked, so that nobody keeps it busy; its own count is what a guess is up against.
const OFTEN: Rate = Rate { count: 30, seconds: 60, burst: 30 };
/// Many may share an address.
const OFTEN_FROM: Rate = Rate { count: 300, seconds: 60, burst: 300 };

/// Why there is no result.
pub enum Refusal {
    Problem(Problem),
    Wrong,
    /// Why, and seconds until it may be tried again.
    TooMany(&'static str, u64),
}

async fn take_turn(context: &Context, holder: &Holder, client: Option<IpAddr>) -> Result<(), Refusal> {
    let who = [&*holder.realm, holder.tenant.as_deref().unwrap_or_default(), &*holder.subject];
    let want = |who, rate| Want { bucket: Bucket { route: "mfa", who }, rate };
    // Of several addresses that are not known, none is to use up another's.
    let address = client.map(|address| want(Who::Ip(Some(address)), OFTEN_FROM));
    match context.gate.limiter.take_strict(&[Some(want(Who::Principal(who), OFTEN)), address]).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(exceeded)) => Err(Refusal::TooMany("Too many attempts", exceeded.told(unix_now()).wait)),
        // Nobody can tell how many were tried elsewhere.
        Err(Unreachable) => Err(Problem::unavailable("Attempts cannot be counted now").into()),
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

/// An attempt that is counted, and what the code is. What it is may be used up by now: the store knows.
pub async fn try_code(context: &Context, (holder, client): (&Holder, Client), code: Code, of: Of) -> Result<(Attempt, Shown), Refusal> {
    let (kind, name) = match &code {
        Code::Totp(_) => (Kind::Totp, "totp"),
        Code::Backup(_) => (Kind::Backup, "backup"),
    };
    let tried = attempt(context, (holder, client), (code, kind), of).await;
    if let Err(Refusal::Wrong) = &tried {
        context.gate.telemetry.metrics.mfa_failures.inc(&[name]);
    }
    tried
}

/// A code that was right once.
pub fn used_up(context: &Context) -> Refusal {
    context.gate.telemetry.metrics.mfa_failures.inc(&["used"]);
    Refusal::Wrong
}

async fn attempt(
    context: &Context,
    (holder, Client(client)): (&Holder, Client),
    (code, kind): (Code, Kind),
    of: Of,
) -> Result<(Attempt, Shown), Refusal> {
    take_turn(context, holder, client).await?;
    let attempt = match context.store()?.mfa_begin(holder, (kind, of), unix_now()).await? {
        Begun::Attempt(attempt) => attempt,
        Begun::Locked(locked) => {
            context.gate.telemetry.metrics.mfa_locks.inc();
            return Err(locked.into());
        }
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
