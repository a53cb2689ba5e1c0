//! The peer of a connection, and what proxies in front say of whom they carry, into where the client is.
//! Believes the account of a proxy that is trusted, up to the first entry that is not; guesses nothing where an entry cannot be read.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// `lines` are those of `X-Forwarded-For`, in their order. A peer without an address is on a Unix socket, and was let in by its mode. `None` is
/// a client that nobody knows.
pub fn client<'a>(peer: Option<IpAddr>, trusted: &[IpNet], lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<IpAddr> {
    let trusts = |address: IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    let mut client = peer;
    if client.is_some_and(|peer| !trusts(peer)) {
        return client;
    }
    // Each proxy adds whom it was called by at the end.
    for entry in lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        let address = parse(entry.trim_ascii())?;
        client = Some(address);
        if !trusts(address) {
            break;
        }
    }
    client
}

/// An address; some proxies write the port too, and brackets around IPv6.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: Option<&str>, lines: &[&str]) -> Option<String> {
        let trusted: Vec<IpNet> = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect();
        let peer = peer.map(|text| text.parse().unwrap());
        client(peer, &trusted, lines.iter().map(|line| line.as_bytes())).map(|address| address.to_string())
    }

    #[test]
    fn a_stranger_is_where_its_connection_comes_from_whatever_it_says() {
        assert_eq!(found(Some("192.0.2.1"), &["198.51.100.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(found(Some("192.0.2.1"), &["nonsense"]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn behind_trusted_proxies_it_is_the_last_that_is_none_of_them() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["198.51.100.1, 192.0.2.1"], Some("192.0.2.1")),
            (&["198.51.100.1, 192.0.2.1, 10.0.0.7,127.0.0.1"], Some("192.0.2.1")),
            (&["198.51.100.1", "192.0.2.1"], Some("192.0.2.1")),
            (&["198.51.100.1, nonsense, 192.0.2.1"], Some("192.0.2.1")),
            (&["192.0.2.1:4711"], Some("192.0.2.1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["[2001:db8::1]:80"], Some("2001:db8::1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["10.0.0.1, 10.0.0.2"], Some("10.0.0.1")),
            (&[], Some("127.0.0.1")),
            (&["unknown"], None),
            (&["192.0.2.1, "], None),
            (&[""], None),
            (&["192.0.2.1, unknown, 10.0.0.7"], None),
        ] {
            assert_eq!(found(Some("127.0.0.1"), lines).as_deref(), expected, "{lines:?}");
        }
        assert_eq!(found(Some("::ffff:127.0.0.1"), &["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn a_unix_socket_is_trusted_and_no_address_itself() {
        assert_eq!(found(None, &["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(found(None, &[]), None);
    }
}
