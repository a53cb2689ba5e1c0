//! An answer, the upstream's head or one of the gate's own, into the bytes that the client gets.
//! Passes on nothing that ends at a hop or that only the gate may say.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body as _;

use super::answer::{Answer, Framing};
use crate::credential::Caching;
use crate::identity::PREFIX;
use crate::transport::headers::{ends_at_hop, lists};
use crate::transport::proxy::Onward;

/// The head of an upstream's answer, up to its empty line.
pub fn head(out: &mut Vec<u8>, answer: &Answer<'_>, onward: &Onward, close: bool) {
    status(out, answer.status);
    let named: Vec<&[u8]> = answer.lines.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection")).map(|(_, value)| *value).collect();
    let starts = |name: &[u8], prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()));
    let caching = onward.caching();
    let (mut cached, mut dated) = (false, false);
    for (name, value) in &answer.lines {
        let is_cache = name.eq_ignore_ascii_case(b"cache-control");
        let goes = ends_at_hop(name)
            // RFC 9110 §8.6: not in such an answer.
            || (answer.status == 204 && name.eq_ignore_ascii_case(b"content-length"))
            || starts(name, PREFIX)
            || (!named.is_empty() && named.iter().any(|list| lists(list, name)) && !name.eq_ignore_ascii_case(b"content-length"))
            || (is_cache && matches!(caching, Caching::Never))
            || (!onward.sharing.is_empty() && is_sharing(name));
        if !goes {
            line(out, name, value);
            cached |= is_cache;
            dated |= name.eq_ignore_ascii_case(b"date");
        }
    }
    match caching {
        Caching::Known => {}
        Caching::Private { vary } => {
            if !cached {
                line(out, "cache-control", b"private");
            }
            line(out, "vary", vary.as_bytes());
        }
        Caching::Never => line(out, "cache-control", b"private, no-store"),
    }
    for (name, value) in &onward.sharing {
        line(out, name.as_str(), value.as_bytes());
    }
    if !dated {
        // RFC 9110 §6.6.1: whoever forwards an answer that has none adds it.
        line(out, "date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    }
    if matches!(answer.framing, Framing::Chunked | Framing::Close) {
        line(out, "transfer-encoding", b"chunked");
    }
    end(out, close);
}

/// A whole answer of the gate's own to a request with this method.
pub fn own(out: &mut Vec<u8>, answer: Response<Full<Bytes>>, (method, close): (&str, bool)) {
    let (parts, mut body) = answer.into_parts();
    status(out, parts.status.as_u16());
    for (name, value) in &parts.headers {
        line(out, name.as_str(), value.as_bytes());
    }
    let length = body.size_hint().exact().unwrap_or_default();
    if parts.status != StatusCode::NO_CONTENT {
        line(out, "content-length", length.to_string().as_bytes());
    }
    line(out, "date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    end(out, close);
    // It is all there, and need not be waited for.
    if let (Poll::Ready(Some(Ok(frame))), true) = (Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())), method != "HEAD") {
        out.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
}

/// What the upstream says of other origins, where the gate speaks for it.
fn is_sharing(name: &[u8]) -> bool {
    [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS].iter().any(|known| name.eq_ignore_ascii_case(known.as_str().as_bytes()))
}

fn status(out: &mut Vec<u8>, status: u16) {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    for part in ["HTTP/1.1 ", code.as_str(), " ", code.canonical_reason().unwrap_or_default(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// One header field.
pub fn line(out: &mut Vec<u8>, name: impl AsRef<[u8]>, value: &[u8]) {
    let name = name.as_ref();
    out.reserve(name.len() + value.len() + 4);
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn end(out: &mut Vec<u8>, close: bool) {
    out.extend_from_slice(if close { b"connection: close\r\n\r\n" } else { b"\r\n" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(head: &str) -> String {
        let answer = Answer::read(head.as_bytes(), "GET").unwrap();
        let mut out = Vec::new();
        super::head(&mut out, &answer, &Onward::default(), false);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_ends_at_a_hop_or_is_the_gates_own_does_not_go_on() {
        let text = written(
            "HTTP/1.1 200 Fine\r\nDate: Sun, 22 Nov 2026 03:21:42 GMT\r\nConnection: close, X-Hop\r\nX-Hop: a\r\nKeep-Alive: timeout=5\r\nX-Scopegate-Id: root\r\n\
             Upgrade: h2c\r\nX-Kept: b\r\nContent-Length: 5\r\n\r\n",
        );
        assert_eq!(text, "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 03:21:42 GMT\r\nX-Kept: b\r\nContent-Length: 5\r\n\r\n");
        assert!(written("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").ends_with("transfer-encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn an_answer_without_a_date_gets_one_and_204_has_no_length() {
        let text = written("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n");
        let date = text.split("date: ").nth(1).unwrap().split("\r\n").next().unwrap();
        assert!(httpdate::parse_http_date(date).is_ok() && !text.to_lowercase().contains("content-length"), "{text}");
    }
}
