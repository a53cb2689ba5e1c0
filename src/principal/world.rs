//! What the proof of a token needs of the world, as plain questions: current keys, and tokens that were verified before.
//! The answers are kept elsewhere; here nothing waits and nothing is fetched.

use std::fmt;
use std::sync::Arc;

use super::book::Book;
use super::caller::{At, Proved};
use super::kept::Kept;
use super::pepper::Peppers;
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

/// The store's records, kept at hand by somebody.
pub trait Shelf: fmt::Debug + Send + Sync {
    fn book(&self) -> Shelved;
}

/// A book, and how far it is to be believed.
#[derive(Clone, Debug)]
pub enum Shelved {
    Fresh(Arc<Book>),
    /// The store did not answer lately: what is in the book counts, what is not may be in the store.
    InDoubt(Arc<Book>),
    /// The store has been out of reach for longer than it may.
    Stale,
    /// None was ever read.
    Empty,
}

impl Shelf for Arc<Book> {
    fn book(&self) -> Shelved {
        Shelved::Fresh(Self::clone(self))
    }
}

/// What a store gives to decisions.
#[derive(Clone, Debug)]
pub struct Backing {
    pub shelf: Arc<dyn Shelf>,
    pub peppers: Arc<Peppers>,
    /// What MFA tokens are verified under: HS256, by id.
    pub factors: Arc<KeySet>,
}

/// Tokens that were verified, so that seeing one again costs no signature check.
pub trait Memory: fmt::Debug + Send + Sync {
    fn recall(&self, tag: Tag) -> Option<Arc<Proved>>;
    fn keep(&self, tag: Tag, proved: &Arc<Proved>);
    fn forget(&self, tag: Tag);

    /// The same for what was put together with the store.
    fn recall_kept(&self, tag: Tag) -> Option<Arc<Kept>>;
    fn keep_kept(&self, tag: Tag, kept: &Arc<Kept>);
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

    fn recall_kept(&self, _tag: Tag) -> Option<Arc<Kept>> {
        None
    }

    fn keep_kept(&self, _tag: Tag, _kept: &Arc<Kept>) {}
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
