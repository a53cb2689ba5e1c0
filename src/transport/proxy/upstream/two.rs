//! HTTP/2 towards the upstream: many requests at a time on few connections.
//! Gives no request to a connection that has begun to end, and no connection more streams than it has room for.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{HOST, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;

use super::metered::{Allowance, Metered};
use crate::policy::Reason;
use crate::transport::bounds;
use crate::transport::connect::Line;
use crate::transport::headers::Trailers;
use crate::transport::proxy::outgoing::Outgoing;

/// No limit that a peer could name, and not the one that stands for none: what is said before it has said any.
const UNSAID: usize = usize::MAX - 1;

/// The connections of a worker.
#[derive(Debug, Default)]
pub struct Twos(RefCell<Vec<Two>>);

/// One connection.
#[derive(Clone, Debug)]
pub struct Two {
    sender: SendRequest<Outgoing>,
    state: Rc<State>,
    destination: Option<SocketAddr>,
    scheme: Scheme,
}

#[derive(Debug)]
struct State {
    streams: Cell<usize>,
    limit: Cell<usize>,
    /// Nothing more is sent on it.
    ended: Cell<bool>,
    /// Whether the peer takes an extended CONNECT (RFC 8441 §3); `None` before its first settings.
    extended: Cell<Option<bool>>,
    settled: Notify,
    allowance: Arc<Allowance>,
}

/// A place among the streams of a connection, until it is dropped.
#[derive(Debug)]
pub struct Stream(Rc<State>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
    }
}

impl Twos {
    /// A connection with room for one more stream, or the one with the fewest where no other may be made.
    pub fn take(&self, destination: Option<SocketAddr>) -> Option<(Two, Stream)> {
        let mut list = self.0.borrow_mut();
        list.retain(Two::is_open);
        let fitting: Vec<&Two> = list.iter().filter(|two| two.destination == destination).collect();
        let roomy = fitting.iter().find(|two| two.has_room());
        let two = match roomy {
            None if fitting.len() >= bounds::UPSTREAM_CONNECTIONS => fitting.iter().min_by_key(|two| two.state.streams.get()),
            roomy => roomy,
        };
        two.map(|two| (Two::clone(two), two.open()))
    }

    pub fn keep(&self, two: Two) {
        let mut list = self.0.borrow_mut();
        if list.len() >= bounds::IDLE {
            // Of some other destination, most likely; in use, it goes on without the list.
            list.remove(0);
        }
        list.push(two);
    }
}

impl Two {
    pub async fn new(line: Line, destination: Option<SocketAddr>) -> Result<Self, Reason> {
        let scheme = if matches!(line, Line::Tls(_)) { Scheme::HTTPS } else { Scheme::HTTP };
        let (line, allowance) = Metered::new(line);
        let handshake = Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_max_send_streams(UNSAID)
            .initial_stream_window_size(bounds::STREAM_WINDOW)
            .initial_connection_window_size(bounds::CONNECTION_WINDOW)
            .max_send_buf_size(bounds::STREAM_WINDOW as usize)
            .max_header_list_size(bounds::RESPONSE_LIST)
            .keep_alive_interval(bounds::PING)
            .keep_alive_timeout(bounds::KEEPALIVE)
            .handshake(TokioIo::new(line));
        let (sender, connection) = handshake.await.map_err(|_| Reason::BadGateway)?;
        let (limit, extended) = (Cell::new(bounds::UPSTREAM_STREAMS), Cell::new(None));
        let state = State { streams: Cell::new(0), limit, ended: Cell::new(false), extended, settled: Notify::new(), allowance };
        let state = Rc::new(state);
        let watched = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = poll_fn(|context| {
                let polled = connection.as_mut().poll(context);
                match connection.current_max_send_streams() {
                    // Its settings are the first that it sends (RFC 9113 §3.4).
                    UNSAID => watched.allowance.watch(context),
                    said => {
                        watched.limit.set(said.min(bounds::UPSTREAM_STREAMS));
                        watched.extended.set(Some(connection.is_extended_connect_protocol_enabled()));
                        watched.settled.notify_waiters();
                    }
                }
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!("an upstream connection ended: {error}");
            }
            watched.ended.set(true);
            watched.settled.notify_waiters();
        });
        Ok(Self { sender, state, destination, scheme })
    }

    fn is_open(&self) -> bool {
        !self.state.ended.get() && !self.sender.is_closed()
    }

    fn has_room(&self) -> bool {
        self.state.streams.get() < self.state.limit.get()
    }

    pub fn open(&self) -> Stream {
        self.state.streams.set(self.state.streams.get() + 1);
        Stream(Rc::clone(&self.state))
    }

    /// Nothing new is sent on it from now on.
    pub fn retire(&self) {
        self.state.ended.set(true);
    }

    pub async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        self.sender.try_send_request(request).await
    }

    /// Waits for the peer's first settings: how many streams it takes, and whether an extended CONNECT (RFC 8441 §3). `None` where it sends none.
    pub async fn settled(&self) -> Option<bool> {
        loop {
            let settled = self.state.settled.notified();
            match self.state.extended.get() {
                Some(extended) => return Some(extended),
                None if !self.is_open() => return None,
                None => settled.await,
            }
        }
    }

    /// Makes a request of HTTP/1.1 one of HTTP/2 (RFC 9113 §8.3.1).
    pub fn head<B>(&self, request: &mut Request<B>) -> Result<(), Reason> {
        let host = request.headers_mut().remove(HOST).ok_or(Reason::BadGateway)?;
        let authority = Authority::try_from(host.as_bytes()).map_err(|_| Reason::AmbiguousHost)?;
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(authority).path_and_query(path).build();
        *request.uri_mut() = uri.map_err(|_| Reason::AmbiguousPath)?;
        *request.version_mut() = Version::HTTP_2;
        if request.extensions_mut().remove::<Trailers>().is_some() {
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        Ok(())
    }
}

/// Runs each stream on the worker that the connection belongs to.
#[derive(Clone, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

/// Whether the upstream says that it has done nothing with a request (RFC 9113 §8.7).
pub fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        // Streams that a GOAWAY leaves out are ended by it, those that it counts in are not.
        cause.is_remote() && (refused || cause.is_go_away())
    })
}

/// Whether the fault is of one stream, and others go on.
pub fn is_of_a_stream(error: &hyper::Error) -> bool {
    std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>()).is_some_and(h2::Error::is_reset)
}
