//! A roster knows exactly its own tokens, and each only within its window.

use std::collections::HashMap;

use scopegate::credential::digest::{TagKey, sha256};
use scopegate::principal::Cause;
use scopegate::principal::roles::Roles;
use scopegate::principal::roster::{Roster, Secret, Window};
use scopegate::scope::{Scope, ScopeSets, Universe};

use crate::random::{Random, check};

fn token(random: &mut Random) -> String {
    let length = 1 + random.below(20);
    (0..length).map(|_| random.pick(&['a', 'b', 'A', '0', '_', '='])).collect()
}

/// A token that looks much like one that is known.
fn near(token: &str, random: &mut Random) -> String {
    let mut bytes = token.as_bytes().to_vec();
    match random.below(7) {
        0 => bytes.push(random.pick(b"a \0")),
        1 => bytes.truncate(bytes.len() - 1),
        2 => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(6);
        }
        3 => bytes.make_ascii_uppercase(),
        4 => bytes.reverse(),
        5 => bytes = sha256(token).iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
        _ => {}
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn window(random: &mut Random) -> Window {
    let mut instant = || random.once_in(3).then(|| random.below(5) as i64);
    Window { not_before: instant(), expires_at: instant(), disabled: random.once_in(8) }
}

fn expected(window: &Window, now: i64) -> Result<(), Cause> {
    match (window.disabled, window.not_before, window.expires_at) {
        (true, ..) => Err(Cause::Disabled),
        (_, Some(start), _) if now < start => Err(Cause::NotYetValid),
        (_, _, Some(end)) if now >= end => Err(Cause::Expired),
        _ => Ok(()),
    }
}

fn try_roster(random: &mut Random) {
    let mut key = [0; 32];
    key.iter_mut().for_each(|byte| *byte = random.next() as u8);
    let mut roster = Roster::new(TagKey::new(key), ScopeSets::new(Universe::default()), 0);
    let mut roles = Roles::default();
    let mut known: HashMap<String, (String, Window)> = HashMap::new();
    for number in 0..random.below(30) {
        let (token, window) = (token(random), window(random));
        let (set, _) = roles.assign(Vec::new());
        let scopes = roster.sets().intern(vec![Scope::parse("a:b").unwrap()]);
        let id = format!("id-{number}");
        let entry = roster.add(&id, scopes, set, None);
        // The other form of a known token is looked for when a file is read.
        if known.contains_key(&token) {
            continue;
        }
        let digest = sha256(&token);
        let secret = if random.once_in(3) { Secret::Sha256(&digest) } else { Secret::Clear(&token) };
        roster.add_secret(entry, secret, window).unwrap();
        let again = roster.add_secret(entry, secret, window).map_err(|owner| owner.id.to_string());
        assert_eq!(again, Err(id.clone()));
        known.insert(token, (id, window));
    }
    assert_eq!(roster.len(), known.len());
    let all: Vec<_> = known.keys().cloned().collect();
    for _ in 0..30 {
        let asked = if all.is_empty() || random.once_in(4) { token(random) } else { near(&all[random.below(all.len())], random) };
        let now = random.below(6) as i64;
        let found = roster.find(&asked, TagKey::new(key).of_token(&asked), now).map(|(entry, _)| entry.id.to_string()).map_err(|(cause, _)| cause);
        let expected = match known.get(&asked) {
            None => Err(Cause::Unknown),
            Some((id, window)) => expected(window, now).map(|()| id.clone()),
        };
        assert_eq!(found, expected, "{asked:?} at {now}");
    }
}

#[test]
fn only_exact_tokens_are_found_and_only_within_their_window() {
    check(20_000, try_roster);
}
