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

/// Twice as many as are registered (RFC 7517 §8.3).
const MAX_OPERATIONS: usize = 16;

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
    let form = KeyFault::Form("a `key_ops` that is no short list of different names");
    let Some(list) = operations.as_array().filter(|list| list.len() <= MAX_OPERATIONS) else { return Err(form.into()) };
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One key of each type, as a document writes it.
    fn examples() -> [Value; 4] {
        [
            json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 256]), "e": "AQAB"}),
            // RFC 7515 §A.3.
            json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
            // RFC 8037 §A.2.
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 64])}),
        ]
    }

    fn parse(key: &Value, origin: Origin) -> Result<Jwk, Skip> {
        Jwk::parse(key.as_object().unwrap(), origin)
    }

    /// The key with other members; a null takes one away.
    fn with(key: &Value, changes: &Value) -> Result<Jwk, Skip> {
        let mut key = key.clone();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                key.as_object_mut().unwrap().remove(name);
            } else {
                key[name] = value.clone();
            }
        }
        parse(&key, Origin::Local)
    }

    fn is_fault(outcome: Result<Jwk, Skip>) -> bool {
        matches!(outcome, Err(Skip::Fault(_)))
    }

    #[test]
    fn each_type_of_key_is_read_with_what_is_said_of_it() {
        let [rsa, ec, okp, oct] = examples();
        for (key, alg) in [(&rsa, "PS512"), (&ec, "ES256"), (&okp, "EdDSA"), (&okp, "Ed25519"), (&oct, "HS384")] {
            let jwk =
                with(key, &json!({"alg": alg, "kid": "é", "use": "sig", "key_ops": ["sign", "verify"], "x5c": 1, "x5t": "", "ext": true})).unwrap();
            assert_eq!((jwk.alg, jwk.kid.as_deref()), (Algorithm::parse(alg), Some("é")));
            let bare = parse(key, Origin::Local).unwrap();
            assert_eq!((bare.alg, bare.kid), (None, None));
            assert!(bare.key.fits(Algorithm::parse(alg).unwrap()));
        }
    }

    #[test]
    fn keys_for_other_purposes_are_passed_over_in_silence() {
        let other = |outcome| matches!(outcome, Err(Skip::Other(_)));
        for key in &examples() {
            for change in [
                json!({"use": "enc"}),
                json!({"use": ""}),
                json!({"use": "SIG"}),
                json!({"key_ops": []}),
                json!({"key_ops": ["sign"]}),
                json!({"key_ops": ["encrypt", "wrapKey"]}),
                json!({"key_ops": ["Verify"]}),
                json!({"alg": "RSA-OAEP-256"}),
                json!({"alg": "ES512"}),
                json!({"alg": "none"}),
                json!({"alg": "rs256"}),
                json!({"kty": "AKP"}),
                json!({"kty": "rsa"}),
            ] {
                assert!(other(with(key, &change)), "{key} with {change}");
            }
        }
        let [_, ec, okp, _] = examples();
        for curve in ["P-521", "secp256k1", "p-256", "Ed25519", ""] {
            assert!(other(with(&ec, &json!({"crv": curve}))), "{curve}");
        }
        for curve in ["X25519", "Ed448", "P-256", ""] {
            assert!(other(with(&okp, &json!({"crv": curve}))), "{curve}");
        }
    }

    #[test]
    fn members_of_a_wrong_form_are_faults() {
        for key in &examples() {
            for change in [
                json!({"kty": null}),
                json!({"kty": 1}),
                json!({"use": 1}),
                json!({"use": ["sig"]}),
                json!({"key_ops": "verify"}),
                json!({"key_ops": {"verify": true}}),
                json!({"key_ops": ["verify", 1]}),
                json!({"key_ops": (0..16).map(|index| index.to_string()).chain(["verify".to_owned()]).collect::<Vec<_>>()}),
                json!({"key_ops": ["verify", "verify"]}),
                json!({"alg": 1}),
                json!({"alg": ["RS256"]}),
                json!({"kid": 1}),
                json!({"kid": ["a"]}),
                json!({"kid": "k".repeat(257)}),
            ] {
                assert!(is_fault(with(key, &change)), "{key} with {change}");
            }
            for (name, value) in key.as_object().unwrap().iter().filter(|(name, _)| matches!(name.as_str(), "n" | "e" | "x" | "y" | "k")) {
                let text = value.as_str().unwrap();
                for bad in [json!(null), json!(1), json!(""), json!(format!("{text}=")), json!(format!(" {text}")), json!(format!("{text}+"))] {
                    assert!(is_fault(with(key, &json!({name: bad}))), "{name}: {bad}");
                }
            }
        }
    }

    #[test]
    fn an_algorithm_is_one_for_its_key() {
        let [rsa, ec, okp, oct] = examples();
        for (key, alg) in [(&rsa, "HS256"), (&rsa, "ES256"), (&ec, "ES384"), (&ec, "RS256"), (&ec, "EdDSA"), (&okp, "ES256"), (&oct, "RS256")] {
            assert!(is_fault(with(key, &json!({"alg": alg}))), "{key} with {alg}");
        }
        let short = |length: usize, alg: Value| with(&oct, &json!({"k": URL_SAFE_NO_PAD.encode(vec![7; length]), "alg": alg}));
        for (length, alg) in [(31, json!(null)), (31, json!("HS256")), (47, json!("HS384")), (63, json!("HS512"))] {
            assert!(is_fault(short(length, alg.clone())), "{length} {alg}");
        }
        let fits = short(40, json!(null)).unwrap().key;
        assert!(fits.fits(Algorithm::Hs256) && !fits.fits(Algorithm::Hs384));
    }

    #[test]
    fn coordinates_have_the_full_length_of_their_curve() {
        let [_, ec, okp, _] = examples();
        let x = URL_SAFE_NO_PAD.decode(ec["x"].as_str().unwrap()).unwrap();
        let longer = URL_SAFE_NO_PAD.encode([&[0][..], &x].concat());
        for change in [json!({"x": longer}), json!({"x": URL_SAFE_NO_PAD.encode(&x[1..])}), json!({"y": ec["x"]}), json!({"crv": "P-384"})] {
            assert!(is_fault(with(&ec, &change)), "{change}");
        }
        assert!(is_fault(with(&okp, &json!({"x": longer}))));
        // The same point, cut in another place.
        let y = URL_SAFE_NO_PAD.decode(ec["y"].as_str().unwrap()).unwrap();
        let moved = json!({"x": URL_SAFE_NO_PAD.encode(&x[..31]), "y": URL_SAFE_NO_PAD.encode([&x[31..], &y].concat())});
        assert!(is_fault(with(&ec, &moved)));
    }

    #[test]
    fn secrets_and_private_halves_do_not_come_over_the_network() {
        let private = |key: &Value| matches!(parse(key, Origin::Remote), Err(Skip::Fault(KeyFault::Private)));
        let [rsa, ec, okp, oct] = examples();
        assert!(private(&oct));
        for key in [rsa, ec, okp] {
            assert!(parse(&key, Origin::Remote).is_ok());
            for name in PRIVATE {
                let mut key = key.clone();
                key[name] = json!("AQAB");
                assert!(private(&key) && parse(&key, Origin::Local).is_ok(), "{key}");
            }
        }
    }
}
