//! An answer's body on its way to the client, and whether the client takes it.
//! Changes nothing of it; a stream that stands still is ended by whoever runs it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::ending::Reply;
use crate::transport::pulse::Open;

tokio::task_local! {
    /// Of the HTTP/2 stream that is served.
    pub static TAKING: Rc<Taking>;
}

/// Since when a piece of an answer waits for room in the client's window.
#[derive(Debug, Default)]
pub struct Taking(Cell<Option<Instant>>);

/// An answer's body; over HTTP/1.1 its request is open for as long as there is one.
#[derive(Debug)]
pub struct Given {
    flow: Reply,
    taking: Option<Rc<Taking>>,
    _open: Option<Open>,
}

impl Given {
    pub fn new(flow: Reply, open: Option<Open>) -> Self {
        Self { flow, taking: TAKING.try_with(Rc::clone).ok(), _open: open }
    }
}

impl Body for Given {
    type Data = Bytes;
    type Error = <Reply as Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // Whoever asks for more has sent what it had.
        let tell = |taking: &Option<Rc<Taking>>, since| taking.as_ref().map(|taking| taking.0.set(since));
        tell(&self.taking, None);
        let frame = ready!(Pin::new(&mut self.flow).poll_frame(context));
        if frame.is_some() {
            tell(&self.taking, Some(Instant::now()));
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

/// Runs a stream to its end. `false` where the client kept its window closed for `limit`; the stream is reset then.
pub async fn run(stream: impl Future<Output = ()>, limit: Duration) -> bool {
    let taking = Rc::<Taking>::default();
    let stream = TAKING.scope(Rc::clone(&taking), stream);
    let mut stream = std::pin::pin!(stream);
    let mut timer = std::pin::pin!(None);
    std::future::poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        let Some(since) = taking.0.get() else { return Poll::Pending };
        // Made anew for each piece that waits, and most never do.
        let due = since + limit;
        if timer.as_ref().as_pin_ref().is_none_or(|timer: Pin<&tokio::time::Sleep>| timer.deadline() != due) {
            timer.set(Some(sleep_until(due)));
        }
        timer.as_mut().as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(context)).map(|()| false)
    })
    .await
}
