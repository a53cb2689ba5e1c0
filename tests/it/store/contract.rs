//! What a store promises, whichever database it is in.
//! Each promise gets what opens one and the same, at first empty, store: every call is another replica's.

mod rbac;

use std::sync::Arc;

pub use rbac::*;
use scopegate::principal::record::Revoked;
use scopegate::store::{Store, StoreError, Value};

/// The list of them, for each database.
macro_rules! every_promise {
    ($run:ident) => {
        $run! {
            a_change_is_there_once_it_is_committed_and_never_otherwise,
            changes_of_many_writers_come_in_the_order_of_their_versions,
            tables_are_made_once_by_whoever_comes_first,
            a_store_knows_its_keys_again,
            what_exists_is_a_conflict,
            every_kind_of_record_comes_with_the_changes,
            a_record_that_nobody_understands_is_a_fault,
            roles_come_back_as_they_were_written_and_go_by_tenant,
            assignments_are_listed_in_pages_by_subject,
            whoever_has_a_role_is_found_by_its_exact_name,
            a_profile_is_seen_within_its_tenant_and_its_address_is_there_once,
            a_revocation_is_never_shortened,
        }
    };
}
pub(crate) use every_promise;

pub const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
const OTHER_BYTES: &str = "1:HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
const OTHER_ID: &str = "2:HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

async fn prepared(store: Store) -> Store {
    store.prepare().await.unwrap();
    store
}

/// Writes a role in a change of its own; gives the version.
async fn add_role(store: &Store, name: &str) -> Result<i64, StoreError> {
    let mut change = store.change().await?;
    let version = change.version;
    let sql = "INSERT INTO roles (tenant, name, description, permissions, inherits, created_at, deleted, version) VALUES ('', $1, '', '[]', '[]', 0, 0, $2)";
    change.execute(sql, vec![Value::from(name), Value::from(version)]).await?;
    change.commit().await?;
    Ok(version)
}

async fn roles(store: &Store) -> Vec<(String, i64)> {
    let rows = store.read().await.unwrap().rows("SELECT name, version FROM roles ORDER BY version", vec![]).await.unwrap();
    rows.iter().map(|row| (row.text(0).unwrap(), row.number(1).unwrap())).collect()
}

pub async fn a_change_is_there_once_it_is_committed_and_never_otherwise(open: impl Fn(&str) -> Store) {
    let (one, two) = (prepared(open(KEYS)).await, open(KEYS));
    assert_eq!(add_role(&one, "kept").await.unwrap(), 1);
    let mut change = one.change().await.unwrap();
    let sql = "UPDATE roles SET deleted = 1, version = $1 WHERE name = 'kept'";
    let version = change.version;
    assert_eq!(change.execute(sql, vec![Value::from(version)]).await.unwrap(), 1);
    assert_eq!(two.version().await.unwrap(), 1, "not before its end");
    drop(change);
    assert_eq!(roles(&two).await, [("kept".to_owned(), 1)]);
    assert_eq!(add_role(&two, "next").await.unwrap(), 2, "what was not committed took no version");
    assert_eq!(one.version().await.unwrap(), 2);
}

