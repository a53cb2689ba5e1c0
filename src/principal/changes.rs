//! Two readings of the credentials into what differs: who is new, who is gone, who has another secret, window, scope, role or tenant.
//! Shows ids; compares secrets by their keyed tags, which say nothing of them.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::Serialize;

use super::roles::RoleSet;
use super::roster::{Entry, Roster};
use super::{Means, Source, Sources};
use crate::scope::ScopeSet;

/// Names beyond these are only counted.
const NAMED: usize = 100;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    pub count: usize,
    /// The first hundred of them.
    pub first: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub added: Names,
    pub removed: Names,
    pub changed: Names,
}

/// What became of the entries of `credentials`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CredentialChanges {
    pub added: Names,
    pub removed: Names,
    /// Those who are listed, by the source's name; a source without a difference is left out.
    pub tokens: BTreeMap<String, Difference>,
}

impl Names {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(name.to_owned());
        }
    }
}

impl Difference {
    /// Of what has a name and can be told as one text.
    pub fn of(old: Vec<(&str, String)>, new: Vec<(&str, String)>) -> Self {
        let mut difference = Self::default();
        let mut left: HashMap<&str, String> = old.iter().cloned().collect();
        for (name, told) in new {
            match left.remove(name) {
                None => difference.added.add(name),
                Some(before) if before != told => difference.changed.add(name),
                Some(_) => {}
            }
        }
        old.iter().filter(|(name, _)| left.contains_key(name)).for_each(|(name, _)| difference.removed.add(name));
        difference
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Sources {
    /// A walk over everybody, twice: never for a request. Of a million it takes some ten megabytes while it goes on.
    pub fn changes_since(&self, old: &Self) -> CredentialChanges {
        let mut changes = CredentialChanges::default();
        let named = |list: &[Source], name: &str| list.iter().position(|source| *source.name == *name);
        for source in &old.list {
            if named(&self.list, &source.name).is_none() {
                changes.removed.add(&source.name);
                changes.note(&source.name, differences((old, Some(source)), (self, None)));
            }
        }
        for source in &self.list {
            let before = named(&old.list, &source.name).and_then(|place| old.list.get(place));
            if before.is_none() {
                changes.added.add(&source.name);
            }
            changes.note(&source.name, differences((old, before), (self, Some(source))));
        }
        changes
    }
}

impl CredentialChanges {
    fn note(&mut self, source: &str, difference: Difference) {
        if !difference.is_empty() {
            self.tokens.insert(source.to_owned(), difference);
        }
    }
}

type Of<'s, T> = (&'s Sources, Option<&'s T>);

fn differences((old, before): Of<'_, Source>, (new, after): Of<'_, Source>) -> Difference {
    let (was, is) = (rosters(before), rosters(after));
    let mut difference = Difference::of(identities((old, before)), identities((new, after)));
    for index in 0..was.len().max(is.len()) {
        compare((old, was.get(index).copied()), (new, is.get(index).copied()), &mut difference);
    }
    difference
}

fn rosters(source: Option<&Source>) -> Vec<&Roster> {
    let means = source.map(|source| &source.means[..]).unwrap_or_default();
    let listed = means.iter().filter_map(|means| match means {
        Means::Listed(roster) => Some(&**roster),
        Means::Signed(_) | Means::Certificate(_) | Means::Introspected(_) | Means::Managed(_) | Means::Noop(_) => None,
    });
    listed.collect()
}

/// Identities without a secret, each as one text.
fn identities<'s>((sources, source): Of<'s, Source>) -> Vec<(&'s str, String)> {
    let means = source.map(|source| &source.means[..]).unwrap_or_default();
    let each = means.iter().flat_map(|means| match means {
        Means::Certificate(identities) => &identities.0[..],
        Means::Noop(identity) => std::slice::from_ref(&**identity),
        Means::Listed(_) | Means::Signed(_) | Means::Introspected(_) | Means::Managed(_) => &[],
    });
    each.map(|identity| {
        let roles = sources.roles.set(identity.roles).map(RoleSet::joined);
        (&*identity.id, format!("{:?} {} {roles:?} {:?}", identity.name, identity.scopes.joined(), identity.tenant))
    })
    .collect()
}

/// No entry of the other reading.
const NOBODY: u32 = u32::MAX;

fn compare(old: Of<'_, Roster>, new: Of<'_, Roster>, difference: &mut Difference) {
    let entries = |of: Of<'_, Roster>| -> usize { of.1.map_or(0, |roster| roster.entries().count()) };
    let (after, before) = pair(old.1, new.1, (entries(old), entries(new)));
    let changed = match (old.1, new.1) {
        (Some(was), Some(is)) => changed((old.0, was), (new.0, is), (&after, &before)),
        (_, _) => Vec::new(),
    };
    let each = new.1.into_iter().flat_map(Roster::entries).zip(&before);
    for (index, (entry, before)) in each.enumerate() {
        if *before == NOBODY {
            difference.added.add(&entry.id);
        } else if changed.get(index).is_some_and(|changed| *changed) {
            difference.changed.add(&entry.id);
        }
    }
    let gone = old.1.into_iter().flat_map(Roster::entries).zip(&after).filter(|(_, after)| **after == NOBODY);
    gone.for_each(|(entry, _)| difference.removed.add(&entry.id));
}

/// For each old entry the new one with its id, and the other way round.
fn pair(old: Option<&Roster>, new: Option<&Roster>, (was, is): (usize, usize)) -> (Vec<u32>, Vec<u32>) {
    let (mut after, mut before) = (vec![NOBODY; was], vec![NOBODY; is]);
    let (Some(old), Some(new)) = (old, new) else { return (after, before) };
    let hasher = DefaultHashBuilder::default();
    let id = |index: u32| old.entry(index).map_or("", |entry| &*entry.id);
    let mut by_id: HashTable<u32> = HashTable::with_capacity(was);
    for (index, entry) in (0..).zip(old.entries()) {
        by_id.insert_unique(hasher.hash_one(&*entry.id), index, |index| hasher.hash_one(id(*index)));
    }
    for ((index, entry), before) in (0..).zip(new.entries()).zip(&mut before) {
        // Taken out, so that of two with one id each has its own.
        if let Ok(found) = by_id.find_entry(hasher.hash_one(&*entry.id), |known| id(*known) == &*entry.id) {
            *before = found.remove().0;
            if let Some(after) = after.get_mut(*before as usize) {
                *after = index;
            }
        }
    }
    (after, before)
}

/// For each new entry, whether the old one with its id was another.
fn changed(old: (&Sources, &Roster), new: (&Sources, &Roster), (after, before): (&[u32], &[u32])) -> Vec<bool> {
    let differs = |(entry, was): (&Entry, &u32)| old.1.entry(*was).is_some_and(|was| !is_same((old, was), (new, entry)));
    let mut changed: Vec<bool> = new.1.entries().zip(before).map(differs).collect();
    let mut note = |entry: u32| {
        if let Some(changed) = changed.get_mut(entry as usize) {
            *changed = true;
        }
    };
    for secret in new.1.secrets() {
        let was = before.get(secret.entry as usize).copied().unwrap_or(NOBODY);
        if old.1.secret(secret.tag).is_none_or(|known| known.entry != was || old.1.window(known) != new.1.window(secret)) {
            note(secret.entry);
        }
    }
    for secret in old.1.secrets() {
        let is = after.get(secret.entry as usize).copied().unwrap_or(NOBODY);
        if new.1.secret(secret.tag).is_none_or(|known| known.entry != is) {
            note(is);
        }
    }
    changed
}

type Place<'s> = ((&'s Sources, &'s Roster), &'s Entry);

fn is_same(((old, was_in), was): Place<'_>, ((new, is_in), is): Place<'_>) -> bool {
    was_in.scopes(was).map(ScopeSet::joined) == is_in.scopes(is).map(ScopeSet::joined)
        && old.roles.set(was.roles).map(RoleSet::joined) == new.roles.set(is.roles).map(RoleSet::joined)
        && was_in.tenant(was) == is_in.tenant(is)
        && was.restricted == is.restricted
}
