//! Time limits of one connection after another, on one timer: a later limit costs nothing until the earlier one would have passed.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

#[derive(Debug)]
pub struct Clock(Pin<Box<Sleep>>);

impl Clock {
    pub fn new() -> Self {
        Self(Box::pin(sleep(Duration::from_secs(3600))))
    }

    /// What `work` gives, or `None` after `limit`.
    pub async fn within<T>(&mut self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let (mut work, mut begun) = (pin!(work), None);
        poll_fn(|context| {
            if let Poll::Ready(value) = work.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            // Most work is done at once, and asks for no time at all.
            let deadline = *begun.get_or_insert_with(Instant::now) + limit;
            loop {
                if self.0.deadline() > deadline {
                    self.0.as_mut().reset(deadline);
                }
                match self.0.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) if Instant::now() >= deadline => return Poll::Ready(None),
                    Poll::Ready(()) => self.0.as_mut().reset(deadline),
                }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_limit_is_its_own() {
        let mut clock = Clock::new();
        let started = Instant::now();
        for seconds in [5, 1, 10, 3, 10] {
            let before = Instant::now();
            assert_eq!(clock.within(Duration::from_secs(seconds), std::future::pending::<()>()).await, None);
            assert_eq!(before.elapsed().as_secs(), seconds);
            assert_eq!(clock.within(Duration::from_secs(60), async { seconds }).await, Some(seconds));
        }
        let late = clock.within(Duration::from_secs(60), sleep(Duration::from_secs(59))).await;
        assert!(late.is_some() && started.elapsed().as_secs() == 29 + 59);
    }
}
