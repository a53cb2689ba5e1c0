//! The operator's pages on the admin door: what is in force, what happens, and what is in the store, drawn on the server.
//! Decides nothing and holds nothing: reads the snapshot, and changes things as a client of the management API alone.

mod assets;
mod chart;
mod client;
mod decision;
mod decisions;
mod explain;
mod factor;
mod form;
mod guard;
mod key_sets;
mod keys;
mod overview;
mod page;
mod people;
mod profiles;
mod rates;
mod reloads;
mod revocations;
mod roles;
mod rules;
mod session;
mod shadow;
mod sign_in;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};

use tokio::sync::Semaphore;

use crate::transport::admin::Admin;
use form::Form;
use guard::Visitor;
use session::Sessions;
use sign_in::Attempts;

const HOME: &str = "/panel";
/// Pages that watch at the same time.
const STREAMS: usize = 16;

/// What pages are made of.
#[derive(Clone)]
struct Panel {
    pub admin: Admin,
    sessions: Arc<Sessions>,
    attempts: Arc<Attempts>,
    /// Who may walk over all that are known; a walk over a million takes a core for a second.
    walks: Arc<Semaphore>,
    /// Who may watch decisions; each may have some megabytes waiting.
    streams: Arc<Semaphore>,
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
    let panel = Panel {
        admin,
        sessions: Arc::default(),
        attempts: Arc::default(),
        walks: Arc::new(Semaphore::new(1)),
        streams: Arc::new(Semaphore::new(STREAMS)),
    };
    let pages = watched().merge(managed()).route_layer(from_fn_with_state(panel.clone(), guard::guard));
    Router::new()
        .route("/", get(|| async { guard::see_other(HOME).into_response() }))
        .route("/panel/assets/{name}", get(assets::serve))
        .merge(pages)
        .route_layer(from_fn(guard::harden))
        .with_state(panel)
}

/// What is in force and what happens.
fn watched() -> Router<Panel> {
    Router::new()
        .route(HOME, get(overview::show))
        .route("/panel/reload", post(overview::reload))
        .route(decisions::PATH, get(decisions::show))
        .route("/panel/decisions/stream", get(decisions::stream))
        .route("/panel/decision", get(decision::show))
        .route(reloads::PATH, get(reloads::show))
        .route(shadow::PATH, get(shadow::show))
        .route("/panel/shadow/clear", post(shadow::clear))
        .route(rules::PATH, get(rules::list))
        .route("/panel/route", get(rules::one))
        .route(people::PATH, get(people::list))
        .route("/panel/principal", get(people::one))
        .route("/panel/explain", get(explain::show))
        .route("/panel/key-sets", get(key_sets::show))
        .route(sign_in::PATH, get(sign_in::show).post(sign_in::sign_in))
        .route("/panel/sign-out", post(sign_in::sign_out))
        .route("/panel/{*path}", get(|desk: Desk| async move { desk.missing("There is no such page.") }))
}

/// What is in the store.
fn managed() -> Router<Panel> {
    Router::new()
        .route(keys::PATH, get(keys::index).post(keys::create))
        .route("/panel/keys/new", get(keys::new))
        .route("/panel/keys/{id}", get(keys::one))
        .route("/panel/keys/{id}/rotate", post(keys::rotate))
        .route("/panel/keys/{id}/enabled", post(keys::enable))
        .route("/panel/keys/{id}/delete", get(keys::confirm).post(keys::delete))
        .route(roles::PATH, get(roles::index).post(roles::create))
        .route("/panel/roles/new", get(roles::new))
        .route("/panel/roles/{name}", get(roles::one).post(roles::replace))
        .route("/panel/roles/{name}/delete", post(roles::delete))
        .route(roles::ASSIGNED, get(roles::assignments).post(roles::assign))
        .route(profiles::PATH, get(profiles::index).post(profiles::create))
        .route("/panel/profiles/new", get(profiles::new))
        .route("/panel/profiles/{id}", get(profiles::one).post(profiles::change))
        .route("/panel/profiles/{id}/delete", post(profiles::delete))
        .route(revocations::PATH, get(revocations::show).post(revocations::revoke))
        .route(factor::PATH, get(factor::show))
        .route("/panel/factor/setup", post(factor::setup))
        .route("/panel/factor/verify", post(factor::verify))
        .route("/panel/factor/codes", post(factor::codes))
        .route("/panel/factor/off", post(factor::disable))
}
