//! A denial into an HTTP response, the same at every door that speaks HTTP.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    VARY, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode, Version};
use http_body_util::{BodyExt, Either, Full};

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
    for (name, value) in answer.extra {
        headers.extend(HeaderValue::from_maybe_shared(bytes(value)).ok().map(|value| (HeaderName::from_static(name), value)));
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

/// Whether a message is of gRPC, in whatever encoding; gRPC-Web is plain HTTP.
pub fn is_grpc_type(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    media.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Whether a caller reads its answers as gRPC does.
pub fn is_grpc(version: Version, headers: &HeaderMap) -> bool {
    version == Version::HTTP_2 && is_grpc_type(headers)
}

/// A refusal of the gate's own in the words of gRPC: trailers only. Any other answer stays as it is.
pub async fn as_grpc<B>(response: Response<Either<B, Full<Bytes>>>) -> Response<Either<B, Full<Bytes>>> {
    if !response.headers().contains_key(REASON) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let said = match body {
        Either::Right(said) => said.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default(),
        Either::Left(_) => Bytes::new(),
    };
    let said = serde_json::from_slice::<serde_json::Value>(&said).unwrap_or_default();
    let message = said.get("message").and_then(serde_json::Value::as_str).unwrap_or_default();
    let status = grpc_status(parts.status);
    parts.status = StatusCode::OK;
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    parts.headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        parts.headers.insert(HeaderName::from_static("grpc-message"), message);
    }
    Response::from_parts(parts, Either::Right(Full::default()))
}

/// gRPC's own table of HTTP statuses (`http-grpc-status-mapping.md`).
fn grpc_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502 | 503 | 504 => "14",
        _ => "2",
    }
}

/// `Status-Message` of gRPC over HTTP/2: visible ASCII and space but `%` stand for themselves.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'%' | ..b' ' | 0x7F.. => out.push_str(&format!("%{byte:02X}")),
            b' '..=b'~' => out.push(char::from(byte)),
        }
        out
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_type_and_its_protocol() {
        let told = |version, media: &'static str| is_grpc(version, &HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media))]));
        for media in ["application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc;charset=utf-8"] {
            assert!(told(Version::HTTP_2, media) && !told(Version::HTTP_11, media), "{media}");
        }
        for media in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "application/json", "application/grpcx"] {
            assert!(!told(Version::HTTP_2, media), "{media}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("50% caf\u{e9}\n~"), "50%25 caf%C3%A9%0A~");
    }
}
