//! Every source of credentials, and the trial: a token is offered to the sources of its place in order, and the first that accepts wins.
//! A source that cannot answer makes a refusal of all others a doubt, never an allow.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use super::caller::{At, Caller, Listed, Proved, SourceId, Who};
use super::certificate::{self, Identities, Identity};
use super::grant::{Grant, names};
use super::jwt::{Failed, Jwt, Parsed, bound};
use super::roles::Roles;
use super::roster::Roster;
use super::world::{Backing, Memory, Settled, Wait};
use super::{Cause, Proof, roster};
use crate::credential::certificate::Certificate;
use crate::credential::digest::{Tag, TagKey};
use crate::credential::{Place, Presented};
use crate::jose::Claims;
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
    list: Vec<Source>,
    places: Vec<(Place, Vec<SourceId>)>,
    pub roles: Roles,
    universe: Universe,
    key: TagKey,
    memory: Box<dyn Memory>,
    backing: Option<Backing>,
}

/// The circumstances of a request beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Seconds since 1970.
    pub now: i64,
    /// Whether a query parameter may be a credential here.
    pub query: bool,
    /// What became of waiting for the outside, so far.
    pub settled: &'a [(At, Settled)],
}

/// What is known of a presented token, each part worked out once.
struct Trial<'t> {
    token: &'t str,
    tag: Tag,
    parsed: OnceCell<Option<Parsed<'t>>>,
    remembered: OnceCell<Option<Arc<Proved>>>,
    link: Link<'t>,
    certificate: OnceCell<Option<Cow<'t, Certificate>>>,
    now: i64,
}

