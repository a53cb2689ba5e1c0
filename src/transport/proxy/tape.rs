//! A body into one that can be sent from its beginning again, until it has an answer or grows too long.
//! Keeps no more than a bounded part of it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

use super::flow::Flow;
use crate::transport::bounds;

type Fault = <Flow as Body>::Error;

/// One reading of a body. Once it is the only one, nothing more is kept.
#[derive(Debug)]
pub struct Tape {
    reel: Rc<Reel>,
    turn: u32,
    next: usize,
}

struct Reel {
    flow: RefCell<Flow>,
    frames: RefCell<Vec<Kept>>,
    /// Bytes in `frames`; `None` once not all that was sent is there.
    kept: Cell<Option<usize>>,
    /// The reading that is current.
    turn: Cell<u32>,
}

impl fmt::Debug for Reel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reel").field("kept", &self.kept).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Tape {
    pub fn new(flow: Flow) -> Self {
        let reel = Reel { flow: RefCell::new(flow), frames: RefCell::default(), kept: Cell::new(Some(0)), turn: Cell::new(0) };
        Self { reel: Rc::new(reel), turn: 0, next: 0 }
    }

    pub fn again(&self) -> Self {
        Self { reel: Rc::clone(&self.reel), turn: self.turn + 1, next: 0 }
    }

    pub fn is_whole(&self) -> bool {
        self.reel.kept.get().is_some()
    }

    /// Whether another reading of the same body has begun since.
    pub fn is_over(&self) -> bool {
        self.reel.turn.get() > self.turn
    }

    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let reel = &self.reel;
        reel.turn.set(self.turn);
        if let Some(frame) = reel.frames.borrow().get(self.next).cloned() {
            self.next += 1;
            return Poll::Ready(Some(Ok(frame.into())));
        }
        let frame = ready!(Pin::new(&mut *reel.flow.borrow_mut()).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.next += 1;
            match Rc::strong_count(reel) {
                1 => reel.forget(),
                _ => reel.keep(frame),
            }
        }
        Poll::Ready(frame)
    }

    pub fn is_end_stream(&self) -> bool {
        self.reel.frames.borrow().len() <= self.next && self.reel.flow.borrow().is_end_stream()
    }

    /// Before the first frame; afterwards nobody asks.
    pub fn size_hint(&self) -> SizeHint {
        let (left, kept) = (self.reel.flow.borrow().size_hint(), self.reel.kept.get());
        match (left.exact(), kept) {
            (Some(left), Some(kept)) if self.next == 0 => SizeHint::with_exact(left + kept as u64),
            (Some(_) | None, Some(_) | None) => SizeHint::default(),
        }
    }
}

impl Reel {
    fn keep(&self, frame: &Frame<Bytes>) {
        let length = self.kept.get().map(|kept| kept + frame.data_ref().map_or(0, Bytes::len));
        let kept = frame.data_ref().cloned().map(Kept::Data).or_else(|| frame.trailers_ref().cloned().map(Kept::Trailers));
        match (length.filter(|length| *length <= bounds::REPLAY), kept) {
            (Some(length), Some(kept)) => {
                self.frames.borrow_mut().push(kept);
                self.kept.set(Some(length));
            }
            (Some(_) | None, Some(_) | None) => self.forget(),
        }
    }

    fn forget(&self) {
        self.frames.borrow_mut().clear();
        self.kept.set(None);
    }
}

impl From<Kept> for Frame<Bytes> {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Data(data) => Self::data(data),
            Kept::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}
