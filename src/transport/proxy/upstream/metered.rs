//! An upstream connection into the same connection, counted while an answer is waited for.
//! Lets no upstream announce without end (RFC 9110 §15.2) what it never answers.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::connect::Line;

/// What may still be read, and who wants to know that something was. Of one worker, though hyper wants what could be of several.
#[derive(Debug)]
pub struct Allowance {
    left: AtomicUsize,
    watched: AtomicBool,
    watcher: Mutex<Option<Waker>>,
}

#[derive(Debug)]
pub struct Metered {
    line: Line,
    allowance: Arc<Allowance>,
}

impl Allowance {
    pub fn set(&self, bytes: usize) {
        self.left.store(bytes, Relaxed);
    }

    pub fn free(&self) {
        self.set(usize::MAX);
    }

    /// Wakes the task at the next read.
    pub fn watch(&self, context: &Context<'_>) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        self.watched.store(true, Relaxed);
    }

    fn read(&self, left: usize, count: usize) {
        if left != usize::MAX {
            self.set(left.saturating_sub(count));
        }
        if self.watched.load(Relaxed) {
            self.watched.store(false, Relaxed);
            let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
            watcher.into_iter().for_each(Waker::wake);
        }
    }
}

impl Metered {
    pub fn new(line: Line) -> (Self, Arc<Allowance>) {
        let allowance = Allowance { left: AtomicUsize::new(usize::MAX), watched: AtomicBool::default(), watcher: Mutex::default() };
        let allowance = Arc::new(allowance);
        (Self { line, allowance: Arc::clone(&allowance) }, allowance)
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.allowance.left.load(Relaxed);
        if left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the head of an answer has no end")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.line).poll_read(context, buffer);
        if read.is_ready() {
            self.allowance.read(left, buffer.filled().len() - before);
        }
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.line).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.line).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.line.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_shutdown(context)
    }
}
