//! `GET /shadow`: who would be denied if nothing were in shadow, and what is; `DELETE /shadow` begins to count anew.
//! Changes nothing of what is decided.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Admin;
use crate::policy::shadow::InShadow;
use crate::telemetry::shadow::Report;

#[derive(Serialize)]
struct Told {
    /// Of tokens and routes, as they are now.
    generation: u64,
    in_shadow: Option<InShadow>,
    #[serde(flatten)]
    report: Report,
}

/// JSON, or a table for whoever asks for `text/plain`.
pub async fn report(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let (generation, in_shadow) = match admin.gate.live.current().as_deref() {
        None => (0, None),
        Some(snapshot) => (snapshot.generation, snapshot.policy.in_shadow(&snapshot.sources)),
    };
    let told = Told { generation, in_shadow, report: admin.gate.telemetry.shadow.report() };
    let wants_text = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/plain"));
    let cache = [(header::CACHE_CONTROL, "no-store")];
    if !wants_text {
        return (cache, Json(told)).into_response();
    }
    let shadow = told.in_shadow.map_or_else(|| "nothing is in shadow".to_owned(), |shadow| shadow.to_string());
    (cache, format!("{shadow}\n{}", told.report)).into_response()
}

pub async fn clear(State(admin): State<Admin>) -> StatusCode {
    admin.gate.telemetry.shadow.clear();
    StatusCode::NO_CONTENT
}
