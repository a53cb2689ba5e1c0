//! Sound HTTP/1.1 requests, and what becomes of them in the hands of somebody who means it badly.

use super::random::Random;
use super::strict::find;

/// Behind every sound request in a pipeline, and in bodies.
const HIDDEN: &str = "GET /secret HTTP/1.1\r\nhost: a\r\n\r\n";

const FIELDS: &[&str] = &[
    "content-length: 5",
    "content-length: 0",
    "content-length: 36",
    "Content-Length : 5",
    "content-length: 5, 5",
    "content-length: +5",
    "content-length: 0x5",
    "content-length:",
    "content-length: 18446744073709551621",
    "transfer-encoding: chunked",
    "Transfer-Encoding: chunked, identity",
    "transfer-encoding: identity",
    "transfer-encoding:\tchunked",
    "transfer-encoding: xchunked",
    "transfer-encoding : chunked",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding\r\n: chunked",
    "x: y\r\n transfer-encoding: chunked",
    "x: y\ntransfer-encoding: chunked",
    "x: y\rtransfer-encoding: chunked",
    "host: b",
    "host: a\r\nhost: a",
    "connection: host",
    "connection: content-length",
    "connection: close, x-scopegate-id",
    "connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA",
    "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13",
    "expect: 100-continue",
    "expect: 200-ok",
    "te: trailers, chunked",
    "trailer: content-length",
    "x-http-method-override: DELETE",
    "x-original-url: /secret",
    "x-rewrite-url: /secret",
    "x-scopegate-id: root",
    "x_scopegate_id: root",
    ": nothing",
    "no colon",
    "\u{e9}: x",
];

const TARGETS: &[&str] = &[
    "/secret",
    "/open/../secret",
    "/open/%2e%2e/secret",
    "/open/..%2fsecret",
    "/open/%2e%2e%2fsecret",
    "/open/..;/secret",
    "/open//secret",
    "//secret",
    "/open\\..\\secret",
    "/open/x#/../../secret",
    "/open/x?/../../secret",
    "/open/%00",
    "/open/%",
    "/open/\u{7f}",
    "http://a/secret",
    "http://evil/open/x",
    "http:/open/x",
    "*",
    "secret",
    "?secret",
    "/open/x HTTP/1.1\r\nhost: a\r\n\r\nGET /secret",
    "",
];

const FIRSTS: &[&str] = &["GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "GE T", "PRI", "PURGE", "G\0ET", ""];
const VERSIONS: &[&str] = &["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/0.9", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "HTTP/11", "HTTP /1.1", ""];
const CHUNKS: &[&str] =
    &["0", "5 ", "05", "0x5", "+5", "-5", "5;a=b", "5;a=\"\r\n\"", "g", "", "ffffffffffffffff", "00000000000000000005", "5\n", "1000"];

/// A sound one, marked so that it is known again.
fn sound(random: &mut Random, mark: &str) -> Vec<u8> {
    let body = random.pick(&["hello", HIDDEN, "0\r\n\r\n", ""]);
    let fields = random.pick(&["", "accept: */*\r\n", "cookie: a=b\r\nuser-agent: x\r\n", "connection: keep-alive\r\n"]);
    let text = match random.below(7) {
        0 | 1 => format!("GET /open/{mark} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"),
        2 => format!("HEAD /open/{mark}?x=y HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
        3 => format!("GET http://a/open/{mark} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"),
        4 => format!("POST /open/{mark} HTTP/1.1\r\nhost: a\r\n{fields}content-length: {}\r\n\r\n{body}", body.len()),
        5 => format!("GET /open/{mark} HTTP/1.0\r\n{fields}\r\n"),
        _ if body.is_empty() => format!("PUT /open/{mark} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n{fields}\r\n0\r\n\r\n"),
        _ => format!(
            "PUT /open/{mark} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n{fields}\r\n{:x}\r\n{body}\r\n0\r\nx: y\r\n\r\n",
            body.len()
        ),
    };
    text.into_bytes()
}

/// What one connection sends.
pub fn connection(random: &mut Random, mark: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(3) {
        let mut request = sound(random, mark);
        for _ in 0..=random.below(3) {
            mutate(random, &mut request);
        }
        bytes.extend(request);
    }
    if random.below(2) == 0 {
        bytes.extend_from_slice(HIDDEN.as_bytes());
    }
    if random.below(8) == 0 {
        bytes.truncate(random.below(bytes.len() + 1));
    }
    bytes
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len());
    match random.below(12) {
        0 if !bytes.is_empty() => bytes[at] = random.byte(),
        1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        2 => insert(bytes, at, random.pick(&[&b"\r"[..], b"\n", b"\0", b" ", b"\t", b"\r\n", b":", b"\r\n "])),
        3 => drop(bytes.drain(at..at + random.below(6).min(bytes.len() - at))),
        4 | 5 => {
            let line = format!("{}\r\n", random.pick(FIELDS));
            let at = line_start(random, bytes);
            insert(bytes, at, line.as_bytes());
        }
        6 => {
            // Two lines change places, or become one.
            let head = find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
            let mut lines: Vec<String> = String::from_utf8_lossy(&bytes[..head]).split("\r\n").map(str::to_owned).collect();
            let (one, other) = (random.below(lines.len()), random.below(lines.len()));
            lines.swap(one, other);
            let joint = random.pick(&["\r\n", "\r\n", "\n", "\r\n ", ", ", "\r"]);
            let rest = bytes.split_off(head);
            *bytes = [lines.join(joint).into_bytes(), rest].concat();
        }
        7 => {
            let from = line_start(random, bytes);
            let line = bytes[from..].to_vec();
            let end = find(&line, b"\r\n").map_or(line.len(), |end| end + 2);
            insert(bytes, from, &line[..end]);
        }
        8 => word(bytes, 0, random.pick(FIRSTS)),
        9 => word(bytes, 1, random.pick(TARGETS)),
        10 => word(bytes, 2, random.pick(VERSIONS)),
        _ => {
            // The first line behind the head, where a chunk may begin.
            let Some(start) = find(bytes, b"\r\n\r\n").map(|end| end + 4) else { return };
            let end = find(&bytes[start..], b"\r\n").map_or(bytes.len(), |end| start + end);
            bytes.splice(start..end, random.pick(CHUNKS).bytes());
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    bytes.splice(at..at, new.iter().copied());
}

/// Where a header line begins.
fn line_start(random: &mut Random, bytes: &[u8]) -> usize {
    let head = find(bytes, b"\r\n\r\n").map_or(bytes.len(), |end| end + 2);
    let starts: Vec<usize> = (0..head).filter(|at| bytes[..*at].ends_with(b"\r\n")).collect();
    starts.get(random.below(starts.len())).copied().unwrap_or(0)
}

/// Another word in the request line.
fn word(bytes: &mut Vec<u8>, index: usize, new: &str) {
    let end = find(bytes, b"\r\n").unwrap_or(bytes.len());
    let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut words: Vec<&str> = line.split(' ').collect();
    if let Some(word) = words.get_mut(index) {
        *word = new;
    }
    bytes.splice(..end, words.join(" ").into_bytes());
}
