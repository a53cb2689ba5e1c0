//! A WebSocket upgrade that was allowed into a tunnel of bytes (RFC 6455 §4), once the upstream has agreed to it.
//! Sends nothing of what follows the upgrade before that, and reads nothing of what goes through after it.

use std::rc::Rc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::time::timeout;

use super::flow::Flow;
use super::{Connection, forward};
use crate::policy::Reason;
use crate::request::{Headers, Values};
use crate::transport::bounds;
use crate::transport::framing::Checked;
use crate::transport::headers::lists;
use crate::transport::listener::Stream;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a WebSocket is asked for. The reader in front says the same of the same head, and holds back what follows it.
pub fn is_asked(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    *method == Method::GET && version == Version::HTTP_11 && is_named(headers)
}

fn is_named(headers: &HeaderMap) -> bool {
    let named = |name: HeaderName, token| headers.get_all(name).iter().any(|value| lists(value.as_bytes(), token));
    named(UPGRADE, b"websocket") && named(CONNECTION, b"upgrade")
}

/// As [`is_asked`], with the rest of the handshake (RFC 6455 §4.2.1). `Err` where it is a malformed one.
pub fn websocket(parts: &Parts) -> Result<bool, Reason> {
    if !is_asked(&parts.method, parts.version, &parts.headers) {
        return Ok(false);
    }
    let value = |name: HeaderName| Headers::get(&parts.headers, name.as_str());
    let bodiless = matches!(value(CONTENT_LENGTH), Values::None | Values::One(b"0")) && value(TRANSFER_ENCODING) == Values::None;
    let current = value(SEC_WEBSOCKET_VERSION) == Values::One(b"13");
    match value(SEC_WEBSOCKET_KEY) {
        Values::One(key) if is_key(key) && current && bodiless => Ok(true),
        Values::None | Values::One(_) | Values::Many => Err(Reason::Handshake),
    }
}

/// Sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let digits = key.strip_suffix(b"==").unwrap_or_default();
    digits.len() == 22 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// What an upstream must answer to this key (RFC 6455 §4.2.2).
pub(super) fn accept(key: &[u8]) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

/// Whether the upstream has agreed, and to this upgrade.
fn agrees<B>(response: &Response<B>, accept: &str) -> bool {
    let accepted = Headers::get(response.headers(), SEC_WEBSOCKET_ACCEPT.as_str());
    response.version() == Version::HTTP_11 && is_named(response.headers()) && accepted == Values::One(accept.as_bytes())
}

