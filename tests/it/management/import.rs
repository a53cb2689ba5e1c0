//! Keys that exist already, UUIDs, into managed ones: all or none.

use serde_json::{Value, json};

use super::{ACME, ADMIN, BARE, Desk, KEYS, text};

const ONE: &str = "0b0e2b5c-6f0f-4b0a-9d0e-3a1f8f1f2a3b";
const TWO: &str = "9f8e7d6c-5b4a-4392-8170-a1b2c3d4e5f6";

async fn import(desk: &Desk, token: &str, keys: Value) -> (u16, Value) {
    desk.post(&format!("{KEYS}/import"), token, json!({"keys": keys})).await
}

async fn opens(desk: &Desk, key: &str) -> u16 {
    desk.with("GET /orders", &format!("x-old-key: {key}\r\n")).await.status
}

fn entry(key: &str) -> Value {
    json!({"key": key, "name": "Mobile app", "scopes": ["orders:read"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_key_goes_on_as_it_was() {
    let desk = Desk::new().await;
    assert_eq!(opens(&desk, ONE).await, 401);
    let (status, imported) = import(&desk, ADMIN, json!([entry(ONE), entry(&TWO.to_uppercase())])).await;
    assert_eq!(status, 201, "{imported}");
    assert!(!imported.to_string().contains(&ONE[..8]), "{imported}");
    for (key, status) in [(ONE, 200), (TWO, 200), (&*ONE.to_uppercase(), 200), (&*TWO.to_uppercase(), 200)] {
        assert_eq!(opens(&desk, key).await, status, "{key}");
    }
    for spelled in [format!("{{{ONE}}}"), format!("urn:uuid:{ONE}"), ONE.replace('-', ""), format!("{ONE}x")] {
        assert_eq!(opens(&desk, &spelled).await, 401, "{spelled}");
    }
    // It is no key of the other form, and has no place there.
    assert_eq!(desk.uses("GET /orders", ONE).await, 401);
    let id = text(&imported["keys"][0], "id");
    let (_, rotated) = desk.post(&format!("{KEYS}/{id}/rotate"), ADMIN, json!({"grace_seconds": 0})).await;
    assert_eq!((opens(&desk, ONE).await, opens(&desk, &text(&rotated, "key")).await), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_entry_keeps_all_out_and_every_one_is_named() {
    let desk = Desk::new().await;
    assert_eq!(import(&desk, ADMIN, json!([entry(ONE)])).await.0, 201);
    let keys = json!([
        entry(TWO),
        entry("9f8e7d6c5b4a43928170a1b2c3d4e5f6"),
        {"key": TWO, "scopes": ["orders:read"]},
        {"key": "7d2a0f3e-8c5b-4a1d-9e6f-0b1c2d3e4f50", "name": "No scopes"},
    ]);
    let (status, refused) = import(&desk, ADMIN, keys).await;
    let faults: Vec<_> = refused["faults"].as_array().unwrap().iter().map(|fault| text(fault, "path")).collect();
    assert_eq!((status, faults), (422, vec!["keys[1].key".to_owned(), "keys[2].name".to_owned(), "keys[3]".to_owned()]));
    let stranger = json!({"key": "7d2a0f3e-8c5b-4a1d-9e6f-0b1c2d3e4f50", "name": "Profile", "profile_id": "nobody"});
    let (status, refused) = import(&desk, ADMIN, json!([entry(TWO), entry(ONE), entry(&TWO.to_uppercase()), stranger])).await;
    let faults: Vec<_> = refused["faults"].as_array().unwrap().iter().map(|fault| text(fault, "path")).collect();
    assert_eq!((status, faults), (422, vec!["keys[1].key".to_owned(), "keys[2].key".to_owned(), "keys[3].profile_id".to_owned()]));
    assert!(!refused.to_string().contains("9f8e"), "{refused}");
    assert_eq!((opens(&desk, TWO).await, desk.all().await.as_array().unwrap().len()), (401, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_does_not_come_back() {
    let desk = Desk::new().await;
    let (_, imported) = import(&desk, ADMIN, json!([entry(ONE)])).await;
    assert_eq!(desk.delete(&text(&imported["keys"][0], "id"), ADMIN).await, 204);
    assert_eq!((import(&desk, ADMIN, json!([entry(ONE)])).await.0, opens(&desk, ONE).await), (422, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_imports_more_than_it_holds() {
    let desk = Desk::new().await;
    let with = |name: &str, value: Value| {
        let mut entry = entry(ONE);
        entry[name] = value;
        json!([entry])
    };
    assert_eq!(import(&desk, BARE, with("scopes", json!(["users:delete"]))).await.0, 403);
    assert_eq!(import(&desk, BARE, with("tenant", json!("acme"))).await.0, 403);
    assert_eq!(import(&desk, ACME, with("tenant", json!("globex"))).await.0, 403);
    assert_eq!(desk.all().await, json!([]));
    assert_eq!(import(&desk, ACME, json!([entry(ONE)])).await.1["keys"][0]["tenant"], json!("acme"));
}
