//! Audit lines into what each principal has used, what it lacked, and the smallest scope set for either.
//! Says nothing of who was not proved, and takes no line for more than it says.

pub mod cover;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use serde::Serialize;

use crate::config::Loaded;
use crate::principal::Caller;
use crate::scope::Scope;
use cover::{Cover, Needs, satisfied};
pub use tally::{Rules, Tally};

/// Who a line speaks of: ids are unique within a source and a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Who {
    pub credential: String,
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Suggestions {
    pub decisions: u64,
    /// RFC 3339, of the first and the last decision.
    pub since: String,
    pub until: String,
    /// The smallest share of allows that any line says the log has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
    /// Decisions on requests of nobody that was proved.
    pub unproved: u64,
    pub principals: Vec<Suggestion>,
    /// Whom the configuration names and the log does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<Who>,
}

/// Lines that are no audit lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    pub lines: u64,
    /// The first of them, `FILE:LINE`.
    pub first: String,
}

#[derive(Debug, Serialize)]
pub struct Suggestion {
    #[serde(flatten)]
    pub who: Who,
    /// Requests that went through.
    pub allowed: u64,
    /// For these, beside what its roles give.
    pub scopes: BTreeSet<Text>,
    /// Whether no smaller set would do; `false` where one of several scopes is enough so often that not all sets could be tried.
    pub least: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacked: Option<Lacked>,
    /// Denials that no scope would change, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub otherwise: BTreeMap<String, u64>,
    /// What the configuration gives it, where there is one that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// For what was denied, or passed in shadow and would be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Lacked {
    pub requests: u64,
    /// Beside those of the suggestion.
    pub scopes: BTreeSet<Text>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    pub scopes: BTreeSet<Text>,
    /// Of what was used, what its roles give.
    pub by_roles: BTreeSet<Text>,
    pub unused: BTreeSet<Text>,
    /// Wildcards of which only a part was used, and which.
    pub wider: BTreeMap<Text, BTreeSet<Text>>,
}

/// A scope as text.
pub type Text = String;

/// What a configuration gives a caller by itself and by its roles.
type Holdings = (BTreeSet<Scope>, BTreeSet<Scope>);

impl Tally {
    /// The suggestions, with what the configuration says of each, where there is one.
    pub fn suggest(self, loaded: Option<&Loaded>, now: i64) -> Suggestions {
        let holdings = loaded.map(|loaded| holdings(loaded, now)).unwrap_or_default();
        let seen = |who: &Who| self.people.contains_key(who);
        let unseen = holdings.keys().filter(|who| !seen(who)).cloned().collect();
        let principals = self.people.iter().map(|(who, person)| {
            let (own, given) = holdings.get(who).cloned().unzip();
            let given = given.unwrap_or_default();
            let Cover { scopes, is_least } = person.used.cover(&given);
            let whole = person.used.and(&person.lacked).cover(&given);
            let lacked = (person.lacking > 0).then(|| Lacked { requests: person.lacking, scopes: beside(&whole.scopes, &scopes) });
            Suggestion {
                who: who.clone(),
                allowed: person.allowed,
                least: is_least && whole.is_least,
                lacked,
                otherwise: person.otherwise.clone(),
                held: own.map(|own| held(&own, &given, &person.used, &scopes)),
                scopes: texts(&scopes),
            }
        });
        Suggestions {
            decisions: self.decisions,
            since: self.since.clone(),
            until: self.until.clone(),
            sample: self.sample,
            unreadable: self.unreadable.clone(),
            unproved: self.unproved,
            principals: principals.collect(),
            unseen,
        }
    }
}

fn texts<'a>(scopes: impl IntoIterator<Item = &'a Scope>) -> BTreeSet<Text> {
    scopes.into_iter().map(ToString::to_string).collect()
}

/// Those that the smaller set does not cover.
fn beside(scopes: &BTreeSet<Scope>, known: &BTreeSet<Scope>) -> BTreeSet<Text> {
    texts(scopes.iter().filter(|scope| !satisfied(known, scope)))
}

fn held(own: &BTreeSet<Scope>, given: &BTreeSet<Scope>, used: &Needs, suggested: &BTreeSet<Scope>) -> Held {
    let by_roles = used.all.iter().chain(used.any.iter().flatten()).filter(|scope| satisfied(given, scope));
    let part = |wide: &Scope| suggested.iter().filter(|scope| wide.satisfies(scope.as_str())).cloned().collect::<BTreeSet<_>>();
    let (mut unused, mut wider) = (BTreeSet::new(), BTreeMap::new());
    for scope in own.iter().filter(|scope| !suggested.contains(*scope)) {
        match part(scope) {
            part if part.is_empty() => drop(unused.insert(scope.to_string())),
            part => drop(wider.insert(scope.to_string(), texts(&part))),
        }
    }
    Held { scopes: texts(own), by_roles: texts(by_roles), unused, wider }
}

/// Everybody whom the configuration names.
fn holdings(loaded: &Loaded, now: i64) -> BTreeMap<Who, Holdings> {
    let mut all = BTreeMap::new();
    let _ = loaded.sources.known(now, &mut |caller: Caller<'_>| {
        let (id, tenant) = (caller.id().to_owned(), caller.tenant().map(str::to_owned));
        let own: BTreeSet<Scope> = caller.scopes().own().iter().cloned().collect();
        let joined = caller.scopes().joined().split(' ').filter_map(|text| Scope::parse(text).ok());
        let given = joined.filter(|scope| !own.contains(scope)).collect();
        all.insert(Who { credential: caller.credential.to_owned(), id, tenant }, (own, given));
        ControlFlow::Continue(())
    });
    all
}
