//! Scopes and tags of a document into scopes of a configuration, each into one of its own.
//! Leaves alone what is a scope already: tokens of the service's own issuer hold it in those very letters.

use std::collections::BTreeMap;

use crate::scope::Scope;

/// What became of every word.
#[derive(Debug, Default)]
pub struct Words {
    scopes: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

impl Words {
    pub fn new<'w>(scopes: impl Iterator<Item = &'w str>, tags: impl Iterator<Item = &'w str>) -> Self {
        let (good, odd): (Vec<&str>, Vec<&str>) = scopes.partition(|scope| Scope::parse(scope).is_ok());
        let mut words = Self::default();
        good.into_iter().for_each(|scope| drop(words.scopes.insert(scope.into(), scope.into())));
        for scope in odd {
            enter(&mut words.scopes, scope, &as_scope(scope));
        }
        tags.for_each(|tag| enter(&mut words.tags, tag, &slug(tag)));
        words
    }

    pub fn scope(&self, said: &str) -> String {
        self.scopes.get(said).cloned().unwrap_or_else(|| as_scope(said))
    }

    /// The resource that a tag stands for.
    pub fn tag(&self, said: &str) -> String {
        self.tags.get(said).cloned().unwrap_or_else(|| slug(said))
    }

    /// Scopes that are other words than in the document.
    pub fn changed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.scopes.iter().filter(|(said, scope)| said != scope).map(|(said, scope)| (said.as_str(), scope.as_str()))
    }
}

/// Two words never become one: whoever holds one would hold the other.
fn enter(known: &mut BTreeMap<String, String>, said: &str, wanted: &str) {
    if known.contains_key(said) {
        return;
    }
    let mut word = wanted.to_owned();
    let mut number = 2;
    while known.values().any(|other| *other == word) {
        word = format!("{wanted}-{number}");
        number += 1;
    }
    known.insert(said.to_owned(), word);
}

fn as_scope(said: &str) -> String {
    let part = |part: &str| {
        let text: String = part.chars().map(|letter| if matches!(letter, '!' | '#'..=')' | '+'..='[' | ']'..='~') { letter } else { '-' }).collect();
        if text.is_empty() { "any".to_owned() } else { text }
    };
    said.split(':').map(part).collect::<Vec<_>>().join(":")
}

/// Lower case, and a dash in the place of whatever is no letter and no digit.
fn slug(tag: &str) -> String {
    let mut text = String::new();
    for letter in tag.chars().flat_map(char::to_lowercase) {
        if letter.is_ascii_alphanumeric() {
            text.push(letter);
        } else if !text.is_empty() && !text.ends_with('-') {
            text.push('-');
        }
    }
    let text = text.trim_end_matches('-');
    if text.is_empty() { "app".into() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_becomes_a_scope_of_its_own() {
        let said = ["read", "https://www.example.com/auth/calendar", "a:b", "a b", "a-b", "a\"b", "x:*:y", "x:", "", "*", "caf\u{e9}:x"];
        let words = Words::new(said.into_iter(), ["Pull Requests", "pull-requests", "\u{65e5}", "Cardano \u{bb} Blocks", "app"].into_iter());
        let mut seen = Vec::new();
        for scope in said {
            let word = words.scope(scope);
            assert!(Scope::parse(&word).is_ok(), "{scope:?} became {word:?}");
            assert!(!seen.contains(&word), "{word:?} twice");
            if Scope::parse(scope).is_ok() {
                assert_eq!(word, scope);
            }
            seen.push(word);
        }
        assert_eq!(words.tag("Pull Requests"), "pull-requests");
        assert_eq!(words.tag("pull-requests"), "pull-requests-2");
        assert_eq!(words.tag("Cardano \u{bb} Blocks"), "cardano-blocks");
        assert_eq!((words.tag("\u{65e5}"), words.tag("app")), ("app".into(), "app-2".into()));
        assert_eq!(words.changed().count(), 6);
    }
}
