//! A token in the first line and a key document behind it: what is taken has one spelling, and what is verified has one text.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scopegate::credential::certificate::Certificate;
use scopegate::jose::{Algorithm, Claims, Jws, Key, KeySet, MAX_DOCUMENT, MAX_HEADER, MAX_KEYS, MAX_KID, MAX_TOKEN, Origin};
use scopegate::principal::grant::Grant;
use scopegate::principal::jwt::{Jwt, Parsed, Preset, Rules};
use scopegate::principal::roles::Roles;
use scopegate::scope::Universe;
use serde_json::Value;

const NOW: i64 = 1_300_000_000;

pub fn hold(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (token, document) = end.map_or((data, data), |end| (&data[..end], &data[end + 1..]));
    claims(document);
    let sets = keys(document);
    let _ = Certificate::parse(document);
    let Ok(token) = str::from_utf8(token) else { return };
    let Ok(jws) = Jws::parse(token) else {
        assert!(Parsed::read(token).is_none());
        return;
    };
    one_spelling(token, &jws);
    for set in &sets {
        verified(token, &jws, set);
        proved(token, set);
    }
}

/// Every part is what its bytes are written as, and nothing is beyond its bounds.
fn one_spelling(token: &str, jws: &Jws<'_>) {
    assert!(token.len() <= MAX_TOKEN);
    let parts: Vec<Vec<u8>> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    assert_eq!(parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect::<Vec<_>>().join("."), token);
    assert!(parts.len() == 3 && parts[0].len() <= MAX_HEADER && parts[1] == jws.payload());
    let header: Value = serde_json::from_slice(&parts[0]).expect("a header is JSON");
    let said = |name: &str| header.get(name).and_then(Value::as_str);
    assert_eq!((said("typ"), said("kid")), (jws.header.typ.as_deref(), jws.header.kid.as_deref()));
    assert_eq!(said("alg").map(Algorithm::parse), Some(jws.header.alg));
    assert_eq!(jws.header.unsigned, said("alg") == Some("none") && parts[2].is_empty());
    assert!(header.get("crit").is_none() && header.get("b64").is_none());
    assert!(jws.header.kid.as_ref().is_none_or(|kid| kid.len() <= MAX_KID));
}

fn claims(document: &[u8]) {
    let Ok(claims) = Claims::parse(document) else { return };
    let value: Value = serde_json::from_slice(document).expect("claims are JSON");
    for (name, value) in value.as_object().expect("and an object") {
        assert_eq!(claims.get(name), Some(value));
        let _ = (claims.texts(name), claims.text(name));
        if let Ok(date) = claims.date(name) {
            let said = value.as_f64().expect("a date is a number");
            assert!(date.is_some_and(|date| (0..=1 << 53).contains(&date) && (said - date as f64).abs() < 1.0));
        }
    }
    let granted = Grant::default().principal(Arc::new(claims), 0, &Universe::default(), &Roles::default());
    if let Ok(principal) = granted {
        let is_word = |text: &str| !text.is_empty() && !text.chars().any(|char| char.is_whitespace() || char.is_control());
        assert!(is_word(&principal.id) && principal.tenant.as_deref().is_none_or(is_word));
        assert!(principal.roles.joined().split(' ').all(|role| role.is_empty() || is_word(role)));
    }
}

fn keys(document: &[u8]) -> Vec<KeySet> {
    let origins = [KeySet::from_jwks(document, Origin::Local), KeySet::from_jwks(document, Origin::Remote), KeySet::from_x509_map(document)];
    let mut sets = Vec::new();
    for (index, read) in origins.into_iter().enumerate() {
        match read {
            Ok((set, warnings)) => {
                assert!(document.len() <= MAX_DOCUMENT && (1..=MAX_KEYS).contains(&set.len()));
                assert!(warnings.iter().all(|warning| !warning.chars().any(char::is_control)));
                let secrets = (0..set.len()).filter(|key| matches!(set.get(*key).map(|jwk| &jwk.key), Some(Key::Hmac(_)))).count();
                assert!(secrets == 0 || (index == 0 && secrets == set.len()), "a secret from the network, or beside public keys");
                sets.push(set);
            }
            Err(fault) => assert!(!fault.to_string().is_empty() && !fault.to_string().chars().any(char::is_control)),
        }
    }
    sets
}

/// Another text of the same length is not verified by the same signature.
fn verified(token: &str, jws: &Jws<'_>, set: &KeySet) {
    let Ok(key) = set.verify(jws, &Algorithm::ALL) else { return };
    let alg = jws.header.alg.expect("what is verified has an algorithm");
    assert!(set.get(key).is_some_and(|jwk| jwk.key.fits(alg) && jwk.alg.is_none_or(|own| own == alg)));
    assert!(set.verify(jws, &[]).is_err());
    let payload = token.find('.').map_or(0, |dot| dot + 1);
    for (place, old) in token.char_indices().skip(payload).step_by(7).filter(|(_, old)| *old != '.') {
        let changed = format!("{}{}{}", &token[..place], if old == 'A' { 'B' } else { 'A' }, &token[place + 1..]);
        assert!(Jws::parse(&changed).is_err() || set.verify(&Jws::parse(&changed).unwrap(), &Algorithm::ALL).is_err(), "{place}");
    }
}

/// Whatever is proved counts now, and not for ever.
fn proved(token: &str, set: &KeySet) {
    let Some(parsed) = Parsed::read(token) else { return };
    for preset in [Preset::Plain, Preset::BackstageServer, Preset::BackstageExternal, Preset::Firebase { unsigned: false }] {
        let rules = Rules {
            algorithms: Algorithm::ALL.into(),
            typ: None,
            issuer: None,
            audiences: Box::default(),
            leeway: 60,
            max_lifetime: Some(1 << 30),
            preset,
        };
        let keys = Arc::new(Arc::new(KeySet::of(Vec::new())));
        assert!(Jwt { keys, rules: rules.clone() }.prove(&parsed, NOW).is_err(), "without a key");
        if set.verify(&parsed.jws, &Algorithm::ALL).is_ok()
            && let Ok(until) = rules.check(&parsed, NOW)
        {
            assert!(until > NOW && until <= NOW + (1 << 30) + 120);
        }
    }
}
