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
        let signature = signers.sign(alg, b"text");
        for (key, read) in signers.keys().iter().flat_map(|key| Algorithm::ALL.map(|read| (key, read))) {
            assert_eq!(key.verify(read, b"text", &signature), read == alg && key.fits(alg), "{alg:?} read as {read:?}");
        }
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

#[test]
fn a_public_key_is_no_secret_in_whatever_form_an_attacker_writes_it() {
    let signers = Signers::generate();
    let [rsa, p256, p384, ed25519] = signers.public();
    let pkcs1 = signers.rsa.public_key().as_ref();
    let mut secrets: Vec<Vec<u8>> =
        [&rsa, &p256, &p384, &ed25519].iter().flat_map(|der| [der.as_ref().to_vec(), pem("PUBLIC KEY", der.as_ref()).into()]).collect();
    secrets.extend([
        pkcs1.to_vec(),
        pem("RSA PUBLIC KEY", pkcs1).into(),
        signers.p256.public_key().as_ref().to_vec(),
        signers.ed25519.public_key().as_ref().to_vec(),
    ]);
    secrets.extend([pem("PUBLIC KEY", rsa.as_ref()).trim_end().into(), URL_SAFE_NO_PAD.encode(&pkcs1[9..265]).into(), Vec::new()]);
    for secret in secrets {
        let token = sign_hs256(&HmacKey::new(&secret), &json!({"alg": "HS256"}), &json!({"sub": "u"}));
        assert_eq!(verify(&KeySet::single(Key::hmac(&secret)), &token, &[Algorithm::Hs256]).is_ok(), !secret.is_empty());
        for key in signers.keys() {
            assert!(verify(&KeySet::single(key), &token, &Algorithm::ALL).is_err());
        }
    }
}

#[test]
fn a_key_in_the_header_is_not_the_key() {
    let (signers, stranger) = (Signers::generate(), Signers::generate());
    let point = stranger.p256.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])});
    let own = KeySet::from_jwks(json!({"keys": [jwk.clone()]}).to_string().as_bytes(), Origin::Remote).unwrap().0;
    let header = json!({"alg": "ES256", "kid": "a", "jwk": jwk, "jku": "http://169.254.169.254/", "x5u": "http://169.254.169.254/", "x5c": ["AAAA"]});
    let token = stranger.token(Algorithm::Es256, &header);
    assert_eq!(verify(&own, &token, &[Algorithm::Es256]), Ok(0));
    let p256 = || signers.keys().remove(1);
    let sets = [KeySet::single(p256()), KeySet::of(vec![Jwk { kid: Some("a".into()), alg: None, key: p256() }])];
    for set in sets {
        assert_eq!(verify(&set, &token, &[Algorithm::Es256]), Err(Refusal::Signature));
    }
}

#[test]
fn unsigned_tokens_and_unknown_algorithms_are_never_verified() {
    let signers = Signers::generate();
    for name in ["none", "None", "NONE", "nOnE", "", "HS1", "ES512", "hs256"] {
        let start = format!("{}.e30.", URL_SAFE_NO_PAD.encode(json!({ "alg": name }).to_string()));
        for signature in [String::new(), URL_SAFE_NO_PAD.encode(signers.sign(Algorithm::Hs256, start.trim_end_matches('.').as_bytes()))] {
            for key in signers.keys() {
                assert_eq!(verify(&KeySet::single(key), &format!("{start}{signature}"), &Algorithm::ALL), Err(Refusal::Algorithm), "{name}");
            }
        }
    }
}

#[test]
fn signatures_have_the_length_of_their_algorithm() {
    let signers = Signers::generate();
    for alg in Algorithm::ALL {
        let text = b"text";
        let signature = signers.sign(alg, text);
        let key = signers.keys().into_iter().find(|key| key.fits(alg)).unwrap();
        assert!(key.verify(alg, text, &signature));
        let half = signature.len() / 2;
        let others = [
            Vec::new(),
            vec![0],
            signature[1..].to_vec(),
            signature[..signature.len() - 1].to_vec(),
            signature[..half].to_vec(),
            [&signature[..], &[0]].concat(),
            [&[0], &signature[..]].concat(),
            [&[0], &signature[..half], &[0], &signature[half..]].concat(),
            [&signature[..], &signature[..]].concat(),
            vec![0; signature.len()],
            vec![0xff; signature.len()],
            vec![0; 1024],
        ];
        for other in others {
            assert!(!key.verify(alg, text, &other), "{alg:?}: {} bytes", other.len());
        }
        assert!(!key.verify(alg, b"texT", &signature) && !key.verify(alg, b"", &signature));
    }
}

