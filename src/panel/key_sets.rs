//! `/panel/key-sets`: every key set that is fetched, how old it is, and what went wrong last.
//! Shows no key.

use axum::response::Response;
use maud::html;

use super::Desk;
use super::page::{Here, badge, span};

pub async fn show(desk: Desk) -> Response {
    let sets = desk.panel.admin.gate.live.status().key_sets;
    desk.page(Here::KeySets, "Key sets", &html! {
        p.lead { "Where signed tokens' keys are published. A set that cannot be fetched goes on counting for a while, and is then nobody's proof." }
        @if sets.is_empty() { p.empty { "No credential source fetches keys." } } @else {
            div id="live" hx-get="/panel/key-sets" hx-select="#live" hx-target="#live" hx-swap="outerHTML" hx-trigger="every 5s" hx-headers=r#"{"x-panel-poll":"1"}"# {
                table.cards {
                    thead { tr { th scope="col" { "Source" } th scope="col" { "Published at" } th.right scope="col" { "Keys" } th scope="col" { "Age" } th scope="col" { "State" } } }
                    tbody {
                        @for set in &sets {
                            tr {
                                th scope="row" { (set.credential) }
                                td data-label="Published at" { code { (set.status.address) } }
                                td.right data-label="Keys" { (set.status.keys) }
                                td data-label="Age" { @match set.status.age_seconds { Some(age) => (span(age)), None => { span.dim { "never fetched" } } } }
                                td data-label="State" {
                                    @if set.status.age_seconds.is_none() { (badge("bad", "missing")) } @else if set.status.stale { (badge("warn", "stale")) } @else { (badge("good", "fresh")) }
                                    @if let Some(error) = &set.status.last_error { div.dim { (error) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}
