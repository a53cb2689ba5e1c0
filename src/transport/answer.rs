//! A denial into an HTTP response, the same at every door that speaks HTTP.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    VARY, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::credential::Caching;
use crate::policy::Denial;
use crate::policy::cors::{Preflight, Share};
use crate::telemetry::DecisionId;

pub const REASON: HeaderName = HeaderName::from_static("x-scopegate-reason");
pub const DECISION: HeaderName = HeaderName::from_static("x-scopegate-decision");

/// A response of the gate's own that is no denial. 503 asks for another try (RFC 9110 §15.6.4).
pub fn problem(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The response for a denial.
pub fn denied(denial: &Denial, id: DecisionId) -> Response<Full<Bytes>> {
    let answer = denial.answer();
    let mut response = Response::new(Full::new(bytes(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::FORBIDDEN);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REASON, HeaderValue::from_static(answer.reason));
    headers.insert(DECISION, decision(id));
    if let Some(challenge) = answer.challenge.and_then(|challenge| HeaderValue::from_maybe_shared(bytes(challenge)).ok()) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some((name, value)) = answer.extra {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// What tells a browser whether its page may read an answer; empty where that is no business of the gate's.
pub type Sharing = Vec<(HeaderName, HeaderValue)>;

pub fn sharing(share: &Share<'_>) -> Sharing {
    let own = share.headers().filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?)));
    own.chain(share.varies().then(|| (VARY, HeaderValue::from_static("Origin")))).collect()
}

/// Says so on an answer; what the upstream said of it does not count.
pub fn share(headers: &mut HeaderMap, sharing: &Sharing) {
    if sharing.is_empty() {
        return;
    }
    headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
    for (name, value) in sharing {
        headers.append(name, value.clone());
    }
}

/// Keeps shared caches from handing one caller's answer to another. What the upstream says of caching stands, but for a URL that is a secret.
pub fn cache(headers: &mut HeaderMap, caching: Caching<'_>) {
    match caching {
        Caching::Known => {}
        Caching::Private { vary } => {
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
            if let Ok(name) = HeaderValue::from_str(vary) {
                headers.append(VARY, name);
            }
        }
        Caching::Never => drop(headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"))),
    }
}

/// The answer to a preflight (Fetch §3.2.3).
pub fn preflight(preflight: &Preflight, shared: &Share<'_>, id: DecisionId) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(DECISION, decision(id));
    share(headers, &sharing(shared));
    for (name, value) in preflight.headers(shared) {
        headers.extend(HeaderValue::from_str(&value).ok().map(|value| (HeaderName::from_static(name), value)));
    }
    response
}

pub fn decision(id: DecisionId) -> HeaderValue {
    HeaderValue::from_bytes(&id.hex()).unwrap_or(HeaderValue::from_static("0"))
}

pub fn bytes(text: std::borrow::Cow<'static, str>) -> Bytes {
    match text {
        std::borrow::Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        std::borrow::Cow::Owned(text) => Bytes::from(text),
    }
}
