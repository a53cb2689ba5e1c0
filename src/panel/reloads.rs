//! `/panel/reloads`: the last readings of the configuration, what each changed, and why one was refused.
//! Names ids and rules, and no secret.

use axum::response::Response;
use maud::{Markup, html};

use super::page::{Here, badge, chips, count, instant};
use super::{Desk, people, rules};
use crate::gate::unix_now;
use crate::live::changes::{Changes, Reload};
use crate::principal::changes::{Difference, Names};

pub const PATH: &str = "/panel/reloads";

pub async fn show(desk: Desk) -> Response {
    let reloads = desk.panel.admin.gate.live.reloads();
    desk.page(
        Here::Reloads,
        "Reloads",
        &html! {
            p.lead { "The last fifty readings of the configuration by this process, the latest first." }
            form.row method="post" action="/panel/reload" { button.quiet type="submit" { "Reload the configuration" } }
            @if reloads.is_empty() { p.empty { "The configuration was not read again since the start." } }
            @for reload in &reloads { (one(reload)) }
        },
    )
}

fn one(reload: &Reload) -> Markup {
    html! {
        article.box.(if reload.faults.is_empty() { "good" } else { "bad" }) {
            h2 {
                @if reload.faults.is_empty() { (badge("good", "read")) " Generation " (reload.generation) } @else { (badge("bad", "refused")) " Generation " (reload.generation) " went on" }
                " " span.dim { (instant(&reload.time, unix_now())) ", " (trigger(reload.trigger)) }
            }
            @if !reload.faults.is_empty() { ul { @for fault in &reload.faults { li { (fault) } } } }
            @if let Some(changes) = &reload.changes { (told(changes)) }
        }
    }
}

fn trigger(trigger: &str) -> &str {
    match trigger {
        "watch" => "a file changed",
        "signal" => "asked for by a signal",
        "request" => "asked for at the operator's door",
        other => other,
    }
}

fn told(changes: &Changes) -> Markup {
    let sources = Difference { added: changes.credentials.added.clone(), removed: changes.credentials.removed.clone(), changed: Names::default() };
    let is_same = changes.routes.is_empty() && sources.is_empty() && changes.credentials.tokens.is_empty();
    html! {
        @if is_same { p.dim { "Nothing is another than before." } }
        (difference("Rules", &changes.routes, |name| html! { a.chip href=(rules::link(name)) { (name) } }))
        (difference("Sources", &sources, |name| chips([name])))
        @for (source, tokens) in &changes.credentials.tokens {
            (difference(&format!("Tokens of {source}"), tokens, |id| html! { a.chip href=(people::link(id, Some(source))) { (id) } }))
        }
    }
}

fn difference(what: &str, difference: &Difference, link: impl Fn(&str) -> Markup) -> Markup {
    let parts = [("added", "+", &difference.added), ("removed", "−", &difference.removed), ("changed", "~", &difference.changed)];
    html! {
        @if !difference.is_empty() {
            h3 { (what) }
            dl.changes {
                @for (kind, mark, names) in parts.iter().filter(|(_, _, names)| names.count > 0) {
                    dt { span aria-hidden="true" { (mark) } " " (count(names.count as u64)) " " (kind) }
                    dd {
                        // What is gone has no page any more.
                        @for name in &names.first { @if *kind == "removed" { (chips([name])) } @else { (link(name)) } " " }
                        @if names.count > names.first.len() { span.dim { "and " (names.count - names.first.len()) " more" } }
                    }
                }
            }
        }
    }
}
