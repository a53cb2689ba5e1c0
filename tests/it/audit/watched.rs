//! `GET /decisions`: the last lines, then each as it comes; filters, readers who are too slow, and who may read at all.

use std::collections::VecDeque;
use std::net::SocketAddr;

use scopegate::telemetry::line::Filter;
use serde_json::Value;

use super::{APP, POLICY, TOKENS, get};
use crate::harness::wire::Wire;
use crate::harness::{DEADLINE, Gate, ask, until};

/// A reader of events.
struct Reader {
    wire: Wire,
    events: VecDeque<(String, Value)>,
}

impl Reader {
    async fn open(address: SocketAddr, query: &str, headers: &str) -> Self {
        // Room for little, so that what is not read waits in the gate.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let mut wire = Wire::new(socket.connect(address).await.unwrap());
        wire.send(format!("GET /decisions{query} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        let head = wire.response_head().await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream") && head.contains("no-store"), "{head}");
        Self { wire, events: VecDeque::new() }
    }

    /// The next event, comments left out: its name and its data.
    async fn next(&mut self) -> (String, Value) {
        // Comments come forever.
        tokio::time::timeout(DEADLINE, self.event()).await.expect("an event in time")
    }

    async fn event(&mut self) -> (String, Value) {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            // Each piece is of whole events.
            let piece = self.piece().await;
            assert!(piece.ends_with("\n\n"), "ended: {piece}");
            for event in piece.split("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let Some(data) = field("data: ") {
                    self.events.push_back((field("event: ").unwrap_or_default().to_owned(), serde_json::from_str(data).unwrap()));
                }
            }
        }
    }

    /// The next piece of the body; empty at its end.
    async fn piece(&mut self) -> String {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push(char::from(self.wire.bytes(1).await[0]));
        }
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let piece = self.wire.bytes(size + 2).await;
        String::from_utf8(piece[..size].to_vec()).unwrap()
    }

    /// Waits until nothing more is to come.
    async fn ends(&mut self) {
        let end = async { while !self.piece().await.is_empty() {} };
        tokio::time::timeout(DEADLINE, end).await.expect("an end in time");
    }

    async fn paths(&mut self, count: usize) -> Vec<String> {
        let mut paths = Vec::new();
        for _ in 0..count {
            paths.push(self.next().await.1["path"].as_str().unwrap().to_owned());
        }
        paths
    }
}

