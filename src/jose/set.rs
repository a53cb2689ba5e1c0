//! Key documents into sets of keys, and a token's header into the one key that may have signed it (RFC 7517 §5).
//! Keeps going past keys that it cannot use, and never guesses between two that a token may mean.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::jwk::{Skip, has_private_half};
use super::{Algorithm, Jwk, Jws, Key, KeyFault, MAX_DOCUMENT, MAX_KEYS, MAX_KID, Origin, tree};

/// Most keys that a token without a key id is tried against.
const MAX_TRIES: usize = 8;

/// Keys of which any may have signed a token.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Jwk>,
}

/// Why no key of a set vouches for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token's algorithm is not allowed here, is not one of the key it names, or is none.
    Algorithm,
    /// No key is the one that the token names, or none can have made its signature: a newer set may have it.
    UnknownKey,
    /// The token's key id stands on more than one key.
    AmbiguousKey,
    Signature,
}

impl KeySet {
    /// A JWK Set, or one bare JWK in a local file. What the operator should know of keys that are left out comes along.
    pub fn from_jwks(document: &[u8], origin: Origin) -> Result<(Self, Vec<String>), KeyFault> {
        let members = document_of(document)?;
        let list = match members.get("keys") {
            Some(Value::Array(list)) => list.as_slice(),
            Some(_) => return Err(KeyFault::Form("`keys` that is no list")),
            None if origin == Origin::Local && members.contains_key("kty") => return Self::from_list(&[Value::Object(members)], origin),
            None => return Err(KeyFault::Form("a JSON object without `keys`")),
        };
        Self::from_list(list, origin)
    }

    /// Certificates by key id, as Google publishes them: `{"kid": "-----BEGIN CERTIFICATE-----…"}`.
    pub fn from_x509_map(document: &[u8]) -> Result<(Self, Vec<String>), KeyFault> {
        let members = document_of(document)?;
        let keys = members.iter().map(|(kid, text)| {
            let key = text.as_str().ok_or(KeyFault::Form("a member that is no string")).and_then(|text| Key::from_pem(text.as_bytes()));
            let key = if kid.len() > MAX_KID { Err(KeyFault::Form("a key id of more than 256 bytes")) } else { key };
            (Some(kid.as_str()), key.map(|key| Jwk { kid: Some(kid.as_str().into()), alg: None, key }).map_err(Skip::Fault))
        });
        Self::collect(keys, Vec::new())
    }

    fn from_list(list: &[Value], origin: Origin) -> Result<(Self, Vec<String>), KeyFault> {
        let kid = |value: &Value| value.get("kid")?.as_str().map(str::to_owned);
        let private = |value: &&Value| origin == Origin::Local && value.as_object().is_some_and(has_private_half);
        let warnings = list
            .iter()
            .filter(private)
            .map(|value| format!("{}: a private key, of which only the public half is used", named(kid(value).as_deref())));
        let keys = list.iter().map(|value| {
            let key = value.as_object().ok_or(Skip::Fault(KeyFault::Form("a key that is no JSON object")));
            (value.get("kid").and_then(Value::as_str), key.and_then(|members: &Map<_, _>| Jwk::parse(members, origin)))
        });
        Self::collect(keys, warnings.collect())
    }

    fn collect<'d>(
        keys: impl ExactSizeIterator<Item = (Option<&'d str>, Result<Jwk, Skip>)>,
        mut warnings: Vec<String>,
    ) -> Result<(Self, Vec<String>), KeyFault> {
        if keys.len() > MAX_KEYS {
            return Err(KeyFault::Form("more than 64 keys"));
        }
        let (mut set, mut left_out) = (Self::default(), String::new());
        for (kid, key) in keys {
            let (why, is_news) = match key {
                Ok(jwk) => {
                    set.keys.push(jwk);
                    continue;
                }
                Err(Skip::Other(what)) => (what.to_owned(), false),
                Err(Skip::Fault(fault)) => (fault.to_string(), true),
            };
            let line = format!("{}: {why}", named(kid));
            let _ = write!(left_out, "{}{line}", if left_out.is_empty() { "" } else { "; " });
            if is_news {
                warnings.push(format!("{line}; the key is left out"));
            }
        }
        if set.keys.is_empty() {
            return Err(KeyFault::Unusable(if left_out.is_empty() { "the document lists none".into() } else { left_out.into() }));
        }
        warnings.extend(set.ambiguous().map(|kid| format!("{}: on more than one key; tokens that name it are refused", named(Some(kid)))));
        Ok((set, warnings))
    }

