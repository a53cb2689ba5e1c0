//! The head of an ordinary request, once its framing is known to be sound, into the lines that it is made of.
//! `None` for whatever asks for more than one answer to one head: a body, an upgrade, an expectation, a hop's own headers.

use crate::request::{Headers, Values};
use crate::transport::proxy::forward::is_account;

/// More than real clients send; whoever sends more takes the long way.
const LINES: usize = 64;

/// Header fields in the buffer that they were read into.
pub struct Lines<'a>(Vec<(&'a str, &'a [u8])>);

pub struct Head<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub host: &'a [u8],
    pub lines: Lines<'a>,
    /// Whether the client has said that this is its last request.
    pub close: bool,
}

impl<'a> Head<'a> {
    /// `bytes` are a whole head that [`crate::transport::framing`] took. A trusted peer's account of the client (`trusted`) is no ordinary head.
    pub fn read(bytes: &'a [u8], trusted: bool) -> Option<Self> {
        // A head that is not ASCII takes the long way too.
        let mut rest = bytes.is_ascii().then(|| str::from_utf8(bytes).ok())??.strip_suffix("\r\n")?;
        let mut words = line(&mut rest)?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        if words.next() != Some("HTTP/1.1") || words.next().is_some() || !target.starts_with('/') {
            return None;
        }
        let mut head = Self { method, target, host: b"", lines: Lines(Vec::with_capacity(16)), close: false };
        let mut cookies = 0;
        while !rest.is_empty() {
            let line = line(&mut rest)?;
            let (name, value) = line.split_at_checked(memchr::memchr(b':', line.as_bytes())?)?;
            let value = value.get(1..)?.as_bytes().trim_ascii();
            match Kind::of(name) {
                Kind::Plain => {}
                Kind::Connection if value.eq_ignore_ascii_case(b"keep-alive") => continue,
                Kind::Connection if value.eq_ignore_ascii_case(b"close") => {
                    head.close = true;
                    continue;
                }
                Kind::Length if value == b"0" => {}
                Kind::Cookie if cookies == 0 => cookies = 1,
                Kind::Account if !trusted => {}
                Kind::Connection | Kind::Length | Kind::Cookie | Kind::Account | Kind::Hop => return None,
            }
            head.lines.0.push((name, value));
        }
        match head.lines.get("host") {
            Values::One(host) if head.lines.0.len() <= LINES => Some(Self { host, ..head }),
            Values::One(_) | Values::None | Values::Many => None,
        }
    }
}

impl<'a> Lines<'a> {
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.iter().copied()
    }

    pub fn get(&self, name: &str) -> Values<'a> {
        let mut found = self.0.iter().filter(|(known, _)| known.len() == name.len() && known.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (None, _) => Values::None,
            (Some((_, value)), None) => Values::One(value),
            (Some(_), Some(_)) => Values::Many,
        }
    }
}

impl Headers for Lines<'_> {
    fn get(&self, name: &str) -> Values<'_> {
        Lines::get(self, name)
    }
}

/// The first line of what is left, without its end.
fn line<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (line, behind) = rest.split_at_checked(memchr::memchr(b'\n', rest.as_bytes())?)?;
    *rest = behind.get(1..)?;
    line.strip_suffix('\r')
}

/// What a request's field means for its way.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Connection,
    Length,
    Cookie,
    /// What a proxy in front says of its client.
    Account,
    /// For this hop, in one way or another.
    Hop,
}

impl Kind {
    fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let starts = |known: &str| name.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known));
        match name.as_bytes().first().map(u8::to_ascii_lowercase) {
            Some(b'c') if is("connection") => Self::Connection,
            Some(b'c') if is("content-length") => Self::Length,
            Some(b'c') if is("cookie") => Self::Cookie,
            Some(b'f' | b'x') if is_account(name) => Self::Account,
            Some(b'e') if is("expect") => Self::Hop,
            Some(b'h') if is("http2-settings") => Self::Hop,
            Some(b'k') if is("keep-alive") => Self::Hop,
            Some(b'p') if starts("proxy-") => Self::Hop,
            Some(b't') if is("te") || is("trailer") || is("transfer-encoding") => Self::Hop,
            Some(b'u') if is("upgrade") => Self::Hop,
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> Option<usize> {
        let text = format!("GET /a?b HTTP/1.1\r\nHost: c\r\n{fields}\r\n");
        Head::read(text.as_bytes(), true).map(|head| head.lines.iter().count())
    }

    #[test]
    fn an_ordinary_head_is_its_lines() {
        let text = b"GET /a?b HTTP/1.1\r\nHost:  c \r\nAccept: */*\r\nCookie: d=e\r\nConnection: Keep-Alive\r\n\r\n";
        let head = Head::read(text, true).unwrap();
        assert_eq!((head.method, head.target, head.close), ("GET", "/a?b", false));
        assert_eq!(head.lines.iter().collect::<Vec<_>>(), [("Host", &b"c"[..]), ("Accept", b"*/*"), ("Cookie", b"d=e")]);
        assert!(head.lines.get("accept") == Values::One(b"*/*") && head.lines.get("x") == Values::None);
        assert!(Head::read(b"GET / HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n", true).unwrap().close);
        assert_eq!(read("Content-Length: 0\r\nX-A: b\r\nX-A: c\r\n"), Some(4));
    }

    #[test]
    fn whatever_is_out_of_the_ordinary_takes_the_long_way() {
        for fields in [
            "Content-Length: 1\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Upgrade: websocket\r\n",
            "Connection: upgrade\r\n",
            "Connection: keep-alive, x-a\r\n",
            "Connection: x-scopegate-id\r\n",
            "Expect: 100-continue\r\n",
            "TE: trailers\r\n",
            "Trailer: a\r\n",
            "Keep-Alive: 5\r\n",
            "Proxy-Connection: close\r\n",
            "Proxy-Authorization: Bearer a\r\n",
            "HTTP2-Settings: a\r\n",
            "Cookie: a=b\r\nCookie: c=d\r\n",
            "X-Forwarded-For: 10.0.0.1\r\n",
            "X.Forwarded_For: 10.0.0.1\r\n",
            "Forwarded: for=10.0.0.1\r\n",
        ] {
            assert_eq!(read(fields), None, "{fields}");
            assert_eq!(read(&fields.to_ascii_lowercase()), None, "{fields}");
        }
        for line in ["GET http://c/a HTTP/1.1", "OPTIONS * HTTP/1.1", "GET /a HTTP/1.0"] {
            assert!(Head::read(format!("{line}\r\nHost: c\r\n\r\n").as_bytes(), true).is_none(), "{line}");
        }
        assert_eq!(read(&"x: y\r\n".repeat(LINES)), None);
        assert!(Head::read(b"GET / HTTP/1.1\r\nHost: c\r\nX-Forwarded-For: a\r\n\r\n", false).is_some(), "nobody believes it");
    }
}
