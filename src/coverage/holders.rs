//! Everybody who can be listed against what rules need: scopes and roles that nobody holds, credentials that reach nothing.
//! Says what it cannot know: what signed tokens, introspected ones and keys of a store hold is told by nobody beforehand.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::finding::{Finding, Kind, Report};
use crate::config::Loaded;
use crate::policy::rule::{Access, Needs};
use crate::policy::{Policy, Rule};
use crate::principal::grant::Grant;
use crate::principal::{Caller, Means, Who};
use crate::scope::ScopeId;

pub fn compare(loaded: &Loaded, now: i64, report: &mut Report) {
    let needed = Needed::of(&loaded.policy);
    let mut held = Held { scopes: vec![false; needed.scopes.len()], roles: vec![false; needed.roles.len()], reach: HashMap::new() };
    let _ = loaded.sources.known(now, &mut |caller| {
        held.see(&caller, &needed, &loaded.policy, report);
        ControlFlow::<()>::Continue(())
    });
    let others = Others::of(loaded);
    for ((scope, rules), _) in needed.scopes.iter().zip(&held.scopes).filter(|(_, held)| !**held) {
        let text = loaded.policy.universe.text(*scope);
        others.judge((Kind::ScopeNotHeld, text), needed_by(rules), others.of_scope(text), report);
    }
    for ((role, rules), _) in needed.roles.iter().zip(&held.roles).filter(|(_, held)| !**held) {
        others.judge((Kind::RoleNotHeld, role), needed_by(rules), others.of_role(), report);
    }
}

fn needed_by(rules: &[&str]) -> String {
    let shown: Vec<String> = rules.iter().take(3).map(|rule| format!("`{rule}`")).collect();
    let more = if rules.len() > 3 { format!(" and {} more", rules.len() - 3) } else { String::new() };
    format!("needed by {}{more}", shown.join(", "))
}

/// What rules ask for, and which.
struct Needed<'p> {
    scopes: BTreeMap<ScopeId, Names<'p>>,
    roles: BTreeMap<&'p str, Names<'p>>,
    rules: Vec<&'p Rule>,
}

type Names<'p> = Vec<&'p str>;

impl<'p> Needed<'p> {
    fn of(policy: &'p Policy) -> Self {
        let rules: Vec<&Rule> = policy.rules.iter().chain([&policy.default]).collect();
        let mut scopes: BTreeMap<ScopeId, Names<'_>> = BTreeMap::new();
        let mut roles: BTreeMap<&str, Names<'_>> = BTreeMap::new();
        let needs = |rule: &&'p Rule| match &rule.access {
            Access::Needs(needs) => Some((&*rule.name, needs)),
            Access::Public | Access::Deny => None,
        };
        for (name, needs) in rules.iter().filter_map(needs) {
            for scope in scopes_of(needs) {
                let users = scopes.entry(scope).or_default();
                if users.last() != Some(&name) {
                    users.push(name);
                }
            }
            needs.roles.iter().for_each(|role| roles.entry(&**role).or_default().push(name));
        }
        // Who is let in where nobody has to be known reaches nothing by that.
        let rules = rules.into_iter().filter(|rule| matches!(rule.access, Access::Needs(_))).collect();
        Self { scopes, roles, rules }
    }
}

fn scopes_of(needs: &Needs) -> impl Iterator<Item = ScopeId> {
    let tools = needs.tools.iter().flat_map(|tools| tools.scopes.values().flatten());
    needs.all.iter().chain(&needs.any).chain(tools).copied()
}

/// Source and sets: whoever holds the very same reaches the very same rules.
type Alike = (usize, usize, usize);

struct Held {
    scopes: Vec<bool>,
    roles: Vec<bool>,
    reach: HashMap<Alike, bool>,
}

