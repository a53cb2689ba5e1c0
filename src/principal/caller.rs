//! Who a request comes from, whether listed in a file or proved by a signed token, in one form for all that ask.
//! Holds no token; what a token claimed is kept only after its proof.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::record::Rate;
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
}

#[derive(Clone, Debug)]
pub enum Who<'s> {
    Listed(Listed<'s>),
    Proved(Arc<Proved>),
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

impl Caller<'_> {
    pub fn id(&self) -> &str {
        match &self.who {
            Who::Listed(listed) => listed.id,
            Who::Proved(proved) => &proved.principal.id,
        }
    }

    pub fn scopes(&self) -> &ScopeSet {
        match &self.who {
            Who::Listed(listed) => listed.scopes,
            Who::Proved(proved) => &proved.principal.scopes,
        }
    }

    pub fn roles(&self) -> &RoleSet {
        match &self.who {
            Who::Listed(listed) => listed.roles,
            Who::Proved(proved) => &proved.principal.roles,
        }
    }

    pub fn tenant(&self) -> Option<&str> {
        match &self.who {
            Who::Listed(listed) => listed.tenant,
            Who::Proved(proved) => proved.principal.tenant.as_deref(),
        }
    }

    /// A managed key's id, and the rate that it carries.
    pub fn rate(&self) -> Option<(&str, Rate)> {
        match &self.who {
            Who::Listed(_) | Who::Proved(_) => None,
        }
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
        }
    }

    /// Whether the credential is good, and for other services than this one.
    pub fn is_restricted(&self) -> bool {
        match &self.who {
            Who::Listed(listed) => listed.restricted,
            Who::Proved(proved) => proved.principal.restricted,
        }
    }

    /// A claim of the token as text; lists of texts are joined by spaces, objects have none.
    pub fn claim(&self, path: &str) -> Option<Cow<'_, str>> {
        match &self.who {
            Who::Listed(_) => None,
            Who::Proved(proved) if path == "email" => proved.principal.email.as_deref().map(Cow::Borrowed),
            Who::Proved(proved) => proved.principal.claims.get(path).and_then(as_text),
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
