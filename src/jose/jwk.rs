//! One JSON Web Key (RFC 7517) into a typed key, its id and its algorithm.
//! Refuses keys that are for something else, weak or ambiguous in form, and secrets that came over the network.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::key::{EcKey, EdKey, HmacKey, RsaKey};
use super::{Algorithm, Key, KeyFault, MAX_KID};

/// A key and what its document says of it.
#[derive(Debug)]
pub struct Jwk {
    pub kid: Option<Box<str>>,
    /// The only algorithm that the key may be used with, where the document names one.
    pub alg: Option<Algorithm>,
    pub key: Key,
}

/// Where a key document comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The operator's own file, which may hold secrets.
    Local,
    /// The network: what it holds, others have seen.
    Remote,
}

/// Why a key of a document is left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// It is for another purpose, as keys of a set may be (RFC 7517 §5).
    Other(&'static str),
    /// Somebody should be told.
    Fault(KeyFault),
}

impl From<KeyFault> for Skip {
    fn from(fault: KeyFault) -> Self {
        Self::Fault(fault)
    }
}

type Members = Map<String, Value>;

const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

impl Jwk {
    pub(super) fn parse(members: &Members, origin: Origin) -> Result<Self, Skip> {
        let kty = text(members, "kty")?.ok_or(KeyFault::Form("a key without `kty`"))?;
        for_signatures(members)?;
        let alg = match text(members, "alg")? {
            None => None,
            Some(name) => Some(Algorithm::parse(name).ok_or(Skip::Other("an `alg` that is not spoken here"))?),
        };
        let kid = text(members, "kid")?;
        if kid.is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(KeyFault::Form("a `kid` of more than 256 bytes").into());
        }
        if origin == Origin::Remote && (kty == "oct" || has_private_half(members)) {
            return Err(KeyFault::Private.into());
        }
        let key = match kty {
            "RSA" => Key::Rsa(RsaKey::new(&bytes(members, "n")?, &bytes(members, "e")?)?),
            "EC" => Key::Ec(ec(members)?),
            "OKP" if text(members, "crv")? == Some("Ed25519") => Key::Ed25519(EdKey::new(&bytes(members, "x")?)?),
            "OKP" => return Err(Skip::Other("a curve that is not spoken here")),
            "oct" => Key::Hmac(HmacKey::strict(&bytes(members, "k")?)?),
            _ => return Err(Skip::Other("a `kty` that is not spoken here")),
        };
        if alg.is_some_and(|alg| !key.fits(alg)) {
            return Err(KeyFault::Form("an `alg` that is not one for this key").into());
        }
        Ok(Self { kid: kid.map(Box::from), alg, key })
    }
}

/// Whether a key brings what only its owner should have.
pub(super) fn has_private_half(members: &Members) -> bool {
    PRIVATE.iter().any(|name| members.contains_key(*name))
}

/// RFC 7517 §4.2, §4.3: what the document says the key is for.
fn for_signatures(members: &Members) -> Result<(), Skip> {
    if text(members, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(Skip::Other("a `use` other than `sig`"));
    }
    let Some(operations) = members.get("key_ops") else { return Ok(()) };
    let form = KeyFault::Form("a `key_ops` that is no list of different names");
    let Some(list) = operations.as_array() else { return Err(form.into()) };
    let doubled = |(index, name): (usize, &Value)| !name.is_string() || list.iter().skip(index + 1).any(|other| other == name);
    if list.iter().enumerate().any(doubled) {
        return Err(form.into());
    }
    if list.iter().any(|name| name == "verify") { Ok(()) } else { Err(Skip::Other("a `key_ops` without `verify`")) }
}

/// RFC 7518 §6.2.1: each coordinate has the full length of its curve.
fn ec(members: &Members) -> Result<EcKey, Skip> {
    let (alg, length) = match text(members, "crv")? {
        Some("P-256") => (Algorithm::Es256, 32),
        Some("P-384") => (Algorithm::Es384, 48),
        _ => return Err(Skip::Other("a curve that is not spoken here")),
    };
    let (x, y) = (bytes(members, "x")?, bytes(members, "y")?);
    if x.len() != length || y.len() != length {
        return Err(KeyFault::Form("a coordinate that is not of its curve's length").into());
    }
    Ok(EcKey::new(alg, &[&[4], x.as_slice(), y.as_slice()].concat())?)
}

fn text<'m>(members: &'m Members, name: &str) -> Result<Option<&'m str>, KeyFault> {
    match members.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(KeyFault::Form("a member that is no string")),
    }
}

fn bytes(members: &Members, name: &str) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let text = text(members, name)?.ok_or(KeyFault::Form("a key with a member missing"))?;
    URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new).map_err(|_| KeyFault::Form("a member that is not base64url without padding"))
}
