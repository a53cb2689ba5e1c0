//! `/panel/decision`: one decision by its id, as it was taken, and what would be decided now.
//! Knows no more of the request than its audit line.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};

use super::explain::{explanation, verdict};
use super::page::{Here, badge, chips, instant};
use super::{Desk, people, rules};
use crate::gate::{Door, unix_now};
use crate::telemetry::line::Line;
use crate::transport::admin::recorded::recorded;

pub async fn show(desk: Desk) -> Response {
    let (gate, id) = (Arc::clone(&desk.panel.admin.gate), desk.asked.get("id").to_owned());
    let told = match desk.panel.walk(move || recorded(&gate, &id)).await {
        Some(Ok(told)) => told,
        Some(Err(why)) => return desk.missing(&why),
        None => return desk.missing("Nothing is loaded yet."),
    };
    desk.page(
        Here::Decisions,
        &format!("Decision {}", told.then.id),
        &html! {
            section id="detail" aria-label="One decision" {
                h2 { "What was decided " (outcome(&told.then)) }
                (then(&told.then))
                @if let Some(now) = &told.now {
                    h2 { "What the set of now says " (verdict(now)) }
                    @for note in &told.notes { p.dim { (note) "." } }
                    (explanation(now))
                } @else { @for note in &told.notes { p.dim { (note) "." } } }
                p { a.button.quiet href="/panel/decisions" data-close { "Back to the decisions" } }
            }
        },
    )
}

/// As it was taken.
fn then(line: &Line) -> Markup {
    let words = |text: &str| chips(text.split(' ').map(str::to_owned));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    html! {
        dl.facts {
            @if line.outcome != "allow" { dt { "Reason" } dd { code { (line.reason) } @if let Some(cause) = &line.cause { ": " (cause) } } }
            dt { "When" } dd { (line.time) ", " (instant(&line.time, unix_now())) }
            dt { "Request" } dd { code { (text(&line.method)) " " (line.host.as_deref().unwrap_or_default()) (line.path.as_deref().unwrap_or("(no path is kept)")) } }
            @if let Some(shown) = route(line) { dt { "Route" } dd { (shown) } }
            @if let Some(id) = &line.principal {
                dt { "Principal" }
                dd { a href=(people::link(id, line.credential.as_deref())) { code { (id) } } " " span.dim { (text(&line.credential)) } }
            }
            @if let Some(tenant) = &line.tenant { dt { "Tenant" } dd { (tenant) } }
            @if let Some(missing) = &line.missing_scopes { dt { "Lacked" } dd { (words(missing)) } }
            @if let Some(used) = &line.used_scopes { dt { "Rested on" } dd { (words(used)) } }
            dt { "Door" } dd { (line.door) }
            @if let Some(micros) = line.micros { dt { "Took" } dd { (format!("{micros:.1} µs")) } }
            @if let Some(generation) = line.generation { dt { "Generation" } dd { (generation) } }
            @if let Some(trace) = &line.trace_id { dt { "Trace" } dd { code { (trace) } } }
            dt { "Id" } dd { code { (line.id) } }
        }
    }
}

/// The rules of the management API are on no page.
pub fn route(line: &Line) -> Option<Markup> {
    let route = line.route.as_deref()?;
    let is_ours = line.door != Door::Management.as_str();
    Some(html! { @if is_ours { a href=(rules::link(route)) { code { (route) } } } @else { code { (route) } } })
}

pub fn outcome(line: &Line) -> Markup {
    match (line.is_decision(), line.outcome.as_str()) {
        (false, _) => badge("", "stream ended"),
        (true, "allow") => badge("good", "allow"),
        (true, "deny") => badge("bad", "deny"),
        (true, _) => badge("warn", "shadow"),
    }
}
