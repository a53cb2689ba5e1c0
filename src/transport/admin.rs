//! The operator's door: alive, ready, metrics, reload, explain.
//! Health never evaluates a credential; what changes or reveals something does, unless only this machine can reach the door.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::headers::opens_websocket;
use super::{answer, bounds};
use crate::gate::{Gate, decide, unix_now};
use crate::live::reload::Reloader;
use crate::management::Api;
use crate::policy::explain::explain;
use crate::policy::judge::{Policy, Question};
use crate::policy::{Access, Needs, Outcome, Reason, Rule};
use crate::request::{Body, Headers, Link, RawRequest, Values};
use crate::scope::Universe;

/// What the door serves with.
#[derive(Clone, Debug)]
pub struct Admin {
    pub gate: Arc<Gate>,
    pub reloader: Reloader,
    /// Whether only this machine can reach the door.
    pub local: bool,
    pub management: Option<Arc<Api>>,
}

pub fn router(admin: Admin) -> Router {
    let operator = Router::new()
        .route("/reload", post(reload))
        .route("/explain", post(explained))
        .route_layer(from_fn_with_state(admin.clone(), guard))
        .layer(DefaultBodyLimit::max(bounds::ADMIN_BODY));
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"status": "alive"})) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(operator)
        .fallback(managed)
        .with_state(admin)
}

/// `{"error","message"}`, as at every other door.
fn problem(status: StatusCode, error: &str, message: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(json!({"error": error, "message": message}))).into_response()
}

/// Whatever is not the door's own is for the management API, where there is one.
async fn managed(State(admin): State<Admin>, request: Request) -> Response {
    match &admin.management {
        Some(api) => api.serve(request).await,
        None => problem(StatusCode::NOT_FOUND, "not_found", "Known are /healthz, /readyz, /metrics, /reload and /explain; a `store` adds more"),
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    let status = admin.gate.live.status();
    let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(status)).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let metrics = &admin.gate.telemetry.metrics;
    for set in admin.gate.live.status().key_sets {
        metrics.key_set(set.credential, set.status.age_seconds);
    }
    if let Some(keeper) = admin.gate.live.keeper() {
        metrics.store(keeper.age(), keeper.keys());
    }
    ([(header::CONTENT_TYPE, kind)], metrics.text()).into_response()
}

async fn reload(State(admin): State<Admin>) -> Response {
    match admin.reloader.reload().await {
        Ok(generation) => Json(json!({"generation": generation})).into_response(),
        Err(faults) => {
            let body = json!({"error": "invalid_configuration", "message": "The old set stays", "faults": faults});
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    method: String,
    path: String,
    host: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    credential_id: Option<String>,
    body: Option<String>,
}

struct Said<'a>(&'a std::collections::BTreeMap<String, String>);

impl Headers for Said<'_> {
    fn get(&self, name: &str) -> Values<'_> {
        let mut found = self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (None, _) => Values::None,
            (Some((_, value)), None) => Values::One(value.as_bytes()),
            (Some(_), Some(_)) => Values::Many,
        }
    }
}

async fn explained(State(admin): State<Admin>, body: axum::body::Bytes) -> Response {
    let ask: Ask = match serde_json::from_slice(&body) {
        Ok(ask) => ask,
        // The parser's message could quote a token out of `headers`.
        Err(_) => {
            let message = "The body is {\"method\",\"path\",\"host\",\"headers\"|\"credential_id\",\"body\"}, all texts";
            return problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", message);
        }
    };
    let guard = admin.gate.live.current();
    let Some(snapshot) = guard.as_deref() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", Reason::NotReady.message());
    };
    let headers = Said(&ask.headers);
    let host = ask.host.as_deref().or_else(|| match headers.get("host") {
        Values::One(host) => str::from_utf8(host).ok(),
        Values::None | Values::Many => None,
    });
    let link = Link { websocket: opens_websocket(ask.method.as_bytes(), &headers, true).unwrap_or(false), ..Link::default() };
    let raw = RawRequest { method: ask.method.as_bytes(), target: ask.path.as_bytes(), host: host.map(str::as_bytes), headers: &headers, link };
    let body = ask.body.as_ref().map_or(Body::Unread, |body| Body::Whole(body.as_bytes()));
    let question = Question { body, extra_scopes: "", now: unix_now(), settled: &[] };
    let explained = explain((&snapshot.policy, &snapshot.sources), &raw, question, ask.credential_id.as_deref(), snapshot.generation);
    match explained {
        Some(explanation) => ([(header::CACHE_CONTROL, "no-store")], Json(explanation)).into_response(),
        None => problem(StatusCode::NOT_FOUND, "not_found", "No credential has this id"),
    }
}

/// Needs `scopegate:admin` where others than this machine can reach the door.
async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    if admin.local && !is_cross_site(&request) {
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

const ADMIN_SCOPE: &str = "scopegate:admin";

/// Any path, any caller; the scope comes with the question.
fn operator_policy() -> Policy {
    let default = Rule::new("operator", Access::Needs(Needs::default()));
    Policy { table: Default::default(), rules: Vec::new(), default, universe: Universe::default(), cors: None }
}

/// A page in a browser on this machine is not its operator.
fn is_cross_site(request: &Request) -> bool {
    let fetch = HeaderName::from_static("sec-fetch-site");
    request.headers().contains_key(header::ORIGIN) || request.headers().get(fetch).is_some_and(|site| site != HeaderValue::from_static("none"))
}
