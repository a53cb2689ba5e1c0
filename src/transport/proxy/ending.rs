//! An answer that lasts (server-sent events, gRPC) into one that ends when what let it through counts no more.
//! Leaves every other answer as it is.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};

use super::flow::Flow;
use super::pace::Keeping;
use super::standing::{Lost, Standing};
use crate::gate::{Door, Gate};
use crate::telemetry::{DecisionId, Ended};

/// What a client gets: a body, or one that the gate can end.
pub type Reply = Either<Flow, Box<Ending>>;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What an answer stands on, and the request's body.
pub type Lasting = (Standing, Rc<Keeping>);

/// How a stream ends that the gate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As if the upstream had ended it: an `EventSource` comes again, and is refused.
    Plain,
    /// With the status of the denial in its trailers.
    Grpc,
}

pub struct Ending {
    flow: Flow,
    kind: Kind,
    id: DecisionId,
    gate: Arc<Gate>,
    /// The request's body, which may still be under way.
    keeping: Rc<Keeping>,
    lost: Lost,
    over: bool,
}

/// Watches over the answer, if it is one that lasts.
pub fn watched(response: Response<Flow>, (standing, keeping): Lasting, gate: &Arc<Gate>) -> Response<Reply> {
    let said = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let Some(kind) = said.and_then(kind).filter(|_| !response.body().is_end_stream()) else { return response.map(Either::Left) };
    let id = standing.id;
    response.map(|flow| {
        let lost = Box::pin(standing.lost(Arc::clone(gate)));
        Either::Right(Box::new(Ending { flow, kind, id, gate: Arc::clone(gate), keeping, lost, over: false }))
    })
}

/// Whether an answer of this `Content-Type` is one that lasts.
pub fn lasts(content_type: &[u8]) -> bool {
    kind(content_type).is_some()
}

fn kind(content_type: &[u8]) -> Option<Kind> {
    let said = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    match &*said {
        b"text/event-stream" => Some(Kind::Plain),
        said if said == b"application/grpc" || said.starts_with(b"application/grpc+") => Some(Kind::Grpc),
        // gRPC-web has its trailers in its body.
        said if said.starts_with(b"application/grpc-web") => Some(Kind::Plain),
        _ => None,
    }
}

/// As the denial of a request would be told.
fn trailers(why: Ended) -> HeaderMap {
    let (status, message) = match why {
        Ended::Expired => ("16", "credential expired"),
        Ended::Revoked => ("16", "credential revoked"),
        Ended::Scope => ("7", "insufficient scope"),
        Ended::Shutdown | Ended::Idle | Ended::Upstream | Ended::Protocol => ("14", "going away"),
    };
    HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static(status)), (GRPC_MESSAGE, HeaderValue::from_static(message))])
}

impl Body for Ending {
    type Data = Bytes;
    type Error = <Flow as Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(why) = self.lost.as_mut().poll(context) {
            self.over = true;
            // The upstream's side of it is reset.
            self.flow = Either::Right(Full::default());
            self.keeping.cut();
            self.gate.telemetry.ended(Door::Proxy, self.id, why);
            return Poll::Ready((self.kind == Kind::Grpc).then(|| Ok(Frame::trailers(trailers(why)))));
        }
        let frame = Pin::new(&mut self.flow).poll_frame(context);
        self.over = matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.flow.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.flow.size_hint()
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ending").field("kind", &self.kind).field("over", &self.over).finish_non_exhaustive()
    }
}
