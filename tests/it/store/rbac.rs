//! What a store promises of roles, assignments, profiles and revocations, whichever database it is in.

use scopegate::principal::record::Revoked;
use scopegate::scope::Scope;
use scopegate::store::profiles::Profile;
use scopegate::store::rbac::Role;
use scopegate::store::revocations::Revocation;
use scopegate::store::{Change, Reach, Store, StoreError, Value};

use super::{KEYS, prepared};

fn scopes(list: &[&str]) -> Vec<Scope> {
    list.iter().map(|text| Scope::parse(text).unwrap()).collect()
}

fn role(name: &str, permissions: &[&str], inherits: &[&str]) -> Role {
    let inherits = inherits.iter().map(ToString::to_string).collect();
    Role { name: name.into(), description: format!("{name} \u{2014} \"so\""), permissions: scopes(permissions), inherits, created_at: 7 }
}

fn profile(id: &str, tenant: &str, email: &str, roles: &[&str]) -> Profile {
    let roles = roles.iter().map(ToString::to_string).collect();
    Profile { id: id.into(), tenant: tenant.into(), email: email.into(), enabled: true, scopes: scopes(&["a:b"]), roles, created_at: 7 }
}

async fn changed<T>(store: &Store, work: impl AsyncFnOnce(&mut Change) -> T) -> T {
    let mut change = store.change().await.unwrap();
    let done = work(&mut change).await;
    change.commit().await.unwrap();
    done
}

async fn names(store: &Store, tenant: &str) -> Vec<String> {
    let mut names: Vec<_> = store.read().await.unwrap().roles(tenant).await.unwrap().into_iter().map(|role| role.name).collect();
    names.sort();
    names
}

pub async fn roles_come_back_as_they_were_written_and_go_by_tenant(open: impl Fn(&str) -> Store) {
    let store = prepared(open(KEYS)).await;
    changed(&store, async |change| {
        change.put_role("t", &role("editor", &["articles:*", "a:b"], &["user"])).await.unwrap();
        change.put_role("t", &role("user", &[], &[])).await.unwrap();
        change.put_role("", &role("editor", &["x:y"], &[])).await.unwrap();
    })
    .await;
    assert_eq!(
        (names(&store, "t").await, names(&store, "").await, names(&store, "u").await),
        (vec!["editor".into(), "user".into()], vec!["editor".into()], vec![])
    );
    let found = store.atomic().await.unwrap().roles("t").await.unwrap().into_iter().find(|role| role.name == "editor").unwrap();
    assert_eq!(
        (found.description.as_str(), found.permissions, found.inherits, found.created_at),
        ("editor \u{2014} \"so\"", scopes(&["articles:*", "a:b"]), vec!["user".to_owned()], 7)
    );
    changed(&store, async |change| {
        change.delete_role("t", "editor").await.unwrap();
        assert_eq!(change.delete_role("t", "editor").await, Err(StoreError::NotFound));
        assert_eq!(change.delete_role("u", "user").await, Err(StoreError::NotFound));
    })
    .await;
    assert_eq!((names(&store, "t").await, names(&store, "").await), (vec!["user".into()], vec!["editor".into()]));
    // The others have to hear of it.
    let sql = "SELECT version FROM roles WHERE tenant = 't' AND name = 'editor' AND deleted = 1";
    let row = store.read().await.unwrap().row(sql, vec![]).await.unwrap().unwrap();
    assert_eq!(row.number(0).unwrap(), store.version().await.unwrap());
    changed(&store, async |change| change.put_role("t", &role("editor", &["x:y"], &[])).await.unwrap()).await;
    assert_eq!(names(&store, "t").await, ["editor", "user"]);
}

pub async fn assignments_are_listed_in_pages_by_subject(open: impl Fn(&str) -> Store) {
    let store = prepared(open(KEYS)).await;
    changed(&store, async |change| {
        for (tenant, subject, role) in [("t", "u1", "b"), ("t", "u1", "a"), ("t", "u2", "a"), ("", "u1", "a"), ("t", "u1", "a")] {
            change.assign(tenant, subject, role, 7).await.unwrap();
        }
    })
    .await;
    let page = async |subject: &str, after: (&str, &str), limit| {
        let rows = store.read().await.unwrap().assignments("t", subject, after, limit).await.unwrap();
        rows.into_iter().map(|row| format!("{} {}", row.subject, row.role)).collect::<Vec<_>>()
    };
    assert_eq!(page("", ("", ""), 2).await, ["u1 a", "u1 b"]);
    assert_eq!(page("", ("u1", "b"), 2).await, ["u2 a"]);
    assert_eq!(page("u1", ("u1", "a"), 9).await, ["u1 b"]);
    changed(&store, async |change| {
        change.unassign("t", "u1", "a").await.unwrap();
        assert_eq!(change.unassign("t", "u1", "a").await, Err(StoreError::NotFound));
        assert_eq!(change.roles_assigned("t", "u1").await.unwrap(), ["b"]);
        change.assign("t", "u1", "a", 8).await.unwrap();
        change.unassign_all("t", "u1").await.unwrap();
    })
    .await;
    assert_eq!(page("", ("", ""), 9).await, ["u2 a"]);
}

