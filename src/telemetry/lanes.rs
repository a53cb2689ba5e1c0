//! Records of a hot path into bytes that wait for somebody slower: a buffer to each thread, so that none waits for another.
//! Holds so many bytes a thread; what finds no room is for the caller to count.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A thread's own buffer.
#[derive(Debug, Default)]
struct Lane(Mutex<Vec<u8>>);

#[derive(Debug)]
pub struct Lanes {
    /// Nobody else's, not even of one that is gone: an address could be.
    number: u64,
    bound: usize,
    all: Mutex<Vec<Arc<Lane>>>,
    /// Told once a lane is half full.
    pub filling: Notify,
}

thread_local! {
    /// This thread's lanes, by the number of those that they belong to.
    static MINE: RefCell<Vec<(u64, Arc<Lane>)>> = const { RefCell::new(Vec::new()) };
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl Lanes {
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed), bound, all: Mutex::default(), filling: Notify::new() })
    }

    /// Whether there was room.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.with_mine(|lane| {
            let mut buffer = lane.0.lock().unwrap_or_else(PoisonError::into_inner);
            let before = buffer.len();
            if before > self.bound {
                return false;
            }
            write(&mut buffer);
            if before <= self.bound / 2 && buffer.len() > self.bound / 2 {
                self.filling.notify_one();
            }
            true
        })
    }

    /// All that waits, lane by lane and of one moment: of two records of which one came after the other, the later is not there alone.
    pub fn take(&self) -> Vec<Vec<u8>> {
        let all: Vec<Arc<Lane>> = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut held: Vec<_> = all.iter().map(|lane| lane.0.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        // As much again is to be expected.
        let taken = held.iter_mut().map(|buffer| {
            let next = Vec::with_capacity(buffer.len());
            std::mem::replace(&mut **buffer, next)
        });
        taken.filter(|buffer| !buffer.is_empty()).collect()
    }

    fn with_mine<T>(&self, act: impl FnOnce(&Lane) -> T) -> T {
        MINE.with(|mine| {
            let mut mine = mine.borrow_mut();
            if let Some((_, lane)) = mine.iter().find(|(known, _)| *known == self.number) {
                return act(lane);
            }
            let lane = Arc::new(Lane::default());
            self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&lane));
            let done = act(&lane);
            // Those of whoever is gone are nobody's but this thread's.
            mine.retain(|(_, lane)| Arc::strong_count(lane) > 1);
            mine.push((self.number, lane));
            done
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_takes_no_more_until_it_is_emptied() {
        let lanes = Lanes::new(10);
        let append = |text: &str| lanes.append(|out| out.extend_from_slice(text.as_bytes()));
        assert!(append("six...") && append("twelve") && !append("more"));
        let taken = std::thread::scope(|threads| threads.spawn(|| append("else")).join().unwrap());
        assert!(taken, "another thread's is not full");
        let mut all = lanes.take();
        all.sort();
        assert_eq!(all, [b"else".to_vec(), b"six...twelve".to_vec()]);
        assert!(append("more") && lanes.take() == [b"more"] && lanes.take().is_empty());
    }
}
