//! Every operation of the document, tried across tenants: with another's ids, names, cursors, `tenant` and `x-tenant-id`.
//! Sees 403 or 404, nothing of the other tenant's in any answer, and a store that is as it was.

use serde_json::{Value, json};

use super::office::{Office, text, token};
use crate::harness::ask;

/// What the attacked has. Its texts all have `victim` in them.
struct Victim {
    who: &'static str,
    /// As a body or a query names it.
    tenant: Option<&'static str>,
    key: String,
    profile: String,
    cursors: Vec<String>,
}

impl Victim {
    async fn settle(office: &Office, who: &'static str, tenant: Option<&'static str>) -> Self {
        let role = |name: &str| Some(json!({"name": name, "description": "the victim's", "permissions": ["articles:read"]}));
        office.done(who, "POST /rbac/roles", role("victim-role")).await;
        office.done(who, "POST /rbac/roles", role("victim-spare")).await;
        for subject in ["victim-subject", "victim-other"] {
            office.done(who, "POST /rbac/assign", Some(json!({"subject": subject, "role": "victim-role"}))).await;
        }
        let make = async |line: &str, body: Value| text(&office.done(who, line, Some(body)).await["id"]);
        let key = make("POST /tenant/api-keys", json!({"name": "victim key", "scopes": ["articles:read"]})).await;
        make("POST /tenant/api-keys", json!({"name": "victim spare", "scopes": ["articles:read"]})).await;
        let profile = make("POST /profiles", json!({"email": "victim@there.test", "scopes": ["articles:read"]})).await;
        make("POST /profiles", json!({"email": "victim2@there.test"})).await;
        let mut cursors = Vec::new();
        for path in ["/rbac/roles", "/rbac/permissions", "/rbac/assignments", "/profiles", "/tenant/api-keys"] {
            let page = office.done(who, &format!("GET {path}?limit=1"), None).await;
            cursors.push(text(&page["next_cursor"]));
        }
        Self { who, tenant, key, profile, cursors }
    }
}

/// A body with which the operation is done for who may; `None` where it takes none. A new operation has to be put here.
fn body(operation: &str, victim: &Victim) -> Option<Value> {
    Some(match operation {
        "GET /openapi.json" | "GET /tenant/api-keys" | "GET /tenant/api-keys/{id}" | "DELETE /tenant/api-keys/{id}" => return None,
        "GET /rbac/roles" | "DELETE /rbac/roles/{name}" | "GET /rbac/permissions" | "GET /rbac/assignments" => return None,
        "GET /profiles" | "GET /profiles/{id}" | "DELETE /profiles/{id}" | "GET /mfa/backup-codes" => return None,
        "POST /tenant/api-keys" => json!({"name": "mine now", "scopes": ["articles:read"]}),
        "PATCH /tenant/api-keys/{id}" => json!({"name": "mine now", "enabled": false}),
        "POST /tenant/api-keys/{id}/rotate" => json!({"grace_seconds": 0}),
        "POST /tenant/api-keys/import" => {
            json!({"keys": [{"key": "12345678-1234-1234-1234-123456789abc", "name": "mine now", "profile_id": victim.profile, "scopes": ["articles:read"]}]})
        }
        "POST /rbac/roles" => json!({"name": "mine", "permissions": ["articles:read"]}),
        "PUT /rbac/roles/{name}" => json!({"permissions": ["articles:read"], "description": "mine now"}),
        "POST /rbac/assign" | "DELETE /rbac/assign" => json!({"subject": "victim-subject", "role": "victim-role"}),
        "POST /profiles" => json!({"email": "mine@here.test"}),
        "PATCH /profiles/{id}" => json!({"email": "mine@here.test"}),
        "POST /tokens/revoke" => json!({"subject": "victim-subject"}),
        "POST /mfa/setup" | "POST /mfa/enable" => json!({}),
        "POST /mfa/verify" | "POST /mfa/disable" | "POST /mfa/backup-codes" => json!({"code": "123456"}),
        "POST /mfa/reset" => json!({"realm": "tokens", "subject": "victim-subject"}),
        other => panic!("say how `{other}` is tried across tenants"),
    })
}

/// Every operation of the document: its method and path, and the names of its parameters in the query.
async fn operations(office: &Office) -> Vec<(String, String, Vec<String>)> {
    let document = office.done("", "GET /openapi.json", None).await;
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let query = parameters.iter().filter(|parameter| parameter["in"] == "query").map(|parameter| text(&parameter["name"]));
            all.push((method.to_uppercase(), path.clone(), query.collect()));
        }
    }
    assert!(all.len() > 15, "{all:?}");
    all
}

