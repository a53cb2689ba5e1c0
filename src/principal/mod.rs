//! A presented credential into a [`Caller`], by the sources in the order of the file.
//! Never falls back to a later place: the first place that presents anything decides.

pub mod roles;
pub mod roster;

use std::sync::Arc;

use crate::credential::{Place, Presented};
use crate::jose::KeySet;
use crate::request::{Headers, RequestView};
use crate::scope::ScopeSet;
use roles::{RoleSet, Roles};
use roster::Roster;

/// A source's place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(pub usize);

/// Who a request comes from, and what that caller holds.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'s> {
    pub id: &'s str,
    pub source: SourceId,
    /// The source's name in the configuration.
    pub credential: &'s str,
    pub scopes: &'s ScopeSet,
    pub roles: &'s RoleSet,
    pub tenant: Option<&'s str>,
}

/// What the credentials of a request prove.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'s> {
    Caller(Caller<'s>),
    Nothing,
    Ambiguous,
    /// `id` is the principal that an expired or disabled credential would have been.
    Refused {
        cause: Cause,
        id: Option<&'s str>,
    },
}

/// Why a presented credential proves nothing. Seen by the operator only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Malformed,
    Unknown,
    Disabled,
    NotYetValid,
    Expired,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Disabled => "disabled",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
        }
    }
}

/// A key set that may change: the seam between what is pure and what is fetched.
pub trait Keys: std::fmt::Debug + Send + Sync {
    /// `None`: never loaded, or too old to count at `now`. The pointer is the set's version: another document, another pointer.
    fn current(&self, now: i64) -> Option<Arc<KeySet>>;
}

/// One entry of `credentials`.
#[derive(Debug)]
pub struct Source {
    pub name: Box<str>,
    /// Whether the upstream still sees the credential.
    pub forward: bool,
    pub places: Vec<Place>,
    pub roster: Roster,
}

/// Every source, and every place that some source reads in order of first mention.
#[derive(Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
    places: Vec<(Place, Vec<SourceId>)>,
    pub roles: Roles,
}

impl Sources {
    pub fn new(list: Vec<Source>, roles: Roles) -> Self {
        let mut places: Vec<(Place, Vec<SourceId>)> = Vec::new();
        for (index, source) in list.iter().enumerate() {
            for place in &source.places {
                match places.iter_mut().find(|(known, _)| known == place) {
                    Some((_, readers)) => readers.push(SourceId(index)),
                    None => places.push((place.clone(), vec![SourceId(index)])),
                }
            }
        }
        Self { list, places, roles }
    }

    /// `now` is in seconds since 1970.
    pub fn authenticate<H: Headers>(&self, view: &RequestView<'_, H>, now: i64) -> Proof<'_> {
        for (place, readers) in &self.places {
            match place.read(view) {
                Presented::Nothing => {}
                Presented::Ambiguous => return Proof::Ambiguous,
                Presented::Malformed => return Proof::Refused { cause: Cause::Malformed, id: None },
                Presented::Token(token) => return self.prove(token, readers, now),
            }
        }
        Proof::Nothing
    }

    fn prove(&self, token: &str, readers: &[SourceId], now: i64) -> Proof<'_> {
        let mut refused = Proof::Refused { cause: Cause::Unknown, id: None };
        for id in readers {
            let Some(source) = self.list.get(id.0) else { continue };
            match source.roster.find(token, now) {
                Ok(entry) => return self.caller(*id, source, entry),
                Err((Cause::Unknown, _)) => {}
                Err((cause, entry)) => refused = Proof::Refused { cause, id: entry.map(|entry| &*entry.id) },
            }
        }
        refused
    }

    fn caller<'s>(&'s self, id: SourceId, source: &'s Source, entry: &'s roster::Entry) -> Proof<'s> {
        match (source.roster.scopes(entry), self.roles.set(entry.roles)) {
            (Some(scopes), Some(roles)) => {
                Proof::Caller(Caller { id: &entry.id, source: id, credential: &source.name, scopes, roles, tenant: source.roster.tenant(entry) })
            }
            _ => Proof::Refused { cause: Cause::Unknown, id: Some(&entry.id) },
        }
    }

    /// The caller that a credential id stands for, where an operator asks on its behalf.
    pub fn by_id(&self, id: &str) -> Option<Caller<'_>> {
        self.list.iter().enumerate().find_map(|(index, source)| {
            let entry = source.roster.by_id(id)?;
            match self.caller(SourceId(index), source, entry) {
                Proof::Caller(caller) => Some(caller),
                Proof::Nothing | Proof::Ambiguous | Proof::Refused { .. } => None,
            }
        })
    }

    /// The headers to take from a request before it is forwarded: those of every place whose credential the upstream must not see.
    pub fn hidden_headers(&self, caller: Option<&Caller<'_>>) -> impl Iterator<Item = &Place> {
        let kept = move |readers: &[SourceId]| match caller {
            Some(caller) => readers.contains(&caller.source) && self.list.get(caller.source.0).is_some_and(|source| source.forward),
            None => readers.iter().all(|id| self.list.get(id.0).is_some_and(|source| source.forward)),
        };
        self.places.iter().filter(move |(_, readers)| !kept(readers)).map(|(place, _)| place)
    }

    /// How many tokens may be presented, rotated ones in their grace included.
    pub fn tokens(&self) -> usize {
        self.list.iter().map(|source| source.roster.len()).sum()
    }
}
