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
    /// A secret for all three hashes; whether it is long enough (`Algorithm::min_hmac`) is for the caller to say. An empty one fits nothing.
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
        if secret.len() < Algorithm::Hs256.min_hmac() {
            return Err(KeyFault::Weak("a secret of less than 32 bytes"));
        }
        Ok(Self { strict: true, ..Self::new(secret) })
    }

    fn of(&self, alg: Algorithm) -> Option<&hmac::Key> {
        let least = if self.strict { alg.min_hmac() } else { 1 };
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
            Self::Private => out.write_str("a private key or a secret, where only public keys belong"),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<KeyFault> {
        RsaKey::new(modulus, exponent).err()
    }

    #[test]
    fn rsa_keys_are_of_a_size_that_is_neither_weak_nor_a_burden() {
        let modulus = |bits: usize| {
            let mut bytes = vec![0xff; bits.div_ceil(8)];
            bytes[0] >>= (8 - bits % 8) % 8;
            bytes
        };
        for bits in [2048, 2049, 3072, 4096, 8191, 8192] {
            assert_eq!(rsa(&modulus(bits), &[1, 0, 1]), None, "{bits}");
        }
        for bits in [8, 512, 1024, 2040, 2047] {
            assert_eq!(rsa(&modulus(bits), &[1, 0, 1]), Some(KeyFault::Weak("an RSA key of less than 2048 bits")), "{bits}");
        }
        for bits in [8193, 8200, 16_384] {
            assert_eq!(rsa(&modulus(bits), &[1, 0, 1]), Some(KeyFault::Weak("an RSA key of more than 8192 bits")), "{bits}");
        }
        assert!(rsa(&[], &[1, 0, 1]).is_some() && rsa(&[0], &[1, 0, 1]).is_some());
        let mut even = modulus(2048);
        even[255] = 0xfe;
        assert!(matches!(rsa(&even, &[1, 0, 1]), Some(KeyFault::Weak(_))));
    }

    #[test]
    fn rsa_exponents_are_odd_and_neither_one_nor_long() {
        let modulus = [0xff; 256];
        for exponent in [&[3][..], &[5], &[1, 0, 1], &[0, 3], &[0xff; 4], &[1, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(rsa(&modulus, exponent), None, "{exponent:?}");
        }
        for exponent in [&[][..], &[0], &[1], &[0, 1], &[2], &[4], &[1, 0, 0], &[0, 0, 3], &[0, 0, 1], &[2, 0, 0, 0, 1], &[0xff; 256]] {
            assert!(matches!(rsa(&modulus, exponent), Some(KeyFault::Weak(_))), "{exponent:?}");
        }
    }

    #[test]
    fn one_leading_zero_of_a_modulus_is_a_sign_and_two_are_a_fault() {
        let signed = [&[0][..], &[0xff; 256]].concat();
        assert_eq!(rsa(&signed, &[1, 0, 1]), None);
        assert!(rsa(&[&[0][..], &signed].concat(), &[1, 0, 1]).is_some());
        assert!(rsa(&[&[0][..], &[0x7f; 255]].concat(), &[1, 0, 1]).is_some());
    }

    #[test]
    fn points_are_uncompressed_and_on_their_curve() {
        // The base points (SEC 2 §2.4.2, §2.5.1).
        let p256 =
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
        let p384 = concat!(
            "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
            "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f"
        );
        let hex = |text: &str| -> Vec<u8> { (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect() };
        for (alg, point) in [(Algorithm::Es256, hex(p256)), (Algorithm::Es384, hex(p384))] {
            let refused = |point: &[u8]| matches!(EcKey::new(alg, point), Err(KeyFault::Form(_)));
            assert!(EcKey::new(alg, &point).is_ok());
            for place in [1, point.len() / 2, point.len() - 1] {
                let mut other = point.clone();
                other[place] ^= 1;
                assert!(refused(&other), "{alg:?}: byte {place}");
            }
            let half = point.len() / 2;
            let compressed = [&[3 - (point[point.len() - 1] + 1) % 2][..], &point[1..=half]].concat();
            for other in [&point[..point.len() - 1], &point[1..], &compressed, &[], &[0], &[&point[..], &[0]].concat(), &vec![0; point.len()]] {
                assert!(refused(other), "{alg:?}: {} bytes", other.len());
            }
            let hybrid = [&[6 + point[point.len() - 1] % 2][..], &point[1..]].concat();
            let infinity = [&[4][..], &vec![0; point.len() - 1]].concat();
            // Beyond the field: the coordinate plus the prime would be the same number.
            let beyond = [&[4][..], &vec![0xff; half], &point[half + 1..]].concat();
            assert!(refused(&hybrid) && refused(&infinity) && refused(&beyond), "{alg:?}");
        }
        assert!(matches!(EcKey::new(Algorithm::Es384, &hex(p256)), Err(KeyFault::Form(_))));
        assert!(matches!(EcKey::new(Algorithm::Rs256, &hex(p256)), Err(KeyFault::Kind)));
    }

    #[test]
    fn an_ed25519_key_has_32_bytes() {
        // RFC 8410 §4: the same key as a SubjectPublicKeyInfo, which the library would take.
        let info = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &[9; 32]].concat();
        assert!(der::public_key(&info).is_ok() && EdKey::new(&info).is_err());
        for length in [0, 31, 33, 44, 64] {
            assert!(EdKey::new(&vec![9; length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_secret_fits_by_its_length_only_where_that_is_asked_for() {
        let fits = |key: &Key| Algorithm::ALL.into_iter().filter(|alg| key.fits(*alg)).map(Algorithm::as_str).collect::<Vec<_>>();
        assert_eq!(fits(&Key::hmac(b"x")), ["HS256", "HS384", "HS512"]);
        assert_eq!(fits(&Key::hmac(b"")), [""; 0]);
        assert!(!Key::hmac(b"").verify(Algorithm::Hs256, b"", &[0; 32]));
        let strict = |length: usize| HmacKey::strict(&vec![1; length]).map(|key| fits(&Key::Hmac(key)).len()).ok();
        assert_eq!([0, 31, 32, 47, 48, 63, 64, 100].map(strict), [None, None, Some(1), Some(1), Some(2), Some(2), Some(3), Some(3)]);
    }

    #[test]
    fn no_key_has_a_printable_form() {
        let rsa = RsaKey::new(&[0xff; 256], &[1, 0, 1]).unwrap();
        assert_eq!(format!("{rsa:?} {:?}", HmacKey::new(b"secret")), "RsaKey(…) HmacKey(…)");
        assert_eq!(format!("{:?} {:?}", Key::Rsa(rsa), Key::hmac(b"secret")), "Rsa(…) Hmac(…)");
        assert_eq!(format!("{:?}", EdKey::new(&[9; 32]).map(Key::Ed25519)), "Ok(Ed25519(…))");
    }
}
