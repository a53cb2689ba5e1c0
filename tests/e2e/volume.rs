//! Bodies far larger than the gate's memory, through it and compared byte for byte where they arrive.
//! Holds no body whole at either end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::client::Ask;
use crate::gate::{Desk, Gate};
use crate::message::Message;

const BLOCK: usize = 64 * 1024;
const GIBIBYTE: u64 = 1 << 30;
/// What the gate's process may ever have held.
pub const MEMORY: u64 = 40 << 20;
const TOKEN: &str = "token-of-the-sender-1";

/// Bytes that differ at every place: random ones, and in each block its number.
struct Pattern {
    block: Vec<u8>,
    at: u64,
}

impl Pattern {
    fn new() -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        Self { block: (0..BLOCK).map(|_| next()).collect(), at: 0 }
    }

    /// From here to the end of the block.
    fn rest(&mut self) -> &[u8] {
        let number = self.at / BLOCK as u64;
        self.block[..8].copy_from_slice(&number.to_le_bytes());
        &self.block[usize::try_from(self.at % BLOCK as u64).unwrap()..]
    }

    fn take(&mut self) -> Bytes {
        let taken = Bytes::copy_from_slice(self.rest());
        self.at += taken.len() as u64;
        taken
    }

    /// Whether these come next.
    fn goes_on_with(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let rest = self.rest();
            let count = rest.len().min(bytes.len());
            if rest[..count] != bytes[..count] {
                return false;
            }
            self.at += count as u64;
            bytes = &bytes[count..];
        }
        true
    }
}

/// Answers each body with its length, or 500 where it is not the pattern.
fn upstream() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || while matches!(receive(&stream), Ok(true)) {});
        }
    });
    port
}

fn receive(stream: &TcpStream) -> std::io::Result<bool> {
    let mut from = BufReader::with_capacity(BLOCK, stream);
    let Some(head) = Message::read(&mut from, |_| false)? else { return Ok(false) };
    let mut pattern = Pattern::new();
    let mut same = true;
    if let Some(length) = head.header("content-length") {
        same &= part(&mut from, length.parse().unwrap(), &mut pattern)?;
    } else {
        loop {
            let mut size = String::new();
            from.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim_end(), 16).unwrap();
            same &= part(&mut from, size, &mut pattern)?;
            from.read_exact(&mut [0; 2])?;
            if size == 0 {
                break;
            }
        }
    }
    let (status, body) = (if same { "200 OK" } else { "500 Changed" }, pattern.at.to_string());
    write!(&mut &*stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    Ok(true)
}

fn part(from: &mut impl BufRead, mut length: u64, pattern: &mut Pattern) -> std::io::Result<bool> {
    let mut same = true;
    while length > 0 {
        let there = from.fill_buf()?;
        let count = there.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        same &= pattern.goes_on_with(&there[..count]);
        from.consume(count);
        length -= count as u64;
    }
    Ok(same)
}

fn gate() -> Gate {
    let config = json!({
        "upstream": format!("http://127.0.0.1:{}", upstream()),
        "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
        "routes": {"POST /volume": "volume:write"},
    });
    let tokens = json!([{"id": "sender", "token": TOKEN, "scopes": ["volume:write"]}]);
    Desk::new().file("tokens.json", &tokens.to_string()).serve(&config)
}

fn post(gate: &Gate, chunked: bool) -> (u16, String) {
    let stream = TcpStream::connect(("127.0.0.1", gate.door())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {GIBIBYTE}") };
    write!(&stream, "POST /volume HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n{framing}\r\n\r\n").unwrap();
    let mut pattern = Pattern::new();
    while pattern.at < GIBIBYTE {
        let block = pattern.take();
        if chunked {
            // As one write: the chunk's ends would be packets of their own.
            (&stream).write_all(&[format!("{:x}\r\n", block.len()).as_bytes(), &block, b"\r\n"].concat()).unwrap();
        } else {
            (&stream).write_all(&block).unwrap();
        }
    }
    if chunked {
        (&stream).write_all(b"0\r\n\r\n").unwrap();
    }
    let answer = Message::read(&mut BufReader::new(&stream), |_| true).unwrap().unwrap();
    (answer.word(1).parse().unwrap(), answer.text())
}

/// By HTTP/2 with prior knowledge.
async fn post_by_http2(port: u16, length: u64) -> (u16, String) {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = http::Request::post("http://a/volume").header("authorization", format!("Bearer {TOKEN}")).body(()).unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    let mut pattern = Pattern::new();
    while pattern.at < length {
        let mut block = pattern.take();
        while !block.is_empty() {
            body.reserve_capacity(block.len());
            let room = std::future::poll_fn(|context| body.poll_capacity(context)).await.unwrap().unwrap();
            body.send_data(block.split_to(room.min(block.len())), false).unwrap();
        }
    }
    body.send_data(Bytes::new(), true).unwrap();
    let mut answer = answer.await.unwrap();
    let mut text = Vec::new();
    while let Some(data) = answer.body_mut().data().await {
        text.extend_from_slice(&data.unwrap());
    }
    connection.abort();
    (answer.status().as_u16(), String::from_utf8(text).unwrap())
}

#[test]
fn a_gibibyte_arrives_unchanged_while_the_gate_holds_next_to_none_of_it() {
    let gate = gate();
    for chunked in [false, true] {
        assert_eq!(post(&gate, chunked), (200, GIBIBYTE.to_string()), "chunked: {chunked}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let quarter = GIBIBYTE / 4;
    assert_eq!(runtime.block_on(post_by_http2(gate.door(), quarter)), (200, quarter.to_string()));
    assert_eq!(gate.ask(&Ask::new("POST", "/volume").body(b"x")).status, 401);
    let most = gate.most_memory();
    assert!(most < MEMORY, "{most} bytes");
}
