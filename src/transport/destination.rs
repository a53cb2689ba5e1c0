//! A connection that the system redirected to the proxy door into where it was going, and a connection to there.
//! Names no place that a redirected connection cannot have been meant for: this gate itself, loopback, nothing at all.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use super::listener::Stream;
use crate::config::Address;
use crate::config::settings::{Settings, Target};

/// Where an accepted connection was going. Only the accepted socket knows: its entry in the kernel's table of translations is looked up.
pub fn of(stream: &Stream, settings: &Settings) -> Option<SocketAddr> {
    if settings.upstream.as_ref().map(|upstream| &upstream.target) != Some(&Target::Original) {
        return None;
    }
    let Stream::Tcp(stream) = stream else { return None };
    let local = canonical(stream.local_addr().ok()?);
    let socket = SockRef::from(stream);
    // A socket of `[::]` has IPv4 connections too, whose entry is IPv4's.
    let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let original = canonical(original.ok()?.as_socket()?);
    is_elsewhere(original, local, settings.listen.proxy.as_ref()).then_some(original)
}

fn is_elsewhere(original: SocketAddr, local: SocketAddr, door: Option<&Address>) -> bool {
    let ip = original.ip();
    // A neighbour can address loopback by the network card, and the redirection makes it arrive.
    if original.port() == 0 || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_broadcast(ip) {
        return false;
    }
    let listens = |address: IpAddr| match door {
        Some(Address::Tcp(door)) => door.ip().is_unspecified() || door.ip().to_canonical() == address,
        Some(Address::Unix(_)) | None => false,
    };
    // A redirection changes the port to the door's.
    original.port() != local.port() || (ip != local.ip() && !listens(ip))
}

fn is_broadcast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(_) => false,
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => SocketAddr::new(address.ip().to_canonical(), address.port()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}

/// `mark` tells the rules of the redirection that this is the gate's own connection.
pub async fn connect(destination: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = if destination.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(mark) = mark {
        SockRef::from(&socket).set_mark(mark)?;
    }
    socket.connect(destination).await
}

/// Whether the system lets this process mark connections, asked before the first client needs it.
pub fn may_mark(settings: &Settings) -> Result<(), String> {
    let Some(mark) = settings.upstream.as_ref().and_then(|upstream| upstream.mark) else { return Ok(()) };
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    socket.and_then(|socket| socket.set_mark(mark)).map_err(|error| {
        format!("`upstream.mark` cannot be set: {error}; give the process CAP_NET_ADMIN, or leave the key out and exempt its user by `scopegate intercept --uid`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn elsewhere(original: &str, local: &str, door: &str) -> bool {
        is_elsewhere(canonical(at(original)), canonical(at(local)), Some(&Address::Tcp(at(door))))
    }

    #[test]
    fn a_redirected_connection_was_going_elsewhere() {
        assert!(elsewhere("10.0.0.1:3000", "10.0.0.1:8080", "0.0.0.0:8080"));
        assert!(elsewhere("[fd00::1]:3000", "[fd00::1]:8080", "[::]:8080"));
        assert!(elsewhere("[::ffff:10.0.0.1]:3000", "[::ffff:10.0.0.1]:8080", "[::]:8080"));
        assert!(elsewhere("10.0.0.9:8080", "10.0.0.1:8080", "10.0.0.1:8080"), "another machine's service on the same port");
    }

    #[test]
    fn the_gates_own_address_is_no_destination() {
        assert!(!elsewhere("10.0.0.1:8080", "10.0.0.1:8080", "0.0.0.0:8080"));
        assert!(!elsewhere("10.0.0.1:8080", "10.0.0.1:8080", "10.0.0.1:8080"));
        assert!(!elsewhere("10.0.0.2:8080", "10.0.0.1:8080", "0.0.0.0:8080"), "another address of the same machine");
        assert!(!elsewhere("10.0.0.2:8080", "127.0.0.1:8080", "10.0.0.2:8080"), "the door, redirected to itself");
        assert!(!elsewhere("[::ffff:10.0.0.2]:8080", "[::ffff:10.0.0.1]:8080", "[::]:8080"));
        assert!(!elsewhere("[fd00::2]:8080", "[fd00::1]:8080", "[::]:8080"));
    }

    #[test]
    fn nothing_that_only_this_machine_may_reach_is_a_destination() {
        for original in
            ["127.0.0.1:9190", "[::1]:9190", "[::ffff:127.0.0.1]:9190", "0.0.0.0:80", "[::]:80", "224.0.0.1:80", "255.255.255.255:80", "10.0.0.1:0"]
        {
            assert!(!elsewhere(original, "10.0.0.1:8080", "0.0.0.0:8080"), "{original}");
        }
    }
}
