//! Operations of a document against the rules of a policy, both ways.
//! An operation is covered where the values that nobody knows of have a rule; a rule is used where some request for an operation is its own.

use std::collections::HashMap;

use super::finding::{Finding, Kind, Report};
use super::instances::Fresh;
use super::log::Log;
use crate::openapi::{Document, Operation};
use crate::policy::rule::{Access, Mode, RuleId};
use crate::policy::{Policy, Reason, Rule};
use crate::request::{Link, NormalPath, RawRequest, RequestView};

pub fn compare(policy: &Policy, document: &Document, log: Option<&Log>, report: &mut Report) {
    report.operations = Some(document.operations.len());
    document.notes.iter().for_each(|note| report.note(note.clone()));
    let mut world = World::new(policy, document);
    for index in 0..document.operations.len() {
        world.operation(index, report);
    }
    world.unused(report);
    let watching = policy.rules.iter().filter(|rule| rule.mode == Mode::Shadow).count();
    if watching > 0 {
        report.note(format!("{watching} of the rules are in shadow: they record, and let pass what they would deny"));
    }
    if let Some(log) = log {
        never_called(document, log, report);
    }
}

struct World<'a> {
    policy: &'a Policy,
    document: &'a Document,
    fresh: Fresh,
    /// Every host that a rule names.
    hosts: Vec<&'a str>,
    /// One that no rule names.
    elsewhere: String,
    /// By where a rule is.
    numbers: HashMap<*const Rule, usize>,
    used: Vec<bool>,
    public: Vec<usize>,
}

/// The rule of a request, if it is not the default.
type Found = Result<Option<usize>, Reason>;

