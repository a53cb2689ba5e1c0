//! Key material into typed keys, parsed once: what one type of key checks, no other type ever does.
//! Refuses weak keys (RFC 7518 §3.3, RFC 8725 §3.5) and private ones; no key has a printable form.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};

use super::{Algorithm, der, pem, roca};

/// A key of one type.
pub enum Key {
    Hmac(HmacKey),
    Rsa(RsaKey),
    Ec(EcKey),
    Ed25519(EdKey),
}

/// A secret, once for each hash.
pub struct HmacKey {
    hashes: Box<[(Algorithm, hmac::Key); 3]>,
    length: usize,
    /// Only hashes count that the secret is long enough for (RFC 7518 §3.2).
    strict: bool,
}

/// An RSA key, once for each padding and hash.
pub struct RsaKey(Box<[(Algorithm, ParsedPublicKey)]>);

/// A point of P-256 or P-384, each of which has one algorithm.
pub struct EcKey(Algorithm, ParsedPublicKey);

/// An Ed25519 key.
pub struct EdKey(ParsedPublicKey);

/// Why something is not taken for a key, or for a set of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// What was found, and what would be right.
    Form(&'static str),
    Weak(&'static str),
    Private,
    Kind,
    /// A set in which no key can be used, and what is wrong with the first ones.
    Unusable(Box<str>),
}

const HMAC: [(Algorithm, hmac::Algorithm); 3] =
    [(Algorithm::Hs256, hmac::HMAC_SHA256), (Algorithm::Hs384, hmac::HMAC_SHA384), (Algorithm::Hs512, hmac::HMAC_SHA512)];

static RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
];

impl Key {
    /// A secret for all three hashes; whether it is long enough (`Algorithm::min_secret`) is for the caller to say. An empty one fits nothing.
    pub fn hmac(secret: &[u8]) -> Self {
        Self::Hmac(HmacKey::new(secret))
    }

    /// The one key of a PEM text: `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`, of which the others of its chain may follow.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyFault> {
        pem::key(text)
    }

    /// The key of a certificate. When and for what the certificate counts is not looked at: who lists it vouches for it.
    pub fn from_certificate_der(bytes: &[u8]) -> Result<Self, KeyFault> {
        der::certificate(bytes)
    }

    pub fn fits(&self, alg: Algorithm) -> bool {
        match self {
            Self::Hmac(key) => key.of(alg).is_some(),
            Self::Rsa(key) => key.of(alg).is_some(),
            Self::Ec(EcKey(own, _)) => *own == alg,
            Self::Ed25519(_) => alg == Algorithm::EdDsa,
        }
    }

    pub fn verify(&self, alg: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let public = |key: &ParsedPublicKey| key.verify_sig(signed, signature).is_ok();
        match self {
            Self::Hmac(key) => key.of(alg).is_some_and(|key| hmac::verify(key, signed, signature).is_ok()),
            Self::Rsa(key) => key.of(alg).is_some_and(public),
            Self::Ec(EcKey(own, key)) => *own == alg && public(key),
            Self::Ed25519(EdKey(key)) => alg == Algorithm::EdDsa && public(key),
        }
    }
}

impl HmacKey {
    pub fn new(secret: &[u8]) -> Self {
        Self { hashes: Box::new(HMAC.map(|(alg, hash)| (alg, hmac::Key::new(hash, secret)))), length: secret.len(), strict: false }
    }

    pub(super) fn strict(secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.len() < Algorithm::Hs256.min_secret() {
            return Err(KeyFault::Weak("a secret of less than 32 bytes"));
        }
        Ok(Self { strict: true, ..Self::new(secret) })
    }

    fn of(&self, alg: Algorithm) -> Option<&hmac::Key> {
        let least = if self.strict { alg.min_secret() } else { 1 };
        self.hashes.iter().find_map(|(own, key)| (*own == alg && self.length >= least).then_some(key))
    }

    pub(super) fn hs256(&self) -> &hmac::Key {
        let [(_, key), ..] = &*self.hashes;
        key
    }
}

