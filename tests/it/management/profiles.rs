//! Profiles: whose they are, what a session or a key has by them, and what nobody may make of them.

use serde_json::{Value, json};

use super::office::{Office, names, text};

fn profile(email: &str, scopes: &[&str], roles: &[&str]) -> Option<Value> {
    Some(json!({"email": email, "scopes": scopes, "roles": roles}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_made_shown_changed_and_deleted() {
    let office = Office::open().await;
    let made = office.done("north", "POST /profiles", profile("User.One@North.TEST", &["articles:read"], &["user"])).await;
    let id = text(&made["id"]);
    let whole = json!({"id": id, "email": "user.one@north.test", "enabled": true, "scopes": ["articles:read"], "roles": ["user"], "tenant": "north", "created_at": made["created_at"]});
    assert_eq!(made, whole);
    let line = |method: &str| format!("{method} /profiles/{id}");
    assert_eq!(office.done("north", &line("GET"), None).await, made);
    let changed = office.done("north", &line("PATCH"), Some(json!({"enabled": false, "roles": []}))).await;
    assert_eq!(
        (&changed["enabled"], &changed["roles"], &changed["scopes"], &changed["email"]),
        (&json!(false), &json!([]), &json!(["articles:read"]), &made["email"])
    );
    assert_eq!(office.done("north", &line("GET"), None).await, changed);
    let changed = office.done("north", &line("PATCH"), Some(json!({"email": "Other@north.test", "scopes": []}))).await;
    assert_eq!((&changed["email"], &changed["scopes"], &changed["enabled"]), (&json!("other@north.test"), &json!([]), &json!(false)));
    assert_eq!(office.done("north", &line("PATCH"), Some(json!({}))).await, changed);
    office.done("north", &line("DELETE"), None).await;
    for method in ["GET", "PATCH", "DELETE"] {
        office.refused("north", &line(method), (method == "PATCH").then(|| json!({})), 404).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_there_once_in_a_tenant_however_it_is_written() {
    let office = Office::open().await;
    let made = office.done("north", "POST /profiles", profile("one@a.test", &[], &[])).await;
    office.refused("north", "POST /profiles", profile("ONE@A.test", &[], &[]), 409).await;
    office.done("south", "POST /profiles", profile("one@a.test", &[], &[])).await;
    office.done("root", "POST /profiles", profile("one@a.test", &[], &[])).await;
    let other = office.done("north", "POST /profiles", profile("two@a.test", &[], &[])).await;
    office.refused("north", &format!("PATCH /profiles/{}", text(&other["id"])), Some(json!({"email": "One@a.test"})), 409).await;
    office.done("north", &format!("PATCH /profiles/{}", text(&made["id"])), Some(json!({"email": "One@a.test"}))).await;
    let found = office.done("north", "GET /profiles?email=ONE@a.test", None).await;
    assert_eq!(names(&found["profiles"], "id"), [text(&made["id"])]);
    office.done("north", &format!("DELETE /profiles/{}", text(&made["id"])), None).await;
    office.done("north", "POST /profiles", profile("one@a.test", &[], &[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_every_profile_of_the_tenant_once() {
    let office = Office::open().await;
    for who in ["north", "south", "root"] {
        for index in 0..4 {
            office.done(who, "POST /profiles", profile(&format!("u{index}@{who}.test"), &[], &[])).await;
        }
    }
    for (who, more, count) in
        [("north", "", 4), ("south", "", 4), ("bare", "", 4), ("root", "", 12), ("root", "&tenant=north", 4), ("root", "&tenant=nowhere", 0)]
    {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = office.done(who, &format!("GET /profiles?limit=3{more}{cursor}"), None).await;
            ids.extend(names(&page["profiles"], "id"));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert!(ids.is_sorted_by(|one, other| one < other) && ids.len() == count, "{who}{more}: {ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_or_changes_a_profile_that_has_more_than_it_holds() {
    let office = Office::open().await;
    for (scopes, roles) in [(&["users:delete"][..], &[][..]), (&["*"], &[]), (&["articles:*"], &[]), (&[], &["chief"]), (&[], &["user", "operator"])]
    {
        office.refused("clerk", "POST /profiles", profile("x@north.test", scopes, roles), 403).await;
    }
    let low = office.done("clerk", "POST /profiles", profile("low@north.test", &["articles:read"], &["user"])).await;
    let low = text(&low["id"]);
    for change in
        [json!({"scopes": ["users:delete"]}), json!({"scopes": ["*"]}), json!({"roles": ["chief"]}), json!({"roles": ["operator"], "scopes": []})]
    {
        office.refused("clerk", &format!("PATCH /profiles/{low}"), Some(change), 403).await;
    }
    // Whoever could give a superior's profile another address, or bring it back, could become it.
    let by_scope = text(&office.done("north", "POST /profiles", profile("boss@north.test", &["users:*"], &[])).await["id"]);
    let by_role = text(&office.done("north", "POST /profiles", profile("chief@north.test", &[], &["chief"])).await["id"]);
    let assigned = text(&office.done("north", "POST /profiles", profile("deputy@north.test", &[], &["user"])).await["id"]);
    office.done("north", "POST /rbac/assign", Some(json!({"subject": assigned, "role": "chief"}))).await;
    for id in [&by_scope, &by_role, &assigned] {
        for change in
            [json!({"email": "clerk@north.test"}), json!({"enabled": true}), json!({"enabled": false}), json!({"scopes": [], "roles": []}), json!({})]
        {
            office.refused("clerk", &format!("PATCH /profiles/{id}"), Some(change), 403).await;
        }
        office.refused("clerk", &format!("DELETE /profiles/{id}"), None, 403).await;
        office.done("clerk", &format!("GET /profiles/{id}"), None).await;
    }
    office.done("north", "DELETE /rbac/assign", Some(json!({"subject": assigned, "role": "chief"}))).await;
    office.done("clerk", &format!("PATCH /profiles/{assigned}"), Some(json!({"enabled": false}))).await;
    office.done("clerk", &format!("DELETE /profiles/{low}"), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_assigned_to_a_profile_goes_with_it() {
    let office = Office::open().await;
    let id = text(&office.done("north", "POST /profiles", profile("one@north.test", &[], &[])).await["id"]);
    for subject in [id.as_str(), "plain"] {
        office.done("north", "POST /rbac/assign", Some(json!({"subject": subject, "role": "user"}))).await;
    }
    office.done("north", &format!("DELETE /profiles/{id}"), None).await;
    assert_eq!(names(&office.done("north", "GET /rbac/assignments", None).await["assignments"], "subject"), ["plain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_another_shape_are_refused_with_every_fault_and_nothing_written() {
    let office = Office::open().await;
    let made = office.done("north", "POST /profiles", profile("one@north.test", &[], &[])).await;
    let change = format!("PATCH /profiles/{}", text(&made["id"]));
    for (body, paths) in [
        (json!({}), &["email"][..]),
        (json!({"email": 7, "enabled": "yes", "scopes": "a:b", "roles": [1], "tenant": ""}), &["email", "enabled", "scopes", "roles[0]", "tenant"]),
        (json!({"email": "x@y.test", "scopes": ["a b", "c:d", 1]}), &["scopes[0]", "scopes[2]"]),
        (json!({"email": "x@y.test", "roles": ["nobody", "user", "other"]}), &["roles[0]", "roles[2]"]),
        (json!({"email": "x@y.test", "id": "mine", "admin": true}), &["id", "admin"]),
        (json!({"email": "x@y.test", "scopes": vec!["articles:read"; 129]}), &["scopes"]),
        (json!({"email": "x@y.test", "enabled": 1}), &["enabled"]),
    ] {
        let said = office.refused("north", "POST /profiles", Some(body), 422).await;
        assert_eq!(names(&said["faults"], "path"), paths, "{said}");
    }
    for (body, paths) in [
        (json!({"email": null, "enabled": null, "scopes": null, "roles": null}), &["email", "enabled", "scopes", "roles"][..]),
        (json!({"tenant": "south"}), &["tenant"]),
        (json!({"id": "x", "created_at": "2020-01-01T00:00:00Z"}), &["id", "created_at"]),
    ] {
        let said = office.refused("north", &change, Some(body), 422).await;
        assert_eq!(names(&said["faults"], "path"), paths, "{said}");
    }
    for email in [
        "",
        "one",
        "@north.test",
        "one@",
        "a b@north.test",
        "a\n@north.test",
        "a\0@north.test",
        &format!("{}@x.test", "e".repeat(65)),
        &format!("e@{}", "x".repeat(300)),
    ] {
        office.refused("north", "POST /profiles", profile(email, &[], &[]), 422).await;
        office.refused("north", &change, Some(json!({"email": email})), 422).await;
    }
    office.refused("north", "POST /profiles", profile(&"e".repeat(10 << 20), &[], &[]), 413).await;
    for id in ["x", "..", "%00", "%2e%2e", "1", &"a".repeat(5000), "00000000-0000-4000-8000-000000000000"] {
        let (status, said) = office.call("north", &format!("GET /profiles/{id}"), None).await;
        assert!([400, 404].contains(&status), "{id}: {status} {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_may_be_repeated_with_its_idempotency_key() {
    let office = Office::open().await;
    let make = async |key: &str, email: &str| {
        let body = json!({"email": email}).to_string();
        let request = format!(
            "POST /profiles HTTP/1.1\r\nhost: gate.example\r\nauthorization: Bearer {}\r\nidempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            super::office::token("north"),
            body.len()
        );
        let reply = crate::harness::ask(office.gate.admin(), request).await;
        (reply.status, reply.text())
    };
    let first = make("create-1", "one@north.test").await;
    assert_eq!(first.0, 201);
    assert_eq!(make("create-1", "one@north.test").await, first);
    assert_eq!((make("create-1", "two@north.test").await.0, make("create-2", "one@north.test").await.0), (422, 409));
    assert_eq!(office.done("north", "GET /profiles", None).await["profiles"].as_array().unwrap().len(), 1);
}
