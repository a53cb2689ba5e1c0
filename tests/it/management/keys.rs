//! A key from the day it is made to the day it is revoked (the whole table of keys).

use serde_json::json;

use super::{ADMIN, BARE, Desk, KEYS, READER, STRANGER, call, orders, said, text};
use crate::harness::wire::value;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_opens_what_its_scopes_open() {
    let desk = Desk::new().await;
    let reply = desk.call(&format!("POST {KEYS}"), ADMIN, Some(&json!({"name": "Production API", "scopes": ["*"]}))).await;
    let made = said(&reply);
    assert_eq!((reply.status, value(&reply.headers, "cache-control")), (201, Some("no-store".into())), "{made}");
    let names: Vec<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["id", "key", "prefix", "name", "scopes", "tenant", "created_at", "expires_at"]);
    let (id, key) = (text(&made, "id"), text(&made, "key"));
    assert_eq!((text(&made, "prefix"), &made["name"], &made["scopes"]), (format!("sg_live_{id}"), &json!("Production API"), &json!(["*"])));
    assert_eq!((&made["tenant"], &made["expires_at"]), (&json!(null), &json!(null)));
    assert!(text(&made, "created_at").parse::<jiff::Timestamp>().is_ok());
    // At once, on this node, in whatever case the header's name is.
    for name in ["x-api-key", "X-API-Key", "X-Api-KEY"] {
        let reply = desk.with("DELETE /users", &format!("{name}: {key}\r\n")).await;
        assert_eq!(reply.status, 200, "{name}");
    }
    let (status, shown) = desk.get(&format!("{KEYS}/{id}"), READER).await;
    assert_eq!((status, shown.get("key")), (200, None));
    assert_eq!((&shown["enabled"], &shown["request_count"], &shown["id"]), (&json!(true), &json!(0), &json!(id)));
    assert!(shown.as_object().unwrap().contains_key("last_used_at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_holds_its_scopes_and_no_others() {
    let desk = Desk::new().await;
    let (_, key) = desk.made(ADMIN, orders()).await;
    assert_eq!(desk.uses("GET /orders", &key).await, 200);
    let reply = desk.with("DELETE /users", &format!("x-api-key: {key}\r\n")).await;
    assert_eq!((reply.status, &said(&reply)["error"]), (403, &json!("insufficient_scope")));
    assert_eq!(desk.uses("GET /any", &key).await, 200);
    assert_eq!(desk.uses("GET /nowhere", &key).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_every_key_once() {
    let desk = Desk::new().await;
    let mut made = Vec::new();
    for index in 0..7 {
        made.push(desk.made(ADMIN, json!({"name": format!("key {index}"), "scopes": ["orders:read"]})).await.0);
    }
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = desk.get(&format!("{KEYS}?limit=3{cursor}"), READER).await;
        assert_eq!(status, 200, "{page}");
        let keys = page["keys"].as_array().unwrap();
        assert!(keys.len() <= 3 && keys.iter().all(|key| key.get("key").is_none()));
        listed.extend(keys.iter().map(|key| text(key, "id")));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    made.sort_unstable();
    assert_eq!(listed, made);
    for bad in ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=1&limit=2", "page=2", "cursor=%zz"] {
        let (status, _) = desk.get(&format!("{KEYS}?{bad}"), READER).await;
        assert!(status == 422 || status == 400, "{bad}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_holds_at_once_and_leaves_the_rest() {
    let desk = Desk::new().await;
    let (id, key) = desk.made(ADMIN, orders()).await;
    let (status, changed) = desk.patch(&id, ADMIN, json!({"name": "Renamed"})).await;
    assert_eq!((status, &changed["name"], &changed["scopes"]), (200, &json!("Renamed"), &json!(["orders:read"])));
    assert_eq!(desk.uses("GET /orders", &key).await, 200);
    assert_eq!(desk.patch(&id, ADMIN, json!({"enabled": false})).await.1["enabled"], json!(false));
    let refused = desk.with("GET /orders", &format!("x-api-key: {key}\r\n")).await;
    assert_eq!((refused.status, &said(&refused)["error"]), (401, &json!("unauthorized")));
    desk.patch(&id, ADMIN, json!({"enabled": true, "scopes": ["users:delete"]})).await;
    assert_eq!((desk.uses("GET /orders", &key).await, desk.uses("DELETE /users", &key).await), (403, 200));
    let (_, changed) = desk.patch(&id, ADMIN, json!({"expires_at": "2090-01-31T00:00:00Z"})).await;
    assert_eq!(changed["expires_at"], json!("2090-01-31T00:00:00Z"));
    assert_eq!(desk.patch(&id, ADMIN, json!({})).await.1["expires_at"], json!("2090-01-31T00:00:00Z"));
    assert_eq!(desk.patch(&id, ADMIN, json!({"expires_at": null})).await.1["expires_at"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_gone() {
    let desk = Desk::new().await;
    let (id, key) = desk.made(ADMIN, orders()).await;
    assert_eq!(desk.uses("GET /orders", &key).await, 200);
    assert_eq!(desk.delete(&id, ADMIN).await, 204);
    assert_eq!(desk.uses("GET /orders", &key).await, 401);
    assert_eq!(desk.delete(&id, ADMIN).await, 404);
    assert_eq!((desk.get(&format!("{KEYS}/{id}"), ADMIN).await.0, desk.patch(&id, ADMIN, json!({"enabled": true})).await.0), (404, 404));
    assert_eq!(desk.post(&format!("{KEYS}/{id}/rotate"), ADMIN, json!({})).await.0, 404);
    assert_eq!(desk.all().await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_gets_near_a_key() {
    let desk = Desk::new().await;
    let (id, key) = desk.made(ADMIN, orders()).await;
    let calls = [
        (format!("POST {KEYS}"), Some(orders())),
        (format!("POST {KEYS}/import"), Some(json!({"keys": []}))),
        (format!("GET {KEYS}"), None),
        (format!("GET {KEYS}/{id}"), None),
        (format!("PATCH {KEYS}/{id}"), Some(json!({"enabled": false}))),
        (format!("POST {KEYS}/{id}/rotate"), Some(json!({}))),
        (format!("DELETE {KEYS}/{id}"), None),
    ];
    for door in [desk.0.admin(), desk.0.proxy()] {
        for (line, body) in &calls {
            let nobody = call(door, line, "", body.as_ref()).await;
            assert_eq!((nobody.status, value(&nobody.headers, "www-authenticate")), (401, Some("Bearer realm=\"scopegate\"".into())), "{line}");
            assert_eq!(call(door, line, "token-of-nobody-0123", body.as_ref()).await.status, 401, "{line}");
            let stranger = call(door, line, STRANGER, body.as_ref()).await;
            assert_eq!((stranger.status, &said(&stranger)["error"]), (403, &json!("insufficient_scope")), "{line}");
            if !line.starts_with("GET") {
                let reader = said(&call(door, line, READER, body.as_ref()).await);
                assert_eq!(reader["required_scope"], json!("apikeys:write"), "{line}");
            }
        }
    }
    // A key is a credential like any other: without the scope, it is nobody's helper.
    let reply = desk.with(&format!("GET {KEYS}"), &format!("x-api-key: {key}\r\n")).await;
    assert_eq!(reply.status, 403);
    let (_, keeper) = desk.made(BARE, json!({"name": "Keeper", "scopes": ["apikeys:read"]})).await;
    let reply = desk.with(&format!("GET {KEYS}"), &format!("x-api-key: {keeper}\r\n")).await;
    assert_eq!((reply.status, said(&reply)["keys"].as_array().unwrap().len()), (200, 2));
    let audit = desk.0.audit().await;
    assert!(audit.contains("\"management\"") && audit.contains("PATCH /tenant/api-keys/{id}"), "{audit}");
}
