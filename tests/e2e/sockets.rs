//! WebSockets between a client and a server of the `websockets` package, with the gate between them.
//! Reads no frames itself: both ends say what they saw.

use std::fs;

use serde_json::{Value as Json, json};

use crate::gate::{Desk, Gate};
use crate::tokens::Minter;
use crate::volume::MEMORY;

const TOKEN: &str = "token-of-the-listener-1";
const OTHER: &str = "token-of-the-other-1";

struct Line {
    ends: Minter,
    gate: Gate,
}

fn tokens(scopes: &[&str], with_listener: bool) -> String {
    let listener = json!({"id": "listener", "token": TOKEN, "scopes": scopes});
    let other = json!({"id": "other", "token": OTHER, "scopes": ["feed:listen"]});
    if with_listener { json!([listener, other]) } else { json!([other]) }.to_string()
}

impl Line {
    fn open() -> Self {
        let ends = Minter::start_in::<&str>("tests/e2e/clients", "sockets.py", &[]);
        let gate = Desk::new().file("tokens.json", &tokens(&["feed:listen"], true)).serve(&json!({
            "upstream": ends.ready("address"),
            "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
            "routes": {"GET /feed": "feed:listen"},
            "lame_duck": "0s",
        }));
        Self { ends, gate }
    }

    fn connect(&self, name: &str, token: Option<&str>) -> Json {
        let url = format!("ws://127.0.0.1:{}/feed", self.gate.door());
        self.ends.ask(&json!({"op": "open", "name": name, "url": url, "token": token}))["status"].clone()
    }

    /// Whether random bytes came there and back as they were.
    fn echoes(&self, name: &str, size: usize) -> bool {
        let answer = self.ends.ask(&json!({"op": "echo", "name": name, "size": size}));
        let digests = answer["digests"].as_array().unwrap();
        digests.len() == 3 && digests.iter().all(|digest| *digest == digests[0])
    }

    fn close_code(&self, name: &str) -> Json {
        self.ends.ask(&json!({"op": "closed", "name": name}))["code"].clone()
    }

    fn reload(&self, tokens: &str) {
        fs::write(self.gate.desk.path("tokens.json"), tokens).unwrap();
        self.gate.process.signal("HUP");
    }
}

#[test]
fn ten_megabytes_each_way_arrive_unchanged_with_compression() {
    let line = Line::open();
    assert_eq!(line.connect("stranger", None), 401);
    assert_eq!(line.connect("listener", Some(TOKEN)), 101);
    let deflated = line.ends.ask(&json!({"op": "deflated", "name": "listener"}));
    assert_eq!(deflated["extensions"], json!(["permessage-deflate"]));
    assert!(line.echoes("listener", 5));
    assert!(line.echoes("listener", 10_000_000));
    let most = line.gate.most_memory();
    assert!(most < MEMORY, "{most} bytes");
}

#[test]
fn a_socket_ends_with_the_token_and_the_scope_that_opened_it() {
    let line = Line::open();
    for name in ["listener", "other"] {
        assert_eq!(line.connect(name, Some(if name == "other" { OTHER } else { TOKEN })), 101);
        assert!(line.echoes(name, 100));
    }
    line.reload(&tokens(&["feed:none"], true));
    assert_eq!(line.close_code("listener"), 3003);
    assert_eq!(line.connect("listener", Some(TOKEN)), 403);
    line.reload(&tokens(&["feed:listen"], true));
    crate::process::until("the scope is back", || line.connect("listener", Some(TOKEN)) == 101);
    line.reload(&tokens(&[], false));
    assert_eq!(line.close_code("listener"), 3000);
    assert_eq!(line.connect("listener", Some(TOKEN)), 401);
    assert!(line.echoes("other", 100));
}

#[test]
fn a_socket_is_told_that_the_gate_goes_away() {
    let mut line = Line::open();
    assert_eq!(line.connect("listener", Some(TOKEN)), 101);
    assert!(line.echoes("listener", 100));
    line.gate.process.signal("TERM");
    assert_eq!(line.close_code("listener"), 1001);
    assert_eq!(line.gate.process.ended(), Some(0));
}
