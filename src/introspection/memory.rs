//! Answers about tokens, remembered by keyed tag and each for its time.
//! Holds no token, and of answers no more than a bound: the oldest goes first.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::Answer;
use crate::credential::digest::Tag;

/// Answers that are remembered.
const REMEMBERED: usize = 10_000;

/// Answers, each for its time.
#[derive(Default)]
pub struct Memory {
    known: HashTable<Known>,
    /// In the order of arrival, which is nearly that of their ends.
    order: VecDeque<(Tag, u64)>,
    arrivals: u64,
}

struct Known {
    tag: Tag,
    arrival: u64,
    until: Instant,
    answer: Answer,
}

impl Memory {
    pub fn find(&self, tag: Tag, now: Instant) -> Option<Answer> {
        self.known.find(tag.bucket(), |known| same(known.tag, tag)).filter(|known| now < known.until).map(|known| known.answer.clone())
    }

    pub fn keep(&mut self, tag: Tag, answer: Answer, now: Instant, lasts: Duration) {
        if lasts.is_zero() {
            return;
        }
        while let Some((oldest, arrival)) = self.order.front().copied() {
            let slot = self.known.find_entry(oldest.bucket(), |known| known.arrival == arrival && same(known.tag, oldest));
            // A newer answer about the same token has a place of its own in the order.
            let is_over = slot.as_ref().map_or(true, |slot| slot.get().until <= now);
            if self.order.len() < REMEMBERED && !is_over {
                break;
            }
            if let Ok(slot) = slot {
                slot.remove();
            }
            self.order.pop_front();
        }
        self.arrivals += 1;
        let known = Known { tag, arrival: self.arrivals, until: now + lasts, answer };
        match self.known.find_mut(tag.bucket(), |known| same(known.tag, tag)) {
            Some(slot) => *slot = known,
            None => {
                self.known.insert_unique(tag.bucket(), known, |known| known.tag.bucket());
            }
        }
        self.order.push_back((tag, self.arrivals));
    }
}

pub fn same(one: Tag, other: Tag) -> bool {
    one.ct_eq(&other).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::digest::TagKey;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let (key, now) = (TagKey::new([7; 32]), Instant::now());
        let tag = |number: usize| key.of_token(&number.to_string());
        let mut memory = Memory::default();
        for number in 0..REMEMBERED + 5 {
            memory.keep(tag(number), Answer::Inactive, now, SECOND);
        }
        assert_eq!((memory.known.len(), memory.order.len()), (REMEMBERED, REMEMBERED));
        assert!(memory.find(tag(4), now).is_none() && memory.find(tag(5), now).is_some());
        // One that is told again is as young as its last answer.
        memory.keep(tag(5), Answer::Inactive, now, SECOND * 2);
        memory.keep(tag(0), Answer::Inactive, now, SECOND * 2);
        assert!(memory.find(tag(5), now + SECOND).is_some());
        memory.keep(tag(1), Answer::Inactive, now + SECOND, SECOND);
        assert_eq!((memory.known.len(), memory.order.len()), (3, 3));
        assert!(memory.find(tag(5), now + SECOND * 2).is_none());
    }
}
