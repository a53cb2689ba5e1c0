//! How often a key was used, and when last, a few seconds behind.

use serde_json::json;

use super::{ADMIN, Desk, KEYS, orders, text};
use crate::harness::{Gate, until};

#[tokio::test(flavor = "multi_thread")]
async fn allowed_uses_are_counted_and_refused_ones_are_not() {
    let desk = Desk::new().await;
    let (id, key) = desk.made(ADMIN, orders()).await;
    let (other, _) = desk.made(ADMIN, orders()).await;
    for _ in 0..3 {
        assert_eq!(desk.uses("GET /orders", &key).await, 200);
    }
    assert_eq!((desk.uses("DELETE /users", &key).await, desk.uses("GET /open", &key).await), (403, 200));
    let path = format!("{KEYS}/{id}");
    let shown = until("uses are written down", async || {
        let shown = desk.get(&path, ADMIN).await.1;
        (shown["request_count"] != json!(0)).then_some(shown)
    })
    .await;
    assert_eq!(shown["request_count"], json!(3));
    let age = scopegate::gate::unix_now() - text(&shown, "last_used_at").parse::<jiff::Timestamp>().unwrap().as_second();
    assert!((0..60).contains(&age), "{age}");
    let (_, unused) = desk.get(&format!("{KEYS}/{other}"), ADMIN).await;
    assert_eq!((&unused["request_count"], &unused["last_used_at"]), (&json!(0), &json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_writes_down_what_is_left() {
    let desk = Desk::new().await;
    let (id, key) = desk.made(ADMIN, orders()).await;
    assert_eq!(desk.uses("GET /orders", &key).await, 200);
    let Gate { running, upstream, folder, .. } = desk.0;
    running.stop().await;
    let desk = Desk(Gate::at(folder, upstream).await);
    assert_eq!(desk.get(&format!("{KEYS}/{id}"), ADMIN).await.1["request_count"], json!(1));
    assert_eq!(desk.uses("GET /orders", &key).await, 200, "and the key outlives the process");
}