impl<'a> World<'a> {
    fn new(policy: &'a Policy, document: &'a Document) -> Self {
        let fresh = Fresh::new(policy, document.operations.iter().map(|operation| &operation.template));
        let patterns = (0..policy.rules.len()).filter_map(|index| policy.table.pattern(RuleId(index)));
        let mut hosts: Vec<&str> = patterns.filter_map(|pattern| pattern.host.as_deref()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let mut elsewhere = String::from("elsewhere.invalid");
        while hosts.contains(&elsewhere.as_str()) {
            elsewhere.insert(0, 'x');
        }
        let numbers = policy.rules.iter().enumerate().map(|(index, rule)| (std::ptr::from_ref(rule), index)).collect();
        let is_public = |index: &usize| policy.rules.get(*index).is_some_and(|rule| matches!(rule.access, Access::Public));
        let public = (0..policy.rules.len()).filter(is_public).collect();
        Self { policy, document, fresh, hosts, elsewhere, numbers, used: vec![false; policy.rules.len()], public }
    }

    /// Hosts to ask about: those of the operation's own servers that rules name, else every one, and one that no rule names.
    fn hosts(&self, operation: &Operation) -> Vec<&str> {
        let own: Vec<&str> = self.hosts.iter().filter(|host| operation.hosts.iter().any(|own| own == *host)).copied().collect();
        if own.is_empty() { self.hosts.iter().copied().chain([self.elsewhere.as_str()]).collect() } else { own }
    }

    /// What a door would find.
    fn find(&self, method: &str, host: &str, path: &str) -> Found {
        let headers: &[(&str, &[u8])] = &[];
        let raw =
            RawRequest { method: method.as_bytes(), target: path.as_bytes(), host: Some(host.as_bytes()), headers: &headers, link: Link::default() };
        let view = RequestView::read(&raw).map_err(|_| Reason::AmbiguousPath)?;
        let rule = self.policy.find(&view, view.method)?;
        Ok(self.numbers.get(&std::ptr::from_ref(rule)).copied())
    }

    fn operation(&mut self, index: usize, report: &mut Report) {
        let Some(operation) = self.document.operations.get(index) else { return };
        let told = |kind| Finding { operation_id: operation.id.clone(), ..Finding::new(kind, operation.name()) };
        let (mut missing, mut refused, mut found) = (None, false, Vec::new());
        for path in self.fresh.generic(&operation.template) {
            // Where no host has a rule, none of them protects it; a rule at one of them is the operation's own.
            let hosts = self.hosts(operation);
            let rules: Vec<Found> = hosts.iter().map(|host| self.find(&operation.method, host, &path)).collect();
            refused |= rules.iter().all(Result::is_err);
            if rules.iter().any(Result::is_ok) && rules.iter().all(|found| !matches!(found, Ok(Some(_)))) {
                missing = Some(path);
            }
            found.extend(rules.into_iter().filter_map(|found| found.ok().flatten()));
        }
        let public = operation.security.is_protected().then(|| self.public(index, operation)).flatten();
        for number in found {
            if let Some(used) = self.used.get_mut(number) {
                *used = true;
            }
        }
        if missing.is_some() {
            report.add(told(Kind::NoRule).detail(self.partly(operation)));
        } else if refused {
            report.add(told(Kind::Refused).detail("its path is ambiguous; a route says what it takes with `allow_paths`"));
        }
        if let Some((rule, request)) = public {
            report.add(told(Kind::Public).detail(format!("rule `{rule}` lets {request} in")));
        }
    }

    /// What becomes of an operation without a rule.
    fn partly(&self, operation: &Operation) -> String {
        let default = match &self.policy.default.access {
            Access::Deny => "`default` denies it".to_owned(),
            Access::Public | Access::Needs(_) => "`default` decides".to_owned(),
        };
        let some = (0..self.policy.rules.len()).find(|number| self.wins(*number, operation));
        let name = some.and_then(|number| self.policy.rules.get(number)).map(|rule| &rule.name);
        name.map_or_else(|| default.clone(), |name| format!("{default}; rule `{name}` has only some of its requests"))
    }

    /// Methods that the service answers where it has this operation.
    fn methods(&self, operation: &'a Operation) -> impl Iterator<Item = &'a str> {
        let own = |other: &Operation| {
            other.method == "HEAD" && other.template.is_within(&operation.template) && operation.template.is_within(&other.template)
        };
        let head = operation.method == "GET" && !self.document.operations.iter().any(own);
        [operation.method.as_str()].into_iter().chain(head.then_some("HEAD"))
    }

    /// A public rule that wins some request for the operation, where no narrower operation is meant.
    fn public(&self, index: usize, operation: &'a Operation) -> Option<(&'a str, String)> {
        for number in self.public.iter().copied() {
            let rule = self.policy.rules.get(number)?;
            let Some((method, host, path)) = self.won(number, operation, |method, path| !self.is_anothers(index, method, path)) else { continue };
            let generic = self.fresh.generic(&operation.template).contains(&path) && method == operation.method;
            let shown = if generic { "everybody".to_owned() } else { format!("everybody's {method} {path}") };
            let at = if self.hosts.contains(&host) && self.hosts.len() > 1 { format!(" at {host}") } else { String::new() };
            return Some((&rule.name, format!("{shown}{at}")));
        }
        None
    }

    /// Whether a request is one for a narrower operation.
    fn is_anothers(&self, index: usize, method: &str, path: &str) -> bool {
        let Ok(normal) = NormalPath::parse(path.as_bytes()) else { return false };
        let segments: Vec<&str> = normal.decoded().split('/').skip(1).collect();
        let own = self.document.operations.get(index);
        self.document.operations.iter().enumerate().any(|(other, operation)| {
            let narrower = || own.is_some_and(|own| operation.template.is_within(&own.template) && !own.template.is_within(&operation.template));
            other != index
                && (operation.method == method || (operation.method == "GET" && method == "HEAD"))
                && operation.template.matches(&segments)
                && narrower()
        })
    }

    /// The first request for an operation that a rule wins and that counts: method, host and path.
    fn won(&self, number: usize, operation: &'a Operation, counts: impl Fn(&str, &str) -> bool) -> Option<(&'a str, &str, String)> {
        let pattern = self.policy.table.pattern(RuleId(number))?;
        let own = pattern.method.as_deref();
        let takes = |method: &str| own.is_none_or(|own| own == method || (own == "GET" && method == "HEAD"));
        for path in self.fresh.meet(&operation.template, &pattern.segments) {
            for method in self.methods(operation).filter(|method| takes(method) && counts(method, &path)) {
                let host = self.hosts(operation).into_iter().find(|host| self.find(method, host, &path) == Ok(Some(number)));
                if let Some(host) = host {
                    return Some((method, host, path));
                }
            }
        }
        None
    }

    fn wins(&self, number: usize, operation: &'a Operation) -> bool {
        self.won(number, operation, |_, _| true).is_some()
    }

    /// Rules that win no request for any operation.
    fn unused(&self, report: &mut Report) {
        let operations = &self.document.operations;
        for (number, rule) in self.policy.rules.iter().enumerate() {
            if self.used.get(number) == Some(&false) && !operations.iter().any(|operation| self.wins(number, operation)) {
                report.add(Finding::new(Kind::RuleMatchesNothing, &*rule.name).detail("no operation of the document is its own"));
            }
        }
    }
}

/// Operations of which the log has no request.
fn never_called(document: &Document, log: &Log, report: &mut Report) {
    for (operation, called) in document.operations.iter().zip(log.called(document)) {
        if !called {
            report.add(Finding { operation_id: operation.id.clone(), ..Finding::new(Kind::NeverCalled, operation.name()) });
        }
    }
    if let Some(reason) = log.is_partial() {
        report.note(format!("{reason}, so that an operation that was never called may have been called all the same"));
    }
}
