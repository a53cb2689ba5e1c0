//! `/panel/explain`: a request as somebody describes it, and the decision on it with its reasons.
//! Takes no token: whom it is about is said by id.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::form::{Field, Form};
use super::page::{Here, badge, chips, failure};
use super::{Desk, Panel, people, rules};
use crate::gate::unix_now;
use crate::policy::explain::{Explanation, Holders, explain};
use crate::policy::judge::Question;
use crate::request::{Body, Link, RawRequest};

const PATH: &str = "/panel/explain";
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

pub async fn show(desk: Desk) -> Response {
    let asked = &desk.asked;
    if asked.get("path").is_empty() || asked.get("ask") == "later" {
        return desk.page(Here::Explain, "Explain", &form(asked, None));
    }
    let Some(told) = desk.panel.explained(asked.clone()).await else {
        let body = form(asked, Some("nobody has this id; the list of principals has them all"));
        return desk.page_with(StatusCode::NOT_FOUND, Here::Explain, "Explain", &body);
    };
    let body =
        html! { (form(asked, None)) section id="answer" aria-label="The decision" { h2 { "Decision " (verdict(&told)) } (explanation(&told)) } };
    desk.page(Here::Explain, "Explain", &body)
}

impl Panel {
    /// `None` where nobody has the id, or nothing is loaded.
    async fn explained(&self, asked: Form) -> Option<Explanation> {
        let snapshot = self.snapshot()?;
        self.walk(move || {
            let (host, whom) = (asked.get("host"), asked.get("as"));
            let headers: &[(&str, &[u8])] = &[];
            let raw = RawRequest {
                method: asked.get("method").as_bytes(),
                target: asked.get("path").as_bytes(),
                host: (!host.is_empty()).then_some(host.as_bytes()),
                headers: &headers,
                link: Link { websocket: !asked.get("websocket").is_empty(), ..Link::default() },
            };
            let question = Question { body: Body::Unread, extra_scopes: "", now: unix_now(), settled: &[] };
            let whom = (!whom.is_empty()).then_some(whom);
            explain((&snapshot.policy, &snapshot.sources), &raw, question, whom, snapshot.generation)
        })
        .await?
    }
}

fn form(asked: &Form, fault: Option<&str>) -> Markup {
    let method = Some(asked.get("method")).filter(|method| !method.is_empty()).unwrap_or("GET");
    let path = Field { name: "path", label: "Path", value: asked.get("path"), hint: "With its query, if any", required: true, ..Field::default() };
    let host = Field { name: "host", label: "Host", value: asked.get("host"), hint: "Where routes have hosts", ..Field::default() };
    let whom = Field { name: "as", label: "As whom", value: asked.get("as"), hint: "An id; nobody where empty", fault, ..Field::default() };
    html! {
        p.lead { "What would become of a request, and why. Nothing is sent anywhere." }
        @if let Some(fault) = fault { (failure(fault, &[])) }
        form.sheet.wide method="get" action=(PATH) {
            div.field {
                label for="method" { "Method" }
                select id="method" name="method" {
                    @for known in METHODS { option selected[known == method] { (known) } }
                    @if !METHODS.contains(&method) { option selected { (method) } }
                }
            }
            (path.show()) (host.show()) (whom.show())
            div.field { label.check { input type="checkbox" name="websocket" value="yes" checked[!asked.get("websocket").is_empty()]; "Opens a WebSocket" } }
            div.field { button type="submit" { "Explain" } }
        }
    }
}

/// A decision's reasons.
pub fn explanation(told: &Explanation) -> Markup {
    let words = |text: &str| chips(text.split(' ').filter(|word| !word.is_empty()));
    html! {
        dl.facts {
            dt { "Status" } dd { (told.status) }
            @if let Some(reason) = told.reason { dt { "Reason" } dd { code { (reason) } @if let Some(cause) = told.cause { ": " (cause) } } }
            @if let Some(path) = &told.path { dt { "Path" } dd { code { (path) } } }
            @if let Some(rule) = &told.rule { dt { "Rule" } dd { a href=(rules::link(rule)) { code { (rule) } } } }
            @if let Some(needs) = &told.needs { dt { "Needs" } dd { (needs) } }
            @if let Some(id) = &told.id { dt { "Principal" } dd { a href=(people::link(id, told.credential.as_deref())) { code { (id) } } } }
            @if let Some(scopes) = &told.scopes { dt { "Holds" } dd { (words(scopes)) } }
            @if let Some(missing) = &told.missing_scopes { dt { "Lacks" } dd { (words(missing)) } }
            @if let Some(holders) = &told.holders { dt { "Held by" } dd { (held_by(holders)) } }
            dt { "Generation" } dd { (told.generation) }
        }
        @if !told.considered.is_empty() {
            h3 { "Rules that spoke of this path" }
            table.cards {
                thead { tr { th scope="col" { "Rule" } th scope="col" { "Needs" } th scope="col" { "Verdict" } } }
                tbody {
                    @for considered in &told.considered {
                        tr {
                            th scope="row" { a href=(rules::link(&considered.rule)) { code { (considered.rule) } } }
                            td data-label="Needs" { (considered.needs) }
                            td data-label="Verdict" {
                                @if considered.verdict == "wins" { (badge("good", "wins")) } @else { (considered.verdict) }
                                @if let Some(why) = &considered.why { div.dim { (why) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Whom to ask for what is missing.
fn held_by(holders: &Holders) -> Markup {
    let more = holders.count.saturating_sub(holders.ids.len());
    html! {
        @if holders.count == 0 { "nobody whom a file or the store names" }
        @for id in &holders.ids { a.chip href=(people::link(id, None)) { (id) } " " }
        @if more > 0 { span.dim { "and " (more) " more" } }
    }
}

pub fn verdict(told: &Explanation) -> Markup {
    match told.decision {
        "allow" => badge("good", "allow"),
        "deny" => badge("bad", "deny"),
        other => badge("warn", &other.replace('_', " ")),
    }
}
