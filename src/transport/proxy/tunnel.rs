//! A WebSocket upgrade that was allowed into a tunnel of bytes (RFC 6455 §4), once the upstream has agreed to it.
//! Sends nothing of what follows the upgrade before that; over HTTP/2 it is one stream (RFC 8441), to the upstream the same.

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
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::carry::carry;
use super::flow::Flow;
use super::standing::Standing;
use super::{Connection, Proxy, forward};
use crate::gate::Door;
use crate::policy::Reason;
use crate::request::{Headers, Values};
use crate::telemetry::Ended;
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

/// The upstream's side of a tunnel, and what the client's stands on.
#[derive(Debug)]
pub struct Agreed {
    upstream: OnUpgrade,
    standing: Standing,
}

/// As [`is_asked`], with the rest of the handshake (RFC 6455 §4.2.1). `Err` where it is a malformed one.
/// Over HTTP/2 it is a CONNECT (RFC 8441 §4), of which this makes the GET that it stands for.
pub fn websocket(parts: &mut Parts) -> Result<bool, Reason> {
    if let (Version::HTTP_2, Some(protocol)) = (parts.version, parts.extensions.remove::<Protocol>()) {
        return extended(parts, &protocol).map(|()| true);
    }
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

/// A handshake over HTTP/2 whose key is the gate's own; its client knows nothing of an answer to one.
#[derive(Clone, Copy, Debug)]
struct OwnKey;

/// RFC 8441 §5: without a key, which the upstream gets from the gate. A proxy that carries a client's HTTP/1.1 (Envoy) sends that client's.
fn extended(parts: &mut Parts, protocol: &Protocol) -> Result<(), Reason> {
    let value = |name: HeaderName| Headers::get(&parts.headers, name.as_str());
    let bodiless = matches!(value(CONTENT_LENGTH), Values::None | Values::One(b"0"));
    let current = value(SEC_WEBSOCKET_VERSION) == Values::One(b"13");
    if parts.method != Method::CONNECT || protocol.as_str() != "websocket" || !current || !bodiless {
        return Err(Reason::Handshake);
    }
    parts.method = Method::GET;
    if matches!(value(SEC_WEBSOCKET_KEY), Values::One(key) if is_key(key)) {
        return Ok(());
    }
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|_| Reason::NotReady)?;
    let key = HeaderValue::from_str(&STANDARD.encode(key)).map_err(|_| Reason::Handshake)?;
    parts.headers.insert(SEC_WEBSOCKET_KEY, key);
    parts.extensions.insert(OwnKey);
    Ok(())
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
    /// Asks the upstream for the upgrade. Its 101 leaves its side of the tunnel behind for [`Self::tunnel`], or, to a client that has
    /// more than this stream, begins it; any other answer is an answer.
    pub(super) async fn upgrade(&self, mut parts: Parts, standing: Standing) -> Result<Response<Flow>, Reason> {
        // A client can have named the key in `Connection`.
        let accept = parts.headers.get(SEC_WEBSOCKET_KEY).map(|key| accept(key.as_bytes())).ok_or(Reason::Handshake)?;
        insist(&mut parts.headers);
        let stream = parts.extensions.remove::<OnUpgrade>().filter(|_| self.is_shared);
        let own_key = parts.extensions.remove::<OwnKey>().is_some();
        let request = Request::from_parts(parts, Either::Right(Full::default()));
        let mut response = self.proxy.pool.upgrade(&self.lease, request).await?;
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded && !agrees(&response, &accept) {
            tracing::warn!("the upstream answered a WebSocket upgrade with a 101 that does not go with it");
            return Err(Reason::BadGateway);
        }
        forward::clean_response(response.headers_mut());
        if !upgraded {
            // RFC 8441 §5: to such a client a 200 would be the tunnel itself.
            let mistaken = stream.is_some() && response.status().is_success();
            return if mistaken { Err(Reason::BadGateway) } else { Ok(response.map(|body| Either::Left(body.into()))) };
        }
        let agreed = Agreed { upstream: hyper::upgrade::on(&mut response), standing };
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        match stream {
            None => {
                insist(headers);
                *self.agreed.borrow_mut() = Some(agreed);
            }
            Some(stream) => {
                if own_key {
                    headers.remove(SEC_WEBSOCKET_ACCEPT);
                }
                *response.status_mut() = StatusCode::OK;
                tokio::task::spawn_local(Rc::clone(&self.proxy).stream(stream, agreed));
            }
        }
        Ok(response.map(|_| Either::Right(Full::default())))
    }

    /// Runs the tunnel, if the connection has become one; `client` is what HTTP has left of it.
    pub async fn tunnel(self: Rc<Self>, client: Checked<Stream>) {
        let agreed = self.agreed.take();
        let Some(agreed) = agreed else { return close(client).await };
        let proxy = Rc::clone(&self.proxy);
        // The upstream connection of earlier requests is of use to others now.
        drop(self);
        match client.open() {
            Some(client) => proxy.run(client, agreed).await,
            None => tracing::error!("a tunnel was agreed on behind the back of the framing check; closed"),
        }
    }
}

impl Proxy {
    /// A tunnel on one stream of a connection; the drain waits for it as it does for every stream.
    async fn stream(self: Rc<Self>, stream: OnUpgrade, agreed: Agreed) {
        match stream.await {
            Ok(client) => self.run(TokioIo::new(client), agreed).await,
            Err(error) => tracing::debug!("the client's side of a tunnel was lost: {error}"),
        }
    }

    async fn run(&self, client: impl AsyncRead + AsyncWrite + Unpin, agreed: Agreed) {
        let Agreed { upstream, standing } = agreed;
        let upstream = match upstream.await {
            Ok(upstream) => TokioIo::new(upstream),
            Err(error) => return tracing::debug!("the upstream's side of a tunnel was lost: {error}"),
        };
        let (gate, id) = (&self.gate, standing.id);
        let lost = async {
            tokio::select! {
                why = standing.lost(std::sync::Arc::clone(gate)) => why,
                () = self.parting.cancelled() => Ended::Shutdown,
            }
        };
        let tell = |why| {
            gate.telemetry.ended(Door::Proxy, id, why);
            if why == Ended::Idle {
                gate.telemetry.metrics.refused("tunnel_idle");
            }
        };
        carry((client, upstream), lost, self.bounds.tunnel_idle, tell).await;
    }
}

/// After an upgrade that came to nothing: what follows it is read by nobody.
async fn close(mut client: Checked<Stream>) {
    if client.is_held() {
        let _ = client.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");
    const ASKED: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "websocket")];

    fn read(headers: &[(&str, &str)]) -> Result<bool, Reason> {
        let request = headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        websocket(&mut request.body(()).unwrap().into_parts().0)
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
