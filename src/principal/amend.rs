//! What the store has to say of a caller that a source has proved: revoked, a profile's, with more roles; and of managed keys themselves.
//! Lets nobody through whom the store may have taken off: a book that is too old is nobody's proof.

use std::sync::Arc;

use super::book::Book;
use super::caller::{At, Caller, Named, Who};
use super::grant::is_confirmed;
use super::kept::{Basis, Kept, Parts};
use super::managed::Managed;
use super::record::{Key, Profile, Revoked};
use super::sources::{Means, Sources};
use super::trial::{Said, Trial};
use super::world::Shelved;
use super::{Cause, Proof};
use crate::credential::digest::Tag;
use crate::credential::key_format::Fault;

/// The store's records for the length of one decision.
pub(super) enum Open {
    /// There is no store.
    Without,
    /// There is one, and nobody knows what is in it now.
    Out,
    Book {
        book: Arc<Book>,
        /// What is not in the book may be in the store.
        in_doubt: bool,
    },
}

impl Open {
    fn in_doubt(&self) -> bool {
        match self {
            Self::Without | Self::Out => true,
            Self::Book { in_doubt, .. } => *in_doubt,
        }
    }
}

impl Sources {
    pub(super) fn open(&self) -> Open {
        match self.backing.as_ref().map(|backing| backing.shelf.book()) {
            None => Open::Without,
            Some(Shelved::Fresh(book)) => Open::Book { book, in_doubt: false },
            Some(Shelved::InDoubt(book)) => Open::Book { book, in_doubt: true },
            Some(Shelved::Stale | Shelved::Empty) => Open::Out,
        }
    }

    /// The caller with what the store adds; `tag` is that of its token.
    pub(super) fn amend<'s>(&'s self, caller: Caller<'s>, (at, tag): (At, Option<Tag>), (open, now): (&Open, i64)) -> Proof<'s> {
        let claim = self.profile_claim(at);
        let (book, in_doubt) = match (open, &caller.who) {
            (_, Who::Kept(_)) => return Proof::Caller(caller),
            (Open::Book { book, in_doubt }, _) => (book, *in_doubt),
            (Open::Without, _) if claim.is_none() => return Proof::Caller(caller),
            (Open::Without | Open::Out, _) => return Proof::Unreachable,
        };
        if is_revoked(book, &caller, now) {
            return refused(Cause::Revoked, Named::Said(caller.id().into()));
        }
        let profile = match claim.map(|path| profile(path, &caller, book)) {
            None => None,
            Some(Ok(profile)) if profile.enabled => Some(profile),
            Some(Ok(profile)) => return refused(Cause::Disabled, Named::Said(profile.id.clone())),
            Some(Err(None)) if in_doubt => return Proof::Unreachable,
            Some(Err(None)) => return Proof::NoProfile,
            Some(Err(Some(cause))) => return refused(cause, Named::Said(caller.id().into())),
        };
        let (tenant, id) = (caller.tenant(), profile.map_or(caller.id(), |profile| &profile.id));
        let (assigned, roles) = (book.assigned(tenant, id), book.roles());
        let adds = || !roles.is_empty() && caller.roles().assigned().iter().any(|name| roles.get(tenant, name).is_some());
        if profile.is_none() && assigned.is_none() && !adds() {
            return Proof::Caller(caller);
        }
        let kept = self.kept(&Parts { at, from: Basis::Caller(&caller), profile, assigned, roles }, tag);
        let caller = Caller { who: Who::Kept(kept), ..caller };
        // Its subject may be another one now.
        if is_revoked(book, &caller, now) { refused(Cause::Revoked, Named::Said(caller.id().into())) } else { Proof::Caller(caller) }
    }

    fn profile_claim(&self, at: At) -> Option<&str> {
        match self.list.get(at.source.0)?.means.get(at.means)? {
            Means::Signed(signed) => signed.grant.profile.as_deref(),
            Means::Listed(_) | Means::Certificate(_) | Means::Introspected(_) | Means::Managed(_) | Means::Noop(_) => None,
        }
    }

    /// A principal of these parts, from memory where they are the same as before.
    fn kept(&self, parts: &Parts<'_>, tag: Option<Tag>) -> Arc<Kept> {
        let known = tag.and_then(|tag| self.memory.recall_kept(tag)).filter(|known| known.is_of(parts));
        known.unwrap_or_else(|| {
            let kept = Arc::new(Kept::new(parts, (&self.roles, &self.universe)));
            if let Some(tag) = tag {
                self.memory.keep_kept(tag, &kept);
            }
            kept
        })
    }

