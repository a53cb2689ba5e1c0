//! Two replicas of one store: what changes on one holds on it at once, and on the other within five seconds.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Load, Made, block, call, config, create, desk, replica};
use crate::client::Ask;
use crate::gate::{Desk, Gate};
use crate::postgres::Database;
use crate::process::until;

/// The promise.
const OTHERS: Duration = Duration::from_secs(5);

/// Whether `gate` says `status` to a key in time.
fn comes_to(gate: &Gate, made: &Made, status: u16) {
    let start = Instant::now();
    until("the other replica knows", || made.status(gate) == status);
    assert!(start.elapsed() < OTHERS, "{status} after {:?}", start.elapsed());
}

fn a_change_on_one_holds_on_the_other(one: &Gate, other: &Gate) {
    let first = create(one);
    let loads = [one, other].map(|gate| Load::start(gate.proxy_port(), Ask::get("/").header("X-API-Key", &first.key)));
    let made = create(one);
    assert_eq!(made.status(one), 200, "at once where it was made");
    comes_to(other, &made, 200);
    for (enabled, status) in [(false, 401), (true, 200)] {
        assert_eq!(call(one, "PATCH", &made.path(), Some(&json!({"enabled": enabled}))).unwrap().status, 200);
        assert_eq!(made.status(one), status);
        comes_to(other, &made, status);
    }
    let rotated = Made::of(&call(other, "POST", &format!("{}/rotate", made.path()), Some(&json!({"grace_seconds": 0}))).unwrap()).unwrap();
    assert_eq!((rotated.status(other), made.status(other)), (200, 401));
    comes_to(one, &rotated, 200);
    comes_to(one, &made, 401);
    assert_eq!(call(other, "DELETE", &made.path(), None).unwrap().status, 204);
    assert_eq!(rotated.status(other), 401);
    comes_to(one, &rotated, 401);
    for statuses in loads.map(Load::end) {
        // The other replica hears of a new key a moment later.
        let late = statuses.iter().skip_while(|status| **status == 401);
        assert!(late.clone().count() > 0 && late.clone().all(|status| *status == 200), "a key that nobody touched stays good");
    }
}

#[test]
fn on_postgresql_by_word_of_the_database() {
    let database = block(Database::new());
    a_change_on_one_holds_on_the_other(&replica(&database), &replica(&database));
}

#[test]
fn on_one_sqlite_file_by_asking() {
    let folder = Desk::new();
    let place = || json!(format!("sqlite:{}", folder.path("shared.db").display()));
    a_change_on_one_holds_on_the_other(&desk().serve(&config(place())), &desk().serve(&config(place())));
}

#[test]
fn a_change_that_nobody_tells_of_is_found_by_asking() {
    let database = block(Database::new());
    let gate = replica(&database);
    let made = create(&gate);
    assert_eq!(made.status(&gate), 200);
    // Without a NOTIFY.
    let sql = "BEGIN; UPDATE store_version SET version = version + 1; UPDATE api_keys SET enabled = 0, version = (SELECT version FROM store_version); COMMIT";
    block(database.run(sql));
    comes_to(&gate, &made, 401);
}

#[test]
fn whoever_lost_its_connections_hears_of_changes_again() {
    let database = block(Database::new());
    let [one, other] = [replica(&database), replica(&database)];
    block(database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"));
    let mut made = None;
    // The first call may be the one that finds its connection gone.
    until("a key can be made", || {
        made = Made::of(&call(&one, "POST", "/tenant/api-keys", Some(&json!({"name": "again", "scopes": ["a:b"]}))).unwrap());
        made.is_some()
    });
    comes_to(&other, &made.unwrap(), 200);
}
