//! Open WebSockets, server-sent events and gRPC streams end with what let them through, in the words of each, and with nothing else.

mod book;
mod frames;
mod multiplexed;
mod open;

use std::time::Duration;

use serde_json::json;

use crate::harness::sign::{hs256, now};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire};
use crate::harness::{metric, until, write_secret};
use open::{End, House};

const TOKEN: &str = "token-of-the-app-1";
const ROUTES: &str = "routes: {/ws: app:use, /events: app:use, /call: app:use, /other: public}\n";

fn tokens(rest: &str) -> String {
    format!(r#"[{{"id": "app", "token": "{TOKEN}", {rest}}}, {{"id": "other", "token": "token-of-another-1", "scopes": ["app:use"]}}]"#)
}

fn whole() -> String {
    tokens(r#""scopes": ["app:use"]"#)
}

/// Opens one stream of each kind, changes the configuration, and sees them end.
async fn ended_by(routes: &str, tokens: &str, expected: [End; 3], cause: &str) {
    let house = House::open(ROUTES, &whole()).await;
    let mut streams = house.streams(TOKEN).await;
    let mut others = if routes == ROUTES { Some(house.streams("token-of-another-1").await) } else { None };
    house.change(routes, tokens).await;
    for (stream, expected) in streams.iter_mut().zip(&expected) {
        assert_eq!(&stream.end().await, expected, "{cause}");
    }
    assert!(house.upstreams_heard(&["ws", "events", "call"]).await, "the upstream goes on");
    let (audit, metrics) = house.told().await;
    let name = format!("scopegate_streams_ended_total{{cause=\"{cause}\"}}");
    assert_eq!(metrics.iter().filter_map(|metrics| metric(metrics, &name)).sum::<f64>(), 3.0, "{name}");
    let ended: Vec<&str> = audit.lines().filter(|line| line.contains("\"kind\":\"stream_ended\"")).collect();
    assert_eq!(ended.len(), 3, "{audit}");
    for line in ended {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["cause"], &line["door"]), (&json!(cause), &json!("proxy")));
        let let_in = format!("\"id\":\"{}\",\"door\":\"proxy\",\"outcome\":\"allow\"", line["id"].as_str().unwrap());
        assert_eq!(audit.matches(&let_in).count(), 1, "the decision that let it in is named");
    }
    for stream in others.iter_mut().flatten() {
        stream.is_open().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_away_ends_its_streams() {
    let others = r#"[{"id": "other", "token": "token-of-another-1", "scopes": ["app:use"]}]"#;
    ended_by(ROUTES, others, End::of_credential("credential revoked"), "revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_disabled_ends_its_streams() {
    ended_by(ROUTES, &tokens(r#""scopes": ["app:use"], "disabled": true"#), End::of_credential("credential revoked"), "revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_by_a_reload_ends_its_streams() {
    let past = tokens(r#""scopes": ["app:use"], "expires_at": "2001-01-01T00:00:00Z""#);
    ended_by(ROUTES, &past, End::of_credential("credential expired"), "expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_taken_away_ends_its_streams() {
    ended_by(ROUTES, &tokens(r#""scopes": ["other:use"]"#), End::of_scope(), "scope").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_needs_more_ends_its_streams() {
    let more = "routes: {/ws: app:more, /events: [app:use, app:more], /call: {any_scopes: [app:more, app:most]}}\n";
    ended_by(more, &whole(), End::of_scope(), "scope").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_closed_ends_its_streams() {
    ended_by("routes: {/ws: deny, /events: deny, /other: public}\n", &whole(), End::of_scope(), "scope").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_stream_ends_when_its_route_is_public_no_more() {
    let house = House::open("routes: {/ws: public, /events: public, /call: public}\n", &whole()).await;
    let mut streams = house.streams("").await;
    house.change(ROUTES, &whole()).await;
    for (stream, expected) in streams.iter_mut().zip(End::of_credential("credential revoked")) {
        assert_eq!(stream.end().await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_at_the_second_in_which_the_token_does() {
    let until = now() + 4;
    let at = |second| jiff::Timestamp::from_second(second).unwrap().to_string();
    let listed = tokens(&format!(r#""scopes": ["app:use"], "expires_at": "{}""#, at(until)));
    let house = House::open(ROUTES, &listed).await;
    for stream in house.streams(TOKEN).await.iter_mut() {
        assert_eq!(stream.end().await, stream.expired());
        assert!(now() >= until, "not before its time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_the_exp_and_leeway_of_a_signed_token() {
    const SECRET: &str = "a-shared-secret-of-the-tests-0123456789";
    let source = format!("credentials: {{users: {{kind: jwt, secret: {SECRET}, algorithms: HS256, leeway: 2s}}}}\n");
    let house = House::open(&format!("{ROUTES}{source}"), &whole()).await;
    let exp = now() + 2;
    let token = hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), &json!({"sub": "me", "exp": exp, "scope": "app:use"}));
    for stream in house.streams(&token).await.iter_mut() {
        assert_eq!(stream.end().await, stream.expired());
        assert!(now() >= exp + 2, "the leeway counts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_issuer_says_no_or_nothing() {
    for answer in [r#"{"active":false}"#, ""] {
        let said = std::sync::Arc::new(std::sync::Mutex::new(r#"{"active":true,"sub":"me","scope":"app:use"}"#));
        let says = std::sync::Arc::clone(&said);
        let issuer = Upstream::serving(move |mut wire: Wire, _: Message| {
            let body = *says.lock().unwrap();
            async move {
                wire.send(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
                Some(wire)
            }
        })
        .await;
        let source = format!(
            "credentials: {{opaque: {{kind: introspection, url: 'http://{}/ask', client_id: a, client_secret: b, cache: 1s, timeout: 5s}}}}\n",
            issuer.address
        );
        let house = House::open(&format!("{ROUTES}{source}"), &whole()).await;
        let mut streams = house.streams("opaque-token-0123456789").await;
        issuer.take();
        until("the issuer is asked again", async || (!issuer.take().is_empty()).then_some(())).await;
        for stream in &mut streams {
            stream.is_open().await;
        }
        *said.lock().unwrap() = answer;
        for (stream, expected) in streams.iter_mut().zip(End::of_credential("credential revoked")) {
            assert_eq!(stream.end().await, expected, "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_unrelated_reloads_close_nothing_and_fail_no_request() {
    let house = House::open(ROUTES, &whole()).await;
    let mut streams = house.streams(TOKEN).await;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = house.load("/other", std::sync::Arc::clone(&done));
    for index in 0..100 {
        let more = format!(r#"[{{"id": "app", "token": "{TOKEN}", "scopes": ["app:use", "more:n{index}"]}}]"#);
        house.change(&ROUTES.replace('}', &format!(", /n{index}: deny}}")), &more).await;
        if index % 10 == 0 {
            for stream in &mut streams {
                stream.is_open().await;
            }
        }
    }
    for stream in &mut streams {
        stream.is_open().await;
    }
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(load.await.unwrap() > 100);
    let (audit, _) = house.told().await;
    assert!(!audit.contains("stream_ended"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_end_on_every_way_that_they_can_take() {
    let house = House::open(ROUTES, &whole()).await;
    let (mut multiplexed, mut posted) = house.other_events(TOKEN).await;
    posted.is_open().await;
    house.change(ROUTES, &tokens(r#""scopes": ["other:use"]"#)).await;
    assert_eq!(posted.end().await, End::Events);
    let ended = async {
        while let Some(data) = multiplexed.data().await {
            let _ = multiplexed.flow_control().release_capacity(data.expect("no reset").len());
        }
        multiplexed.trailers().await.unwrap()
    };
    assert_eq!(tokio::time::timeout(crate::harness::DEADLINE, ended).await.expect("in time"), None);
    let (_, [metrics, _]) = house.told().await;
    assert_eq!(metric(&metrics, "scopegate_streams_ended_total{cause=\"scope\"}"), Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_reload_closes_nothing() {
    let house = House::open(ROUTES, &whole()).await;
    let mut streams = house.streams(TOKEN).await;
    for gate in house.gates() {
        write_secret(&gate.folder.path().join("tokens.json"), "[{");
        assert_eq!(gate.reload().await.status, 422);
    }
    for stream in &mut streams {
        stream.is_open().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_last_is_nobodys_business() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nok").await;
    let gate = crate::harness::Gate::before(upstream, ROUTES, &whole()).await;
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(format!("GET /events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n\r\n")).await;
    wire.response_head().await;
    assert_eq!(wire.bytes(2).await, b"ok");
    let others = r#"[{"id": "other", "token": "token-of-another-1", "scopes": ["app:use"]}]"#;
    write_secret(&gate.folder.path().join("tokens.json"), others);
    assert_eq!(gate.reload().await.status, 200);
    // Long enough for a stream to have ended: one of another gate has.
    ended_by(ROUTES, others, End::of_credential("credential revoked"), "revoked").await;
    let waited = tokio::time::timeout(Duration::from_millis(1), wire.is_closed()).await;
    assert!(waited.is_err(), "a download that was begun is brought to its end");
}
