//! The head of an allowed request into the bytes that the upstream gets.
//! The client's lines go as they came but for those that are the gate's; its own come last.

use http::HeaderValue;

use super::head::Head;
use super::response::line;
use crate::credential::hide::Hidden;
use crate::gate::Verdict;
use crate::live::Snapshot;
use crate::policy::Reason;
use crate::request::path::split_target;
use crate::telemetry::trace::Context;
use crate::transport::proxy::forward::{Peer, pinned};

pub fn write(
    out: &mut Vec<u8>,
    head: &Head<'_>,
    (snapshot, verdict, trace): (&Snapshot, &Verdict<'_>, Option<Context>),
    peer: &Peer,
) -> Result<(), Reason> {
    let caller = verdict.decision.caller.as_ref();
    let (_, query) = split_target(head.target.as_bytes());
    let mut hidden = Hidden::of(verdict.hidden(snapshot), &head.lines, query.filter(|_| verdict.query));
    let target = pinned(head.target.as_bytes(), hidden.query.take())?;
    for part in [head.method, " ", target.as_deref().unwrap_or(head.target), " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in head.lines.iter() {
        let is = |other: &str| name.len() == other.len() && name.eq_ignore_ascii_case(other);
        let goes = hidden.has(name)
            || (hidden.cookie.is_some() && is("cookie"))
            || trace.is_some_and(|trace| is("traceparent") || (trace.is_root() && is("tracestate")))
            || peer.is_mute_on(name)
            || snapshot.identity.sets(name, caller)
            || snapshot.identity.owns(name, value, caller);
        if !goes {
            line(out, name, value);
        }
    }
    if let Some(Some(left)) = &hidden.cookie {
        line(out, "cookie", left);
    }
    let forwarded = [
        ("x-forwarded-for", peer.address.as_ref().map(HeaderValue::as_bytes)),
        ("x-forwarded-proto", Some(peer.scheme.as_bytes())),
        ("x-forwarded-host", Some(head.host)),
    ];
    for (name, value) in forwarded {
        if let Some(value) = value.filter(|_| !snapshot.identity.sets(name, caller)) {
            line(out, name, value);
        }
    }
    for (name, value) in snapshot.told(caller) {
        if let Some(value) = value {
            line(out, name, value.as_bytes());
        }
    }
    if let Some(trace) = trace {
        line(out, "traceparent", trace.header().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}
