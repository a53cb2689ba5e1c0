//! The last reloads, each with what it changed or why it was refused, for whoever asks why a decision is another than yesterday's.
//! Names ids and rules, never a secret; lists have an end, and counts are whole.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::Snapshot;
use super::reload::Trigger;
use crate::policy::explain::needs_text;
use crate::policy::{Access, Rule};
use crate::principal::changes::{CredentialChanges, Difference};

/// So many are kept.
const KEPT: usize = 50;
/// Of a reading without a good line, so many faults.
const FAULTS: usize = 100;

/// One reading of the configuration of a running process.
#[derive(Clone, Debug, Serialize)]
pub struct Reload {
    /// RFC 3339.
    pub time: String,
    pub trigger: &'static str,
    /// In use from then on: a new one, or the one that stayed.
    pub generation: u64,
    /// Why it was refused; empty where it was not.
    pub faults: Vec<String>,
    /// Against the set before; `None` where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

/// What differs between two sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub credentials: CredentialChanges,
    /// By pattern, `default` included.
    pub routes: Difference,
}

#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Arc<Reload>>>);

impl History {
    pub fn add(&self, reload: Reload) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_back();
        }
        kept.push_front(Arc::new(reload));
    }

    /// The latest first.
    pub fn list(&self) -> Vec<Arc<Reload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Reload {
    pub(super) fn done(trigger: Trigger, generation: u64, changes: Changes) -> Self {
        Self { time: now(), trigger: trigger.as_str(), generation, faults: Vec::new(), changes: Some(changes) }
    }

    pub(super) fn refused(trigger: Trigger, generation: u64, faults: &[String]) -> Self {
        let mut told: Vec<String> = faults.iter().take(FAULTS).cloned().collect();
        if faults.len() > FAULTS {
            told.push(format!("and {} more", faults.len() - FAULTS));
        }
        Self { time: now(), trigger: trigger.as_str(), generation, faults: told, changes: None }
    }
}

impl Changes {
    /// A walk over both sets: on a thread that no decision waits for.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        Self { credentials: new.sources.changes_since(&old.sources), routes: Difference::of(routes(old), routes(new)) }
    }

    /// How many tokens of all sources were added, removed and changed.
    pub fn tokens(&self) -> [usize; 3] {
        self.credentials.tokens.values().fold([0; 3], |[added, removed, changed], source| {
            [added + source.added.count, removed + source.removed.count, changed + source.changed.count]
        })
    }
}

/// Every rule with all that it says, in words: the numbers of scopes and sources are another set's.
fn routes(snapshot: &Snapshot) -> Vec<(&str, String)> {
    let rules = snapshot.policy.rules.iter().chain([&snapshot.policy.default]);
    rules.map(|rule| (&*rule.name, told(snapshot, rule))).collect()
}

fn told(snapshot: &Snapshot, rule: &Rule) -> String {
    let Rule { name: _, access, allow_paths, preflight, query_credentials, websocket, rate_limit, mode } = rule;
    let (sources, body) = match access {
        Access::Needs(needs) => {
            let name = |index: usize| snapshot.sources.list().get(index).map_or("", |source| &*source.name);
            let sources: Vec<&str> = needs.credentials.iter().map(|source| name(source.0)).collect();
            (sources, needs.tools.as_ref().map(|tools| tools.max_body))
        }
        Access::Public | Access::Deny => (Vec::new(), None),
    };
    let needs = needs_text(&snapshot.policy, rule);
    format!("{needs} {sources:?} {body:?} {allow_paths:?} {preflight:?} {query_credentials} {websocket} {rate_limit:?} {mode:?}")
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fifty_are_kept_the_latest_first_and_faults_have_an_end() {
        let history = History::default();
        let faults: Vec<String> = (0..150).map(|index| format!("fault {index}")).collect();
        for generation in 1..=60 {
            history.add(Reload::refused(Trigger::Watch, generation, &faults));
        }
        let list = history.list();
        assert_eq!((list.len(), list[0].generation, list[49].generation), (50, 60, 11));
        assert_eq!((list[0].faults.len(), list[0].faults[100].as_str(), list[0].trigger), (101, "and 50 more", "watch"));
    }
}
