//! Tests: every algorithm against every type of key, and every way in which a token may name a key that is not its own.
//! Holds no product code.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;

/// A private key of each type.
struct Signers {
    secret: [u8; 64],
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Signers {
    fn generate() -> Self {
        Self {
            secret: [7; 64],
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            p256: EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            p384: EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn sign(&self, alg: Algorithm, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |padding: &'static dyn signature::RsaEncoding| {
            let mut bytes = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &random, text, &mut bytes).unwrap();
            bytes
        };
        let hmac = |hash| aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(hash, &self.secret), text).as_ref().to_vec();
        match alg {
            Algorithm::Hs256 => hmac(aws_lc_rs::hmac::HMAC_SHA256),
            Algorithm::Hs384 => hmac(aws_lc_rs::hmac::HMAC_SHA384),
            Algorithm::Hs512 => hmac(aws_lc_rs::hmac::HMAC_SHA512),
            Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
            Algorithm::Es256 => self.p256.sign(&random, text).unwrap().as_ref().to_vec(),
            Algorithm::Es384 => self.p384.sign(&random, text).unwrap().as_ref().to_vec(),
            Algorithm::EdDsa => self.ed25519.sign(text).as_ref().to_vec(),
        }
    }

    fn token(&self, alg: Algorithm, header: &Value) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode("{\"sub\":\"u\"}"));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.sign(alg, signed.as_bytes())))
    }

    fn public(&self) -> [PublicKeyX509Der<'static>; 4] {
        let (rsa, p256) = (self.rsa.public_key().as_der().unwrap(), self.p256.public_key().as_der().unwrap());
        [rsa, p256, self.p384.public_key().as_der().unwrap(), self.ed25519.public_key().as_der().unwrap()]
    }

    fn keys(&self) -> Vec<Key> {
        let public = self.public().into_iter().map(|der| Key::from_pem(pem("PUBLIC KEY", der.as_ref()).as_bytes()).unwrap());
        public.chain([Key::hmac(&self.secret)]).collect()
    }
}

fn pem(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn verify(set: &KeySet, token: &str, allowed: &[Algorithm]) -> Result<usize, Refusal> {
    set.verify(&Jws::parse(token).unwrap(), allowed)
}

#[test]
fn each_algorithm_is_checked_by_its_own_type_of_key_and_no_other() {
    let signers = Signers::generate();
    for alg in Algorithm::ALL {
        let token = signers.token(alg, &json!({"alg": alg.as_str(), "typ": "JWT"}));
        let taken: Vec<_> = signers.keys().into_iter().map(|key| verify(&KeySet::single(key), &token, &Algorithm::ALL)).collect();
        let own = match alg.as_str().get(..2) {
            Some("RS" | "PS") => 0,
            Some("ES") => 1 + usize::from(alg == Algorithm::Es384),
            Some("Ed") => 3,
            _ => 4,
        };
        for (index, taken) in taken.into_iter().enumerate() {
            assert_eq!(taken, if index == own { Ok(0) } else { Err(Refusal::UnknownKey) }, "{alg:?} under key {index}");
        }
        let all = KeySet::of(signers.keys().into_iter().map(|key| Jwk { kid: None, alg: None, key }).collect());
        assert_eq!(verify(&all, &token, &Algorithm::ALL), Ok(own));
        let others: Vec<_> = Algorithm::ALL.into_iter().filter(|other| *other != alg).collect();
        assert_eq!(verify(&all, &token, &others), Err(Refusal::Algorithm), "{alg:?}");
    }
}
