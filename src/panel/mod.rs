//! The operator's pages on the admin door: what is in force, what happens, and what is in the store, drawn on the server.
//! Decides nothing and holds nothing: reads the snapshot, and changes things as a client of the management API alone.

mod assets;
mod form;
mod guard;
mod overview;
mod page;
mod session;
mod sign_in;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};

use crate::transport::admin::Admin;
use form::Form;
use guard::Visitor;
use session::Sessions;
use sign_in::Attempts;

const HOME: &str = "/panel";

/// What pages are made of.
#[derive(Clone)]
struct Panel {
    pub admin: Admin,
    sessions: Arc<Sessions>,
    attempts: Arc<Attempts>,
}

/// A request for a page: what there is to show, who looks, and what was asked.
struct Desk {
    pub panel: Panel,
    pub visitor: Visitor,
    pub asked: Form,
}

impl FromRequestParts<Panel> for Desk {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, panel: &Panel) -> Result<Self, StatusCode> {
        let visitor = Visitor::from_request_parts(parts, panel).await?;
        let asked = Form::from_request_parts(parts, panel).await?;
        Ok(Self { panel: panel.clone(), visitor, asked })
    }
}

pub fn router(admin: Admin) -> Router {
    let panel = Panel { admin, sessions: Arc::default(), attempts: Arc::default() };
    let pages = Router::new()
        .route(HOME, get(overview::show))
        .route("/panel/reload", post(overview::reload))
        .route(sign_in::PATH, get(sign_in::show).post(sign_in::sign_in))
        .route("/panel/sign-out", post(sign_in::sign_out))
        .route("/panel/{*path}", get(|desk: Desk| async move { desk.missing("There is no such page.") }))
        .route_layer(from_fn_with_state(panel.clone(), guard::guard));
    Router::new()
        .route("/", get(|| async { guard::see_other(HOME).into_response() }))
        .route("/panel/assets/{name}", get(assets::serve))
        .merge(pages)
        .route_layer(from_fn(guard::harden))
        .with_state(panel)
}
