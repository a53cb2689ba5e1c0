//! `/panel/shadow`: who would be denied where if nothing were in shadow, and what is.
//! Begins to count anew only where it is told to.

use axum::response::Response;
use maud::{Markup, html};

use super::Desk;
use super::guard::see_other;
use super::page::{Here, badge, chips, count, done, instant};
use super::people::{self, pages};
use super::rules;
use crate::gate::unix_now;
use crate::telemetry::shadow::{Report, Row};

pub const PATH: &str = "/panel/shadow";
const PAGE: usize = 100;

pub async fn show(desk: Desk) -> Response {
    let report = desk.panel.admin.gate.telemetry.shadow.report();
    let (sought, from) = (desk.asked.get("q").to_lowercase(), desk.asked.number("from").unwrap_or_default());
    let rows: Vec<&Row> = report.rows.iter().filter(|row| is_sought(row, &sought)).collect();
    let next = (rows.len() > from.saturating_add(PAGE)).then(|| from + PAGE);
    desk.page(Here::Shadow, "Shadow", &html! {
        p.lead { "Who was let pass and would be denied: what happens on the day that everything is enforced." }
        @if desk.asked.get("done") == "cleared" { (done("It counts anew from now on.")) }
        (desk.watched())
        (summary(&report))
        form.filter role="search" method="get" action=(PATH) hx-get=(PATH) hx-trigger="input changed delay:300ms from:#q, submit" hx-select="#rows" hx-target="#rows" hx-swap="outerHTML" hx-push-url="true" {
            div.wide { label for="q" { "Principal, route, reason or scope" } input id="q" name="q" type="search" value=(desk.asked.get("q")) autocomplete="off"; }
            button.quiet type="submit" { "Search" }
        }
        div id="rows" aria-live="polite" {
            (table(rows.into_iter().skip(from).take(PAGE), desk.generation()))
            (pages(&desk.asked, PATH, from, next))
        }
    })
}

pub async fn clear(desk: Desk) -> Response {
    desk.panel.admin.gate.telemetry.shadow.clear();
    see_other("/panel/shadow?done=cleared")
}

fn is_sought(row: &Row, sought: &str) -> bool {
    let texts = [
        row.principal.as_deref(),
        row.credential.as_deref(),
        row.tenant.as_deref(),
        row.missing_scopes.as_deref(),
        Some(&*row.route),
        Some(row.reason),
    ];
    sought.is_empty() || texts.into_iter().flatten().any(|text| text.to_lowercase().contains(sought))
}

fn summary(report: &Report) -> Markup {
    html! {
        section.row {
            p {
                strong { (count(report.total)) } " requests passed in shadow since " (instant(&report.since, unix_now())) "."
                @if report.other > 0 { " " (count(report.other)) " of them are in no row: there were too many rows already." }
            }
            @if report.total > 0 { form method="post" action="/panel/shadow/clear" { button.quiet type="submit" { "Count anew" } } }
        }
    }
}

fn table<'r>(rows: impl Iterator<Item = &'r Row>, generation: u64) -> Markup {
    let now = unix_now();
    let mut rows = rows.peekable();
    html! {
        @if rows.peek().is_none() { p.empty { "Nobody." } } @else {
            table.cards {
                thead { tr { th.right scope="col" { "Requests" } th scope="col" { "Principal" } th scope="col" { "Route" } th scope="col" { "Reason" } th scope="col" { "Lacks" } th scope="col" { "Last" } } }
                tbody {
                    @for row in rows {
                        tr {
                            td.right data-label="Requests" { (count(row.count)) }
                            th scope="row" { (who(row)) }
                            td data-label="Route" { a href=(rules::link(&row.route)) { code { (row.route) } } }
                            td data-label="Reason" { code { (row.reason) } }
                            td data-label="Lacks" {
                                @if row.any { span.dim { "any of " } }
                                @match &row.missing_scopes { Some(scopes) => (chips(scopes.split(' '))), None => { span.none { "–" } } }
                            }
                            td data-label="Last" { (instant(&row.last, now)) @if row.generation < generation { " " span.dim { "of generation " (row.generation) } } }
                        }
                    }
                }
            }
        }
    }
}

fn who(row: &Row) -> Markup {
    html! {
        @match (&row.principal, &row.credential) {
            (Some(id), Some(credential)) => { a href=(people::link(id, Some(credential))) { code { (id) } } " " span.dim { (credential) } },
            (Some(id), None) => { code { (id) } " " span.dim { "refused" } },
            (None, _) => { span.dim { "nobody known" } },
        }
        @if let Some(tenant) = &row.tenant { " " span.dim { "tenant " (tenant) } }
    }
}

impl Desk {
    /// What is let pass though it would be denied.
    pub fn watched(&self) -> Markup {
        let snapshot = self.panel.snapshot();
        let shadow = snapshot.as_ref().and_then(|snapshot| snapshot.policy.in_shadow(&snapshot.sources));
        html! {
            @match &shadow {
                Some(shadow) => div.box.warn {
                    p { (badge("warn", "in shadow")) " What would be denied is let pass, and written down." }
                    @if !shadow.routes.is_empty() {
                        p { (shadow.routes.len()) @if shadow.routes.len() == 1 { " rule: " } @else { " rules: " } (chips(shadow.routes.iter().take(8))) @if shadow.routes.len() > 8 { " " a href="/panel/routes?mode=shadow" { "all of them" } } }
                    }
                    @if !shadow.credentials.is_empty() { p { "Callers of " (chips(&shadow.credentials)) } }
                },
                None => p.box.good { (badge("good", "enforced")) " Nothing is in shadow: what is denied is refused." },
            }
        }
    }
}
