//! A body on its way through the gate into the same body, ended only where its sender ended it.
//! Never takes a stream that was reset for one that is complete.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};

use super::forward::clean_response;
use super::pace::Paced;
use crate::transport::leftover::Lent;

/// A body on its way: streamed from the other side, or held because it was inspected or is our own.
pub type Flow = Either<Paced, Full<Bytes>>;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A body as it comes in.
pub struct Streamed {
    inner: Lent,
    /// What says that it is over, beside its end: nothing may be left of it but the reset that follows an answer (RFC 9113 §8.1).
    over: bool,
    /// Whether it comes over HTTP/2.
    framed: bool,
    /// Whether it comes from the upstream.
    answer: bool,
    /// Given back when the body is done with.
    _held: Option<Rc<dyn Any>>,
}

impl fmt::Debug for Streamed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Streamed").field(&self.inner).finish()
    }
}

impl Streamed {
    /// Of a message that came with this version and these headers.
    pub fn new(inner: impl Into<Lent>, version: Version, headers: &HeaderMap) -> Self {
        // An answer of trailers only has none of what would follow.
        Self { inner: inner.into(), over: headers.contains_key("grpc-status"), framed: version == Version::HTTP_2, answer: false, _held: None }
    }

    /// Of an answer: its trailers say nothing that its head could not (RFC 9110 §6.5.1).
    pub fn answer(self) -> Self {
        Self { answer: true, ..self }
    }

    pub fn holding(self, held: Rc<dyn Any>) -> Self {
        Self { _held: Some(held), ..self }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(mut frame)) => {
                self.over |= frame.is_trailers();
                if let (Some(trailers), true) = (frame.trailers_mut(), self.answer) {
                    clean_response(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            // hyper ends a body without a fault at RST_STREAM(NO_ERROR), which says that no more of the request is wanted, and no more.
            None if self.framed && !self.over && !self.inner.is_end_stream() && self.inner.size_hint().exact() != Some(0) => {
                self.over = true;
                Poll::Ready(Some(Err("the stream was reset before its end".into())))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
