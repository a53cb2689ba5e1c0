//! `/panel/revocations`: refuse a token, everything of a subject, or a credential from now on.
//! Takes no token, only what names one.

use axum::http::{Method, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::Desk;
use super::client::{Answer, Call, Refusal};
use super::form::{Field, Form, Sent};
use super::page::{Here, done};

pub const PATH: &str = "/panel/revocations";
const KINDS: [(&str, &str); 3] = [
    ("credential_id", "a credential, by its id in a file or in the store"),
    ("subject", "everything of a subject"),
    ("jti", "one signed token, by its jti"),
];

pub async fn show(desk: Desk) -> Response {
    if desk.visitor.signed_in().is_none() {
        let refusal = Refusal { status: StatusCode::UNAUTHORIZED, message: "Sign in first".into(), faults: Vec::new() };
        return desk.refused(Here::Revocations, "Revoke", &refusal);
    }
    desk.page(Here::Revocations, "Revoke", &sheet(&desk.asked, None))
}

fn sheet(said: &Form, refusal: Option<&Refusal>) -> Markup {
    let chosen = Some(said.get("kind")).filter(|kind| !kind.is_empty()).unwrap_or("credential_id");
    let fault = |name: &str| refusal.and_then(|refusal| refusal.at(name));
    let field = |name, label, hint| Field { name, label, hint, value: said.get(name), fault: fault(name), ..Field::default() };
    html! {
        p.lead { "In force on this node at once, on every other within five seconds. A revocation is never shortened." }
        @if let Some(refusal) = refusal { (refusal.show(&["until", "tenant", chosen])) }
        form.sheet method="post" action=(PATH) {
            div.field {
                label for="kind" { "What" }
                select id="kind" name="kind" { @for (kind, label) in KINDS { option value=(kind) selected[kind == chosen] { (label) } } }
            }
            (Field { required: true, fault: fault(chosen), ..field("value", "Its name", "The id, the subject or the jti itself; never a token") }.show())
            (field("until", "Until", "For example 2031-01-31T00:00:00Z; for good where it is empty").show())
            (field("tenant", "Tenant", "Yours where it is empty; everybody's for a caller that reaches all").show())
            button.danger type="submit" { "Revoke" }
        }
    }
}

pub async fn revoke(desk: Desk, Sent(form): Sent) -> Response {
    let Some((kind, _)) = KINDS.iter().find(|(kind, _)| *kind == form.get("kind")) else {
        return desk.missing("There is nothing of that kind to revoke.");
    };
    let mut body = Map::new();
    body.insert((*kind).to_owned(), json!(form.get("value")));
    for name in ["until", "tenant"] {
        if !form.get(name).is_empty() {
            body.insert(name.into(), json!(form.get(name)));
        }
    }
    match desk.call(Call::new(Method::POST, "/tokens/revoke", Value::Object(body))).await {
        Ok(answer) => desk.page(Here::Revocations, "Revoke", &html! { (done(&told(&form, &answer))) (sheet(&Form::default(), None)) }),
        Err(refusal) => desk.page_with(refusal.status, Here::Revocations, "Revoke", &sheet(&form, Some(&refusal))),
    }
}

fn told(form: &Form, answer: &Answer) -> String {
    let until = answer.text("until");
    let until = if until.is_empty() { "for good".to_owned() } else { format!("until {until}") };
    let whose = match answer.text("tenant") {
        "" => String::new(),
        "*" => ", whatever the tenant".to_owned(),
        tenant => format!(", of tenant {tenant}"),
    };
    format!("{} is refused {until}{whose}.", form.get("value"))
}