/// One means' answer to a token.
enum Said<'s> {
    Caller(Caller<'s>),
    No(Cause, Option<Cow<'s, str>>),
    Unreachable,
    Waits(Wait),
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
        Self { list, places, roles, universe, key, memory, backing: None }
    }

    /// From now on decisions depend on what this store holds, too.
    pub fn back(&mut self, backing: Backing) {
        self.backing = Some(backing);
    }

    pub fn list(&self) -> &[Source] {
        &self.list
    }

    pub fn authenticate<H: Headers>(&self, view: &RequestView<'_, H>, asked: Asked<'_>) -> Proof<'_> {
        match self.first_presented(view, asked) {
            proof @ (Proof::Caller(_) | Proof::Ambiguous | Proof::Waits(_)) => proof,
            proof @ (Proof::Nothing | Proof::Refused { .. } | Proof::Unreachable) => self.anybody().unwrap_or(proof),
        }
    }

    fn first_presented<H: Headers>(&self, view: &RequestView<'_, H>, asked: Asked<'_>) -> Proof<'_> {
        for (place, readers) in &self.places {
            match place.read(view, asked.query) {
                Presented::Nothing => {}
                Presented::Ambiguous => return Proof::Ambiguous,
                Presented::Malformed => return Proof::Refused { cause: Cause::Malformed, id: None },
                Presented::Token(token) => return self.prove(&token, (place, readers), view.link, asked),
                Presented::Certificate => return self.identify(view.link, (place, readers), asked.now),
            }
        }
        Proof::Nothing
    }

    /// Tries a token at each source that reads its place.
    fn prove<'s>(&'s self, token: &str, (place, readers): (&'s Place, &[SourceId]), link: Link<'_>, asked: Asked<'_>) -> Proof<'s> {
        let tag = self.key.of_token(token);
        let trial = Trial { token, tag, parsed: OnceCell::new(), remembered: OnceCell::new(), link, certificate: OnceCell::new(), now: asked.now };
        let mut refused = (Cause::Unknown, None);
        let (mut unreachable, mut waits) = (false, None);
        for (id, source) in readers.iter().filter_map(|id| Some((*id, self.list.get(id.0)?))) {
            for (means, proof) in source.means.iter().enumerate() {
                let at = At { source: id, means };
                match self.ask((source, proof), at, &trial, asked) {
                    Said::Caller(caller) => return Proof::Caller(Caller { place: Some(place), ..caller }),
                    Said::No(cause, id) if telling(cause) >= telling(refused.0) => refused = (cause, id),
                    Said::No(..) => {}
                    Said::Unreachable => unreachable = true,
                    Said::Waits(wait) => waits = waits.or(Some(wait)),
                }
            }
        }
        match (waits, unreachable) {
            (Some(wait), _) => Proof::Waits(wait),
            (None, true) => Proof::Unreachable,
            (None, false) => Proof::Refused { cause: refused.0, id: refused.1 },
        }
    }

    fn ask<'s>(&'s self, (source, means): (&'s Source, &'s Means), at: At, trial: &Trial<'_>, asked: Asked<'_>) -> Said<'s> {
        let caller = |who| Said::Caller(Caller { source: at.source, credential: &source.name, place: None, who });
        match means {
            Means::Listed(roster) => match roster.find(trial.token, trial.tag, asked.now) {
                Ok((entry, until)) => {
                    let listed = self.listed(roster, entry);
                    listed.map_or(Said::No(Cause::Unknown, None), |listed| caller(Who::Listed(Listed { until, ..listed })))
                }
                Err((cause, entry)) => Said::No(cause, entry.map(|entry| Cow::Borrowed(&*entry.id))),
            },
            // Who comes with a certificate shows no token.
            Means::Certificate(_) | Means::Noop(_) => Said::No(Cause::Unknown, None),
            Means::Signed(signed) => match self.recall(at, trial, asked.now, signed) {
                Some(proved) => trial.bound(proved, caller),
                None => self.verify(signed, at, trial, asked, caller),
            },
            Means::Introspected(introspected) => self.introspect(introspected, at, trial, asked, caller),
        }
    }

    /// A proof from before, if it would be the same now: not over, and by the key set of today.
    fn recall(&self, at: At, trial: &Trial<'_>, now: i64, signed: &Signed) -> Option<Arc<Proved>> {
        let proved = trial.remembered(&*self.memory).filter(|proved| proved.at == at)?;
        let current = signed.jwt.keys.current(now);
        let same = matches!((&current, &proved.keys), (Some(current), Some(used)) if Arc::ptr_eq(current, used));
        if same && now < proved.until {
            return Some(proved);
        }
        self.memory.forget(trial.tag);
        None
    }

    fn verify<'s>(&'s self, signed: &Signed, at: At, trial: &Trial<'_>, asked: Asked<'_>, caller: impl Fn(Who<'s>) -> Said<'s>) -> Said<'s> {
        let Some(parsed) = trial.parsed.get_or_init(|| Parsed::read(trial.token)) else { return Said::No(Cause::Unknown, None) };
        let settled = asked.settled.iter().find(|(settled, _)| *settled == at).map(|(_, settled)| settled);
        let proof = match signed.jwt.prove(parsed, asked.now) {
            Ok(proof) => proof,
            Err(Failed::NotOurs(cause)) => return Said::No(cause, None),
            Err(Failed::UnknownKey | Failed::NoKeys) if settled.is_none() && signed.jwt.keys.is_live() => {
                return Said::Waits(Wait { at, token: None });
            }
            // A key that is not there, and nobody to say whether it should be.
            Err(Failed::UnknownKey) if matches!(settled, Some(Settled::Unreachable)) => return Said::Unreachable,
            Err(Failed::UnknownKey) => return Said::No(Cause::UnknownKey, None),
            Err(Failed::NoKeys) => return Said::Unreachable,
            Err(Failed::Because(cause)) => {
                // Whose token it would be may be told only once its signature holds; an expired one's does.
                let id = (cause == Cause::Expired).then(|| signed.grant.id(&parsed.claims).ok()).flatten();
                return Said::No(cause, id.map(|id| Cow::Owned(id.into_string())));
            }
        };
        let principal = match signed.grant.principal(Arc::clone(&parsed.claims), proof.key, &self.universe, &self.roles) {
            Ok(principal) => principal,
            Err(cause) => return Said::No(cause, None),
        };
        let lasting = proof.keys.is_some();
        let proved = Arc::new(Proved { at, keys: proof.keys, until: proof.until, bound: proof.bound, principal });
        if lasting {
            self.memory.keep(trial.tag, &proved);
        }
        trial.bound(proved, caller)
    }

    fn introspect<'s>(
        &'s self,
        introspected: &Introspected,
        at: At,
        trial: &Trial<'_>,
        asked: Asked<'_>,
        caller: impl Fn(Who<'s>) -> Said<'s>,
    ) -> Said<'s> {
        let Some((_, settled)) = asked.settled.iter().find(|(settled, _)| *settled == at) else {
            return Said::Waits(Wait { at, token: Some(trial.token.into()) });
        };
        let claims = match settled {
            Settled::Active(claims) => claims,
            Settled::Inactive => return Said::No(Cause::Inactive, None),
            Settled::Unreachable | Settled::Refreshed => return Said::Unreachable,
        };
        let proved = introspected.check(claims, asked.now).and_then(|(until, bound)| {
            let principal = introspected.grant.principal(Arc::clone(claims), 0, &self.universe, &self.roles)?;
            Ok(Arc::new(Proved { at, keys: None, until, bound, principal }))
        });
        match proved {
            // Who asked the issuer remembers its answer, and for how long it counts.
            Ok(proved) => trial.bound(proved, caller),
            Err(cause) => Said::No(cause, None),
        }
    }

    fn anybody(&self) -> Option<Proof<'_>> {
        self.list.iter().enumerate().find_map(|(index, source)| {
            let identity = source.means.iter().find_map(|means| match means {
                Means::Noop(identity) => Some(identity),
                Means::Listed(_) | Means::Signed(_) | Means::Certificate(_) | Means::Introspected(_) => None,
            })?;
            let who = Who::Listed(identity.listed(&self.roles)?);
            Some(Proof::Caller(Caller { source: SourceId(index), credential: &source.name, place: None, who }))
        })
    }

    /// The caller of a connection whose client showed a certificate.
    fn identify<'s>(&'s self, link: Link<'_>, (place, readers): (&'s Place, &[SourceId]), now: i64) -> Proof<'s> {
        let certificate = match link.certificate.map(|shown| certificate::read(shown, now)).transpose() {
            Ok(certificate) => certificate,
            Err(cause) => return Proof::Refused { cause, id: None },
        };
        let until = certificate.as_ref().map(|certificate| certificate.not_after.saturating_add(1));
        for (id, source) in readers.iter().filter_map(|id| Some((*id, self.list.get(id.0)?))) {
            for means in &source.means {
                let Means::Certificate(identities) = means else { continue };
                if let Some(listed) = identities.find(link.principal, certificate.as_deref(), &self.roles) {
                    return Proof::Caller(Caller {
                        source: id,
                        credential: &source.name,
                        place: Some(place),
                        who: Who::Listed(Listed { until, ..listed }),
                    });
                }
            }
        }
        Proof::Refused { cause: Cause::Unknown, id: None }
    }

    fn listed<'s>(&'s self, roster: &'s Roster, entry: &'s roster::Entry) -> Option<Listed<'s>> {
        let (scopes, roles) = (roster.scopes(entry)?, self.roles.set(entry.roles)?);
        Some(Listed { id: &entry.id, scopes, roles, tenant: roster.tenant(entry), restricted: entry.restricted, until: None })
    }

    /// The caller that a credential id stands for, where an operator asks on its behalf.
    pub fn by_id(&self, id: &str) -> Option<Caller<'_>> {
        self.list.iter().enumerate().find_map(|(index, source)| {
            let listed = source.means.iter().find_map(|means| match means {
                Means::Listed(roster) => self.listed(roster, roster.by_id(id)?),
                Means::Certificate(identities) => identities.by_id(id, &self.roles),
                Means::Signed(_) | Means::Introspected(_) | Means::Noop(_) => None,
            })?;
            Some(Caller { source: SourceId(index), credential: &source.name, place: None, who: Who::Listed(listed) })
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
        self.places.iter().filter(move |(_, readers)| !kept(readers)).map(|(place, _)| place)
    }

    /// The headers that some source reads.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.places.iter().filter_map(|(place, _)| match place {
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

    /// How many tokens may be presented, rotated ones in their grace included.
    pub fn tokens(&self) -> usize {
        let listed = |means: &Means| match means {
            Means::Listed(roster) => roster.len(),
            Means::Signed(_) | Means::Certificate(_) | Means::Introspected(_) | Means::Noop(_) => 0,
        };
        self.list.iter().flat_map(|source| &source.means).map(listed).sum()
    }
}

