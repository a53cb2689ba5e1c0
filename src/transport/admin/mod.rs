//! The operator's door: alive, ready, metrics, reload, explain, the panel.
//! Health never evaluates a credential; what changes or reveals something does, unless only this machine can reach the door.

mod explain;
pub mod guard;
pub mod origin;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::bounds;
use crate::gate::Gate;
use crate::live::reload::Reloader;
use crate::management::Api;
use crate::panel;
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
        .with_state(admin.clone())
        .merge(panel::router(admin))
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
            problem(StatusCode::NOT_FOUND, "not_found", "Known are /panel, /healthz, /readyz, /metrics, /reload and /explain; a `store` adds more")
        }
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
