//! A hundred times `kill -9` in the middle of creates, rotations and revocations: whatever was acknowledged is there afterwards.
//! What was not acknowledged may be either way, but only as a whole.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Made, block, call, config, desk};
use crate::gate::Gate;
use crate::postgres::Database;

pub const ROUNDS: usize = 100;

/// What is known of a key by its id: the secrets that must be good, and those that must not be.
#[derive(Clone, Debug, Default)]
struct Known {
    good: Option<String>,
    gone: Vec<String>,
    /// A rotation or revocation that was not acknowledged.
    open: bool,
}

/// Small random numbers.
pub fn below(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % bound
}

/// Creates, rotates and revokes until the gate is gone; tells what was acknowledged.
fn work(gate: &Gate) -> Vec<(String, Known)> {
    let mut done = Vec::new();
    let new = json!({"name": "short", "scopes": ["a:b"]});
    while let Ok(answer) = call(gate, "POST", "/tenant/api-keys", Some(&new)) {
        let Some(made) = Made::of(&answer) else { break };
        let mut known = Known { good: Some(made.key.clone()), ..Known::default() };
        if below(3) > 0 {
            match call(gate, "POST", &format!("{}/rotate", made.path()), Some(&json!({"grace_seconds": 0}))).ok().and_then(|answer| Made::of(&answer))
            {
                Some(rotated) => known = Known { good: Some(rotated.key), gone: vec![made.key.clone()], open: false },
                None => known.open = true,
            }
        }
        if !known.open && below(3) > 0 {
            match call(gate, "DELETE", &made.path(), None).map(|answer| answer.status) {
                Ok(204) => known.gone.extend(known.good.take()),
                Ok(_) | Err(_) => known.open = true,
            }
        }
        done.push((made.id, known));
    }
    done
}

fn check(gate: &Gate, id: &str, known: &Known, round: usize) {
    for gone in &known.gone {
        assert_eq!(super::key_status(gate, gone), 401, "round {round}: {id} has a secret that was taken away");
    }
    if let (Some(good), false) = (&known.good, known.open) {
        assert_eq!(super::key_status(gate, good), 200, "round {round}: {id} is lost");
    }
}

fn nothing_acknowledged_is_lost(store: Json) {
    let mut gate = desk().serve(&config(store));
    let mut all: HashMap<String, Known> = HashMap::new();
    for round in 0..ROUNDS {
        let after = Duration::from_millis(5 + below(150));
        let done = std::thread::scope(|scope| {
            let (gate, process) = (&gate, gate.process.id());
            let workers = [(); 2].map(|()| scope.spawn(move || work(gate)));
            std::thread::sleep(after);
            kill(process);
            workers.map(|worker| worker.join().unwrap()).concat()
        });
        gate.start_again();
        gate.until_ready();
        for (id, known) in done {
            check(&gate, &id, &known, round);
            all.insert(id, known);
        }
    }
    assert!(all.len() > ROUNDS / 4, "too little was done to be a test: {}", all.len());
    for (id, known) in &all {
        check(&gate, id, known, ROUNDS);
    }
    let lost = all.values().filter(|known| known.open).count();
    println!("{} keys, of which {lost} had a change that was not acknowledged", all.len());
}

pub fn kill(process: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn on_sqlite() {
    nothing_acknowledged_is_lost(json!("sqlite:scopegate.db"));
}

#[test]
fn on_postgresql() {
    let database = block(Database::new());
    nothing_acknowledged_is_lost(json!(database.url()));
}
