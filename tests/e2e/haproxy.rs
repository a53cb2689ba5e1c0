//! A real HAProxy in front of the proxy door, which tells where a client is by PROXY headers of both versions.

use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::client::{Answer, Ask};
use crate::gate::Desk;
use crate::process::{Process, free_port, tool};

/// What each listener of HAProxy's sends ahead; with checks, it also looks whether anybody listens.
const SENDS: [&str; 4] = [
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    "send-proxy-v2 proxy-v2-options crc32c check check-send-proxy inter 50ms",
];

/// A request from another address of this machine than everybody else's.
fn from_elsewhere(port: u16, ask: &Ask) -> std::io::Result<Answer> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 7], 0)).into())?;
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    ask.exchange(TcpStream::from(socket))
}

#[test]
fn a_client_behind_haproxy_is_known_by_its_own_address() {
    let hook = json!({"hook": {"kind": "webhook", "token": "token-of-the-webhook-1", "scopes": ["a:b"]}});
    let config = json!({"credentials": hook, "routes": {"GET /open": "public"}, "proxy_protocol": true, "trusted_proxies": ["127.0.0.1"]});
    let gate = Desk::new().serve(&config);
    let ports = SENDS.map(|_| free_port());
    let listen = |(send, port): (&str, u16)| {
        format!("listen p{port}\n  mode tcp\n  bind 127.0.0.1:{port}\n  server gate 127.0.0.1:{} {send}\n", gate.proxy_port())
    };
    let listeners: String = SENDS.into_iter().zip(ports).map(listen).collect();
    std::fs::write(gate.desk.path("haproxy.cfg"), format!("defaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n{listeners}"))
        .unwrap();
    let mut haproxy = Process::start("haproxy", &tool("haproxy"), &gate.desk.path("."), |command| {
        command.args(["-f", "haproxy.cfg", "-db"]);
    });
    let ask = Ask::get("/open").header("X-Forwarded-For", "203.0.113.9");
    for (send, port) in SENDS.into_iter().zip(ports) {
        haproxy.until("listening", |_| Ask::get("/open").try_send(port).is_ok_and(|answer| answer.status == 200));
        gate.application.take();
        assert_eq!(from_elsewhere(port, &ask).unwrap().status, 200, "{send}");
        let seen = gate.application.take();
        assert_eq!(seen.len(), 1, "{send}");
        assert_eq!(seen[0].header("x-forwarded-for"), Some("127.0.0.7"), "{send}");
    }
    assert!(!gate.metrics().contains("proxy_header"), "a header of HAProxy's is refused");
    // Whoever comes past it says nothing, and is not heard.
    assert!(Ask::get("/open").try_send(gate.proxy_port()).is_err());
    assert_eq!(from_elsewhere(gate.proxy_port(), &ask).unwrap().status, 200, "not a proxy that is trusted: a client like any other");
}
