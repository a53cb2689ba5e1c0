//! The end of a process into the end of its connections: none that has just come is closed before it could ask.
//! Waits for no client longer than a moment.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::service::Service;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What a client gets to ask in that connected just before the drain.
const MOMENT: Duration = Duration::from_secs(1);

/// Whether something has been asked on a connection.
pub type Asked = Rc<Cell<bool>>;

/// A service that notes that it was asked.
#[derive(Debug)]
pub struct Noting<S> {
    service: S,
    asked: Asked,
}

impl<S> Noting<S> {
    pub fn new(service: S) -> (Self, Asked) {
        let asked = Asked::default();
        (Self { service, asked: Rc::clone(&asked) }, asked)
    }
}

impl<S: Service<R>, R> Service<R> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: R) -> Self::Future {
        self.asked.set(true);
        self.service.call(request)
    }
}

/// Drives a connection until it ends, which it gives, or until the drain may end it.
pub async fn until_drain<C: Future + Unpin>(connection: &mut C, drain: &CancellationToken, asked: &Asked) -> Option<C::Output> {
    tokio::select! {
        ended = &mut *connection => return Some(ended),
        () = drain.cancelled() => {}
    }
    let first = std::future::poll_fn(|context| match Pin::new(&mut *connection).poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if asked.get() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    timeout(MOMENT, first).await.unwrap_or_default()
}

/// Waits until the drain may end a connection.
pub async fn may_end(drain: &CancellationToken, asked: &Asked) {
    drain.cancelled().await;
    if !asked.get() {
        sleep(MOMENT).await;
    }
}

/// Waits until it is too late to begin anything; a client that has asked for nothing yet gets its moment.
pub async fn too_late(drain: &CancellationToken, fresh: bool) {
    drain.cancelled().await;
    if fresh {
        sleep(MOMENT).await;
    }
}
