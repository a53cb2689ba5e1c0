//! With the store out of reach, every operation says so, known keys go on, and nothing is half done.

use serde_json::json;

use super::{ADMIN, Desk, KEYS, call, orders, said};
use crate::harness::Gate;
use crate::harness::wire::value;

#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_every_operation_is_503_and_known_keys_go_on() {
    let desk = Desk::new().await;
    let (id, key) = desk.made(ADMIN, orders()).await;
    desk.0.running.gate.live.keeper().unwrap().store().close().await;
    for (line, body) in [
        (format!("POST {KEYS}"), Some(orders())),
        (format!("POST {KEYS}/import"), Some(json!({"keys": [{"key": "0b0e2b5c-6f0f-4b0a-9d0e-3a1f8f1f2a3b", "name": "a", "scopes": ["a:b"]}]}))),
        (format!("GET {KEYS}"), None),
        (format!("GET {KEYS}/{id}"), None),
        (format!("PATCH {KEYS}/{id}"), Some(json!({"enabled": false}))),
        (format!("POST {KEYS}/{id}/rotate"), Some(json!({}))),
        (format!("DELETE {KEYS}/{id}"), None),
    ] {
        for door in [desk.0.admin(), desk.0.proxy()] {
            let reply = call(door, &line, ADMIN, body.as_ref()).await;
            assert_eq!((reply.status, &said(&reply)["error"]), (503, &json!("temporarily_unavailable")), "{line}");
            assert_eq!(value(&reply.headers, "retry-after").as_deref(), Some("1"), "{line}");
        }
        // What is wrong in itself is told without the store.
        if let Some(mut body) = body {
            body["nonsense"] = json!(1);
            assert_eq!(desk.call(&line, ADMIN, Some(&body)).await.status, 422, "{line}");
        }
    }
    assert_eq!(desk.uses("GET /orders", &key).await, 200);
    let Gate { running, upstream, folder, .. } = desk.0;
    running.stop().await;
    let desk = Desk(Gate::at(folder, upstream).await);
    assert_eq!(desk.all().await.as_array().unwrap().len(), 1);
    assert_eq!((desk.uses("GET /orders", &key).await, desk.get(&format!("{KEYS}/{id}"), ADMIN).await.1["enabled"].clone()), (200, json!(true)));
}

/// A key is written, and the book cannot be read after it: a table that only the reading needs is elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_away_is_not_said_to_hold_where_this_node_cannot_know() {
    let desk = Desk::new().await;
    let (id, key) = desk.made(ADMIN, orders()).await;
    let store = desk.0.running.gate.live.keeper().unwrap().store().clone();
    let rename = async |sql| {
        let mut work = store.atomic().await.unwrap();
        work.execute(sql, vec![]).await.unwrap();
        work.commit().await.unwrap();
    };
    rename("ALTER TABLE mfa RENAME TO elsewhere").await;
    let change = desk.call(&format!("PATCH {KEYS}/{id}"), ADMIN, Some(&json!({"enabled": false}))).await;
    let taken = desk.call(&format!("DELETE {KEYS}/{id}"), ADMIN, None).await;
    for reply in [change, taken] {
        assert_eq!((reply.status, &said(&reply)["error"]), (503, &json!("temporarily_unavailable")));
    }
    // A secret is shown only once, and whoever made it needs it.
    let made = desk.call(&format!("POST {KEYS}"), ADMIN, Some(&orders())).await;
    assert_eq!(made.status, 201);
    rename("ALTER TABLE elsewhere RENAME TO mfa").await;
    desk.0.running.gate.live.keeper().unwrap().refresh().await.unwrap();
    assert_eq!(desk.uses("GET /orders", &key).await, 401);
    assert_eq!(desk.uses("GET /orders", said(&made)["key"].as_str().unwrap()).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_there_are_no_operations() {
    let gate = Gate::start("roles: {reader: [orders:read]}\nroutes: {/: public}\n", super::TOKENS).await;
    let reply = call(gate.admin(), &format!("GET {KEYS}"), ADMIN, None).await;
    assert_eq!((reply.status, &said(&reply)["error"]), (503, &json!("temporarily_unavailable")));
    assert_eq!(call(gate.admin(), &format!("GET {KEYS}"), "", None).await.status, 401);
}
