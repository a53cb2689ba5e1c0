//! `/panel/keys`: managed keys, made, rotated, switched off and on, and revoked.
//! Shows a secret on the one page that answers its making, and on no other.

use axum::extract::Path;
use axum::http::Method;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::Desk;
use super::client::{Answer, Call, Refusal, list, text, texts};
use super::form::{Field, Form, Sent, address, once, segment};
use super::guard::see_other;
use super::page::{Here, badge, chips, done, instant};
use crate::gate::unix_now;

pub const PATH: &str = "/panel/keys";
const FIELDS: [&str; 7] = ["name", "scopes", "roles", "tenant", "expires_at", "rate_limit", "grace_seconds"];

pub async fn index(desk: Desk) -> Response {
    let target = address("/tenant/api-keys", [("limit", "50"), ("cursor", desk.asked.get("cursor"))]);
    let answer = match desk.call(Call::get(&target)).await {
        Ok(answer) => answer,
        Err(refusal) => return desk.refused(Here::Keys, "Keys", &refusal),
    };
    let (keys, next) = (list(&answer.body, "keys"), answer.text("next_cursor"));
    desk.page(
        Here::Keys,
        "Keys",
        &html! {
            p.lead { "Keys of the store, by id. Their secrets are kept nowhere; what is kept only recognizes them." }
            @if desk.asked.get("done") == "deleted" { (done("The key is revoked: old and new secret stopped at once.")) }
            p { a.button href="/panel/keys/new" { "Make a key" } }
            (table(keys))
            @if !next.is_empty() { nav.pages aria-label="Pages of the list" { a rel="next" href=(address(PATH, [("cursor", next)])) { "Next" } } }
        },
    )
}

fn table(keys: &[Value]) -> Markup {
    let now = unix_now();
    html! {
        @if keys.is_empty() { p.empty { "There is no key yet." } } @else {
            table.cards {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Key" } th scope="col" { "Tenant" } th scope="col" { "Scopes" } th scope="col" { "State" } th scope="col" { "Last used" } th.right scope="col" { "Requests" } } }
                tbody {
                    @for key in keys {
                        tr {
                            th scope="row" { a href=(link(text(key, "id"))) { (text(key, "name")) } }
                            td data-label="Key" { code { (text(key, "prefix")) "…" } }
                            td data-label="Tenant" { (or_dash(text(key, "tenant"))) }
                            td data-label="Scopes" { (chips(texts(key, "scopes"))) }
                            td data-label="State" { (state(key, now)) }
                            td data-label="Last used" { @if text(key, "last_used_at").is_empty() { span.dim { "never" } } @else { (instant(text(key, "last_used_at"), now)) } }
                            td.right data-label="Requests" { (key.get("request_count").and_then(Value::as_i64).unwrap_or_default()) }
                        }
                    }
                }
            }
        }
    }
}

pub fn or_dash(text: &str) -> Markup {
    html! { @if text.is_empty() { span.none { "–" } } @else { (text) } }
}

fn link(id: &str) -> String {
    format!("{PATH}/{}", segment(id))
}

fn state(key: &Value, now: i64) -> Markup {
    let expires = text(key, "expires_at");
    let is_over = expires.parse::<jiff::Timestamp>().is_ok_and(|end| end.as_second() <= now);
    html! {
        @if key.get("enabled") == Some(&Value::Bool(false)) { (badge("warn", "off")) } @else if is_over { (badge("bad", "expired")) } @else { (badge("good", "on")) }
        @if !expires.is_empty() { " " span.dim { @if is_over { "" } @else { "ends " } (instant(expires, now)) } }
    }
}

pub async fn new(desk: Desk) -> Response {
    desk.page(Here::Keys, "Make a key", &sheet(&desk.asked, None))
}

