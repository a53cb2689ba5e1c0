//! An address into accepted connections, TCP or Unix socket.
//! A port in use or a socket that somebody still answers on is an error at once.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::rewound::Rewound;
use crate::config::Address;

/// A bound listener, before a runtime has it.
#[derive(Debug)]
pub enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, Name),
}

/// A Unix socket's name in the file system, gone with its listener unless somebody else has it by then.
#[derive(Debug)]
pub struct Name {
    path: PathBuf,
    /// What it was bound as, until it is claimed.
    other: Option<PathBuf>,
    inode: u64,
}

/// An accepted connection on its way to a worker.
#[derive(Debug)]
pub enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection in the hands of a worker's runtime.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Either of them under our own TLS.
    Tls(Box<TlsStream<Rewound<Stream>>>),
}

impl Listener {
    /// `shared`: another process may listen there too, and take over.
    pub fn bind(address: &Address, shared: bool) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                use socket2::{Domain, Protocol, Socket, Type};
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.set_reuse_port(shared)?;
                socket.set_nonblocking(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(1024)?;
                Ok(Self::Tcp(socket.into()))
            }
            Address::Unix(path) if shared => {
                let mut other = path.clone().into_os_string();
                other.push(format!(".{}", std::process::id()));
                let other = PathBuf::from(other);
                let _ = std::fs::remove_file(&other);
                let listener = std::os::unix::net::UnixListener::bind(&other)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(listener, Name { path: path.clone(), inode: inode(&other)?, other: Some(other) }))
            }
            Address::Unix(path) => {
                let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
                if is_socket && std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on this socket"));
                }
                if is_socket {
                    std::fs::remove_file(path)?;
                }
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(listener, Name { path: path.clone(), other: None, inode: inode(path)? }))
            }
        }
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, name) => Ok(Address::Unix(name.path.clone())),
        }
    }
}

impl Name {
    /// Takes the name from whoever had it; it is never without a listener.
    pub fn claim(&mut self) -> io::Result<()> {
        match self.other.take() {
            Some(other) => std::fs::rename(&other, &self.path).inspect_err(|_| drop(std::fs::remove_file(&other))),
            None => Ok(()),
        }
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    std::fs::symlink_metadata(path).map(|meta| meta.ino())
}

impl Drop for Name {
    fn drop(&mut self) {
        let path = self.other.as_ref().unwrap_or(&self.path);
        if inode(path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A listener in the hands of a runtime.
#[derive(Debug)]
pub enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener, Name),
}

impl Acceptor {
    pub fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(listener, mut name) => {
                name.claim()?;
                Self::Unix(UnixListener::from_std(listener)?, name)
            }
        })
    }

    /// Hands over whoever connects, and at the end whoever has connected by then. `way` is what the log calls it.
    pub async fn run(self, way: impl fmt::Display, closing: CancellationToken, deal: impl Fn(Accepted)) {
        loop {
            tokio::select! {
                () = closing.cancelled() => return self.close(deal).await,
                accepted = self.accept() => match accepted {
                    Ok(accepted) => deal(accepted),
                    Err(error) => {
                        // Out of file descriptors, most likely: wait for some to come back.
                        tracing::warn!("cannot accept at {way}: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => Accepted::tcp(listener.accept().await?.0.into_std()?),
            Self::Unix(listener, _) => listener.accept().await?.0.into_std().map(Accepted::Unix),
        }
    }

    /// Hands over whoever has connected already, and listens no more: a queue that goes with its listener goes with a reset.
    async fn close(self, deal: impl Fn(Accepted)) {
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return };
                if is_shared(&listener) && refuse_more(&listener).is_ok() {
                    // Handshakes under way come to their end; whoever begins one now asks again, and finds the other process.
                    tokio::time::sleep(SETTLE).await;
                }
                while let Ok((stream, _)) = listener.accept() {
                    let accepted = stream.set_nonblocking(true).and_then(|()| Accepted::tcp(stream));
                    accepted.map(&deal).unwrap_or_default();
                }
            }
            Self::Unix(listener, _name) => {
                let Ok(listener) = listener.into_std() else { return };
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).map(|()| deal(Accepted::Unix(stream))).unwrap_or_default();
                }
            }
        }
    }
}

/// Some round trips of a near network.
const SETTLE: Duration = Duration::from_millis(50);

fn is_shared(listener: &std::net::TcpListener) -> bool {
    socket2::SockRef::from(listener).reuse_port().unwrap_or_default()
}

/// Takes no SYN from here on. Among listeners that share a port, the system has chosen this one for some that are on their way.
fn refuse_more(listener: &std::net::TcpListener) -> io::Result<()> {
    use socket2::SockFilter;
    // Classic BPF over the TCP header (linux/filter.h): load the byte of flags, keep SYN and ACK, let all through but a SYN alone.
    let program = [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    socket2::SockRef::from(listener).attach_filter(&program)
}

impl Accepted {
    fn tcp(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Takes the connection into the current runtime, with the peer's address where it has one.
    pub fn open(self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(stream) => {
                let peer = stream.peer_addr()?.ip().to_canonical();
                Ok((Stream::Tcp(TcpStream::from_std(stream)?), Some(peer)))
            }
            Self::Unix(stream) => Ok((Stream::Unix(UnixStream::from_std(stream)?), None)),
        }
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

impl tonic::transport::server::Connected for Stream {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &Address) -> std::net::TcpListener {
        match Listener::bind(address, true).unwrap() {
            Listener::Tcp(listener) => listener,
            Listener::Unix(..) => unreachable!("an address of TCP"),
        }
    }

    #[test]
    fn a_listener_that_closes_takes_nobody_with_it() {
        let first = tcp(&Address::Tcp("127.0.0.1:0".parse().unwrap()));
        let address = first.local_addr().unwrap();
        let second = tcp(&Address::Tcp(address));
        refuse_more(&first).unwrap();
        let connecting: Vec<_> = (0..16).map(|_| std::thread::spawn(move || std::net::TcpStream::connect(address))).collect();
        // Those whom the system has sent to the second come through; the others ask again once the first is gone.
        while second.accept().is_err() {
            std::thread::yield_now();
        }
        assert_eq!(first.accept().err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock), "it takes nobody any more");
        drop(first);
        for connecting in connecting {
            connecting.join().unwrap().unwrap();
        }
    }
}
