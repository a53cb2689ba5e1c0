//! A presented text into the managed key that it is: its form, its digest under every pepper, and the record of that digest.
//! Does the same work for a key that nobody knows, is disabled or has ended as for a good one.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Cause;
use super::book::Book;
use super::pepper::Peppers;
use super::record::{Changes, Key, KeyDigest};
use crate::credential::digest::Tag;
use crate::credential::key_format::{self, Fault, Format};

/// Keys of the store, in one of the two forms.
#[derive(Debug)]
pub struct Managed {
    pub format: Format,
    /// The second part of keys of the gate's own form. No other environment's keys count.
    pub environment: Box<str>,
    /// Whom a look-up finds where nobody has the key, and what their principals are remembered by.
    nobodies: Book,
    tags: Box<[Tag]>,
}

/// So many that they are about as far out of sight as the keys of those who call.
const NOBODIES: u8 = 64;

/// The one spelling of a key.
pub enum Canonical<'t> {
    AsItCame(&'t str),
    Lowered(Zeroizing<String>),
}

impl Canonical<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::AsItCame(text) => text,
            Self::Lowered(text) => text,
        }
    }
}

/// A record, and what it says of the text.
pub struct Found<'f> {
    pub key: &'f Arc<Key>,
    pub tag: Tag,
    /// Until when this secret counts.
    pub until: Option<i64>,
    pub verdict: Result<(), Cause>,
}

impl Managed {
    /// `tag` gives tags that nothing has which can be presented.
    pub fn new(format: Format, environment: &str, tag: impl Fn(&str) -> Tag) -> Self {
        let keys = (0..NOBODIES).map(|number| Key::new(format!("nobody-{number}"), nobody(number)));
        let nobodies = Book::default().with(Changes { keys: keys.collect(), ..Changes::default() });
        let tags = (0..NOBODIES).map(|number| tag(&number.to_string())).collect();
        Self { format, environment: environment.into(), nobodies, tags }
    }

    /// The spelling that keys are digested in. A text of the form that cannot be a key of this source has the fault of a checksum.
    pub fn canonical<'t>(&self, token: &'t str) -> Result<Canonical<'t>, Fault> {
        match self.format {
            Format::Uuid if token.bytes().any(|byte| byte.is_ascii_uppercase()) => key_format::uuid(token).map(Canonical::Lowered).ok_or(Fault::Form),
            Format::Uuid => key_format::uuid(token).map(|_| Canonical::AsItCame(token)).ok_or(Fault::Form),
            Format::Scopegate => match key_format::parse(token)? {
                parts if *parts.environment != *self.environment => Err(Fault::Checksum),
                _ => Ok(Canonical::AsItCame(token)),
            },
        }
    }

    /// `tag` is that of the text as it came.
    pub fn find<'f>(&'f self, (book, peppers): (&'f Book, &Peppers), (canonical, tag): (&str, Tag), now: i64) -> Option<Found<'f>> {
        // Under every pepper, whichever it is: what is found early ends no sooner.
        let (mut known, mut number) = (None, 0);
        for digest in peppers.digests(canonical) {
            known = known.or(book.by_digest(&digest).map(|key| (key, digest)));
            number = digest.0.first().map_or(0, |first| first % NOBODIES);
        }
        // One of the two look-ups finds something, the other one nothing.
        let digest = known.map_or(nobody(number), |(_, digest)| digest);
        let nobody = self.nobodies.by_digest(&digest);
        let tag = if known.is_some() { tag } else { *self.tags.get(usize::from(number))? };
        let key = known.map(|(key, _)| key).or(nobody)?;
        let (until, verdict) = standing(key, digest, now);
        Some(Found { key, tag, until, verdict: if known.is_some() { verdict } else { Err(Cause::Unknown) } })
    }
}

fn nobody(number: u8) -> KeyDigest {
    KeyDigest([number; 32])
}

/// Until when this secret of the key counts, and whether it does.
pub(super) fn standing(key: &Key, digest: KeyDigest, now: i64) -> (Option<i64>, Result<(), Cause>) {
    let grace = key.previous.filter(|(previous, _)| previous.is(&digest) && !key.digest.is(&digest)).map(|(_, until)| until);
    let until = [key.expires_at, grace].into_iter().flatten().min();
    let verdict = if key.revoked {
        Err(Cause::Revoked)
    } else if !key.enabled {
        Err(Cause::Disabled)
    } else if until.is_some_and(|until| now >= until) {
        Err(Cause::Expired)
    } else {
        Ok(())
    };
    (until, verdict)
}

impl std::fmt::Debug for Found<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Found").field("id", &self.key.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Canonical<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Canonical(…)")
    }
}
