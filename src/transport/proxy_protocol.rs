//! The first bytes of a connection into where it comes from, as the proxy in front tells it (HAProxy's PROXY protocol, versions 1 and 2).
//! Repairs nothing: what is not to the letter of the specification is no header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// §2.1: the longest line of version 1, its end included.
const MAX_LINE: usize = 107;
/// What may follow the fixed part of version 2; real ones have some 100 bytes.
const MAX_BLOCK: usize = 4096;
/// Longest header, of either version.
pub const MAX: usize = 16 + MAX_BLOCK;

const LINE: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PP2_TYPE_CRC32C: u8 = 0x03;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy itself, to see whether anybody listens.
    Proxy,
    /// A client of which the proxy cannot say where it is.
    Unknown,
    Client(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    Whole {
        origin: Origin,
        /// How many bytes it took.
        length: usize,
    },
    /// So far it could be one.
    Half,
    Invalid,
}

pub fn read(bytes: &[u8]) -> Header {
    let begins = |mark: &[u8]| bytes.iter().zip(mark).all(|(one, other)| one == other);
    match (begins(LINE), begins(SIGNATURE)) {
        (false, false) => Header::Invalid,
        (true, _) if bytes.len() > LINE.len() => line(bytes),
        (_, true) if bytes.len() >= SIGNATURE.len() => block(bytes),
        (true, _) | (_, true) => Header::Half,
    }
}

/// Version 1, §2.1: one line of words with one space between two.
fn line(bytes: &[u8]) -> Header {
    let Some(end) = memchr::memchr(b'\n', bytes.get(..MAX_LINE).unwrap_or(bytes)) else {
        return if bytes.len() < MAX_LINE { Header::Half } else { Header::Invalid };
    };
    let words = bytes.get(LINE.len()..end).and_then(|line| line.strip_suffix(b"\r")).filter(|line| memchr::memchr(b'\r', line).is_none());
    match words.and_then(origin) {
        Some(origin) => Header::Whole { origin, length: end + 1 },
        None => Header::Invalid,
    }
}

fn origin(words: &[u8]) -> Option<Origin> {
    // What follows it is for nobody.
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Some(Origin::Unknown);
    }
    let words: Vec<&str> = str::from_utf8(words).ok()?.split(' ').collect();
    let &[family, source, destination, from, to] = words.as_slice() else { return None };
    port(from)?;
    port(to)?;
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    address(destination)?;
    address(source).map(|source| Origin::Client(source.to_canonical()))
}

/// Decimal, without leading zeros.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    digits.then(|| text.parse().ok()).flatten()
}

/// Version 2, §2.2.
fn block(bytes: &[u8]) -> Header {
    let Some((&[.., version, family, high, low], rest)) = bytes.split_first_chunk::<16>() else { return Header::Half };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_BLOCK {
        return Header::Invalid;
    }
    let Some(block) = rest.get(..length) else { return Header::Half };
    let whole = bytes.get(..16 + length).unwrap_or_default();
    // Of what says nothing of an address, the rest is for nobody.
    let origin = match (version, family) {
        (0x20, _) => Some(Origin::Proxy),
        (0x21, 0x00) => Some(Origin::Unknown),
        // A stream over IPv4, IPv6 and a Unix socket; a datagram is no connection.
        (0x21, 0x11) => v4(block).filter(|_| are_whole(whole, 16 + 12)).map(Origin::Client),
        (0x21, 0x21) => v6(block).filter(|_| are_whole(whole, 16 + 36)).map(Origin::Client),
        (0x21, 0x31) => are_whole(whole, 16 + 216).then_some(Origin::Unknown),
        (_, _) => None,
    };
    origin.map_or(Header::Invalid, |origin| Header::Whole { origin, length: 16 + length })
}

fn v4(block: &[u8]) -> Option<IpAddr> {
    block.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into())
}

fn v6(block: &[u8]) -> Option<IpAddr> {
    block.first_chunk::<16>().map(|octets| IpAddr::from(Ipv6Addr::from(*octets)).to_canonical())
}

