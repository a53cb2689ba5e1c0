//! A request body on its way to the upstream, and how far it has come: an upload may take its time, an answer may not.
//! Sends no part of a body twice unless the upstream has said that it took none.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};

use super::flow::Flow;
use super::tape::Tape;

type Fault = <Flow as Body>::Error;

#[derive(Debug)]
pub struct Outgoing {
    source: Source,
    progress: Progress,
}

#[derive(Debug)]
enum Source {
    Flow(Flow),
    Tape(Tape),
}

/// How far a body has come.
#[derive(Clone, Debug, Default)]
pub struct Progress(Option<Rc<Going>>);

#[derive(Debug)]
struct Going {
    moved: Cell<Instant>,
    state: Cell<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Going,
    Whole,
    Broken,
}

impl Outgoing {
    pub fn new(flow: Flow) -> Self {
        let going = || Rc::new(Going { moved: Cell::new(Instant::now()), state: Cell::new(State::Going) });
        let progress = Progress((!flow.is_end_stream()).then(going));
        Self { source: Source::Flow(flow), progress }
    }

    pub fn empty() -> Self {
        Self { source: Source::Flow(Either::Right(Full::default())), progress: Progress::default() }
    }

    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// From now on what is sent of it is kept, so that it can be sent again.
    pub fn taped(self) -> Self {
        if self.is_end_stream() {
            return self;
        }
        match self.source {
            Source::Flow(flow) => Self { source: Source::Tape(Tape::new(flow)), ..self },
            Source::Tape(_) => self,
        }
    }

    /// The same body from its beginning; `None` where it was not kept. Ends the one in hand, at the first frame that is asked of the other.
    pub fn again(&self) -> Option<Self> {
        let source = match &self.source {
            Source::Tape(tape) => Source::Tape(tape.again()),
            Source::Flow(flow) if flow.is_end_stream() => return Some(Self::empty()),
            Source::Flow(_) => return None,
        };
        Some(Self { source, progress: self.progress.clone() })
    }

    /// Whether there is still a whole body to be sent again.
    pub fn is_kept(&self) -> bool {
        match &self.source {
            Source::Tape(tape) => tape.is_whole(),
            Source::Flow(flow) => flow.is_end_stream(),
        }
    }
}

impl Progress {
    /// Whether all of the body has been handed over.
    pub fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|going| going.state.get() == State::Whole)
    }

    /// Whether the client's side of it broke off.
    pub fn is_broken(&self) -> bool {
        self.0.as_ref().is_some_and(|going| going.state.get() == State::Broken)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let frame = ready!(match &mut self.source {
            Source::Flow(flow) => Pin::new(flow).poll_frame(context),
            Source::Tape(tape) if tape.is_over() => return Poll::Ready(Some(Err("the body is being sent again".into()))),
            Source::Tape(tape) => tape.poll_frame(context),
        });
        if let Progress(Some(going)) = &self.progress {
            going.moved.set(Instant::now());
            match &frame {
                Some(Err(_)) => going.state.set(State::Broken),
                None => going.state.set(State::Whole),
                Some(Ok(frame)) if frame.is_trailers() || self.is_end_stream() => going.state.set(State::Whole),
                Some(Ok(_)) => {}
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Flow(flow) => flow.is_end_stream(),
            Source::Tape(tape) => tape.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Flow(flow) => flow.size_hint(),
            Source::Tape(tape) => tape.size_hint(),
        }
    }
}

/// The answer, or `None` once nothing has moved for `limit`: neither the body out nor the head in.
pub async fn within<T>(limit: Duration, progress: &Progress, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut deadline = Instant::now() + limit;
    loop {
        if let Ok(answer) = tokio::time::timeout_at(deadline.into(), answer.as_mut()).await {
            return Some(answer);
        }
        let later = progress.0.as_ref()?.moved.get() + limit;
        if later <= deadline {
            return None;
        }
        deadline = later;
    }
}
