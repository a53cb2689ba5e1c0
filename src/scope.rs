//! Scope texts into interned sets: what a credential holds, indexed by what routes need.
//! Decides nothing by itself and never widens: a wildcard counts on the held side only.

use std::collections::HashMap;
use std::fmt;

/// One scope, `resource:action` in the characters of RFC 6750 §3 (`%x21 / %x23-5B / %x5D-7E`).
/// A `*` stands only as the whole last part.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Box<str>);

impl Scope {
    pub fn parse(text: &str) -> Result<Self, ScopeFault> {
        if text.is_empty() {
            return Err(ScopeFault::Empty);
        }
        if !text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)) {
            return Err(ScopeFault::Character);
        }
        let parts = text.split(':').count();
        for (index, part) in text.split(':').enumerate() {
            if part.is_empty() {
                return Err(ScopeFault::EmptyPart);
            }
            if part.contains('*') && (part != "*" || index + 1 != parts) {
                return Err(ScopeFault::Wildcard);
            }
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether holding `self` is enough where `required` is asked for: equal, `*`, or `a:*` over `a:…`.
    pub fn satisfies(&self, required: &str) -> bool {
        if *self.0 == *required || *self.0 == *"*" {
            return true;
        }
        match self.0.strip_suffix('*') {
            Some(prefix) => required.len() > prefix.len() && required.starts_with(prefix),
            None => false,
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeFault {
    Empty,
    Character,
    EmptyPart,
    Wildcard,
}

impl fmt::Display for ScopeFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "is empty; a scope is `resource:action`",
            Self::Character => {
                "has a character that RFC 6750 does not allow; a scope is `resource:action` in visible ASCII without space, quote or backslash"
            }
            Self::EmptyPart => "has an empty part; a scope is `resource:action`",
            Self::Wildcard => "has `*` inside; `*` may stand only as the whole last part, as in `admin:*`",
        })
    }
}

/// A required scope's index in the [`Universe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopeId(u32);

/// Every scope that some rule needs, numbered in order of first mention.
#[derive(Clone, Debug, Default)]
pub struct Universe {
    ids: HashMap<Scope, ScopeId>,
    texts: Vec<Scope>,
}

impl Universe {
    pub fn intern(&mut self, scope: Scope) -> ScopeId {
        if let Some(id) = self.ids.get(&scope) {
            return *id;
        }
        let id = ScopeId(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        self.texts.push(scope.clone());
        self.ids.insert(scope, id);
        id
    }

    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.texts.iter()
    }

    pub fn text(&self, id: ScopeId) -> &str {
        self.texts.get(id.0 as usize).map_or("", Scope::as_str)
    }
}

/// What one credential holds, wildcards already expanded over the [`Universe`] into a bit set.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ScopeSet {
    texts: Box<[Scope]>,
    /// How many of the texts are the credential's own; the others come from its roles.
    own: usize,
    joined: Box<str>,
    bits: Box<[u64]>,
}

impl ScopeSet {
    pub fn new(texts: Vec<Scope>, universe: &Universe) -> Self {
        Self::with_roles(texts, Vec::new(), universe)
    }

    /// `granted` is what roles add.
    pub fn with_roles(mut texts: Vec<Scope>, granted: Vec<Scope>, universe: &Universe) -> Self {
        dedupe(&mut texts);
        let own = texts.len();
        if !granted.is_empty() {
            texts.extend(granted);
            dedupe(&mut texts);
        }
        let mut bits = vec![0_u64; universe.texts.len().div_ceil(64)];
        let mut set = |index: usize| {
            if let Some(word) = bits.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        };
        for held in &texts {
            if held.0.ends_with('*') {
                let satisfied = universe.texts.iter().enumerate().filter(|(_, required)| held.satisfies(required.as_str()));
                satisfied.for_each(|(index, _)| set(index));
            } else if let Some(id) = universe.ids.get(held) {
                set(id.0 as usize);
            }
        }
        let joined = texts.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
        Self { texts: texts.into(), own, joined: joined.into(), bits: bits.into() }
    }

    /// What the credential holds by itself, without its roles.
    pub fn own(&self) -> &[Scope] {
        self.texts.get(..self.own).unwrap_or_default()
    }

    pub fn has(&self, required: ScopeId) -> bool {
        let index = required.0 as usize;
        self.bits.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// The same question for a scope that no rule names, such as one that Envoy's `context_extensions` adds.
    pub fn has_text(&self, required: &str) -> bool {
        self.texts.iter().any(|held| held.satisfies(required))
    }

    /// Space-delimited, as in RFC 6749 §3.3, in the order in which they were granted.
    pub fn joined(&self) -> &str {
        &self.joined
    }
}

/// Keeps the first of each; a look-up costs more than a few comparisons.
fn dedupe(texts: &mut Vec<Scope>) {
    if texts.len() <= 16 {
        let mut index = 1;
        while index < texts.len() {
            let (before, rest) = texts.split_at(index);
            if rest.first().is_some_and(|text| before.contains(text)) {
                texts.remove(index);
            } else {
                index += 1;
            }
        }
        return;
    }
    let mut seen = std::collections::HashSet::new();
    texts.retain(|text| seen.insert(text.clone()));
}

/// Scope sets by what they hold: a million credentials with the same scopes share one.
#[derive(Debug)]
pub struct ScopeSets {
    universe: Universe,
    /// Own scopes and granted ones, and how many are own.
    ids: HashMap<Box<[Scope]>, Vec<(usize, SetId)>>,
    sets: Vec<ScopeSet>,
}

/// A set's index in [`ScopeSets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetId(u32);

impl ScopeSets {
    pub fn new(universe: Universe) -> Self {
        Self { universe, ids: HashMap::new(), sets: Vec::new() }
    }

