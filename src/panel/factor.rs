//! `/panel/factor`: the visitor's own second factor, set up with a picture, proved with a code, ended with another.
//! Shows a secret or backup codes on the one page that answers their making, and on no other.

use axum::http::{Method, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::Desk;
use super::client::{Answer, Call, Refusal, texts};
use super::form::{Field, Sent, once};
use super::guard::see_other;
use super::page::{Here, badge, done, instant};
use crate::gate::unix_now;

pub const PATH: &str = "/panel/factor";
const TITLE: &str = "Second factor";

pub async fn show(desk: Desk) -> Response {
    let notice = match desk.asked.get("done") {
        "off" => Some("The second factor is off. Tokens that were given for it count no more."),
        _ => None,
    };
    desk.factor(StatusCode::OK, &html! { @if let Some(notice) = notice { (done(notice)) } }).await
}

impl Desk {
    /// The page as things stand, with what there is to say first.
    async fn factor(&self, status: StatusCode, first: &Markup) -> Response {
        let codes = match self.call(Call::get("/mfa/backup-codes")).await {
            Ok(codes) => codes,
            Err(refusal) => return self.refused(Here::Factor, TITLE, &refusal),
        };
        let made = codes.text("generated_at");
        self.page_with(
            status,
            Here::Factor,
            TITLE,
            &html! {
                p.lead { "Yours alone: routes that ask for a second factor ask for a code of your authenticator." }
                (first)
                @if made.is_empty() { (off()) } @else { (on(&codes, made)) }
            },
        )
    }

    async fn not_done(&self, refusal: &Refusal) -> Response {
        self.factor(refusal.status, &refusal.show(&[])).await
    }

    async fn mfa(&self, target: &str, body: Value) -> Result<Answer, Refusal> {
        self.call(Call::new(Method::POST, target, body)).await
    }
}

fn off() -> Markup {
    html! {
        p { (badge("", "off")) }
        form.sheet method="post" action="/panel/factor/setup" {
            (once())
            p { "You need an authenticator app. A new secret is shown once, and waits ten minutes for its first code." }
            button type="submit" { "Set it up" }
        }
    }
}

fn on(codes: &Answer, made: &str) -> Markup {
    let left = codes.body.get("remaining").and_then(Value::as_i64).unwrap_or_default();
    html! {
        dl.facts {
            dt { "State" } dd { (badge("good", "on")) }
            dt { "Backup codes" } dd { (left) " left, made " (instant(made, unix_now())) }
        }
        h2 { "New backup codes" }
        form.sheet method="post" action="/panel/factor/codes" {
            (once())
            p { "They take the place of the others, and are shown once." }
            (code("codes-code"))
            button type="submit" { "Make new codes" }
        }
        h2 { "Turn it off" }
        form.sheet method="post" action="/panel/factor/off" {
            (code("off-code"))
            button.danger type="submit" { "Turn it off" }
        }
    }
}

/// Each form of a page has a field of its own name.
fn code(name: &str) -> Markup {
    Field { name, label: "Code", hint: "Six digits of the authenticator, or a backup code", required: true, ..Field::default() }.show()
}

pub async fn setup(desk: Desk, Sent(form): Sent) -> Response {
    if let Err(refusal) = desk.first(form.get("once")) {
        return desk.refused(Here::Factor, TITLE, &refusal);
    }
    match desk.mfa("/mfa/setup", json!({})).await {
        Ok(made) => desk.page(Here::Factor, "Scan and prove", &picture(&made)),
        Err(refusal) => desk.not_done(&refusal).await,
    }
}

fn picture(made: &Answer) -> Markup {
    let image = format!("data:image/svg+xml;base64,{}", STANDARD.encode(made.text("qr_svg")));
    html! {
        p.lead { "Scan the picture with an authenticator, or type its secret. Neither is shown again." }
        p { img.qr src=(image) alt="QR code of the new secret, which stands below as text"; }
        p.secret { (made.text("secret")) }
        (prove(None))
    }
}

fn prove(refusal: Option<&Refusal>) -> Markup {
    html! {
        @if let Some(refusal) = refusal { (refusal.show(&[])) }
        form.sheet method="post" action="/panel/factor/verify" {
            (once())
            (code("code"))
            button type="submit" { "Turn it on" }
        }
    }
}

/// The first code of the new secret turns it on.
pub async fn verify(desk: Desk, Sent(form): Sent) -> Response {
    if let Err(refusal) = desk.first(form.get("once")) {
        return desk.refused(Here::Factor, TITLE, &refusal);
    }
    if let Err(refusal) = desk.mfa("/mfa/verify", json!({"code": form.get("code")})).await {
        return desk.page_with(refusal.status, Here::Factor, "Scan and prove", &prove(Some(&refusal)));
    }
    match desk.mfa("/mfa/enable", json!({})).await {
        Ok(made) => desk.page(Here::Factor, "The second factor is on", &shown_once(&made)),
        Err(refusal) => desk.not_done(&refusal).await,
    }
}

pub async fn codes(desk: Desk, Sent(form): Sent) -> Response {
    if let Err(refusal) = desk.first(form.get("once")) {
        return desk.refused(Here::Factor, TITLE, &refusal);
    }
    match desk.mfa("/mfa/backup-codes", json!({"code": form.get("codes-code")})).await {
        Ok(made) => desk.page(Here::Factor, "New backup codes", &shown_once(&made)),
        Err(refusal) => desk.not_done(&refusal).await,
    }
}

fn shown_once(made: &Answer) -> Markup {
    html! {
        section.box.good {
            p { strong { "Copy the backup codes now: they are shown this once." } " Each is good for one time, where the authenticator is out of reach." }
            ol.codes { @for code in texts(&made.body, "backup_codes") { li { (code) } } }
        }
        p { a href=(PATH) { "To the second factor" } }
    }
}

pub async fn disable(desk: Desk, Sent(form): Sent) -> Response {
    match desk.mfa("/mfa/disable", json!({"code": form.get("off-code")})).await {
        Ok(_) => see_other("/panel/factor?done=off"),
        Err(refusal) => desk.not_done(&refusal).await,
    }
}
