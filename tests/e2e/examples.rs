//! The examples of `deploy/examples/` row by row, each through a real Envoy and through the proxy door of the same process.

pub mod aibtcdev;
mod backflow;
mod backstage;

use std::io::{BufReader, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::client::{Answer, Ask};
use crate::message::Message;
use crate::sign::hs256;
use crate::stage::Stage;

const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";

/// A row of a system's table: its number, a request, and the status that it has.
type Row = (&'static str, Ask, u16);

/// Asks at both ways in; what is not allowed does not arrive. Gives what arrived of the allowed, by row.
fn drive(stage: &Stage, rows: &[Row]) -> Vec<(&'static str, Message)> {
    let mut arrived = Vec::new();
    for (row, ask, status) in rows {
        for port in [stage.port, stage.proxy_door] {
            let (answer, seen) = stage.ask_at(port, ask);
            let told = format!("{row} at {port}: {ask:?}: {} {}", answer.status, answer.body());
            assert_eq!((answer.status, seen.len()), (*status, usize::from(*status == 200)), "{told}");
            assert!(*status == 200 || is_the_gates(&answer), "{told}");
            arrived.extend(seen.into_iter().map(|seen| (*row, seen)));
        }
    }
    arrived
}

/// Whether the answer is the gate's word and not Envoy's.
fn is_the_gates(answer: &Answer) -> bool {
    answer.header("x-scopegate-reason").is_some_and(|reason| reason != "forged") && answer.body().starts_with("{\"error\":\"")
}

/// A JWT of the usual kind.
fn signed(claims: &Value) -> String {
    hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), claims)
}

/// Serves this JSON to whoever asks, until the test's process ends.
fn publish(json: String) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if Message::read(&mut BufReader::new(&stream), |_| false).is_ok() {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{json}", json.len());
            }
        }
    });
    port
}
