//! A name server that knows one name and one address (RFC 1035).

use std::net::{Ipv4Addr, UdpSocket};

/// Type A (§3.2.2).
const ADDRESS: [u8; 2] = [0, 1];

/// Answers until the test's process ends.
pub fn serve(socket: UdpSocket, name: &'static str, address: Ipv4Addr) {
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let _ = socket.send_to(&answer(&query[..length], name, address), from);
        }
    });
}

fn answer(query: &[u8], name: &str, address: Ipv4Addr) -> Vec<u8> {
    let asked: Vec<u8> = name.split('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).chain([0]).collect();
    // The question ends with its type and class; what is behind it (EDNS) is not answered.
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let (is_known, kind) = (query[12..end].eq_ignore_ascii_case(&asked), &query[end..end + 2]);
    let found = is_known && kind == ADDRESS;
    // A response to a recursive question; 3 is NXDOMAIN (§4.1.1).
    let flags = [0x81, if is_known { 0x80 } else { 0x83 }];
    let counts = [0, 1, 0, u8::from(found), 0, 0, 0, 0];
    let mut answer = [&query[..2], &flags, &counts, &query[12..end + 4]].concat();
    if found {
        // The name of the question, type, class IN, a minute, four bytes (§4.1.3, §4.1.4).
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
