//! `/panel/roles`: roles of a tenant beside those of the configuration, and who was given which.
//! Changes none of the configuration's: those are changed in its file.

use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::Desk;
use super::client::{Call, Refusal, list, text, texts};
use super::form::{Field, Form, Sent, address, once, segment};
use super::guard::see_other;
use super::keys::or_dash;
use super::page::{Here, badge, chips, done};

pub const PATH: &str = "/panel/roles";
const FIELDS: [&str; 5] = ["name", "description", "permissions", "inherits", "tenant"];

pub async fn index(desk: Desk) -> Response {
    let tenant = desk.asked.get("tenant");
    let target = address("/rbac/roles", [("limit", "200"), ("tenant", tenant), ("cursor", desk.asked.get("cursor"))]);
    let answer = match desk.call(Call::get(&target)).await {
        Ok(answer) => answer,
        Err(refusal) => return desk.refused(Here::Roles, "Roles", &refusal),
    };
    let (roles, next) = (list(&answer.body, "roles"), answer.text("next_cursor"));
    desk.page(Here::Roles, "Roles", &html! {
        p.lead { "What a role grants holds at once for everybody who has it." }
        @if desk.asked.get("done") == "deleted" { (done("The role is gone.")) }
        (of_tenant(PATH, tenant))
        p { a.button href=(address("/panel/roles/new", [("tenant", tenant)])) { "Make a role" } }
        (table(roles, tenant))
        @if !next.is_empty() { nav.pages aria-label="Pages of the list" { a rel="next" href=(desk.asked.with(PATH, &[("cursor", next)])) { "Next" } } }
    })
}

/// For callers that reach every tenant.
pub fn of_tenant(path: &str, tenant: &str) -> Markup {
    html! {
        form.filter method="get" action=(path) {
            div.wide { label for="tenant" { "Tenant (yours where it is empty)" } input id="tenant" name="tenant" value=(tenant) autocomplete="off"; }
            button.quiet type="submit" { "Show" }
        }
    }
}

fn table(roles: &[Value], tenant: &str) -> Markup {
    html! {
        @if roles.is_empty() { p.empty { "There is no role yet." } } @else {
            table.cards {
                thead { tr { th scope="col" { "Role" } th scope="col" { "Grants" } th scope="col" { "Inherits" } th scope="col" { "From" } } }
                tbody {
                    @for role in roles {
                        @let is_managed = role.get("managed") == Some(&Value::Bool(true));
                        tr {
                            th scope="row" {
                                @if is_managed { a href=(link(text(role, "name"), tenant)) { (text(role, "name")) } } @else { (text(role, "name")) }
                                @if !text(role, "description").is_empty() { div.dim { (text(role, "description")) } }
                            }
                            td data-label="Grants" { (chips(texts(role, "permissions"))) }
                            td data-label="Inherits" { (chips(texts(role, "inherits"))) }
                            td data-label="From" { @if is_managed { (badge("", "store")) } @else { span.dim { "configuration" } } }
                        }
                    }
                }
            }
        }
    }
}

fn link(name: &str, tenant: &str) -> String {
    address(&format!("{PATH}/{}", segment(name)), [("tenant", tenant)])
}

pub async fn new(desk: Desk) -> Response {
    desk.page(Here::Roles, "Make a role", &sheet(PATH, &desk.asked, None))
}

/// For a new role, or one that there is: its name stays as it is.
fn sheet(action: &str, said: &Form, refusal: Option<&Refusal>) -> Markup {
    let field = |name, label, hint| Field::again(said, refusal, (name, label, hint));
    let is_new = action == PATH;
    html! {
        @if let Some(refusal) = refusal { (refusal.show(&FIELDS)) }
        form.sheet method="post" action=(action) {
            (once())
            @if is_new { (Field { required: true, ..field("name", "Name", "Letters, digits and . _ - : @") }.show()) }
            (field("description", "Description", "One line").show())
            (Field { long: true, ..field("permissions", "Grants", "Scopes that a route needs or a role grants, none that you do not hold") }.show())
            (field("inherits", "Inherits", "Names of other roles").show())
            @if is_new { (field("tenant", "Tenant", "Yours where it is empty").show()) } @else { input type="hidden" name="tenant" value=(said.get("tenant")); }
            div.actions { button type="submit" { @if is_new { "Make the role" } @else { "Replace the role" } } a.button.quiet href=(PATH) { "Cancel" } }
        }
    }
}

fn body(form: &Form) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("permissions".into(), json!(form.words("permissions")));
    body.insert("inherits".into(), json!(form.words("inherits")));
    body.insert("description".into(), json!(form.get("description")));
    body
}

pub async fn create(desk: Desk, Sent(form): Sent) -> Response {
    if let Err(refusal) = desk.first(form.get("once")) {
        return desk.refused(Here::Roles, "Make a role", &refusal);
    }
    let mut body = body(&form);
    body.insert("name".into(), json!(form.get("name")));
    if !form.get("tenant").is_empty() {
        body.insert("tenant".into(), json!(form.get("tenant")));
    }
    let call = Call { once: form.get("once"), ..Call::new(Method::POST, "/rbac/roles", Value::Object(body)) };
    match desk.call(call).await {
        Ok(_) => see_other(&address(PATH, [("tenant", form.get("tenant"))])),
        Err(refusal) => desk.page_with(refusal.status, Here::Roles, "Make a role", &sheet(PATH, &form, Some(&refusal))),
    }
}

