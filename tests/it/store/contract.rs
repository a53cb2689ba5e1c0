//! What a store promises, whichever database it is in.
//! Each promise gets what opens one and the same, at first empty, store: every call is another replica's.

mod rbac;

pub use rbac::*;
use scopegate::store::{Store, StoreError, Value};

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
                add_role(&store, &format!("role-{writer}-{number}")).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    // A reader that always goes on from the version that it saw last sees every one.
    let (mut seen, mut version) = (Vec::new(), 0);
    while seen.len() < 80 {
        let mut read = stores[1].read().await.unwrap();
        let rows = read.rows("SELECT version FROM roles WHERE version > $1 ORDER BY version", vec![Value::from(version)]).await.unwrap();
        seen.extend(rows.iter().map(|row| row.number(0).unwrap()));
        version = seen.last().copied().unwrap_or(0);
        if writers.iter().all(tokio::task::JoinHandle::is_finished) && rows.is_empty() {
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
