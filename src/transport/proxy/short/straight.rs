//! An upstream connection in the hands of whoever asks on it: one head written, one answer read.
//! Goes to somebody else only after a whole answer with nothing behind it.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::transport::{bounds, connect};

/// What one read asks for.
const READ: usize = 8 * 1024;
/// What one read in the middle of a long body asks for.
const BODY: usize = 64 * 1024;
/// Interim answers (RFC 9110 §15.2) before the final one.
const INTERIM: usize = 16;

pub struct Straight {
    stream: TcpStream,
    pub inbox: BytesMut,
}

/// A worker's connections that nobody holds.
#[derive(Debug, Default)]
pub struct Idle(RefCell<Vec<Straight>>);

/// What was read is somebody's answer.
impl fmt::Debug for Straight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Straight(…)")
    }
}

impl Idle {
    pub fn take(&self) -> Option<Straight> {
        self.0.borrow_mut().pop()
    }

    pub fn put_back(&self, straight: Straight) {
        let mut list = self.0.borrow_mut();
        if list.len() < bounds::IDLE {
            list.push(straight);
        }
    }
}

impl Straight {
    /// `authority` is `host:port`, resolved now.
    pub async fn connect(authority: &str, limit: Duration) -> io::Result<Self> {
        Ok(Self { stream: connect::tcp(authority, limit).await?, inbox: BytesMut::new() })
    }

    /// Whether the upstream has closed it, or said something that nobody asked for.
    pub async fn is_stale(&mut self) -> bool {
        let mut byte = [0];
        let spoken = poll_fn(|context| {
            let mut scratch = ReadBuf::new(&mut byte);
            Poll::Ready(Pin::new(&mut self.stream).poll_read(context, &mut scratch).is_ready())
        });
        spoken.await
    }

    /// Writes a head and reads until that of the final answer stands at the beginning of the inbox; gives its length.
    pub async fn exchange(&mut self, head: &[u8]) -> io::Result<usize> {
        self.stream.write_all(head).await?;
        for _ in 0..INTERIM {
            let length = self.head().await?;
            let is_interim = self.inbox.get(9) == Some(&b'1');
            if !is_interim {
                return Ok(length);
            }
            if self.inbox.get(9..12) == Some(b"101") {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "nobody asked for another protocol"));
            }
            self.consume(length);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "too many interim answers"))
    }

    async fn head(&mut self) -> io::Result<usize> {
        let mut scanned = 0;
        loop {
            if let Some(end) = self.inbox.get(scanned..).and_then(|rest| memchr::memmem::find(rest, b"\r\n\r\n")) {
                scanned += end + 4;
                if scanned <= bounds::RESPONSE_HEAD {
                    return Ok(scanned);
                }
            }
            if self.inbox.len() > bounds::RESPONSE_HEAD {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of the answer is too long"));
            }
            scanned = self.inbox.len().saturating_sub(3);
            if !self.more(0).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads on, in a piece that suits what is `left`; `false` at the end of the connection.
    pub async fn more(&mut self, left: u64) -> io::Result<bool> {
        self.inbox.reserve(usize::try_from(left).unwrap_or(BODY).clamp(READ, BODY));
        Ok(self.stream.read_buf(&mut self.inbox).await? > 0)
    }

    pub fn consume(&mut self, length: usize) {
        self.inbox.advance(length);
        if self.inbox.is_empty() && self.inbox.capacity() > READ {
            self.inbox = BytesMut::new();
        }
    }
}
