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

contract::every_promise!(promises);
