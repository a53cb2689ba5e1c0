//! aibtcdev-backend's four ways in, row by row, with its example.

mod people;
mod sockets;
mod store;

use serde_json::{Value, json};

use crate::harness::everywhere::{Doors, Request, Said};
use crate::harness::frames::{UPGRADE, agreed, frame};
use crate::harness::process::{Serving, refused};
use crate::harness::sign::{hs256, now};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire, value};
use crate::harness::{ask, example, until};
use crate::management::call;
use people::{People, Town};

const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";
const WEBHOOK: &str = "your_webhook_secret_token";
const OPERATOR: &str = "token-of-the-operator-of-profiles";
const VARIABLES: [(&str, &str); 3] =
    [("SESSION_JWT_SECRET", SECRET), ("AIBTC_WEBHOOK_AUTH_TOKEN", "Bearer your_webhook_secret_token"), ("OPERATOR_TOKEN", OPERATOR)];
/// Ada's key, and Bob's, which is switched off.
const KEY: &str = "12345678-1234-1234-1234-123456789abc";
const DISABLED: &str = "7d1f4c0e-93a5-4b6e-8c2d-5e0a9b1c3f72";
const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
const EVE: &str = "eve@example.com";

fn text() -> String {
    example::text("aibtcdev", "scopegate.yaml")
}

/// Agrees to every upgrade, sends one frame back and closes; answers anything else.
async fn backend() -> Upstream {
    Upstream::serving(async |mut wire: Wire, request: Message| {
        if value(&request.headers, "upgrade").is_none() {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            return Some(wire);
        }
        wire.send(agreed(&request)).await;
        let (opcode, payload, _) = wire.frame().await?;
        wire.send(frame(opcode, &payload, false)).await;
        None
    })
    .await
}

async fn gate() -> Town {
    Town::of(example::gate_before(backend().await, "aibtcdev", &example::filled(&text(), &VARIABLES)).await).await
}

/// A session's token, with these claims beside its usual ones.
fn session(more: &[(&str, Value)]) -> String {
    let mut claims = json!({"sub": "0b7c", "aud": "authenticated", "role": "authenticated", "email": EVE, "iat": now(), "exp": now() + 3600});
    more.iter().for_each(|(name, value)| claims[*name] = value.clone());
    hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), &claims)
}

fn tools() -> Request {
    Request::get("/tools/available")
}

fn chat(query: &str) -> Request {
    Request::websocket(format!("/chat/ws{query}"))
}

fn webhook(path: &str, authorization: &str) -> Request {
    Request::new("POST", path).header("authorization", authorization)
}

const WEBHOOKS: [&str; 2] = ["/webhooks/chainhook", "/webhooks/dao"];

fn is_refused(said: &Said) -> bool {
    said.is_denied(401, "invalid_credential")
}

