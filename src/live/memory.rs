//! Tokens that were verified, by their keyed tag, so that a token seen again costs a look-up in place of a signature check.
//! Bounded in number; belongs to one snapshot and ends with it, so that a reload forgets every token.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashTable;
use subtle::ConstantTimeEq;

use crate::credential::digest::Tag;
use crate::principal::kept::Kept;
use crate::principal::{Memory, Proved};

/// Cores rarely meet in one of so many.
const SHARDS: usize = 64;
/// Tokens a shard: 16,384 in all, some 20 MiB where each has 1 KiB of claims.
const ROOM: usize = 256;

struct Slot<T> {
    tag: Tag,
    held: Arc<T>,
}

/// Proofs, and principals that the store had a part in: the same tokens may be in both.
#[derive(Default)]
pub struct Remembered {
    proved: Shards<Proved>,
    kept: Shards<Kept>,
}

struct Shards<T>(Box<[Mutex<HashTable<Slot<T>>>]>);

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl<T> Shards<T> {
    fn with<R>(&self, tag: Tag, act: impl FnOnce(&mut HashTable<Slot<T>>) -> R) -> Option<R> {
        let index = usize::try_from(tag.shard()).unwrap_or_default() % SHARDS;
        let shard = self.0.get(index)?;
        Some(act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn recall(&self, tag: Tag) -> Option<Arc<T>> {
        self.with(tag, |shard| shard.find(tag.bucket(), same(tag)).map(|slot| Arc::clone(&slot.held))).flatten()
    }

    fn keep(&self, tag: Tag, held: &Arc<T>) {
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
            shard.insert_unique(tag.bucket(), Slot { tag, held: Arc::clone(held) }, |slot| slot.tag.bucket());
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

fn same<T>(tag: Tag) -> impl Fn(&Slot<T>) -> bool {
    move |slot| bool::from(slot.tag.ct_eq(&tag))
}

impl Memory for Remembered {
    fn recall(&self, tag: Tag) -> Option<Arc<Proved>> {
        self.proved.recall(tag)
    }

    fn keep(&self, tag: Tag, proved: &Arc<Proved>) {
        self.proved.keep(tag, proved);
    }

    fn forget(&self, tag: Tag) {
        self.proved.forget(tag);
    }

    fn recall_kept(&self, tag: Tag) -> Option<Arc<Kept>> {
        self.kept.recall(tag)
    }

    fn keep_kept(&self, tag: Tag, kept: &Arc<Kept>) {
        self.kept.keep(tag, kept);
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Remembered(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::digest::TagKey;
    use crate::jose::Claims;
    use crate::principal::roles::RoleSet;
    use crate::principal::{At, Principal, SourceId};
    use crate::scope::ScopeSet;

    fn tag(number: usize) -> Tag {
        TagKey::new([7; 32]).of_token(&format!("token-{number}"))
    }

    fn proved(id: &str) -> Arc<Proved> {
        let principal = Principal {
            id: id.into(),
            scopes: ScopeSet::default(),
            roles: RoleSet::default(),
            tenant: None,
            email: None,
            claims: Claims::parse(b"{}").unwrap().into(),
            restricted: false,
        };
        Arc::new(Proved { at: At { source: SourceId(0), means: 0 }, keys: None, until: 0, bound: None, principal })
    }

    fn recalled(memory: &Remembered, number: usize) -> Option<String> {
        memory.recall(tag(number)).map(|proved| proved.principal.id.to_string())
    }

    #[test]
    fn what_is_kept_is_recalled_until_it_is_forgotten() {
        let memory = Remembered::default();
        assert_eq!(recalled(&memory, 1), None);
        memory.keep(tag(1), &proved("one"));
        memory.keep(tag(2), &proved("two"));
        assert_eq!((recalled(&memory, 1), recalled(&memory, 2), recalled(&memory, 3)), (Some("one".into()), Some("two".into()), None));
        memory.keep(tag(1), &proved("again"));
        assert_eq!(recalled(&memory, 1), Some("again".into()));
        memory.forget(tag(1));
        memory.forget(tag(3));
        assert_eq!((recalled(&memory, 1), recalled(&memory, 2)), (None, Some("two".into())));
        assert_eq!(format!("{memory:?}"), "Remembered(…)");
    }

    #[test]
    fn there_is_room_for_so_many_and_the_newest_is_always_among_them() {
        let (memory, one) = (Remembered::default(), proved("one"));
        for number in 0..3 * SHARDS * ROOM {
            memory.keep(tag(number), &one);
            assert!(memory.recall(tag(number)).is_some(), "{number}");
        }
        let held: Vec<usize> = memory.proved.0.iter().map(|shard| shard.lock().unwrap().len()).collect();
        assert!(held.iter().all(|count| *count == ROOM), "{held:?}");
        let found = (0..3 * SHARDS * ROOM).filter(|number| memory.recall(tag(*number)).is_some()).count();
        assert_eq!(found, SHARDS * ROOM, "nothing is there twice, and nothing that was not kept");
        // Whatever goes, goes for good: nobody holds it any more.
        assert_eq!(Arc::strong_count(&one), SHARDS * ROOM + 1);
    }

    #[test]
    fn the_same_token_again_takes_no_second_place() {
        let (memory, one) = (Remembered::default(), proved("one"));
        for _ in 0..2 * ROOM {
            memory.keep(tag(1), &one);
        }
        assert_eq!(Arc::strong_count(&one), 2);
    }
}
