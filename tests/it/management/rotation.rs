//! A new secret for a key, while the old one goes on for as long as it was given.

use serde_json::json;

use super::{ADMIN, Desk, KEYS, call, orders, said, text};
use crate::harness::{ask, tcp, until};

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_work_until_the_grace_ends() {
    let desk = Desk::new().await;
    let (id, old) = desk.made(ADMIN, orders()).await;
    let (status, rotated) = desk.post(&format!("{KEYS}/{id}/rotate"), ADMIN, json!({"grace_seconds": 2})).await;
    assert_eq!(status, 200, "{rotated}");
    let new = text(&rotated, "key");
    assert_eq!((text(&rotated, "id"), text(&rotated, "prefix")), (id.clone(), format!("sg_live_{id}")));
    assert!(text(&rotated, "old_key_expires_at").parse::<jiff::Timestamp>().is_ok());
    assert_ne!(old, new);
    assert_eq!(desk.uses("GET /orders", &new).await, 200);
    until("the old secret ends", async || (desk.uses("GET /orders", &old).await == 401).then_some(())).await;
    assert_eq!(desk.uses("GET /orders", &new).await, 200);
    // The grace is over, so that there may be another one.
    assert_eq!(desk.post(&format!("{KEYS}/{id}/rotate"), ADMIN, json!({"grace_seconds": 0})).await.0, 200);
    assert_eq!(desk.uses("GET /orders", &new).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_grace_both_count_and_no_second_rotation_is_let_in() {
    let desk = Desk::new().await;
    let (id, old) = desk.made(ADMIN, orders()).await;
    let (_, rotated) = desk.post(&format!("{KEYS}/{id}/rotate"), ADMIN, json!({})).await;
    let new = text(&rotated, "key");
    let day = text(&rotated, "old_key_expires_at").parse::<jiff::Timestamp>().unwrap().as_second() - scopegate::gate::unix_now();
    assert!((86_300..=86_400).contains(&day), "{day}");
    assert_eq!((desk.uses("GET /orders", &old).await, desk.uses("GET /orders", &new).await), (200, 200));
    let (status, refused) = desk.post(&format!("{KEYS}/{id}/rotate"), ADMIN, json!({})).await;
    assert_eq!((status, &refused["error"]), (409, &json!("conflict")));
    assert_eq!(desk.get(&format!("{KEYS}/{id}"), ADMIN).await.1["old_key_expires_at"], rotated["old_key_expires_at"]);
    // Revoked within the grace, both stop at once.
    assert_eq!(desk.delete(&id, ADMIN).await, 204);
    assert_eq!((desk.uses("GET /orders", &old).await, desk.uses("GET /orders", &new).await), (401, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rotations_at_once_one_wins() {
    let desk = Desk::new().await;
    let (id, _) = desk.made(ADMIN, orders()).await;
    let (path, body) = (format!("{KEYS}/{id}/rotate"), json!({}));
    let rotate = || desk.post(&path, ADMIN, body.clone());
    let all = tokio::join!(rotate(), rotate(), rotate(), rotate());
    let mut statuses = [all.0.0, all.1.0, all.2.0, all.3.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_is_from_nothing_to_a_week() {
    let desk = Desk::new().await;
    let (id, key) = desk.made(ADMIN, orders()).await;
    for grace in [json!(-1), json!(604_801), json!("60"), json!(1.5), json!(null), json!([60])] {
        let (status, refused) = desk.post(&format!("{KEYS}/{id}/rotate"), ADMIN, json!({"grace_seconds": grace})).await;
        assert_eq!((status, &refused["faults"][0]["path"]), (422, &json!("grace_seconds")), "{grace}");
    }
    assert_eq!(desk.uses("GET /orders", &key).await, 200);
    assert_eq!(desk.post(&format!("{KEYS}/{id}/rotate"), ADMIN, json!({"grace_seconds": 604_800})).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rotations_at_two_replicas_one_wins_and_both_know_the_new_secret() {
    let desk = Desk::new().await;
    let config = scopegate::config::Input::File(desk.0.folder.path().join("scopegate.yaml"));
    let other = scopegate::app::start(config, std::io::sink()).await.unwrap();
    let (id, _) = desk.made(ADMIN, orders()).await;
    let (line, doors) = (format!("POST {KEYS}/{id}/rotate"), [desk.0.admin(), tcp(&other.addresses.admin)]);
    let body = json!({"grace_seconds": 60});
    let rotate = |door| call(door, &line, ADMIN, Some(&body));
    let (one, two) = tokio::join!(rotate(doors[0]), rotate(doors[1]));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let won = if one.status == 200 { one } else { two };
    let new = text(&said(&won), "key");
    let request = format!("GET /orders HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\nx-api-key: {new}\r\n\r\n");
    for door in [desk.0.proxy(), tcp(&other.addresses.proxy)] {
        until("the replica knows it", async || (ask(door, &request).await.status == 200).then_some(())).await;
    }
    other.stop().await;
}