    pub fn intern(&mut self, texts: Vec<Scope>) -> SetId {
        self.intern_with_roles(texts, Vec::new())
    }

    /// `granted` is what roles add.
    pub fn intern_with_roles(&mut self, own: Vec<Scope>, granted: Vec<Scope>) -> SetId {
        let (count, mut texts) = (own.len(), own);
        texts.extend(granted);
        let known = self.ids.get(texts.as_slice()).and_then(|known| known.iter().find(|(own, _)| *own == count));
        if let Some((_, id)) = known {
            return *id;
        }
        let id = SetId(u32::try_from(self.sets.len()).unwrap_or(u32::MAX));
        self.ids.entry(texts.clone().into()).or_default().push((count, id));
        let granted = texts.split_off(count);
        self.sets.push(ScopeSet::with_roles(texts, granted, &self.universe));
        id
    }

    pub fn get(&self, id: SetId) -> Option<&ScopeSet> {
        self.sets.get(id.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_scopes_are_refused_by_kind() {
        for (text, fault) in [
            ("", ScopeFault::Empty),
            ("a b", ScopeFault::Character),
            ("a\"b", ScopeFault::Character),
            ("caf\u{e9}:x", ScopeFault::Character),
            ("admin:", ScopeFault::EmptyPart),
            (":read", ScopeFault::EmptyPart),
            ("*:read", ScopeFault::Wildcard),
            ("query:*:execute", ScopeFault::Wildcard),
            ("adm*", ScopeFault::Wildcard),
            ("a:b*", ScopeFault::Wildcard),
            ("**", ScopeFault::Wildcard),
        ] {
            assert_eq!(Scope::parse(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn wildcards_widen_the_held_side_only() {
        let held = |text: &str| Scope::parse(text).unwrap();
        assert!(held("admin:*").satisfies("admin:pause"));
        assert!(held("admin:*").satisfies("admin:*"));
        assert!(held("admin:*").satisfies("admin:a:b"));
        assert!(held("*").satisfies("anything:at-all"));
        assert!(!held("admin:*").satisfies("metrics:read"));
        assert!(!held("admin:*").satisfies("administrator:x"));
        assert!(!held("admin:*").satisfies("admin"));
        assert!(!held("admin:*").satisfies("admin:"));
        assert!(!held("admin:*").satisfies("*"));
        assert!(!held("admin:pause").satisfies("admin:*"));
        assert!(!held("ADMIN:*").satisfies("admin:pause"));
    }

    #[test]
    fn what_roles_grant_is_told_from_what_is_held_without_them() {
        let scopes = |texts: &[&str]| texts.iter().map(|text| Scope::parse(text).unwrap()).collect::<Vec<_>>();
        let own = |set: &ScopeSet| set.own().iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
        let mut sets = ScopeSets::new(Universe::default());
        let split = |sets: &mut ScopeSets, texts: &[&str], granted: &[&str]| {
            let id = sets.intern_with_roles(scopes(texts), scopes(granted));
            (own(sets.get(id).unwrap()), sets.get(id).unwrap().joined().to_owned(), id)
        };
        let (one, joined, first) = split(&mut sets, &["a:b", "a:b"], &["c:d", "a:b"]);
        assert_eq!((one.as_str(), joined.as_str()), ("a:b", "a:b c:d"));
        let (two, joined, second) = split(&mut sets, &["a:b", "a:b", "c:d"], &["a:b"]);
        assert_eq!((two.as_str(), joined.as_str()), ("a:b c:d", "a:b c:d"));
        assert!(first != second && split(&mut sets, &["a:b", "a:b"], &["c:d", "a:b"]).2 == first);
        assert_eq!(own(&ScopeSet::new(scopes(&["a:b"]), &Universe::default())), "a:b");
    }

    #[test]
    fn a_set_answers_by_bits_what_its_texts_say() {
        let mut universe = Universe::default();
        let ids: Vec<_> = (0..130).map(|n| universe.intern(Scope::parse(&format!("r{n}:read")).unwrap())).collect();
        let set = ScopeSet::new(vec![Scope::parse("r3:*").unwrap(), Scope::parse("r129:read").unwrap()], &universe);
        for id in ids {
            assert_eq!(set.has(id), set.has_text(universe.text(id)), "{}", universe.text(id));
        }
        assert_eq!(set.joined(), "r3:* r129:read");
    }
}
