//! Both ends of a WebSocket (RFC 6455), as far as an echo of short texts needs them.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::Ask;
use crate::message::Message;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

/// The server's end: agrees, and sends every text back until the client is gone.
pub fn echo(from: &mut impl Read, mut to: &TcpStream, key: &str) {
    let head =
        format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n", accept(key));
    let mut sent = to.write_all(head.as_bytes());
    let mut start = [0; 6];
    while sent.is_ok() && from.read_exact(&mut start).is_ok() && start[0] == TEXT {
        let mut payload = vec![0; usize::from(start[1] & 0x7F)];
        sent = from.read_exact(&mut payload);
        let plain = payload.iter().zip(start[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame: Vec<u8> = [TEXT, start[1] & 0x7F].into_iter().chain(plain).collect();
        sent = sent.and_then(|()| to.write_all(&frame));
    }
}

/// A handshake; more headers may be put behind it.
pub fn handshake(target: &str) -> Ask {
    let ask = Ask::upgrade(target).header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
    ask.header("Sec-WebSocket-Key", KEY)
}

/// The client's end: the status of the answer, and whether a text came back where it was 101.
pub fn talk(port: u16, handshake: &Ask) -> (u16, bool) {
    match Socket::open(port, handshake) {
        Ok(mut socket) => (101, socket.echoes("hello") && socket.from.buffer().is_empty()),
        Err(status) => (status, false),
    }
}

/// A client's open end.
#[derive(Debug)]
pub struct Socket {
    from: BufReader<TcpStream>,
}

impl Socket {
    /// `Err` is the status of a refusal.
    pub fn open(port: u16, handshake: &Ask) -> Result<Self, u16> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&handshake.bytes()).unwrap();
        let mut from = BufReader::new(stream);
        let answer = Message::read(&mut from, |start| !start.contains(" 101 ")).unwrap().expect("an answer");
        let status = answer.word(1).parse().unwrap();
        if status != 101 {
            return Err(status);
        }
        assert_eq!(answer.header("sec-websocket-accept"), Some(&*accept(KEY)));
        Ok(Self { from })
    }

    /// Whether a short text comes back as it was.
    pub fn echoes(&mut self, said: &str) -> bool {
        let masked = said.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame: Vec<u8> = [TEXT, 0x80 | u8::try_from(said.len()).unwrap()].into_iter().chain(MASK).chain(masked).collect();
        self.from.get_mut().write_all(&frame).unwrap();
        let mut back = vec![0; 2 + said.len()];
        self.from.read_exact(&mut back).unwrap();
        back[2..] == *said.as_bytes()
    }

    /// The code of the close that comes next.
    pub fn close_code(&mut self) -> u16 {
        let mut start = [0; 4];
        self.from.read_exact(&mut start).unwrap();
        assert_eq!(start[0], CLOSE, "{start:?}");
        u16::from_be_bytes([start[2], start[3]])
    }
}
