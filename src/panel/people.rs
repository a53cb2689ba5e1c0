//! Everybody whom a file or the store names, a page at a time: `/panel/principals`, and one principal with all that it reaches.
//! Walks no further than the page needs, and never on a thread that serves.

use std::ops::ControlFlow;
use std::sync::Arc;

use arc_swap::Guard;
use axum::response::Response;
use maud::{Markup, html};

use super::form::{Form, address};
use super::page::{Here, badge, chips, since};
use super::{Desk, Panel, rules};
use crate::gate::unix_now;
use crate::live::Snapshot;
use crate::policy::Denial;
use crate::policy::decision::Missing;
use crate::policy::rule::Rule;
use crate::principal::Caller;

/// Principals on a page.
const PAGE: usize = 50;
pub const PATH: &str = "/panel/principals";

/// A principal as a row of a table.
pub struct Row {
    pub id: String,
    pub credential: String,
    tenant: Option<String>,
    scopes: Vec<String>,
    roles: Vec<String>,
    restricted: bool,
    until: Option<i64>,
    /// How many of the rules let it in.
    reaches: usize,
}

pub struct Rows {
    pub rows: Vec<Row>,
    /// Where the next page begins, if there is one.
    pub next: Option<usize>,
}

impl Row {
    fn of(snapshot: &Snapshot, caller: &Caller<'_>) -> Self {
        let policy = &snapshot.policy;
        Self {
            id: caller.id().to_owned(),
            credential: caller.credential.to_owned(),
            tenant: caller.tenant().map(str::to_owned),
            scopes: caller.scopes().joined().split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
            roles: caller.roles().assigned().to_vec(),
            restricted: caller.is_restricted(),
            until: caller.until(),
            reaches: policy.rules.iter().filter(|rule| policy.admits(rule, caller).is_ok()).count(),
        }
    }
}

pub fn link(id: &str, credential: Option<&str>) -> String {
    address("/panel/principal", [("id", id), ("credential", credential.unwrap_or_default())])
}

impl Panel {
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        Guard::into_inner(self.admin.gate.live.current())
    }

    /// Does what may be a walk over everybody, one at a time, where it holds up nobody.
    pub async fn walk<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = Arc::clone(&self.walks).acquire_owned().await.ok()?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.ok()
    }

    /// Those whom `keep` keeps, from the given place on.
    pub async fn known(&self, from: usize, keep: impl Fn(&Snapshot, &Caller<'_>) -> bool + Send + 'static) -> Rows {
        let nobody = Rows { rows: Vec::new(), next: None };
        let Some(snapshot) = self.snapshot() else { return nobody };
        let walk = self.walk(move || {
            let (mut rows, mut place, mut next) = (Vec::new(), 0, None);
            let _ = snapshot.sources.known(unix_now(), &mut |caller| {
                if !keep(&snapshot, &caller) {
                    return ControlFlow::Continue(());
                }
                place += 1;
                if place <= from {
                    return ControlFlow::Continue(());
                }
                if rows.len() >= PAGE {
                    next = Some(from.saturating_add(PAGE));
                    return ControlFlow::Break(());
                }
                rows.push(Row::of(&snapshot, &caller));
                ControlFlow::Continue(())
            });
            Rows { rows, next }
        });
        walk.await.unwrap_or(nobody)
    }
}

pub async fn list(desk: Desk) -> Response {
    let from = desk.asked.number("from").unwrap_or_default();
    let sought: Box<str> = desk.asked.get("q").to_lowercase().into();
    let rows = desk.panel.known(from, move |_, caller| is_sought(caller, &sought)).await;
    let total = desk.panel.snapshot().map_or(0, |snapshot| snapshot.policy.rules.len());
    desk.page(
        Here::Principals,
        "Principals",
        &html! {
            p.lead { "Everybody whom a file or the store names. Callers with signed tokens are known when they come, and are in no list." }
            (search(&desk.asked))
            div id="rows" aria-live="polite" {
                (table(&rows.rows, total, "No principal is like that."))
                (pages(&desk.asked, PATH, from, rows.next))
            }
        },
    )
}

fn is_sought(caller: &Caller<'_>, sought: &str) -> bool {
    let holds = |text: &str| text.to_lowercase().contains(sought);
    sought.is_empty() || holds(caller.id()) || holds(caller.credential) || caller.tenant().is_some_and(holds) || holds(caller.scopes().joined())
}

fn search(asked: &Form) -> Markup {
    html! {
        form.filter role="search" method="get" action=(PATH) hx-get=(PATH) hx-trigger="input changed delay:300ms from:#q, submit" hx-select="#rows" hx-target="#rows" hx-swap="outerHTML" hx-push-url="true" {
            div.wide { label for="q" { "Id, source, tenant or scope" } input id="q" name="q" type="search" value=(asked.get("q")) autocomplete="off"; }
            button.quiet type="submit" { "Search" }
        }
    }
}

