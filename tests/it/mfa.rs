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
    ($($promise:ident($($store:ident),*);)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $promise() {
            let stores = stores().await;
            rows::$promise($(&stores.$store),*).await;
        })*
    };
}

promises! {
    a_step_counts_once_and_so_does_none_before_it(one);
    of_many_that_show_the_same_at_once_one_gets_it(one, other);
    an_attempt_counts_before_anybody_looks_at_the_code(one, other);
    right_codes_lock_nobody(one);
    a_hundred_in_a_row_lock_until_a_backup_code_or_an_operator(one);
    a_clock_that_is_set_back_locks_for_no_longer_than_the_window(one);
    a_backup_code_counts_once_and_not_after_others_have_taken_its_place(one);
    nothing_is_on_before_a_code_was_verified_and_only_for_ten_minutes(one);
    what_began_with_one_enrolment_does_nothing_to_the_next(one);
    an_enrolment_counts_from_after_the_one_before_it_ended(one);
    an_operator_takes_away_what_is_there_and_only_there(one);
}