fn sheet(said: &Form, refusal: Option<&Refusal>) -> Markup {
    let field = |name, label, hint| Field::again(said, refusal, (name, label, hint));
    html! {
        @if let Some(refusal) = refusal { (refusal.show(&FIELDS)) }
        form.sheet method="post" action=(PATH) {
            (once())
            (Field { required: true, ..field("name", "Name", "What people call it") }.show())
            (Field { required: true, long: true, ..field("scopes", "Scopes", "None that you do not hold yourself; one or more, such as orders:read") }.show())
            (field("roles", "Roles", "None above you; may be empty").show())
            (field("tenant", "Tenant", "Yours where it is empty").show())
            (field("expires_at", "Ends at", "For example 2031-01-31T00:00:00Z; never where it is empty").show())
            (field("rate_limit", "At most", "Such as 10/s, 100/m, 1000/h; overrides the route's").show())
            div.actions { button type="submit" { "Make the key" } a.button.quiet href=(PATH) { "Cancel" } }
        }
    }
}

pub async fn create(desk: Desk, Sent(form): Sent) -> Response {
    if let Err(refusal) = desk.first(form.get("once")) {
        return desk.refused(Here::Keys, "Make a key", &refusal);
    }
    let mut body = Map::new();
    body.insert("name".into(), json!(form.get("name")));
    body.insert("scopes".into(), json!(form.words("scopes")));
    if !form.words("roles").is_empty() {
        body.insert("roles".into(), json!(form.words("roles")));
    }
    for name in ["tenant", "expires_at"] {
        if !form.get(name).is_empty() {
            body.insert(name.into(), json!(form.get(name)));
        }
    }
    if !form.get("rate_limit").is_empty() {
        body.insert("rate_limit".into(), json!({"rate": form.get("rate_limit")}));
    }
    let call = Call { once: form.get("once"), ..Call::new(Method::POST, "/tenant/api-keys", Value::Object(body)) };
    match desk.call(call).await {
        Ok(made) => desk.page(Here::Keys, "The key is made", &shown_once(&made)),
        Err(refusal) => desk.page_with(refusal.status, Here::Keys, "Make a key", &sheet(&form, Some(&refusal))),
    }
}

/// The answer to the form itself: there is no address that shows it again.
fn shown_once(made: &Answer) -> Markup {
    let now = unix_now();
    html! {
        section.box.good {
            p { strong { "Copy it now: it is shown this once." } " A reload of this page neither shows it nor makes another." }
            p.secret { (made.text("key")) }
        }
        dl.facts {
            dt { "Name" } dd { (made.text("name")) }
            dt { "Scopes" } dd { (chips(texts(&made.body, "scopes"))) }
            @if !made.text("tenant").is_empty() { dt { "Tenant" } dd { (made.text("tenant")) } }
            @if !made.text("old_key_expires_at").is_empty() { dt { "The old secret ends" } dd { (instant(made.text("old_key_expires_at"), now)) } }
        }
        p { a href=(link(made.text("id"))) { "To the key" } }
    }
}

pub async fn one(desk: Desk, Path(id): Path<String>) -> Response {
    let answer = match desk.call(Call::get(&format!("/tenant/api-keys/{}", segment(&id)))).await {
        Ok(answer) => answer,
        Err(refusal) => return desk.refused(Here::Keys, "Key", &refusal),
    };
    desk.page(Here::Keys, answer.text("name"), &details(&answer.body, None))
}

