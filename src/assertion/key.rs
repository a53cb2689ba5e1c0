//! A private key into signatures over claims, and its public half into a JWK (RFC 7517, 7518, 8037) under its thumbprint (RFC 7638).
//! Shows the private half to nobody, and takes no key that a verifier would call weak.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Map, Value};
use x509_cert::der::Decode;
use x509_cert::der::asn1::{AnyRef, UintRef};

/// Of an RSA modulus, in bytes (RFC 7518 §3.3).
const RSA: usize = 256;

pub struct SigningKey {
    pair: Pair,
    /// What every token begins with: its header, encoded, and a dot.
    start: String,
    jwk: Value,
}

enum Pair {
    P256(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl SigningKey {
    /// `None` for what is no ECDSA key of P-256, no Ed25519 key and no RSA key of 2048 bits and more.
    pub fn read(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let pair = Pair::read(der)?;
        let (algorithm, members) = pair.public()?;
        let mut jwk: Map<String, Value> = members.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        // The members that it takes, in order, and nothing between them (RFC 7638 §3).
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, Value::Object(jwk.clone()).to_string().as_bytes()));
        let header = serde_json::json!({"typ": "JWT", "alg": algorithm, "kid": thumbprint});
        for (name, value) in [("use", "sig"), ("alg", algorithm), ("kid", &thumbprint)] {
            jwk.insert(name.to_owned(), value.into());
        }
        let start = format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string()));
        Some(Self { pair, start, jwk: jwk.into() })
    }

    /// The public half.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// A token (RFC 7515 §3.1) with these claims; `None` where the system gives no randomness.
    pub fn sign(&self, claims: &str) -> Option<String> {
        let mut token = self.start.clone();
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let message = token.as_bytes();
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::P256(pair) => pair.sign(&random, message).ok()?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                signature
            }
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

impl Pair {
    fn read(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let p256 = |pair: EcdsaKeyPair| Self::P256(Box::new(pair));
        let rsa = |pair: RsaKeyPair| (pair.public_modulus_len() >= RSA).then(|| Self::Rsa(Box::new(pair)));
        match der {
            PrivateKeyDer::Pkcs8(key) => {
                let bytes = key.secret_pkcs8_der();
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes)
                    .map(p256)
                    // OpenSSL writes no public half beside it.
                    .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map(|pair| Self::Ed25519(Box::new(pair))))
                    .ok()
                    .or_else(|| RsaKeyPair::from_pkcs8(bytes).ok().and_then(rsa))
            }
            PrivateKeyDer::Sec1(key) => EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_sec1_der()).ok().map(p256),
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).ok().and_then(rsa),
            _ => None,
        }
    }

    /// The algorithm, and the required members of the JWK in the order of their names.
    fn public(&self) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Some(match self {
            Self::P256(pair) => {
                // SEC 1 §2.3.3: a mark, and both coordinates.
                let (x, y) = pair.public_key().as_ref().strip_prefix(&[4])?.split_at_checked(32)?;
                ("ES256", vec![("crv", "P-256".into()), ("kty", "EC".into()), ("x", text(x)), ("y", text(y))])
            }
            Self::Ed25519(pair) => ("EdDSA", vec![("crv", "Ed25519".into()), ("kty", "OKP".into()), ("x", text(pair.public_key().as_ref()))]),
            Self::Rsa(pair) => {
                // RSAPublicKey (RFC 8017 A.1.1).
                let whole = AnyRef::from_der(pair.public_key().as_ref()).ok()?;
                let numbers = whole.sequence(|inner| Ok::<_, x509_cert::der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?)));
                let (n, e) = numbers.ok()?;
                ("RS256", vec![("e", text(e.as_bytes())), ("kty", "RSA".into()), ("n", text(n.as_bytes()))])
            }
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SigningKey(…)")
    }
}
