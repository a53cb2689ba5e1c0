//! `POST /explain`: a request as an operator describes it into its decision with its reasons.
//! Quotes nothing of a body that it cannot read: a token may be in it.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::recorded::recorded;
use super::{Admin, problem};
use crate::gate::unix_now;
use crate::policy::Reason;
use crate::policy::explain::explain;
use crate::policy::judge::Question;
use crate::request::{Body, Headers, Link, RawRequest, Values};
use crate::transport::headers::opens_websocket;

#[derive(Deserialize)]
#[serde(untagged)]
enum Ask {
    Decision(Decided),
    Request(Described),
}

/// A decision that was taken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decided {
    decision_id: String,
}

/// A request that nobody made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    method: String,
    path: String,
    host: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    credential_id: Option<String>,
    body: Option<String>,
}

struct Said<'a>(&'a std::collections::BTreeMap<String, String>);

impl Headers for Said<'_> {
    fn get(&self, name: &str) -> Values<'_> {
        let mut found = self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (None, _) => Values::None,
            (Some((_, value)), None) => Values::One(value.as_bytes()),
            (Some(_), Some(_)) => Values::Many,
        }
    }
}

pub async fn explained(State(admin): State<Admin>, body: axum::body::Bytes) -> Response {
    let ask: Ask = match serde_json::from_slice(&body) {
        Ok(ask) => ask,
        // The parser's message could quote a token out of `headers`.
        Err(_) => {
            let message = "The body is {\"decision_id\"} or {\"method\",\"path\",\"host\",\"headers\"|\"credential_id\",\"body\"}, all texts";
            return problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", message);
        }
    };
    // Everybody may be looked through for who holds a scope.
    tokio::task::block_in_place(|| match ask {
        Ask::Decision(Decided { decision_id }) => of_decision(&admin, &decision_id),
        Ask::Request(described) => of_request(&admin, &described),
    })
}

fn of_decision(admin: &Admin, id: &str) -> Response {
    match recorded(&admin.gate, id) {
        Ok(recorded) => ([(header::CACHE_CONTROL, "no-store")], Json(recorded)).into_response(),
        Err(why) => problem(StatusCode::NOT_FOUND, "not_found", &why),
    }
}

fn of_request(admin: &Admin, ask: &Described) -> Response {
    let guard = admin.gate.live.current();
    let Some(snapshot) = guard.as_deref() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", Reason::NotReady.message());
    };
    let headers = Said(&ask.headers);
    let host = ask.host.as_deref().or_else(|| match headers.get("host") {
        Values::One(host) => str::from_utf8(host).ok(),
        Values::None | Values::Many => None,
    });
    let link = Link { websocket: opens_websocket(ask.method.as_bytes(), &headers, true).unwrap_or(false), ..Link::default() };
    let raw = RawRequest { method: ask.method.as_bytes(), target: ask.path.as_bytes(), host: host.map(str::as_bytes), headers: &headers, link };
    let body = ask.body.as_ref().map_or(Body::Unread, |body| Body::Whole(body.as_bytes()));
    let question = Question { body, extra_scopes: "", now: unix_now(), settled: &[] };
    let explained = explain((&snapshot.policy, &snapshot.sources), &raw, question, ask.credential_id.as_deref(), snapshot.generation);
    match explained {
        Some(explanation) => ([(header::CACHE_CONTROL, "no-store")], Json(explanation)).into_response(),
        None => problem(StatusCode::NOT_FOUND, "not_found", "No credential has this id"),
    }
}
