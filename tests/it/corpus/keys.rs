//! Keys of this run, and their public halves in every form that a configuration can name. What signs is not what the product checks with.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as Generated, KeySize};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use ring::{digest, hmac};
use serde_json::{Value, json};

enum Pair {
    Rsa(RsaKeyPair),
    /// With what `ring` made, for the signatures of another form.
    P256(EcdsaKeyPair, Box<EcdsaKeyPair>),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// `rsa`, `ec`, `ec384`, `ed`, and of each a stranger's: `rsa2`, `ec2`, `ec3842`, `ed2`.
pub struct Keys {
    pairs: BTreeMap<String, Pair>,
    random: SystemRandom,
    /// By file name.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Keys {
    pub fn generate() -> Self {
        let random = SystemRandom::new();
        let mut pairs = BTreeMap::new();
        for owner in ["", "2"] {
            let rsa: Pkcs8V1Der<'_> = Generated::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
            pairs.insert(format!("rsa{owner}"), Pair::Rsa(RsaKeyPair::from_pkcs8(rsa.as_ref()).unwrap()));
            let make = |algorithm| EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let read = |algorithm, bytes: &[u8]| EcdsaKeyPair::from_pkcs8(algorithm, bytes, &random).unwrap();
            let p256 = make(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
            let fixed = read(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, p256.as_ref());
            pairs.insert(format!("ec{owner}"), Pair::P256(fixed, Box::new(read(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, p256.as_ref()))));
            let p384 = make(&signature::ECDSA_P384_SHA384_FIXED_SIGNING);
            pairs.insert(format!("ec384{owner}"), Pair::P384(read(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, p384.as_ref())));
            let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            pairs.insert(format!("ed{owner}"), Pair::Ed25519(Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap()));
        }
        let mut keys = Self { pairs, random, files: BTreeMap::new() };
        keys.files = keys.all_files();
        keys
    }

    /// `key` is a pair's name, or a secret: `text:…`, `base64:…`, `hex:…`, `file:NAME`.
    pub fn sign(&self, key: &str, alg: &str, text: &[u8]) -> Vec<u8> {
        if let Some(secret) = self.secret(key) {
            let algorithm = match alg {
                "HS384" => hmac::HMAC_SHA384,
                "HS512" => hmac::HMAC_SHA512,
                _ => hmac::HMAC_SHA256,
            };
            return hmac::sign(&hmac::Key::new(algorithm, &secret), text).as_ref().to_vec();
        }
        match (self.pairs.get(key).unwrap_or_else(|| panic!("no key {key}")), alg) {
            (Pair::Rsa(pair), _) => {
                let padding: &dyn signature::RsaEncoding = match alg {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut bytes = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &self.random, text, &mut bytes).unwrap();
                bytes
            }
            (Pair::P256(_, asn1), "DER") => asn1.sign(&self.random, text).unwrap().as_ref().to_vec(),
            (Pair::P256(pair, _) | Pair::P384(pair), _) => pair.sign(&self.random, text).unwrap().as_ref().to_vec(),
            (Pair::Ed25519(pair), _) => pair.sign(text).as_ref().to_vec(),
        }
    }

    fn secret(&self, key: &str) -> Option<Vec<u8>> {
        let (kind, value) = key.split_once(':')?;
        Some(match kind {
            "text" => value.into(),
            "base64" => STANDARD.decode(value).unwrap(),
            "hex" => (0..value.len()).step_by(2).map(|at| u8::from_str_radix(&value[at..at + 2], 16).unwrap()).collect(),
            "file" => self.files[value].clone(),
            _ => panic!("{key}"),
        })
    }

    /// The public half as a JWK.
    pub fn jwk(&self, name: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let ec = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
        };
        match &self.pairs[name] {
            Pair::Rsa(pair) => {
                let public: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": text(&public.n), "e": text(&public.e)})
            }
            Pair::P256(pair, _) => ec("P-256", pair.public_key().as_ref()),
            Pair::P384(pair) => ec("P-384", pair.public_key().as_ref()),
            Pair::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())}),
        }
    }

    /// SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    fn public_der(&self, name: &str) -> Vec<u8> {
        let info = |algorithm: &[&[u8]], key: &[u8]| der(0x30, &[&der(0x30, algorithm), &der(3, &[&[0], key])]);
        let on_curve = |curve: &[u8], key: &[u8]| info(&[&der(6, &[b"\x2a\x86\x48\xce\x3d\x02\x01"]), &der(6, &[curve])], key);
        match &self.pairs[name] {
            Pair::Rsa(pair) => info(&[&der(6, &[b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"]), &[5, 0]], pair.public_key().as_ref()),
            Pair::P256(pair, _) => on_curve(b"\x2a\x86\x48\xce\x3d\x03\x01\x07", pair.public_key().as_ref()),
            Pair::P384(pair) => on_curve(b"\x2b\x81\x04\x00\x22", pair.public_key().as_ref()),
            Pair::Ed25519(pair) => info(&[&der(6, &[b"\x2b\x65\x70"])], pair.public_key().as_ref()),
        }
    }

    /// A certificate over the public half; nobody here checks who signed it.
    pub fn certificate(&self, name: &str) -> Vec<u8> {
        let subject = |common: &str| der(0x30, &[&der(0x31, &[&der(0x30, &[&der(6, &[b"\x55\x04\x03"]), &der(12, &[common.as_bytes()])])])]);
        let algorithm = der(0x30, &[&der(6, &[b"\x2a\x86\x48\xce\x3d\x04\x03\x02"])]);
        let time = |text: &str| der(23, &[text.as_bytes()]);
        let uri = format!("spiffe://corpus.test/ns/a/sa/{name}");
        let names = der(0x30, &[&der(0x86, &[uri.as_bytes()]), &der(0x82, &[format!("{name}.corpus.test").as_bytes()])]);
        let alternative = der(0x30, &[&der(6, &[b"\x55\x1d\x11"]), &der(4, &[&names])]);
        let body = der(
            0x30,
            &[
                &der(0xa0, &[&der(2, &[&[2]])]),
                &der(2, &[&[7]]),
                &algorithm,
                &subject("an issuer"),
                &der(0x30, &[&time("200101000000Z"), &time("200103000000Z")]),
                &subject(name),
                &self.public_der(name),
                &der(0xa3, &[&der(0x30, &[&alternative])]),
            ],
        );
        let signature = self.sign("ec", "DER", &body);
        der(0x30, &[&body, &algorithm, &der(3, &[&[0], &signature])])
    }

    /// RFC 8705 §3.1.
    pub fn thumbprint(&self, name: &str) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &self.certificate_of_file(name)))
    }

    /// As it was written beside the configuration: each signature is another.
    pub fn certificate_of_file(&self, name: &str) -> Vec<u8> {
        self.files[&format!("{name}.crt.der")].clone()
    }

    fn all_files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for name in self.pairs.keys() {
            let (public, certificate) = (self.public_der(name), self.certificate(name));
            files.insert(format!("{name}.pem"), pem("PUBLIC KEY", &public).into_bytes());
            files.insert(format!("{name}.crt"), pem("CERTIFICATE", &certificate).into_bytes());
            files.insert(format!("{name}.jwk"), self.jwk(name).to_string().into_bytes());
            if let Pair::Rsa(pair) = &self.pairs[name] {
                files.insert(format!("{name}.pkcs1.pem"), pem("RSA PUBLIC KEY", pair.public_key().as_ref()).into_bytes());
                files.insert(format!("{name}.n"), URL_SAFE_NO_PAD.decode(self.jwk(name)["n"].as_str().unwrap()).unwrap());
            }
            files.insert(format!("{name}.der"), public);
            files.insert(format!("{name}.crt.der"), certificate);
        }
        // As long as the largest hash; one line end goes.
        files.insert("secret.txt".into(), format!("{}\n", SECRET).into_bytes());
        files.insert("keys.json".into(), self.local_set().to_string().into_bytes());
        files
    }

    /// The key set of `keys.json`: usable keys, and some that are not.
    fn local_set(&self) -> Value {
        let with = |name: &str, members: Value| {
            let mut key = self.jwk(name);
            key.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            key
        };
        json!({"keys": [
            with("rsa", json!({"kid": "rsa-1", "use": "sig"})),
            with("ec", json!({"kid": "ec-1", "alg": "ES256"})),
            with("ed", json!({"kid": "ed-1", "key_ops": ["verify"]})),
            with("rsa2", json!({"kid": "for-encryption", "use": "enc"})),
            with("ec2", json!({"kid": "for-signing-only", "key_ops": ["sign"]})),
            with("ed2", json!({"kid": "doubled"})),
            with("ed", json!({"kid": "doubled"})),
            with("rsa", json!({"kid": "only-ps256", "alg": "PS256"})),
            with("ec384", json!({"kid": "rsa-and-ec"})),
            with("rsa", json!({"kid": "rsa-and-ec"})),
            {"kty": "AKP", "alg": "ML-DSA-44", "kid": "of-tomorrow", "pub": "AA"},
            with("rsa", json!({"kid": "a/../b' OR 1=1--"})),
        ]})
    }
}

/// The secret of `secret.txt`.
pub const SECRET: &str = "corpus-secret-of-sixty-four-characters-0123456789-abcdefghijklmn";

pub fn pem(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// One value of X.690, of a length that fits into two bytes.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut bytes = vec![tag];
    match u16::try_from(content.len()).unwrap().to_be_bytes() {
        [0, short @ 0..=127] => bytes.push(short),
        [0, one] => bytes.extend([0x81, one]),
        [high, low] => bytes.extend([0x82, high, low]),
    }
    bytes.extend(content);
    bytes
}
