//! Connections that a proxy in front brings, with a header that says from where: believed of whom it is expected of, and of nobody else.

use super::*;

const CONFIG: &str = "proxy_protocol: true\nroutes: {/open: public}\n";

fn v2(version: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[version, family][..], &length, block].concat()
}

/// Headers, whom the upstream is told of, and whether the client's own account of another is believed.
fn headers() -> Vec<(Vec<u8>, &'static str, bool)> {
    let four = [192, 0, 2, 7, 192, 0, 2, 8, 0, 1, 0, 2];
    let six = [&[0x20, 1, 0x0d, 0xb8], &[0; 11][..], &[7], &[0; 16], &[0, 1, 0, 2]].concat();
    vec![
        (b"PROXY TCP4 192.0.2.7 192.0.2.8 56324 443\r\n".to_vec(), "192.0.2.7", false),
        (b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n".to_vec(), "2001:db8::7", false),
        (b"PROXY TCP4 10.1.2.3 192.0.2.8 1 2\r\n".to_vec(), "10.1.2.3", true),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", false),
        (v2(0x21, 0x11, &four), "192.0.2.7", false),
        (v2(0x21, 0x11, &[&four[..], &[4, 0, 1, 0]].concat()), "192.0.2.7", false),
        (v2(0x21, 0x21, &six), "2001:db8::7", false),
        (v2(0x21, 0x31, &[0; 216]), "127.0.0.1", false),
        (v2(0x21, 0x00, &[]), "127.0.0.1", false),
        (v2(0x20, 0x00, &[]), "127.0.0.1", true),
    ]
}

const CLAIMED: &str = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: gopher\r\n";

fn told(gate: &Gate, (address, believed): (&str, bool), scheme: &str) {
    let seen = gate.upstream.take();
    assert_eq!(seen.len(), 1);
    let list = if believed { format!("203.0.113.9, {address}") } else { address.to_owned() };
    assert_eq!(value(&seen[0].headers, "x-forwarded-for"), Some(list));
    let scheme = if believed { "gopher" } else { scheme };
    assert_eq!(value(&seen[0].headers, "x-forwarded-proto").as_deref(), Some(scheme));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_told_of_the_client_that_the_header_names() {
    let gate = Gate::start(&format!("{CONFIG}trusted_proxies: [127.0.0.1, 10.0.0.0/8]\n"), TOKENS).await;
    for (header, address, believed) in headers() {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send([&header, format!("GET /open HTTP/1.1\r\nhost: a\r\n{CLAIMED}\r\n").as_bytes()].concat()).await;
        assert_eq!(wire.reply(false).await.status, 200, "{header:?}");
        told(&gate, (address, believed), "http");
        // One header a connection.
        assert_eq!(get(&mut wire, "/open", CLAIMED).await.status, 200);
        told(&gate, (address, believed), "http");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_is_whole_however_it_arrives() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    for header in [&headers()[0].0, &headers()[4].0] {
        let mut wire = Wire::connect(gate.proxy()).await;
        for byte in [header, OPEN.as_bytes()].concat() {
            wire.send([byte]).await;
            wire.stream.flush().await.unwrap();
        }
        assert_eq!(wire.reply(false).await.status, 200);
    }
    // HTTP/2 by prior knowledge behind one.
    let mut stream = TcpStream::connect(gate.proxy()).await.unwrap();
    stream.write_all(&headers()[0].0).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().uri("http://a/open").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    assert_eq!(tokio::time::timeout(DEADLINE, response).await.expect("in time").unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stands_before_the_handshake_and_never_behind_it() {
    let authority = Authority::new("ours");
    let gate = gate(&authority, &format!("{CONFIG}trusted_proxies: [127.0.0.1, 10.0.0.0/8]\n")).await;
    let client = authority.believer(None, &["http/1.1"]);
    for (header, address, believed) in headers() {
        let mut wire = Wire::new(dial(gate.proxy(), &client, HOST, &header).await.unwrap());
        assert_eq!(get(&mut wire, "/open", CLAIMED).await.status, 200);
        told(&gate, (address, believed), "https");
    }
    assert!(dial(gate.proxy(), &client, HOST, b"").await.is_err(), "without one");
    refused(&gate, "proxy_header", 1.0).await;
    let mut wire = Wire::new(dial(gate.proxy(), &client, HOST, &headers()[0].0).await.unwrap());
    wire.send([&headers()[0].0, OPEN.as_bytes()].concat()).await;
    assert_eq!(wire.reply(false).await.status, 400);
    assert!(gate.upstream.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_send_one_and_does_not_is_closed_without_a_word() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let four = [192, 0, 2, 7, 192, 0, 2, 8, 0, 1, 0, 2];
    let bad = [
        OPEN.as_bytes().to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 192.0.2.8 1 65536\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\n".to_vec(),
        [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
        v2(0x21, 0x11, &four[..11]),
        v2(0x22, 0x11, &four),
        v2(0x21, 0x00, &[0; 5000]),
        b"\x16\x03\x01\0\x05hello".to_vec(),
    ];
    for (count, header) in (1_u32..).zip(&bad) {
        let mut wire = Wire::connect(gate.proxy()).await;
        wire.send([header, OPEN.as_bytes()].concat()).await;
        assert_eq!(wire.rest().await, b"", "{header:?}");
        refused(&gate, "proxy_header", count.into()).await;
    }
    // Broken off within it; a look whether anybody listens is no fault.
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send("PROXY TCP4 192").await;
    drop(wire);
    drop(Wire::connect(gate.proxy()).await);
    refused(&gate, "proxy_header", 10.0).await;
    assert!(gate.upstream.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nobody_else_is_one_taken() {
    for config in [format!("{CONFIG}trusted_proxies: [10.0.0.0/8]\n"), "routes: {/open: public}\n".into()] {
        let gate = Gate::start(&config, TOKENS).await;
        for (header, ..) in headers() {
            let mut wire = Wire::connect(gate.proxy()).await;
            wire.send([&header, OPEN.as_bytes()].concat()).await;
            assert_eq!(wire.reply(false).await.status, 400, "{header:?}");
            assert!(wire.is_closed().await);
        }
        assert!(gate.upstream.take().is_empty());
        assert_eq!(ask(gate.proxy(), OPEN).await.status, 200);
    }
}
