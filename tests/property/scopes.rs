//! A scope set's bits say what its texts say, and both what the definition says.

use scopegate::scope::{Scope, ScopeSet, Universe};

use crate::random::{Random, check};

fn scope(random: &mut Random) -> String {
    let mut parts: Vec<&str> = (0..=random.below(3)).map(|_| random.pick(&["a", "b", "admin", "A", "a*b", "x.y/z"])).collect();
    if random.once_in(3) {
        *parts.last_mut().unwrap() = "*";
    }
    parts.join(":")
}

/// The definition, on parts rather than on text: equal, or the held parts before a last `*` begin the required ones and something follows.
fn satisfies(held: &str, required: &str) -> bool {
    let (held, required): (Vec<_>, Vec<_>) = (held.split(':').collect(), required.split(':').collect());
    match held.split_last() {
        _ if held == required => true,
        Some((&"*", before)) => required.len() > before.len() && required[..before.len()] == *before,
        _ => false,
    }
}

#[test]
fn bits_agree_with_the_definition() {
    check(60_000, |random| {
        let mut universe = Universe::default();
        let required: Vec<_> = (0..random.below(90)).filter_map(|_| Scope::parse(&scope(random)).ok()).collect();
        let ids: Vec<_> = required.iter().map(|scope| universe.intern(scope.clone())).collect();
        let held: Vec<_> = (0..random.below(4)).filter_map(|_| Scope::parse(&scope(random)).ok()).collect();
        let set = ScopeSet::new(held.clone(), &universe);
        for (id, required) in ids.iter().zip(&required) {
            let expected = held.iter().any(|held| satisfies(held.as_str(), required.as_str()));
            assert_eq!(universe.text(*id), required.as_str());
            assert_eq!(set.has(*id), expected, "{held:?} for {required}");
            assert_eq!(set.has_text(required.as_str()), expected, "{held:?} for {required}");
        }
        let texts: Vec<_> = set.joined().split(' ').filter(|text| !text.is_empty()).collect();
        assert!(texts.iter().all(|text| held.iter().any(|held| held.as_str() == *text)), "{held:?}");
        assert!(held.iter().all(|held| texts.contains(&held.as_str())), "{held:?}");
    });
}

#[test]
fn whatever_is_read_as_a_scope_can_stand_in_a_challenge() {
    check(100_000, |random| {
        let text = random.text(&["a", "*", ":", " ", "\"", "\\", "\u{e9}", "~", "!", "\n", "b"], 6);
        if let Ok(scope) = Scope::parse(&text) {
            assert_eq!(scope.as_str(), text);
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'), "{text:?}");
            assert!(text.find('*').is_none_or(|star| star + 1 == text.len()), "{text:?}");
        }
    });
}
