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
        let secrets = set.keys.iter().filter(|jwk| matches!(jwk.key, Key::Hmac(_))).count();
        if secrets > 0 && secrets < set.keys.len() {
            return Err(KeyFault::Form("secrets and public keys in one set, of which only the latter may be shown to others"));
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
    /// A key id in the header leaves the one key of that id, or, where the set does not know it, the keys without any.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EC: &str =
        r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
    const OCT: &str = r#""kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA""#;

    fn document(keys: &[String]) -> String {
        format!("{{\"keys\":[{}]}}", keys.iter().map(|key| format!("{{{key}}}")).collect::<Vec<_>>().join(","))
    }

    fn read(text: &str, origin: Origin) -> Result<(usize, Vec<String>), KeyFault> {
        KeySet::from_jwks(text.as_bytes(), origin).map(|(set, warnings)| (set.len(), warnings))
    }

    #[test]
    fn a_set_keeps_the_keys_that_it_can_use_and_tells_of_faults_in_others() {
        let keys = [
            format!("{EC},\"kid\":\"good\""),
            format!("{EC},\"kid\":\"for encryption\",\"use\":\"enc\""),
            "\"kty\":\"AKP\"".to_owned(),
            format!("{OCT},\"kid\":\"shown\\n\""),
            format!("{EC},\"d\":\"AQAB\""),
            "\"kid\":\"x\"".to_owned(),
        ];
        let warnings = [
            "key `shown\\n`: a private key or a secret, where only public keys belong; the key is left out",
            "a key without `kid`: a private key or a secret, where only public keys belong; the key is left out",
            "key `x`: a key without `kty`; the key is left out",
        ];
        assert_eq!(read(&document(&keys), Origin::Remote), Ok((1, warnings.map(str::to_owned).to_vec())));
        let text = document(&[keys[0].clone()]).replace("]}", ",1,null,\"x\",[]]}");
        let (count, warnings) = read(&text, Origin::Remote).unwrap();
        assert_eq!((count, warnings.len()), (1, 4));
    }

    #[test]
    fn a_set_without_a_usable_key_is_a_fault_that_says_why() {
        let fault = |text: &str| read(text, Origin::Remote).unwrap_err().to_string();
        assert_eq!(fault("{\"keys\":[]}"), "no usable key: the document lists none");
        assert_eq!(
            fault(&document(&[format!("{EC},\"kid\":\"a\",\"use\":\"enc\""), OCT.to_owned()])),
            "no usable key: key `a`: a `use` other than `sig`; a key without `kid`: a private key or a secret, where only public keys belong"
        );
    }

    #[test]
    fn documents_that_are_no_key_sets_are_refused() {
        let good = document(&[EC.to_owned()]);
        assert!(read(&good, Origin::Remote).is_ok());
        let doubled = good.replace("{\"kty\"", "{\"kty\":\"EC\",\"kty\"");
        for text in ["", "{}", "[]", "null", "<html>", "{\"keys\":{}}", "{\"keys\":null}", "{\"Keys\":[]}", &doubled, &format!("{good}x"), &good[1..]]
        {
            assert!(matches!(read(text, Origin::Local), Err(KeyFault::Form(_))), "{text}");
        }
        let space = " ".repeat(MAX_DOCUMENT - good.len());
        assert!(read(&format!("{good}{space}"), Origin::Remote).is_ok());
        assert!(read(&format!("{good}{space} "), Origin::Remote).is_err());
        let many = |count: usize| read(&document(&vec![EC.to_owned(); count]), Origin::Remote).map(|(count, _)| count);
        assert_eq!((many(64), many(65)), (Ok(64), Err(KeyFault::Form("more than 64 keys"))));
    }

    #[test]
    fn one_bare_key_and_secrets_are_for_local_files() {
        for (key, count) in [(EC, 1), (OCT, 1)] {
            let bare = format!("{{{key}}}");
            assert_eq!(read(&bare, Origin::Local), Ok((count, Vec::new())));
            assert!(read(&bare, Origin::Remote).is_err());
        }
        let private = read(&format!("{{{EC},\"kid\":\"p\",\"d\":\"AQAB\"}}"), Origin::Local);
        assert_eq!(private, Ok((1, vec!["key `p`: a private key, of which only the public half is used".to_owned()])));
        assert_eq!(read(&document(&[OCT.to_owned(), OCT.to_owned()]), Origin::Local).map(|(count, _)| count), Ok(2));
        assert!(matches!(read(&document(&[EC.to_owned(), OCT.to_owned()]), Origin::Local), Err(KeyFault::Form(_))));
    }

    #[test]
    fn a_key_id_on_two_keys_of_one_algorithm_is_told() {
        let key = |kid: &str, rest: &str| format!("{EC},\"kid\":\"{kid}\"{rest}");
        let rsa = format!("\"kty\":\"RSA\",\"kid\":\"a\",\"e\":\"AQAB\",\"n\":\"{}_w\"", "_".repeat(340));
        let (count, warnings) = read(&document(&[key("a", ""), key("b", ""), key("a", ",\"alg\":\"ES256\""), rsa.clone()]), Origin::Remote).unwrap();
        assert_eq!((count, warnings), (4, vec!["key `a`: on more than one key; tokens that name it are refused".to_owned()]));
        assert_eq!(read(&document(&[key("a", ""), rsa]), Origin::Remote), Ok((2, Vec::new())));
    }

    #[test]
    fn certificates_are_keys_by_their_id() {
        let facts: Value = serde_json::from_str(include_str!("../../tests/vectors/x509.json")).unwrap();
        let mut certificates = facts["certificates"].clone();
        let read = |document: &Value| KeySet::from_x509_map(document.to_string().as_bytes());
        let (set, warnings) = read(&certificates).unwrap();
        assert_eq!((set.len(), warnings.len()), (4, 0));
        for (index, (kid, token)) in facts["tokens"].as_object().unwrap().iter().enumerate() {
            assert!(set.knows(kid));
            assert_eq!(set.verify(&Jws::parse(token.as_str().unwrap()).unwrap(), &Algorithm::ALL), Ok(index), "{kid}");
        }
        certificates["small"] = facts["small_certificate"].clone();
        certificates["x"] = json!(1);
        certificates["k".repeat(257)] = certificates["rsa"].clone();
        let (set, warnings) = read(&certificates).unwrap();
        assert_eq!((set.len(), warnings.len()), (4, 3));
        assert_eq!(warnings[0], "key `small`: an RSA key of less than 2048 bits; the key is left out");
        assert!(warnings[2].starts_with(&format!("key `{}` (shortened): ", "k".repeat(64))));
        for none in [json!({}), json!([]), json!({"error": "x"}), json!({"keys": []})] {
            assert!(read(&none).is_err(), "{none}");
        }
    }
}
