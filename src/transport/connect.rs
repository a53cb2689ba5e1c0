//! An address into a connection to it, over TLS where its URL says so.
//! Never falls back from TLS, and takes a certificate for the one name that the URL has.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{bounds, destination};
use crate::gate::Gate;

/// HTTP/2 and HTTP/1.1 in the words of ALPN (RFC 7301 §6).
pub const H2: &[u8] = b"h2";
pub const HTTP1: &[u8] = b"http/1.1";

/// How a server proves itself, and as whom.
#[derive(Clone)]
pub struct Tls {
    trust: Trust,
    name: ServerName<'static>,
}

#[derive(Clone)]
enum Trust {
    Fixed(Arc<ClientConfig>),
    /// What the last reload has brought.
    Current(Arc<Gate>),
}

/// A connection that was made.
#[derive(Debug)]
pub enum Line {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Tls {
    /// For the host of a URL, without its port. `None` where no certificate could name it.
    pub fn new(config: &Arc<ClientConfig>, host: &str) -> Option<Self> {
        Some(Self { trust: Trust::Fixed(Arc::clone(config)), name: name(host)? })
    }

    /// As [`Self::new`], with what the snapshot of the moment says.
    pub fn current(gate: Arc<Gate>, host: &str) -> Option<Self> {
        Some(Self { trust: Trust::Current(gate), name: name(host)? })
    }

    fn config(&self) -> io::Result<ClientConfig> {
        let config = match &self.trust {
            Trust::Fixed(config) => Some(Arc::clone(config)),
            Trust::Current(gate) => gate.live.current().as_deref().and_then(|snapshot| snapshot.tls.client.clone()),
        };
        config.map(|config| ClientConfig::clone(&config)).ok_or_else(|| io::Error::other("no certificates are there to believe its own by"))
    }

    /// Speaks one of `protocols` on a connection.
    pub async fn secure(&self, stream: TcpStream, protocols: &[&[u8]]) -> io::Result<Line> {
        let mut config = self.config()?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TlsConnector::from(Arc::new(config)).connect(self.name.clone(), stream).await?;
        Ok(Line::Tls(Box::new(stream)))
    }
}

fn name(host: &str) -> Option<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Tls").field(&self.name).finish()
    }
}

/// `authority` is `host:port`, resolved now. Every address of the host gets an equal share of the time that is left.
pub async fn tcp(authority: &str, limit: Duration) -> io::Result<TcpStream> {
    let end = Instant::now() + limit;
    let addresses: Vec<SocketAddr> = timeout(limit, lookup_host(authority)).await??.collect();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - index).unwrap_or(1);
        match timeout(end.saturating_duration_since(Instant::now()) / left, to(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(late) => failed = late.into(),
        }
    }
    Err(failed)
}

async fn to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    watch_over(&stream);
    Ok(stream)
}

/// Where a redirected connection was going.
pub async fn original(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let stream = destination::connect(address, mark).await?;
    watch_over(&stream);
    Ok(stream)
}

/// Finds out that a peer is gone without a word. Best effort: the time limits hold without it.
fn watch_over(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(bounds::KEEPALIVE).with_interval(bounds::KEEPALIVE / 3));
    let _ = socket.set_tcp_user_timeout(Some(bounds::KEEPALIVE * 2));
}

pub async fn unix(path: &Path) -> io::Result<Line> {
    UnixStream::connect(path).await.map(Line::Unix)
}

impl Line {
    /// Whether HTTP/2 was agreed on.
    pub fn is_h2(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(H2),
        }
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Line::Plain($stream) => $call,
            Line::Unix($stream) => $call,
            Line::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}
