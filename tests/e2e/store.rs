//! The store's promises on a real PostgreSQL server; tests/it has the same ones on SQLite.
//! Asks through the store alone, as the rest of the program does.

#[path = "../it/store/contract.rs"]
mod contract;

use std::sync::Arc;

use scopegate::store::secrets::StoreKeys;
use scopegate::store::{Place, Store};

use crate::postgres::Database;

fn store(database: &Database, keys: &str) -> Store {
    let place = Place::Postgres(database.url().into());
    Store::open(&place, Arc::new(StoreKeys::parse(keys).unwrap())).unwrap()
}

/// A database of its own for each promise.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let database = Database::new().await;
            contract::$name(|keys| store(&database, keys)).await;
        }
    )*};
}

promises! {
    a_change_is_there_once_it_is_committed_and_never_otherwise,
    changes_of_many_writers_come_in_the_order_of_their_versions,
    tables_are_made_once_by_whoever_comes_first,
    a_store_knows_its_keys_again,
    what_exists_is_a_conflict,
    every_kind_of_record_comes_with_the_changes,
    a_record_that_nobody_understands_is_a_fault,
}
