//! A decision with its reasons, for the operator: the judge's own answer, and the table's own walk carried on past the winner.
//! Shows rule texts, scope names and credential ids; never a token.

use std::ops::ControlFlow;

use serde::Serialize;

use super::decision::Outcome;
use super::judge::{Policy, Question};
use super::rule::{Access, Rule, RuleId};
use crate::principal::{Proof, Sources};
use crate::request::{Headers, RawRequest, RequestView};

/// The answer of `scopegate explain` and `POST /explain`.
#[derive(Debug, Serialize)]
pub struct Explanation {
    pub decision: &'static str,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What a refused credential was refused for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_scopes: Option<String>,
    pub considered: Vec<Considered>,
    pub generation: u64,
}

/// A rule that spoke of the path, and why it won or lost.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Considered {
    pub rule: String,
    pub verdict: &'static str,
}

/// Explains the decision on `raw`, as the caller with this credential id or else as the credential in the request shows.
/// `None` where no credential has the id.
pub fn explain<H: Headers>(
    (policy, sources): (&Policy, &Sources),
    raw: &RawRequest<'_, H>,
    question: Question<'_>,
    credential_id: Option<&str>,
    generation: u64,
) -> Option<Explanation> {
    let view = RequestView::read(raw);
    let decision = match (&view, credential_id) {
        (Ok(view), Some(id)) => {
            let caller = sources.by_id(id, question.now)?;
            policy.judge(view, question, |_| Proof::Caller(caller))
        }
        _ => policy.decide(sources, raw, question),
    };
    let denial = decision.objection();
    let (verdict, status) = match &decision.outcome {
        Outcome::Allow(_) if decision.shadow.is_some() => ("shadow", 200),
        Outcome::Allow(_) => ("allow", 200),
        Outcome::Deny(denial) => ("deny", denial.reason.status()),
        // Scopes and roles suffice; the tool in the body has the last word.
        Outcome::Inspect { .. } => ("depends_on_body", 200),
        // Nobody outside is asked for an explanation.
        Outcome::Wait(_) => ("depends_on_issuer", 503),
        Outcome::Preflight(_) => ("preflight", 204),
    };
    Some(Explanation {
        decision: verdict,
        status,
        reason: denial.map(|denial| denial.reason.as_str()),
        cause: decision.refused.as_ref().map(|(cause, _)| cause.as_str()),
        rule: decision.rule.map(|rule| rule.name.to_string()),
        needs: decision.rule.map(|rule| needs_text(policy, rule)),
        path: view.as_ref().ok().map(|view| view.path.canonical().to_owned()),
        credential: decision.caller.as_ref().map(|caller| caller.credential.to_owned()),
        id: decision.principal().map(str::to_owned),
        scopes: decision.caller.as_ref().map(|caller| caller.scopes().joined().to_owned()),
        missing_scopes: denial.and_then(|denial| denial.missing.as_ref()).map(|missing| missing.scopes().to_owned()),
        considered: view.map(|view| considered(policy, &view)).unwrap_or_default(),
        generation,
    })
}

fn considered<H: Headers>(policy: &Policy, view: &RequestView<'_, H>) -> Vec<Considered> {
    let mut list: Vec<(RuleId, &'static str)> = Vec::new();
    let path = view.path.decoded();
    let _ = policy.table.candidates(view.host.as_ref(), view.method, path, &mut |rule| {
        list.push((rule, if list.is_empty() { "wins" } else { "less specific" }));
        ControlFlow::Continue(())
    });
    policy.table.near_misses(path, &mut |rule| {
        if list.iter().all(|(known, _)| *known != rule) {
            let host = policy.table.pattern(rule).and_then(|pattern| pattern.host.as_deref());
            let other_host = host.is_some() && host != view.host.as_ref().map(crate::request::HostName::as_str);
            list.push((rule, if other_host { "other host" } else { "other method" }));
        }
    });
    list.into_iter().map(|(rule, verdict)| Considered { rule: policy.rule(rule).name.to_string(), verdict }).collect()
}

/// What a rule needs, in one line.
pub fn needs_text(policy: &Policy, rule: &Rule) -> String {
    let needs = match &rule.access {
        Access::Public => return "public".into(),
        Access::Deny => return "deny".into(),
        Access::Needs(needs) => needs,
    };
    let texts = |ids: &[crate::scope::ScopeId]| ids.iter().map(|id| policy.universe.text(*id)).collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    if !needs.all.is_empty() {
        parts.push(texts(&needs.all));
    }
    if !needs.any.is_empty() {
        parts.push(format!("any of {}", texts(&needs.any)));
    }
    if !needs.roles.is_empty() {
        parts.push(format!("role {}", needs.roles.join(" or ")));
    }
    if !needs.credentials.is_empty() {
        parts.push("a credential of the sources that the route names".into());
    }
    if let Some(tools) = &needs.tools {
        let mut list: Vec<_> = tools.scopes.iter().map(|(name, scopes)| format!("{name}: {}", texts(scopes))).collect();
        list.sort();
        parts.push(format!("tools {{{}}}", list.join("; ")));
    }
    if parts.is_empty() { "authenticated".into() } else { parts.join(" and ") }
}
