//! A connection's bytes come out as whole messages, the same however they arrive.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use scopegate::transport::framing::{Checked, REFUSED};

/// Gives its bytes in pieces of one size, and then the end.
struct Pieces<'a>(&'a [u8], usize);

impl tokio::io::AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut tokio::io::ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (piece, rest) = self.0.split_at(self.1.min(self.0.len()).min(buffer.remaining()));
        buffer.put_slice(piece);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Clean,
    Refused,
    Broken,
}

fn pass(data: &[u8], piece: usize) -> (Vec<u8>, End) {
    let mut checked = Checked::new(Pieces(data, piece), Rc::new(Cell::new(None)));
    let mut context = Context::from_waker(Waker::noop());
    let (mut out, mut memory) = (Vec::new(), [0; 4096]);
    loop {
        let mut buffer = tokio::io::ReadBuf::new(&mut memory);
        match tokio::io::AsyncRead::poll_read(Pin::new(&mut checked), &mut context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return (out, End::Clean),
            Poll::Ready(Ok(())) => out.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(_)) => return (out, End::Broken),
            Poll::Pending => return (out, End::Refused),
        }
    }
}

pub fn hold(data: &[u8]) {
    let (out, end) = pass(data, usize::MAX);
    for piece in [1, 3, 50] {
        assert_eq!((&pass(data, piece).0, pass(data, piece).1), (&out, pass(data, usize::MAX).1));
    }
    let stand_in = out.windows(REFUSED.len()).rposition(|window| window == REFUSED.as_bytes()).unwrap_or(out.len());
    let passed = if end == End::Refused { &out[..stand_in] } else { &out[..] };
    assert!(data.starts_with(passed));
    if end == End::Refused {
        assert_eq!(pass(passed, usize::MAX), (passed.to_vec(), End::Clean));
    }
}