    pub(super) fn show_key<'s>(&'s self, managed: &Managed, at: At, trial: &Trial<'_>, now: i64, caller: impl Fn(Who<'s>) -> Said<'s>) -> Said<'s> {
        let absent = || if trial.open.in_doubt() { Said::Unreachable } else { Said::No(Cause::Unknown, None) };
        let canonical = match managed.canonical(trial.token) {
            Ok(canonical) => canonical,
            Err(Fault::Form) => return Said::No(Cause::Unknown, None),
            // No look-up can find what was never made; it is answered like one that found nothing.
            Err(Fault::Checksum) => return absent(),
        };
        let (Some(backing), Open::Book { book, .. }) = (&self.backing, trial.open) else { return Said::Unreachable };
        let Some(found) = managed.find((book, &backing.peppers), (canonical.as_str(), trial.tag), now) else { return absent() };
        let (profile, verdict) = profile_of_key(book, found.key, found.verdict);
        let kept = self.kept(&parts_of_key(book, (found.key, found.until), profile, at), Some(found.tag));
        let revoked = is_key_revoked(book, (found.key, &kept), now);
        let verdict = if revoked { verdict.and(Err(Cause::Revoked)) } else { verdict };
        match verdict {
            Ok(()) => caller(Who::Kept(kept)),
            Err(Cause::Unknown | Cause::NoProfile) if trial.open.in_doubt() => Said::Unreachable,
            // Nobody's name too, which is dropped once all is said.
            Err(cause) => Said::No(cause, Some(Named::Kept(kept))),
        }
    }

    /// A good key by its id, without its secret.
    pub(super) fn key_by_id(&self, id: &str, at: At, open: &Open, now: i64) -> Option<Arc<Kept>> {
        let Open::Book { book, .. } = open else { return None };
        let key = book.key(id)?;
        let (profile, verdict) = profile_of_key(book, key, super::managed::standing(key, key.digest, now).1);
        let kept = self.kept(&parts_of_key(book, (key, key.expires_at), profile, at), None);
        (verdict.is_ok() && !is_key_revoked(book, (key, &kept), now)).then_some(kept)
    }
}

fn parts_of_key<'p>(book: &'p Book, (key, until): (&'p Arc<Key>, Option<i64>), profile: Option<&'p Arc<Profile>>, at: At) -> Parts<'p> {
    let tenant = key.tenant.as_deref().or(profile.and_then(|profile| profile.tenant.as_deref()));
    let id = profile.map_or(&key.id, |profile| &profile.id);
    Parts { at, from: Basis::Key(key, until), profile, assigned: book.assigned(tenant, id), roles: book.roles() }
}

/// The profile that a key stands for, and what is left of the verdict on the key: none without its profile, or with another tenant's.
fn profile_of_key<'b>(book: &'b Book, key: &Key, verdict: Result<(), Cause>) -> (Option<&'b Arc<Profile>>, Result<(), Cause>) {
    let Some(id) = key.profile.as_deref() else { return (None, verdict) };
    let profile = book.profile(id).filter(|profile| key.tenant.is_none() || key.tenant == profile.tenant);
    let own = match profile {
        None => Err(Cause::NoProfile),
        Some(profile) if !profile.enabled => Err(Cause::Disabled),
        Some(_) => Ok(()),
    };
    (profile, verdict.and(own))
}

/// The profile of the address that a token names. `Err(None)` where there is none, and a cause where the token names no address.
fn profile<'b>(path: &str, caller: &Caller<'_>, book: &'b Book) -> Result<&'b Arc<Profile>, Option<Cause>> {
    let claims = caller.claims().ok_or(Some(Cause::Claims))?;
    let email = claims.text(path).filter(|email| !email.is_empty() && is_confirmed(path, claims)).ok_or(Some(Cause::Claims))?;
    book.profile_of(caller.tenant(), &email.to_ascii_lowercase()).ok_or(None)
}

fn is_revoked(book: &Book, caller: &Caller<'_>, now: i64) -> bool {
    if !book.has_revocations() {
        return false;
    }
    let is = |kind: Revoked, value: &str| book.is_revoked(kind, caller.tenant(), value, now);
    let claim = |name: &str| caller.claims().and_then(|claims| claims.text(name));
    // The id may be made of another claim than the subject.
    is(Revoked::Subject, caller.id())
        || claim("sub").is_some_and(|subject| is(Revoked::Subject, subject))
        || claim("jti").is_some_and(|jti| is(Revoked::Jti, jti))
        || matches!(caller.who, Who::Listed(_)) && is(Revoked::Credential, caller.id())
}

fn is_key_revoked(book: &Book, (key, kept): (&Key, &Kept), now: i64) -> bool {
    let is = |kind: Revoked, value: &str| book.is_revoked(kind, kept.principal.tenant.as_deref(), value, now);
    book.has_revocations() && (is(Revoked::Credential, &key.id) || is(Revoked::Subject, &key.id) || is(Revoked::Subject, &kept.principal.id))
}

fn refused<'s>(cause: Cause, id: Named<'s>) -> Proof<'s> {
    Proof::Refused { cause, id: Some(id) }
}
