//! What is revoked or disabled stops within one second on the node that was told and within five on the other, under load.
//! Counts what was let through although it began after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{SECRET, block, call, create, replica};
use crate::client::Ask;
use crate::gate::Gate;
use crate::postgres::Database;
use crate::process::until;
use crate::sign::{hs256, now};

const HERE: Duration = Duration::from_secs(1);
const THERE: Duration = Duration::from_secs(5);

/// When each request of a credential began that was let through.
struct Allowed {
    going: Arc<AtomicBool>,
    so_far: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Instant>>,
}

impl Allowed {
    fn count(gate: &Gate, ask: &Ask) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let so_far = Arc::new(AtomicUsize::new(0));
        let (go_on, counted, port, ask) = (Arc::clone(&going), Arc::clone(&so_far), gate.proxy_port(), ask.clone());
        let thread = std::thread::spawn(move || {
            let mut began = Vec::new();
            while go_on.load(Ordering::Relaxed) {
                let start = Instant::now();
                match ask.send(port).status {
                    200 => {
                        began.push(start);
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    401 => {}
                    other => panic!("{other}"),
                }
            }
            began
        });
        Self { going, so_far, thread }
    }

    fn end(self) -> Vec<Instant> {
        self.going.store(false, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A credential, and the call that takes it away.
fn taken(one: &Gate, round: usize) -> (Ask, (&'static str, String, Option<Json>)) {
    let key = create(one);
    let keyed = Ask::get("/").header("X-API-Key", &key.key);
    let claims = json!({"sub": format!("u{round}"), "jti": format!("j{round}"), "exp": now() + 3600});
    let signed = Ask::get("/").token(&hs256(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims));
    let revoke = |body: Json| ("POST", "/tokens/revoke".to_owned(), Some(body));
    match round % 6 {
        0 => (keyed, ("DELETE", key.path(), None)),
        1 => (keyed, ("PATCH", key.path(), Some(json!({"enabled": false})))),
        2 => (keyed, revoke(json!({"credential_id": key.id}))),
        3 => (keyed, revoke(json!({"subject": key.id}))),
        4 => (signed, revoke(json!({"jti": format!("j{round}")}))),
        _ => (signed, revoke(json!({"subject": format!("u{round}")}))),
    }
}

#[test]
fn what_is_taken_away_stops_in_time_on_both_replicas_under_load() {
    let database = block(Database::new());
    let [one, other] = [replica(&database), replica(&database)];
    let (mut latest, mut requests) = ([Duration::ZERO; 2], 0);
    for round in 0..12 {
        let (ask, (method, path, body)) = taken(&one, round);
        until("the other replica knows it", || ask.send(other.proxy_port()).status == 200);
        let loads = [&one, &one, &other, &other].map(|gate| Allowed::count(gate, &ask));
        until("there is load", || loads.iter().all(|load| load.so_far.load(Ordering::Relaxed) > 20));
        let answer = call(&one, method, &path, body.as_ref()).unwrap();
        assert!(matches!(answer.status, 200 | 204), "{} {}", answer.status, answer.body());
        let told = Instant::now();
        until("the load has gone on for longer than is promised", || {
            let past = told.elapsed();
            past > THERE + HERE || (past > HERE + HERE / 4 && ask.send(other.proxy_port()).status == 401)
        });
        for (index, load) in loads.into_iter().enumerate() {
            let bound = if index < 2 { HERE } else { THERE };
            let began = load.end();
            requests += began.len();
            let late = began.iter().filter(|began| **began > told + bound).count();
            assert_eq!(late, 0, "round {round}: let through more than {bound:?} after the answer to {method} {path}");
            let last = began.last().map_or(Duration::ZERO, |last| last.saturating_duration_since(told));
            latest[index / 2] = latest[index / 2].max(last);
        }
        for gate in [&one, &other] {
            assert_eq!(ask.send(gate.proxy_port()).status, 401, "round {round}");
        }
    }
    println!("{requests} let through; the latest after the answer: {:?} on the node, {:?} on the other", latest[0], latest[1]);
}
