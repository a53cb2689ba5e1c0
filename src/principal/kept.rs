//! A principal as the store has it: a managed key, or what another source proved with what the store adds.
//! Outlives none of its parts: another record, profile, assignment or role makes another principal.

use std::fmt;
use std::sync::Arc;

use super::book::RoleBook;
use super::caller::{At, Caller, Principal, Proved, Who};
use super::record::{Key, Profile};
use super::roles::Roles;
use crate::jose::Claims;
use crate::scope::{Scope, ScopeSet, Universe};

/// A principal, and what it was put together from.
pub struct Kept {
    pub principal: Principal,
    /// Seconds since 1970; from then on the credential is refused.
    pub until: Option<i64>,
    pub profile: Option<Arc<Profile>>,
    at: At,
    base: Base,
    assigned: Option<Names>,
    roles: Arc<RoleBook>,
}

type Names = Arc<[Box<str>]>;

/// What was proved before the store was asked.
enum Base {
    /// An entry of the snapshot that all this belongs to.
    Listed,
    Proved(Arc<Proved>),
    Key(Arc<Key>),
}

/// What a principal is to be put together from.
#[derive(Clone, Copy)]
pub(super) struct Parts<'p> {
    pub at: At,
    pub from: Basis<'p>,
    pub profile: Option<&'p Arc<Profile>>,
    pub assigned: Option<&'p Names>,
    pub roles: &'p Arc<RoleBook>,
}

#[derive(Clone, Copy)]
pub(super) enum Basis<'p> {
    Caller(&'p Caller<'p>),
    /// A key, and until when this secret of it counts.
    Key(&'p Arc<Key>, Option<i64>),
}

impl Kept {
    /// Whether it would be put together from these very parts. Whoever asks knows that the token is the same.
    pub(super) fn is_of(&self, parts: &Parts<'_>) -> bool {
        let base = match (&self.base, parts.from) {
            (Base::Key(known), Basis::Key(key, _)) => Arc::ptr_eq(known, key),
            (Base::Proved(known), Basis::Caller(Caller { who: Who::Proved(proved), .. })) => Arc::ptr_eq(known, proved),
            (Base::Listed, Basis::Caller(Caller { who: Who::Listed(_), .. })) => true,
            (Base::Key(_) | Base::Proved(_) | Base::Listed, Basis::Key(..) | Basis::Caller(_)) => false,
        };
        let same_profile = same(self.profile.as_ref(), parts.profile);
        base && same_profile && same(self.assigned.as_ref(), parts.assigned) && Arc::ptr_eq(&self.roles, parts.roles) && self.at == parts.at
    }

    pub(super) fn new(parts: &Parts<'_>, (roles, universe): (&Roles, &Universe)) -> Self {
        let Parts { at, from, profile, assigned, roles: book } = *parts;
        let Bare { base, id, mut scopes, mut names, tenant, email, claims, restricted, until } = from.bare();
        let tenant = tenant.or(profile.and_then(|profile| profile.tenant.as_deref()));
        let elsewhere = |name: &str| book.get(tenant, name);
        let stored = [from.key().map(|key| &key.roles), profile.map(|profile| &profile.roles), assigned].into_iter().flatten();
        for name in stored.flat_map(|names| names.iter()) {
            // An assignment may outlive its role: it grants nothing then, and nobody is told of it.
            let is_known = roles.knows(name) || elsewhere(name).is_some();
            if is_known && !names.iter().any(|known| **known == **name) {
                names.push(name.to_string());
            }
        }
        scopes.extend(profile.iter().flat_map(|profile| profile.scopes.iter().cloned()));
        let (roles, granted) = roles.combine_with(names, &elsewhere);
        let principal = Principal {
            id: profile.map_or(id, |profile| &profile.id).into(),
            scopes: ScopeSet::with_roles(scopes, granted, universe),
            roles,
            tenant: tenant.map(Into::into),
            email: profile.map(|profile| &*profile.email).or(email).map(Into::into),
            claims,
            restricted,
        };
        Self { principal, until, profile: profile.cloned(), at, base, assigned: assigned.cloned(), roles: Arc::clone(book) }
    }

    pub fn key(&self) -> Option<&Arc<Key>> {
        match &self.base {
            Base::Key(key) => Some(key),
            Base::Listed | Base::Proved(_) => None,
        }
    }
}

/// Who it is without what the store adds.
struct Bare<'p> {
    base: Base,
    id: &'p str,
    scopes: Vec<Scope>,
    names: Vec<String>,
    tenant: Option<&'p str>,
    email: Option<&'p str>,
    claims: Arc<Claims>,
    restricted: bool,
    until: Option<i64>,
}

impl<'p> Basis<'p> {
    fn key(self) -> Option<&'p Arc<Key>> {
        match self {
            Self::Key(key, _) => Some(key),
            Self::Caller(_) => None,
        }
    }

    fn bare(self) -> Bare<'p> {
        let caller = match self {
            Self::Key(key, until) => {
                return Bare {
                    base: Base::Key(Arc::clone(key)),
                    id: &key.id,
                    scopes: key.scopes.to_vec(),
                    names: Vec::new(),
                    tenant: key.tenant.as_deref(),
                    email: None,
                    claims: Arc::default(),
                    restricted: false,
                    until,
                };
            }
            Self::Caller(caller) => caller,
        };
        let (base, principal) = match &caller.who {
            Who::Listed(_) => (Base::Listed, None),
            Who::Proved(proved) => (Base::Proved(Arc::clone(proved)), Some(&proved.principal)),
            Who::Kept(kept) => (Base::Listed, Some(&kept.principal)),
        };
        Bare {
            base,
            id: caller.id(),
            scopes: caller.scopes().own().to_vec(),
            names: caller.roles().assigned().to_vec(),
            tenant: caller.tenant(),
            email: principal.and_then(|principal| principal.email.as_deref()),
            claims: principal.map(|principal| Arc::clone(&principal.claims)).unwrap_or_default(),
            restricted: caller.is_restricted(),
            until: caller.until(),
        }
    }
}

fn same<T: ?Sized>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Kept").field("principal", &self.principal).finish_non_exhaustive()
    }
}
