//! What an answer left unread of its request's body, into nothing, so that the connection goes on; where that takes too long, the answer says `close`.
//! A connection that ends without that word loses the request that its client sends next (RFC 9112 §9.3).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::extract::Request as Question;
use axum::middleware::Next;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::timeout;

use super::bounds;

type Home<B> = Arc<Mutex<Option<B>>>;

/// A body in the hands of whoever answers. Dropped before its end, it goes home.
#[derive(Debug)]
pub struct Lent<B = Incoming> {
    body: Option<B>,
    home: Option<Home<B>>,
}

/// For good.
impl<B> From<B> for Lent<B> {
    fn from(body: B) -> Self {
        Self { body: Some(body), home: None }
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(home)) = (self.body.take(), &self.home) {
            *home.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Answers, and sees to what is left. A stream of HTTP/2 ends by itself.
pub async fn answered<B, R>(request: Request<B>, answer: impl AsyncFnOnce(Request<Lent<B>>) -> Response<R>) -> Response<R>
where
    B: Body<Data = Bytes> + Unpin,
{
    if request.version() >= Version::HTTP_2 || request.body().is_end_stream() {
        return answer(request.map(Lent::from)).await;
    }
    // Has sent nothing yet, and is not asked to.
    let is_waiting = request.headers().contains_key(EXPECT);
    let home = Home::default();
    let mut response = answer(request.map(|body| Lent { body: Some(body), home: Some(Arc::clone(&home)) })).await;
    let left = home.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(left) = left
        && !response.headers().contains_key(CONNECTION)
        && (is_waiting || !timeout(bounds::LEFTOVER_TIME, taken(left)).await.unwrap_or_default())
    {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The same where axum answers.
pub async fn layer(request: Question, next: Next) -> Response<axum::body::Body> {
    answered(request, async |request: Request<Lent<axum::body::Body>>| next.run(request.map(axum::body::Body::new)).await).await
}

/// Whether it came to its end, within what is taken at all.
async fn taken(mut body: impl Body<Data = Bytes> + Unpin) -> bool {
    let mut room = bounds::LEFTOVER;
    while !body.is_end_stream() {
        if body.size_hint().lower() > room {
            return false;
        }
        match body.frame().await {
            Some(Ok(frame)) => room = room.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64)),
            Some(Err(_)) => return false,
            None => return true,
        }
        if room == 0 {
            return false;
        }
    }
    true
}