pub async fn one(desk: Desk, Path(name): Path<String>) -> Response {
    let tenant = desk.asked.get("tenant");
    let answer = match desk.call(Call::get(&address("/rbac/roles", [("limit", "1000"), ("tenant", tenant)]))).await {
        Ok(answer) => answer,
        Err(refusal) => return desk.refused(Here::Roles, "Role", &refusal),
    };
    let Some(role) = list(&answer.body, "roles").iter().find(|role| text(role, "name") == name) else { return desk.missing("No such role.") };
    let joined = |member: &str| texts(role, member).join(" ");
    let said = Form::of([
        ("description", text(role, "description").to_owned()),
        ("permissions", joined("permissions")),
        ("inherits", joined("inherits")),
        ("tenant", tenant.to_owned()),
    ]);
    desk.page(
        Here::Roles,
        &name,
        &html! {
            (sheet(&format!("{PATH}/{}", segment(&name)), &said, None))
            form method="post" action=(format!("{PATH}/{}/delete", segment(&name))) {
                input type="hidden" name="tenant" value=(tenant);
                button.danger type="submit" { "Delete the role" } " " span.dim { "Only one that nobody has." }
            }
        },
    )
}

pub async fn replace(desk: Desk, Path(name): Path<String>, Sent(form): Sent) -> Response {
    let target = address(&format!("/rbac/roles/{}", segment(&name)), [("tenant", form.get("tenant"))]);
    match desk.call(Call::new(Method::PUT, &target, Value::Object(body(&form)))).await {
        Ok(_) => see_other(&address(PATH, [("tenant", form.get("tenant"))])),
        Err(refusal) => {
            let action = format!("{PATH}/{}", segment(&name));
            desk.page_with(refusal.status, Here::Roles, &name, &sheet(&action, &form, Some(&refusal)))
        }
    }
}

pub async fn delete(desk: Desk, Path(name): Path<String>, Sent(form): Sent) -> Response {
    let target = address(&format!("/rbac/roles/{}", segment(&name)), [("tenant", form.get("tenant"))]);
    match desk.call(Call { method: Method::DELETE, ..Call::get(&target) }).await {
        Ok(_) => see_other(&address(PATH, [("done", "deleted"), ("tenant", form.get("tenant"))])),
        Err(refusal) => desk.refused(Here::Roles, &name, &refusal),
    }
}

/// Who has which role.
pub async fn assignments(desk: Desk) -> Response {
    desk.assigned(None).await
}

pub async fn assign(desk: Desk, Sent(form): Sent) -> Response {
    let method = if form.get("do") == "take" { Method::DELETE } else { Method::POST };
    let mut body = json!({"subject": form.get("subject"), "role": form.get("role")});
    if let (false, Some(body)) = (form.get("tenant").is_empty(), body.as_object_mut()) {
        body.insert("tenant".into(), json!(form.get("tenant")));
    }
    match desk.call(Call::new(method, "/rbac/assign", body)).await {
        Ok(_) => see_other(&address(ASSIGNED, [("tenant", form.get("tenant"))])),
        Err(refusal) => desk.assigned(Some((&form, refusal))).await,
    }
}

pub const ASSIGNED: &str = "/panel/assignments";

impl Desk {
    async fn assigned(&self, refused: Option<(&Form, Refusal)>) -> Response {
        let (said, refusal) = match &refused {
            Some((form, refusal)) => (*form, Some(refusal)),
            None => (&self.asked, None),
        };
        let tenant = said.get("tenant");
        let subject = if refusal.is_none() { said.get("subject") } else { "" };
        let target = address("/rbac/assignments", [("limit", "100"), ("tenant", tenant), ("subject", subject), ("cursor", self.asked.get("cursor"))]);
        let answer = match self.call(Call::get(&target)).await {
            Ok(answer) => answer,
            Err(refusal) => return self.refused(Here::Assignments, "Assignments", &refusal),
        };
        let status = refusal.map_or(StatusCode::OK, |refusal| refusal.status);
        self.page_with(status, Here::Assignments, "Assignments", &html! {
            p.lead { "Roles that somebody was given here, beside those of the configuration." }
            @if let Some(refusal) = refusal { (refusal.show(&["subject", "role", "tenant"])) }
            (of_tenant(ASSIGNED, tenant))
            (assigned_table(list(&answer.body, "assignments")))
            @if !answer.text("next_cursor").is_empty() { nav.pages aria-label="Pages of the list" { a rel="next" href=(self.asked.with(ASSIGNED, &[("cursor", answer.text("next_cursor"))])) { "Next" } } }
            (giving(said, refusal))
        })
    }
}

fn giving(said: &Form, refusal: Option<&Refusal>) -> Markup {
    let field = |name, label, hint| Field::again(said, refusal, (name, label, hint));
    html! {
        h2 { "Give somebody a role" }
        form.sheet method="post" action=(ASSIGNED) {
            (Field { required: true, ..field("subject", "Subject", "The id of a profile, a key, or whomever a token or file names") }.show())
            (Field { required: true, ..field("role", "Role", "None above you") }.show())
            input type="hidden" name="tenant" value=(said.get("tenant"));
            button type="submit" { "Give the role" }
        }
    }
}

fn assigned_table(rows: &[Value]) -> Markup {
    html! {
        @if rows.is_empty() { p.empty { "Nobody was given a role here." } } @else {
            table.cards {
                thead { tr { th scope="col" { "Subject" } th scope="col" { "Role" } th scope="col" { "Tenant" } th scope="col" { "Change" } } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { code { (text(row, "subject")) } }
                            td data-label="Role" { (text(row, "role")) }
                            td data-label="Tenant" { (or_dash(text(row, "tenant"))) }
                            td data-label="Change" {
                                form method="post" action=(ASSIGNED) {
                                    input type="hidden" name="do" value="take";
                                    @for name in ["subject", "role", "tenant"] { input type="hidden" name=(name) value=(text(row, name)); }
                                    button.quiet type="submit" aria-label=(format!("Take {} from {}", text(row, "role"), text(row, "subject"))) { "Take" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
