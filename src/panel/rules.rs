//! `/panel/routes`: every rule with what it needs, and for each one who gets through it.
//! Shows what is in force, as the judge has it, and not what a file says.

use axum::response::Response;
use maud::{Markup, html};

use super::Desk;
use super::form::{Form, address};
use super::page::{Here, badge, chips, span};
use super::people::{self, pages};
use crate::live::Snapshot;
use crate::policy::explain::needs_text;
use crate::policy::rule::{Access, Mode, Needs, RateLimit, Rule};
use crate::scope::ScopeId;

/// Rules on a page.
const PAGE: usize = 100;
pub const PATH: &str = "/panel/routes";

pub fn link(rule: &str) -> String {
    address("/panel/route", [("rule", rule)])
}

pub async fn list(desk: Desk) -> Response {
    let Some(snapshot) = desk.panel.snapshot() else { return desk.missing("Nothing is loaded yet.") };
    let from = desk.asked.number("from").unwrap_or_default();
    let mut found = sought(&snapshot, &desk.asked);
    sort(&snapshot, &mut found, desk.asked.get("sort"));
    let next = (found.len() > from.saturating_add(PAGE)).then(|| from + PAGE);
    let count = found.len();
    desk.page(
        Here::Routes,
        "Routes",
        &html! {
            p.lead { "The most specific pattern wins, whatever the order. Requests that none matches get the default, which is the last one here." }
            (search(&desk.asked))
            div id="rows" aria-live="polite" {
                p.dim { (count) " of " (snapshot.policy.rules.len() + 1) " rules" }
                (table(&desk.asked, &snapshot, found.into_iter().skip(from).take(PAGE)))
                (pages(&desk.asked, PATH, from, next))
            }
        },
    )
}

fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Rule> {
    snapshot.policy.rules.iter().chain([&snapshot.policy.default])
}

fn sought<'s>(snapshot: &'s Snapshot, asked: &Form) -> Vec<&'s Rule> {
    let (text, mode) = (asked.get("q").to_lowercase(), asked.get("mode"));
    let holds = |rule: &&Rule| rule.name.to_lowercase().contains(&text) || needs_text(&snapshot.policy, rule).to_lowercase().contains(&text);
    all(snapshot).filter(|rule| mode.is_empty() || mode == mode_text(rule.mode)).filter(|rule| text.is_empty() || holds(rule)).collect()
}

fn sort(snapshot: &Snapshot, rules: &mut [&Rule], by: &str) {
    match by {
        "rule" => rules.sort_by(|one, other| path_of(&one.name).cmp(path_of(&other.name))),
        "needs" => rules.sort_by_cached_key(|rule| needs_text(&snapshot.policy, rule)),
        _ => {}
    }
}

/// The pattern without its method, so that rules of one path stand together.
fn path_of(name: &str) -> &str {
    name.split_once(' ').map_or(name, |(_, path)| path)
}

fn search(asked: &Form) -> Markup {
    let modes = [("", "any"), ("enforce", "enforce"), ("shadow", "shadow")];
    html! {
        form.filter role="search" method="get" action=(PATH) hx-get=(PATH) hx-trigger="input changed delay:300ms from:#q, change from:#mode, submit" hx-select="#rows" hx-target="#rows" hx-swap="outerHTML" hx-push-url="true" {
            div.wide { label for="q" { "Pattern or need" } input id="q" name="q" type="search" value=(asked.get("q")) autocomplete="off"; }
            div {
                label for="mode" { "Mode" }
                select id="mode" name="mode" { @for (value, label) in modes { option value=(value) selected[asked.get("mode") == value] { (label) } } }
            }
            @if !asked.get("sort").is_empty() { input type="hidden" name="sort" value=(asked.get("sort")); }
            button.quiet type="submit" { "Search" }
        }
    }
}

fn table<'r>(asked: &Form, snapshot: &Snapshot, rules: impl Iterator<Item = &'r Rule>) -> Markup {
    let heading = |by: &str, label: &str| {
        let is_sorted = asked.get("sort") == by;
        html! {
            th scope="col" aria-sort=[is_sorted.then_some("ascending")] {
                a href=(asked.with(PATH, &[("sort", if is_sorted { "" } else { by }), ("from", "")])) { (label) @if is_sorted { span aria-hidden="true" { " ↑" } } }
            }
        }
    };
    html! {
        table.cards {
            thead { tr { (heading("rule", "Pattern")) (heading("needs", "Needs")) th scope="col" { "Limit" } th scope="col" { "Mode" } } }
            tbody {
                @for rule in rules {
                    tr {
                        th scope="row" { a href=(link(&rule.name)) { code { (rule.name) } } }
                        td data-label="Needs" { (needs(snapshot, rule)) }
                        td data-label="Limit" { @match &rule.rate_limit { Some(limit) => (limit_text(*limit)), None => { span.none { "–" } } } }
                        td data-label="Mode" { (mode(rule.mode)) }
                    }
                }
            }
        }
    }
}

fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
    }
}

fn mode(mode: Mode) -> Markup {
    match mode {
        Mode::Enforce => html! { span.dim { "enforce" } },
        Mode::Shadow => badge("warn", "shadow"),
    }
}

fn limit_text(limit: RateLimit) -> String {
    let RateLimit { rate, per } = limit;
    let burst = if rate.burst == rate.count { String::new() } else { format!(", {} at once", rate.burst) };
    format!("{} in {} per {}{burst}", rate.count, span(u64::from(rate.seconds)), per.as_str())
}

/// What a rule needs, part by part.
pub fn needs(snapshot: &Snapshot, rule: &Rule) -> Markup {
    let needs = match &rule.access {
        Access::Public => return badge("warn", "public"),
        Access::Deny => return badge("bad", "denied to all"),
        Access::Needs(needs) => needs,
    };
    let texts = |ids: &[ScopeId]| chips(ids.iter().map(|id| snapshot.policy.universe.text(*id).to_owned()));
    let sources = needs.credentials.iter().filter_map(|id| snapshot.sources.list().get(id.0)).map(|source| source.name.to_string());
    html! {
        @if is_bare(needs) { span { "any known caller" } }
        @if !needs.all.is_empty() { div { (texts(&needs.all)) } }
        @if !needs.any.is_empty() { div { span.dim { "any of " } (texts(&needs.any)) } }
        @if !needs.roles.is_empty() { div { span.dim { "role " } (chips(&*needs.roles)) } }
        @if !needs.credentials.is_empty() { div { span.dim { "from " } (chips(sources)) } }
        @if let Some(seconds) = needs.mfa { div { span.dim { "second factor, at most " } (span(u64::from(seconds))) span.dim { " old" } } }
        @if let Some(tools) = &needs.tools { div { span.dim { "scopes of " (tools.scopes.len()) " tools" } } }
    }
}

fn is_bare(needs: &Needs) -> bool {
    needs.all.is_empty()
        && needs.any.is_empty()
        && needs.roles.is_empty()
        && needs.credentials.is_empty()
        && needs.mfa.is_none()
        && needs.tools.is_none()
}

/// One rule, and who gets through it.
pub async fn one(desk: Desk) -> Response {
    let (Some(snapshot), name) = (desk.panel.snapshot(), desk.asked.get("rule").to_owned()) else { return desk.missing("Nothing is loaded yet.") };
    let Some(rule) = all(&snapshot).find(|rule| *rule.name == *name) else { return desk.missing("No rule has this pattern now.") };
    let from = desk.asked.number("from").unwrap_or_default();
    let is_for_all = matches!(rule.access, Access::Public);
    let sought = name.clone();
    let reached = desk.panel.known(from, move |snapshot, caller| {
        all(snapshot).find(|rule| *rule.name == *sought).is_some_and(|rule| snapshot.policy.admits(rule, caller).is_ok())
    });
    desk.page(
        Here::Routes,
        &name,
        &html! {
            (facts(&snapshot, rule))
            @if let Some(query) = question(&name) { p { a.button.quiet href=(query) { "Explain a request for this route" } } }
            h2 { "Who gets through" }
            @if is_for_all { p { "Everybody: no credential is looked at." } } @else {
                @let reached = reached.await;
                (people::table(&reached.rows, snapshot.policy.rules.len(), "Nobody whom a file or the store names. Callers with signed tokens may."))
                (pages(&desk.asked, "/panel/route", from, reached.next))
            }
        },
    )
}

fn facts(snapshot: &Snapshot, rule: &Rule) -> Markup {
    html! {
        dl.facts {
            dt { "Needs" } dd { (needs(snapshot, rule)) }
            dt { "Mode" } dd { (mode(rule.mode)) @if rule.mode == Mode::Shadow { " Whoever would be denied is let pass, and written down." } }
            @if let Some(limit) = rule.rate_limit { dt { "Limit" } dd { (limit_text(limit)) } }
            dt { "WebSocket" } dd { @if rule.websocket { "may be opened" } @else { "may not be opened" } }
            @if rule.query_credentials { dt { "Credentials" } dd { "also as a parameter of the address" } }
            @if let Access::Needs(Needs { tools: Some(tools), .. }) = &rule.access {
                dt { "Tools" }
                dd { @for (tool, scopes) in &tools.scopes { div { code { (tool) } ": " (chips(scopes.iter().map(|id| snapshot.policy.universe.text(*id)))) } } }
            }
        }
    }
}

/// The explanation's form, filled in as far as a pattern tells.
fn question(name: &str) -> Option<String> {
    let (method, rest) = name.split_once(' ').unwrap_or(("GET", name));
    let slash = rest.find('/')?;
    let (host, path) = rest.split_at_checked(slash)?;
    Some(address("/panel/explain", [("method", method), ("path", path), ("host", host), ("ask", "later")]))
}
