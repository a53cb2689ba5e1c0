//! Idle HTTP/1.1 connections: one stays with its client while there are few, beyond that they are shared within the worker.
//! Gives none to a request for another destination.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use super::one::One;
use crate::transport::bounds;

/// Those that wait for whoever comes next, and those that are still busy for a client with many requests at once.
#[derive(Debug, Default)]
pub struct Idle {
    list: RefCell<Vec<(Option<SocketAddr>, One)>>,
    pinned: Cell<usize>,
}

/// A client connection's hold on an upstream connection.
#[derive(Debug)]
pub struct Lease {
    kept: RefCell<Option<One>>,
    pinned: bool,
    idle: Rc<Idle>,
    /// Whether the client speaks HTTP/2.
    pub multiplexed: bool,
    /// Where the client's connection was going.
    pub destination: Option<SocketAddr>,
    /// Held while an HTTP/2 connection to `destination` is made, so that all of the client's requests wait for one.
    pub connecting: tokio::sync::Mutex<()>,
}

impl Lease {
    /// A client that has many requests in flight keeps no connection to itself.
    pub fn new(idle: &Rc<Idle>, destination: Option<SocketAddr>, multiplexed: bool) -> Self {
        let pinned = !multiplexed && idle.pinned.get() < bounds::PINNED;
        idle.pinned.set(idle.pinned.get() + usize::from(pinned));
        Self { kept: RefCell::new(None), pinned, idle: Rc::clone(idle), multiplexed, destination, connecting: tokio::sync::Mutex::default() }
    }

    /// Whether an upstream connection may stay with this client.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    pub fn take(&self) -> Option<One> {
        let kept = self.kept.borrow_mut().take().filter(One::is_ready);
        kept.or_else(|| self.idle.take(self.destination))
    }

    pub fn put_back(&self, one: One) {
        if self.pinned {
            *self.kept.borrow_mut() = Some(one);
        } else {
            self.idle.keep(self.destination, one);
        }
    }
}

impl Idle {
    fn take(&self, destination: Option<SocketAddr>) -> Option<One> {
        let mut list = self.list.borrow_mut();
        list.retain(|(_, one)| !one.is_closed());
        // The one that was used last has the best chance of being alive.
        let ready = list.iter().rposition(|(to, one)| *to == destination && one.is_ready())?;
        Some(list.remove(ready).1)
    }

    fn keep(&self, destination: Option<SocketAddr>, one: One) {
        let mut list = self.list.borrow_mut();
        list.retain(|(_, one)| !one.is_closed());
        let mut idle = (0..list.len()).filter(|index| list.get(*index).is_some_and(|(_, one)| one.is_ready()));
        let oldest = idle.next();
        if let (Some(oldest), true) = (oldest, idle.count() + 1 >= bounds::IDLE) {
            list.remove(oldest);
        }
        list.push((destination, one));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.pinned {
            self.idle.pinned.set(self.idle.pinned.get().saturating_sub(1));
        }
        if let Some(one) = self.kept.borrow_mut().take().filter(One::is_ready) {
            self.idle.keep(self.destination, one);
        }
    }
}
