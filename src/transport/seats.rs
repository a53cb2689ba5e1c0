//! The connections of the proxy door, counted over all workers.
//! Gives no more seats than there are; one comes back when its connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Debug)]
pub struct Seats {
    taken: Arc<AtomicUsize>,
    count: usize,
}

#[derive(Debug)]
pub struct Seat(Arc<AtomicUsize>);

impl Seats {
    pub fn new(count: usize) -> Self {
        Self { taken: Arc::default(), count }
    }

    pub fn take(&self) -> Option<Seat> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        // Given back at once where there is none.
        let seat = Seat(Arc::clone(&self.taken));
        (before < self.count).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_free_again_once_its_connection_has_ended() {
        let seats = Seats::new(2);
        let (first, second) = (seats.take(), seats.clone().take());
        assert!(first.is_some() && second.is_some() && seats.take().is_none() && seats.take().is_none());
        drop(first);
        assert!(seats.take().is_some());
    }
}
