//! One case and a configuration into a decision, and the difference from what was expected.
//! Judges as every door does; a made-up caller shows no credential and so is told only to the judge.

use crate::config::{Faults, Loaded};
use crate::gate::unix_now;
use crate::policy::considered::{Considered, considered};
use crate::policy::explain::needs_text;
use crate::policy::judge::Question;
use crate::policy::{Decision, Denial, Outcome};
use crate::principal::roles::RoleSet;
use crate::principal::{Caller, Listed, Proof, SourceId, Who as Whose};
use crate::request::{Body, Headers, Link, RawRequest, RequestView};
use crate::scope::{Scope, ScopeSet};
use crate::transport::headers::opens_websocket;

use super::case::{Case, Expect, Made, Who};
use super::report::{Difference, Verdict, Why};

/// `None` where the case speaks of what the configuration does not have; the fault says so.
pub fn judge(case: &Case, loaded: &Loaded, faults: &mut Faults) -> Option<Verdict> {
    let request = &case.request;
    let headers: Vec<(&str, &[u8])> = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let headers = headers.as_slice();
    let opens = opens_websocket(request.method.as_bytes(), &headers, true).unwrap_or(false);
    let link = Link { websocket: request.websocket || opens, ..Link::default() };
    let raw = RawRequest {
        method: request.method.as_bytes(),
        target: request.target.as_bytes(),
        host: Some(request.host.as_bytes()),
        headers: &headers,
        link,
    };
    let now = case.now.unwrap_or_else(unix_now);
    let question = Question { body: Body::Whole(request.body.as_bytes()), extra_scopes: "", now, settled: &[] };
    let made;
    let decision = match &case.who {
        Who::Shown => loaded.policy.decide(&loaded.sources, &raw, question),
        Who::As(id) => match loaded.sources.by_id(id, now) {
            Some(caller) => decide(loaded, &raw, question, caller),
            None => {
                let more = "signed tokens and keys of the store have none here, `caller` makes somebody up";
                faults.at_place(case.place, format!("`as`: no credential has the id `{}`; {more}", id.escape_debug()));
                return None;
            }
        },
        Who::Made(said) => {
            made = Held::new(said, loaded, faults)?;
            decide(loaded, &raw, question, made.caller(said, loaded, now))
        }
    };
    Some(verdict(case, loaded, &decision, RequestView::read(&raw).map(|view| considered(&loaded.policy, &view)).unwrap_or_default()))
}

fn decide<'s, H: Headers>(loaded: &'s Loaded, raw: &RawRequest<'_, H>, question: Question<'_>, caller: Caller<'s>) -> Decision<'s> {
    match RequestView::read(raw) {
        Ok(view) => loaded.policy.judge(&view, question, |_| Proof::Caller(caller)),
        // Whoever it is, this is refused.
        Err(_) => loaded.policy.decide(&loaded.sources, raw, question),
    }
}

/// What somebody made up holds.
struct Held {
    source: usize,
    scopes: ScopeSet,
    roles: RoleSet,
}

impl Held {
    fn new(said: &Made, loaded: &Loaded, faults: &mut Faults) -> Option<Self> {
        let names: Vec<&str> = loaded.sources.list().iter().map(|source| &*source.name).collect();
        let source = match &said.credential {
            None => Some(0),
            Some(name) => names.iter().position(|known| known == name),
        };
        if source.is_none() {
            let name = said.credential.as_deref().unwrap_or_default().escape_debug();
            faults.at_place(said.place, format!("`caller.credential` is `{name}`, which is not defined; known are {}", names.join(", ")));
        }
        for role in said.roles.iter().filter(|role| !loaded.sources.roles.knows(role)) {
            faults.at_place(said.place, format!("`caller.roles` has `{}`, which is not defined; define it under `roles`", role.escape_debug()));
        }
        let mut scopes = Vec::new();
        for text in &said.scopes {
            match Scope::parse(text) {
                Ok(scope) => scopes.push(scope),
                Err(fault) => faults.at_place(said.place, format!("`caller.scopes` has `{}`, which {fault}", text.escape_debug())),
            }
        }
        let (roles, granted) = loaded.sources.roles.combine(said.roles.clone());
        Some(Self { source: source?, scopes: ScopeSet::with_roles(scopes, granted, &loaded.policy.universe), roles })
    }

