//! The store's promises on SQLite; tests/e2e has the same ones on PostgreSQL.
//! Asks through the store alone, as the rest of the program does.

mod configured;
#[path = "store/contract.rs"]
pub mod contract;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use scopegate::store::secrets::StoreKeys;
use scopegate::store::{Place, Store, StoreError};
use tempfile::TempDir;

fn store(folder: &TempDir, keys: &str) -> Store {
    let place = Place::Sqlite(folder.path().join("scopegate.db"));
    Store::open(&place, Arc::new(StoreKeys::parse(keys).unwrap())).unwrap()
}

/// A file of its own for each promise.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let folder = tempfile::tempdir().unwrap();
            contract::$name(|keys| store(&folder, keys)).await;
        }
    )*};
}

contract::every_promise!(promises);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_memory_lasts_as_long_as_the_process() {
    let store = Store::open(&Place::Memory, Arc::new(StoreKeys::passing().unwrap())).unwrap();
    store.prepare().await.unwrap();
    store.change().await.unwrap().commit().await.unwrap();
    drop(store.change().await.unwrap());
    store.prepare().await.unwrap();
    assert_eq!(store.version().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, contract::KEYS);
    store.prepare().await.unwrap();
    store.change().await.unwrap().commit().await.unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", file.path().display());
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_a_fault_that_says_so() {
    let place = Place::Sqlite("/nowhere/at/all/scopegate.db".into());
    let Err(StoreError::Fault(why)) = Store::open(&place, Arc::new(StoreKeys::passing().unwrap())) else { panic!("it opens") };
    assert!(why.contains("/nowhere/at/all/scopegate.db") && why.contains("folder"), "{why}");
}

#[test]
fn a_place_never_shows_its_password() {
    let place = Place::Postgres("postgres://gate:hunter2@db/gate".into());
    assert_eq!(format!("{place:?}"), "Postgres(…)");
}