#[tokio::test(flavor = "multi_thread")]
async fn a01_there_are_four_ways_in() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    for (request, credential) in [
        (tools().bearer(&session(&[])), "sessions"),
        (tools().header("X-API-Key", KEY), "keys"),
        (chat(&format!("?token={}", session(&[]))), "sessions"),
        (webhook(WEBHOOKS[0], &format!("Bearer {WEBHOOK}")), "webhooks"),
    ] {
        let said = doors.ask(&request).await;
        assert_eq!((said.status, said.told("x-scopegate-credential").as_deref()), (200, Some(credential)), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a02_a_session_is_a_signed_token_whose_user_is_its_address() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let said = doors.ask(&tools().bearer(&session(&[]))).await;
    assert_eq!((said.status, said.told("x-user-email").as_deref()), (200, Some(EVE)));
    assert_eq!(said.told("x-scopegate-id").as_deref(), Some(&*gate.people.eve), "the profile of the address");
    let other_key = hs256(
        b"another-secret-of-more-than-32-characters",
        &json!({"alg": "HS256"}),
        &json!({"email": EVE, "aud": "authenticated", "exp": now() + 60}),
    );
    for bad in [
        session(&[("email", Value::Null)]),
        session(&[("email", "".into())]),
        session(&[("email", json!([EVE]))]),
        session(&[("email_verified", false.into())]),
        session(&[("exp", (now() - 120).into())]),
        session(&[("exp", Value::Null)]),
        session(&[("aud", "anon".into())]),
        session(&[("aud", Value::Null)]),
        session(&[("nonce", "an-id-token".into())]),
        other_key,
    ] {
        let said = doors.ask(&tools().bearer(&bad)).await;
        assert!(is_refused(&said), "{bad}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a03_a_header_without_bearer_and_an_invalid_token_are_401() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    assert!(doors.ask(&tools()).await.is_denied(401, "no_credential"));
    assert!(doors.ask(&tools().header("authorization", "invalid_format")).await.is_denied(401, "no_credential"));
    assert!(doors.ask(&tools().header("authorization", &session(&[]))).await.is_denied(401, "no_credential"));
    assert!(is_refused(&doors.ask(&tools().header("authorization", "Bearer invalid_token")).await));
    assert_eq!(doors.ask(&tools().bearer(&session(&[]))).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a04_a_key_is_a_uuid_that_is_known_and_switched_on() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let mut says = async |key: &str| doors.ask(&tools().header("x-api-key", key)).await;
    for key in [KEY, &KEY.to_uppercase()] {
        let said = says(key).await;
        assert_eq!((said.status, said.told("x-user-email").as_deref()), (200, Some(ADA)));
        assert_eq!(said.told("x-scopegate-id").as_deref(), Some(&*gate.people.ada));
    }
    let undashed = KEY.replace('-', "");
    // Forms that Python's `uuid.UUID` takes for the same key, keys that there are not, and what is none.
    for bad in [
        DISABLED,
        "12345678-1234-1234-1234-123456789abd",
        &undashed,
        &format!("{{{KEY}}}"),
        &format!("urn:uuid:{KEY}"),
        "1-2345678123412341234123456789abc",
        "12345678-1234-1234-1234-123456789ab",
        &format!("{KEY}0"),
        &format!("Bearer {KEY}"),
        "not-a-uuid",
        ADA,
    ] {
        let said = says(bad).await;
        assert!(is_refused(&said), "{bad}: {said:?}");
    }
    assert!(is_refused(&doors.ask(&tools().bearer(KEY)).await), "a key is no token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a09_the_webhooks_variable_says_its_scheme_or_not_and_is_never_empty_or_weak() {
    let upstream = backend().await;
    let desk = example::desk("aibtcdev", &text(), upstream.address);
    let config = desk.path().join("scopegate.yaml");
    let [secret, _, operator] = VARIABLES;
    for value in ["Bearer your_webhook_secret_token", "bearer  your_webhook_secret_token", WEBHOOK] {
        let serving = Serving::start(&config, &[secret, operator, ("AIBTC_WEBHOOK_AUTH_TOKEN", value)]).await;
        let line = format!("POST /webhooks/dao HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {WEBHOOK}\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(ask(serving.address("proxy"), line).await.status, 200, "{value}");
    }
    for (value, why) in [
        ("", "variable `AIBTC_WEBHOOK_AUTH_TOKEN` is empty"),
        ("Bearer ", "credential `webhooks` has no token"),
        ("Bearer", "credential `webhooks` has no token"),
        // What the real one takes where nothing is set.
        ("Bearer 1234567890", "has a token of under 16 characters"),
        ("Bearer your_webhook_secret_token extra", "has white space in its token"),
    ] {
        let said = refused(&config, &[secret, operator, ("AIBTC_WEBHOOK_AUTH_TOKEN", value)]);
        assert!(said.contains(why) && !said.contains("1234567890") && !said.contains(WEBHOOK), "{value}: {said}");
    }
    assert!(refused(&config, &[secret, operator]).contains("variable `AIBTC_WEBHOOK_AUTH_TOKEN` is not set in the environment"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_the_webhooks_take_their_token_and_no_part_of_it() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    for path in WEBHOOKS {
        let said = doors.ask(&webhook(path, &format!("Bearer {WEBHOOK}"))).await;
        assert_eq!((said.status, said.told("x-scopegate-id").as_deref()), (200, Some("webhooks")), "{path}");
        for bad in [
            format!("Bearer {WEBHOOK} extra"),
            format!("Bearer {WEBHOOK}x"),
            format!("Bearer {}", &WEBHOOK[1..]),
            format!("Bearer {}", &WEBHOOK[..24]),
            format!("Bearer {}", WEBHOOK.to_uppercase()),
            format!("Bearer Bearer {WEBHOOK}"),
            "Bearer ".to_owned(),
            "Bearer".to_owned(),
        ] {
            let said = doors.ask(&webhook(path, &bad)).await;
            assert!(is_refused(&said), "{bad}: {said:?}");
        }
        for none in [WEBHOOK.to_owned(), format!("Token {WEBHOOK}"), String::new()] {
            assert!(doors.ask(&webhook(path, &none)).await.is_denied(401, "no_credential"), "{none}");
        }
        assert!(doors.ask(&Request::get(path).bearer(WEBHOOK)).await.is_denied(403, "no_rule"), "a webhook is posted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_webhooks_and_users_open_nothing_of_each_other() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    for path in WEBHOOKS {
        for request in [Request::new("POST", path).bearer(&session(&[])), Request::new("POST", path).header("x-api-key", KEY)] {
            assert!(doors.ask(&request).await.is_denied(401, "wrong_credential"), "{request:?}");
        }
        // A key beside the right token decides, and is the wrong one.
        let both = webhook(path, &format!("Bearer {WEBHOOK}")).header("x-api-key", KEY);
        assert!(doors.ask(&both).await.is_denied(401, "wrong_credential"));
    }
    for request in [tools().bearer(WEBHOOK), chat("").bearer(WEBHOOK)] {
        assert!(doors.ask(&request).await.is_denied(401, "wrong_credential"), "{request:?}");
    }
    assert!(is_refused(&doors.ask(&tools().header("x-api-key", WEBHOOK)).await));
    assert!(doors.ask(&Request::get("/elsewhere").bearer(WEBHOOK)).await.is_denied(403, "no_rule"));
    for request in [tools().bearer(OPERATOR), webhook(WEBHOOKS[0], &format!("Bearer {OPERATOR}"))] {
        assert!(doors.ask(&request).await.is_denied(401, "wrong_credential"), "{request:?}");
    }
    for token in [WEBHOOK, &session(&[])] {
        assert_eq!(call(gate.admin(), "GET /profiles", token, None).await.status, 403, "people are the operator's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_no_credential_is_in_any_log_line_metric_or_request_that_goes_on() {
    let upstream = backend().await;
    let desk = example::desk("aibtcdev", &text(), upstream.address);
    let mut variables = VARIABLES.to_vec();
    variables.push(("SCOPEGATE_LOG", "trace"));
    let serving = Serving::start(&desk.path().join("scopegate.yaml"), &variables).await;
    let people = People::settle(serving.address("admin")).await;
    let (good, expired) = (session(&[]), session(&[("exp", (now() - 120).into())]));
    let secrets = [KEY, DISABLED, &*good, &*expired, WEBHOOK, SECRET, OPERATOR, "stray-token-of-nobody"];
    let lines = [
        format!("GET /tools/available HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {good}\r\n\r\n"),
        format!("GET /tools/available HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {expired}\r\n\r\n"),
        format!("GET /tools/available HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\nauthorization: Bearer {good}\r\n\r\n"),
        format!("GET /tools/available?key={KEY}&token={good} HTTP/1.1\r\nhost: a\r\nx-api-key: {DISABLED}\r\n\r\n"),
        format!("GET /tools/available?key={KEY} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer stray-token-of-nobody\r\n\r\n"),
        format!("GET /chat/ws?token={expired} HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n"),
        format!("GET /chat/ws?key={DISABLED}&key={KEY} HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n"),
        format!("POST /webhooks/dao HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {WEBHOOK}\r\ncontent-length: 0\r\n\r\n"),
        format!("GET /{KEY}?key={KEY} HTTP/1.0\r\nhost: a\r\nauthorization: Basic {WEBHOOK}\r\n\r\n"),
    ];
    let mut statuses = Vec::new();
    for line in &lines {
        let reply = ask(serving.address("proxy"), line).await;
        statuses.push(reply.status);
        let told = format!("{:?} {}", reply.headers, reply.text());
        assert!(secrets.iter().all(|secret| !told.contains(secret)), "{told}");
    }
    assert_eq!(statuses, [200, 401, 200, 401, 401, 401, 400, 200, 401]);
    let mut wire = Wire::connect(serving.address("proxy")).await;
    wire.send(format!("GET /chat/ws?key={KEY}&token={good}&room=7 HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n")).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    let told: Vec<String> = upstream.take().iter().map(|message| String::from_utf8_lossy(&message.head).into_owned()).collect();
    assert_eq!(told.len(), 4);
    let metrics = ask(serving.address("admin"), "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await.text();
    // Usage is told: who, by which source, and what became of it.
    let decided = || serving.audit().lines().filter(|line| !line.contains(r#""door":"management""#)).count();
    until("every audit line", async || (decided() == lines.len() + 1).then_some(())).await;
    let audit = serving.audit();
    assert!(audit.contains(&format!(r#""principal":"{}""#, people.ada)) && audit.contains(r#""credential":"keys""#), "{audit}");
    for secret in secrets {
        let hidden = |what: &str, text: &str| assert!(!text.contains(secret), "{secret} is in {what}: {text}");
        // The path is not a place for credentials, and is what the line is about.
        hidden("an audit line", &audit.replace(&format!("/{KEY}"), ""));
        hidden("the log", &serving.log().replace(&format!("/{KEY}"), ""));
        hidden("the metrics", &metrics);
        hidden("what goes on", &told.concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a16_the_probe_of_every_example_tells_good_from_bad() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    assert_eq!(doors.ask(&tools().bearer(&session(&[]))).await.status, 200);
    assert_eq!(doors.ask(&tools().header("X-API-Key", KEY)).await.status, 200);
    assert!(doors.ask(&tools()).await.is_denied(401, "no_credential"));
    let post = Request::new("POST", "/tools/available").header("x-api-key", KEY);
    assert!(doors.ask(&post).await.is_denied(403, "no_rule"));
}
