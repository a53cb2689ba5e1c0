//! HTTP/1.1 towards the upstream: one request at a time on a connection.
//! Takes no answer whose end is in doubt, and keeps no connection after one that might be.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

use super::metered::{Allowance, Metered};
use crate::policy::Reason;
use crate::transport::bounds;
use crate::transport::connect::Line;
use crate::transport::proxy::outgoing::Outgoing;

#[derive(Debug)]
pub struct One {
    sender: SendRequest<Outgoing>,
    allowance: Arc<Allowance>,
}

impl One {
    pub async fn new(line: Line) -> Result<Self, Reason> {
        let (line, allowance) = Metered::new(line);
        let handshake = Builder::new().max_buf_size(bounds::RESPONSE_HEAD).handshake(TokioIo::new(line));
        let (sender, connection) = handshake.await.map_err(|_| Reason::BadGateway)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!("an upstream connection ended: {error}");
            }
        });
        Ok(Self { sender, allowance })
    }

    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// `Ok` is an answer of any kind.
    pub async fn send(&mut self, mut request: Request<Outgoing>) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        frame(&mut request);
        // What hyper takes for one head at most, and what it may have read with it.
        self.allowance.set(2 * bounds::RESPONSE_HEAD);
        let answer = self.sender.try_send_request(request).await;
        self.allowance.free();
        answer
    }
}

/// A body whose length is not known goes in chunks, whatever the method: hyper leaves that of a GET out.
fn frame(request: &mut Request<Outgoing>) {
    let unknown = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    if unknown && !request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Whether an answer says once where it ends (RFC 9112 §6.3), in a way that is passed on as it was meant.
pub fn is_sound<B>(response: &Response<B>) -> bool {
    let mut codings = response.headers().get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let chunked = coding.is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    let lengths = response.headers().get_all(CONTENT_LENGTH).iter().count();
    chunked && codings.next().is_none() && lengths <= 1 && (coding.is_none() || lengths == 0) && is_digits(response.headers())
}

fn is_digits(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_LENGTH).is_none_or(|length| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit))
}

/// Whether the connection can serve another request once this answer has ended; hyper knows of `Connection`.
pub fn is_lasting<B>(response: &Response<B>) -> bool {
    response.version() == Version::HTTP_11 && response.status() != StatusCode::SWITCHING_PROTOCOLS
}
