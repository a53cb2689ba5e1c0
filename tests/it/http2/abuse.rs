//! Requests that HTTP/1.1 could not say, or not in one way only (RFC 9113 §8): no one of them reaches the upstream.

use crate::harness::Gate;
use crate::harness::http2::{DATA, END_HEADERS, END_STREAM, End, HEADERS, Http2, PROTOCOL_ERROR, block, frame, get};

const POLICY: &str = "routes: {/open/: public}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;

type Field = (&'static str, &'static str);
const M: Field = (":method", "GET");
const S: Field = (":scheme", "http");
const A: Field = (":authority", "a");
const P: Field = (":path", "/open/x");

/// Each is refused: by a reset of its stream, by 400, or with its connection.
const MALFORMED: &[&[Field]] = &[
    // Pseudo-headers absent, doubled, late, unknown or empty.
    &[S, A, P],
    &[M, A, P],
    &[M, S, A],
    &[M, M, S, A, P],
    &[M, S, S, A, P],
    &[M, S, A, A, P],
    &[M, S, A, P, P],
    &[M, S, A, P, (":path", "/open/y")],
    &[M, S, P, ("x", "y"), A],
    &[M, S, A, ("x", "y"), P],
    &[M, S, A, P, (":status", "200")],
    &[M, S, A, P, (":unknown", "x")],
    &[M, S, A, P, (":", "x")],
    &[M, S, A, (":path", "")],
    &[(":method", ""), S, A, P],
    &[M, (":scheme", ""), A, P],
    &[M, S, (":authority", ""), P],
    &[M, S, P],
    // Names and values that no HTTP/1.1 field could have.
    &[M, S, A, P, ("X-Upper", "y")],
    &[M, S, A, P, ("", "y")],
    &[M, S, A, P, ("a b", "y")],
    &[M, S, A, P, ("a:b", "y")],
    &[M, S, A, P, ("a\r\nhost: b", "y")],
    &[M, S, A, P, ("x", "y\r\nhost: b")],
    &[M, S, A, P, ("x", "y\rz")],
    &[M, S, A, P, ("x", "y\nz")],
    &[M, S, A, P, ("x", "y\0z")],
    &[(":method", "GET /open/y HTTP/1.1\r\nhost: b\r\n\r\nGET"), S, A, P],
    &[(":method", "GET\0"), S, A, P],
    // Fields of a connection.
    &[M, S, A, P, ("connection", "close")],
    &[M, S, A, P, ("connection", "x-scopegate-user")],
    &[M, S, A, P, ("keep-alive", "1")],
    &[M, S, A, P, ("proxy-connection", "close")],
    &[M, S, A, P, ("transfer-encoding", "chunked")],
    &[M, S, A, P, ("upgrade", "websocket")],
    &[M, S, A, P, ("te", "gzip")],
    &[M, S, A, P, ("te", "trailers, gzip")],
    // Targets that are no path of this service.
    &[M, S, A, (":path", "open/x")],
    &[M, S, A, (":path", "*")],
    &[(":method", "OPTIONS"), S, A, (":path", "*")],
    &[M, S, A, (":path", "?x")],
    &[M, S, A, (":path", "http://a/open/x")],
    &[M, S, A, (":path", "http://evil/open/x")],
    &[M, S, A, (":path", "//evil/open/x")],
    &[M, S, A, (":path", "/open/x y")],
    &[M, S, A, (":path", "/open/x HTTP/1.1\r\nhost: b\r\n\r\n")],
    &[M, S, A, (":path", "/open/\0")],
    &[M, S, A, (":path", "/open/\u{e9}")],
    &[M, S, A, (":path", "/open/../secret")],
    &[M, S, A, (":path", "/open/x\\y")],
    // Hosts of which there are two, or with a user.
    &[M, S, (":authority", "user@a"), P],
    &[M, S, (":authority", "user:password@a"), P],
    &[M, S, (":authority", "a b"), P],
    &[M, S, (":authority", "a/b"), P],
    &[M, S, (":authority", "a,b"), P],
    &[M, S, (":authority", "a:b"), P],
    &[M, S, A, P, ("host", "b")],
    &[M, S, A, P, ("host", "a"), ("host", "a")],
    &[M, S, A, P, ("host", "")],
    // Schemes of another world.
    &[M, (":scheme", "ftp"), A, P],
    &[M, (":scheme", "file"), A, P],
    &[M, (":scheme", "http://b/?"), A, P],
    &[M, (":scheme", "javascript"), A, P],
    // Lengths that nobody could keep.
    &[M, S, A, P, ("content-length", "5")],
    &[M, S, A, P, ("content-length", "+0")],
    &[M, S, A, P, ("content-length", "")],
    &[M, S, A, P, ("content-length", "0"), ("content-length", "5")],
    // Tunnels.
    &[(":method", "CONNECT"), A],
    &[(":method", "CONNECT"), S, A, P],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_refused_and_the_next_is_served() {
    let gate = Gate::start(POLICY, TOKENS).await;
    for fields in MALFORMED {
        let mut client = Http2::open(gate.proxy()).await;
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))).await;
        let end = client.end(1).await;
        // 0 is 403 or 405: no other status outside the static table is in question.
        let refused = matches!(end, End::Status(400 | 0) | End::Reset(PROTOCOL_ERROR) | End::Goaway(PROTOCOL_ERROR));
        let seen = gate.upstream.take();
        assert!(refused && seen.is_empty(), "{fields:?}: {end:?}, {seen:?}");
        if !matches!(end, End::Goaway(_)) {
            client.send(get(3, "/open/x")).await;
            assert_eq!(client.end(3).await, End::Status(200), "{fields:?}");
            assert_eq!(gate.upstream.take().len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_as_long_as_it_says_reaches_nobody_whole() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let fields = |length: &'static str| block(&[(":method", "POST"), S, A, P, ("content-length", length)]);
    for (length, body) in [("5", "four"), ("5", "sixsix"), ("0", "x"), ("5", "")] {
        let mut client = Http2::open(gate.proxy()).await;
        client.send([frame(HEADERS, END_HEADERS, 1, &fields(length)), frame(DATA, END_STREAM, 1, body.as_bytes())].concat()).await;
        let end = client.end(1).await;
        assert!(matches!(end, End::Reset(PROTOCOL_ERROR) | End::Status(400)), "{length} {body:?}: {end:?}");
        let seen = gate.upstream.take();
        assert!(seen.is_empty(), "{length} {body:?}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_say_nothing_that_only_a_head_may_say() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let head = frame(HEADERS, END_HEADERS, 1, &block(&[(":method", "POST"), S, A, P]));
    let trailers = |fields: &[Field]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields));
    let body = frame(DATA, 0, 1, b"body");
    for pseudo in [(":path", "/secret"), (":status", "200"), (":method", "GET")] {
        let mut client = Http2::open(gate.proxy()).await;
        client.send([head.clone(), body.clone(), trailers(&[pseudo])].concat()).await;
        client.end(1).await;
        let seen = gate.upstream.take();
        // The parser drops it; what it says is never heard.
        assert!(seen.iter().all(|message| message.first == "POST /open/x HTTP/1.1" && message.body == b"body"), "{pseudo:?}: {seen:?}");
    }
    let mut client = Http2::open(gate.proxy()).await;
    let said = [("x-checksum", "1"), ("x-scopegate-id", "root"), ("host", "b"), ("authorization", "Bearer x"), ("x-forwarded-for", "::1")];
    client.send([head, body, trailers(&said)].concat()).await;
    assert_eq!(client.end(1).await, End::Status(200));
    let seen = gate.upstream.take().remove(0);
    assert_eq!(seen.body, b"body");
    for name in ["x-scopegate-id", "authorization", "x-forwarded-for"] {
        assert!(seen.headers.iter().filter(|(known, _)| known == name).all(|(_, value)| value != b"root" && value != b"::1" && value != b"Bearer x"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_goes_nowhere() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let mut client = Http2::open(gate.proxy()).await;
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[M, S, A, (":path", "/open/x#/../../secret")]))).await;
    assert_eq!(client.end(1).await, End::Status(200));
    // The parser drops it, before anything is decided: what is decided on is what goes on.
    let seen = gate.upstream.take();
    assert_eq!((seen.len(), &*seen[0].first), (1, "GET /open/x HTTP/1.1"));
}
