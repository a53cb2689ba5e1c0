//! Who a request comes from, whether listed in a file or proved by a signed token, in one form for all that ask.
//! Holds no token; what a token claimed is kept only after its proof.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::kept::Kept;
use super::record::{Key, Profile, Rate};
use super::roles::RoleSet;
use crate::credential::{Caching, Place};
use crate::jose::{Claims, KeySet};
use crate::scope::ScopeSet;

/// A source's place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(pub usize);

/// One means of proof: a source, and which of the means that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub source: SourceId,
    pub means: usize,
}

/// A caller and what it holds.
#[derive(Clone, Debug)]
pub struct Caller<'s> {
    pub source: SourceId,
    /// The source's name in the configuration.
    pub credential: &'s str,
    /// Where the credential was; `None` where an operator asks on somebody's behalf.
    pub place: Option<&'s Place>,
    pub who: Who<'s>,
    /// When a second factor was last shown, in seconds since 1970; known only where that was asked for.
    pub factor: Option<i64>,
}

#[derive(Clone, Debug)]
pub enum Who<'s> {
    Listed(Listed<'s>),
    Proved(Arc<Proved>),
    /// A managed key, or anybody to whom the store adds something.
    Kept(Arc<Kept>),
}

/// Who a refused credential would have been.
#[derive(Clone, Debug)]
pub enum Named<'s> {
    Listed(&'s str),
    Said(Box<str>),
    Kept(Arc<Kept>),
}

impl Named<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Listed(id) => id,
            Self::Said(id) => id,
            Self::Kept(kept) => &kept.principal.id,
        }
    }
}

/// An entry of a file, in the terms of its snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'s> {
    pub id: &'s str,
    pub scopes: &'s ScopeSet,
    pub roles: &'s RoleSet,
    pub tenant: Option<&'s str>,
    /// Known, and not for the service behind this gate.
    pub restricted: bool,
    /// Seconds since 1970; from then on the credential is refused.
    pub until: Option<i64>,
}

/// What a token proved, until when, and under which keys.
#[derive(Debug)]
pub struct Proved {
    pub at: At,
    /// The set that verified it; another set has to verify it again.
    pub keys: Option<Arc<KeySet>>,
    /// Seconds since 1970, leeway included; from then on it is refused.
    pub until: i64,
    /// RFC 8705 §3.1: SHA-256 of the client certificate that must come with it.
    pub bound: Option<[u8; 32]>,
    pub principal: Principal,
}

/// Who a token stands for.
pub struct Principal {
    pub id: Box<str>,
    pub scopes: ScopeSet,
    pub roles: RoleSet,
    pub tenant: Option<Box<str>>,
    pub email: Option<Box<str>>,
    pub claims: Arc<Claims>,
    pub restricted: bool,
}

/// The realm of whoever has a profile.
const PROFILE: &str = "profile";

impl Caller<'_> {
    fn kept(&self) -> Option<&Kept> {
        match &self.who {
            Who::Kept(kept) => Some(kept),
            Who::Listed(_) | Who::Proved(_) => None,
        }
    }

    /// The managed key that was shown.
    pub fn key(&self) -> Option<&Arc<Key>> {
        self.kept()?.key()
    }

    pub fn profile(&self) -> Option<&Arc<Profile>> {
        self.kept()?.profile.as_ref()
    }

    /// What ids are unique within: the credential's name, or all profiles.
    pub fn realm(&self) -> &str {
        if self.profile().is_some() { PROFILE } else { self.credential }
    }

    /// What the token says, where it says anything.
    pub fn claims(&self) -> Option<&Claims> {
        match &self.who {
            Who::Listed(_) => None,
            Who::Proved(proved) => Some(&proved.principal.claims),
            Who::Kept(kept) => Some(&kept.principal.claims),
        }
    }

    pub fn id(&self) -> &str {
        match &self.who {
            Who::Listed(listed) => listed.id,
            Who::Proved(proved) => &proved.principal.id,
            Who::Kept(kept) => &kept.principal.id,
        }
    }

    pub fn scopes(&self) -> &ScopeSet {
        match &self.who {
            Who::Listed(listed) => listed.scopes,
            Who::Proved(proved) => &proved.principal.scopes,
            Who::Kept(kept) => &kept.principal.scopes,
        }
    }

    pub fn roles(&self) -> &RoleSet {
        match &self.who {
            Who::Listed(listed) => listed.roles,
            Who::Proved(proved) => &proved.principal.roles,
            Who::Kept(kept) => &kept.principal.roles,
        }
    }

    pub fn tenant(&self) -> Option<&str> {
        match &self.who {
            Who::Listed(listed) => listed.tenant,
            Who::Proved(proved) => proved.principal.tenant.as_deref(),
            Who::Kept(kept) => kept.principal.tenant.as_deref(),
        }
    }

    /// A managed key's id, and the rate that it carries.
    pub fn rate(&self) -> Option<(&str, Rate)> {
        let key = self.key()?;
        key.rate.map(|rate| (&*key.id, rate))
    }

    /// What a cache has to be told of the answer.
    pub fn caching(&self) -> Caching<'_> {
        self.place.map_or(Caching::Known, Place::caching)
    }

    /// The second from which the credential counts no more, where that is known.
    pub fn until(&self) -> Option<i64> {
        match &self.who {
            Who::Listed(listed) => listed.until,
            Who::Proved(proved) => Some(proved.until),
            Who::Kept(kept) => kept.until,
        }
    }

    /// Whether the credential is good, and for other services than this one.
    pub fn is_restricted(&self) -> bool {
        match &self.who {
            Who::Listed(listed) => listed.restricted,
            Who::Proved(proved) => proved.principal.restricted,
            Who::Kept(kept) => kept.principal.restricted,
        }
    }

    /// A claim of the token as text, or what the profile has in its place; lists of texts are joined by spaces, objects have none.
    pub fn claim(&self, path: &str) -> Option<Cow<'_, str>> {
        let (principal, profile) = match &self.who {
            Who::Listed(_) => return None,
            Who::Proved(proved) => (&proved.principal, None),
            Who::Kept(kept) => (&kept.principal, kept.profile.as_ref()),
        };
        match (path, profile) {
            ("email", _) => principal.email.as_deref().map(Cow::Borrowed),
            ("profile", Some(profile)) => Some(Cow::Borrowed(&*profile.id)),
            (_, _) => principal.claims.get(path).and_then(as_text),
        }
    }
}

fn as_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(bool) => Some(Cow::Borrowed(if *bool { "true" } else { "false" })),
        Value::Array(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.map(|texts| Cow::Owned(texts.join(" ")))
        }
        Value::Null | Value::Object(_) => None,
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Principal").field("id", &self.id).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}
