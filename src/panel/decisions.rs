//! `/panel/decisions`: the last decisions, and those that come, a few times a second however many there are.
//! Says of every one that it does not show that it was passed over; holds up no decision.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use maud::{Markup, html};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;

use super::decision::{outcome, route};
use super::form::{Field, Form, address};
use super::guard::Visitor;
use super::keys::or_dash;
use super::page::{Here, badge};
use super::{Desk, Panel};
use crate::gate::Door;
use crate::telemetry::line::{Filter, Line};
use crate::telemetry::recent::{Feed, News, lines};

pub const PATH: &str = "/panel/decisions";
/// Filters that few people use.
const RARE: [&str; 3] = ["route", "credential", "tenant"];
/// Rows that the page begins with.
const FIRST: usize = 100;
/// As often as a person can read, and no more rows each time than a screen holds.
const BEAT: Duration = Duration::from_millis(100);
const ROWS: usize = 50;
/// How often it is asked whether the visitor may still look, and the connection is kept awake.
const CHECK: Duration = Duration::from_secs(15);

pub async fn show(desk: Desk) -> Response {
    let telemetry = &desk.panel.admin.gate.telemetry;
    let Some(audit) = &telemetry.audit else {
        return desk.page(
            Here::Decisions,
            "Decisions",
            &html! {
                p.empty { "Nothing is written down: " code { "telemetry.audit" } " is " code { "off" } "." }
            },
        );
    };
    let filter = filter(&desk.asked);
    let last = telemetry.recent.last(FIRST, &filter);
    let newest = last.last().map_or("", |line| line.id.as_str());
    let asked: Vec<(&str, &str)> = Filter::KEYS.iter().map(|key| (*key, desk.asked.get(key))).collect();
    let stream = address("/panel/decisions/stream", asked.into_iter().chain([("after", newest)]));
    desk.page(Here::Decisions, "Decisions", &html! {
        (form(&desk.asked))
        div.row data-stream=(stream) data-rows="decisions" {
            button.quiet type="button" id="pause" aria-pressed="false" hidden { "Pause" }
            p.dim id="stream" role="status" { "The last " (FIRST) ", newest first. Reload the page for newer ones." }
        }
        @if let Some(share) = audit.share() { p.box.warn { (badge("warn", "sampled")) " Only a share of " (share) " of what is allowed is written down, and shown here; all that is denied is." } }
        section id="detail" aria-label="One decision" {}
        table.cards.live {
            thead { tr { th scope="col" { "Time" } th scope="col" { "Outcome" } th scope="col" { "Request" } th scope="col" { "Principal" } th scope="col" { "Route" } th scope="col" { "Door" } th.right scope="col" { "Took" } } }
            tbody id="decisions" { @for line in last.iter().rev() { (row(line)) } }
        }
        @if last.is_empty() { p.empty id="nothing" { "No decision like that is kept. The last thousand are, and the last thousand denials." } }
    })
}

fn filter(asked: &Form) -> Filter {
    let mut filter = Filter::default();
    for key in Filter::KEYS {
        if let (false, Some(place)) = (asked.get(key).is_empty(), filter.key(key)) {
            *place = Some(asked.get(key).to_owned());
        }
    }
    filter
}

fn form(asked: &Form) -> Markup {
    let outcomes = [("", "any"), ("allow", "allow"), ("deny", "deny"), ("shadow", "shadow")];
    let doors = Door::ALL.map(Door::as_str);
    let text = |name: &'static str, label: &'static str| Field { name, label, value: asked.get(name), ..Field::default() }.show();
    html! {
        form.filter method="get" action=(PATH) {
            div { label for="outcome" { "Outcome" } select id="outcome" name="outcome" { @for (value, label) in outcomes { option value=(value) selected[asked.get("outcome") == value] { (label) } } } }
            div { label for="door" { "Door" } select id="door" name="door" { option value="" { "any" } @for door in doors { option selected[asked.get("door") == door] { (door) } } } }
            (text("reason", "Reason")) (text("principal", "Principal"))
            button.quiet type="submit" { "Show" }
            details open[RARE.iter().any(|name| !asked.get(name).is_empty())] {
                summary { "More filters" }
                div.row { (text("route", "Route")) (text("credential", "Source")) (text("tenant", "Tenant")) }
            }
        }
    }
}

fn row(line: &Line) -> Markup {
    let clock = line.time.split_once('T').map_or(line.time.as_str(), |(_, clock)| clock).get(..12).unwrap_or(&line.time);
    let link = address("/panel/decision", [("id", &*line.id)]);
    html! {
        tr {
            td.when data-label="Time" { a href=(link) data-detail { time datetime=(line.time) { (clock) } } }
            td data-label="Outcome" { (outcome(line)) @if line.outcome != "allow" { " " span.dim { (line.reason) @if let Some(cause) = &line.cause { ": " (cause) } } } }
            td data-label="Request" { code { (line.method.as_deref().unwrap_or_default()) " " (line.path.as_deref().unwrap_or("–")) } }
            td data-label="Principal" { (or_dash(line.principal.as_deref().unwrap_or_default())) }
            td data-label="Route" { @match route(line) { Some(route) => (route), None => { span.none { "–" } } } }
            td data-label="Door" { (line.door) }
            td.right data-label="Took" { @if let Some(micros) = line.micros { (format!("{micros:.0} µs")) } }
        }
    }
}

