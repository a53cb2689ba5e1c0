//! A create that is tried again, because nobody knows whether it was done.

use serde_json::{Value, json};

use super::{ACME, ADMIN, Desk, KEYS, orders, said, text};
use crate::harness::ask;
use crate::harness::wire::Reply;

async fn post(desk: &Desk, path: &str, (token, once): (&str, &str), body: &Value) -> Reply {
    let body = body.to_string();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\nauthorization: Bearer {token}\r\nidempotency-key: {once}\r\n");
    ask(desk.0.admin(), format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_create_makes_one_key_and_answers_the_same_bytes() {
    let desk = Desk::new().await;
    let first = post(&desk, KEYS, (ADMIN, "one"), &orders()).await;
    let again = post(&desk, KEYS, (ADMIN, "one"), &orders()).await;
    assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));
    assert_eq!(desk.all().await.as_array().unwrap().len(), 1);
    assert_eq!(desk.uses("GET /orders", &text(&said(&again), "key")).await, 200);
    let other = post(&desk, KEYS, (ADMIN, "two"), &orders()).await;
    assert_ne!(other.body, first.body);
    assert_eq!(desk.all().await.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_the_same_key_is_refused() {
    let desk = Desk::new().await;
    let first = said(&post(&desk, KEYS, (ADMIN, "one"), &orders()).await);
    let refused = post(&desk, KEYS, (ADMIN, "one"), &json!({"name": "Other", "scopes": ["orders:read"]})).await;
    assert_eq!((refused.status, &said(&refused)["faults"][0]["path"]), (422, &json!("Idempotency-Key")));
    let rotate = post(&desk, &format!("{KEYS}/{}/rotate", text(&first, "id")), (ADMIN, "one"), &json!({})).await;
    assert_eq!(rotate.status, 422);
    for bad in ["", "a b", &"x".repeat(256)] {
        assert_eq!(post(&desk, KEYS, (ADMIN, bad), &orders()).await.status, 422, "{bad}");
    }
    assert_eq!(desk.all().await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_nobody_elses() {
    let desk = Desk::new().await;
    let first = post(&desk, KEYS, (ADMIN, "one"), &orders()).await;
    let other = post(&desk, KEYS, (ACME, "one"), &orders()).await;
    assert_eq!(other.status, 201);
    assert_ne!(text(&said(&first), "key"), text(&said(&other), "key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_tries_at_once_one_makes_the_key_and_all_get_it() {
    let desk = Desk::new().await;
    let body = orders();
    let tries = || post(&desk, KEYS, (ADMIN, "at-once"), &body);
    let all = tokio::join!(tries(), tries(), tries(), tries());
    let all = [all.0, all.1, all.2, all.3];
    assert!(all.iter().all(|reply| reply.status == 201 && reply.body == all[0].body));
    assert_eq!(desk.all().await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_whose_answer_was_lost_is_answered_again() {
    let desk = Desk::new().await;
    let (id, _) = desk.made(ADMIN, orders()).await;
    let path = format!("{KEYS}/{id}/rotate");
    let first = post(&desk, &path, (ADMIN, "rotation"), &json!({})).await;
    let again = post(&desk, &path, (ADMIN, "rotation"), &json!({})).await;
    assert_eq!((first.status, again.status, &first.body), (200, 200, &again.body));
    assert_eq!(desk.uses("GET /orders", &text(&said(&again), "key")).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_may_be_tried_again_in_another_way() {
    let desk = Desk::new().await;
    assert_eq!(post(&desk, KEYS, (ADMIN, "one"), &json!({"name": "Key"})).await.status, 422);
    assert_eq!(post(&desk, KEYS, (ADMIN, "one"), &orders()).await.status, 201);
}
