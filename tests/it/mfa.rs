//! A second factor: its rows in SQLite, and `/mfa/…` over HTTP.

mod calls;
mod doors;
mod hidden;
mod person;
mod rows;

use std::sync::Arc;

use scopegate::store::secrets::StoreKeys;
use scopegate::store::{Place, Store};
use tempfile::TempDir;

/// A store in a file, opened twice, as by two processes.
struct Stores {
    one: Store,
    other: Store,
    _folder: TempDir,
}

async fn stores() -> Stores {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Sqlite(folder.path().join("scopegate.db"));
    let keys = Arc::new(StoreKeys::passing().unwrap());
    let open = || Store::open(&place, Arc::clone(&keys)).unwrap();
    let (one, other) = (open(), open());
    one.prepare().await.unwrap();
    Stores { one, other, _folder: folder }
}

macro_rules! promises {
    ($($promise:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let stores = stores().await;
            rows::$promise(&stores.one, &stores.other).await;
        }
    )*};
}

rows::every_promise!(promises);
