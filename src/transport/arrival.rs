//! An accepted connection into one that is ready for its first request, with what is known of its client.
//! Gives nothing to a parser before the protocol is known, and no connection more than its time.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::client::Client;
use super::destination;
use super::listener::Stream;
use super::proxy_protocol::{self, Header, Origin};
use super::rewound::Rewound;
use super::worker::Shared;
use crate::config::tls::Authorities;
use crate::gate::unix_now;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a TLS client sends first: the content type of a handshake record (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;
/// To whoever speaks HTTP where TLS is spoken.
const PLAIN: &str = concat!(
    "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\ncontent-length: 77\r\n\r\n",
    r#"{"error":"invalid_request","message":"This port speaks TLS; ask by https://"}"#
);

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
    /// Whether a proxy brought it and cannot say from where: then `peer` is that proxy, and what the client claims counts for nothing.
    pub unknown: bool,
    /// Whether it came over our own TLS.
    pub secure: bool,
    /// What it proved itself by there.
    pub client: Option<Rc<Client>>,
    /// Where it was going before the system redirected it.
    pub destination: Option<SocketAddr>,
}

pub struct Arrival {
    pub stream: Stream,
    /// What was read to tell the protocol; the first bytes of the first request.
    pub ahead: BytesMut,
    pub protocol: Protocol,
    pub about: About,
}

/// A connection that came to nothing.
struct Lost {
    /// What counts it; `None` where its client only went away.
    bound: Option<&'static str>,
    error: io::Error,
}

/// `Err` closes the connection without a word.
pub async fn receive(stream: Stream, peer: Option<IpAddr>, shared: &Shared) -> io::Result<Arrival> {
    let about = About { peer, destination: destination::of(&stream, &shared.settings), ..About::default() };
    let ready = timeout(shared.settings.bounds.handshake_time, ready(stream, about, shared)).await;
    ready.unwrap_or_else(|_| Err(Lost::to("handshake_time", io::ErrorKind::TimedOut))).map_err(|lost| {
        if let Some(bound) = lost.bound {
            shared.gate.telemetry.metrics.refused(bound);
        }
        lost.error
    })
}

async fn ready(mut stream: Stream, mut about: About, shared: &Shared) -> Result<Arrival, Lost> {
    let mut ahead = BytesMut::new();
    if shared.settings.proxy_protocol && shared.settings.trusts(about.peer) {
        match origin(&mut stream, &mut ahead).await? {
            Origin::Proxy => {}
            Origin::Unknown => about.unknown = true,
            Origin::Client(address) => about.peer = Some(address),
        }
    }
    if !shared.settings.tls {
        let protocol = sniff(&mut stream, &mut ahead).await?;
        return Ok(Arrival { stream, ahead, protocol, about });
    }
    let (config, authorities) = {
        let snapshot = shared.gate.live.current();
        let tls = snapshot.as_deref().map(|snapshot| &snapshot.tls);
        (tls.and_then(|tls| tls.server.clone()), tls.and_then(|tls| tls.authorities.clone()))
    };
    // Never in the clear where TLS was asked for.
    let config = config.ok_or_else(|| Lost::to("tls_handshake", io::ErrorKind::NotConnected))?;
    secure((stream, ahead), (config, authorities), about).await
}

/// What the proxy in front says before anything else.
async fn origin(stream: &mut Stream, ahead: &mut BytesMut) -> Result<Origin, Lost> {
    loop {
        match proxy_protocol::read(ahead) {
            Header::Whole { origin, length } => {
                ahead.advance(length);
                return Ok(origin);
            }
            Header::Half => more(stream, ahead, "proxy_header").await?,
            Header::Invalid => return Err(Lost::to("proxy_header", io::ErrorKind::InvalidData)),
        }
    }
}

async fn sniff(stream: &mut Stream, ahead: &mut BytesMut) -> Result<Protocol, Lost> {
    loop {
        let known = ahead.len().min(PREFACE.len());
        if ahead.get(..known) != PREFACE.get(..known) {
            return Ok(Protocol::Http1);
        }
        if known == PREFACE.len() {
            return Ok(Protocol::Http2);
        }
        if stream.read_buf(ahead).await.map_err(Lost::gone)? == 0 {
            return Err(Lost::gone(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

async fn secure(
    (mut stream, mut ahead): (Stream, BytesMut),
    (config, authorities): (Arc<ServerConfig>, Option<Authorities>),
    about: About,
) -> Result<Arrival, Lost> {
    while ahead.is_empty() {
        more(&mut stream, &mut ahead, "tls_handshake").await?;
    }
    if ahead.first() != Some(&HANDSHAKE) {
        tell(&mut stream).await;
        return Err(Lost::to("tls_handshake", io::ErrorKind::InvalidData));
    }
    let failed = |error| Lost { bound: Some("tls_handshake"), error };
    let stream = TlsAcceptor::from(config).accept(Rewound::new(stream, ahead)).await.map_err(failed)?;
    let (_, session) = stream.get_ref();
    let client = match (session.peer_certificates(), authorities) {
        (Some(chain), Some(authorities)) => {
            let client = Client::verified(chain, &authorities).ok_or_else(|| Lost::to("tls_handshake", io::ErrorKind::InvalidData))?;
            // A session that is taken up again shows no certificate anew.
            if client.is_over(unix_now()) {
                return Err(Lost::to("tls_handshake", io::ErrorKind::InvalidData));
            }
            Some(Rc::new(client))
        }
        (None, _) | (Some(_), None) => None,
    };
    // RFC 9113 §3.2: HTTP/2 over TLS is agreed on, never guessed.
    let protocol = if session.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
    let about = About { secure: true, client, ..about };
    Ok(Arrival { stream: Stream::Tls(Box::new(stream)), ahead: BytesMut::new(), protocol, about })
}

/// Reads on. An end before the first byte is a client that thought better of it, or a look whether anybody listens.
async fn more(stream: &mut Stream, ahead: &mut BytesMut, bound: &'static str) -> Result<(), Lost> {
    match stream.read_buf(ahead).await {
        Ok(0) if ahead.is_empty() => Err(Lost::gone(io::ErrorKind::UnexpectedEof.into())),
        Ok(0) => Err(Lost::to(bound, io::ErrorKind::UnexpectedEof)),
        Ok(_) => Ok(()),
        Err(error) => Err(Lost::gone(error)),
    }
}

/// Answers in the clear, and takes what is still coming, so that the answer is not lost to a reset. Within the time of the handshake.
async fn tell(stream: &mut Stream) {
    let _ = stream.write_all(PLAIN.as_bytes()).await;
    let _ = stream.shutdown().await;
    let mut rest = [0; 1024];
    for _ in 0..64 {
        if !stream.read(&mut rest).await.is_ok_and(|count| count > 0) {
            return;
        }
    }
}

impl Lost {
    fn to(bound: &'static str, kind: io::ErrorKind) -> Self {
        Self { bound: Some(bound), error: io::Error::new(kind, bound) }
    }

    fn gone(error: io::Error) -> Self {
        Self { bound: None, error }
    }
}

/// What was read may hold a credential.
impl fmt::Debug for Arrival {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Arrival").field("protocol", &self.protocol).field("about", &self.about).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_in_the_clear_is_framed_as_it_says() {
        let (head, body) = PLAIN.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