impl RsaKey {
    /// From modulus and exponent, big-endian. One leading zero byte is dropped: some encoders write a signed number.
    pub(super) fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyFault> {
        let (n, e) = (modulus.strip_prefix(&[0]).unwrap_or(modulus), exponent.strip_prefix(&[0]).unwrap_or(exponent));
        match bits(n) {
            _ if !is_odd(n) => return Err(KeyFault::Weak("an RSA modulus that is no odd number")),
            Some(0..2048) => return Err(KeyFault::Weak("an RSA key of less than 2048 bits")),
            Some(2048..=8192) => {}
            Some(_) => return Err(KeyFault::Weak("an RSA key of more than 8192 bits")),
            None => return Err(KeyFault::Form("an RSA modulus with leading zeros")),
        }
        // 33 bits is where the library's own limit is: verifying takes time by the exponent's length.
        if e == [1] || !is_odd(e) || bits(e).is_none_or(|bits| bits > 33) {
            return Err(KeyFault::Weak("an RSA exponent that is not odd, from 3 to 33 bits"));
        }
        if roca::has_fingerprint(n) {
            return Err(KeyFault::Weak("an RSA key with the ROCA weakness (CVE-2017-15361)"));
        }
        let parsed = RSA.iter().map(|(alg, parameters)| {
            let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
            key.map(|key| (*alg, key)).map_err(|_| KeyFault::Form("no RSA key"))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    fn of(&self, alg: Algorithm) -> Option<&ParsedPublicKey> {
        self.0.iter().find_map(|(own, key)| (*own == alg).then_some(key))
    }
}

impl EcKey {
    /// From an uncompressed point (SEC 1 §2.3.3) of the curve that `alg` belongs to.
    pub(super) fn new(alg: Algorithm, point: &[u8]) -> Result<Self, KeyFault> {
        let (parameters, length) = match alg {
            Algorithm::Es256 => (&signature::ECDSA_P256_SHA256_FIXED, 65),
            Algorithm::Es384 => (&signature::ECDSA_P384_SHA384_FIXED, 97),
            Algorithm::Hs256
            | Algorithm::Hs384
            | Algorithm::Hs512
            | Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512
            | Algorithm::EdDsa => return Err(KeyFault::Kind),
        };
        if point.len() != length || point.first() != Some(&4) {
            return Err(KeyFault::Form("a point that is not uncompressed or not of its curve's length"));
        }
        ParsedPublicKey::new(parameters, point).map(|key| Self(alg, key)).map_err(|_| KeyFault::Form("a point that is not on its curve"))
    }
}

impl EdKey {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, KeyFault> {
        if bytes.len() != signature::ED25519_PUBLIC_KEY_LEN {
            return Err(KeyFault::Form("an Ed25519 key that has not 32 bytes"));
        }
        ParsedPublicKey::new(&signature::ED25519, bytes).map(Self).map_err(|_| KeyFault::Form("no Ed25519 key"))
    }
}

/// Of a number without leading zeros; `None` where there are some.
fn bits(number: &[u8]) -> Option<usize> {
    let first = number.first().filter(|first| **first != 0)?;
    Some(number.len() * 8 - first.leading_zeros() as usize)
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}

impl fmt::Display for KeyFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(what) | Self::Weak(what) => out.write_str(what),
            Self::Private => out.write_str("a private key, where only its public half belongs"),
            Self::Kind => out.write_str("a key that is neither RSA, P-256, P-384 nor Ed25519"),
            Self::Unusable(why) => write!(out, "no usable key: {why}"),
        }
    }
}

impl std::error::Error for KeyFault {}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Hmac(_) => "Hmac(…)",
            Self::Rsa(_) => "Rsa(…)",
            Self::Ec(_) => "Ec(…)",
            Self::Ed25519(_) => "Ed25519(…)",
        })
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HmacKey(…)")
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RsaKey(…)")
    }
}

impl fmt::Debug for EcKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("EcKey(…)")
    }
}

impl fmt::Debug for EdKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("EdKey(…)")
    }
}
