//! Gates that are replaced one after the other behind a real Envoy, under load: every request is answered as decided, and arrives once.
//! Sets no time for anything: a gate is replaced as soon as what must come before has come.

mod fleet;
mod load;

use std::io::{BufReader, Write};
use std::net::TcpStream;

use crate::application::BODY;
use crate::client::Ask;
use crate::message::Message;
use crate::process::until;
use crate::websocket::{self, Socket};

use fleet::{Before, Fleet, Replica};
use load::{Load, READER, WRITER};

const ROUNDS: usize = 2;
/// The first SIGTERM makes a lame duck, which goes with the second.
const UNTIL_TOLD: &str = "lame_duck: 1h\n";

/// Two gates replaced by two others, again and again. Envoy learns from its own health checks that one is about to go, and long after it that it is gone.
fn replaced(before: Before) {
    let mut fleet = Fleet::start(before, UNTIL_TOLD, &[]);
    let mut gates = vec![fleet.add(), fleet.add()];
    let load = Load::start(&fleet);
    for _ in 0..ROUNDS {
        let mut gone = Vec::new();
        for _ in 0..2 {
            let mut old = exchanged(&mut fleet, &mut gates, &load);
            fleet.until(&old, "turns away", |flags| flags.is_some_and(|flags| flags.contains("/failed_active_hc")));
            // Its workers hear of that within a second.
            until("nobody asks any more", || {
                let before = old.decisions();
                load.goes_on();
                old.decisions() == before
            });
            old.process.signal("TERM");
            assert_eq!(old.process.ended(), Some(0));
            load.goes_on();
            gone.push(old);
        }
        fleet.forget(&gone);
    }
    load.stop(&fleet.application);
}

/// The gate that was told to go, once another has its share.
fn exchanged(fleet: &mut Fleet, gates: &mut Vec<Replica>, load: &Load) -> Replica {
    let next = fleet.add();
    until("the next one has its share", || next.decisions() > 10);
    gates.push(next);
    let old = gates.remove(0);
    load.goes_on();
    old.process.signal("TERM");
    old
}

#[test]
fn replacing_the_gates_that_envoy_asks_fails_no_request() {
    replaced(Before::ExtAuthz);
}

#[test]
fn replacing_the_gates_that_requests_go_through_fails_no_request() {
    replaced(Before::ProxyDoor);
}

/// The same where Envoy has no time to notice anything: what a gate says while it goes, and what Envoy may try again, is all there is.
fn surprised(before: Before, settings: &str) {
    let blind = [
        ("interval: 1s, no_traffic_interval: 1s", "interval: 600s, no_traffic_interval: 600s"),
        ("      health_checks:\n", "      ignore_health_on_host_removal: true\n      health_checks:\n"),
    ];
    let mut fleet = Fleet::start(before, settings, &blind);
    let mut gates = vec![fleet.add(), fleet.add()];
    let load = Load::start(&fleet);
    for _ in 0..ROUNDS {
        for _ in 0..2 {
            let mut old = exchanged(&mut fleet, &mut gates, &load);
            assert_eq!(old.process.ended(), Some(0));
            load.goes_on();
            fleet.forget(&[old]);
        }
    }
    load.stop(&fleet.application);
}

#[test]
fn gates_that_go_before_envoy_knows_refuse_no_question() {
    surprised(Before::ExtAuthz, "lame_duck: 0s\n");
}

#[test]
fn gates_that_go_before_envoy_knows_lose_no_request() {
    surprised(Before::ProxyDoor, "lame_duck: 0s\n");
}

#[test]
fn what_is_in_flight_ends_in_order_while_its_gate_goes() {
    let mut fleet = Fleet::start(Before::ProxyDoor, UNTIL_TOLD, &[]);
    let mut old = fleet.add();
    until("it is asked", || Ask::get("/open").send(fleet.port).status == 200);
    let connect = || TcpStream::connect(("127.0.0.1", fleet.port)).unwrap();
    let (mut long, mut upload) = (connect(), connect());
    fleet.application.hold(true);
    long.write_all(b"GET /long HTTP/1.1\r\nHost: shop.test\r\n\r\n").unwrap();
    let head = format!("POST /orders HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Bearer {WRITER}\r\nContent-Length: 10\r\n\r\nhello");
    upload.write_all(head.as_bytes()).unwrap();
    until("the long answer has begun", || fleet.application.take().iter().any(|request| request.word(1) == "/long"));
    let mut socket = Socket::open(fleet.port, &websocket::handshake("/feed").token(READER)).unwrap();
    assert!(socket.echoes("hello"));
    let next = fleet.add();
    until("the next one has its share", || Ask::get("/open").send(fleet.port).status == 200 && next.decisions() > 0);
    old.process.signal("TERM");
    fleet.until(&old, "turns away", |flags| flags.is_some_and(|flags| flags.contains("/failed_active_hc")));
    until("nobody asks any more", || {
        let before = old.decisions();
        let asked = (0..10).all(|_| Ask::get("/open").send(fleet.port).status == 200);
        asked && old.decisions() == before
    });
    // Nobody who is at work is disturbed before the end.
    assert!(socket.echoes("still here"));
    assert_eq!(Ask::get("/orders").token(READER).send(fleet.port).status, 200);
    old.process.signal("TERM");
    assert_eq!(socket.close_code(), 1001);
    upload.write_all(b"world").unwrap();
    fleet.application.hold(false);
    for stream in [long, upload] {
        let answer = Message::read(&mut BufReader::new(stream), |_| true).unwrap().unwrap();
        assert_eq!((answer.word(1), &*answer.text()), ("200", BODY));
    }
    assert_eq!(old.process.ended(), Some(0));
    let arrived = fleet.application.take().iter().filter(|request| request.text() == "helloworld").count();
    assert_eq!(arrived, 1);
    drop(next);
}
