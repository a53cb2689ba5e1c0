//! A decision with its reasons, for the operator: the judge's own answer, and the table's own walk carried on past the winner.
//! Shows rule texts, scope names and credential ids; never a token.

use std::ops::ControlFlow;

use serde::Serialize;

pub use super::considered::Considered;
use super::considered::considered;
use super::decision::{Decision, Missing, Outcome, Reason};
use super::judge::{Policy, Question};
use super::rule::{Access, Rule};
use crate::principal::{Proof, Sources};
use crate::request::{Headers, RawRequest, RequestView};

/// The answer of `scopegate explain` and `POST /explain`.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    pub decision: &'static str,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What is wrong with a request that is malformed or ambiguous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
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
    /// Who holds the missing scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders: Option<Holders>,
    pub considered: Vec<Considered>,
    pub generation: u64,
}

/// Credentials that hold all of some scopes, or any of them where any is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holders {
    /// The first of them.
    pub ids: Vec<String>,
    /// How many there are in all; those of signed tokens nobody can list.
    pub count: usize,
}

const SHOWN: usize = 20;

/// Whose request is explained.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// Whoever shows the credential in the request.
    Shown,
    /// The caller with this credential id.
    Id(&'a str),
    /// A caller of whom no more than that is known.
    Unknown,
}

/// Explains the decision on `raw`, as the caller with this credential id or else as the credential in the request shows.
/// `None` where no credential has the id. A walk over everybody where scopes are missing: never for a request.
pub fn explain<H: Headers>(
    of: (&Policy, &Sources),
    raw: &RawRequest<'_, H>,
    question: Question<'_>,
    credential_id: Option<&str>,
    generation: u64,
) -> Option<Explanation> {
    explain_to(of, raw, question, credential_id.map_or(Whose::Shown, Whose::Id), generation)
}

pub fn explain_to<H: Headers>(
    (policy, sources): (&Policy, &Sources),
    raw: &RawRequest<'_, H>,
    question: Question<'_>,
    whose: Whose<'_>,
    generation: u64,
) -> Option<Explanation> {
    let view = RequestView::read(raw);
    let decision = match (&view, whose) {
        (Ok(view), Whose::Id(id)) => {
            let caller = sources.by_id(id, question.now)?;
            policy.judge(view, question, |_| Proof::Caller(caller))
        }
        (Ok(view), Whose::Unknown) => policy.judge(view, question, |_| Proof::Nothing),
        (Ok(_), Whose::Shown) | (Err(_), _) => policy.decide_as_read(sources, (&view, raw.headers), question),
    };
    let (verdict, status) = verdict(&decision, whose);
    let denial = decision.objection().filter(|_| verdict != DEPENDS);
    let missing = denial.and_then(|denial| denial.missing.as_ref());
    Some(Explanation {
        decision: verdict,
        status,
        reason: denial.map(|denial| denial.reason.as_str()),
        fault: match &view {
            Err(malformed) => Some(malformed.why()),
            Ok(_) => denial.filter(|denial| denial.reason == Reason::AmbiguousPath).map(|_| AMBIGUOUS),
        },
        cause: decision.refused.as_ref().map(|(cause, _)| cause.as_str()),
        rule: decision.rule.map(|rule| rule.name.to_string()),
        needs: decision.rule.map(|rule| needs_text(policy, rule)),
        path: view.as_ref().ok().map(|view| view.path.canonical().to_owned()),
        credential: decision.caller.as_ref().map(|caller| caller.credential.to_owned()),
        id: decision.principal().map(str::to_owned),
        scopes: decision.caller.as_ref().map(|caller| caller.scopes().joined().to_owned()),
        missing_scopes: missing.map(|missing| missing.scopes().to_owned()),
        holders: missing.map(|missing| holders(sources, missing, question.now)),
        considered: view.map(|view| considered(policy, &view)).unwrap_or_default(),
        generation,
    })
}

/// Of a path that is well-formed, and that two servers could read in two ways.
const AMBIGUOUS: &str = "the path has an empty segment (`//`), an encoded slash (`%2F`) or a `;`: a route takes them by `allow_paths` where no other speaks of what they may become";
const DEPENDS: &str = "depends_on_credential";

fn verdict(decision: &Decision<'_>, whose: Whose<'_>) -> (&'static str, u16) {
    match (&decision.outcome, whose) {
        (Outcome::Allow(_), _) if decision.shadow.is_some() => ("shadow", 200),
        (Outcome::Allow(_), _) => ("allow", 200),
        (Outcome::Deny(denial), Whose::Unknown) if denial.reason == Reason::NoCredential => (DEPENDS, 200),
        (Outcome::Deny(denial), _) => ("deny", denial.reason.status()),
        // Scopes and roles suffice; the tool in the body has the last word.
        (Outcome::Inspect { .. }, _) => ("depends_on_body", 200),
        // Nobody outside is asked for an explanation.
        (Outcome::Wait(_), _) => ("depends_on_issuer", 503),
        (Outcome::Preflight(_), _) => ("preflight", 204),
    }
}

/// Everybody who would not be told that these scopes are missing.
pub fn holders(sources: &Sources, missing: &Missing, now: i64) -> Holders {
    let mut holders = Holders { ids: Vec::new(), count: 0 };
    let _ = sources.known(now, &mut |caller| {
        let mut scopes = missing.scopes().split(' ');
        let holds = |scope: &str| caller.scopes().has_text(scope);
        let suffices = match missing {
            Missing::All(_) => scopes.all(holds),
            Missing::AnyOf(_) => scopes.any(holds),
        };
        if suffices && !caller.is_restricted() {
            holders.count += 1;
            if holders.ids.len() < SHOWN {
                holders.ids.push(caller.id().to_owned());
            }
        }
        ControlFlow::Continue(())
    });
    holders
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
    if let Some(max_age) = needs.mfa {
        parts.push(format!("a second factor of the last {max_age} s"));
    }
    if let Some(tools) = &needs.tools {
        let mut list: Vec<_> = tools.scopes.iter().map(|(name, scopes)| format!("{name}: {}", texts(scopes))).collect();
        list.sort();
        parts.push(format!("tools {{{}}}", list.join("; ")));
    }
    if parts.is_empty() { "authenticated".into() } else { parts.join(" and ") }
}
