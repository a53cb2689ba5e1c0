//! What is sent: by hand, what readers of HTTP/1.1 have differed about, and plain requests between it.
//! Excuses a proxy only by the name of the input, with the reason.

use super::programs::Kind;
use super::recorder::Seen;
use super::tables::{CHUNKS, CUT, FIELDS, HEADS, HOSTS, LINES, PIPES, PLAIN};

#[derive(Clone, Debug)]
pub struct Input {
    pub name: String,
    /// Stands in every request of the input, so that it is known wherever it comes out.
    pub mark: String,
    pub bytes: Vec<u8>,
    pub promise: Promise,
    /// Nothing more is sent.
    pub ends: bool,
}

#[derive(Clone, Debug)]
pub enum Promise {
    /// A strict reader counts no more requests than these.
    AtMost(usize),
    /// Valid: all of it comes out, behind everybody.
    All(Vec<Seen>),
}

/// Inputs about which a proxy is not asked.
pub const EXCEPTIONS: &[(&str, Kind, &str)] = &[
    ("Connection: host", Kind::Envoy, "refuses the first request, as the gate does, and ends the connection before the second, which is sound"),
    (
        "Connection: X-Forwarded-For\\r\\nX-Forwarded-For: 10.0.0.1",
        Kind::Envoy,
        "refuses the first request, as the gate does, and ends the connection before the second, which is sound",
    ),
    ("Connection: upgrade\\r\\nUpgrade: TLS/1.0", Kind::Envoy, "403 for an upgrade that is not set up; others ignore it (RFC 9110 section 7.8)"),
    ("Expect: 200-ok", Kind::Caddy, "417, as a server may; others ignore the expectation (RFC 9110 section 10.1.1)"),
    (
        "\\r\\nGET /QQ/blank HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
        Kind::Caddy,
        "refuses an empty line before the first request, which a server should ignore (RFC 9112 section 2.2)",
    ),
];

/// In every table, `QQ` stands for the mark.
const HIDDEN: &str = "GET /QQ/hidden HTTP/1.1\r\nHost: a\r\n\r\n";

pub fn all() -> Vec<Input> {
    let mut all = Table(Vec::new());
    for fields in FIELDS {
        // Five bytes that are a body of either kind.
        all.put(fields, &format!("POST /QQ/a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n{HIDDEN}"), 0);
        if fields.to_ascii_lowercase().contains("transfer-encoding") {
            let name = format!("{fields} (HTTP/1.0)");
            all.put(&name, &format!("POST /QQ/a HTTP/1.0\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n{HIDDEN}"), 0);
        }
    }
    for (fields, most) in HEADS {
        all.put(fields, &format!("GET /QQ/a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{HIDDEN}"), *most);
    }
    for (line, most) in LINES {
        all.put(line, &format!("{line}\r\nHost: a\r\nX-Mark: QQ\r\n\r\n"), *most);
    }
    for (hosts, most) in HOSTS {
        all.put(&format!("hosts: {hosts}"), &format!("GET /QQ/a HTTP/1.1\r\n{hosts}X-Mark: QQ\r\n\r\n"), *most);
    }
    for (chunks, most) in CHUNKS {
        all.put(
            &format!("chunks: {chunks}"),
            &format!("POST /QQ/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{HIDDEN}"),
            *most,
        );
    }
    for (bytes, most) in PIPES {
        all.put(bytes, bytes, *most);
    }
    for (bytes, most) in CUT {
        all.put(&format!("and the end: {bytes}"), bytes, *most);
        all.0.last_mut().unwrap().ends = true;
    }
    for (bytes, expected) in PLAIN {
        all.put(bytes, bytes, 0);
        let input = all.0.last_mut().unwrap();
        let seen = |(method, path, body): &(&str, &str, &str)| Seen {
            method: (*method).to_owned(),
            target: format!("/{}{path}", input.mark),
            body: (*body).to_owned(),
        };
        input.promise = Promise::All(expected.iter().map(seen).collect());
    }
    all.0
}

struct Table(Vec<Input>);

impl Table {
    fn put(&mut self, name: &str, bytes: &str, most: usize) {
        let mark = format!("qz{:03}", self.0.len());
        // A byte that is no UTF-8 is spelled as the character of its number.
        let bytes = bytes.replace("QQ", &mark).chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
        let name = name.escape_debug().to_string();
        assert!(self.0.iter().all(|input| input.name != name), "{name} is there twice");
        self.0.push(Input { name, mark, bytes, promise: Promise::AtMost(most), ends: false });
    }
}
