//! One request on a connection of its own, sent as it is spelled.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::message::Message;

#[derive(Clone, Debug)]
pub struct Ask {
    head: String,
    framing: Framing,
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length,
    Chunked,
}

impl Ask {
    pub fn new(method: &str, target: &str) -> Self {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: backstop.test\r\nConnection: close\r\n");
        Self { head, framing: Framing::None, body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// For another host than the application's.
    pub fn host(self, host: &str) -> Self {
        Self { head: self.head.replace("Host: backstop.test", &format!("Host: {host}")), ..self }
    }

    /// A GET whose connection is to become something else.
    pub fn upgrade(target: &str) -> Self {
        let ask = Self::get(target);
        Self { head: ask.head.replace("Connection: close", "Connection: Upgrade"), ..ask }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub fn body(self, body: &[u8]) -> Self {
        Self { framing: Framing::Length, body: body.to_vec(), ..self }
    }

    pub fn chunked(self, body: &[u8]) -> Self {
        Self { framing: Framing::Chunked, ..self.body(body) }
    }

    /// The answer of whoever listens on `port`.
    pub fn send(&self, port: u16) -> Answer {
        self.try_send(port).unwrap_or_else(|error| panic!("{} was not answered: {error}", self.head.lines().next().unwrap_or_default()))
    }

    pub fn try_send(&self, port: u16) -> io::Result<Answer> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        self.exchange(stream)
    }

    /// The answer on a connection that is there already.
    pub fn exchange(&self, mut stream: impl Read + Write) -> io::Result<Answer> {
        let written = stream.write_all(&self.bytes()).and_then(|()| stream.flush());
        let is_head = self.head.starts_with("HEAD ");
        let bodiless = |start: &str| is_head || [" 100 ", " 204 ", " 304 "].iter().any(|status| start.contains(status));
        // A refusal may come before all of a long body is written.
        let message = Message::read(&mut BufReader::new(stream), |start| !bodiless(start))?;
        let message = message.ok_or_else(|| written.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))?;
        let status = message.word(1).parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no status"))?;
        Ok(Answer { status, message })
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (framing, mut body) = match self.framing {
            Framing::None => (String::new(), Vec::new()),
            Framing::Length => (format!("Content-Length: {}\r\n", self.body.len()), self.body.clone()),
            Framing::Chunked => ("Transfer-Encoding: chunked\r\n".into(), format!("{:x}\r\n", self.body.len()).into_bytes()),
        };
        if self.framing == Framing::Chunked {
            body.extend_from_slice(&self.body);
            body.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        let mut bytes = format!("{}{framing}\r\n", self.head).into_bytes();
        bytes.extend(body);
        bytes
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    message: Message,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.message.header(name)
    }

    pub fn body(&self) -> String {
        self.message.text()
    }
}
