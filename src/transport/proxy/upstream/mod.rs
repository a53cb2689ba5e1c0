//! Requests to the upstream, each over a connection that is there or a new one, as the upstream's URL says.
//! A request that may have been seen is sent again only if it is safe to repeat and the connection had been idle.

mod lease;
mod metered;
mod one;
mod repeat;
mod tunnel;
mod two;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use http::header::{HOST, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::flow::{Flow, Streamed};
use super::outgoing::{Outgoing, within};
use crate::config::settings::{Target, Upstream};
use crate::policy::Reason;
use crate::transport::connect::{self, H2, HTTP1, Line, Tls};
use lease::Idle;
pub use lease::Lease;
use one::One;
use repeat::Repeat;
use two::{Stream, Two, Twos};

/// What a worker's proxy connects with.
#[derive(Debug)]
pub struct Pool {
    upstream: Upstream,
    /// The upstream's own name.
    host: HeaderValue,
    tls: Option<Tls>,
    idle: Rc<Idle>,
    twos: Twos,
    /// Held while an HTTP/2 connection is made, so that everybody waits for one.
    connecting: tokio::sync::Mutex<()>,
    /// Whether an `https` upstream chose HTTP/1.1 when it was last asked.
    chose_one: Cell<bool>,
}

/// A connection to send on.
enum Way {
    One(One),
    Two(Two, Stream),
}

/// An exchange that came to nothing.
struct Failed {
    reason: Reason,
    /// The request, where it may be sent again.
    again: Option<Request<Outgoing>>,
}

impl From<Reason> for Failed {
    fn from(reason: Reason) -> Self {
        Self { reason, again: None }
    }
}

impl Pool {
    pub fn new(upstream: Upstream, tls: Option<Tls>) -> Self {
        let authority = match &upstream.target {
            Target::Http(authority) | Target::H2c(authority) | Target::Https(authority) => authority.as_str(),
            Target::Unix(_) | Target::Original => "localhost",
        };
        let host = HeaderValue::from_str(authority).unwrap_or(HeaderValue::from_static("localhost"));
        let (idle, twos, connecting, chose_one) = (Rc::default(), Twos::default(), tokio::sync::Mutex::default(), Cell::default());
        Self { upstream, host, tls, idle, twos, connecting, chose_one }
    }

    /// What it connects to, and how long that may take.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Whether each client's connection has an upstream of its own.
    pub fn is_original(&self) -> bool {
        self.upstream.target == Target::Original
    }

    /// For a client's connection: where it was going, and whether it speaks HTTP/2.
    pub fn lease(&self, destination: Option<SocketAddr>, multiplexed: bool) -> Lease {
        // Connections to a fixed upstream are all alike.
        let destination = destination.filter(|_| self.is_original());
        Lease::new(&self.idle, destination, multiplexed)
    }

    /// Sends and waits for the head of the answer.
    pub async fn send(&self, lease: &Lease, mut request: Request<Flow>) -> Result<Response<Streamed>, Reason> {
        // An HTTP/1.0 client may have named none, and an HTTP/1.1 server wants one (RFC 9112 §3.2).
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
        let request = request.map(Outgoing::new);
        let progress = request.body().progress();
        let answer = within(self.upstream.response_timeout, &progress, self.exchange(lease, request)).await;
        match answer.unwrap_or(Err(Reason::GatewayTimeout)) {
            // What follows a body whose framing broke is read by nobody.
            Err(_) if progress.is_broken() => Err(Reason::Framing),
            answer => answer,
        }
    }

    async fn exchange(&self, lease: &Lease, request: Request<Outgoing>) -> Result<Response<Streamed>, Reason> {
        let first = match self.kept(lease) {
            Some(way) => self.over(lease, way, request, false).await,
            None => self.over(lease, self.connect(lease).await?, request, true).await,
        };
        match first {
            Ok(response) => Ok(response),
            Err(Failed { again: Some(request), .. }) => {
                let way = self.connect(lease).await?;
                self.over(lease, way, request, true).await.map_err(|failed| failed.reason)
            }
            Err(failed) => Err(failed.reason),
        }
    }

    /// A connection that is there already.
    fn kept(&self, lease: &Lease) -> Option<Way> {
        let two = || self.twos.take(lease.destination).map(|(two, stream)| Way::Two(two, stream));
        let one = || lease.take().map(Way::One);
        match self.upstream.target {
            Target::Http(_) | Target::Unix(_) => one(),
            Target::H2c(_) => two(),
            Target::Https(_) => two().or_else(one),
            Target::Original if lease.multiplexed => two(),
            Target::Original => one(),
        }
    }

    async fn over(&self, lease: &Lease, way: Way, request: Request<Outgoing>, fresh: bool) -> Result<Response<Streamed>, Failed> {
        match way {
            Way::One(one) => over_one(lease, one, request, fresh).await,
            Way::Two(two, stream) => over_two(two, stream, request, fresh).await,
        }
    }

    async fn connect(&self, lease: &Lease) -> Result<Way, Reason> {
        let way = async {
            let multiplexed = match self.upstream.target {
                Target::Http(_) | Target::Unix(_) => false,
                Target::H2c(_) => true,
                Target::Https(_) => !self.chose_one.get(),
                Target::Original => lease.multiplexed,
            };
            if !multiplexed {
                return self.make(lease).await;
            }
            let turn = if lease.destination.is_some() { &lease.connecting } else { &self.connecting };
            let _turn = turn.lock().await;
            match self.twos.take(lease.destination) {
                Some((two, stream)) => Ok(Way::Two(two, stream)),
                None => self.make(lease).await,
            }
        };
        timeout(self.upstream.connect_timeout, way).await.unwrap_or(Err(Reason::GatewayTimeout))
    }

