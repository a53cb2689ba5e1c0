//! Tests: the published examples of RFC 7515, RFC 7520 and RFC 8037, and Wycheproof's tokens and key sets.
//! Holds no product code.

use serde_json::Value;

use super::{Algorithm, Fault, Jws, KeySet, Origin, Refusal};

const RFC: &str = include_str!("../../tests/vectors/rfc.json");
const WYCHEPROOF: &str = include_str!("../../tests/vectors/wycheproof.json");

fn vectors(text: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(text).unwrap();
    document["vectors"].as_array().unwrap().clone()
}

fn keys(list: &Value) -> Option<KeySet> {
    KeySet::from_jwks(format!("{{\"keys\":{list}}}").as_bytes(), Origin::Local).ok().map(|(set, _)| set)
}

fn answer(set: Option<&KeySet>, token: &str) -> &'static str {
    match (Jws::parse(token), set) {
        (Err(Fault::Form), _) => "form",
        (Err(Fault::Critical), _) => "critical",
        (Err(fault), _) => fault.as_str(),
        (Ok(_), None) => "no such key",
        (Ok(jws), Some(set)) => match set.verify(&jws, &Algorithm::ALL) {
            Ok(0) => "verified",
            Ok(_) => "verified by another key",
            Err(Refusal::Algorithm) => "algorithm",
            Err(Refusal::Signature) => "signature",
            Err(Refusal::UnknownKey) => "unknown key",
            Err(Refusal::AmbiguousKey) => "ambiguous key",
        },
    }
}

#[test]
fn the_examples_of_the_rfcs_get_the_answers_that_the_rfcs_give_or_are_not_spoken_here() {
    let vectors = vectors(RFC);
    assert_eq!(vectors.len(), 16);
    for vector in vectors {
        let set = keys(&Value::Array(vec![vector["key"].clone()]));
        assert_eq!(answer(set.as_ref(), vector["token"].as_str().unwrap()), vector["answer"], "{}", vector["name"]);
    }
}

#[test]
fn no_single_changed_character_of_an_example_is_verified() {
    for vector in vectors(RFC).iter().filter(|vector| vector["answer"] == "verified") {
        let set = keys(&Value::Array(vec![vector["key"].clone()]));
        let token = vector["token"].as_str().unwrap();
        for (place, old) in token.char_indices() {
            let new = if old == 'A' { 'B' } else { 'A' };
            let changed = format!("{}{new}{}", &token[..place], &token[place + 1..]);
            assert_ne!(answer(set.as_ref(), &changed), "verified", "{} at {place}", vector["name"]);
        }
    }
}

#[test]
fn wycheproof_tokens_are_accepted_where_they_are_valid_and_nowhere_else() {
    let vectors = vectors(WYCHEPROOF);
    assert_eq!(vectors.len(), 93);
    for vector in vectors {
        let answer = answer(keys(&vector["keys"]).as_ref(), vector["jws"].as_str().unwrap());
        assert_eq!(answer == "verified", vector["accepted"] == true, "{}: {answer}", vector["test"]);
    }
}
