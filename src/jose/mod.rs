//! A compact JWS (RFC 7515) into a verified payload and its claims, under typed keys (RFC 7517, 7518, 8037).
//! Fetches nothing, takes no key from a header, and lets no token choose what checks it.

mod claims;
mod der;
mod jwk;
mod jws;
mod key;
mod mint;
mod pem;
mod roca;
mod set;
mod tree;

#[cfg(test)]
mod confusion;
#[cfg(test)]
mod vectors;

pub use claims::Claims;
pub use jwk::{Jwk, Origin};
pub use jws::{Header, Jws};
pub use key::{EcKey, EdKey, HmacKey, Key, KeyFault, RsaKey};
pub use mint::sign_hs256;
pub use set::{KeySet, Refusal};
pub use tree::object as strict_object;

/// Longest token that is parsed.
pub const MAX_TOKEN: usize = 8 * 1024;
/// Longest header, decoded.
pub const MAX_HEADER: usize = 1024;
/// How deep objects and arrays may stand in one another, the outermost counted.
pub const MAX_DEPTH: usize = 16;
/// Longest key id.
pub const MAX_KID: usize = 256;
/// Largest key document, and the most keys in one.
pub const MAX_DOCUMENT: usize = 512 * 1024;
pub const MAX_KEYS: usize = 64;

/// A signature algorithm of RFC 7518 and RFC 8037. `none` is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 12] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// RFC 9864 renames `EdDSA` to `Ed25519` for the one curve that is spoken here.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub fn is_hmac(self) -> bool {
        self.min_hmac() > 0
    }

    /// Bytes that RFC 7518 §3.2 wants of a secret: as many as the hash has. 0 where no secret is used.
    pub fn min_hmac(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 | Self::Es256 | Self::Es384 | Self::EdDsa => 0,
        }
    }
}

/// Why a text is no token that is looked at further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not three parts of canonical base64url.
    Form,
    /// The header is no JSON object of its kind.
    Header,
    /// The header names no algorithm.
    Algorithm,
    /// The header asks for an extension (`crit`, `b64`).
    Critical,
    /// The payload is no set of claims, or a claim is not of its type.
    Claims,
    TooLong,
}

impl Fault {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "not a compact JWS",
            Self::Header => "not a JWS header",
            Self::Algorithm => "no algorithm",
            Self::Critical => "a critical extension",
            Self::Claims => "not a claims set",
            Self::TooLong => "too long",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithm_names_are_compared_exactly() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.as_str()), Some(algorithm));
            assert_eq!(Algorithm::parse(&algorithm.as_str().to_lowercase()), None);
        }
        assert_eq!(Algorithm::parse("Ed25519"), Some(Algorithm::EdDsa));
        for name in ["", "none", "None", "NONE", "nOnE", "hs256", "HS256 ", "HS1", "ES512", "ES256K", "Ed448", "RSA-OAEP", "dir"] {
            assert_eq!(Algorithm::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn only_hs_algorithms_take_a_secret() {
        let with_secret: Vec<_> = Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_hmac()).map(Algorithm::as_str).collect();
        assert_eq!(with_secret, ["HS256", "HS384", "HS512"]);
    }
}
