//! Every source of credentials, and the places that they read: the first place that presents anything decides.
//! Says nothing of how a credential is proved, and never falls back to a later place.

use super::amend::Open;
use super::caller::{At, Caller, Listed, SourceId, Who};
use super::certificate::{self, Identities, Identity};
use super::grant::Grant;
use super::jwt::Jwt;
use super::managed::Managed;
use super::roles::Roles;
use super::roster::Roster;
use super::world::{Backing, Memory, Settled};
use super::{Cause, Proof, factor, roster};
use crate::credential::digest::TagKey;
use crate::credential::{Place, Presented};
use crate::request::{Headers, Link, RequestView};
use crate::scope::Universe;

/// One entry of `credentials`.
#[derive(Debug)]
pub struct Source {
    pub name: Box<str>,
    /// Whether the upstream still sees the credential.
    pub forward: bool,
    pub places: Vec<Place>,
    /// Tried in order.
    pub means: Vec<Means>,
}

/// How a source proves a credential.
#[derive(Debug)]
pub enum Means {
    Listed(Box<Roster>),
    Signed(Box<Signed>),
    Certificate(Identities),
    Introspected(Box<Introspected>),
    Managed(Box<Managed>),
    /// Development only: whoever comes is this one.
    Noop(Box<Identity>),
}

#[derive(Debug)]
pub struct Signed {
    pub jwt: Jwt,
    pub grant: Grant,
}

/// An opaque token that its issuer is asked about (RFC 7662).
#[derive(Debug)]
pub struct Introspected {
    pub issuer: Option<Box<str>>,
    pub audiences: Box<[Box<str>]>,
    pub grant: Grant,
}

/// Every source, and every place that some source reads in order of first mention.
#[derive(Debug)]
pub struct Sources {
    pub(super) list: Vec<Source>,
    places: Vec<(Place, Vec<SourceId>)>,
    pub roles: Roles,
    pub(super) universe: Universe,
    pub(super) key: TagKey,
    pub(super) memory: Box<dyn Memory>,
    pub(super) backing: Option<Backing>,
    /// Whether there is a source that takes anybody.
    takes_anybody: bool,
    /// Where an MFA token may come; none where there is nobody to make one.
    factor: Option<Place>,
}

/// What the rule of a request asks of the proof.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Whether a query parameter may be a credential here.
    pub query: bool,
    /// Whether it matters when a second factor was shown.
    pub factor: bool,
}

/// The circumstances of a request beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Seconds since 1970.
    pub now: i64,
    pub wanted: Wanted,
    /// What became of waiting for the outside, so far.
    pub settled: &'a [(At, Settled)],
}

impl Sources {
    pub fn new(list: Vec<Source>, (key, universe, roles): (TagKey, Universe, Roles), memory: Box<dyn Memory>) -> Self {
        let mut places: Vec<(Place, Vec<SourceId>)> = Vec::new();
        for (index, source) in list.iter().enumerate() {
            for place in &source.places {
                match places.iter_mut().find(|(known, _)| known == place) {
                    Some((_, readers)) => readers.push(SourceId(index)),
                    None => places.push((place.clone(), vec![SourceId(index)])),
                }
            }
        }
        let takes_anybody = list.iter().flat_map(|source| &source.means).any(|means| matches!(means, Means::Noop(_)));
        Self { list, places, roles, universe, key, memory, backing: None, takes_anybody, factor: None }
    }

    /// From now on decisions depend on what this store holds, too.
    pub fn back(&mut self, backing: Backing) {
        self.backing = Some(backing);
        self.factor = Some(factor::place());
    }

    pub fn list(&self) -> &[Source] {
        &self.list
    }

