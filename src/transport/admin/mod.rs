//! The operator's door: alive, ready, metrics, reload, explain, the report of what passes in shadow, the panel.
//! Health never evaluates a credential; what changes or reveals something does, unless only this machine can reach the door.

pub mod decisions;
mod explain;
pub mod guard;
pub mod origin;
pub mod recorded;
mod shadow;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::{bounds, leftover};
use crate::gate::{Gate, unix_now};
use crate::live::reload::Reloader;
use crate::management::Api;
use crate::panel;
use crate::telemetry::exposition::Format;
use decisions::{Readers, decisions};
use explain::explained;
use guard::guard;
use origin::Audience;

/// What the door serves with.
#[derive(Clone, Debug)]
pub struct Admin {
    pub gate: Arc<Gate>,
    pub reloader: Reloader,
    pub audience: Audience,
    /// The name and address of every open door.
    pub doors: Arc<[(&'static str, String)]>,
    pub management: Option<Arc<Api>>,
}

pub fn router(admin: Admin) -> Router {
    let readers = Readers::default();
    let operator = Router::new()
        .route("/reload", post(reload))
        .route("/reloads", get(reloads))
        .route("/explain", post(explained))
        .route("/decisions", get(async move |state, request| decisions(state, readers.clone(), request).await))
        .route("/shadow", get(shadow::report).delete(shadow::clear))
        .route_layer(from_fn_with_state(admin.clone(), guard))
        .layer(DefaultBodyLimit::max(bounds::ADMIN_BODY));
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"status": "alive"})) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(jwks))
        .merge(operator)
        .fallback(managed)
        .with_state(admin.clone())
        .merge(panel::router(admin))
        .layer(from_fn(leftover::layer))
}

/// `{"error","message"}`, as at every other door.
fn problem(status: StatusCode, error: &str, message: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(json!({"error": error, "message": message}))).into_response()
}

/// Whatever is not the door's own is for the management API, where there is one.
async fn managed(State(admin): State<Admin>, request: Request) -> Response {
    match &admin.management {
        Some(api) => api.serve(request).await,
        None => {
            let message = "Known are /panel, /healthz, /readyz, /metrics, /reload, /explain, /decisions and /shadow; a `store` adds more";
            problem(StatusCode::NOT_FOUND, "not_found", message)
        }
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    let status = admin.gate.live.status();
    let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(status)).into_response()
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::preferred(&accept.join(","));
    ([(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")], format.write(&admin.gate.measured())).into_response()
}

/// The public keys of `forward.assertion` (RFC 7517 §5): nobody's secret, and for services that ask without a credential.
async fn jwks(State(admin): State<Admin>) -> Response {
    let guard = admin.gate.live.current();
    let Some(assertion) = guard.as_deref().and_then(|snapshot| snapshot.assertion.as_ref()) else {
        return problem(StatusCode::NOT_FOUND, "not_found", "Nothing is signed; `forward.assertion` of the configuration does");
    };
    let headers =
        [(header::CONTENT_TYPE, "application/jwk-set+json".to_owned()), (header::CACHE_CONTROL, format!("public, max-age={}", assertion.ttl()))];
    (headers, assertion.jwks(unix_now()).to_string()).into_response()
}

/// The last reloads, the latest first.
async fn reloads(State(admin): State<Admin>) -> Response {
    let list = admin.gate.live.reloads();
    let list: Vec<_> = list.iter().map(AsRef::as_ref).collect();
    ([(header::CACHE_CONTROL, "no-store")], Json(json!({"reloads": list}))).into_response()
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
