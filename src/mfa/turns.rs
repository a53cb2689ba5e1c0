//! Work that takes long and much memory, a few at a time, beside the threads that requests run on.
//! Lets nobody wait for long: whose turn does not come is told so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// At once; each takes 19 MiB.
const AT_ONCE: usize = 2;
/// Some 800 computations of 25 ms.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Turns(Arc<Semaphore>);

/// Too many are before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Turns {
    pub async fn take<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_owned()).await.map_err(|_| Busy)?.map_err(|_| Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            // Not before: whoever asked may be gone, and the work goes on.
            drop(turn);
            result
        });
        done.await.map_err(|_| Busy)
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Turns(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_than_two_work_at_once_and_all_get_their_turn() {
        let turns = Turns::default();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (turns, now, most) = (turns.clone(), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                turns
                    .take(move || {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                    })
                    .await
            })
        };
        let all: Vec<_> = (0..50).map(|_| work()).collect();
        for one in all {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
        assert!((1..=AT_ONCE).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_is_told_so() {
        let turns = Turns::default();
        let held = Arc::clone(&turns.0).acquire_many_owned(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
        assert_eq!(turns.take(|| ()).await, Err(Busy));
        drop(held);
        assert_eq!(turns.take(|| 7).await, Ok(7));
    }
}
