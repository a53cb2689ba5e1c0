//! The end of a process into the end of its connections: none that has just come is closed before it could ask.
//! Waits for no client longer than a moment.

use std::cell::Cell;
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
        biased;
        ended = connection => Some(ended),
        () = due(drain, asked) => None,
    }
}

/// Waits until the drain may end a connection. To be polled after the connection, by the same task: it is asked for nothing otherwise.
pub async fn due(drain: &CancellationToken, asked: &Asked) {
    drain.cancelled().await;
    let first = std::future::poll_fn(|_| if asked.get() { Poll::Ready(()) } else { Poll::Pending });
    let _ = timeout(MOMENT, first).await;
}

/// Waits until it is too late to begin anything; a client that has asked for nothing yet gets its moment.
pub async fn too_late(drain: &CancellationToken, fresh: bool) {
    drain.cancelled().await;
    if fresh {
        sleep(MOMENT).await;
    }
}
