//! A change of the store ends the streams of those from whom it takes something, and of nobody else.

use scopegate::principal::pepper::Peppers;
use scopegate::store::{Change, Value};

use super::open::{End, House, Stream};
use crate::harness::Gate;

const CONFIG: &str = "
credentials:
  keys: {kind: api_key, from: bearer}
routes: {/ws: app:use, /events: app:use, /call: app:use}
";
const KEY: &str = "sg_live_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz19JF9H";

/// One transaction at each gate's store, in force when this returns.
async fn changed(house: &House, sql: &'static str, values: impl Fn(&Peppers) -> Vec<Value>) {
    for gate in house.gates() {
        let keeper = keeper(gate);
        let mut change: Change = keeper.store().change().await.unwrap();
        let mut values = values(&keeper.store().keys.peppers);
        values.push(change.version.into());
        assert_eq!(change.execute(sql, values).await.unwrap(), 1);
        change.commit().await.unwrap();
        keeper.refresh().await.unwrap();
    }
}

fn keeper(gate: &Gate) -> &scopegate::live::shelf::Bookkeeper {
    gate.running.gate.live.keeper().unwrap()
}

async fn add_key(house: &House, id: &'static str, key: &'static str) {
    let sql = "INSERT INTO api_keys (tenant, name, prefix, form, roles, enabled, created_at, created_by, request_count, id, digest, pepper, scopes, version)
        VALUES ('', 'it', '', 'scopegate', '[]', 1, 0, 'it', 0, $1, $2, $3, '[\"app:use\"]', $4)";
    let values = |peppers: &Peppers| {
        let (pepper, digest) = peppers.newest(key);
        vec![id.into(), digest.0.as_slice().into(), pepper.into()]
    };
    changed(house, sql, values).await;
}

/// Streams of a key, and what is left of them after a change.
async fn ended_by(sql: &'static str, expected: [End; 3]) {
    let house = House::open(CONFIG, "[]").await;
    add_key(&house, "k1", KEY).await;
    let mut streams: [Stream; 3] = house.streams(KEY).await;
    // Somebody else's key is nothing to them.
    add_key(&house, "k2", "another").await;
    for stream in &mut streams {
        stream.is_open().await;
    }
    changed(&house, sql, |_| vec!["k1".into()]).await;
    for (stream, expected) in streams.iter_mut().zip(expected) {
        assert_eq!(stream.end().await, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_disabled_ends_its_streams() {
    ended_by("UPDATE api_keys SET enabled = 0, version = $2 WHERE id = $1", End::of_credential("credential revoked")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_deleted_ends_its_streams() {
    ended_by("UPDATE api_keys SET revoked_at = 1, version = $2 WHERE id = $1", End::of_credential("credential revoked")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_the_streams_of_whom_it_names() {
    let sql = "INSERT INTO revocations (kind, tenant, created_at, created_by, value, version) VALUES ('subject', '', 0, 'it', $1, $2)";
    ended_by(sql, End::of_credential("credential revoked")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_loses_a_scope_ends_its_streams() {
    ended_by("UPDATE api_keys SET scopes = '[\"app:see\"]', version = $2 WHERE id = $1", End::of_scope()).await;
}
