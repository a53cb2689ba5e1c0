//! A request body on its way to the upstream, and when it last moved: an upload may take its time, an answer may not.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::Flow;

/// When a body last moved; `None` for a request that has none to send.
pub type Moved = Option<Rc<Cell<Instant>>>;

#[derive(Debug)]
pub struct Outgoing {
    flow: Flow,
    moved: Moved,
}

impl Outgoing {
    pub fn new(flow: Flow) -> Self {
        let moved = (!flow.is_end_stream()).then(|| Rc::new(Cell::new(Instant::now())));
        Self { flow, moved }
    }

    pub fn moved(&self) -> Moved {
        self.moved.clone()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = <Flow as Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.flow).poll_frame(context));
        if let Some(moved) = &self.moved {
            moved.set(Instant::now());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.flow.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.flow.size_hint()
    }
}

/// The answer, or `None` once nothing has moved for `limit`: neither the body out nor the head in.
pub async fn within<T>(limit: Duration, moved: &Moved, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut deadline = Instant::now() + limit;
    loop {
        if let Ok(answer) = tokio::time::timeout_at(deadline.into(), answer.as_mut()).await {
            return Some(answer);
        }
        let later = moved.as_ref()?.get() + limit;
        if later <= deadline {
            return None;
        }
        deadline = later;
    }
}
