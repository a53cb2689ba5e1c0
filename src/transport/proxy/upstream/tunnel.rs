//! A WebSocket upgrade to the upstream, over HTTP/1.1 or as an extended CONNECT (RFC 8441).
//! Serves nothing else on the connection, whatever is answered.

use http::header::{CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;
use tokio::time::timeout;

use super::{Flow, HTTP1, Lease, One, Outgoing, Pool, Reason, Streamed, Target, Two, broken_off, streamed, within};
use crate::transport::proxy::outgoing::Progress;
use crate::transport::proxy::tunnel::accept;

impl Pool {
    /// Asks for an upgrade. `request` is one of HTTP/1.1 with its key, and so is the answer: an HTTP/2 upstream's 200 comes as the 101
    /// with the accept that goes with the key, and `hyper::upgrade::on` gives the stream in either case. Any other answer is an answer.
    pub async fn upgrade(&self, lease: &Lease, mut request: Request<Flow>) -> Result<Response<Streamed>, Reason> {
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
        let request = request.map(Outgoing::new);
        let two = match self.upstream.target {
            Target::Http(_) | Target::Unix(_) | Target::Https(_) => false,
            Target::H2c(_) => true,
            Target::Original => lease.multiplexed,
        };
        let progress = Progress::default();
        let answer = within(self.upstream.response_timeout, &progress, async {
            if two { self.connected(lease, request).await } else { self.upgraded(lease, request).await }
        });
        answer.await.unwrap_or(Err(Reason::GatewayTimeout))
    }

    async fn upgraded(&self, lease: &Lease, request: Request<Outgoing>) -> Result<Response<Streamed>, Reason> {
        let limit = self.upstream.connect_timeout;
        // HTTP/2 is not offered: an upgrade is one of HTTP/1.1 (RFC 9113 §8.6).
        let line = timeout(limit, self.line(lease, &[HTTP1])).await.unwrap_or(Err(Reason::GatewayTimeout))?;
        let mut one = One::new(line).await?;
        let response = one.send(request).await.map_err(|failed| broken_off(failed.error()))?;
        Ok(streamed(response, None))
    }

    async fn connected(&self, lease: &Lease, mut request: Request<Outgoing>) -> Result<Response<Streamed>, Reason> {
        let limit = self.upstream.connect_timeout;
        let made = async {
            let two = Two::new(self.line(lease, &[]).await?, lease.destination).await?;
            let extended = two.settled().await.unwrap_or_default();
            Ok::<_, Reason>((two, extended))
        };
        let (mut two, extended) = timeout(limit, made).await.unwrap_or(Err(Reason::GatewayTimeout))?;
        if !extended {
            tracing::warn!("a WebSocket was asked for, and the upstream speaks HTTP/2 without the extended CONNECT of RFC 8441");
            return Err(Reason::BadGateway);
        }
        let headers = request.headers_mut();
        let key = headers.remove(SEC_WEBSOCKET_KEY).ok_or(Reason::Handshake)?;
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
        two.head(&mut request)?;
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        let mut response = two.send(request).await.map_err(|failed| broken_off(failed.error()))?;
        if response.status() != StatusCode::OK {
            return Ok(streamed(response, None));
        }
        let accept = HeaderValue::from_str(&accept(key.as_bytes())).map_err(|_| Reason::Handshake)?;
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.version_mut() = Version::HTTP_11;
        let headers = response.headers_mut();
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        Ok(streamed(response, None))
    }
}
