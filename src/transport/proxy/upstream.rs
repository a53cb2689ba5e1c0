//! Connections to the upstream: one stays with its client while there are few, beyond that they are shared within the worker.
//! A request that may have been seen is sent again only if it is safe to repeat and the connection had been idle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::header::{HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

use super::Flow;
use super::outgoing::{Outgoing, within};
use crate::config::settings::{Target, Upstream};
use crate::policy::Reason;
use crate::transport::bounds;
use crate::transport::connect::{Tls, connect};

/// What a worker's proxy connects with.
#[derive(Debug)]
pub struct Pool {
    upstream: Upstream,
    /// The upstream's own name.
    host: HeaderValue,
    tls: Option<Tls>,
    shared: Rc<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    list: RefCell<Vec<SendRequest<Outgoing>>>,
    pinned: Cell<usize>,
}

/// A client connection's hold on an upstream connection.
#[derive(Debug)]
pub struct Lease {
    kept: RefCell<Option<SendRequest<Outgoing>>>,
    pinned: bool,
    shared: Rc<Idle>,
}

impl Pool {
    pub fn new(upstream: Upstream, tls: Option<Tls>) -> Self {
        let authority = match &upstream.target {
            Target::Http(authority) | Target::H2c(authority) | Target::Https(authority) => authority.as_str(),
            Target::Unix(_) | Target::Original => "localhost",
        };
        let host = HeaderValue::from_str(authority).unwrap_or(HeaderValue::from_static("localhost"));
        Self { upstream, host, tls, shared: Rc::default() }
    }

    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub fn lease(&self) -> Lease {
        let pinned = self.shared.pinned.get() < bounds::PINNED;
        self.shared.pinned.set(self.shared.pinned.get() + usize::from(pinned));
        Lease { kept: RefCell::new(None), pinned, shared: Rc::clone(&self.shared) }
    }

    /// Sends and waits for the head of the answer.
    pub async fn send(&self, lease: &Lease, mut request: Request<Flow>) -> Result<Response<Incoming>, Reason> {
        // An HTTP/1.0 client may have named none, and an HTTP/1.1 server wants one (RFC 9112 §3.2).
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
        let request = request.map(Outgoing::new);
        let moved = request.body().moved();
        let answer = within(self.upstream.response_timeout, &moved, self.exchange(lease, request)).await;
        match answer.unwrap_or(Err(Reason::GatewayTimeout))? {
            // Nobody asked for another protocol.
            response if response.status() == StatusCode::SWITCHING_PROTOCOLS => Err(Reason::BadGateway),
            response => Ok(response),
        }
    }

    /// Asks for an upgrade on a connection of its own, which serves nothing else whatever is answered.
    pub async fn upgrade(&self, mut request: Request<Flow>) -> Result<Response<Incoming>, Reason> {
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
        let answer = within(self.upstream.response_timeout, &None, async {
            let mut sender = self.connect().await?;
            sender.send_request(request.map(Outgoing::new)).await.map_err(|error| broken_off(&error))
        });
        answer.await.unwrap_or(Err(Reason::GatewayTimeout))
    }

    async fn exchange(&self, lease: &Lease, mut request: Request<Outgoing>) -> Result<Response<Incoming>, Reason> {
        if let Some(mut sender) = lease.take() {
            let again = repeatable(&request);
            match sender.try_send_request(request).await {
                Ok(response) => {
                    lease.put_back(sender);
                    return Ok(response);
                }
                // Never written, or safe to write twice: the idle connection had gone stale.
                Err(mut failed) => request = failed.take_message().or(again).ok_or_else(|| broken_off(failed.error()))?,
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await.map_err(|error| broken_off(&error))?;
        lease.put_back(sender);
        Ok(response)
    }

    async fn connect(&self) -> Result<SendRequest<Outgoing>, Reason> {
        let (Target::Http(authority) | Target::Https(authority)) = &self.upstream.target else { return Err(Reason::BadGateway) };
        let connect = connect(authority, self.tls.as_ref());
        let stream = match tokio::time::timeout(self.upstream.connect_timeout, connect).await {
            Err(_) => return Err(Reason::GatewayTimeout),
            Ok(Err(error)) => {
                tracing::warn!("cannot connect to the upstream at {authority}: {error}");
                return Err(Reason::BadGateway);
            }
            Ok(Ok(stream)) => stream,
        };
        let (sender, connection) =
            Builder::new().max_buf_size(bounds::RESPONSE_HEAD).handshake(TokioIo::new(stream)).await.map_err(|_| Reason::BadGateway)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!("an upstream connection ended: {error}");
            }
        });
        Ok(sender)
    }
}

impl Lease {
    /// Whether an upstream connection may stay with this client.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    fn take(&self) -> Option<SendRequest<Outgoing>> {
        let kept = self.kept.borrow_mut().take().filter(SendRequest::is_ready);
        kept.or_else(|| {
            let mut list = self.shared.list.borrow_mut();
            list.retain(|sender| !sender.is_closed());
            let ready = list.iter().position(SendRequest::is_ready)?;
            Some(list.swap_remove(ready))
        })
    }

    fn put_back(&self, sender: SendRequest<Outgoing>) {
        if self.pinned {
            *self.kept.borrow_mut() = Some(sender);
        } else {
            self.shared.keep(sender);
        }
    }
}

impl Idle {
    fn keep(&self, sender: SendRequest<Outgoing>) {
        let mut list = self.list.borrow_mut();
        list.retain(|sender| !sender.is_closed());
        if list.len() < bounds::IDLE {
            list.push(sender);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.pinned {
            self.shared.pinned.set(self.shared.pinned.get().saturating_sub(1));
        }
        if let Some(sender) = self.kept.borrow_mut().take().filter(SendRequest::is_ready) {
            self.shared.keep(sender);
        }
    }
}

/// Whose fault it was: a body whose framing breaks is the client's, and what follows it is read by nobody.
fn broken_off(error: &hyper::Error) -> Reason {
    tracing::debug!("an exchange with the upstream broke off: {error}");
    if error.is_user() { Reason::Framing } else { Reason::BadGateway }
}

/// A copy to send again, where that can do no harm (RFC 9110 §9.2.2).
fn repeatable(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    (safe && request.body().is_end_stream()).then(|| {
        let mut copy = Request::new(Outgoing::new(Either::Right(Full::default())));
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        copy
    })
}