    async fn make(&self, lease: &Lease) -> Result<Way, Reason> {
        let line = self.line(lease, &[H2, HTTP1]).await?;
        let two = match self.upstream.target {
            Target::Http(_) | Target::Unix(_) => false,
            Target::H2c(_) => true,
            Target::Https(_) => line.is_h2(),
            Target::Original => lease.multiplexed,
        };
        self.chose_one.set(!two);
        if !two {
            return One::new(line).await.map(Way::One);
        }
        let two = Two::new(line, lease.destination).await?;
        if two.settled().await.is_none() {
            tracing::warn!("the upstream{} does not speak HTTP/2", Named(&self.upstream.target, lease.destination));
            return Err(Reason::BadGateway);
        }
        let stream = two.open();
        self.twos.keep(two.clone());
        Ok(Way::Two(two, stream))
    }

    /// A new connection, ready for the first byte of HTTP.
    async fn line(&self, lease: &Lease, protocols: &[&[u8]]) -> Result<Line, Reason> {
        let limit = self.upstream.connect_timeout;
        let made = match &self.upstream.target {
            Target::Http(authority) | Target::H2c(authority) => connect::tcp(authority, limit).await.map(Line::Plain),
            Target::Https(authority) => match (connect::tcp(authority, limit).await, &self.tls) {
                (Ok(stream), Some(tls)) => tls.secure(stream, protocols).await,
                (Ok(_), None) => Err(std::io::Error::other("no certificate could name it")),
                (Err(error), _) => Err(error),
            },
            Target::Unix(path) => connect::unix(path).await,
            Target::Original => match lease.destination {
                Some(destination) => connect::original(destination, self.upstream.mark).await.map(Line::Plain),
                None => Err(std::io::Error::other("the client's connection was not redirected: there is no destination")),
            },
        };
        made.map_err(|error| {
            tracing::warn!("cannot connect to the upstream{}: {error}", Named(&self.upstream.target, lease.destination));
            if error.kind() == std::io::ErrorKind::TimedOut { Reason::GatewayTimeout } else { Reason::BadGateway }
        })
    }
}

struct Named<'t>(&'t Target, Option<SocketAddr>);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0, self.1) {
            (Target::Http(authority) | Target::H2c(authority) | Target::Https(authority), _) => write!(out, " at {authority}"),
            (Target::Unix(path), _) => write!(out, " at unix:{}", path.display()),
            (Target::Original, Some(destination)) => write!(out, " at {destination}"),
            (Target::Original, None) => Ok(()),
        }
    }
}

async fn over_one(lease: &Lease, mut one: One, request: Request<Outgoing>, fresh: bool) -> Result<Response<Streamed>, Failed> {
    let copy = if fresh { None } else { repeat::copy(&request) };
    let progress = request.body().progress();
    match one.send(request).await {
        Ok(response) => {
            let response = sound(response)?;
            // An answer that does not wait for the request leaves a connection that may still carry a part of it.
            if progress.is_whole() && one::is_lasting(&response) {
                lease.put_back(one);
            }
            Ok(streamed(response, None))
        }
        // Never written, or safe to write twice: the idle connection had gone stale.
        Err(mut failed) => {
            let copy = failed.take_message().or_else(|| copy.filter(|_| repeat::is_stale(failed.error())));
            Err(Failed { again: copy, reason: broken_off(failed.error()) })
        }
    }
}

async fn over_two(mut two: Two, stream: Stream, request: Request<Outgoing>, fresh: bool) -> Result<Response<Streamed>, Failed> {
    let (mut request, repeat) = Repeat::of(request);
    two.head(&mut request)?;
    match two.send(request).await {
        Ok(response) => Ok(streamed(response, Some(stream))),
        Err(mut failed) => {
            let unsent = failed.take_message().is_some();
            let error = failed.error();
            if !two::is_of_a_stream(error) {
                two.retire();
            }
            let again = if unsent || two::is_unprocessed(error) {
                repeat.again()
            } else if !fresh && repeat::is_stale(error) {
                repeat.harmless()
            } else {
                None
            };
            Err(Failed { again, reason: broken_off(error) })
        }
    }
}

/// An answer that nobody could take for another.
fn sound(response: Response<Incoming>) -> Result<Response<Incoming>, Reason> {
    // Nobody asked for another protocol.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Reason::BadGateway);
    }
    if !one::is_sound(&response) {
        tracing::warn!("the upstream's answer says in more than one way where it ends");
        return Err(Reason::BadGateway);
    }
    Ok(response)
}

fn streamed(response: Response<Incoming>, stream: Option<Stream>) -> Response<Streamed> {
    let (parts, body) = response.into_parts();
    let body = Streamed::new(body, parts.version, &parts.headers).answer();
    let body = match stream {
        Some(stream) => body.holding(Rc::new(stream)),
        None => body,
    };
    Response::from_parts(parts, body)
}

fn broken_off(error: &hyper::Error) -> Reason {
    tracing::debug!("an exchange with the upstream broke off: {error}");
    Reason::BadGateway
}
