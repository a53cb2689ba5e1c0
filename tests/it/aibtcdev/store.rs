//! Profiles, keys and sessions that come and go while the gate runs.

use serde_json::json;

use super::{ADA, DISABLED, EVE, KEY, chat, gate, is_refused, session, tools};
use crate::harness::everywhere::{Doors, Request};
use crate::harness::frames::UPGRADE;
use crate::harness::sign::now;
use crate::harness::wire::Wire;
use crate::harness::{DEADLINE, ask};

#[tokio::test(flavor = "multi_thread")]
async fn a12_a_good_session_without_a_profile_is_404_by_every_way_in() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let stranger = session(&[("email", "nobody@example.com".into())]);
    for request in [tools().bearer(&stranger), chat(&format!("?token={stranger}")), chat("").bearer(&stranger)] {
        let said = doors.ask(&request).await;
        assert!(said.is_denied(404, "profile_not_found"), "{request:?}: {said:?}");
    }
    let line = format!("GET /tools/available HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {stranger}\r\n\r\n");
    let reply = ask(gate.proxy(), line).await;
    assert_eq!(reply.text(), r#"{"error":"profile_not_found","message":"Profile not found"}"#);
    // In whatever case somebody signed up.
    let shouted = doors.ask(&tools().bearer(&session(&[("email", "EVE@Example.com".into())]))).await;
    assert_eq!((shouted.status, shouted.told("x-scopegate-id").as_deref()), (200, Some(&*gate.people.eve)));
    gate.people.ask("POST /profiles", &json!({"email": "nobody@example.com"})).await;
    assert_eq!(doors.ask(&tools().bearer(&stranger)).await.status, 200, "found at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a04_a_key_counts_with_its_profile_alone() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let (key, token) = (tools().header("x-api-key", KEY), tools().bearer(&session(&[("email", ADA.into())])));
    for (enabled, status) in [(false, 401), (true, 200)] {
        gate.people.switch_profile(&gate.people.ada, enabled).await;
        for request in [&key, &token] {
            assert_eq!(doors.ask(request).await.status, status, "{request:?}");
        }
    }
    gate.people.ask(&format!("DELETE /profiles/{}", gate.people.ada), &json!({})).await;
    assert!(is_refused(&doors.ask(&key).await), "401 for a key");
    assert!(doors.ask(&token).await.is_denied(404, "profile_not_found"), "and 404 for a session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_key_that_is_switched_off_on_or_revoked_counts_so_at_once() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let mut says = async |key: &str| {
        let mut statuses = Vec::new();
        for request in [tools().header("x-api-key", key), chat(&format!("?key={key}"))] {
            statuses.push(doors.ask(&request).await.status);
        }
        assert_eq!(statuses[0], statuses[1]);
        statuses[0]
    };
    assert_eq!((says(KEY).await, says(DISABLED).await), (200, 401));
    gate.people.switch_key(&gate.people.adas_key, false).await;
    gate.people.switch_key(&gate.people.bobs_key, true).await;
    assert_eq!((says(KEY).await, says(DISABLED).await), (401, 200));
    gate.people.switch_key(&gate.people.adas_key, true).await;
    assert_eq!(says(KEY).await, 200);
    gate.people.ask(&format!("DELETE /tenant/api-keys/{}", gate.people.adas_key), &json!({})).await;
    assert_eq!((says(KEY).await, says(DISABLED).await), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_session_ends_with_its_logout() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let (phone, laptop) = (session(&[("jti", "phone".into())]), session(&[("jti", "laptop".into())]));
    let mut says = async |token: &str| doors.ask(&tools().bearer(token)).await.status;
    assert_eq!((says(&phone).await, says(&laptop).await), (200, 200));
    gate.people.ask("POST /tokens/revoke", &json!({"jti": "phone"})).await;
    assert_eq!((says(&phone).await, says(&laptop).await), (401, 200));
    gate.people.ask("POST /tokens/revoke", &json!({"subject": gate.people.eve})).await;
    assert_eq!(says(&laptop).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a07_an_open_websocket_ends_with_its_key_its_profile_and_its_session() {
    let gate = gate().await;

    let token = session(&[("jti", "of-a-socket".into()), ("exp", (now() + 7200).into())]);
    for (query, what) in [(format!("?key={KEY}"), "key"), (format!("?key={KEY}"), "profile"), (format!("?token={token}"), "session")] {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send(format!("GET /chat/ws{query} HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n")).await;
        assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "), "{what}");
        let people = &gate.people;
        match what {
            "key" => people.switch_key(&people.adas_key, false).await,
            "profile" => people.switch_profile(&people.ada, false).await,
            _ => drop(people.ask("POST /tokens/revoke", &json!({"jti": "of-a-socket"})).await),
        }
        let closed = tokio::time::timeout(DEADLINE, wire.frame()).await.expect("closed in time").expect("a frame");
        assert_eq!((closed.0, &closed.1[..2]), (8, &3000_u16.to_be_bytes()[..]), "{what}");
        people.switch_key(&people.adas_key, true).await;
        people.switch_profile(&people.ada, true).await;
    }
    let mut doors = Doors::open(&gate).await;
    let said = doors.ask(&Request::get("/tools/available").bearer(&session(&[]))).await;
    assert_eq!(said.told("x-user-email").as_deref(), Some(EVE), "others go on");
}
