//! A hash table whose copies share what did not change: one changed entry copies one shard of many.
//! Decides nothing, and holds no lock: a copy is whole before anybody sees it.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// A million entries are a thousand a shard.
const SHARDS: usize = 1024;

/// What a table is sorted by.
pub trait Keyed {
    fn hash(&self, by: &DefaultHashBuilder) -> u64;
}

/// Entries by what they hash to.
#[derive(Clone)]
pub struct Shards<T> {
    /// Empty where nothing was ever put.
    list: Arc<[Arc<HashTable<T>>]>,
    len: usize,
    by: DefaultHashBuilder,
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self { list: Arc::new([]), len: 0, by: DefaultHashBuilder::default() }
    }
}

impl<T> Shards<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Of what stands for an entry, what the entry hashes to.
    pub fn hash_of(&self, value: impl Hash) -> u64 {
        self.by.hash_one(value)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.list.iter().flat_map(|shard| shard.iter())
    }

    pub fn find(&self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<&T> {
        self.list.get(shard(hash))?.find(hash, same)
    }
}

impl<T: Clone + Keyed> Shards<T> {
    /// Puts `value` in the place of the one that is the same; gives that one.
    pub fn put(&mut self, value: T, mut same: impl FnMut(&T) -> bool) -> Option<T> {
        let hash = value.hash(&self.by);
        if self.list.is_empty() {
            self.list = (0..SHARDS).map(|_| Arc::default()).collect();
        }
        let shard = Arc::make_mut(Arc::make_mut(&mut self.list).get_mut(shard(hash))?);
        if let Some(known) = shard.find_mut(hash, &mut same) {
            return Some(std::mem::replace(known, value));
        }
        shard.insert_unique(hash, value, |known| known.hash(&self.by));
        self.len += 1;
        None
    }

    pub fn take(&mut self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<T> {
        let shard = Arc::make_mut(Arc::make_mut(&mut self.list).get_mut(shard(hash))?);
        let (value, _) = shard.find_entry(hash, same).ok()?.remove();
        self.len -= 1;
        Some(value)
    }
}

/// The table inside a shard goes by the highest and the lowest bits.
fn shard(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or_default() % SHARDS
}

impl<T> fmt::Debug for Shards<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Shards({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keyed for (u32, u32) {
        fn hash(&self, by: &DefaultHashBuilder) -> u64 {
            by.hash_one(self.0)
        }
    }

    fn value(table: &Shards<(u32, u32)>, key: u32) -> Option<u32> {
        table.find(table.hash_of(key), |known| known.0 == key).map(|known| known.1)
    }

    fn count(table: &Shards<(u32, u32)>) -> usize {
        table.list.iter().map(|shard| shard.len()).sum()
    }

    #[test]
    fn a_copy_and_its_origin_go_their_own_ways() {
        let mut one = Shards::default();
        assert_eq!((value(&one, 1), one.take(one.hash_of(1_u32), |_| true)), (None, None));
        for key in 0..10_000_u32 {
            assert_eq!(one.put((key, key), |known| known.0 == key), None);
        }
        let mut other = one.clone();
        assert_eq!(other.put((7, 70), |known| known.0 == 7), Some((7, 7)));
        assert_eq!(other.take(other.hash_of(8_u32), |known| known.0 == 8), Some((8, 8)));
        assert_eq!((value(&one, 7), value(&one, 8), one.len(), count(&one)), (Some(7), Some(8), 10_000, 10_000));
        assert_eq!((value(&other, 7), value(&other, 8), other.len(), count(&other)), (Some(70), None, 9_999, 9_999));
        let shared = one.list.iter().zip(other.list.iter()).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        assert!(shared >= SHARDS - 2, "{shared} shards are shared");
    }
}
