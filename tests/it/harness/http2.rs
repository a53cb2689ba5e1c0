//! HTTP/2 as frames (RFC 9113 §4): what is sent is exactly what a test wrote, header blocks are HPACK literals without Huffman.

use std::net::SocketAddr;

use super::DEADLINE;
use super::wire::Wire;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub struct Http2 {
    pub wire: Wire,
}

#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How a stream ended, or its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `:status`, where it stands in the static table (RFC 7541 A); 0 for another.
    Status(u16),
    Reset(u32),
    Goaway(u32),
    Closed,
}

impl Frame {
    /// The number that the payload ends with, of RST_STREAM; the second one of GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

impl Http2 {
    /// A connection with empty settings.
    pub async fn open(address: SocketAddr) -> Self {
        Self::with(address, &[]).await
    }

    /// A connection with these settings (identifier and value).
    pub async fn with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut wire = Wire::connect(address).await;
        let payload: Vec<u8> = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        wire.send([PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()).await;
        Self { wire }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes).await;
    }

    /// The next frame; `None` where the connection is closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let head = tokio::time::timeout(DEADLINE, self.wire.try_bytes(9)).await.expect("a frame in time")?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = tokio::time::timeout(DEADLINE, self.wire.try_bytes(length)).await.expect("a payload in time")?;
        Some(Frame { kind: head[3], flags: head[4], stream: u32::from_be_bytes(head[5..9].try_into().unwrap()), payload })
    }

    /// The next frame of this type; others are passed over.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// What becomes of a stream: the head of its answer, its reset or the end of the connection.
    pub async fn end(&mut self, stream: u32) -> End {
        loop {
            match self.next().await {
                None => return End::Closed,
                Some(frame) if frame.kind == HEADERS && frame.stream == stream => return End::Status(status(frame.payload[0])),
                Some(frame) if frame.kind == RST_STREAM && frame.stream == stream => return End::Reset(frame.code()),
                Some(frame) if frame.kind == GOAWAY => return End::Goaway(frame.code()),
                Some(_) => {}
            }
        }
    }

    /// Waits until each of these streams has an answer, and it is this one.
    pub async fn all(&mut self, streams: &[u32], expected: u16) {
        let mut open = streams.to_vec();
        while !open.is_empty() {
            let frame = self.next().await.expect("an open connection");
            if frame.kind == HEADERS && open.contains(&frame.stream) {
                assert_eq!(status(frame.payload[0]), expected, "stream {}", frame.stream);
                open.retain(|stream| *stream != frame.stream);
            }
        }
    }

    /// The code of the GOAWAY that ends the connection, after which nothing comes.
    pub async fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }
}

fn status(index: u8) -> u16 {
    match index {
        0x88 => 200,
        0x89 => 204,
        0x8C => 400,
        0x8D => 404,
        0x8E => 500,
        _ => 0,
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block: literals without indexing, new names (RFC 7541 §6.2.2).
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name.as_ref());
        text(&mut bytes, value.as_ref());
    }
    bytes
}

/// A string literal (RFC 7541 §5.2), its length in as many bytes as it takes.
fn text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        out.push(u8::try_from(text.len()).unwrap());
    } else {
        out.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            out.push(u8::try_from(rest % 128).unwrap() | 0x80);
            rest /= 128;
        }
        out.push(u8::try_from(rest).unwrap());
    }
    out.extend_from_slice(text);
}

/// A GET with nothing odd about it.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields))
}

/// The head of a POST whose body follows.
pub fn post(stream: u32, path: &str) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}
