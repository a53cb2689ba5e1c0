//! What the proof of a token needs of the world, as plain questions: current keys, and tokens that were verified before.
//! The answers are kept elsewhere; here nothing waits and nothing is fetched.

use std::fmt;
use std::sync::Arc;

use super::caller::{At, Proved};
use crate::credential::digest::Tag;
use crate::jose::{Claims, KeySet};

/// A key set that somebody keeps fresh.
pub trait Keys: fmt::Debug + Send + Sync {
    /// `None` where none was ever loaded, or the last one is too old to be believed. `now` is in seconds since 1970.
    fn current(&self, now: i64) -> Option<Arc<KeySet>>;

    /// Whether a newer set may come, so that it is worth to wait for a key that is not in this one.
    fn is_live(&self) -> bool {
        true
    }
}

impl Keys for Arc<KeySet> {
    fn current(&self, _now: i64) -> Option<Arc<KeySet>> {
        Some(Self::clone(self))
    }

    fn is_live(&self) -> bool {
        false
    }
}

/// Tokens that were verified, so that seeing one again costs no signature check.
pub trait Memory: fmt::Debug + Send + Sync {
    fn recall(&self, tag: Tag) -> Option<Arc<Proved>>;
    fn keep(&self, tag: Tag, proved: &Arc<Proved>);
    fn forget(&self, tag: Tag);
}

/// Remembers nothing: for commands that ask once.
#[derive(Debug)]
pub struct Forgetful;

impl Memory for Forgetful {
    fn recall(&self, _tag: Tag) -> Option<Arc<Proved>> {
        None
    }

    fn keep(&self, _tag: Tag, _proved: &Arc<Proved>) {}

    fn forget(&self, _tag: Tag) {}
}

/// What became of waiting for the outside.
#[derive(Clone)]
pub enum Settled {
    /// The key set is as its publisher has it now.
    Refreshed,
    /// RFC 7662 §2.2: `active: true`, and what it says.
    Active(Arc<Claims>),
    Inactive,
    /// Nobody answered, or not in time.
    Unreachable,
}

impl fmt::Debug for Settled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Refreshed => "Refreshed",
            Self::Active(_) => "Active(…)",
            Self::Inactive => "Inactive",
            Self::Unreachable => "Unreachable",
        })
    }
}

/// What has to be waited for before the question can be asked again.
#[derive(Clone, PartialEq, Eq)]
pub struct Wait {
    pub at: At,
    /// The token, where it is the outside that knows it.
    pub token: Option<Box<str>>,
}

impl fmt::Debug for Wait {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Wait").field("at", &self.at).finish_non_exhaustive()
    }
}
