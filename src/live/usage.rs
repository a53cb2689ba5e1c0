//! Uses of managed keys, counted at each decision, into rows of the store, a few seconds behind.
//! Makes no request wait for the store, and loses no count to an outage of it, only what an end without a drain leaves.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};
use tokio_util::sync::CancellationToken;

use crate::store::keys::Used;
use crate::store::{Store, StoreError};

/// How far behind the rows are; twice that may be lost.
pub const BEHIND: Duration = Duration::from_secs(5);
/// Keys of one transaction, so that nobody else waits long for theirs.
const AT_ONCE: usize = 200;
/// Threads that count at the same moment seldom meet.
const SHARDS: usize = 32;

/// What is not written down yet.
#[derive(Debug, Default)]
pub struct Usage {
    shards: [Mutex<HashMap<Box<str>, Used>>; SHARDS],
    hasher: DefaultHashBuilder,
}

impl Usage {
    /// One use of a key, at a second since 1970.
    pub fn count(&self, id: &str, now: i64) {
        self.add(id, Used { count: 1, last: now });
    }

    fn add(&self, id: &str, used: Used) {
        let index = usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or_default();
        let Some(shard) = self.shards.get(index) else { return };
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(id) {
            Some(known) => *known = known.with(used),
            None => drop(counts.insert(id.into(), used)),
        }
    }

    fn take(&self) -> Vec<(Box<str>, Used)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        // Two replicas that lock the same rows do it in the same order.
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// Writes down what was counted; what cannot be written counts on.
    pub async fn write(&self, store: &Store) -> Result<(), StoreError> {
        let all = self.take();
        let mut rest = all.chunks(AT_ONCE);
        while let Some(chunk) = rest.next() {
            if let Err(error) = written(store, chunk).await {
                rest.flatten().chain(chunk).for_each(|(id, used)| self.add(id, *used));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes again and again until `ended`.
    pub async fn follow(&self, store: &Store, ended: CancellationToken) {
        while ended.run_until_cancelled(tokio::time::sleep(BEHIND)).await.is_some() {
            if let Err(error) = self.write(store).await {
                tracing::debug!("uses of keys are not written down: {error}");
            }
        }
    }
}

async fn written(store: &Store, chunk: &[(Box<str>, Used)]) -> Result<(), StoreError> {
    let mut atomic = store.atomic().await?;
    for (id, used) in chunk {
        atomic.add_use(id, *used).await?;
    }
    atomic.commit().await
}

impl Used {
    fn with(self, other: Self) -> Self {
        Self { count: self.count.saturating_add(other.count), last: self.last.max(other.last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_add_up_and_the_last_one_counts() {
        let usage = Usage::default();
        for (id, now) in [("b", 3), ("a", 5), ("b", 9), ("b", 7)] {
            usage.count(id, now);
        }
        assert_eq!(usage.take(), [("a".into(), Used { count: 1, last: 5 }), ("b".into(), Used { count: 3, last: 9 })]);
        assert_eq!(usage.take(), []);
    }
}
