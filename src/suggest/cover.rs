//! What many requests needed into the smallest set of scopes that covers all of it.
//! Takes no wider scope than one that was asked for; a wildcard only where a route itself names it.

use std::collections::BTreeSet;

use crate::scope::Scope;

/// Partial sets that are looked at before the search settles for a good one.
const PATIENCE: usize = 20_000;

/// What was needed: each of `all`, and of each set in `any` one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub all: BTreeSet<Scope>,
    pub any: BTreeSet<BTreeSet<Scope>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    pub scopes: BTreeSet<Scope>,
    /// Whether no smaller set would do, and not only none that was found.
    pub is_least: bool,
}

impl Needs {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.any.is_empty()
    }

    pub fn and(&self, other: &Self) -> Self {
        Self { all: &self.all | &other.all, any: &self.any | &other.any }
    }

    /// The smallest set, beside what is `given` anyway.
    pub fn cover(&self, given: &BTreeSet<Scope>) -> Cover {
        let needed: BTreeSet<Scope> = self.all.iter().filter(|scope| !satisfied(given, scope)).cloned().collect();
        let mut known = given | &needed;
        let open: Vec<&BTreeSet<Scope>> = self.any.iter().filter(|any| !any.iter().any(|scope| satisfied(&known, scope))).collect();
        let (chosen, is_least) = hit(&open);
        known.extend(chosen.iter().cloned());
        let scopes: BTreeSet<Scope> = needed.into_iter().chain(chosen).collect();
        // A wildcard that a route asks for by name has what is below it in it.
        let within = |scope: &Scope| known.iter().any(|wider| wider != scope && wider.satisfies(scope.as_str()));
        Cover { scopes: scopes.iter().filter(|scope| !within(scope)).cloned().collect(), is_least }
    }
}

/// Whether some scope of a set is enough where this one is asked for.
pub fn satisfied(held: &BTreeSet<Scope>, asked: &Scope) -> bool {
    held.iter().any(|held| held.satisfies(asked.as_str()))
}

/// The fewest scopes of which each set has one; of several such the first in order. The question is that of a least hitting set, which has no
/// quick answer: where there are too many sets to try all, the scope that most of them have is taken, again and again.
fn hit(sets: &[&BTreeSet<Scope>]) -> (BTreeSet<Scope>, bool) {
    let greedy = greedily(sets);
    let mut search = Search { sets, best: greedy.clone(), left: PATIENCE };
    search.run(&mut BTreeSet::new());
    let is_least = search.left > 0;
    (search.best, is_least)
}

fn greedily(sets: &[&BTreeSet<Scope>]) -> BTreeSet<Scope> {
    let mut chosen = BTreeSet::new();
    loop {
        let open: Vec<_> = sets.iter().filter(|set| set.iter().all(|scope| !satisfied(&chosen, scope))).collect();
        let candidates: BTreeSet<&Scope> = open.iter().flat_map(|set| set.iter()).collect();
        let hits = |scope: &Scope| open.iter().filter(|set| set.iter().any(|one| scope.satisfies(one.as_str()))).count();
        // The first of the best, since the last maximum is what `max_by_key` gives.
        let Some(best) = candidates.into_iter().rev().max_by_key(|scope| hits(scope)) else { return chosen };
        chosen.insert(best.clone());
    }
}

struct Search<'a> {
    sets: &'a [&'a BTreeSet<Scope>],
    best: BTreeSet<Scope>,
    /// Partial sets that may still be looked at.
    left: usize,
}

impl Search<'_> {
    /// Tries each scope of the first set that `chosen` leaves open.
    fn run(&mut self, chosen: &mut BTreeSet<Scope>) {
        self.left = self.left.saturating_sub(1);
        let open = self.sets.iter().copied().find(|set| set.iter().all(|scope| !satisfied(chosen, scope)));
        let Some(open) = open else {
            if chosen.len() < self.best.len() {
                self.best = chosen.clone();
            }
            return;
        };
        for scope in open {
            if self.left == 0 || chosen.len() + 1 >= self.best.len() {
                return;
            }
            chosen.insert(scope.clone());
            self.run(chosen);
            chosen.remove(scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<Scope> {
        texts.iter().map(|text| Scope::parse(text).unwrap()).collect()
    }

    fn cover(all: &[&str], any: &[&[&str]], given: &[&str]) -> (Vec<String>, bool) {
        let needs = Needs { all: set(all), any: any.iter().map(|texts| set(texts)).collect() };
        let cover = needs.cover(&set(given));
        (cover.scopes.iter().map(ToString::to_string).collect(), cover.is_least)
    }

    #[test]
    fn what_was_needed_is_covered_by_the_fewest_scopes() {
        let least = |texts: &[&str]| (texts.iter().map(|text| (*text).to_owned()).collect(), true);
        assert_eq!(cover(&[], &[], &[]), least(&[]));
        assert_eq!(cover(&["a:b", "c:d"], &[], &[]), least(&["a:b", "c:d"]));
        assert_eq!(cover(&["a:b"], &[&["a:b", "c:d"]], &[]), least(&["a:b"]), "one of the others is needed anyway");
        assert_eq!(cover(&[], &[&["a:b", "c:d"], &["c:d", "e:f"]], &[]), least(&["c:d"]));
        assert_eq!(cover(&[], &[&["c:d", "a:b"]], &[]), least(&["a:b"]), "the first of equals");
        assert_eq!(cover(&["a:b", "c:d"], &[&["e:f", "g:h"]], &["a:*", "g:h"]), least(&["c:d"]), "roles give the rest");
        assert_eq!(cover(&["admin:*", "admin:read"], &[], &[]), least(&["admin:*"]), "a route that asks for the wildcard itself");
        // Greedy would take `x:x` first, and then needs three.
        let sets: &[&[&str]] = &[&["l:l", "x:x"], &["l:l", "y:y"], &["r:r", "x:x"], &["r:r", "z:z"], &["l:l"], &["r:r"]];
        assert_eq!(cover(&[], sets, &[]), least(&["l:l", "r:r"]));
    }

    #[test]
    fn where_not_all_sets_can_be_tried_what_is_found_still_covers_and_says_so() {
        // Triples over fifty scopes that overlap in no simple way.
        let names: Vec<String> = (0..50).map(|number| format!("s:{number:02}")).collect();
        let triples: Vec<Vec<&str>> = (0..200_usize).map(|n| [n * 7, n * 13 + 3, n * 29 + 11].map(|at| names[at % 50].as_str()).to_vec()).collect();
        let any: Vec<&[&str]> = triples.iter().map(Vec::as_slice).collect();
        let (scopes, is_least) = cover(&[], &any, &[]);
        assert!(!is_least && scopes.len() < 30, "{scopes:?}");
        assert!(triples.iter().all(|triple| triple.iter().any(|scope| scopes.iter().any(|one| one == scope))));
    }
}
