//! A request for a page into its visitor, or into a page that shows nothing but where to sign in.
//! Believes no session: the credential behind it is judged anew, by the gate's own judge, for every page.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::session::{Credential, SessionId};
use super::{Panel, sign_in};
use crate::gate::decide;
use crate::policy::{Outcome, Reason};
use crate::request::query::Found;
use crate::request::{Body, Headers, Link, RawRequest, Values, cookie};
use crate::transport::admin::guard::{ADMIN_SCOPE, operator_policy};

pub const COOKIE: &str = "scopegate_panel";
/// Said by a page that asks again by itself.
const BY_ITSELF: &str = "x-panel-poll";

/// Who looks at a page.
#[derive(Clone, Default)]
pub struct Visitor(Option<Arc<SignedIn>>);

/// Who has signed in, as the judge says now.
pub struct SignedIn {
    pub name: Name,
    pub session: SessionId,
    pub credential: Arc<Credential>,
}

/// A caller as a page names it.
#[derive(Clone, Debug)]
pub struct Name {
    pub id: String,
    /// The source's name.
    pub credential: String,
    pub tenant: Option<String>,
}

impl Visitor {
    pub fn signed_in(&self) -> Option<&SignedIn> {
        self.0.as_deref()
    }
}

impl FromRequestParts<Panel> for Visitor {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _panel: &Panel) -> Result<Self, StatusCode> {
        // Only the guard puts it there.
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::UNAUTHORIZED)
    }
}

/// Lets visitors to the pages: whoever is on this machine, or has signed in as an operator.
pub async fn guard(State(panel): State<Panel>, mut request: Request, next: Next) -> Response {
    let audience = panel.admin.audience;
    if audience.is_foreign(request.method(), request.headers()) {
        return sign_in::foreign();
    }
    let visitor = panel.visitor(request.headers()).await;
    let is_open = request.uri().path() == sign_in::PATH;
    if audience.is_local() || is_open || visitor.0.is_some() {
        request.extensions_mut().insert(visitor);
        return next.run(request).await;
    }
    // Where a form was sent, there is no page to come back to.
    let back = if request.method() == Method::GET { request.uri().path_and_query().map_or("", |whole| whole.as_str()) } else { "" };
    sign_in::page(StatusCode::UNAUTHORIZED, back, None)
}

/// Tells the browser what a page may do: next to nothing.
pub async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HARDENED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// `same-origin` and not `no-referrer`: with that, browsers send `Origin: null` with our own forms (Fetch §3.2.1), and another site learns nothing by it.
const HARDENED: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

impl Panel {
    /// Whom the request's cookie stands for now. A session ends with what its credential is worth.
    async fn visitor(&self, headers: &HeaderMap) -> Visitor {
        let Some(session) = session_of(headers) else { return Visitor::default() };
        let active = !headers.contains_key(BY_ITSELF);
        let Some(credential) = self.sessions.find(session, active, Instant::now()) else { return Visitor::default() };
        match self.judge(&credential).await {
            Ok(name) => Visitor(Some(Arc::new(SignedIn { name, session, credential }))),
            // Nobody can say; it may count again.
            Err(reason) if reason.status() == 503 => Visitor::default(),
            Err(_) => {
                self.sessions.end(session);
                Visitor::default()
            }
        }
    }

    /// Whether the visitor's session would be let in again.
    pub async fn still(&self, visitor: &Visitor) -> bool {
        match visitor.signed_in() {
            Some(signed) => self.sessions.find(signed.session, false, Instant::now()).is_some() && self.judge(&signed.credential).await.is_ok(),
            None => self.admin.audience.is_local(),
        }
    }

    /// Whose the credential is, where it suffices for the panel.
    pub async fn judge(&self, credential: &Credential) -> Result<Name, Reason> {
        let guard = self.admin.gate.live.current();
        let snapshot = guard.as_deref().ok_or(Reason::NotReady)?;
        // On this machine everybody may look; to sign in is to have a name there.
        let needed = if self.admin.audience.is_local() { "" } else { ADMIN_SCOPE };
        let headers = credential.headers();
        let raw = RawRequest { method: b"POST", target: b"/panel", host: None, headers: &headers, link: Link::default() };
        let policy = operator_policy();
        let decision = decide(&policy, snapshot, &raw, (Body::Unread, needed)).await;
        match (&decision.outcome, &decision.caller) {
            (Outcome::Allow(_), Some(caller)) => {
                Ok(Name { id: caller.id().to_owned(), credential: caller.credential.to_owned(), tenant: caller.tenant().map(str::to_owned) })
            }
            (Outcome::Deny(denial), _) => Err(denial.reason),
            (Outcome::Allow(_) | Outcome::Inspect { .. } | Outcome::Wait(_) | Outcome::Preflight(_), _) => Err(Reason::InvalidCredential),
        }
    }
}

/// The session that a request's cookie names, if it names exactly one.
pub fn session_of(headers: &HeaderMap) -> Option<SessionId> {
    let Values::One(cookies) = Headers::get(headers, "cookie") else { return None };
    match cookie::read(cookies, COOKIE) {
        Found::One(value) => Some(SessionId::of(&value)),
        Found::None | Found::Many | Found::Malformed => None,
    }
}

/// Another place to look at.
pub fn see_other(place: &str) -> Response {
    let place = HeaderValue::from_str(place).unwrap_or(HeaderValue::from_static(super::HOME));
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}