pub async fn changes_of_many_writers_come_in_the_order_of_their_versions(open: impl Fn(&str) -> Store) {
    let stores = [prepared(open(KEYS)).await, open(KEYS)];
    let writers = (0..8).map(|writer| {
        let store = stores[writer % 2].clone();
        tokio::spawn(async move {
            for number in 0..10 {
                // On a busy machine the queue of writers may be longer than one of them waits.
                while let Err(error) = add_role(&store, &format!("role-{writer}-{number}")).await {
                    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    // A reader that always goes on from the version that it saw last sees every one.
    let (mut seen, mut version) = (Vec::new(), 0);
    while seen.len() < 80 {
        let finished = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let mut read = stores[1].read().await.unwrap();
        let rows = read.rows("SELECT version FROM roles WHERE version > $1 ORDER BY version", vec![Value::from(version)]).await.unwrap();
        seen.extend(rows.iter().map(|row| row.number(0).unwrap()));
        version = seen.last().copied().unwrap_or(0);
        if finished && rows.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (1..=80).collect::<Vec<_>>());
}

pub async fn tables_are_made_once_by_whoever_comes_first(open: impl Fn(&str) -> Store) {
    let replicas: Vec<_> = (0..4).map(|_| open(KEYS)).map(|store| tokio::spawn(async move { store.prepare().await })).collect();
    for replica in replicas {
        replica.await.unwrap().unwrap();
    }
    let store = open(KEYS);
    let mut newer = store.atomic().await.unwrap();
    newer.execute("INSERT INTO store_steps (step) VALUES (999)", vec![]).await.unwrap();
    newer.commit().await.unwrap();
    let fault = store.prepare().await.unwrap_err();
    assert!(matches!(&fault, StoreError::Fault(why) if why.contains("999")), "{fault}");
}

pub async fn a_store_knows_its_keys_again(open: impl Fn(&str) -> Store) {
    let store = prepared(open(KEYS)).await;
    prepared(open(KEYS)).await;
    let fault = open(OTHER_BYTES).prepare().await.unwrap_err();
    assert!(matches!(&fault, StoreError::Fault(why) if why.contains("`1`")), "{fault}");
    // Nothing was written under it, so that it may go.
    prepared(open(OTHER_ID)).await;
    let sql = "INSERT INTO mfa (realm, tenant, subject, seal, last_step, window_start, window_failures, failures_in_a_row, version)
        VALUES ('profile', '', 'p', '2', 0, 0, 0, 0, 0)";
    store.read().await.unwrap().execute(sql, vec![]).await.unwrap();
    let fault = open(KEYS).prepare().await.unwrap_err();
    assert!(matches!(&fault, StoreError::Fault(why) if why.contains("`2`")), "{fault}");
    prepared(open(&format!("{KEYS}{OTHER_ID}"))).await;
}

pub async fn what_exists_is_a_conflict(open: impl Fn(&str) -> Store) {
    let store = prepared(open(KEYS)).await;
    add_role(&store, "one").await.unwrap();
    let conflict = add_role(&store, "one").await.unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict(_)), "{conflict}");
    assert_eq!(store.version().await.unwrap(), 1);
}

const EVERYTHING: [&str; 7] = [
    "INSERT INTO api_keys (id, tenant, name, prefix, form, digest, pepper, previous_digest, previous_pepper, previous_until, scopes, roles, profile,
        rate_limit, enabled, expires_at, revoked_at, created_at, created_by, request_count, last_used_at, version)
        VALUES ('k1', 'acme', 'one', 'sg_live_k1', 'scopegate', $1, '1', $2, '1', 100, '[\"a:read\",\"b:*\"]', '[\"owner\"]', 'p1',
        '{\"rate\":\"10/m\",\"burst\":20}', 1, 200, NULL, 0, 'admin', 0, NULL, $3)",
    "INSERT INTO api_keys (id, tenant, name, prefix, form, digest, pepper, scopes, roles, enabled, revoked_at, created_at, created_by, request_count, version)
        VALUES ('k2', '', 'two', 'sg_live_k2', 'scopegate', $2, '1', '[\"a:read\",\"b:*\"]', '[]', 0, 5, 0, 'admin', 0, $3)",
    "INSERT INTO profiles (id, tenant, email, enabled, scopes, roles, created_at, deleted, version) VALUES ('p1', 'acme', 'a@x.org', 1, '[]', '[]', 0, 0, $3)",
    "INSERT INTO roles (tenant, name, description, permissions, inherits, created_at, deleted, version)
        VALUES ('acme', 'owner', '', '[\"users:*\"]', '[\"user\"]', 0, 0, $3)",
    "INSERT INTO role_assignments (tenant, subject, role, created_at, deleted, version) VALUES ('acme', 'ada', 'owner', 0, 0, $3)",
    "INSERT INTO revocations (kind, tenant, value, until, created_at, created_by, version) VALUES ('credential_id', '*', 'agent-1', NULL, 0, 'admin', $3)",
    "INSERT INTO mfa (realm, tenant, subject, enabled_at, last_step, window_start, window_failures, failures_in_a_row, version)
        VALUES ('sessions', 'acme', 'ada', 77, 0, 0, 0, 0, $3)",
];

async fn add_everything(store: &Store) {
    let mut change = store.change().await.unwrap();
    let version = change.version;
    for sql in EVERYTHING {
        // Each names the values that it needs; a database wants no others.
        let digests = [vec![1; 32], vec![2; 32]].map(Value::from);
        let values: Vec<Value> = digests.into_iter().chain([Value::from(version)]).collect();
        let (sql, values) = needed(sql, &values);
        change.execute(sql, values).await.unwrap();
    }
    change.commit().await.unwrap();
}

/// The statement with its values numbered from `$1` on.
fn needed(sql: &'static str, values: &[Value]) -> (&'static str, Vec<Value>) {
    let (mut text, mut kept) = (sql.to_owned(), Vec::new());
    for (index, value) in values.iter().enumerate() {
        let name = format!("${}", index + 1);
        if text.contains(&name) {
            kept.push(value.clone());
            text = text.replace(&name, &format!("${}", kept.len()));
        }
    }
    (text.leak(), kept)
}

pub async fn every_kind_of_record_comes_with_the_changes(open: impl Fn(&str) -> Store) {
    let store = prepared(open(KEYS)).await;
    assert_eq!(store.changes(0).await.unwrap().version, 0);
    add_everything(&store).await;
    let whole = store.changes(0).await.unwrap();
    assert_eq!(whole.version, 1);
    let [one, two] = &whole.keys[..] else { panic!("{:?}", whole.keys) };
    assert_eq!((&*one.id, one.digest.0, one.previous.unwrap().0.0, one.previous.unwrap().1), ("k1", [1; 32], [2; 32], 100));
    assert_eq!(
        (one.tenant.as_deref(), one.profile.as_deref(), one.enabled, one.expires_at, one.revoked),
        (Some("acme"), Some("p1"), true, Some(200), false)
    );
    let rate = one.rate.unwrap();
    assert_eq!((rate.count, rate.seconds, rate.burst), (10, 60, 20));
    assert_eq!((&*one.roles[0], one.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>()), ("owner", vec!["a:read", "b:*"]));
    assert_eq!((&*two.id, two.previous, two.tenant.as_deref(), two.enabled, two.revoked, two.rate), ("k2", None, None, false, true, None));
    assert!(Arc::ptr_eq(&one.scopes, &two.scopes), "what many keys hold is there once");
    assert_eq!((&*whole.profiles[0].email, whole.profiles[0].enabled, whole.profiles[0].deleted), ("a@x.org", true, false));
    let owner = &whole.roles[0];
    assert_eq!((&*owner.name, &owner.definition.inherits[..], owner.definition.scopes[0].as_str()), ("owner", &["user".to_owned()][..], "users:*"));
    assert_eq!((&*whole.assignments[0].subject, &*whole.assignments[0].role), ("ada", "owner"));
    let revocation = &whole.revocations[0];
    assert_eq!(
        (revocation.kind, revocation.tenant.as_deref(), &*revocation.value, revocation.until),
        (Revoked::Credential, Some("*"), "agent-1", None)
    );
    assert_eq!((&*whole.enrolments[0].holder.realm, whole.enrolments[0].enabled_at), ("sessions", Some(77)));
    // What is taken away comes to those that knew it, and to nobody else.
    let mut change = store.change().await.unwrap();
    let version = change.version;
    for sql in [
        "UPDATE profiles SET deleted = 1, version = $1",
        "UPDATE roles SET deleted = 1, version = $1",
        "UPDATE role_assignments SET deleted = 1, version = $1",
        "UPDATE revocations SET until = 1, version = $1",
        "UPDATE mfa SET enabled_at = NULL, version = $1",
    ] {
        assert_eq!(change.execute(sql, vec![Value::from(version)]).await.unwrap(), 1);
    }
    change.commit().await.unwrap();
    let changes = store.changes(1).await.unwrap();
    assert_eq!((changes.version, changes.keys.len()), (2, 0));
    assert!(changes.profiles[0].deleted && changes.roles[0].deleted && changes.assignments[0].deleted);
    assert_eq!((changes.revocations[0].until, changes.enrolments[0].enabled_at), (Some(1), None));
    let whole = store.changes(0).await.unwrap();
    assert_eq!((whole.version, whole.keys.len()), (2, 2));
    assert!(whole.profiles.is_empty() && whole.roles.is_empty() && whole.assignments.is_empty());
    assert!(whole.revocations.is_empty() && whole.enrolments.is_empty());
}

pub async fn a_record_that_nobody_understands_is_a_fault(open: impl Fn(&str) -> Store) {
    let store = prepared(open(KEYS)).await;
    add_everything(&store).await;
    for (broken, mended) in [
        ("UPDATE revocations SET kind = 'everything'", "UPDATE revocations SET kind = 'jti'"),
        ("UPDATE api_keys SET scopes = '[\"a b\"]'", "UPDATE api_keys SET scopes = '[]'"),
        ("UPDATE api_keys SET roles = 'owner'", "UPDATE api_keys SET roles = '[]'"),
        ("UPDATE api_keys SET rate_limit = '{\"rate\":\"ten\"}' WHERE id = 'k1'", "UPDATE api_keys SET rate_limit = NULL"),
    ] {
        store.read().await.unwrap().execute(broken, vec![]).await.unwrap();
        let fault = store.changes(0).await.unwrap_err();
        assert!(matches!(fault, StoreError::Fault(_)), "{broken}: {fault}");
        store.read().await.unwrap().execute(mended, vec![]).await.unwrap();
        store.changes(0).await.unwrap();
    }
}
