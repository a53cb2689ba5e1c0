//! What the store knows that a decision depends on, as plain records: keys, profiles, roles, assignments, revocations, second factors.
//! Holds digests and never a secret; what an operator alone wants to see stays in the store.

use std::fmt;
use std::sync::Arc;

use super::roles::Definition;
use crate::scope::Scope;

/// HMAC-SHA-256 of a key under a pepper.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 32]);

/// A managed key.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: Box<str>,
    pub digest: KeyDigest,
    /// The secret before the last rotation, and the second from which it counts no more.
    pub previous: Option<(KeyDigest, i64)>,
    pub tenant: Option<Arc<str>>,
    /// Shared between keys that hold the same.
    pub scopes: Arc<[Scope]>,
    pub roles: Arc<[Box<str>]>,
    /// The profile that it stands for.
    pub profile: Option<Box<str>>,
    pub rate: Option<Rate>,
    pub enabled: bool,
    /// Seconds since 1970; from then on it is refused.
    pub expires_at: Option<i64>,
    pub revoked: bool,
}

impl Key {
    /// One that counts for ever, and holds nothing.
    pub fn new(id: impl Into<Box<str>>, digest: KeyDigest) -> Self {
        Self {
            id: id.into(),
            digest,
            previous: None,
            tenant: None,
            scopes: Arc::new([]),
            roles: Arc::new([]),
            profile: None,
            rate: None,
            enabled: true,
            expires_at: None,
            revoked: false,
        }
    }
}

/// At most `count` in `seconds`, of which `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    pub count: u32,
    pub seconds: u32,
    pub burst: u32,
}

#[derive(Clone, Debug)]
pub struct Profile {
    pub id: Box<str>,
    pub tenant: Option<Arc<str>>,
    /// ASCII letters in lower case.
    pub email: Box<str>,
    pub enabled: bool,
    pub scopes: Arc<[Scope]>,
    pub roles: Arc<[Box<str>]>,
    pub deleted: bool,
}

/// A role beside those of the configuration.
#[derive(Clone, Debug)]
pub struct Role {
    pub tenant: Option<Arc<str>>,
    pub name: Box<str>,
    pub definition: Definition,
    pub deleted: bool,
}

#[derive(Clone, Debug)]
pub struct Assignment {
    pub tenant: Option<Arc<str>>,
    pub subject: Box<str>,
    pub role: Box<str>,
    pub deleted: bool,
}

/// What a revocation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    Jti,
    Subject,
    Credential,
}

impl Revoked {
    pub const ALL: [Self; 3] = [Self::Jti, Self::Subject, Self::Credential];

    /// As requests and rows name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jti => "jti",
            Self::Subject => "subject",
            Self::Credential => "credential_id",
        }
    }
}

/// In the place of a tenant, all of them and callers without one. No caller of this tenant may write a revocation.
pub const EVERY_TENANT: &str = "*";

#[derive(Clone, Debug)]
pub struct Revocation {
    pub kind: Revoked,
    pub tenant: Option<Arc<str>>,
    pub value: Box<str>,
    /// Seconds since 1970; `None` is for good.
    pub until: Option<i64>,
}

/// Who has a second factor. An MFA token from before `enabled_at` counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// A credential's name in the configuration, or `profile`.
    pub realm: Box<str>,
    pub tenant: Option<Arc<str>>,
    pub subject: Box<str>,
}

#[derive(Clone, Debug)]
pub struct Enrolment {
    pub holder: Holder,
    /// `None`: not, or no longer.
    pub enabled_at: Option<i64>,
}

/// Every record above one version of the store, up to another.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub version: i64,
    pub keys: Vec<Key>,
    pub profiles: Vec<Profile>,
    pub roles: Vec<Role>,
    pub assignments: Vec<Assignment>,
    pub revocations: Vec<Revocation>,
    pub enrolments: Vec<Enrolment>,
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeyDigest(…)")
    }
}