/// Whether the fields (§2.2.1) from `at` on fill the header, and a checksum among them is right.
fn are_whole(header: &[u8], at: usize) -> bool {
    let Some(mut rest) = header.get(at..) else { return false };
    while let Some((&kind, after)) = rest.split_first() {
        let Some((length, after)) = after.split_first_chunk::<2>() else { return false };
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((value, after)) = after.split_at_checked(length) else { return false };
        let start = header.len() - after.len() - length;
        if kind == PP2_TYPE_CRC32C && value != crc32c(header, start).to_be_bytes() {
            return false;
        }
        rest = after;
    }
    true
}

/// RFC 9260 appendix B, with the four bytes from `own` on, which hold the checksum, as zeros.
fn crc32c(header: &[u8], own: usize) -> u32 {
    let bytes = header.iter().enumerate().map(|(index, byte)| if (own..own + 4).contains(&index) { 0 } else { *byte });
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Option<Origin> {
        Some(Origin::Client(text.parse().unwrap()))
    }

    /// The origin of a header that is whole, with nothing left over.
    fn whole(bytes: &[u8]) -> Option<Origin> {
        match read(bytes) {
            Header::Whole { origin, length } if length == bytes.len() => Some(origin),
            Header::Whole { .. } | Header::Half | Header::Invalid => None,
        }
    }

    fn v2(version: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[version, family], &length, block].concat()
    }

    const FOUR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x34, 0, 80];

    /// One of each kind.
    fn all() -> Vec<Vec<u8>> {
        let six = [&[0x20, 1, 0x0d, 0xb8], &[0; 11][..], &[7], &[0; 16], &[0, 1, 0, 2]].concat();
        let fields = [&FOUR[..], &[0x04, 0, 2, 0, 0], &[0x01, 0, 2, b'h', b'2'], &[0xEE, 0, 0]].concat();
        vec![
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
            b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            v2(0x20, 0x00, &[]),
            v2(0x21, 0x00, b"any"),
            v2(0x21, 0x11, &FOUR),
            v2(0x21, 0x21, &six),
            v2(0x21, 0x31, &[b'/'; 216]),
            v2(0x21, 0x11, &fields),
        ]
    }

    #[test]
    fn the_lines_of_the_specification_are_read() {
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(whole(longest.as_bytes()), client("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        let unknown = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!((unknown.len(), whole(unknown.as_bytes())), (107, Some(Origin::Unknown)));
        assert_eq!(whole(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), client("255.255.255.255"));
        assert_eq!(whole(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n"), client("192.0.2.7"), "as it would be compared");
        assert_eq!(read(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n"), Header::Whole { origin: Origin::Unknown, length: 15 });
    }

    #[test]
    fn a_line_that_is_not_to_the_letter_is_none() {
        for text in [
            "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\n",
            "PROXY TCP4  192.0.2.7 192.0.2.8 1 2\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.8 1 2 \r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.8 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.8 1\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.8 1 65536\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.8 01 2\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.8 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.8 -1 2\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.8  2\r\n",
            "PROXY TCP4 192.0.2.07 192.0.2.8 1 2\r\n",
            "PROXY TCP4 192.0.2 192.0.2.8 1 2\r\n",
            "PROXY TCP4 192.0.2.7 x 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 192.0.2.8 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY TCP6 [::1] ::1 1 2\r\n",
            "PROXY TCP5 192.0.2.7 192.0.2.8 1 2\r\n",
            "PROXY tcp4 192.0.2.7 192.0.2.8 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UNKNOWN\rx\r\n",
            "PROXY \r\n",
            "PROXY\r\n",
            "PROXY\tUNKNOWN\r\n",
            " PROXY UNKNOWN\r\n",
            "proxy UNKNOWN\r\n",
            "GET / HTTP/1.1\r\n",
            "\r\n\r\n",
        ] {
            assert_ne!(text.len(), 0);
            let found = read(text.as_bytes());
            assert!(found == Header::Invalid || (text == "\r\n\r\n" && found == Header::Half), "{text:?}: {found:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(read(&endless.as_bytes()[..106]), Header::Half);
        assert_eq!(read(&endless.as_bytes()[..107]), Header::Invalid);
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!((long.len(), read(long.as_bytes())), (108, Header::Invalid));
    }

    #[test]
    fn blocks_of_version_2_are_read_by_their_lengths() {
        assert_eq!(whole(&v2(0x21, 0x11, &FOUR)), client("192.0.2.7"));
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 7], &[0; 20]].concat();
        assert_eq!(whole(&v2(0x21, 0x21, &mapped)), client("192.0.2.7"));
        assert_eq!(whole(&v2(0x20, 0x11, &[1])), Some(Origin::Proxy), "what a health check says is ignored");
        assert_eq!(whole(&v2(0x20, 0xff, &[0; 4096])), Some(Origin::Proxy));
        assert_eq!(whole(&v2(0x21, 0x00, &[1, 2, 3])), Some(Origin::Unknown));
        assert_eq!(whole(&v2(0x21, 0x31, &[0; 216])), Some(Origin::Unknown));
        let bad: [Vec<u8>; 14] = [
            v2(0x11, 0x11, &FOUR),
            v2(0x31, 0x11, &FOUR),
            v2(0x22, 0x11, &FOUR),
            v2(0x2f, 0x11, &FOUR),
            v2(0x21, 0x12, &FOUR),
            v2(0x21, 0x10, &FOUR),
            v2(0x21, 0x41, &FOUR),
            v2(0x21, 0x11, &FOUR[..11]),
            v2(0x21, 0x21, &FOUR),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x11, &[&FOUR[..], &[4]].concat()),
            v2(0x21, 0x11, &[&FOUR[..], &[4, 0]].concat()),
            v2(0x21, 0x11, &[&FOUR[..], &[4, 0, 2, 0]].concat()),
            v2(0x20, 0x00, &[0; 4097]),
        ];
        for bytes in bad {
            assert_eq!(read(&bytes), Header::Invalid, "{bytes:?}");
        }
    }

    #[test]
    fn a_checksum_that_is_there_is_right() {
        // The check value of CRC-32C for `123456789`.
        assert_eq!(crc32c(b"123456789", 100), 0xE306_9283);
        let unsigned = v2(0x21, 0x11, &[&FOUR[..], &[0x03, 0, 4, 0, 0, 0, 0], &[0x04, 0, 0]].concat());
        let at = 16 + FOUR.len() + 3;
        let mut signed = unsigned.clone();
        signed[at..at + 4].copy_from_slice(&crc32c(&unsigned, at).to_be_bytes());
        assert_eq!(whole(&signed), client("192.0.2.7"));
        assert_eq!(read(&unsigned), Header::Invalid);
        // All but the type of the checksum itself: of another type it is a field like any other.
        for index in (16..signed.len()).filter(|index| *index != at - 3) {
            let mut other = signed.clone();
            other[index] ^= 1;
            assert_eq!(read(&other), Header::Invalid, "byte {index}");
        }
        assert_eq!(read(&v2(0x21, 0x11, &[&FOUR[..], &[0x03, 0, 3, 0, 0, 0]].concat())), Header::Invalid);
    }

    #[test]
    fn every_beginning_is_half_a_header_and_what_follows_does_not_count() {
        for header in all() {
            let known = read(&header);
            assert!(matches!(known, Header::Whole { length, .. } if length == header.len()), "{header:?}: {known:?}");
            for end in 0..header.len() {
                assert_eq!(read(&header[..end]), Header::Half, "{end} of {header:?}");
            }
            for next in [&b"\0"[..], b"\r\n", b"PROXY UNKNOWN\r\n", SIGNATURE, &[0xff; 5000]] {
                assert_eq!(read(&[&header, next].concat()), known, "{header:?}");
            }
        }
    }

    #[test]
    fn no_changed_byte_is_read_beyond_the_bound() {
        for header in all() {
            for index in 0..header.len() {
                for value in 0..=u8::MAX {
                    let mut other = header.clone();
                    other[index] = value;
                    match read(&[&other[..], &[b'x'; 8192]].concat()) {
                        Header::Whole { length, .. } => assert!((15..=MAX).contains(&length)),
                        // It ends where no whole one could be longer.
                        Header::Half => panic!("{other:?} waits for more than {MAX} bytes"),
                        Header::Invalid => {}
                    }
                }
            }
        }
    }
}