impl Held {
    fn see(&mut self, caller: &Caller<'_>, needed: &Needed<'_>, policy: &Policy, report: &mut Report) {
        // Those are for other services, and are meant to reach nothing here.
        if caller.is_restricted() {
            return;
        }
        let key = alike(caller);
        let known = key.and_then(|key| self.reach.get(&key).copied());
        let reaches = known.unwrap_or_else(|| {
            for (held, scope) in self.scopes.iter_mut().zip(needed.scopes.keys()) {
                *held |= caller.scopes().has(*scope);
            }
            for (held, role) in self.roles.iter_mut().zip(needed.roles.keys()) {
                *held |= caller.roles().has(role);
            }
            needed.rules.iter().any(|rule| policy.admits(rule, caller).is_ok())
        });
        if let Some(key) = key {
            self.reach.insert(key, reaches);
        }
        if !reaches {
            let scopes = caller.scopes().joined();
            let holds = if scopes.is_empty() { "holds no scopes".to_owned() } else { format!("holds {scopes}") };
            report.add(Finding::new(Kind::ReachesNothing, caller.id()).detail(format!("of `{}`, {holds}", caller.credential)));
        }
    }
}

/// Sets are shared among entries of a file, and stay where they are.
fn alike(caller: &Caller<'_>) -> Option<Alike> {
    match &caller.who {
        Who::Listed(listed) => Some((caller.source.0, std::ptr::from_ref(listed.scopes).addr(), std::ptr::from_ref(listed.roles).addr())),
        Who::Proved(_) | Who::Kept(_) => None,
    }
}

/// Sources whose holders nobody can list.
struct Others<'l> {
    grants: Vec<(&'l str, &'l Grant)>,
    /// Anything may be held there.
    open: Vec<String>,
    loaded: &'l Loaded,
}

enum Holder {
    Nobody,
    Somebody,
    /// Of these sources.
    Perhaps(String),
}

impl<'l> Others<'l> {
    fn of(loaded: &'l Loaded) -> Self {
        let (mut grants, mut open) = (Vec::new(), Vec::new());
        for source in loaded.sources.list() {
            for means in &source.means {
                match means {
                    Means::Signed(signed) => grants.push((&*source.name, &signed.grant)),
                    Means::Introspected(introspected) => grants.push((&*source.name, &introspected.grant)),
                    Means::Managed(_) | Means::Noop(_) => open.push(format!("`{}`", source.name)),
                    Means::Listed(_) | Means::Certificate(_) => {}
                }
            }
        }
        if loaded.settings.store.is_some() && open.is_empty() {
            open.push("the store".into());
        }
        Self { grants, open, loaded }
    }

    /// Who may hold a scope.
    fn of_scope(&self, scope: &str) -> Holder {
        if self.grants.iter().any(|(_, grant)| grant.granted.iter().any(|held| held.satisfies(scope))) {
            return Holder::Somebody;
        }
        let by_role = self.loaded.sources.roles.definitions().values().any(|role| role.scopes.iter().any(|held| held.satisfies(scope)));
        self.perhaps(|grant| !grant.scopes.is_empty() || (!grant.roles.is_empty() && by_role))
    }

    fn of_role(&self) -> Holder {
        self.perhaps(|grant| !grant.roles.is_empty())
    }

    fn perhaps(&self, says: impl Fn(&Grant) -> bool) -> Holder {
        let signed = self.grants.iter().filter(|(_, grant)| !grant.restricted && (says(grant) || grant.profile.is_some()));
        let mut names: Vec<String> = signed.map(|(name, _)| format!("`{name}`")).chain(self.open.iter().cloned()).collect();
        names.dedup();
        if names.is_empty() { Holder::Nobody } else { Holder::Perhaps(names.join(", ")) }
    }

    fn judge(&self, (kind, subject): (Kind, &str), by: String, holder: Holder, report: &mut Report) {
        match holder {
            Holder::Somebody => {}
            Holder::Nobody => report.add(Finding::new(kind, subject).detail(by)),
            Holder::Perhaps(sources) => {
                report.add(Finding::new(Kind::PerhapsNotHeld, subject).detail(format!("{by}; credentials of {sources} may hold it")));
            }
        }
    }
}
