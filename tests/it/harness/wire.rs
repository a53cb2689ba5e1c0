//! HTTP/1.1 as bytes: what is sent is exactly what a test wrote, what comes back is taken apart by the letter of its framing.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::DEADLINE;

/// A connection with what was read and not yet used.
pub struct Wire<S = TcpStream> {
    pub stream: S,
    inbox: Vec<u8>,
}

/// A message: head as it came, and body without its framing.
#[derive(Clone, Debug)]
pub struct Message {
    pub first: String,
    pub head: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response { bodyless: bool },
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, inbox: Vec::new() }
    }

    /// The other side may have closed already: what it answered is what counts.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    pub async fn reply(&mut self, to_head: bool) -> Reply {
        let message = tokio::time::timeout(DEADLINE, self.message(Side::Response { bodyless: to_head })).await;
        let message = message.expect("no reply in time").expect("the connection was closed without a reply");
        let status = message.first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {:?}", message.first));
        Reply { status, headers: message.headers, body: message.body }
    }

    /// The next request; `None` where the client is gone.
    pub async fn request(&mut self) -> Option<Message> {
        self.message(Side::Request).await
    }

    /// Whether the other side has closed and nothing more was sent.
    pub async fn is_closed(&mut self) -> bool {
        self.inbox.is_empty() && tokio::time::timeout(DEADLINE, self.more()).await == Ok(false)
    }

    /// Only the head of a response, so that the body can be watched as it comes.
    pub async fn response_head(&mut self) -> String {
        let end = tokio::time::timeout(DEADLINE, self.until(b"\r\n\r\n")).await.expect("no head in time").expect("closed");
        String::from_utf8(self.take(end)).unwrap()
    }

    /// The next head; `None` where the other side is gone.
    pub async fn try_head(&mut self) -> Option<String> {
        let end = self.until(b"\r\n\r\n").await?;
        String::from_utf8(self.take(end)).ok()
    }

    /// Waits for `count` bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let bytes = tokio::time::timeout(DEADLINE, self.try_bytes(count)).await.expect("bytes in time");
        bytes.unwrap_or_else(|| panic!("closed after {} of {count} bytes", self.inbox.len()))
    }

    /// The next `count` bytes; `None` where the other side is gone before.
    pub async fn try_bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.inbox.len() < count {
            self.more().await.then_some(())?;
        }
        Some(self.take(count))
    }

    /// All that comes before the end; there must be one.
    pub async fn rest(&mut self) -> Vec<u8> {
        tokio::time::timeout(DEADLINE, async { while self.more().await {} }).await.expect("closed in time");
        std::mem::take(&mut self.inbox)
    }

    async fn message(&mut self, side: Side) -> Option<Message> {
        let head = loop {
            let end = self.until(b"\r\n\r\n").await?;
            let head = self.take(end);
            // 100 and 103 announce, they do not answer.
            if side == Side::Request || !head.starts_with(b"HTTP/1.1 1") {
                break head;
            }
        };
        let text = head.iter().map(|byte| char::from(*byte)).collect::<String>();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let bytes = |text: &str| text.chars().map(|char| u8::try_from(char).unwrap()).collect::<Vec<u8>>();
        let headers: Vec<(String, Vec<u8>)> =
            lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_ascii_lowercase(), bytes(value.trim()))).collect();
        let body = self.body(side, &first, &headers).await?;
        Some(Message { first, head, headers, body })
    }

    async fn body(&mut self, side: Side, first: &str, headers: &[(String, Vec<u8>)]) -> Option<Vec<u8>> {
        let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        let never = ["204", "304"].iter().any(|status| first.split(' ').nth(1) == Some(status));
        match side {
            Side::Response { bodyless } if bodyless || never => return Some(Vec::new()),
            Side::Request | Side::Response { .. } => {}
        }
        if value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunks().await;
        }
        match (value("content-length"), side) {
            (Some(length), _) => {
                let length: usize = length.parse().ok()?;
                while self.inbox.len() < length {
                    self.more().await.then_some(())?;
                }
                Some(self.take(length))
            }
            (None, Side::Request) => Some(Vec::new()),
            (None, Side::Response { .. }) => {
                while self.more().await {}
                Some(std::mem::take(&mut self.inbox))
            }
        }
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = self.until(b"\r\n").await?;
            let line = String::from_utf8(self.take(end)).ok()?;
            let size = usize::from_str_radix(line.trim_end().split(';').next()?, 16).ok()?;
            if size == 0 {
                loop {
                    let end = self.until(b"\r\n").await?;
                    if self.take(end) == b"\r\n" {
                        return Some(body);
                    }
                }
            }
            while self.inbox.len() < size + 2 {
                self.more().await.then_some(())?;
            }
            body.extend(self.take(size));
            self.take(2);
        }
    }

    /// The end of the first `mark`.
    async fn until(&mut self, mark: &[u8]) -> Option<usize> {
        loop {
            if let Some(start) = self.inbox.windows(mark.len()).position(|window| window == mark) {
                return Some(start + mark.len());
            }
            self.more().await.then_some(())?;
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.inbox.split_off(count);
        std::mem::replace(&mut self.inbox, rest)
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.inbox.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<String> {
        value(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Every value of a name, joined as by a list header.
pub fn value(headers: &[(String, Vec<u8>)], name: &str) -> Option<String> {
    let found: Vec<String> =
        headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
    (!found.is_empty()).then(|| found.join(", "))
}
