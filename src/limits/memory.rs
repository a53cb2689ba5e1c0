//! Buckets by their tag, in this process: what is taken from them is remembered until it is back.
//! Bounded in number, and forgets nobody before the time: where there is no room, those who come new share one bucket of their limit.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::bucket::Tag;
use super::gcra::{Limit, Refused, Taken, Until};

/// Cores rarely meet in one of so many.
const SHARDS: usize = 256;
/// Buckets a shard: 917,504 in all, some 26 MiB where all are in use. One more would double the table.
const ROOM: usize = 3584;
/// Buckets a shard for those that find no room, one for each limit.
const CROWDS: usize = 256;
/// A full shard is looked through for what is over no more often than this, in nanoseconds.
const SWEEP: u64 = 100_000_000;

#[derive(Clone, Copy)]
struct Slot {
    tag: Tag,
    until: Until,
}

#[derive(Default)]
struct Shard {
    slots: HashTable<Slot>,
    crowds: HashTable<Slot>,
    /// Nobody looks for what is over before this time.
    sweep_at: u64,
}

pub struct Memory {
    shards: Box<[Mutex<Shard>]>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Memory {
    /// Takes one of `limit` from the bucket `tag` at `now`, in nanoseconds of any steady clock. `crowd` tells the tag of what those share
    /// who find no room.
    pub fn take(&self, tag: Tag, limit: Limit, now: u64, crowd: impl FnOnce() -> Tag) -> Taken {
        self.with(tag, |shard| shard.take(tag, limit, now, crowd)).unwrap_or_else(|| refused(limit))
    }

    /// Gives back one that was taken and not used.
    pub fn give_back(&self, tag: Tag, limit: Limit) {
        self.with(tag, |shard| {
            if let Some(slot) = shard.slots.find_mut(tag.0[0], |slot| slot.tag == tag) {
                slot.until = limit.give_back(slot.until);
            }
        });
    }

    fn with<T>(&self, tag: Tag, act: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let index = usize::try_from(tag.0[1] % SHARDS as u64).unwrap_or_default();
        let shard = self.shards.get(index)?;
        Some(act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Shard {
    fn take(&mut self, tag: Tag, limit: Limit, now: u64, crowd: impl FnOnce() -> Tag) -> Taken {
        if let Some(slot) = self.slots.find_mut(tag.0[0], |slot| slot.tag == tag) {
            let (until, taken) = limit.take(slot.until, now);
            slot.until = until;
            return taken;
        }
        if self.slots.len() >= ROOM && now >= self.sweep_at {
            self.slots.retain(|slot| slot.until.0 > now);
            self.sweep_at = now.saturating_add(SWEEP);
        }
        if self.slots.len() < ROOM {
            return enter(&mut self.slots, tag, limit, now);
        }
        let tag = crowd();
        if self.crowds.len() >= CROWDS {
            self.crowds.retain(|slot| slot.until.0 > now || slot.tag == tag);
        }
        let is_known = self.crowds.find(tag.0[0], |slot| slot.tag == tag).is_some();
        if is_known || self.crowds.len() < CROWDS { enter(&mut self.crowds, tag, limit, now) } else { refused(limit) }
    }
}

fn enter(slots: &mut HashTable<Slot>, tag: Tag, limit: Limit, now: u64) -> Taken {
    match slots.entry(tag.0[0], |slot| slot.tag == tag, |slot| slot.tag.0[0]) {
        Entry::Occupied(mut slot) => {
            let (until, taken) = limit.take(slot.get().until, now);
            slot.get_mut().until = until;
            taken
        }
        Entry::Vacant(place) => {
            let (until, taken) = limit.take(Until::default(), now);
            place.insert(Slot { tag, until });
            taken
        }
    }
}

fn refused(limit: Limit) -> Taken {
    Taken { outcome: Err(Refused { wait: limit.interval }), remaining: 0, reset: limit.full }
}

impl fmt::Debug for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Memory(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::record::Rate;

    const SECOND: u64 = 1_000_000_000;

    fn two_an_hour() -> Limit {
        Limit::of(Rate { count: 2, seconds: 3600, burst: 2 })
    }

    /// All in one shard.
    fn tag(number: u64) -> Tag {
        Tag([number.wrapping_mul(0x9E37_79B9_7F4A_7C15), 0])
    }

    fn takes(memory: &Memory, number: u64, now: u64) -> bool {
        memory.take(tag(number), two_an_hour(), now, || tag(u64::MAX)).outcome.is_ok()
    }

    fn counts(memory: &Memory) -> (usize, usize) {
        let shard = memory.shards[0].lock().unwrap();
        (shard.slots.len(), shard.crowds.len())
    }

    #[test]
    fn each_bucket_counts_for_itself() {
        let memory = Memory::default();
        for number in 0..3 {
            assert_eq!([(); 3].map(|()| takes(&memory, number, SECOND)), [true, true, false]);
        }
        memory.give_back(tag(1), two_an_hour());
        memory.give_back(tag(9), two_an_hour());
        assert_eq!([0, 1, 2].map(|number| takes(&memory, number, SECOND)), [false, true, false]);
        assert_eq!(format!("{memory:?}"), "Memory(…)");
    }

    #[test]
    fn a_flood_of_newcomers_frees_nobody_and_shares_one_bucket() {
        let memory = Memory::default();
        assert_eq!([(); 3].map(|()| takes(&memory, 0, SECOND)), [true, true, false]);
        for number in 1..ROOM as u64 {
            assert!(takes(&memory, number, SECOND));
        }
        let allowed = (ROOM as u64..3 * ROOM as u64).filter(|number| takes(&memory, *number, SECOND)).count();
        assert_eq!(allowed, 2, "all that came too late are one");
        assert!(!takes(&memory, 0, SECOND), "who had used it up still has");
        assert!(takes(&memory, 1, SECOND) && !takes(&memory, 1, SECOND));
        assert_eq!(counts(&memory), (ROOM, 1));
        // An hour and a bit later there is room again.
        assert!(takes(&memory, 7 * ROOM as u64, 3700 * SECOND));
        assert_eq!(counts(&memory).0, 1);
    }

    #[test]
    fn there_is_an_end_to_what_newcomers_share_as_well() {
        let memory = Memory::default();
        for number in 0..ROOM as u64 {
            assert!(takes(&memory, number, SECOND));
        }
        let crowd = |number: u64| memory.take(tag(1_000_000 + number), two_an_hour(), SECOND, || tag(2_000_000 + number)).outcome;
        for number in 0..CROWDS as u64 {
            assert_eq!(crowd(number), Ok(()));
        }
        assert!(crowd(CROWDS as u64).is_err());
        assert_eq!(crowd(0), Ok(()));
        assert!(crowd(0).is_err());
        assert_eq!(counts(&memory), (ROOM, CROWDS));
    }
}
