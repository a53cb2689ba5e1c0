//! Records of a hot path into bytes that wait for somebody slower: a buffer to each thread, so that none waits for another.
//! Holds so many bytes a thread; what finds no room is for the caller to count.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A thread's own buffer.
#[derive(Debug, Default)]
struct Lane(Mutex<Vec<u8>>);

#[derive(Debug)]
pub struct Lanes {
    bound: usize,
    all: Mutex<Vec<Arc<Lane>>>,
    /// Told once a lane is half full.
    pub filling: Notify,
}

thread_local! {
    /// This thread's lanes, by the address of those that they belong to.
    static MINE: RefCell<Vec<(usize, Arc<Lane>)>> = const { RefCell::new(Vec::new()) };
}

impl Lanes {
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { bound, all: Mutex::default(), filling: Notify::new() })
    }

    /// Whether there was room.
    pub fn append(self: &Arc<Self>, write: impl FnOnce(&mut Vec<u8>)) -> bool {
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

    /// All that waits.
    pub fn take(&self) -> Vec<Vec<u8>> {
        let all: Vec<Arc<Lane>> = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let take = |lane: Arc<Lane>| {
            let mut buffer = lane.0.lock().unwrap_or_else(PoisonError::into_inner);
            // As much again is to be expected.
            let next = Vec::with_capacity(buffer.len());
            std::mem::replace(&mut *buffer, next)
        };
        all.into_iter().map(take).filter(|buffer| !buffer.is_empty()).collect()
    }

    fn with_mine<T>(self: &Arc<Self>, act: impl FnOnce(&Lane) -> T) -> T {
        let owner = Arc::as_ptr(self) as usize;
        MINE.with(|mine| {
            let mut mine = mine.borrow_mut();
            if let Some((_, lane)) = mine.iter().find(|(known, _)| *known == owner) {
                return act(lane);
            }
            let lane = Arc::new(Lane::default());
            self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&lane));
            let done = act(&lane);
            mine.push((owner, lane));
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