    pub fn authenticate<H: Headers>(&self, view: &RequestView<'_, H>, asked: Asked<'_>) -> Proof<'_> {
        let open = self.open();
        let proof = match self.first_presented(view, asked, &open) {
            proof @ (Proof::Caller(_) | Proof::Ambiguous | Proof::NoProfile | Proof::Waits(_)) => proof,
            proof @ (Proof::Nothing | Proof::Refused { .. } | Proof::Unreachable) if self.takes_anybody => self.anybody().unwrap_or(proof),
            proof @ (Proof::Nothing | Proof::Refused { .. } | Proof::Unreachable) => proof,
        };
        let Proof::Caller(caller) = proof else { return proof };
        if asked.wanted.factor { self.with_factor(caller, view, &open, asked.now) } else { Proof::Caller(caller) }
    }

    fn first_presented<H: Headers>(&self, view: &RequestView<'_, H>, asked: Asked<'_>, open: &Open) -> Proof<'_> {
        for (place, readers) in &self.places {
            match (place.read(view, asked.wanted.query), open) {
                (Presented::Nothing, _) => {}
                (Presented::Ambiguous, _) => return Proof::Ambiguous,
                (Presented::Malformed, _) => return Proof::Refused { cause: Cause::Malformed, id: None },
                // Anything that is known may have been revoked meanwhile.
                (Presented::Token(_) | Presented::Certificate, Open::Out) => return Proof::Unreachable,
                (Presented::Token(token), _) => return self.prove(&token, (place, readers), view.link, (asked, open)),
                (Presented::Certificate, _) => return self.identify(view.link, (place, readers), (asked.now, open)),
            }
        }
        Proof::Nothing
    }

    /// The caller, with when it last showed a second factor.
    fn with_factor<'s, H: Headers>(&'s self, caller: Caller<'s>, view: &RequestView<'_, H>, open: &Open, now: i64) -> Proof<'s> {
        let login = caller.claims().and_then(|claims| factor::of_login(claims, now));
        let (Some(place), Some(backing), Open::Book { book, .. }) = (&self.factor, &self.backing, open) else {
            return Proof::Caller(Caller { factor: login, ..caller });
        };
        let token = match place.read(view, false) {
            Presented::Ambiguous => return Proof::Ambiguous,
            Presented::Nothing | Presented::Malformed | Presented::Certificate => None,
            Presented::Token(token) => {
                let enrolled = book.enrolled(caller.realm(), caller.tenant(), caller.id());
                enrolled.and_then(|enrolled| factor::of_token(&token, &backing.factors, (&caller, enrolled), now))
            }
        };
        Proof::Caller(Caller { factor: login.max(token), ..caller })
    }

    fn anybody(&self) -> Option<Proof<'_>> {
        self.list.iter().enumerate().find_map(|(index, source)| {
            let identity = source.means.iter().find_map(|means| match means {
                Means::Noop(identity) => Some(identity),
                Means::Listed(_) | Means::Signed(_) | Means::Certificate(_) | Means::Introspected(_) | Means::Managed(_) => None,
            })?;
            let who = Who::Listed(identity.listed(&self.roles)?);
            Some(Proof::Caller(Caller { source: SourceId(index), credential: &source.name, place: None, who, factor: None }))
        })
    }

    /// The caller of a connection whose client showed a certificate.
    fn identify<'s>(&'s self, link: Link<'_>, (place, readers): (&'s Place, &[SourceId]), (now, open): (i64, &Open)) -> Proof<'s> {
        let certificate = match link.certificate.map(|shown| certificate::read(shown, now)).transpose() {
            Ok(certificate) => certificate,
            Err(cause) => return Proof::Refused { cause, id: None },
        };
        let until = certificate.as_ref().map(|certificate| certificate.not_after.saturating_add(1));
        for (id, source) in readers.iter().filter_map(|id| Some((*id, self.list.get(id.0)?))) {
            for (means, proof) in source.means.iter().enumerate() {
                let Means::Certificate(identities) = proof else { continue };
                if let Some(listed) = identities.find(link.principal, certificate.as_deref(), &self.roles) {
                    let who = Who::Listed(Listed { until, ..listed });
                    let caller = Caller { source: id, credential: &source.name, place: Some(place), who, factor: None };
                    return self.amend(caller, (At { source: id, means }, None), (open, now));
                }
            }
        }
        Proof::Refused { cause: Cause::Unknown, id: None }
    }

    pub(super) fn listed<'s>(&'s self, roster: &'s Roster, entry: &'s roster::Entry) -> Option<Listed<'s>> {
        let (scopes, roles) = (roster.scopes(entry)?, self.roles.set(entry.roles)?);
        Some(Listed { id: &entry.id, scopes, roles, tenant: roster.tenant(entry), restricted: entry.restricted, until: None })
    }

    /// The caller that a credential id stands for, where an operator asks on its behalf.
    pub fn by_id(&self, id: &str, now: i64) -> Option<Caller<'_>> {
        let open = self.open();
        self.list.iter().enumerate().find_map(|(index, source)| {
            let caller = |who| Caller { source: SourceId(index), credential: &source.name, place: None, who, factor: None };
            source.means.iter().enumerate().find_map(|(means, proof)| {
                let at = At { source: SourceId(index), means };
                let listed = match proof {
                    Means::Listed(roster) => self.listed(roster, roster.by_id(id)?),
                    Means::Certificate(identities) => identities.by_id(id, &self.roles),
                    Means::Managed(_) => return self.key_by_id(id, at, &open, now).map(|kept| caller(Who::Kept(kept))),
                    Means::Signed(_) | Means::Introspected(_) | Means::Noop(_) => None,
                };
                match self.amend(caller(Who::Listed(listed?)), (at, None), (&open, now)) {
                    Proof::Caller(caller) => Some(caller),
                    Proof::Nothing | Proof::Ambiguous | Proof::Refused { .. } | Proof::NoProfile | Proof::Unreachable | Proof::Waits(_) => None,
                }
            })
        })
    }

    /// The places that the upstream must not see: those of every source but the caller's own where that one says `forward`.
    pub fn hidden(&self, caller: Option<&Caller<'_>>) -> impl Iterator<Item = &Place> {
        let forwards = |id: SourceId| self.list.get(id.0).is_some_and(|source| source.forward);
        let caller = caller.map(|caller| caller.source);
        let kept = move |readers: &[SourceId]| match caller {
            Some(source) => readers.contains(&source) && forwards(source),
            None => readers.iter().all(|id| forwards(*id)),
        };
        self.places.iter().filter(move |(_, readers)| !kept(readers)).map(|(place, _)| place).chain(&self.factor)
    }

    /// The headers that some source reads.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|(place, _)| place).chain(&self.factor).filter_map(|place| match place {
            Place::Bearer => Some("authorization"),
            Place::Header(name) => Some(&**name),
            Place::Cookie(_) => Some("cookie"),
            Place::Query(_) | Place::Certificate => None,
        })
    }

    /// Whether some source reads a cookie.
    pub fn reads_cookies(&self) -> bool {
        self.places.iter().any(|(place, _)| matches!(place, Place::Cookie(_)))
    }

    /// The sources of managed keys.
    pub fn managed(&self) -> impl Iterator<Item = &Managed> {
        self.list.iter().flat_map(|source| &source.means).filter_map(|means| match means {
            Means::Managed(managed) => Some(&**managed),
            Means::Listed(_) | Means::Signed(_) | Means::Certificate(_) | Means::Introspected(_) | Means::Noop(_) => None,
        })
    }

    /// How many tokens may be presented, rotated ones in their grace included.
    pub fn tokens(&self) -> usize {
        let listed = |means: &Means| match means {
            Means::Listed(roster) => roster.len(),
            Means::Signed(_) | Means::Certificate(_) | Means::Introspected(_) | Means::Managed(_) | Means::Noop(_) => 0,
        };
        self.list.iter().flat_map(|source| &source.means).map(listed).sum()
    }
}