fn details(key: &Value, refusal: Option<&Refusal>) -> Markup {
    let (now, path) = (unix_now(), link(text(key, "id")));
    let is_on = key.get("enabled") == Some(&Value::Bool(true));
    let grace = Field {
        name: "grace_seconds",
        label: "The old secret goes on for",
        hint: "Seconds, 0 to 604800",
        value: "86400",
        kind: "number",
        ..Field::default()
    };
    html! {
        @if let Some(refusal) = refusal { (refusal.show(&[])) }
        dl.facts {
            dt { "State" } dd { (state(key, now)) }
            dt { "Key" } dd { code { (text(key, "prefix")) "…" } }
            dt { "Id" } dd { code { (text(key, "id")) } }
            dt { "Tenant" } dd { (or_dash(text(key, "tenant"))) }
            dt { "Scopes" } dd { (chips(texts(key, "scopes"))) }
            dt { "Roles" } dd { (chips(texts(key, "roles"))) }
            @if !text(key, "profile_id").is_empty() { dt { "Stands for" } dd { "profile " code { (text(key, "profile_id")) } } }
            @if let Some(rate) = key.get("rate_limit").and_then(|limit| limit.get("rate")).and_then(Value::as_str) { dt { "At most" } dd { (rate) } }
            dt { "Made" } dd { (instant(text(key, "created_at"), now)) }
            @if !text(key, "old_key_expires_at").is_empty() { dt { "The old secret ends" } dd { (instant(text(key, "old_key_expires_at"), now)) } }
            dt { "Requests" } dd { (key.get("request_count").and_then(Value::as_i64).unwrap_or_default()) }
        }
        div.actions {
            form method="post" action=(format!("{path}/enabled")) {
                input type="hidden" name="enabled" value=(if is_on { "no" } else { "yes" });
                button.quiet type="submit" { @if is_on { "Switch off" } @else { "Switch on" } }
            }
            a.button.danger href=(format!("{path}/delete")) { "Revoke…" }
        }
        h2 { "Rotate" }
        form.sheet method="post" action=(format!("{path}/rotate")) {
            (once())
            p { "Makes a new secret, which is shown once." }
            (grace.show())
            button type="submit" { "Rotate the key" }
        }
    }
}

pub async fn rotate(desk: Desk, Path(id): Path<String>, Sent(form): Sent) -> Response {
    if let Err(refusal) = desk.first(form.get("once")) {
        return desk.refused(Here::Keys, "Rotate a key", &refusal);
    }
    let target = format!("/tenant/api-keys/{}/rotate", segment(&id));
    // What is no number is the API's to refuse.
    let grace = form.get("grace_seconds").parse::<u64>().map_or_else(|_| json!(form.get("grace_seconds")), Value::from);
    let call = Call { once: form.get("once"), ..Call::new(Method::POST, &target, json!({"grace_seconds": grace})) };
    match desk.call(call).await {
        Ok(made) => desk.page(Here::Keys, "The key has a new secret", &shown_once(&made)),
        Err(refusal) => desk.again(&id, refusal).await,
    }
}

pub async fn enable(desk: Desk, Path(id): Path<String>, Sent(form): Sent) -> Response {
    let target = format!("/tenant/api-keys/{}", segment(&id));
    match desk.call(Call::new(Method::PATCH, &target, json!({"enabled": form.get("enabled") == "yes"}))).await {
        Ok(_) => see_other(&link(&id)),
        Err(refusal) => desk.again(&id, refusal).await,
    }
}

pub async fn confirm(desk: Desk, Path(id): Path<String>) -> Response {
    let key = match desk.call(Call::get(&format!("/tenant/api-keys/{}", segment(&id)))).await {
        Ok(answer) => answer,
        Err(refusal) => return desk.refused(Here::Keys, "Key", &refusal),
    };
    desk.page(Here::Keys, &format!("Revoke {}?", key.text("name")), &html! {
        p { "Its secrets stop at once, and it cannot be brought back. It answered " (key.body.get("request_count").and_then(Value::as_i64).unwrap_or_default()) " requests so far." }
        div.actions {
            form method="post" action=(format!("{}/delete", link(&id))) { button.danger type="submit" { "Revoke the key" } }
            a.button.quiet href=(link(&id)) { "Keep it" }
        }
    })
}

pub async fn delete(desk: Desk, Path(id): Path<String>) -> Response {
    let target = format!("/tenant/api-keys/{}", segment(&id));
    match desk.call(Call { method: Method::DELETE, ..Call::get(&target) }).await {
        Ok(_) => see_other("/panel/keys?done=deleted"),
        Err(refusal) => desk.refused(Here::Keys, "Key", &refusal),
    }
}

impl Desk {
    /// The key's page with what was not done.
    async fn again(&self, id: &str, refusal: Refusal) -> Response {
        match self.call(Call::get(&format!("/tenant/api-keys/{}", segment(id)))).await {
            Ok(key) => self.page_with(refusal.status, Here::Keys, key.text("name"), &details(&key.body, Some(&refusal))),
            Err(_) => self.refused(Here::Keys, "Key", &refusal),
        }
    }
}
