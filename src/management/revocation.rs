//! The call `/tokens/revoke`: a token, all tokens of a subject, or a credential by its id, refused from now on.
//! Shortens no revocation, and reaches other tenants only for callers that reach all.

use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::actor::Actor;
use super::body::{Json, Members, Object, instant};
use super::names::Word;
use super::problem::Problem;
use super::{Context, named, names};
use crate::gate::unix_now;
use crate::principal::record::{EVERY_TENANT, Revoked};
use crate::store::revocations::Revocation as Row;

/// Exactly one of `jti`, `subject` and `credential_id`.
#[derive(Debug)]
pub struct NewRevocation {
    kind: Revoked,
    value: Box<str>,
    until: Option<i64>,
    tenant: Option<Box<str>>,
}

/// Exactly one of `jti`, `subject` and `credential_id`
#[derive(Debug, ToSchema)]
#[schema(as = NewRevocation)]
#[allow(dead_code, reason = "describes what `NewRevocation` reads")]
pub struct RevocationBody {
    /// The claim of one token
    jti: Option<Word>,
    /// Whoever tokens, keys or files name
    subject: Option<Word>,
    /// Of an entry of a file, or of a key
    credential_id: Option<Word>,
    /// For good where it is not said
    #[schema(format = DateTime)]
    until: Option<String>,
    /// The caller's own where it is not said; of a caller that reaches all, everybody's
    tenant: Option<Word>,
}

/// What holds now
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revocation)]
pub struct RevocationView {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    credential_id: Option<String>,
    /// None: for good
    #[schema(required, format = DateTime)]
    until: Option<String>,
    /// `*`: every tenant, and callers without one
    #[schema(required)]
    tenant: Option<String>,
}

pub fn routes() -> [UtoipaMethodRouter<Context>; 1] {
    [routes!(revoke)]
}

impl Members for NewRevocation {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let named = Revoked::ALL.map(|kind| (kind, object.optional(kind.as_str(), names::checked(names::word))));
        let until = object.optional("until", |value, at| {
            let until = instant(value, at)?;
            if until <= unix_now() {
                at.fault("is not in the future");
                return None;
            }
            Some(until)
        });
        let tenant = object.optional("tenant", names::checked(names::tenant));
        let mut said = Vec::new();
        for (kind, value) in named {
            said.extend(value?.map(|value| (kind, value)));
        }
        match (said.pop(), said.is_empty()) {
            (Some((kind, value)), true) => Some(Self { kind, value, until: until?, tenant: tenant? }),
            (Some(_), false) | (None, _) => {
                object.fault("names exactly one of `jti`, `subject` and `credential_id`");
                None
            }
        }
    }
}

/// Revokes what it names
///
/// In force on this node when the answer comes, and on every other within five seconds. What is revoked for longer stays so.
#[utoipa::path(post, path = "/tokens/revoke", tag = "revocation", operation_id = "revoke_token", security(("bearer" = ["tokens:revoke"])),
    request_body = RevocationBody, responses((status = 200, description = "What holds now", body = RevocationView)))]
pub async fn revoke(State(context): State<Context>, actor: Actor, Json(new): Json<NewRevocation>) -> Result<axum::Json<RevocationView>, Problem> {
    let everywhere = actor.is_operator() && new.tenant.is_none();
    let tenant = if everywhere { EVERY_TENANT.into() } else { actor.tenant_for(new.tenant)?.unwrap_or_default() };
    if !everywhere && *tenant == *EVERY_TENANT {
        return Err(Problem::forbidden("`*` is no tenant"));
    }
    let mut change = context.store()?.change().await?;
    let row = Row { kind: new.kind, tenant: &tenant, value: &new.value, until: new.until };
    let until = change.revoke(&row, &actor.id, unix_now()).await?;
    change.commit().await?;
    context.hold().await?;
    let until = until.and_then(|until| Timestamp::from_second(until).ok()).map(|until| until.to_string());
    let said = |kind: Revoked| (kind == new.kind).then(|| new.value.to_string());
    Ok(axum::Json(RevocationView {
        jti: said(Revoked::Jti),
        subject: said(Revoked::Subject),
        credential_id: said(Revoked::Credential),
        until,
        tenant: named(&tenant),
    }))
}
