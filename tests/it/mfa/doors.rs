//! Routes that ask for a second factor, at every door.

use serde_json::{Value, json};

use super::person::{Enrolled, Person, gate, session};
use crate::harness::ask;
use crate::harness::everywhere::{Doors, Request};
use crate::harness::sign::now;
use crate::management::said as json;

fn payout(token: &str) -> Request {
    Request::new("POST", "/payouts").bearer(token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_asks_for_a_second_factor_gets_it_by_the_token_of_its_holder() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let Enrolled { person, codes } = Person::new(&gate, "ada").enrol().await;
    assert!(doors.ask(&payout(&person.token)).await.is_denied(401, "step_up"));
    let shown = person.mfa_token(&person.code(1)).await;
    let with = |token: &str, mfa: &str| payout(token).header("x-mfa-token", mfa);
    assert_eq!(doors.ask(&with(&person.token, &shown)).await.status, 200);
    let eve = Person::new(&gate, "eve").enrol().await.person;
    let same_name = session("ada", &json!({"tenant": "acme"}));
    for token in [&eve.token, &same_name] {
        assert!(doors.ask(&with(token, &shown)).await.is_denied(401, "step_up"), "another's");
    }
    assert!(doors.ask(&payout("token-of-nobody-at-all").header("x-mfa-token", &shown)).await.is_denied(401, "invalid_credential"));
    assert!(doors.ask(&Request::new("POST", "/payouts").header("x-mfa-token", &shown)).await.is_denied(401, "no_credential"));
    assert_eq!(doors.ask(&Request::get("/open").bearer(&shown)).await.status, 401, "it is no credential");

    assert_eq!(person.post("disable", &json!({"code": codes[0]})).await.status, 200);
    assert!(doors.ask(&with(&person.token, &shown)).await.is_denied(401, "step_up"), "its enrolment has ended");
    let again = person.clone().enrol().await;
    assert!(doors.ask(&with(&person.token, &shown)).await.is_denied(401, "step_up"), "and is not the new one");
    let shown = again.person.mfa_token(&again.codes[0]).await;
    assert_eq!(doors.ask(&with(&person.token, &shown)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_says_so_itself_needs_no_token() {
    let gate = gate().await;
    let mut doors = Doors::open(&gate).await;
    let said = |age: i64, more: &Value| {
        let mut claims = json!({"auth_time": now() - age});
        more.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        session("ada", &claims)
    };
    assert_eq!(doors.ask(&payout(&said(200, &json!({"amr": ["pwd", "otp"]})))).await.status, 200);
    for token in [said(301, &json!({"amr": ["pwd", "otp"]})), said(10, &json!({"amr": ["pwd"]})), said(10, &json!({}))] {
        assert!(doors.ask(&payout(&token)).await.is_denied(401, "step_up"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_challenge_says_how_old_it_may_be() {
    let gate = gate().await;
    let line = format!("POST /payouts HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: 0\r\n\r\n", session("ada", &json!({})));
    let reply = ask(gate.proxy(), line).await;
    assert_eq!(reply.text(), r#"{"error":"insufficient_user_authentication","message":"Multi-factor authentication required","max_age":300}"#);
    assert_eq!((reply.status, json(&reply)["max_age"].as_i64()), (401, Some(300)));
    let challenge = reply.header("www-authenticate").unwrap();
    for part in ["Bearer realm=\"scopegate\"", "error=\"insufficient_user_authentication\"", "max_age=\"300\""] {
        assert!(challenge.contains(part), "{challenge}");
    }
}