#[test]
fn a_signature_in_der_is_none() {
    let random = SystemRandom::new();
    for (signing, alg, kind) in
        [(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, Algorithm::Es256, 65), (&signature::ECDSA_P384_SHA384_ASN1_SIGNING, Algorithm::Es384, 97)]
    {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        assert_eq!(pair.public_key().as_ref().len(), kind);
        let key = Key::from_pem(pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref()).as_bytes()).unwrap();
        let der = pair.sign(&random, b"text").unwrap();
        assert!(key.fits(alg) && !key.verify(alg, b"text", der.as_ref()), "{alg:?}");
    }
}

#[test]
fn an_ed25519_signature_has_one_form() {
    let signers = Signers::generate();
    let key = signers.keys().remove(3);
    let mut signature = signers.sign(Algorithm::EdDsa, b"text");
    assert!(key.verify(Algorithm::EdDsa, b"text", &signature));
    // S plus the order of the group (RFC 8032 §5.1): the same point, and no signature (§5.1.7).
    let order: [u8; 16] = [0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14];
    let mut carry = 0u16;
    for (byte, add) in signature[32..].iter_mut().zip(order.into_iter().chain([0; 15]).chain([0x10u8])) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert!(carry == 0 && !key.verify(Algorithm::EdDsa, b"text", &signature));
}

#[test]
fn pss_and_pkcs1_do_not_stand_in_for_each_other() {
    let signers = Signers::generate();
    let key = signers.keys().remove(0);
    let rsa = [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512];
    for made in rsa {
        let signature = signers.sign(made, b"text");
        for read in rsa {
            assert_eq!(key.verify(read, b"text", &signature), made == read, "{made:?} read as {read:?}");
        }
    }
}

#[test]
fn an_rsa_key_is_the_same_in_each_of_its_encodings() {
    let signers = Signers::generate();
    let token = signers.token(Algorithm::Ps256, &json!({"alg": "PS256"}));
    let spki = signers.rsa.public_key().as_der().unwrap();
    let pkcs1 = signers.rsa.public_key().as_ref();
    for text in [pem("PUBLIC KEY", spki.as_ref()), pem("RSA PUBLIC KEY", pkcs1)] {
        assert_eq!(verify(&KeySet::single(Key::from_pem(text.as_bytes()).unwrap()), &token, &[Algorithm::Ps256]), Ok(0));
    }
    for text in [pem("PUBLIC KEY", pkcs1), pem("RSA PUBLIC KEY", spki.as_ref()), pem("CERTIFICATE", spki.as_ref())] {
        assert!(matches!(Key::from_pem(text.as_bytes()), Err(KeyFault::Form(_))));
    }
}

mod choice {
    use super::*;

    fn set(keys: Vec<(Option<&str>, Option<Algorithm>, Key)>) -> KeySet {
        KeySet::of(keys.into_iter().map(|(kid, alg, key)| Jwk { kid: kid.map(Box::from), alg, key }).collect())
    }

    #[test]
    fn a_named_key_is_the_only_one_that_is_tried() {
        let (one, two) = (Signers::generate(), Signers::generate());
        let (rsa, other) = (|| one.keys().remove(0), || two.keys().remove(0));
        let token = |kid: &str| one.token(Algorithm::Rs256, &json!({"alg": "RS256", "kid": kid}));
        let check = |set: &KeySet, kid: &str| verify(set, &token(kid), &[Algorithm::Rs256]);
        let keys = set(vec![(Some("b"), None, other()), (Some("a"), None, rsa())]);
        assert_eq!((check(&keys, "a"), check(&keys, "b")), (Ok(1), Err(Refusal::Signature)));
        for kid in ["c", "A", "", "a ", "a\0", "../../dev/null"] {
            assert_eq!(check(&keys, kid), Err(Refusal::UnknownKey), "{kid:?}");
        }
        let mixed = set(vec![(Some("b"), None, other()), (None, None, rsa())]);
        assert_eq!((check(&mixed, "a"), check(&mixed, "b")), (Ok(1), Err(Refusal::Signature)));
        assert_eq!(check(&set(vec![(None, None, other())]), "a"), Err(Refusal::Signature));
        assert_eq!(check(&KeySet::default(), "a"), Err(Refusal::UnknownKey));
        let named = keys.get(1).unwrap();
        assert!(named.kid.as_deref() == Some("a") && keys.get(2).is_none() && keys.knows("b") && !keys.knows("c"));
    }