/// What ends at a hop, and goes on anew.
fn insist(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

impl Connection {
    /// Asks the upstream for the upgrade. Its 101 leaves its side of the tunnel behind for [`Self::tunnel`]; any other answer is an answer.
    pub(super) async fn upgrade(&self, mut parts: Parts) -> Result<Response<Flow>, Reason> {
        // A client can have named the key in `Connection`.
        let accept = parts.headers.get(SEC_WEBSOCKET_KEY).map(|key| accept(key.as_bytes())).ok_or(Reason::Handshake)?;
        insist(&mut parts.headers);
        let request = Request::from_parts(parts, Either::Right(Full::default()));
        let mut response = self.proxy.pool.upgrade(&self.lease, request).await?;
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded && !agrees(&response, &accept) {
            tracing::warn!("the upstream answered a WebSocket upgrade with a 101 that does not go with it");
            return Err(Reason::BadGateway);
        }
        forward::clean_response(response.headers_mut());
        if !upgraded {
            return Ok(response.map(|body| Either::Left(body.into())));
        }
        *self.upstream.borrow_mut() = Some(hyper::upgrade::on(&mut response));
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        insist(headers);
        Ok(response.map(|_| Either::Right(Full::default())))
    }

    /// Runs the tunnel, if the connection has become one; `client` is what HTTP has left of it.
    pub async fn tunnel(self: Rc<Self>, client: Checked<Stream>) {
        let upstream = self.upstream.take();
        let Some(upstream) = upstream else { return close(client).await };
        // The upstream connection of earlier requests is of use to others now.
        drop(self);
        match (client.open(), upstream.await) {
            (Some(client), Ok(upstream)) => join(client, TokioIo::new(upstream)).await,
            (_, Err(error)) => tracing::debug!("the upstream's side of a tunnel was lost: {error}"),
            (None, Ok(_)) => tracing::error!("a tunnel was agreed on behind the back of the framing check; closed"),
        }
    }
}

/// After an upgrade that came to nothing: what follows it is read by nobody.
async fn close(mut client: Checked<Stream>) {
    if client.is_held() {
        let _ = client.shutdown().await;
    }
}

/// Carries bytes both ways, each no faster than it is taken, until both ends are done. No WebSocket stays half open
/// (RFC 6455 §7.1.1): where one end has closed, the other gets a moment to finish.
async fn join(client: impl AsyncRead + AsyncWrite, upstream: impl AsyncRead + AsyncWrite) {
    let ((from_client, to_client), (from_upstream, to_upstream)) = (split(client), split(upstream));
    let mut up = std::pin::pin!(carry(from_client, to_upstream));
    let mut down = std::pin::pin!(carry(from_upstream, to_client));
    let _ = tokio::select! {
        () = &mut up => timeout(bounds::LINGER, down).await,
        () = &mut down => timeout(bounds::LINGER, up).await,
    };
}

/// An error on either side is an end like any other: nobody is left to tell.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let _ = copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");
    const ASKED: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "websocket")];

    fn read(headers: &[(&str, &str)]) -> Result<bool, Reason> {
        let request = headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        websocket(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn the_key_of_the_rfc_has_the_answer_of_the_rfc() {
        assert_eq!(accept(KEY.1.as_bytes()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_handshake_is_whole_or_malformed() {
        assert_eq!(read(&[ASKED[0], ASKED[1], KEY, VERSION]), Ok(true));
        assert_eq!(read(&[ASKED[0], ASKED[1], KEY, VERSION, ("content-length", "0")]), Ok(true));
        assert_eq!(read(&[ASKED[0], KEY, VERSION]), Ok(false), "nothing is asked for");
        assert_eq!(read(&[ASKED[0], ("upgrade", "h2c"), ("content-length", "5")]), Ok(false), "something else is");
        let malformed: [&[(&str, &str)]; 13] = [
            &[],
            &[KEY],
            &[VERSION],
            &[KEY, KEY, VERSION],
            &[KEY, VERSION, VERSION],
            &[KEY, ("sec-websocket-version", "8")],
            &[KEY, ("sec-websocket-version", "13, 8")],
            &[VERSION, ("sec-websocket-key", "")],
            &[VERSION, ("sec-websocket-key", "c2hvcnQ=")],
            &[VERSION, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")],
            &[VERSION, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25j-_==")],
            &[KEY, VERSION, ("content-length", "1")],
            &[KEY, VERSION, ("transfer-encoding", "chunked")],
        ];
        for headers in malformed {
            assert_eq!(read(&[&ASKED, headers].concat()), Err(Reason::Handshake), "{headers:?}");
        }
    }

    #[test]
    fn an_upstream_agrees_to_this_upgrade_or_to_none() {
        let answer = |version, headers: &[(&str, &str)]| {
            let response = Response::builder().status(101).version(version);
            headers.iter().fold(response, |response, (name, value)| response.header(*name, *value)).body(()).unwrap()
        };
        let good = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let expected = accept(KEY.1.as_bytes());
        assert!(agrees(&answer(Version::HTTP_11, &[ASKED[0], ASKED[1], good]), &expected));
        assert!(!agrees(&answer(Version::HTTP_10, &[ASKED[0], ASKED[1], good]), &expected));
        let bad: [&[(&str, &str)]; 7] = [
            &[],
            &[ASKED[0], ASKED[1]],
            &[ASKED[0], good],
            &[ASKED[1], good],
            &[ASKED[0], ("upgrade", "h2c"), good],
            &[ASKED[0], ASKED[1], good, good],
            &[ASKED[0], ASKED[1], ("sec-websocket-accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
        ];
        for headers in bad {
            assert!(!agrees(&answer(Version::HTTP_11, headers), &expected), "{headers:?}");
        }
    }
}
