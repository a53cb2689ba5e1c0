//! PostgreSQL gone: frozen as behind a dead network, or stopped at once; before the start, or under load.
//! What was known goes on for the time that was set, and what was not is never called wrong.

use serde_json::json;

use super::{ADMIN, Load, block, call, config, create, desk, key_status, session, unknown_key};
use crate::client::Ask;
use crate::gate::Gate;
use crate::postgres::{Database, PASSWORD};
use crate::process::until;

fn state(gate: &Gate) -> String {
    gate.readyz().1["store"]["state"].as_str().unwrap().to_owned()
}

fn failures(gate: &Gate) -> u64 {
    let metrics = gate.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("scopegate_store_failures_total "));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

fn runs(statuses: &[u16]) -> Vec<u16> {
    let mut runs = statuses.to_vec();
    runs.dedup();
    runs
}

/// From all well to all well, with `stop` and `start` in between.
fn outage(stop: impl Fn(&Database), start: impl Fn(&Database)) {
    let database = block(Database::alone());
    let gate = desk().serve(&config(json!({"url": database.url(), "stale_for": "12s"})));
    let (known, unknown, jwt) = (create(&gate), unknown_key(), session());
    let bearer = |token: &str| Ask::get("/").token(token);
    let asks = [bearer(ADMIN), bearer(&jwt), Ask::get("/").header("X-API-Key", &known.key)];
    let statuses = || asks.each_ref().map(|ask| gate.ask(ask).status);
    assert_eq!((statuses(), key_status(&gate, &unknown)), ([200; 3], 401));
    let loads = asks.clone().map(|ask| Load::start(gate.proxy_port(), ask));

    stop(&database);
    until("the gate doubts", || state(&gate) == "in_doubt");
    assert_eq!((statuses(), key_status(&gate, &unknown)), ([200; 3], 503), "what is known goes on, what is not may be new");
    // It waits for the database, and the time of the book may be over by then.
    let write = call(&gate, "POST", "/tenant/api-keys", Some(&json!({"name": "late", "scopes": ["a:b"]}))).unwrap();
    assert_eq!(write.status, 503, "{}", write.body());
    until("the book is too old", || state(&gate) == "stale");
    assert_eq!((statuses(), key_status(&gate, &unknown)), ([503; 3], 503));
    assert_eq!(gate.ask(&Ask::get("/open")).status, 200, "who needs no credential goes on");
    assert_eq!(gate.readyz().0, 200, "no replica does better");
    assert!(failures(&gate) > 0);

    start(&database);
    until("the gate has come back by itself", || state(&gate) == "fresh");
    assert_eq!((statuses(), key_status(&gate, &unknown)), ([200; 3], 401));
    assert_eq!(create(&gate).status(&gate), 200);
    for statuses in loads.map(Load::end) {
        assert_eq!(runs(&statuses), [200, 503, 200], "let through, refused for a while, let through, and nothing else");
    }
    let said = gate.process.said();
    assert!(said.contains("the store is out of reach") && said.contains("the store answers again"), "{said}");
    assert!(!said.contains(PASSWORD) && !gate.readyz().1.to_string().contains(PASSWORD));
}

#[test]
fn a_frozen_database_is_done_without_for_the_time_that_was_set() {
    outage(Database::freeze, Database::thaw);
}

#[test]
fn a_stopped_database_is_done_without_for_the_time_that_was_set() {
    outage(Database::stop, Database::start_again);
}

#[test]
fn without_the_database_at_the_start_the_gate_is_alive_and_not_ready_until_it_comes() {
    let database = block(Database::alone());
    database.stop();
    let mut gate = desk().begin(&config(json!({"url": database.url()})));
    let (status, ready) = gate.readyz();
    assert_eq!((status, &ready["store"]["state"]), (503, &json!("empty")));
    assert_eq!(gate.ask(&Ask::get("/").token(ADMIN)).status, 503, "it could have been revoked");
    assert_eq!(gate.ask(&Ask::get("/open")).status, 200);
    database.start_again();
    // The tables are not there yet either.
    gate.until_ready();
    assert_eq!(gate.ask(&Ask::get("/").token(ADMIN)).status, 200);
    assert_eq!(create(&gate).status(&gate), 200);
}