pub fn table(rows: &[Row], total: usize, nobody: &str) -> Markup {
    let now = unix_now();
    html! {
        @if rows.is_empty() { p.empty { (nobody) } } @else {
            table.cards {
                thead { tr { th scope="col" { "Principal" } th scope="col" { "Source" } th scope="col" { "Tenant" } th scope="col" { "Scopes" } th scope="col" { "Roles" } th.right scope="col" { "Reaches" } } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" {
                                a href=(link(&row.id, Some(&row.credential))) { code { (row.id) } }
                                @if row.restricted { " " (badge("warn", "for other services")) }
                                @if let Some(until) = row.until { " " span.dim { "until " (since(until, now)) } }
                            }
                            td data-label="Source" { (row.credential) }
                            td data-label="Tenant" { @match &row.tenant { Some(tenant) => (tenant), None => { span.none { "–" } } } }
                            td data-label="Scopes" { (some_of(&row.scopes)) }
                            td data-label="Roles" { @if row.roles.is_empty() { span.none { "–" } } @else { (some_of(&row.roles)) } }
                            td.right data-label="Reaches" { (row.reaches) " of " (total) }
                        }
                    }
                }
            }
        }
    }
}

/// The first few, and how many more there are.
fn some_of(names: &[String]) -> Markup {
    let more = names.len().saturating_sub(6);
    html! { (chips(names.iter().take(6))) @if more > 0 { " " span.dim { "and " (more) " more" } } }
}

/// To the first page and the next.
pub fn pages(asked: &Form, path: &str, from: usize, next: Option<usize>) -> Markup {
    html! {
        @if from > 0 || next.is_some() {
            nav.pages aria-label="Pages of the list" {
                @if from > 0 { a href=(asked.with(path, &[("from", "")])) rel="first" { "First" } }
                @if let Some(next) = next { a href=(asked.with(path, &[("from", &next.to_string())])) rel="next" { "Next" } }
                span.dim { "from " (from + 1) }
            }
        }
    }
}

/// One principal: what it has, and each rule with why it is let in or not.
pub async fn one(desk: Desk) -> Response {
    let (id, credential) = (desk.asked.get("id").to_owned(), desk.asked.get("credential").to_owned());
    let is_it = move |_: &Snapshot, caller: &Caller<'_>| caller.id() == id && (credential.is_empty() || caller.credential == credential);
    let found = desk.panel.details(is_it).await;
    let Some((row, verdicts)) = found else { return desk.missing("Nobody has this id now: it was taken away, or its time is over.") };
    let reached = verdicts.iter().filter(|(_, denied)| denied.is_none()).count();
    let only = desk.asked.get("reach");
    let shown = verdicts.iter().filter(|(_, denied)| only.is_empty() || (only == "yes") == denied.is_none());
    let choices = [("", "All"), ("yes", "Reached"), ("no", "Not reached")];
    desk.page(
        Here::Principals,
        &row.id,
        &html! {
            (facts(&row))
            p { a.button.quiet href=(address("/panel/explain", [("as", &*row.id)])) { "Explain a request as this principal" } }
            h2 { "Rules: reaches " (reached) " of " (verdicts.len()) }
            nav.pages aria-label="Which rules" {
                @for (value, label) in choices {
                    a href=(desk.asked.with("/panel/principal", &[("reach", value)])) aria-current=[(only == value).then_some("true")] { (label) }
                }
            }
            table.cards {
                thead { tr { th scope="col" { "Rule" } th scope="col" { "Let in" } th scope="col" { "Why not" } } }
                tbody {
                    @for (rule, denied) in shown {
                        tr {
                            th scope="row" { a href=(rules::link(rule)) { code { (rule) } } }
                            td data-label="Let in" { @if denied.is_none() { (badge("good", "yes")) } @else { (badge("bad", "no")) } }
                            td data-label="Why not" { @match denied { Some(why) => (why), None => { span.none { "–" } } } }
                        }
                    }
                }
            }
        },
    )
}

fn facts(row: &Row) -> Markup {
    let now = unix_now();
    html! {
        dl.facts {
            dt { "Source" } dd { (row.credential) }
            @if let Some(tenant) = &row.tenant { dt { "Tenant" } dd { (tenant) } }
            dt { "Scopes" } dd { (chips(&row.scopes)) }
            dt { "Roles" } dd { (chips(&row.roles)) }
            @if let Some(until) = row.until { dt { "Counts until" } dd { (since(until, now)) } }
            @if row.restricted { dt { "Restricted" } dd { "The credential is good, and for other services than this one." } }
        }
    }
}

/// A rule's name, and why it does not let somebody in.
type Verdicts = Vec<(String, Option<String>)>;

impl Panel {
    /// The first whom `is_it` means, with every rule's verdict.
    async fn details(&self, is_it: impl Fn(&Snapshot, &Caller<'_>) -> bool + Send + 'static) -> Option<(Row, Verdicts)> {
        let snapshot = self.snapshot()?;
        let walk = self.walk(move || {
            let mut found = None;
            let _ = snapshot.sources.known(unix_now(), &mut |caller| {
                if !is_it(&snapshot, &caller) {
                    return ControlFlow::Continue(());
                }
                let policy = &snapshot.policy;
                let verdict = |rule: &Rule| (rule.name.to_string(), policy.admits(rule, &caller).err().as_ref().map(why));
                found = Some((Row::of(&snapshot, &caller), policy.rules.iter().chain([&policy.default]).map(verdict).collect()));
                ControlFlow::Break(())
            });
            found
        });
        walk.await?
    }
}

fn why(denial: &Denial) -> String {
    match &denial.missing {
        Some(Missing::All(scopes)) => format!("lacks {scopes}"),
        Some(Missing::AnyOf(scopes)) => format!("lacks any of {scopes}"),
        None => denial.reason.as_str().replace('_', " "),
    }
}