pub async fn whoever_has_a_role_is_found_by_its_exact_name(open: impl Fn(&str) -> Store) {
    let store = prepared(open(KEYS)).await;
    changed(&store, async |change| {
        change.assign("t", "u1", "ops_1", 7).await.unwrap();
        change.put_profile(&profile("p1", "t", "one@a.test", &["x", "ops_1"])).await.unwrap();
        change.put_profile(&profile("p2", "t", "two@a.test", &["Ops_1", "ops-1", "ops_11", "o"])).await.unwrap();
        change.put_profile(&profile("p3", "", "one@a.test", &["ops_1"])).await.unwrap();
        let mut holders = change.holders("t", "ops_1").await.unwrap();
        holders.sort();
        assert_eq!(holders, ["profile `p1`", "subject `u1`"]);
        assert_eq!(change.holders("u", "ops_1").await.unwrap(), [""; 0]);
        let gone = change.profile(Reach::All, "p1").await.unwrap();
        change.delete_profile(&gone).await.unwrap();
        change.unassign("t", "u1", "ops_1").await.unwrap();
        assert_eq!(change.holders("t", "ops_1").await.unwrap(), [""; 0]);
    })
    .await;
}

pub async fn a_profile_is_seen_within_its_tenant_and_its_address_is_there_once(open: impl Fn(&str) -> Store) {
    let store = prepared(open(KEYS)).await;
    let taken = changed(&store, async |change| {
        for (id, tenant, email) in [("p1", "t", "one@a.test"), ("p2", "u", "one@a.test"), ("p3", "", "one@a.test"), ("p4", "t", "two@a.test")] {
            change.put_profile(&profile(id, tenant, email, &["r"])).await.unwrap();
        }
        change.assign("t", "p1", "r", 7).await.unwrap();
        change.put_profile(&profile("p5", "t", "one@a.test", &[])).await
    })
    .await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    let list = async |reach: Reach<'_>, email: &str, after: &str| {
        let rows = store.read().await.unwrap().profiles(reach, email, after, 2).await.unwrap();
        rows.into_iter().map(|profile| profile.id).collect::<Vec<_>>()
    };
    assert_eq!(list(Reach::Tenant("t"), "", "").await, ["p1", "p4"]);
    assert_eq!(list(Reach::Bare, "", "").await, ["p3"]);
    assert_eq!((list(Reach::All, "", "").await, list(Reach::All, "", "p2").await), (vec!["p1".into(), "p2".into()], vec!["p3".into(), "p4".into()]));
    assert_eq!(list(Reach::Tenant("u"), "one@a.test", "").await, ["p2"]);
    for (reach, seen) in
        [(Reach::Tenant("t"), true), (Reach::All, true), (Reach::Tenant("u"), false), (Reach::Bare, false), (Reach::Tenant(""), false)]
    {
        let found = store.read().await.unwrap().profile(reach, "p1").await;
        assert_eq!(found.is_ok(), seen, "{reach:?}");
        assert!(seen || found.unwrap_err() == StoreError::NotFound);
    }
    changed(&store, async |change| {
        let found = change.profile(Reach::Tenant("t"), "p1").await.unwrap();
        change.put_profile(&Profile { email: "three@a.test".into(), enabled: false, roles: vec![], ..found.clone() }).await.unwrap();
        let found = change.profile(Reach::Tenant("t"), "p1").await.unwrap();
        assert_eq!((found.email.as_str(), found.enabled, found.roles.len(), found.scopes.len()), ("three@a.test", false, 0, 1));
        change.put_profile(&profile("p5", "t", "one@a.test", &[])).await.unwrap();
        change.delete_profile(&found).await.unwrap();
        assert_eq!(change.roles_assigned("t", "p1").await.unwrap(), [""; 0]);
        // Its address is free.
        change.put_profile(&profile("p6", "t", "three@a.test", &[])).await.unwrap();
    })
    .await;
    assert_eq!(store.read().await.unwrap().profile(Reach::All, "p1").await.unwrap_err(), StoreError::NotFound);
}

pub async fn a_revocation_is_never_shortened(open: impl Fn(&str) -> Store) {
    let store = prepared(open(KEYS)).await;
    let now = 1_800_000_000;
    let revoke = async |tenant: &str, until: Option<i64>, now: i64| {
        let row = Revocation { kind: Revoked::Jti, tenant, value: "x", until };
        changed(&store, async |change| change.revoke(&row, "admin", now).await.unwrap()).await
    };
    assert_eq!(revoke("t", Some(now + 100), now).await, Some(now + 100));
    assert_eq!(revoke("t", Some(now + 50), now).await, Some(now + 100));
    assert_eq!(revoke("t", Some(now + 200), now).await, Some(now + 200));
    assert_eq!(revoke("", Some(now + 1), now).await, Some(now + 1), "another tenant's is another");
    assert_eq!(revoke("t", None, now).await, None);
    assert_eq!(revoke("t", Some(now + 1), now).await, None);
    let count = async || {
        let rows = store.read().await.unwrap().rows("SELECT tenant FROM revocations WHERE kind = $1", vec![Value::from("jti")]).await.unwrap();
        rows.len()
    };
    assert_eq!(count().await, 2);
    assert_eq!(revoke("u", None, now + 3600).await, None);
    assert_eq!(count().await, 3, "what is over is kept for clocks that differ");
    assert_eq!(revoke("u", None, now + 48 * 3600).await, None);
    assert_eq!(count().await, 2);
}
