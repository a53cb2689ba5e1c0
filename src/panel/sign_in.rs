//! A token that somebody types into a session that stands for it, and the page to type it on.
//! Shows no token, puts none into a cookie or an address, and tells nobody why one does not count.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use zeroize::Zeroizing;

use super::form::{Field, Sent};
use super::guard::{COOKIE, see_other, session_of};
use super::page::{Here, failure, head};
use super::session::{Credential, LIFETIME};
use super::{Desk, HOME};
use crate::credential::Place;
use crate::limits::gcra::{Limit, Until};
use crate::policy::Reason;
use crate::principal::record::Rate;

pub const PATH: &str = "/panel/sign-in";

/// Of everybody together: tokens cannot be guessed, and nobody types faster.
const ATTEMPTS: Rate = Rate { count: 30, seconds: 60, burst: 15 };

/// How many sign-ins there were lately.
pub struct Attempts {
    origin: Instant,
    until: Mutex<Until>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { origin: Instant::now(), until: Mutex::default() }
    }
}

impl Attempts {
    fn take(&self) -> bool {
        let now = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, taken) = Limit::of(ATTEMPTS).take(*until, now);
        *until = next;
        taken.outcome.is_ok()
    }
}

/// The page alone, without anything of what is behind it.
pub fn page(status: StatusCode, back: &str, message: Option<&str>) -> Response {
    bare(
        status,
        "Sign in",
        &html! {
            @if let Some(message) = message { (failure(message, &[])) }
            (form(back))
        },
    )
}

/// For a request that another site's page may have made.
pub fn foreign() -> Response {
    bare(
        StatusCode::FORBIDDEN,
        "Not from here",
        &html! {
            p { "Another site led here, or this address is none of the panel's own. Nothing was shown or done." }
            p { "Type the address of the panel yourself, or go on from here: " a href=(HOME) { "open the panel" } "." }
        },
    )
}

fn bare(status: StatusCode, title: &str, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { (head(title)) }
            body.bare {
                main id="main" {
                    p.brand { "Scopegate" }
                    h1 { (title) }
                    (body)
                }
            }
        }
    };
    (status, page).into_response()
}

fn form(back: &str) -> Markup {
    let token = Field {
        name: "token",
        label: "Token",
        hint: "As a client of the gate would show it. It is kept in memory until you sign out, at most 12 hours.",
        kind: "password",
        required: true,
        ..Field::default()
    };
    html! {
        form method="post" action=(PATH) {
            (token.show())
            @if is_ours(back) { input type="hidden" name="back" value=(back); }
            button type="submit" { "Sign in" }
        }
    }
}

pub async fn show(desk: Desk) -> Response {
    if desk.panel.admin.audience.is_local() {
        return desk.page(Here::SignIn, "Sign in", &form(desk.asked.get("back")));
    }
    page(StatusCode::OK, desk.asked.get("back"), None)
}

pub async fn sign_in(desk: Desk, headers: HeaderMap, Sent(form): Sent) -> Response {
    let back = form.get("back");
    if !desk.panel.attempts.take() {
        return page(StatusCode::TOO_MANY_REQUESTS, back, Some("There were too many attempts; wait a minute."));
    }
    let token = Zeroizing::new(form.get("token").to_owned());
    match desk.credential(&token).await {
        Ok(credential) => {
            // A session that the browser still has is not another's to find.
            if let Some(old) = session_of(&headers) {
                desk.panel.sessions.end(old);
            }
            let Some(cookie) = desk.panel.sessions.begin(credential, Instant::now()) else {
                return page(StatusCode::SERVICE_UNAVAILABLE, back, Some("The system gives no randomness."));
            };
            let secure = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https:"));
            set_cookie(see_other(if is_ours(back) { back } else { HOME }), &cookie, LIFETIME.as_secs(), secure)
        }
        Err(reason) if reason.status() == 503 => page(StatusCode::SERVICE_UNAVAILABLE, back, Some(reason.message())),
        Err(Reason::InsufficientScope) => page(StatusCode::FORBIDDEN, back, Some("This token does not have scopegate:admin scope.")),
        Err(_) => page(StatusCode::UNAUTHORIZED, back, Some("Missing or invalid token.")),
    }
}

pub async fn sign_out(desk: Desk, headers: HeaderMap) -> Response {
    if let Some(session) = session_of(&headers) {
        desk.panel.sessions.end(session);
    }
    set_cookie(see_other(HOME), "", 0, false)
}

fn set_cookie(mut response: Response, value: &str, seconds: u64, secure: bool) -> Response {
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// A page of the panel, and nothing that a browser could read as another site.
fn is_ours(back: &str) -> bool {
    let rest = back.strip_prefix(HOME);
    let begins = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    begins && !back.starts_with(PATH) && !back.contains("//") && back.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

impl Desk {
    /// The token where the first source that knows it reads it.
    async fn credential(&self, token: &str) -> Result<Credential, Reason> {
        let mut places: Vec<Place> = Vec::new();
        if let Some(snapshot) = self.panel.admin.gate.live.current().as_deref() {
            for place in snapshot.sources.list().iter().flat_map(|source| &source.places) {
                if !places.contains(place) {
                    places.push(place.clone());
                }
            }
        } else {
            return Err(Reason::NotReady);
        }
        let mut worst = Reason::InvalidCredential;
        for place in places {
            let credential = Credential::new(place, Zeroizing::new(token.to_owned()));
            // Otherwise a source that takes anybody would.
            if credential.headers().is_empty() {
                continue;
            }
            match self.panel.judge(&credential).await {
                Ok(_) => return Ok(credential),
                Err(reason) if reason.status() == 503 || reason == Reason::InsufficientScope => worst = reason,
                Err(_) => {}
            }
        }
        Err(worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_comes_back_to_a_page_of_the_panel_alone() {
        for good in ["/panel", "/panel?q=1", "/panel/routes?q=GET+%2Fa"] {
            assert!(is_ours(good), "{good}");
        }
        for bad in ["", "/", "//evil.test", "/panel//evil.test", "/panelx", "https://evil.test/panel", "/panel\\evil", "/panel\r\nx: y", PATH] {
            assert!(!is_ours(bad), "{bad:?}");
        }
    }

    #[test]
    fn sign_ins_are_bounded() {
        let attempts = Attempts::default();
        assert_eq!((0..1000).filter(|_| attempts.take()).count(), 15);
    }
}
