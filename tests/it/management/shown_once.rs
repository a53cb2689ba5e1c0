//! After a key was shown, it is nowhere: no file of the store, no log, no metric, no later answer.

use std::path::Path;

use serde_json::json;

use super::{ADMIN, Desk, KEYS, orders, text};

/// Every file of a folder that holds one of these.
fn holding(folder: &Path, secrets: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, secrets));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for secret in secrets.iter().filter(|secret| memchr::memmem::find(&bytes, secret.as_bytes()).is_some()) {
            found.push(format!("{} holds {secret}", path.display()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_nowhere_after_it_was_shown() {
    let desk = Desk::new().await;
    let body = orders().to_string();
    let head = format!("POST {KEYS} HTTP/1.1\r\nhost: gate.example\r\nauthorization: Bearer {ADMIN}\r\nidempotency-key: kept-answer\r\n");
    let repeat = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let first = crate::harness::ask(desk.0.admin(), &repeat).await;
    let (id, one) = (text(&super::said(&first), "id"), text(&super::said(&first), "key"));
    let (_, rotated) = desk.post(&format!("{KEYS}/{id}/rotate"), ADMIN, json!({})).await;
    let two = text(&rotated, "key");
    let uuid = "5c1f7a9e-3b2d-4e6f-8a01-b2c3d4e5f607";
    let import = json!({"keys": [{"key": uuid, "name": "Old", "scopes": ["orders:read"]}]});
    assert_eq!(desk.post(&format!("{KEYS}/import"), ADMIN, import.clone()).await.0, 201);
    assert_eq!((desk.uses("GET /orders", &one).await, desk.uses("DELETE /users", &two).await), (200, 403));
    assert_eq!(desk.with("GET /orders", &format!("x-old-key: {uuid}\r\n")).await.status, 200);
    // Beyond `sg_live_<id>`, nothing may be found, also no half of it.
    let beyond = "sg_live_".len() + 8;
    let secrets = [&one[beyond..], &two[beyond..], &one[beyond..beyond + 16], &two[one.len() - 16..], uuid, &uuid[9..]];
    let mut said = vec![desk.0.audit().await, desk.0.metrics().await, format!("{:?}", desk.0.running.gate)];
    for path in [format!("{KEYS}/{id}"), format!("{KEYS}?limit=1000")] {
        said.push(desk.get(&path, ADMIN).await.1.to_string());
    }
    said.push(desk.patch(&id, ADMIN, json!({"name": "Renamed"})).await.1.to_string());
    said.push(desk.post(&format!("{KEYS}/import"), ADMIN, import).await.1.to_string());
    for (text, secret) in said.iter().flat_map(|text| secrets.iter().map(move |secret| (text, secret))) {
        assert!(!text.contains(secret), "{text}");
    }
    let folder = desk.0.folder.path();
    assert!(folder.join("scopegate.db").exists());
    assert_eq!(holding(folder, &secrets), [""; 0]);
    // The probe finds what is there: an id is no secret.
    assert!(!holding(folder, &[&id]).is_empty());
}
