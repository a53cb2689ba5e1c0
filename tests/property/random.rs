//! A seed into choices, and a promise into many tries of it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// SplitMix64 (Steele, Lea, Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Under `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Each element with a chance of one half.
    pub fn some_of<T: Clone>(&mut self, list: &[T]) -> Vec<T> {
        list.iter().filter(|_| self.once_in(2)).cloned().collect()
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            list.swap(index, self.below(index + 1));
        }
    }

    /// Up to `most` pieces of `alphabet`, one after another.
    pub fn text(&mut self, alphabet: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| self.pick(alphabet)).collect()
    }
}

/// Tries a promise `cases` times in release, a fiftieth of that in a debug build. Each try has a seed of its own.
pub fn check(cases: usize, promise: impl Fn(&mut Random)) {
    if let Ok(seed) = std::env::var("SCOPEGATE_SEED") {
        return promise(&mut Random::new(seed.parse().expect("SCOPEGATE_SEED is a number")));
    }
    let share = std::env::var("SCOPEGATE_CASES").map_or(1.0, |text| text.parse().expect("SCOPEGATE_CASES is a number"));
    let tries = (cases as f64 * share / if cfg!(debug_assertions) { 50.0 } else { 1.0 }).ceil();
    let mut seeds = Random::new(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64);
    for number in 0..tries as u64 {
        // The first half of the tries is the same on every run, so that a regression is found again.
        let seed = if number % 2 == 0 { number } else { seeds.next() };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| promise(&mut Random::new(seed)))) {
            eprintln!("failed with SCOPEGATE_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