async fn send(office: &Office, who: &str, line: &str, more: &str, body: Option<&Value>) -> (u16, String) {
    let body = body.map(Value::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let head = format!("{line} HTTP/1.1\r\nhost: gate.example\r\nauthorization: Bearer {}\r\n{more}{kind}", token(who));
    let reply = ask(office.gate.admin(), format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
    (reply.status, reply.text())
}

/// An attempt is refused with 403 or 404, or, where it only reads, answered without anything of the victim's; nothing is written.
async fn attempt(office: &Office, who: &str, line: &str, more: &str, body: Option<&Value>, may_answer: bool) {
    let before = office.rows().await;
    let (status, said) = send(office, who, line, more, body).await;
    let told = format!("{who}: {line} {more}{body:?}: {status} {said}");
    assert!(matches!(status, 403 | 404) || (may_answer && status == 200), "{told}");
    assert!(!said.contains("victim") || may_answer && status != 200, "{told}");
    assert_eq!(office.rows().await, before, "{told}");
}

async fn attack(office: &Office, who: &str, victim: &Victim) {
    for (method, path, query) in operations(office).await {
        let operation = format!("{method} {path}");
        if path == "/openapi.json" {
            continue;
        }
        let body = body(&operation, victim);
        let reads = method == "GET";
        // By the path.
        let mut lines = Vec::new();
        for (id, _) in [(&victim.key, "key"), (&victim.profile, "profile"), (&"victim-role".to_owned(), "role"), (&"victim-spare".to_owned(), "role")]
        {
            let line = format!("{method} {}", path.replace("{id}", id).replace("{name}", id));
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let names_one = path.contains('{');
        if names_one {
            for line in &lines {
                attempt(office, who, line, "", body.as_ref(), false).await;
            }
        }
        // By `x-tenant-id`, whatever else is asked. Of a caller without a tenant it is not read at all.
        if let Some(tenant) = victim.tenant.filter(|_| who != "bare" || reads) {
            for name in ["x-tenant-id", "X-Tenant-ID"] {
                for line in &lines {
                    attempt(office, who, line, &format!("{name}: {tenant}\r\n"), body.as_ref(), who == "bare").await;
                }
            }
        }
        // By a parameter of the query; one that the operation does not know is a fault of its own.
        let separated = |line: &str, more: &str| format!("{line}?{more}");
        if let Some(tenant) = victim.tenant.filter(|_| query.iter().any(|name| name == "tenant")) {
            for line in &lines {
                attempt(office, who, &separated(line, &format!("tenant={tenant}")), "", body.as_ref(), false).await;
            }
        }
        if query.iter().any(|name| name == "cursor") {
            for cursor in &victim.cursors {
                let before = office.rows().await;
                let (status, said) = send(office, who, &separated(&lines[0], &format!("cursor={cursor}")), "", None).await;
                assert!(matches!(status, 200 | 422) && !said.contains("victim"), "{who}: {operation}: {status} {said}");
                assert_eq!(office.rows().await, before);
            }
        }
        for (name, value) in [("subject", "victim-subject"), ("email", "victim@there.test")] {
            if query.iter().any(|known| known == name) {
                attempt(office, who, &separated(&lines[0], &format!("{name}={value}")), "", None, reads).await;
            }
        }
        // By the body.
        if let (Some(tenant), Some(mut body)) = (victim.tenant, body.clone())
            && !names_one
            && !path.starts_with("/mfa")
        {
            if let Some(list) = body.get_mut("keys").and_then(Value::as_array_mut) {
                list[0]["tenant"] = json!(tenant);
            } else {
                body["tenant"] = json!(tenant);
            }
            attempt(office, who, &lines[0], "", Some(&body), false).await;
        }
        if reads && !names_one && !path.starts_with("/mfa") {
            attempt(office, who, &lines[0], "", None, true).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_reaches_another_tenants_rows() {
    let office = Office::open().await;
    let south = Victim::settle(&office, "south", Some("south")).await;
    for who in ["north", "clerk", "bare"] {
        attack(&office, who, &south).await;
    }
    let (status, said) = send(&office, south.who, "GET /rbac/roles", "", None).await;
    assert!(status == 200 && said.contains("victim-role"), "what was hidden is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_of_a_tenants_caller_reaches_rows_without_a_tenant() {
    let office = Office::open().await;
    let bare = Victim::settle(&office, "bare", None).await;
    for who in ["north", "south", "star"] {
        attack(&office, who, &bare).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reaches_all_may_name_a_tenant_and_nobody_else() {
    let office = Office::open().await;
    let south = Victim::settle(&office, "south", Some("south")).await;
    let roles = office.done("root", "GET /rbac/roles?tenant=south", None).await;
    assert!(roles.to_string().contains("victim-role"));
    office.done("root", "PUT /rbac/roles/victim-role?tenant=south", Some(json!({"description": "the operator's", "permissions": []}))).await;
    office.done("root", &format!("PATCH /profiles/{}", south.profile), Some(json!({"enabled": false}))).await;
    office.done("root", &format!("DELETE /tenant/api-keys/{}", south.key), None).await;
    office.done("root", "POST /rbac/roles", Some(json!({"name": "extra", "permissions": [], "tenant": "south"}))).await;
    assert!(office.done("south", "GET /rbac/roles", None).await.to_string().contains("extra"));
    office.refused("root", "PUT /rbac/roles/victim-role", Some(json!({"permissions": []})), 404).await;
    office.refused("bare", "POST /rbac/roles", Some(json!({"name": "extra", "permissions": [], "tenant": "south"})), 403).await;
    // One's own may be named too.
    office.done("north", "POST /rbac/roles", Some(json!({"name": "extra", "permissions": [], "tenant": "north"}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_no_profile_of_another_tenant() {
    let office = Office::open().await;
    let south = Victim::settle(&office, "south", Some("south")).await;
    let import = |more: Value| {
        let mut entry = json!({"key": "12345678-1234-1234-1234-123456789abc", "name": "mine now", "profile_id": south.profile});
        more.as_object().unwrap().iter().for_each(|(name, value)| entry[name] = value.clone());
        Some(json!({"keys": [entry]}))
    };
    for (who, more) in
        [("bare", json!({})), ("north", json!({})), ("bare", json!({"scopes": ["articles:read"]})), ("clerk", json!({"scopes": ["articles:read"]}))]
    {
        let before = office.rows().await;
        let (status, said) = office.call(who, "POST /tenant/api-keys/import", import(more)).await;
        assert!(matches!(status, 403 | 404 | 422) && !said.to_string().contains("victim"), "{who}: {status} {said}");
        assert_eq!(office.rows().await, before, "{who}");
    }
    assert_eq!(office.with_lines("GET /articles", "x-old-key: 12345678-1234-1234-1234-123456789abc\r\n").await, 401);
}
