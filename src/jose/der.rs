//! DER into typed public keys: SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), RSAPublicKey (RFC 8017 §A.1.1) and certificates.
//! Checks no certificate's time, issuer or purpose, and takes no key type that no algorithm here uses.

use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::key::{EcKey, EdKey, RsaKey};
use super::{Algorithm, Key, KeyFault};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

pub(super) fn certificate(bytes: &[u8]) -> Result<Key, KeyFault> {
    let certificate = Certificate::from_der(bytes).map_err(|_| KeyFault::Form("no X.509 certificate"))?;
    let info = certificate.tbs_certificate().subject_public_key_info().to_der().map_err(|_| KeyFault::Form("no X.509 certificate"))?;
    public_key(&info)
}

pub(super) fn public_key(bytes: &[u8]) -> Result<Key, KeyFault> {
    let info = SubjectPublicKeyInfoRef::from_der(bytes).map_err(|_| KeyFault::Form("no SubjectPublicKeyInfo"))?;
    let key = info.subject_public_key.as_bytes().ok_or(KeyFault::Form("no SubjectPublicKeyInfo"))?;
    match info.algorithm.oid {
        RSA => rsa(key),
        ED25519 => EdKey::new(key).map(Key::Ed25519),
        EC => match info.algorithm.parameters_oid() {
            Ok(P256) => EcKey::new(Algorithm::Es256, key).map(Key::Ec),
            Ok(P384) => EcKey::new(Algorithm::Es384, key).map(Key::Ec),
            _ => Err(KeyFault::Kind),
        },
        _ => Err(KeyFault::Kind),
    }
}

pub(super) fn rsa(bytes: &[u8]) -> Result<Key, KeyFault> {
    let numbers = AnyRef::from_der(bytes).and_then(|whole| whole.sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?))));
    let (modulus, exponent) = numbers.map_err(|_: x509_cert::der::Error| KeyFault::Form("no RSAPublicKey"))?;
    RsaKey::new(modulus.as_bytes(), exponent.as_bytes()).map(Key::Rsa)
}