/// What comes from now on, as rows of the table.
pub async fn stream(desk: Desk, headers: HeaderMap) -> Response {
    let Ok(seat) = Arc::clone(&desk.panel.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages watch already; close one of them").into_response();
    };
    let filter = filter(&desk.asked);
    let (last, feed) = desk.panel.admin.gate.telemetry.recent.follow(FIRST, &filter);
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or(desk.asked.get("after"));
    let known = last.iter().rposition(|line| line.id == seen).map_or(0, |place| place + 1);
    let mut batch = Batch::new(filter);
    for line in last.into_iter().skip(known) {
        batch.push(line);
    }
    // One piece at a time: what the page does not take waits in its feed, which is bounded.
    let (out, pieces) = mpsc::channel(1);
    tokio::spawn(tell((desk.panel, desk.visitor), (batch, feed), (out, seat)));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(ReceiverStream::new(pieces))).into_response()
}

type Out = (mpsc::Sender<Result<Bytes, Infallible>>, OwnedSemaphorePermit);

async fn tell((panel, visitor): (Panel, Visitor), (mut batch, mut feed): (Batch, Feed), (out, _seat): Out) {
    let mut generations = panel.admin.gate.live.generations();
    let (mut beat, mut check) = (interval(BEAT), interval(CHECK));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let piece = tokio::select! {
            () = out.closed() => return,
            news = feed.next() => { batch.take(&news); continue }
            _ = beat.tick(), if batch.has_news => batch.event(),
            // What let the visitor in may be gone.
            _ = generations.changed() => Bytes::new(),
            _ = check.tick() => Bytes::from_static(b":\n\n"),
        };
        let looks_in = piece.len() < 4;
        if looks_in && !panel.still(&visitor).await {
            return;
        }
        if !piece.is_empty() && out.send(Ok(piece)).await.is_err() {
            return;
        }
    }
}

/// What came since the last beat.
struct Batch {
    filter: Filter,
    rows: VecDeque<Line>,
    /// Lines that were too many to show, and lines that the feed did not take; of the whole stream.
    passed: u64,
    missed: u64,
    has_news: bool,
}

impl Batch {
    fn new(filter: Filter) -> Self {
        Self { filter, rows: VecDeque::new(), passed: 0, missed: 0, has_news: true }
    }

    fn take(&mut self, news: &News) {
        self.has_news = true;
        match news {
            News::Missed(lines) => self.missed += lines,
            News::Lines(bytes) if self.filter.is_empty() => {
                // The rest would only be read to be passed over.
                let all: Vec<&str> = lines(bytes).collect();
                let (old, new) = all.split_at(all.len().saturating_sub(ROWS));
                self.passed += old.len() as u64;
                new.iter().filter_map(|line| Line::parse(line)).for_each(|line| self.push(line));
            }
            News::Lines(bytes) => lines(bytes).filter_map(Line::parse).for_each(|line| {
                if self.filter.admits(&line) {
                    self.push(line);
                }
            }),
        }
    }

    fn push(&mut self, line: Line) {
        if self.rows.len() >= ROWS {
            self.rows.pop_front();
            self.passed += 1;
        }
        self.rows.push_back(line);
    }

    /// The newest row first, as the table has them. A line of data has no line breaks.
    fn event(&mut self) -> Bytes {
        self.has_news = false;
        let id = self.rows.back().map(|line| format!("id: {}\n", line.id)).unwrap_or_default();
        let rows: String = self.rows.drain(..).rev().map(|line| row(&line).0).collect();
        let rows = rows.replace(['\n', '\r'], " ");
        format!("event: counts\ndata: {{\"passed\":{},\"missed\":{}}}\n\n{id}event: rows\ndata: {rows}\n\n", self.passed, self.missed).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(count: usize) -> News {
        let line = |id: usize| {
            format!("{{\"kind\":\"decision\",\"id\":\"{id:016x}\",\"outcome\":\"allow\",\"door\":\"proxy\",\"principal\":\"a\\nb<script>\"}}\n")
        };
        News::Lines((0..count).map(line).collect::<String>().into())
    }

    #[test]
    fn every_line_is_shown_or_counted() {
        for filter in [Filter::default(), Filter { outcome: Some("allow".into()), ..Filter::default() }] {
            let mut batch = Batch::new(filter);
            batch.take(&news(20));
            batch.take(&news(400));
            batch.take(&News::Missed(7));
            assert_eq!((batch.rows.len() as u64 + batch.passed, batch.rows.len(), batch.missed), (420, ROWS, 7));
            let event = String::from_utf8(batch.event().to_vec()).unwrap();
            assert!(
                event.starts_with("event: counts\ndata: {\"passed\":370,\"missed\":7}\n\nid: 000000000000018f\nevent: rows\ndata: <tr>"),
                "{event}"
            );
            assert_eq!(event.lines().count(), 7, "a name with a line break breaks no event");
            assert!(!event.contains("<script"));
            assert!(!batch.has_news);
        }
    }

    #[test]
    fn lines_that_are_not_asked_for_are_not_counted() {
        let mut batch = Batch::new(Filter { outcome: Some("deny".into()), ..Filter::default() });
        batch.take(&news(20));
        assert_eq!((batch.rows.len(), batch.passed), (0, 0));
    }
}
