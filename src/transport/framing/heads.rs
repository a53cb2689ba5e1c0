//! The bytes that a request begins with into the length of its head, for whoever reads it by himself.
//! Lets nothing through that has more than one reading, or more than the limits allow.

use super::grammar::Head;
use crate::config::settings::Bounds;
use crate::policy::Reason;
use crate::transport::bounds;

/// What a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In bytes.
    pub head: usize,
    /// In fields.
    pub headers: usize,
    /// In bytes.
    pub target: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: bounds::HEAD, headers: bounds::HEADERS, target: bounds::HEAD }
    }
}

impl From<&Bounds> for Limits {
    fn from(bounds: &Bounds) -> Self {
        Self { head: bounds.head, headers: bounds.headers, target: bounds.target }
    }
}

/// The lengths of heads that somebody else reads.
#[derive(Debug)]
pub struct Heads {
    head: Head,
    limits: Limits,
}

impl Heads {
    pub fn new(limits: Limits) -> Self {
        Self { head: Head::default(), limits }
    }

    /// The length of the head that `bytes` begin with, once it is whole; until then they begin with the same. `Err` where its framing has not
    /// one reading.
    pub fn length(&mut self, bytes: &[u8]) -> Result<Option<usize>, Reason> {
        let read = self.head.read(bytes, self.limits);
        if !matches!(read, Ok(None)) {
            self.head = Head::default();
        }
        Ok(read?.map(|(length, _)| length))
    }
}
