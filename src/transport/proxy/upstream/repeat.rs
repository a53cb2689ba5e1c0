//! What it takes to send a request a second time.
//! Never repeats what an upstream may have acted on, unless the method says that twice is as good as once.

use http::{Method, Request};
use hyper::body::Body as _;

use crate::transport::proxy::outgoing::Outgoing;

/// A request that is on its way, to be sent again should the upstream have done nothing with it.
#[derive(Debug)]
pub struct Repeat {
    head: Request<()>,
    body: Option<Outgoing>,
    harmless: bool,
}

impl Repeat {
    pub fn of(request: Request<Outgoing>) -> (Request<Outgoing>, Self) {
        let harmless = is_harmless(&request);
        let head = head(&request);
        let request = request.map(Outgoing::taped);
        let body = request.body().again();
        (request, Self { head, body, harmless })
    }

    /// The upstream has done nothing with it.
    pub fn again(self) -> Option<Request<Outgoing>> {
        let body = self.body.filter(Outgoing::is_kept)?;
        Some(self.head.map(|()| body))
    }

    /// It may have.
    pub fn harmless(self) -> Option<Request<Outgoing>> {
        if self.harmless { self.again() } else { None }
    }
}

/// A copy to send again, where that can do no harm.
pub fn copy(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    is_harmless(request).then(|| head(request).map(|()| Outgoing::empty()))
}

/// Idempotent methods (RFC 9110 §9.2.2), without a body that could have been half read.
fn is_harmless(request: &Request<Outgoing>) -> bool {
    let idempotent = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE);
    idempotent && request.body().is_end_stream()
}

fn head(request: &Request<Outgoing>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// Whether the connection ended, rather than said something that is no answer.
pub fn is_stale(error: &hyper::Error) -> bool {
    !error.is_parse() && !error.is_user() && !error.is_timeout()
}
