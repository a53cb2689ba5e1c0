//! What an operator's other programs hear of the gate: spans, metrics and the log at a collector, and what Prometheus reads.
//! Whatever becomes of them, no decision waits for it, and no secret is in it.

pub mod collector;
mod outage;
mod prometheus;
mod rotel;
mod signals;
mod traces;

use serde_json::{Value as Json, json};

use crate::gate::{Desk, Gate};

const TOKEN: &str = "token-of-ada-1234567";

/// A gate that one caller, `ada`, may read orders of, with these variables.
fn gate(variables: &[(&'static str, &str)]) -> Gate {
    gate_with(variables, &json!({}))
}

fn gate_with(variables: &[(&'static str, &str)], more: &Json) -> Gate {
    let tokens = json!([{"id": "ada", "token": TOKEN, "scopes": ["orders:read"]}]).to_string();
    let desk = variables.iter().fold(Desk::new().file("tokens.json", &tokens), |desk, (name, value)| desk.variable(name, value));
    let mut config = json!({
        "credentials": {"people": {"kind": "static", "file": "tokens.json", "from": ["bearer", "header:x-key", "cookie:key", "query:key"]}},
        "routes": {"GET /public": "public", "GET /orders/{id}": "orders:read", "POST /orders": "orders:write", "GET /socket": "orders:read"},
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    desk.serve(&config)
}

fn at(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
