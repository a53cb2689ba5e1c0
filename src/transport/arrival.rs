//! An accepted connection into one that is ready for its first request, with what is known of its client.
//! Gives nothing to a parser before the protocol is known, and no connection more than its time.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::destination;
use super::listener::Stream;
use super::worker::Shared;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What is known of a client before it asks.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `None` on a Unix socket.
    pub peer: Option<IpAddr>,
    /// Whether it came over our own TLS.
    pub secure: bool,
    /// Where it was going before the system redirected it.
    pub destination: Option<SocketAddr>,
}

#[derive(Debug)]
pub struct Arrival {
    pub stream: Stream,
    /// What was read to tell the protocol; the first bytes of the first request.
    pub ahead: BytesMut,
    pub protocol: Protocol,
    pub about: About,
}

/// `Err` closes the connection without a word.
pub async fn receive(stream: Stream, peer: Option<IpAddr>, shared: &Shared) -> io::Result<Arrival> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let about = About { peer, destination: destination::of(&stream, &shared.settings), ..About::default() };
    timeout(shared.settings.bounds.handshake_time, ready(stream, about)).await.map_err(late)?
}

async fn ready(mut stream: Stream, about: About) -> io::Result<Arrival> {
    let mut ahead = BytesMut::new();
    let protocol = loop {
        let known = ahead.len().min(PREFACE.len());
        if ahead.get(..known) != PREFACE.get(..known) {
            break Protocol::Http1;
        }
        if known == PREFACE.len() {
            break Protocol::Http2;
        }
        if stream.read_buf(&mut ahead).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    Ok(Arrival { stream, ahead, protocol, about })
}
