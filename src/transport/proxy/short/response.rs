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
    let mut cached = false;
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
