//! The head of an HTTP/2 request into the assurance that it says what an HTTP/1.1 one could say, and no more (RFC 9113 §8).
//! Repairs nothing: what the parser let through and another reader might not is refused.

use http::header::HOST;
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};

use crate::config::settings::Bounds;
use crate::policy::Reason;

/// What RFC 9113 counts for each field, so that it is the same for both (§6.5.2).
const FIELD: usize = 32;

pub fn check(parts: &Parts, bounds: &Bounds) -> Result<(), Reason> {
    let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if target.len() > bounds.target {
        return Err(Reason::TargetTooLong);
    }
    if parts.headers.len() > bounds.headers {
        return Err(Reason::TooManyHeaders);
    }
    let size: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
    if size + target.len() > bounds.head {
        return Err(Reason::HeadersTooLarge);
    }
    if !parts.uri.scheme().is_none_or(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS) {
        return Err(Reason::Framing);
    }
    match parts.uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(Reason::AmbiguousHost),
        None if !parts.headers.contains_key(HOST) => Err(Reason::AmbiguousHost),
        Some(_) | None => Ok(()),
    }
}
