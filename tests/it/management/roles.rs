//! Roles, permissions and assignments (F-16, F-17, F-18): what they grant at once, and what is refused.

use serde_json::{Value, json};

use super::office::{Office, names};

fn role(name: &str, permissions: &[&str], inherits: &[&str]) -> Option<Value> {
    Some(json!({"name": name, "description": "Some of them", "permissions": permissions, "inherits": inherits}))
}

fn assign(subject: &str, role: &str) -> Option<Value> {
    Some(json!({"subject": subject, "role": role}))
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_who_has_no_role_has_the_default_one() {
    let office = Office::open().await;
    assert_eq!((office.at("plain", "GET /profile").await, office.at("plain", "GET /articles").await), (200, 403));
    office.done("north", "POST /rbac/roles", role("reader", &["articles:read"], &[])).await;
    office.done("north", "POST /rbac/assign", assign("plain", "reader")).await;
    assert_eq!((office.at("plain", "GET /profile").await, office.at("plain", "GET /articles").await), (403, 200), "the default is for who has none");
    office.done("north", "DELETE /rbac/assign", assign("plain", "reader")).await;
    assert_eq!((office.at("plain", "GET /profile").await, office.at("plain", "GET /articles").await), (200, 403));
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_permission_comes_with_a_role_and_goes_with_it_at_once() {
    let office = Office::open().await;
    assert_eq!(office.with_lines("DELETE /users", "").await, 401);
    assert_eq!(office.at("plain", "DELETE /users").await, 403);
    office.done("north", "POST /rbac/roles", role("remover", &["users:delete"], &["user"])).await;
    assert_eq!(office.at("plain", "DELETE /users").await, 403);
    for _ in 0..2 {
        let said = office.done("north", "POST /rbac/assign", assign("plain", "remover")).await;
        assert_eq!(said, json!({"subject": "plain", "role": "remover", "tenant": "north"}));
        assert_eq!((office.at("plain", "DELETE /users").await, office.at("plain", "GET /profile").await), (200, 200));
    }
    assert_eq!(office.at("loose", "DELETE /users").await, 403);
    let change = json!({"description": "", "permissions": ["articles:*"], "inherits": []});
    let said = office.done("north", "PUT /rbac/roles/remover", Some(change)).await;
    assert_eq!((&said["name"], &said["permissions"], &said["managed"]), (&json!("remover"), &json!(["articles:*"]), &json!(true)));
    assert_eq!((office.at("plain", "DELETE /users").await, office.at("plain", "PUT /articles").await), (403, 200));
    office.done("north", "DELETE /rbac/assign", assign("plain", "remover")).await;
    assert_eq!(office.at("plain", "PUT /articles").await, 403);
    office.refused("north", "DELETE /rbac/assign", assign("plain", "remover"), 404).await;
    office.done("north", "DELETE /rbac/roles/remover", None).await;
    office.refused("north", "POST /rbac/assign", assign("plain", "remover"), 422).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_roles_and_permissions_are_listed_with_those_of_the_configuration() {
    let office = Office::open().await;
    let made = office.done("north", "POST /rbac/roles", role("auditor", &["users:*"], &["editor"])).await;
    assert_eq!(
        (&made["name"], &made["tenant"], &made["description"], &made["managed"]),
        (&json!("auditor"), &json!("north"), &json!("Some of them"), &json!(true))
    );
    assert!(made["created_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    let listed = office.done("north", "GET /rbac/roles", None).await;
    assert_eq!(names(&listed["roles"], "name"), ["auditor", "chief", "editor", "operator", "user"]);
    assert_eq!((&listed["roles"][0], &listed["next_cursor"]), (&made, &Value::Null));
    let chief = &listed["roles"][1];
    assert_eq!(
        (&chief["managed"], &chief["tenant"], &chief["permissions"]),
        (&json!(false), &Value::Null, &json!(["users:*", "articles:*", "profile:read"]))
    );
    assert_eq!(names(&office.done("south", "GET /rbac/roles", None).await["roles"], "name"), ["chief", "editor", "operator", "user"]);
    let known = office.done("north", "GET /rbac/permissions", None).await;
    let known: Vec<&str> = known["permissions"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for permission in
        ["users:delete", "articles:*", "articles:read", "profile:read", "apikeys:write", "rbac:write", "tokens:revoke", "scopegate:admin"]
    {
        assert!(known.contains(&permission), "{permission}: {known:?}");
    }
    assert!(known.is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_every_entry_once() {
    let office = Office::open().await;
    for index in 0..7 {
        office.done("north", "POST /rbac/roles", role(&format!("r{index}"), &["articles:read"], &[])).await;
        office.done("north", "POST /rbac/assign", assign(&format!("subject-{}", index / 2), &format!("r{index}"))).await;
    }
    for (path, list, words) in
        [("/rbac/roles", "roles", "name"), ("/rbac/assignments", "assignments", "role"), ("/rbac/permissions", "permissions", "")]
    {
        let whole = office.done("north", &format!("GET {path}"), None).await;
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = office.done("north", &format!("GET {path}?limit=3{cursor}"), None).await;
            let entries = page[list].as_array().unwrap();
            assert!(entries.len() <= 3 && !entries.is_empty(), "{path}: {page}");
            pages.extend(entries.clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(Value::from(pages), whole[list], "{path} by {words}");
    }
    let of_one = office.done("north", "GET /rbac/assignments?subject=subject-1", None).await;
    assert_eq!(names(&of_one["assignments"], "role"), ["r2", "r3"]);
    for bad in ["limit=0", "limit=1001", "limit=x", "limit=1&limit=1", "cursor=%00", "cursor=", "cursor=!", "other=1", "subject=a%0ab", "subject="] {
        office.refused("north", &format!("GET /rbac/assignments?{bad}"), None, 422).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inheritance_that_comes_back_to_itself_is_refused() {
    let office = Office::open().await;
    office.done("north", "POST /rbac/roles", role("a", &[], &["user"])).await;
    office.done("north", "POST /rbac/roles", role("b", &[], &["a"])).await;
    office.done("north", "POST /rbac/roles", role("c", &[], &["b"])).await;
    for (name, parents) in [("a", &["a"][..]), ("a", &["c"]), ("b", &["c", "user"]), ("a", &["user", "b"])] {
        let change = json!({"permissions": [], "inherits": parents});
        let said = office.refused("north", &format!("PUT /rbac/roles/{name}"), Some(change), 422).await;
        assert!(said["faults"][0]["message"].as_str().unwrap().contains("inherits itself"), "{said}");
    }
    office.refused("north", "POST /rbac/roles", role("d", &[], &["d"]), 422).await;
    let said = office.refused("north", "POST /rbac/roles", role("d", &[], &["nobody", "a"]), 422).await;
    assert!(said["faults"][0]["message"].as_str().unwrap().contains("`nobody`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_changes_at_once_never_make_a_circle_of_two_halves() {
    let office = Office::open().await;
    for round in 0..10 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        office.done("north", "POST /rbac/roles", role(&a, &[], &[])).await;
        office.done("north", "POST /rbac/roles", role(&b, &[], &[])).await;
        let lines = [format!("PUT /rbac/roles/{a}"), format!("PUT /rbac/roles/{b}")];
        let change = |parent: &str| Some(json!({"permissions": [], "inherits": [parent]}));
        let (one, other) = tokio::join!(office.call("north", &lines[0], change(&b)), office.call("north", &lines[1], change(&a)));
        let mut both = [one.0, other.0];
        both.sort_unstable();
        assert_eq!(both, [200, 422]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_nothing_knows_are_refused_and_wildcards_over_known_ones_are_not() {
    let office = Office::open().await;
    for bad in ["users:read", "user:delete", "users:delete:*", "Users:delete", "nothing:*"] {
        let said = office.refused("north", "POST /rbac/roles", role("x", &["articles:read", bad], &[]), 422).await;
        assert_eq!(said["faults"][0]["path"], "permissions[1]", "{said}");
    }
    for bad in ["", "a b", "users:delete\n", "users:\0", "us*", "*:x", "caf\u{e9}:x", "a\"b"] {
        office.refused("north", "POST /rbac/roles", role("x", &[bad], &[]), 422).await;
    }
    for (name, good) in [("one", "users:*"), ("two", "*"), ("three", "users:delete"), ("four", "apikeys:write"), ("five", "scopegate:*")] {
        office.done("north", "POST /rbac/roles", role(name, &[good], &[])).await;
    }
    // What is asked for only by a role that is gone, or by itself, is known no more.
    office.refused("south", "POST /rbac/roles", role("x", &["users:read"], &[]), 422).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_what_it_does_not_hold() {
    let office = Office::open().await;
    office.done("north", "POST /rbac/roles", role("remover", &["users:delete"], &[])).await;
    office.done("north", "POST /rbac/roles", role("heir", &[], &["remover"])).await;
    office.done("north", "POST /rbac/roles", role("reader", &["articles:read"], &["user"])).await;
    office.done("north", "POST /rbac/roles", role("night", &[], &["operator"])).await;
    for permissions in
        [&["users:delete"][..], &["users:*"], &["*"], &["articles:*"], &["articles:write"], &["scopegate:admin"], &["articles:read", "users:delete"]]
    {
        office.refused("clerk", "POST /rbac/roles", role("x", permissions, &[]), 403).await;
        office.refused("clerk", "PUT /rbac/roles/reader", Some(json!({"permissions": permissions})), 403).await;
    }
    for above in ["remover", "heir", "night", "chief", "editor", "operator"] {
        office.refused("clerk", "POST /rbac/roles", role("x", &[], &[above]), 403).await;
        office.refused("clerk", "PUT /rbac/roles/reader", Some(json!({"permissions": [], "inherits": [above]})), 403).await;
        office.refused("clerk", "POST /rbac/assign", assign("clerk", above), 403).await;
        office.refused("clerk", "POST /rbac/assign", assign("plain", above), 403).await;
        office.refused("clerk", "DELETE /rbac/assign", assign("plain", above), 403).await;
    }
    for above in ["remover", "heir", "night"] {
        office.refused("clerk", &format!("PUT /rbac/roles/{above}"), Some(json!({"permissions": []})), 403).await;
        office.refused("clerk", &format!("DELETE /rbac/roles/{above}"), None, 403).await;
    }
    assert_eq!(office.at("clerk", "DELETE /users").await, 403);
    // Up to its own it may.
    office.done("clerk", "PUT /rbac/roles/reader", Some(json!({"permissions": ["articles:read", "rbac:read"], "inherits": ["user"]}))).await;
    office.done("clerk", "POST /rbac/assign", assign("plain", "reader")).await;
    office.done("clerk", "DELETE /rbac/assign", assign("plain", "reader")).await;
    office.done("clerk", "DELETE /rbac/roles/reader", None).await;
    // A route that asks for a role by its name is opened by whoever holds everything.
    office.done("north", "POST /rbac/assign", assign("plain", "night")).await;
    assert_eq!(office.at("plain", "GET /night").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_the_configuration_is_neither_changed_nor_taken_the_place_of() {
    let office = Office::open().await;
    for name in ["user", "chief", "operator"] {
        for who in ["root", "north"] {
            office.refused(who, "POST /rbac/roles", role(name, &["users:delete"], &[]), 409).await;
            office.refused(who, &format!("PUT /rbac/roles/{name}"), Some(json!({"permissions": ["users:delete"]})), 409).await;
            office.refused(who, &format!("DELETE /rbac/roles/{name}"), None, 409).await;
        }
    }
    office.done("north", "POST /rbac/roles", role("reader", &[], &[])).await;
    office.refused("north", "POST /rbac/roles", role("reader", &["articles:read"], &[]), 409).await;
    office.refused("north", "PUT /rbac/roles/writer", Some(json!({"permissions": []})), 404).await;
    office.refused("north", "DELETE /rbac/roles/writer", None, 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_somebody_has_or_inherits_stays_and_its_holders_are_named() {
    let office = Office::open().await;
    office.done("north", "POST /rbac/roles", role("reader", &["articles:read"], &[])).await;
    let conflict = async |named: &str| {
        let said = office.refused("north", "DELETE /rbac/roles/reader", None, 409).await;
        assert!(said["message"].as_str().unwrap().contains(named), "{said}");
    };
    office.done("north", "POST /rbac/roles", role("heir", &[], &["reader"])).await;
    conflict("role `heir`").await;
    office.done("north", "DELETE /rbac/roles/heir", None).await;
    office.done("north", "POST /rbac/assign", assign("plain", "reader")).await;
    conflict("subject `plain`").await;
    office.done("north", "DELETE /rbac/assign", assign("plain", "reader")).await;
    let profile = office.done("north", "POST /profiles", Some(json!({"email": "u@north.test", "roles": ["reader"]}))).await;
    let id = profile["id"].as_str().unwrap();
    conflict(&format!("profile `{id}`")).await;
    office.done("north", &format!("DELETE /profiles/{id}"), None).await;
    let key = office.done("north", "POST /tenant/api-keys", Some(json!({"name": "k", "scopes": ["articles:read"], "roles": ["reader"]}))).await;
    let id = key["id"].as_str().unwrap();
    conflict(&format!("key `{id}`")).await;
    office.done("north", &format!("DELETE /tenant/api-keys/{id}"), None).await;
    office.done("north", "DELETE /rbac/roles/reader", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_could_be_read_as_something_else_are_refused_with_nothing_written() {
    let office = Office::open().await;
    office.done("north", "POST /rbac/roles", role("reader", &["articles:read"], &[])).await;
    for bad in [
        "",
        " ",
        "a b",
        "a\nb",
        "a\0b",
        "a\r\nx-scopegate-roles: chief",
        "a/b",
        "..",
        ".",
        "-",
        "a,b",
        "a;b",
        "caf\u{e9}",
        "\u{202e}nimda",
        "a\u{200b}b",
        "default",
        "*",
    ] {
        let said = office.refused("north", "POST /rbac/roles", role(bad, &[], &[]), 422).await;
        assert_eq!(said["faults"][0]["path"], "name", "{said}");
        office.refused("north", "POST /rbac/roles", role("x", &[], &[bad]), 422).await;
    }
    for bad in ["", " ", "a b", "a\nb", "a\0b", "\u{a0}", "\u{7f}", &"s".repeat(257)] {
        let said = office.refused("north", "POST /rbac/assign", assign(bad, "reader"), 422).await;
        assert_eq!(said["faults"][0]["path"], "subject", "{said}");
    }
    for description in ["a\nb", "\0", "\u{1b}[2J", &"d".repeat(1025)] {
        office.refused("north", "POST /rbac/roles", Some(json!({"name": "x", "description": description})), 422).await;
    }
    office.done("north", "POST /rbac/assign", assign("\u{540d}\u{524d}|7", "reader")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_another_shape_are_refused_with_every_fault_and_nothing_written() {
    let office = Office::open().await;
    for (body, paths) in [
        (json!({}), &["name"][..]),
        (
            json!({"name": 7, "description": [], "permissions": "a:b", "inherits": {}, "tenant": 1}),
            &["name", "tenant", "description", "permissions", "inherits"],
        ),
        (json!({"name": "x", "permissions": [7, null, "a b"]}), &["permissions[0]", "permissions[1]", "permissions[2]"]),
        (json!({"name": "x", "parentRole": "user", "scopes": ["*"]}), &["?", "scopes"]),
        (json!({"name": "x", "id": 1, "__proto__": {}}), &["id", "__proto__"]),
        (json!({"name": "x", "permissions": vec!["articles:read"; 129]}), &["permissions"]),
        (json!({"name": "x", "inherits": vec!["user"; 33]}), &["inherits"]),
    ] {
        let said = office.refused("north", "POST /rbac/roles", Some(body), 422).await;
        assert_eq!(names(&said["faults"], "path"), paths, "{said}");
    }
    office.done("north", "POST /rbac/roles", role("reader", &["articles:read"], &[])).await;
    // What replaces a role has to say what it grants: an empty body empties none.
    for body in [None, Some(json!({})), Some(json!({"description": "x"}))] {
        let said = office.refused("north", "PUT /rbac/roles/reader", body, 422).await;
        assert_eq!(names(&said["faults"], "path"), ["permissions"], "{said}");
    }
    let long = "n".repeat(10 << 20);
    office.refused("north", "POST /rbac/roles", role(&long, &[], &[]), 413).await;
    office.refused("north", "POST /rbac/assign", assign(&long, "user"), 413).await;
    for line in ["POST /rbac/roles", "PUT /rbac/roles/user", "POST /rbac/assign", "DELETE /rbac/assign"] {
        for body in [json!([]), json!("x"), json!(null), json!(7)] {
            office.refused("north", line, Some(body), 422).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_needs_its_own_scope() {
    let office = Office::open().await;
    for (line, body) in [
        ("GET /rbac/roles", None),
        ("GET /rbac/permissions", None),
        ("GET /rbac/assignments", None),
        ("POST /rbac/roles", role("x", &[], &[])),
        ("PUT /rbac/roles/x", Some(json!({}))),
        ("DELETE /rbac/roles/x", None),
        ("POST /rbac/assign", assign("plain", "user")),
        ("DELETE /rbac/assign", assign("plain", "user")),
    ] {
        let said = office.refused("plain", line, body.clone(), 403).await;
        let needed = if line.starts_with("GET") { "rbac:read" } else { "rbac:write" };
        assert_eq!(said["required_scope"], needed, "{line}");
        office.refused("", line, body, 401).await;
    }
}
