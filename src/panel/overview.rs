//! The first page: whether the gate is well, what is in force, and the button that reads the configuration again.
//! Reloads nothing that another site's page asks for.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::page::{Here, badge, count, failure, instant, span};
use super::{Desk, HOME, guard, rates};
use crate::gate::unix_now;
use crate::live::Status;

pub async fn show(desk: Desk) -> Response {
    desk.page(Here::Overview, "Overview", &desk.state())
}

pub async fn reload(desk: Desk) -> Response {
    match desk.panel.admin.reloader.reload().await {
        Ok(_) => guard::see_other("/panel/reloads"),
        Err(_) => desk.page_with(StatusCode::UNPROCESSABLE_ENTITY, Here::Overview, "Overview", &desk.state()),
    }
}

impl Desk {
    pub fn generation(&self) -> u64 {
        self.panel.admin.gate.live.status().generation
    }

    fn state(&self) -> Markup {
        let status = self.panel.admin.gate.live.status();
        html! {
            div id="live" hx-get=(HOME) hx-select="#live" hx-target="#live" hx-swap="outerHTML" hx-trigger="every 5s" hx-headers=r#"{"x-panel-poll":"1"}"# {
                @if let Some(faults) = &status.last_reload_fault {
                    (failure(&format!("The last reload failed; generation {} goes on.", status.generation), faults))
                }
                (tiles(&status))
                @if self.panel.snapshot().is_some_and(|snapshot| snapshot.policy.in_shadow(&snapshot.sources).is_some()) { (self.watched()) }
                (rates::show(&self.panel.admin.gate.telemetry.history.points()))
            }
            h2 { "Doors" }
            (self.doors())
            section.row {
                form method="post" action="/panel/reload" { button type="submit" { "Reload the configuration" } }
                p.dim { "A configuration with faults changes nothing." }
            }
        }
    }

    fn doors(&self) -> Markup {
        html! {
            section {
                table.cards {
                    thead { tr { th scope="col" { "Door" } th scope="col" { "Listens on" } } }
                    tbody {
                        @for (name, address) in &*self.panel.admin.doors {
                            tr { td data-label="Door" { (name) } td data-label="Listens on" { code { (address) } } }
                        }
                    }
                }
            }
        }
    }
}

fn tiles(status: &Status) -> Markup {
    let now = unix_now();
    let stale = status.key_sets.iter().filter(|set| set.status.stale || set.status.age_seconds.is_none()).count();
    html! {
        dl.tiles {
            div {
                dt { "State" }
                dd {
                    @if status.draining { (badge("warn", "stopping")) } @else if status.ready { (badge("good", "ready")) } @else { (badge("bad", "not ready")) }
                }
            }
            div {
                dt { "Generation" }
                dd { (status.generation) }
                @if let Some(loaded) = &status.loaded_at { dd.sub { "loaded " (instant(loaded, now)) } }
            }
            div { dt { "Routes" } dd { a href="/panel/routes" { (count(status.routes as u64)) } } }
            div { dt { "Tokens" } dd { a href="/panel/principals" { (count(status.tokens as u64)) } } }
            @if !status.key_sets.is_empty() {
                div {
                    dt { "Key sets" }
                    dd { a href="/panel/key-sets" { (status.key_sets.len()) } }
                    dd.sub { @if stale == 0 { (badge("good", "all fresh")) } @else { (badge("bad", &format!("{stale} stale"))) } }
                }
            }
            @if let Some(store) = &status.store {
                div {
                    dt { "Store" }
                    dd { @if store.state == "fresh" { (badge("good", "fresh")) } @else { (badge("bad", &store.state.replace('_', " "))) } }
                    @if let Some(age) = store.age_seconds { dd.sub { "heard of " (span(age)) " ago" } }
                }
            }
        }
    }
}
