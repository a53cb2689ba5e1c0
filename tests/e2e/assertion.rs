//! What the gate signs of a caller, as the libraries of others read it: with the keys that it publishes, and keys that others made.

use serde_json::{Value as Json, json};

use crate::client::Ask;
use crate::gate::{Desk, Gate, now};
use crate::tokens::Minter;

const TOKEN: &str = "token-of-the-reader-1";
const HEADER: &str = "x-scopegate-assertion";

fn serve(key: &str) -> Gate {
    let tokens = json!([{"id": "reader", "token": TOKEN, "scopes": ["orders:read"], "tenant": "shop"}]);
    Desk::new().file("tokens.json", &tokens.to_string()).file("key.pem", key).serve(&json!({
        "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
        "routes": {"GET /orders": "orders:read"},
        "forward": {"assertion": {"key_file": "key.pem", "audience": "orders"}},
    }))
}

/// What arrived at the application by way of this port.
fn told(gate: &Gate, port: u16) -> String {
    let answer = Ask::get("/orders").token(TOKEN).header("X-Scopegate-Assertion", "forged").send(port);
    assert_eq!(answer.status, 200, "{answer:?}");
    let [seen] = &gate.application.take()[..] else { panic!("one request") };
    let all: Vec<_> = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(HEADER)).collect();
    let [(_, token)] = all[..] else { panic!("{all:?}") };
    token.clone()
}

#[test]
fn the_libraries_of_others_read_what_the_gate_signs_by_the_keys_that_it_publishes() {
    let (js, py) = (Minter::start("mint.mjs"), Minter::start("mint.py"));
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let key = py.text("private", &json!({"op": "certificate", "key": algorithm, "alg": algorithm}));
        let gate = serve(&key);
        let envoy = gate.envoy(&[]);
        let token = told(&gate, gate.door());
        assert_eq!(told(&gate, envoy.port), token, "{algorithm}: both doors say the same");
        let url = format!("http://127.0.0.1:{}/.well-known/jwks.json", gate.admin_port());
        let asked = json!({"op": "fetched", "token": token, "url": url, "audience": "orders", "issuer": "scopegate"});
        let read = js.ask(&asked);
        assert_eq!(read["header"]["alg"], algorithm);
        assert_eq!(read["thumbprints"], json!([read["header"]["kid"]]), "RFC 7638");
        let Json::Object(mut claims) = py.ask(&asked)["claims"].clone() else { panic!("{read}") };
        assert_eq!(read["claims"], Json::Object(claims.clone()));
        let times = ["iat", "exp"].map(|name| claims.remove(name).unwrap().as_u64().unwrap());
        assert!(times[0] <= now() && times[1] == times[0] + 60, "{times:?}");
        let said = json!({"iss": "scopegate", "sub": "reader", "aud": "orders", "scope": "orders:read", "tenant": "shop", "roles": [], "credential": "tokens"});
        assert_eq!(Json::Object(claims), said, "{algorithm}");
        assert!(!gate.process.said().contains(&token), "{algorithm}: it is written down nowhere");
    }
}
