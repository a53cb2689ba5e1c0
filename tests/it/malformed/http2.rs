//! Sound sequences of HTTP/2 frames, and what becomes of them in the hands of somebody who means it badly.

use super::random::Random;
use crate::harness::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};

const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;

const FIELDS: &[(&str, &str)] = &[
    (":path", "/secret"),
    (":path", "/open/../secret"),
    (":path", "http://a/secret"),
    (":path", "*"),
    (":path", ""),
    (":method", "CONNECT"),
    (":method", "G ET"),
    (":authority", "b"),
    (":authority", "user@a"),
    (":scheme", "file"),
    (":protocol", "websocket"),
    (":status", "200"),
    ("host", "b"),
    ("connection", "close"),
    ("transfer-encoding", "chunked"),
    ("content-length", "5"),
    ("content-length", "0"),
    ("te", "gzip"),
    ("upgrade", "h2c"),
    ("Upper", "x"),
    ("x", "y\r\nhost: b"),
    ("x-scopegate-id", "root"),
    ("", "x"),
];

/// What one connection sends.
pub fn connection(random: &mut Random, mark: &str) -> Vec<u8> {
    let mut frames = vec![frame(SETTINGS, 0, 0, &[])];
    let mut stream = 1;
    for _ in 0..=random.below(4) {
        frames.extend(request(random, mark, stream));
        stream += 2;
    }
    for _ in 0..=random.below(3) {
        mutate(random, &mut frames);
    }
    let mut bytes = [PREFACE.to_vec(), frames.concat()].concat();
    if random.below(8) == 0 {
        bytes.truncate(PREFACE.len() + random.below(bytes.len() - PREFACE.len()));
    }
    bytes
}

fn request(random: &mut Random, mark: &str, stream: u32) -> Vec<Vec<u8>> {
    let has_body = random.below(2) == 0;
    let path = format!("/open/{mark}");
    let mut fields = vec![(":method", if has_body { "POST" } else { "GET" }), (":scheme", "http"), (":authority", "a"), (":path", &*path)];
    if random.below(3) == 0 {
        let at = random.below(fields.len() + 1);
        let odd = FIELDS[random.below(FIELDS.len())];
        match random.below(2) {
            0 => fields.insert(at, odd),
            _ => fields[at.min(3)] = odd,
        }
    }
    fields.push(("accept", "*/*"));
    let block = block(&fields);
    let end = if has_body { 0 } else { END_STREAM };
    let mut frames = match random.below(3) {
        0 => {
            let (first, rest) = block.split_at(random.below(block.len()));
            vec![frame(HEADERS, end, stream, first), frame(CONTINUATION, END_HEADERS, stream, rest)]
        }
        1 => vec![frame(HEADERS, end | END_HEADERS | PADDED, stream, &[&[3][..], &block, &[0; 3]].concat())],
        _ => vec![frame(HEADERS, end | END_HEADERS, stream, &block)],
    };
    if has_body {
        frames.push(frame(DATA, 0, stream, b"GET /secret HTTP/1.1\r\nhost: a\r\n\r\n"));
        frames.push(frame(DATA, END_STREAM, stream, b"0\r\n\r\n"));
    }
    frames
}

fn mutate(random: &mut Random, frames: &mut Vec<Vec<u8>>) {
    let at = random.below(frames.len());
    let Some(chosen) = frames.get_mut(at) else { return };
    let inside = random.below(chosen.len());
    match random.below(14) {
        // Length, type, flags, stream.
        0 => chosen[random.below(3)] = random.byte(),
        1 => chosen[2] = chosen[2].wrapping_add(random.byte() % 9).wrapping_sub(4),
        2 => chosen[3] = random.byte() % 12,
        3 => chosen[4] = random.byte(),
        4 => chosen[5..9].copy_from_slice(&random.pick(&[&0_u32, &1, &2, &3, &0x7FFF_FFFF, &0x8000_0001]).to_be_bytes()),
        5 => chosen[inside] = random.byte(),
        6 => chosen[inside] ^= 1 << random.below(8),
        7 => {
            let garbage = random.bytes(60);
            *chosen = frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * u32::try_from(random.below(4)).unwrap(), &garbage);
        }
        8 => chosen.truncate(9 + inside.saturating_sub(9)),
        9 => {
            let twice = chosen.clone();
            frames.insert(at, twice);
        }
        10 => drop(frames.remove(at)),
        11 => {
            let other = random.below(frames.len());
            frames.swap(at, other);
        }
        _ => {
            let odd = odd(random);
            frames.insert(at, odd);
        }
    }
}

/// A frame that has no business where it stands.
fn odd(random: &mut Random) -> Vec<u8> {
    let stream = u32::try_from(random.below(6)).unwrap();
    let length = random.below(20);
    let payload = random.bytes(length);
    match random.below(12) {
        0 => frame(SETTINGS, 0, stream, &payload),
        1 => frame(SETTINGS, 0, 0, &[0, 4, 0xFF, 0xFF, 0xFF, 0xFF]),
        2 => frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 0]),
        3 => frame(WINDOW_UPDATE, 0, stream, &[0; 4]),
        4 => frame(WINDOW_UPDATE, 0, stream, &[0x7F, 0xFF, 0xFF, 0xFF]),
        5 => frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        6 => frame(PRIORITY, 0, stream, &[0, 0, 0, 1, 1]),
        7 => frame(GOAWAY, 0, 0, &[0; 8]),
        8 => frame(CONTINUATION, END_HEADERS, stream, &payload),
        9 => frame(PUSH_PROMISE, END_HEADERS, stream, &payload),
        10 => frame(PING, random.byte(), stream, &payload),
        _ => frame(random.byte(), random.byte(), stream, &payload),
    }
}

/// How many requests somebody who reads frames can see at most.
pub fn count(bytes: &[u8]) -> usize {
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or_default();
    let mut count = 0;
    while let [high, middle, low, kind, ..] = *rest {
        count += usize::from(kind == HEADERS);
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    count
}