    #[test]
    fn a_key_id_on_two_keys_is_ambiguous_only_among_keys_that_fit() {
        let (one, two) = (Signers::generate(), Signers::generate());
        let (rsa, other, ec) = (|| one.keys().remove(0), || two.keys().remove(0), || one.keys().remove(1));
        let token = one.token(Algorithm::Rs256, &json!({"alg": "RS256", "kid": "a"}));
        let check = |keys| verify(&set(keys), &token, &[Algorithm::Rs256]);
        let a = Some("a");
        assert_eq!(check(vec![(a, None, rsa()), (a, None, other())]), Err(Refusal::AmbiguousKey));
        assert_eq!(check(vec![(a, None, rsa()), (a, Some(Algorithm::Rs256), rsa())]), Err(Refusal::AmbiguousKey));
        assert_eq!(check(vec![(a, None, ec()), (a, None, rsa())]), Ok(1));
        assert_eq!(check(vec![(a, Some(Algorithm::Ps256), other()), (a, Some(Algorithm::Rs256), rsa())]), Ok(1));
        assert_eq!(check(vec![(a, None, rsa()), (Some("b"), None, other()), (Some("b"), None, other())]), Ok(0));
    }

    #[test]
    fn a_key_is_used_only_with_the_algorithm_that_its_document_names() {
        let signers = Signers::generate();
        let rsa = || signers.keys().remove(0);
        let check = |header: Value, keys| verify(&set(keys), &signers.token(Algorithm::Ps256, &header), &Algorithm::ALL);
        let (named, bare) = (json!({"alg": "PS256", "kid": "a"}), json!({"alg": "PS256"}));
        assert_eq!(check(named.clone(), vec![(Some("a"), Some(Algorithm::Rs256), rsa())]), Err(Refusal::Algorithm));
        // A key without an id does not stand in for one that is known and does not fit.
        assert_eq!(check(named.clone(), vec![(Some("a"), Some(Algorithm::Rs256), rsa()), (None, None, rsa())]), Err(Refusal::Algorithm));
        assert_eq!(check(named, vec![(Some("a"), Some(Algorithm::Ps256), rsa())]), Ok(0));
        assert_eq!(check(bare.clone(), vec![(None, Some(Algorithm::Rs256), rsa())]), Err(Refusal::UnknownKey));
        assert_eq!(check(bare, vec![(Some("a"), None, rsa())]), Ok(0));
    }

    #[test]
    fn without_a_key_id_eight_fitting_keys_are_tried() {
        let (signers, strangers) = (Signers::generate(), Signers::generate());
        let token = signers.token(Algorithm::EdDsa, &json!({"alg": "EdDSA"}));
        let check = |before: usize| {
            // Keys of another type do not count.
            let mut keys: Vec<_> = (0..20).map(|_| (None, None, strangers.keys().remove(1))).collect();
            keys.extend((0..before).map(|_| (Some("x"), None, strangers.keys().remove(3))));
            keys.push((None, None, signers.keys().remove(3)));
            verify(&set(keys), &token, &[Algorithm::EdDsa])
        };
        assert_eq!((check(0), check(7), check(8)), (Ok(20), Ok(27), Err(Refusal::Signature)));
    }

    #[test]
    fn only_allowed_algorithms_are_looked_at() {
        let signers = Signers::generate();
        let keys = set(vec![(None, None, signers.keys().remove(0)), (None, None, signers.keys().remove(4))]);
        for alg in [Algorithm::Rs256, Algorithm::Hs256] {
            let token = signers.token(alg, &json!({ "alg": alg.as_str() }));
            assert_eq!(verify(&keys, &token, &[]), Err(Refusal::Algorithm));
            assert_eq!(verify(&keys, &token, &[Algorithm::Ps256, Algorithm::Es256]), Err(Refusal::Algorithm));
            assert!(verify(&keys, &token, &[Algorithm::Es256, alg]).is_ok());
        }
    }
}