    fn caller<'s>(&'s self, said: &'s Made, loaded: &'s Loaded, now: i64) -> Caller<'s> {
        let credential = loaded.sources.list().get(self.source).map_or("none", |source| &source.name);
        let listed =
            Listed { id: &said.id, scopes: &self.scopes, roles: &self.roles, tenant: said.tenant.as_deref(), restricted: false, until: None };
        let factor = said.mfa_age.map(|age| now.saturating_sub(age));
        Caller { source: SourceId(self.source), credential, place: None, who: Whose::Listed(listed), factor }
    }
}

fn verdict(case: &Case, loaded: &Loaded, decision: &Decision<'_>, considered: Vec<Considered>) -> Verdict {
    let denial = decision.denial();
    let (word, status) = match &decision.outcome {
        Outcome::Allow(_) => ("allow", 200),
        Outcome::Deny(denial) => ("deny", denial.reason.status()),
        // A body is always given, so that nothing is left to inspect.
        Outcome::Inspect { .. } => ("depends_on_body", 200),
        Outcome::Wait(_) => ("depends_on_issuer", 503),
        Outcome::Preflight(_) => ("preflight", 204),
    };
    let rule = decision.rule.map(|rule| rule.name.to_string());
    let caller = decision.caller.as_ref();
    let missing = denial.and_then(|denial| denial.missing.as_ref()).map(|missing| missing.scopes().to_owned());
    let mut diff = Diff(Vec::new());
    let Expect { decision: expected, status: code, reason, rule: pattern, missing_scopes, id, tenant, headers, shadow } = &case.expect;
    diff.text("decision", expected.as_deref(), Some(word));
    diff.text("status", code.map(|code| code.to_string()).as_deref(), Some(&status.to_string()));
    diff.text("reason", reason.as_deref(), denial.map(|denial| denial.reason.as_str()));
    diff.text("rule", pattern.as_deref(), rule.as_deref());
    let mut lacks: Vec<&str> = missing.iter().flat_map(|missing| missing.split(' ')).collect();
    lacks.sort_unstable();
    diff.text("missing_scopes", missing_scopes.as_ref().map(|list| list.join(" ")).as_deref(), Some(&lacks.join(" ")));
    diff.text("id", id.as_deref(), decision.principal());
    diff.text("tenant", tenant.as_deref(), caller.and_then(Caller::tenant));
    // What is refused goes nowhere, and tells nobody anything.
    let told: Vec<_> = if denial.is_none() { loaded.identity.headers(caller).collect() } else { Vec::new() };
    for (name, value) in headers {
        let got = told.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_deref());
        diff.text(&format!("headers.{name}"), Some(value), got);
    }
    diff.text("shadow", shadow.as_deref(), decision.shadow.as_ref().map(|denial| denial.reason.as_str()));
    let reason = denial.or(decision.shadow.as_ref()).map(|denial: &Denial| denial.reason.as_str());
    let why = Why {
        needs: decision.rule.map(|rule| needs_text(&loaded.policy, rule)),
        rule,
        reason,
        cause: decision.refused.as_ref().map(|(cause, _)| cause.as_str()),
        id: decision.principal().map(str::to_owned),
        credential: caller.map(|caller| caller.credential.to_owned()),
        scopes: caller.map(|caller| caller.scopes().joined().to_owned()),
        missing_scopes: missing,
        considered,
    };
    let request = case.request.line();
    Verdict { name: case.name.clone(), place: case.place, request, decision: word, status, differences: diff.0, why }
}

struct Diff(Vec<Difference>);

impl Diff {
    /// Compares what is expected, if anything is; an empty text and nothing are the same.
    fn text(&mut self, key: &str, expected: Option<&str>, got: Option<&str>) {
        let got = got.unwrap_or_default();
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            self.0.push(Difference { key: key.to_owned(), expected: expected.to_owned(), got: got.to_owned() });
        }
    }
}
