//! `/panel/profiles`: who a session token's e-mail address or a key stands for.
//! Changes what the API lets the visitor change, and nothing else.

use axum::extract::Path;
use axum::http::Method;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::Desk;
use super::client::{Call, Refusal, list, text, texts};
use super::form::{Field, Form, Sent, address, once, segment};
use super::guard::see_other;
use super::keys::or_dash;
use super::page::{Here, badge, chips, done};

pub const PATH: &str = "/panel/profiles";
const FIELDS: [&str; 4] = ["email", "scopes", "roles", "tenant"];

pub async fn index(desk: Desk) -> Response {
    let asked = |name| desk.asked.get(name);
    let target = address("/profiles", [("limit", "50"), ("email", asked("email")), ("tenant", asked("tenant")), ("cursor", asked("cursor"))]);
    let answer = match desk.call(Call::get(&target)).await {
        Ok(answer) => answer,
        Err(refusal) => return desk.refused(Here::Profiles, "Profiles", &refusal),
    };
    let next = answer.text("next_cursor");
    desk.page(Here::Profiles, "Profiles", &html! {
        p.lead { "People, by their e-mail address. A session token without a profile is nobody." }
        @if asked("done") == "deleted" { (done("The profile is gone.")) }
        form.filter role="search" method="get" action=(PATH) {
            div.wide { label for="email" { "E-mail" } input id="email" name="email" type="email" value=(asked("email")) autocomplete="off"; }
            div { label for="tenant" { "Tenant" } input id="tenant" name="tenant" value=(asked("tenant")) autocomplete="off"; }
            button.quiet type="submit" { "Search" }
        }
        p { a.button href="/panel/profiles/new" { "Make a profile" } }
        (table(list(&answer.body, "profiles")))
        @if !next.is_empty() { nav.pages aria-label="Pages of the list" { a rel="next" href=(desk.asked.with(PATH, &[("cursor", next)])) { "Next" } } }
    })
}

fn table(profiles: &[Value]) -> Markup {
    html! {
        @if profiles.is_empty() { p.empty { "There is no such profile." } } @else {
            table.cards {
                thead { tr { th scope="col" { "E-mail" } th scope="col" { "State" } th scope="col" { "Tenant" } th scope="col" { "Scopes" } th scope="col" { "Roles" } } }
                tbody {
                    @for profile in profiles {
                        tr {
                            th scope="row" { a href=(link(text(profile, "id"))) { (text(profile, "email")) } }
                            td data-label="State" { @if is_on(profile) { (badge("good", "on")) } @else { (badge("warn", "off")) } }
                            td data-label="Tenant" { (or_dash(text(profile, "tenant"))) }
                            td data-label="Scopes" { (chips(texts(profile, "scopes"))) }
                            td data-label="Roles" { (chips(texts(profile, "roles"))) }
                        }
                    }
                }
            }
        }
    }
}

fn is_on(profile: &Value) -> bool {
    profile.get("enabled") == Some(&Value::Bool(true))
}

fn link(id: &str) -> String {
    format!("{PATH}/{}", segment(id))
}

pub async fn new(desk: Desk) -> Response {
    let said = Form::of([("enabled", "yes".to_owned())]);
    desk.page(Here::Profiles, "Make a profile", &sheet(PATH, &said, None))
}

fn sheet(action: &str, said: &Form, refusal: Option<&Refusal>) -> Markup {
    let field = |name, label, hint| Field::again(said, refusal, (name, label, hint));
    html! {
        @if let Some(refusal) = refusal { (refusal.show(&FIELDS)) }
        form.sheet method="post" action=(action) {
            (once())
            (Field { required: true, kind: "email", ..field("email", "E-mail", "As the session token says it") }.show())
            (Field { long: true, ..field("scopes", "Scopes", "None that you do not hold yourself") }.show())
            (field("roles", "Roles", "None above you").show())
            @if action == PATH { (field("tenant", "Tenant", "Yours where it is empty").show()) }
            div.field { label.check { input type="checkbox" name="enabled" value="yes" checked[!said.get("enabled").is_empty()]; "On: whoever it is may come in" } }
            div.actions { button type="submit" { @if action == PATH { "Make the profile" } @else { "Save" } } a.button.quiet href=(PATH) { "Cancel" } }
        }
    }
}

fn body(form: &Form) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("email".into(), json!(form.get("email")));
    body.insert("enabled".into(), json!(form.get("enabled") == "yes"));
    body.insert("scopes".into(), json!(form.words("scopes")));
    body.insert("roles".into(), json!(form.words("roles")));
    body
}

pub async fn create(desk: Desk, Sent(form): Sent) -> Response {
    if let Err(refusal) = desk.first(form.get("once")) {
        return desk.refused(Here::Profiles, "Make a profile", &refusal);
    }
    let mut body = body(&form);
    if !form.get("tenant").is_empty() {
        body.insert("tenant".into(), json!(form.get("tenant")));
    }
    let call = Call { once: form.get("once"), ..Call::new(Method::POST, "/profiles", Value::Object(body)) };
    match desk.call(call).await {
        Ok(made) => see_other(&link(made.text("id"))),
        Err(refusal) => desk.page_with(refusal.status, Here::Profiles, "Make a profile", &sheet(PATH, &form, Some(&refusal))),
    }
}

pub async fn one(desk: Desk, Path(id): Path<String>) -> Response {
    let profile = match desk.call(Call::get(&format!("/profiles/{}", segment(&id)))).await {
        Ok(answer) => answer,
        Err(refusal) => return desk.refused(Here::Profiles, "Profile", &refusal),
    };
    let joined = |member: &str| texts(&profile.body, member).join(" ");
    let said = Form::of([
        ("email", profile.text("email").to_owned()),
        ("scopes", joined("scopes")),
        ("roles", joined("roles")),
        ("enabled", if is_on(&profile.body) { "yes".to_owned() } else { String::new() }),
    ]);
    desk.page(
        Here::Profiles,
        profile.text("email"),
        &html! {
            dl.facts { dt { "Id" } dd { code { (profile.text("id")) } } dt { "Tenant" } dd { (or_dash(profile.text("tenant"))) } }
            (sheet(&link(&id), &said, None))
            form method="post" action=(format!("{}/delete", link(&id))) { button.danger type="submit" { "Delete the profile" } }
        },
    )
}

pub async fn change(desk: Desk, Path(id): Path<String>, Sent(form): Sent) -> Response {
    let target = format!("/profiles/{}", segment(&id));
    match desk.call(Call::new(Method::PATCH, &target, Value::Object(body(&form)))).await {
        Ok(_) => see_other(PATH),
        Err(refusal) => desk.page_with(refusal.status, Here::Profiles, form.get("email"), &sheet(&link(&id), &form, Some(&refusal))),
    }
}

pub async fn delete(desk: Desk, Path(id): Path<String>) -> Response {
    let target = format!("/profiles/{}", segment(&id));
    match desk.call(Call { method: Method::DELETE, ..Call::get(&target) }).await {
        Ok(_) => see_other("/panel/profiles?done=deleted"),
        Err(refusal) => desk.refused(Here::Profiles, "Profile", &refusal),
    }
}