    pub fn of(keys: Vec<Jwk>) -> Self {
        Self { keys }
    }

    pub fn single(key: Key) -> Self {
        Self { keys: vec![Jwk { kid: None, alg: None, key }] }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&Jwk> {
        self.keys.get(index)
    }

    pub fn knows(&self, kid: &str) -> bool {
        self.keys.iter().any(|jwk| jwk.kid.as_deref() == Some(kid))
    }

    /// The index of the key that signed the token. `allowed` is what the operator configured: the token's own word counts only among them.
    pub fn verify(&self, jws: &Jws<'_>, allowed: &[Algorithm]) -> Result<usize, Refusal> {
        let alg = jws.header.alg.filter(|alg| allowed.contains(alg)).ok_or(Refusal::Algorithm)?;
        let fitting = || self.keys.iter().enumerate().filter(move |(_, jwk)| jwk.fits(alg));
        let signed = |(_, jwk): &(usize, &Jwk)| jwk.key.verify(alg, jws.signed(), jws.signature());
        let any_of = |candidates: &mut dyn Iterator<Item = (usize, &Jwk)>| {
            let mut candidates = candidates.take(MAX_TRIES).peekable();
            candidates.peek().ok_or(Refusal::UnknownKey)?;
            candidates.find(signed).map(|(index, _)| index).ok_or(Refusal::Signature)
        };
        let Some(kid) = jws.header.kid.as_deref() else { return any_of(&mut fitting()) };
        let mut named = fitting().filter(|(_, jwk)| jwk.kid.as_deref() == Some(kid));
        match (named.next(), named.next()) {
            (Some(_), Some(_)) => Err(Refusal::AmbiguousKey),
            (Some(key), None) => signed(&key).then_some(key.0).ok_or(Refusal::Signature),
            (None, _) if self.knows(kid) => Err(Refusal::Algorithm),
            (None, _) => any_of(&mut fitting().filter(|(_, jwk)| jwk.kid.is_none())),
        }
    }

    /// Key ids that do not tell which key they mean for some algorithm.
    fn ambiguous(&self) -> impl Iterator<Item = &str> {
        let both = |one: &Jwk, other: &Jwk| Algorithm::ALL.into_iter().any(|alg| one.fits(alg) && other.fits(alg));
        self.keys.iter().enumerate().filter_map(move |(index, one)| {
            let kid = one.kid.as_deref()?;
            let doubled = self.keys.iter().skip(index + 1).any(|other| other.kid.as_deref() == Some(kid) && both(one, other));
            doubled.then_some(kid)
        })
    }
}

impl Jwk {
    fn fits(&self, alg: Algorithm) -> bool {
        self.alg.is_none_or(|own| own == alg) && self.key.fits(alg)
    }
}

impl Refusal {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm not allowed",
            Self::UnknownKey => "unknown key",
            Self::AmbiguousKey => "ambiguous key id",
            Self::Signature => "wrong signature",
        }
    }
}

fn document_of(document: &[u8]) -> Result<Map<String, Value>, KeyFault> {
    if document.len() > MAX_DOCUMENT {
        return Err(KeyFault::Form("a key document of more than 512 KiB"));
    }
    tree::object(document).ok_or(KeyFault::Form("no JSON object with each member once"))
}

/// A key id as a line of a log can hold it.
fn named(kid: Option<&str>) -> String {
    let Some(kid) = kid else { return "a key without `kid`".to_owned() };
    let shown: String = kid.chars().take(64).flat_map(char::escape_debug).collect();
    format!("key `{shown}`{}", if kid.chars().nth(64).is_some() { " (shortened)" } else { "" })
}
