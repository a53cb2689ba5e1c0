//! Lines of a log, one after another, into what each principal needed.
//! Quotes no line that it cannot read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead, Read};

use super::cover::Needs;
use super::{Unreadable, Who};
use crate::gate::Door;
use crate::policy::{self, Access, Policy, Reason, Rule};
use crate::scope::{Scope, ScopeId};
use crate::telemetry::line::Line;

/// Longer lines are not the gate's.
const LONGEST: usize = 64 * 1024;

/// What was read so far.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) people: BTreeMap<Who, Person>,
    pub(super) decisions: u64,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) sample: Option<f64>,
    pub(super) unreadable: Option<Unreadable>,
    pub(super) unproved: u64,
}

/// What one principal did, and did not.
#[derive(Debug, Default)]
pub struct Person {
    pub(super) allowed: u64,
    pub(super) used: Needs,
    pub(super) lacking: u64,
    pub(super) lacked: Needs,
    pub(super) otherwise: BTreeMap<String, u64>,
}

/// Rules by their names, to tell scopes of which one is enough from those that are all needed.
#[derive(Debug, Default)]
pub struct Rules<'p>(HashMap<&'p str, &'p Rule>, Option<&'p Policy>);

impl<'p> Rules<'p> {
    pub fn of(policy: &'p Policy) -> Self {
        let rules = policy.rules.iter().chain([&policy.default]);
        Self(rules.map(|rule| (&*rule.name, rule)).collect(), Some(policy))
    }

    /// What the rule of a line needs; the management API has rules of its own.
    fn needs(&self, line: &Line) -> Option<&'p policy::Needs> {
        let rule = self.0.get(line.route.as_deref()?).filter(|_| line.door != Door::Management.as_str())?;
        match &rule.access {
            Access::Needs(needs) => Some(needs),
            Access::Public | Access::Deny => None,
        }
    }

    fn scopes(&self, ids: &[ScopeId]) -> BTreeSet<Scope> {
        let texts = ids.iter().filter_map(|id| self.1.map(|policy| policy.universe.text(*id)));
        texts.filter_map(|text| Scope::parse(text).ok()).collect()
    }

    /// Scopes that are needed each, beside those of which one is enough.
    fn each(&self, needs: &policy::Needs) -> BTreeSet<Scope> {
        let tools = needs.tools.iter().flat_map(|tools| tools.scopes.values()).flat_map(|ids| self.scopes(ids));
        self.scopes(&needs.all).into_iter().chain(tools).collect()
    }
}

impl Tally {
    /// Reads a log to its end; `name` is for what cannot be read in it.
    pub fn read(&mut self, name: &str, mut log: impl BufRead, rules: &Rules<'_>) -> io::Result<()> {
        let (mut bytes, mut number) = (Vec::new(), 0);
        loop {
            bytes.clear();
            number += 1;
            if log.by_ref().take(LONGEST as u64).read_until(b'\n', &mut bytes)? == 0 {
                return Ok(());
            }
            let is_whole = bytes.ends_with(b"\n") || bytes.len() < LONGEST;
            if !is_whole {
                log.skip_until(b'\n')?;
            }
            let text = str::from_utf8(&bytes).ok().filter(|_| is_whole).map(str::trim);
            match text.map(|text| (text, Line::parse(text))) {
                Some(("", _)) => {}
                Some((_, Some(line))) if line.is_decision() => self.add(&line, rules),
                // The end of a stream.
                Some((_, Some(_))) => {}
                Some((_, None)) | None => match &mut self.unreadable {
                    Some(unreadable) => unreadable.lines += 1,
                    None => self.unreadable = Some(Unreadable { lines: 1, first: format!("{name}:{number}") }),
                },
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.decisions == 0
    }

    fn add(&mut self, line: &Line, rules: &Rules<'_>) {
        self.decisions += 1;
        if self.since.is_empty() || line.time < self.since {
            self.since.clone_from(&line.time);
        }
        if line.time > self.until {
            self.until.clone_from(&line.time);
        }
        if let Some(share) = line.sample {
            self.sample = Some(self.sample.map_or(share, |known| known.min(share)));
        }
        let (Some(credential), Some(id)) = (&line.credential, &line.principal) else {
            self.unproved += 1;
            return;
        };
        let who = Who { credential: credential.clone(), id: id.clone(), tenant: line.tenant.clone() };
        let person = self.people.entry(who).or_default();
        let passed = line.outcome != "deny";
        person.allowed += u64::from(line.outcome == "allow");
        if line.reason == Reason::InsufficientScope.as_str() {
            person.lacking += 1;
            lacked(&mut person.lacked, line, rules);
            return;
        }
        if line.outcome != "allow" {
            *person.otherwise.entry(line.reason.clone()).or_default() += 1;
        }
        if passed {
            used(&mut person.used, line, rules);
        }
    }
}

fn listed(scopes: Option<&String>) -> BTreeSet<Scope> {
    scopes.map_or("", String::as_str).split(' ').filter_map(|text| Scope::parse(text).ok()).collect()
}

/// What a request rested on that went through.
fn used(needs: &mut Needs, line: &Line, rules: &Rules<'_>) {
    let scopes = listed(line.used_scopes.as_ref());
    let Some(rule) = rules.needs(line) else { return needs.all.extend(scopes) };
    let each = rules.each(rule);
    let (any, all): (BTreeSet<Scope>, BTreeSet<Scope>) = {
        let one_is_enough = rules.scopes(&rule.any);
        scopes.into_iter().partition(|scope| one_is_enough.contains(scope) && !each.contains(scope))
    };
    // Where one of them is needed anyway, none has to be chosen.
    let settled = rules.scopes(&rule.any).iter().any(|scope| all.contains(scope));
    needs.all.extend(all);
    if !any.is_empty() && !settled {
        needs.any.insert(any);
    }
}

/// What a request would need that lacked a scope.
fn lacked(needs: &mut Needs, line: &Line, rules: &Rules<'_>) {
    let missing = listed(line.missing_scopes.as_ref());
    let Some(rule) = rules.needs(line) else {
        needs.all.extend(missing);
        return needs.all.extend(listed(line.used_scopes.as_ref()));
    };
    let (all, any) = (rules.scopes(&rule.all), rules.scopes(&rule.any));
    if !any.is_empty() {
        needs.any.insert(any.clone());
    }
    // Either all that is missing, or the whole list of which one would do.
    if missing != any || missing.is_subset(&all) {
        needs.all.extend(missing);
    }
    needs.all.extend(all);
    let held = listed(line.used_scopes.as_ref());
    needs.all.extend(held.into_iter().filter(|scope| !any.contains(scope)));
}
