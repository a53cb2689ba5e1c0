//! Tokens that were verified, by their keyed tag, so that a token seen again costs a look-up in place of a signature check.
//! Bounded in number; belongs to one snapshot and ends with it, so that a reload forgets every token.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashTable;
use subtle::ConstantTimeEq;

use crate::credential::digest::Tag;
use crate::principal::{Memory, Proved};

/// Cores rarely meet in one of so many.
const SHARDS: usize = 64;
/// Tokens a shard: 16,384 in all, some 20 MiB where each has 1 KiB of claims.
const ROOM: usize = 256;

struct Slot {
    tag: Tag,
    proved: Arc<Proved>,
}

pub struct Remembered {
    shards: Box<[Mutex<HashTable<Slot>>]>,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Remembered {
    fn with<T>(&self, tag: Tag, act: impl FnOnce(&mut HashTable<Slot>) -> T) -> Option<T> {
        let index = usize::try_from(tag.shard()).unwrap_or_default() % SHARDS;
        let shard = self.shards.get(index)?;
        Some(act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn same(tag: Tag) -> impl Fn(&Slot) -> bool {
    move |slot| bool::from(slot.tag.ct_eq(&tag))
}

impl Memory for Remembered {
    fn recall(&self, tag: Tag) -> Option<Arc<Proved>> {
        self.with(tag, |shard| shard.find(tag.bucket(), same(tag)).map(|slot| Arc::clone(&slot.proved))).flatten()
    }

    fn keep(&self, tag: Tag, proved: &Arc<Proved>) {
        self.with(tag, |shard| {
            if let Ok(old) = shard.find_entry(tag.bucket(), same(tag)) {
                old.remove();
            }
            if shard.len() >= ROOM {
                // Tags fall at random, so that whichever comes first is any of them.
                let any = shard.iter().next().map(|slot| slot.tag);
                if let Some(Ok(entry)) = any.map(|any| shard.find_entry(any.bucket(), same(any))) {
                    entry.remove();
                }
            }
            shard.insert_unique(tag.bucket(), Slot { tag, proved: Arc::clone(proved) }, |slot| slot.tag.bucket());
        });
    }

    fn forget(&self, tag: Tag) {
        self.with(tag, |shard| {
            if let Ok(entry) = shard.find_entry(tag.bucket(), same(tag)) {
                entry.remove();
            }
        });
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Remembered(…)")
    }
}
