//! Who may ask the operator's questions: whoever is on this machine, or holds `scopegate:admin`.
//! Another site's page in a browser is nobody's proof.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use super::{Admin, problem};
use crate::gate::decide;
use crate::policy::judge::Policy;
use crate::policy::{Access, Needs, Outcome, Reason, Rule};
use crate::request::{Body, Link, RawRequest};
use crate::scope::Universe;
use crate::transport::answer;

/// Needs `scopegate:admin` where others than this machine can reach the door.
pub async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    if admin.audience.is_local() && !admin.audience.is_foreign(request.method(), request.headers()) {
        return next.run(request).await;
    }
    let denial = {
        let guard = admin.gate.live.current();
        let Some(snapshot) = guard.as_deref() else {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", Reason::NotReady.message());
        };
        let headers = request.headers();
        let raw = RawRequest { method: b"POST", target: request.uri().path().as_bytes(), host: None, headers, link: Link::default() };
        let policy = operator_policy();
        let decision = decide(&policy, snapshot, &raw, (Body::Unread, ADMIN_SCOPE)).await;
        match decision.outcome {
            Outcome::Allow(_) => None,
            Outcome::Deny(denial) => Some(denial),
            Outcome::Inspect { .. } | Outcome::Wait(_) | Outcome::Preflight(_) => Some(Reason::PartialBody.into()),
        }
    };
    match denial {
        None => next.run(request).await,
        Some(denial) => answer::denied(&denial, crate::telemetry::DecisionId::next()).map(axum::body::Body::new),
    }
}

pub const ADMIN_SCOPE: &str = "scopegate:admin";

/// Any path, any caller; the scope comes with the question.
pub fn operator_policy() -> Policy {
    let default = Rule::new("operator", Access::Needs(Needs::default()));
    Policy { table: Default::default(), rules: Vec::new(), default, universe: Universe::default(), cors: None, watched: Box::default() }
}
