//! `GET /decisions`: audit lines as they come, as server-sent events; with `Accept: application/json`, the last of them as a list.
//! Never holds up a decision: who reads too slowly is told how many lines it missed, and where.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::{Admin, problem};
use crate::request::query;
use crate::telemetry::line::{Filter, Line};
use crate::telemetry::recent::{Feed, KEPT, News, lines};

/// Readers at the same time; each may have some megabytes waiting.
const READERS: usize = 16;
/// Lines that a reader begins with, where it says nothing.
const USUAL: usize = 100;
/// Proxies close a connection on which nothing was heard for a minute or so.
const QUIET: Duration = Duration::from_secs(15);
/// Whoever is let in by a credential shows it again after this long; a page's `EventSource` does so by itself.
const LONGEST: Duration = Duration::from_secs(300);

/// Who reads now.
#[derive(Clone, Debug)]
pub struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READERS)))
    }
}

/// What is asked for in the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub last: usize,
    pub filter: Filter,
}

impl Wanted {
    /// `Err` says what is known. A parameter without a value is not asked for, so that a form may leave it empty.
    pub fn read(query: Option<&str>) -> Result<Self, String> {
        let known = || format!("known parameters are `last`, from 0 to {KEPT}, and each at most once `{}`", Filter::KEYS.join("`, `"));
        let mut wanted = Self { last: USUAL, filter: Filter::default() };
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in query::pairs(query.unwrap_or_default().as_bytes()).ok_or_else(known)? {
            if seen.contains(&name) {
                return Err(known());
            }
            if name == "last" {
                wanted.last = value.parse().ok().filter(|last| *last <= KEPT).ok_or_else(known)?;
            } else {
                let place = wanted.filter.key(&name).ok_or_else(known)?;
                *place = Some(value).filter(|value| !value.is_empty());
            }
            seen.push(name);
        }
        Ok(wanted)
    }
}

pub async fn decisions(State(admin): State<Admin>, readers: Readers, request: Request) -> Response {
    let wanted = match Wanted::read(request.uri().query()) {
        Ok(wanted) => wanted,
        Err(known) => return problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", &known),
    };
    // Before anything else: a set that comes from here on may be one that lets this reader in no more.
    let generations = admin.gate.live.generations();
    let telemetry = &admin.gate.telemetry;
    if telemetry.audit.is_none() {
        return problem(StatusCode::NOT_FOUND, "not_found", "No decision is written down: `telemetry.audit` is `off`");
    }
    if wants_json(request.headers()) {
        let lines = telemetry.recent.last(wanted.last, &wanted.filter);
        return ([(header::CACHE_CONTROL, "no-store")], Json(json!({"decisions": lines}))).into_response();
    }
    let Ok(seat) = Arc::clone(&readers.0).try_acquire_owned() else {
        let message = format!("{READERS} read decisions already; close one of them");
        return problem(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", &message);
    };
    let (last, feed) = telemetry.recent.follow(wanted.last, &wanted.filter);
    let last = after(last, request.headers());
    // One piece at a time: whatever a reader does not take waits in its feed, which is bounded.
    let (out, pieces) = mpsc::channel(1);
    tokio::spawn(tell((admin, generations), (last, feed), wanted.filter, (out, seat)));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(ReceiverStream::new(pieces))).into_response()
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("application/json")))
}

/// What a reader that comes again has not seen yet.
fn after(mut last: Vec<Line>, headers: &HeaderMap) -> Vec<Line> {
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    match seen.and_then(|seen| last.iter().rposition(|line| line.id == seen)) {
        Some(place) => last.split_off(place + 1),
        None => last,
    }
}

type Out = (mpsc::Sender<Result<Bytes, Infallible>>, OwnedSemaphorePermit);

async fn tell((admin, mut generations): (Admin, Receiver<u64>), (last, mut feed): (Vec<Line>, Feed), filter: Filter, (out, _seat): Out) {
    let end = Instant::now() + LONGEST;
    // Also what says nothing to an `EventSource`, so that it knows that it is connected.
    let mut ready = VecDeque::from([Bytes::from_static(b":\n\n")]);
    ready.extend(last.iter().filter_map(|line| Some(event(&line.id, &serde_json::to_string(line).ok()?).into())));
    loop {
        while let Some(piece) = ready.pop_front() {
            if out.send(Ok(piece)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = out.closed() => return,
            // What let the reader in may be gone.
            _ = generations.changed(), if !admin.audience.is_local() => return,
            () = tokio::time::sleep_until(end), if !admin.audience.is_local() => return,
            () = tokio::time::sleep(QUIET) => ready.push_back(Bytes::from_static(b":\n\n")),
            news = feed.next() => ready.extend(told(&news, &filter)),
        }
    }
}

/// A piece of news as events, where there is anything to tell.
fn told(news: &News, filter: &Filter) -> Option<Bytes> {
    let text = match news {
        News::Missed(lines) => format!("event: dropped\ndata: {{\"lines\":{lines}}}\n\n"),
        News::Lines(bytes) => {
            let mut text = String::with_capacity(bytes.len() * 5 / 4);
            for (line, parsed) in lines(bytes).filter_map(|line| Some((line, Line::parse(line)?))) {
                if filter.admits(&parsed) {
                    text.push_str(&event(&parsed.id, line));
                }
            }
            text
        }
    };
    (!text.is_empty()).then(|| text.into())
}

fn event(id: &str, line: &str) -> String {
    format!("id: {id}\ndata: {line}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_whole_or_refused() {
        let read = |query| Wanted::read(Some(query));
        assert_eq!(Wanted::read(None).unwrap(), Wanted { last: 100, filter: Filter::default() });
        let wanted = read("last=7&outcome=deny&route=GET+%2Fa%2F%7Bx%7D&tenant=").unwrap();
        assert_eq!((wanted.last, wanted.filter.outcome.as_deref(), wanted.filter.tenant), (7, Some("deny"), None));
        assert_eq!(wanted.filter.route.as_deref(), Some("GET /a/{x}"));
        for bad in ["last=1001", "last=-1", "last=", "last=x", "token=a", "outcome=a&outcome=b", "outcome=%zz", "last=1&last=1"] {
            let message = read(bad).unwrap_err();
            assert!(message.starts_with("known parameters are `last`, from 0 to 1000"), "{message}");
        }
    }
}
