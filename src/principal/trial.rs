//! A presented token against every source that reads its place, in order: the first that accepts wins.
//! A source that cannot answer makes a refusal of all others a doubt, never an allow.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use super::amend::Open;
use super::caller::{At, Caller, Listed, Named, Proved, SourceId, Who};
use super::grant::names;
use super::jwt::{Failed, Parsed, bound};
use super::sources::{Asked, Introspected, Means, Signed, Source, Sources};
use super::world::{Memory, Settled, Wait};
use super::{Cause, Proof, certificate};
use crate::credential::Place;
use crate::credential::certificate::Certificate;
use crate::credential::digest::Tag;
use crate::jose::Claims;
use crate::request::Link;

/// What is known of a presented token, each part worked out once.
pub(super) struct Trial<'t> {
    pub token: &'t str,
    pub tag: Tag,
    parsed: OnceCell<Option<Parsed<'t>>>,
    remembered: OnceCell<Option<Arc<Proved>>>,
    link: Link<'t>,
    certificate: OnceCell<Option<Cow<'t, Certificate>>>,
    now: i64,
    pub open: &'t Open,
}

/// One means' answer to a token.
pub(super) enum Said<'s> {
    Caller(Caller<'s>),
    No(Cause, Option<Named<'s>>),
    Unreachable,
    Waits(Wait),
}

impl Sources {
    /// Tries a token at each source that reads its place.
    pub(super) fn prove<'s>(
        &'s self,
        token: &str,
        (place, readers): (&'s Place, &[SourceId]),
        link: Link<'_>,
        (asked, open): (Asked<'_>, &Open),
    ) -> Proof<'s> {
        let tag = self.key.of_token(token);
        let (parsed, remembered, certificate) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let trial = Trial { token, tag, parsed, remembered, link, certificate, now: asked.now, open };
        let mut refused = (Cause::Unknown, None);
        let (mut unreachable, mut waits) = (false, None);
        for (id, source) in readers.iter().filter_map(|id| Some((*id, self.list.get(id.0)?))) {
            for (means, proof) in source.means.iter().enumerate() {
                let at = At { source: id, means };
                match self.ask((source, proof), at, &trial, asked) {
                    Said::Caller(caller) => return self.amend(Caller { place: Some(place), ..caller }, (at, Some(tag)), (open, asked.now)),
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
            (None, false) => Proof::Refused { cause: refused.0, id: refused.1.filter(|_| refused.0 != Cause::Unknown) },
        }
    }

    fn ask<'s>(&'s self, (source, means): (&'s Source, &'s Means), at: At, trial: &Trial<'_>, asked: Asked<'_>) -> Said<'s> {
        let caller = |who| Said::Caller(Caller { source: at.source, credential: &source.name, place: None, who, factor: None });
        match means {
            Means::Listed(roster) => match roster.find(trial.token, trial.tag, asked.now) {
                Ok((entry, until)) => {
                    let listed = self.listed(roster, entry);
                    listed.map_or(Said::No(Cause::Unknown, None), |listed| caller(Who::Listed(Listed { until, ..listed })))
                }
                Err((cause, entry)) => Said::No(cause, entry.map(|entry| Named::Listed(&entry.id))),
            },
            // Who comes with a certificate shows no token.
            Means::Certificate(_) | Means::Noop(_) => Said::No(Cause::Unknown, None),
            Means::Signed(signed) => match self.recall(at, trial, asked.now, signed) {
                Some(proved) => trial.bound(proved, caller),
                None => self.verify(signed, at, trial, asked, caller),
            },
            Means::Managed(managed) => self.show_key(managed, at, trial, asked.now, caller),
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
                return Said::No(cause, id.map(Named::Said));
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
}

/// Of several sources' causes the operator gets that of the source that the token is most likely of: rather than of one that never heard
/// of it, of another issuer's, of one for another kind of token, or of one whose keys did not sign it.
fn telling(cause: Cause) -> usize {
    match cause {
        Cause::Unknown => 0,
        Cause::Inactive => 1,
        Cause::Issuer => 2,
        Cause::Typ => 3,
        Cause::UnknownKey => 4,
        Cause::Signature => 5,
        Cause::Malformed
        | Cause::Disabled
        | Cause::NotYetValid
        | Cause::Expired
        | Cause::Audience
        | Cause::Claims
        | Cause::Lifetime
        | Cause::Bound
        | Cause::Revoked
        | Cause::NoProfile => 6,
    }
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
