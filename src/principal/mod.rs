//! A presented credential into a [`Caller`], by the sources in the order of the file.
//! Never falls back to a later place: the first place that presents anything decides.

mod amend;
pub mod backstage;
pub mod book;
pub mod caller;
pub mod certificate;
pub mod changes;
pub mod factor;
pub mod grant;
pub mod jwt;
pub mod kept;
mod listing;
pub mod managed;
pub mod pepper;
pub mod rate;
pub mod record;
pub mod roles;
pub mod roster;
mod shards;
mod sources;
mod trial;
pub mod world;

pub use caller::{At, Caller, Listed, Named, Principal, Proved, SourceId, Who};
pub use sources::{Asked, Introspected, Means, Signed, Source, Sources, Wanted};
use world::Wait;
pub use world::{Backing, Forgetful, Keys, Memory, Settled, Shelf, Shelved};

/// What the credentials of a request prove.
#[derive(Clone, Debug)]
pub enum Proof<'s> {
    Caller(Caller<'s>),
    Nothing,
    Ambiguous,
    /// `id` is the principal that an expired or disabled credential would have been.
    Refused {
        cause: Cause,
        id: Option<Named<'s>>,
    },
    /// A good token, whose address no profile has.
    NoProfile,
    /// Whoever could tell is out of reach.
    Unreachable,
    /// Whoever can tell has to be asked first.
    Waits(Wait),
}

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident $text:literal;)*) => {
        /// Why a presented credential proves nothing. Seen by the operator only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cause { $($(#[$doc])* $variant),* }

        impl Cause {
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

causes! {
    Malformed "malformed";
    Unknown "unknown";
    Disabled "disabled";
    NotYetValid "not_yet_valid";
    Expired "expired";
    /// No key of the source made the signature.
    Signature "signature";
    /// The token names a key that the issuer does not publish.
    UnknownKey "unknown_key";
    Issuer "issuer";
    Audience "audience";
    /// A claim is absent or of another shape.
    Claims "claims";
    /// Another kind of token, such as an ID token.
    Typ "typ";
    /// `exp` is further away than the source allows.
    Lifetime "lifetime";
    /// Bound to a key or certificate that did not come with it.
    Bound "bound";
    /// RFC 7662 §2.2.
    Inactive "inactive";
    Revoked "revoked";
    /// A key whose profile is gone, or is another tenant's.
    NoProfile "no_profile";
}
