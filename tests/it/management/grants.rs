//! Nobody hands on what it does not hold, and no tenant sees or touches another's keys.

use serde_json::{Value, json};

use super::{ACME, ACME_LEAD, ADMIN, BARE, Desk, GLOBEX, KEYS, orders, said, text};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_a_scope_that_it_does_not_hold() {
    let desk = Desk::new().await;
    for scopes in [json!(["*"]), json!(["users:delete"]), json!(["orders:read", "rbac:write"]), json!(["scopegate:admin"]), json!(["a:*"])] {
        let (status, refused) = desk.post(KEYS, BARE, json!({"name": "Mine", "scopes": scopes})).await;
        assert_eq!((status, &refused["error"]), (403, &json!("forbidden")), "{scopes}: {refused}");
    }
    assert_eq!(desk.all().await, json!([]));
    for scopes in [json!(["orders:read"]), json!(["orders:*", "apikeys:read"]), json!(["orders:a:b"])] {
        desk.made(BARE, json!({"name": "Mine", "scopes": scopes})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_more_by_changing_or_rotating_what_another_made() {
    let desk = Desk::new().await;
    let (id, key) = desk.made(ADMIN, json!({"name": "Strong", "scopes": ["users:delete", "orders:read"]})).await;
    // The new secret would be the caller's.
    assert_eq!(desk.post(&format!("{KEYS}/{id}/rotate"), BARE, json!({"grace_seconds": 0})).await.0, 403);
    assert_eq!(desk.patch(&id, BARE, json!({"scopes": ["*"]})).await.0, 403);
    // What it holds already is no grant, and what it loses is none either.
    assert_eq!(desk.patch(&id, BARE, json!({"name": "Renamed", "scopes": ["users:delete"]})).await.0, 200);
    assert_eq!(desk.patch(&id, BARE, json!({"enabled": false})).await.0, 200);
    assert_eq!(desk.patch(&id, BARE, json!({"enabled": true})).await.0, 403);
    assert_eq!(desk.uses("DELETE /users", &key).await, 401);
    desk.patch(&id, ADMIN, json!({"enabled": true, "expires_at": "2090-01-01T00:00:00Z"})).await;
    assert_eq!(desk.patch(&id, BARE, json!({"expires_at": null})).await.0, 403);
    assert_eq!(desk.patch(&id, BARE, json!({"expires_at": "2080-01-01T00:00:00Z"})).await.0, 200);
    assert_eq!(desk.uses("DELETE /users", &key).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_given_by_who_has_what_they_grant() {
    let desk = Desk::new().await;
    let with = |role: &str| json!({"name": "Role", "scopes": ["orders:read"], "roles": [role]});
    assert_eq!(desk.post(KEYS, ACME_LEAD, with("chief")).await.0, 403);
    let (status, refused) = desk.post(KEYS, ACME_LEAD, with("nobody")).await;
    assert_eq!((status, &refused["faults"][0]["path"]), (422, &json!("roles[0]")));
    assert_eq!(desk.all().await, json!([]));
    let (id, key) = desk.made(ADMIN, with("chief")).await;
    assert_eq!(desk.uses("DELETE /users", &key).await, 200, "the role's scopes are the key's");
    assert_eq!(desk.post(&format!("{KEYS}/{id}/rotate"), BARE, json!({})).await.0, 403);
    desk.made(ACME_LEAD, with("reader")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_keys_are_its_own() {
    let desk = Desk::new().await;
    let (acme, key) = desk.made(ACME, orders()).await;
    let (bare, _) = desk.made(BARE, orders()).await;
    for (id, strangers) in [(&acme, [GLOBEX, BARE]), (&bare, [ACME, GLOBEX])] {
        for token in strangers {
            assert_eq!(desk.get(&format!("{KEYS}/{id}"), token).await.0, 404);
            assert_eq!(desk.patch(id, token, json!({"enabled": false})).await.0, 404);
            assert_eq!(desk.post(&format!("{KEYS}/{id}/rotate"), token, json!({})).await.0, 404);
            assert_eq!(desk.delete(id, token).await, 404);
        }
    }
    let ids = async |token: &str| {
        let listed = desk.get(KEYS, token).await.1["keys"].clone();
        listed.as_array().unwrap().iter().map(|key| text(key, "id")).collect::<Vec<_>>()
    };
    assert_eq!((ids(ACME).await, ids(GLOBEX).await, ids(BARE).await), (vec![acme.clone()], vec![], vec![bare]));
    assert_eq!(ids(ADMIN).await.len(), 2);
    assert_eq!(desk.uses("GET /orders", &key).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_its_makers_tenant_and_no_other() {
    let desk = Desk::new().await;
    let of = |tenant: &str| json!({"name": "Key", "scopes": ["orders:read"], "tenant": tenant});
    for (token, tenant) in [(ACME, "globex"), (BARE, "acme")] {
        let (status, refused) = desk.post(KEYS, token, of(tenant)).await;
        assert_eq!((status, &refused["error"]), (403, &json!("forbidden")), "{refused}");
    }
    assert_eq!(desk.all().await, json!([]));
    assert_eq!(desk.post(KEYS, ACME, of("acme")).await.1["tenant"], json!("acme"));
    assert_eq!(desk.post(KEYS, ACME_LEAD, orders()).await.1["tenant"], json!("acme"));
    assert_eq!(desk.post(KEYS, ADMIN, of("globex")).await.1["tenant"], json!("globex"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tenant_is_the_keys_whatever_the_client_says() {
    let desk = Desk::new().await;
    let (_, key) = desk.made(ACME, orders()).await;
    let tenant = || {
        let last = desk.0.upstream.take().pop().unwrap();
        crate::harness::wire::value(&last.headers, "x-scopegate-tenant")
    };
    assert_eq!(desk.uses("GET /orders", &key).await, 200);
    assert_eq!(tenant().as_deref(), Some("acme"));
    let reply = desk.with("GET /orders", &format!("x-api-key: {key}\r\nx-tenant-id: acme\r\nx-scopegate-tenant: globex\r\n")).await;
    assert_eq!((reply.status, tenant().as_deref()), (200, Some("acme")));
    let reply = desk.with("GET /orders", &format!("x-api-key: {key}\r\nx-tenant-id: globex\r\n")).await;
    assert_eq!((reply.status, &said(&reply)["error"], desk.0.upstream.take().len()), (403, &json!("forbidden"), 0));
    // The same holds for whoever asks for keys.
    let head = "host: gate.example\r\nconnection: close\r\n";
    let line = format!("GET {KEYS} HTTP/1.1\r\n{head}authorization: Bearer {ACME}\r\nx-tenant-id: globex\r\n\r\n");
    assert_eq!(crate::harness::ask(desk.0.admin(), line).await.status, 403);
    let _: Value = desk.all().await;
}