/// Of several sources' causes the operator gets that of the source that the token is most likely of: rather than of one that never heard
/// of it, of another issuer's, of one for another kind of token, or of one whose keys did not sign it.
fn telling(cause: Cause) -> usize {
    let vague = [Cause::Unknown, Cause::Inactive, Cause::Issuer, Cause::Typ, Cause::UnknownKey, Cause::Signature];
    vague.iter().position(|known| *known == cause).unwrap_or(vague.len())
}

impl Trial<'_> {
    fn remembered(&self, memory: &dyn Memory) -> Option<Arc<Proved>> {
        self.remembered.get_or_init(|| memory.recall(self.tag)).clone()
    }

    /// A token that is bound to a certificate counts only with that certificate, each time.
    fn bound<'s>(&self, proved: Arc<Proved>, caller: impl Fn(Who<'s>) -> Said<'s>) -> Said<'s> {
        let Some(thumbprint) = &proved.bound else { return caller(Who::Proved(proved)) };
        let shown = self.certificate.get_or_init(|| self.link.certificate.and_then(|shown| certificate::read(shown, self.now).ok()));
        match shown {
            Some(certificate) if certificate.sha256 == *thumbprint => caller(Who::Proved(proved)),
            Some(_) | None => Said::No(Cause::Bound, None),
        }
    }
}

impl Introspected {
    /// What RFC 7662 §2.2 lets an answer say; gives the second from which it counts no more.
    fn check(&self, claims: &Claims, now: i64) -> Result<(i64, Option<[u8; 32]>), Cause> {
        let date = |name: &str| claims.date(name).map_err(|_| Cause::Claims);
        if date("nbf")?.is_some_and(|start| start > now) {
            return Err(Cause::NotYetValid);
        }
        let expires = date("exp")?.unwrap_or(i64::MAX);
        if now >= expires {
            return Err(Cause::Expired);
        }
        if self.issuer.as_deref().is_some_and(|issuer| claims.text("iss") != Some(issuer)) {
            return Err(Cause::Issuer);
        }
        if !self.audiences.is_empty() {
            let said = names(claims, "aud")?;
            if !said.iter().any(|said| self.audiences.iter().any(|audience| **audience == **said)) {
                return Err(Cause::Audience);
            }
        }
        Ok((expires, bound(claims)?))
    }
}

impl std::fmt::Debug for Trial<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Trial(…)")
    }
}