/// How many lines are kept.
async fn kept(gate: &Gate, count: usize) {
    until("lines", async || (gate.running.gate.telemetry.recent.last(1000, &Filter::default()).len() == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_has_the_last_lines_and_then_each_as_it_comes() {
    let gate = Gate::start(POLICY, TOKENS).await;
    for path in ["/open/1", "/open/2", "/open/3"] {
        get(&gate, path, "").await;
    }
    kept(&gate, 3).await;
    let mut reader = Reader::open(gate.admin(), "?last=2", "").await;
    assert_eq!(reader.paths(2).await, ["/open/2", "/open/3"]);
    let mut all = Reader::open(gate.admin(), "", "").await;
    assert_eq!(all.paths(3).await, ["/open/1", "/open/2", "/open/3"]);
    get(&gate, "/open/4", "").await;
    assert_eq!((reader.paths(1).await, all.paths(1).await), (vec!["/open/4".to_owned()], vec!["/open/4".to_owned()]));
    let id = gate.running.gate.telemetry.recent.last(2, &Filter::default())[0].id.clone();
    let mut again = Reader::open(gate.admin(), "", &format!("last-event-id: {id}\r\n")).await;
    assert_eq!(again.paths(1).await, ["/open/4"], "who comes again has what it missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_of_the_last_lines_and_of_those_that_come() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let bearer = format!("authorization: Bearer {APP}\r\n");
    get(&gate, "/app", "").await;
    get(&gate, "/app", &bearer).await;
    get(&gate, "/open/1", "").await;
    kept(&gate, 3).await;
    let last = async |query: &str| {
        let reply = ask(gate.admin(), format!("GET /decisions{query} HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n\r\n")).await;
        let said: Value = serde_json::from_slice(&reply.body).unwrap();
        said["decisions"].as_array().unwrap().iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (query, reasons) in [
        ("", &["no_credential", "allowed", "allowed"][..]),
        ("?last=1", &["allowed"]),
        ("?last=0", &[]),
        ("?outcome=deny", &["no_credential"]),
        ("?reason=no_credential&door=proxy", &["no_credential"]),
        ("?door=ext_authz", &[]),
        ("?route=GET+%2Fapp", &["no_credential", "allowed"]),
        ("?principal=app&tenant=t&credential=tokens", &["allowed"]),
        ("?tenant=", &["no_credential", "allowed", "allowed"]),
    ] {
        assert_eq!(last(query).await, reasons, "{query}");
    }
    let mut denials = Reader::open(gate.admin(), "?outcome=deny&last=0", "").await;
    get(&gate, "/open/2", "").await;
    get(&gate, "/app/x/y", "").await;
    assert_eq!(denials.paths(1).await, ["/app/x/y"]);
    for bad in ["?last=1001", "?token=x", "?outcome=a&outcome=b"] {
        let reply = ask(gate.admin(), format!("GET /decisions{bad} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert!(reply.status == 422 && reply.text().contains("known parameters are `last`"), "{bad}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_is_told_how_many_lines_it_missed() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut reader = Reader::open(gate.admin(), "?last=0", "").await;
    get(&gate, "/open/first", "").await;
    assert_eq!(reader.paths(1).await, ["/open/first"]);
    // More than its feed and the system's buffers hold together, while nothing is read.
    let long = format!("/open/{}", "abc/".repeat(120));
    let mut wire = Wire::connect(gate.proxy()).await;
    let count = 16_000;
    for _ in 0..count / 100 {
        wire.send(format!("GET {long} HTTP/1.1\r\nhost: a\r\n\r\n").repeat(100)).await;
        for _ in 0..100 {
            assert_eq!(wire.reply(false).await.status, 200);
        }
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < count {
        let (event, data) = reader.next().await;
        match &*event {
            "dropped" => missed += data["lines"].as_u64().unwrap(),
            _ => seen += 1,
        }
    }
    assert!(missed > 0 && seen > 0, "{seen} {missed}");
    assert_eq!(seen + missed, count, "each was seen, or told to be missed");
    get(&gate, "/open/last", "").await;
    assert_eq!(reader.paths(1).await, ["/open/last"], "and it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seventeenth_reader_is_refused_until_another_goes() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut readers = Vec::new();
    for _ in 0..16 {
        readers.push(Reader::open(gate.admin(), "", "").await);
    }
    let reply = ask(gate.admin(), "GET /decisions HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(reply.status == 503 && reply.text().contains("16 read decisions already"), "{}", reply.text());
    let list = ask(gate.admin(), "GET /decisions HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n\r\n").await;
    assert_eq!(list.status, 200, "a list takes no place");
    readers.pop();
    until("a free place", async || {
        let mut wire = Wire::connect(gate.admin()).await;
        wire.send("GET /decisions HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        wire.response_head().await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_others_can_reach_shows_decisions_to_operators_and_ends_with_the_set_that_let_them_in() {
    let open = "listen: {proxy: 127.0.0.1:0, ext_authz: 127.0.0.1:0, forward_auth: 127.0.0.1:0, admin: 0.0.0.0:0}\n";
    let tokens = TOKENS.replace("own:more", "scopegate:admin");
    let gate = Gate::start(&format!("{POLICY}{open}"), &tokens).await;
    let address = SocketAddr::from(([127, 0, 0, 1], gate.admin().port()));
    for (headers, status) in [("", 401), ("authorization: Bearer token-of-the-few-1\r\n", 403)] {
        for accept in ["", "accept: application/json\r\n"] {
            let reply = ask(address, format!("GET /decisions HTTP/1.1\r\nhost: localhost\r\n{headers}{accept}\r\n")).await;
            assert_eq!(reply.status, status, "{headers}");
        }
    }
    let mut reader = Reader::open(address, "", &format!("authorization: Bearer {APP}\r\n")).await;
    let body = "content-length: 0\r\n\r\n";
    let reply = ask(address, format!("POST /reload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {APP}\r\n{body}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reader.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_on_this_machine_is_shown_nothing() {
    let gate = Gate::start(POLICY, TOKENS).await;
    for headers in ["host: evil.test\r\n", "host: localhost\r\norigin: http://evil.test\r\n", "host: localhost\r\nsec-fetch-site: cross-site\r\n"] {
        for path in ["/decisions", "/reloads"] {
            let reply = ask(gate.admin(), format!("GET {path} HTTP/1.1\r\n{headers}\r\n")).await;
            assert_eq!(reply.status, 401, "{path} {headers}");
        }
    }
}
