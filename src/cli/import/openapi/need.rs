//! What a route needs, and what it needs where it has to stand for two.
//! Two needs together are never less than either.

use crate::cli::import::yaml;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    Public,
    /// All of these, sorted.
    All(Vec<String>),
    /// One of these, sorted; two or more.
    Any(Vec<String>),
}

impl Need {
    pub fn all(mut scopes: Vec<String>) -> Self {
        scopes.sort();
        scopes.dedup();
        Self::All(scopes)
    }

    pub fn any(mut scopes: Vec<String>) -> Self {
        scopes.sort();
        scopes.dedup();
        if scopes.len() < 2 { Self::All(scopes) } else { Self::Any(scopes) }
    }

    pub fn scopes(&self) -> &[String] {
        match self {
            Self::Public => &[],
            Self::All(scopes) | Self::Any(scopes) => scopes,
        }
    }

    /// Scopes that suffice.
    pub fn enough(&self) -> impl Iterator<Item = &str> {
        let count = if matches!(self, Self::Any(_)) { 1 } else { usize::MAX };
        self.scopes().iter().take(count).map(String::as_str)
    }

    /// Both.
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Public, need) | (need, Self::Public) => need.clone(),
            (one, other) if one == other => one.clone(),
            // Of an alternative and something else no route can be made but one that needs all.
            (one, other) => Self::all(one.scopes().iter().chain(other.scopes()).cloned().collect()),
        }
    }

    pub fn yaml(&self) -> String {
        let list = |scopes: &[String]| yaml::list(scopes.iter().map(String::as_str));
        match self {
            Self::Public => "public".into(),
            Self::All(scopes) => match scopes.as_slice() {
                [one] if one.contains(':') => yaml::text(one),
                scopes => list(scopes),
            },
            Self::Any(scopes) => format!("{{any_scopes: {}}}", list(scopes)),
        }
    }
}
