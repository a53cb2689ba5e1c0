//! A connection through the framing check: what comes out does not depend on how it came in,
//! and it is whole messages of the input, with nothing after them but the stand-in of a refused one, or what an upgrade holds back.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use scopegate::transport::framing::{Checked, REFUSED};
use tokio::io::{AsyncRead, ReadBuf};

use crate::random::{Random, check};

/// Gives its bytes in pieces, and then the end.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    pieces: Vec<usize>,
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.bytes.len() - self.at;
        let piece = self.pieces.pop().unwrap_or(left).min(left).min(buffer.remaining());
        buffer.put_slice(&self.bytes[self.at..self.at + piece]);
        self.at += piece;
        Poll::Ready(Ok(()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Clean,
    Refused,
    Broken,
    /// A WebSocket upgrade, and what it held back.
    Held(Vec<u8>),
}

/// All that a parser behind the check gets to see. A pending read is the end of what a refused connection gives.
fn pass(bytes: &[u8], pieces: Vec<usize>, room: usize) -> (Vec<u8>, End) {
    let refusal = Rc::new(Cell::new(None));
    let mut checked = Checked::new(Pieces { bytes: bytes.to_vec(), at: 0, pieces }, Rc::clone(&refusal)).holding_upgrades();
    let mut context = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    let mut memory = vec![0; room];
    loop {
        let mut buffer = ReadBuf::new(&mut memory);
        match Pin::new(&mut checked).poll_read(&mut context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => break,
            Poll::Ready(Ok(())) => out.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(_)) => return (out, End::Broken),
            Poll::Pending => {
                assert!(refusal.get().is_some());
                return (out, End::Refused);
            }
        }
    }
    let Some(mut open) = checked.open() else { return (out, End::Clean) };
    let mut held = Vec::new();
    loop {
        let mut buffer = ReadBuf::new(&mut memory);
        match Pin::new(&mut open).poll_read(&mut context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return (out, End::Held(held)),
            Poll::Ready(Ok(())) => held.extend_from_slice(buffer.filled()),
            other => panic!("an open connection gives {other:?}"),
        }
    }
}

fn request(random: &mut Random) -> Vec<u8> {
    let mut text = format!("{} /{} HTTP/1.1\r\nHost: a\r\n", random.pick(&["GET", "POST"]), random.text(&["a", "/", "%41", "?x"], 3));
    for _ in 0..random.below(3) {
        text.push_str(random.pick(&["x: y\r\n", "Connection: close\r\n", "x-long: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", "empty:\r\n"]));
    }
    let body: Vec<u8> = (0..random.below(40)).map(|_| random.pick(b"GET / \r\n0x:")).collect();
    let mut bytes = match random.below(6) {
        0 => format!("{text}Content-Length: {}\r\n\r\n", body.len()).into_bytes(),
        1 => format!("{text}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
        2 => return format!("{text}Connection: x, Upgrade\r\nUpgrade: WebSocket\r\n\r\n").into_bytes(),
        _ => return format!("{text}\r\n").into_bytes(),
    };
    if bytes.ends_with(b"chunked\r\n\r\n") {
        for chunk in body.chunks(1 + random.below(20)) {
            let extension = random.pick(&["", ";a=b"]);
            bytes.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(random.pick(&["0\r\n\r\n", "0\r\nt: u\r\n\r\n"]).as_bytes());
    } else {
        bytes.extend_from_slice(&body);
    }
    bytes
}

const SPOILERS: [&str; 16] = [
    "\r",
    "\n",
    "\0",
    " ",
    ":",
    "\r\n",
    "\r\n\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: x\r\n",
    "0",
    "f",
    ";",
    "Host: b\r\n",
    "\t",
    "HTTP/1.1",
];

/// Some requests after one another, often with something wrong.
fn stream(random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=random.below(3)).flat_map(|_| request(random)).collect();
    for _ in 0..random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(3) {
            0 => drop(bytes.splice(at..at, random.pick(&SPOILERS).bytes())),
            1 => bytes.truncate(at),
            _ => drop(bytes.splice(at..(at + 1 + random.below(4)).min(bytes.len()), [])),
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

fn pieces(random: &mut Random) -> Vec<usize> {
    let most = random.pick(&[1, 2, 7, 60]);
    (0..400).map(|_| 1 + random.below(most)).collect()
}

fn try_stream(random: &mut Random) {
    let bytes = stream(random);
    let shown = || String::from_utf8_lossy(&bytes).into_owned();
    let (out, end) = pass(&bytes, Vec::new(), 16 * 1024);
    for room in [1, 13, 16 * 1024] {
        let (other, other_end) = pass(&bytes, pieces(random), room);
        assert_eq!(other_end, end, "{:?}", shown());
        assert_eq!(String::from_utf8_lossy(&other), String::from_utf8_lossy(&out), "{:?}", shown());
    }
    let stand_in = out.windows(REFUSED.len()).rposition(|window| window == REFUSED.as_bytes());
    let passed = match (&end, stand_in) {
        (End::Refused, Some(at)) => &out[..at],
        (End::Refused, None) => panic!("refused without a stand-in: {:?}", shown()),
        (End::Clean | End::Broken | End::Held(_), _) => &out[..],
    };
    assert!(bytes.starts_with(passed), "{:?} gave {:?}", shown(), String::from_utf8_lossy(&out));
    if let End::Held(held) = &end {
        assert_eq!([passed, held].concat(), bytes, "what is held back is what follows");
        assert!(passed.ends_with(b"\r\n\r\n"), "{:?}", shown());
    }
    if end == End::Refused {
        // Nothing of the refused message went before its stand-in.
        assert_eq!(pass(passed, Vec::new(), 16 * 1024), (passed.to_vec(), End::Clean), "{:?}", shown());
    }
}

#[test]
fn what_passes_is_whole_messages_however_they_arrive() {
    check(40_000, try_stream);
}
