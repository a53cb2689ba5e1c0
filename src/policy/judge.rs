//! The judge: canonical request, credential and rule into a decision. The only file that can build an allow.
//! Total and pure: no error, no default, no waiting; doubt is a denial.

use super::cors::{self, Cors, Preflight, Preflights};
use super::decision::{Decision, Denial, Missing, Outcome, Reason};
use super::rule::{Access, Mode, Needs, Rule, RuleId, Tools};
use super::table::Table;
use crate::principal::{Asked, At, Caller, Proof, Settled, SourceId, Sources, Wanted};
use crate::request::path::PathFault;
use crate::request::rpc::{self, Call};
use crate::request::{Body, Headers, Malformed, Method, RawRequest, RequestView, Values};
use crate::scope::{ScopeId, Universe};

/// Proof that the judge said yes.
#[derive(Debug)]
pub struct Allowed(());

/// Every rule, and the scopes that they speak of.
#[derive(Debug)]
pub struct Policy {
    pub table: Table,
    pub rules: Vec<Rule>,
    /// For requests that no pattern matches.
    pub default: Rule,
    pub universe: Universe,
    pub cors: Option<Cors>,
    /// Sources in shadow. A policy that names none watches nobody, whatever credentials it is asked about.
    pub watched: Box<[SourceId]>,
}

/// A question to the judge beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub body: Body<'a>,
    /// Space-delimited scopes that the peer adds to those of the route.
    pub extra_scopes: &'a str,
    /// Seconds since 1970.
    pub now: i64,
    /// What became of waiting for the outside, so far.
    pub settled: &'a [(At, Settled)],
}

impl Policy {
    /// The decision on a request as a door read it.
    pub fn decide<'s, H: Headers>(&'s self, sources: &'s Sources, raw: &RawRequest<'_, H>, question: Question<'_>) -> Decision<'s> {
        self.decide_as_read(sources, (&RequestView::read(raw), raw.headers), question)
    }

    /// The same, of a request that somebody has read already.
    pub fn decide_as_read<'s, H: Headers>(
        &'s self,
        sources: &'s Sources,
        (read, headers): (&Result<RequestView<'_, H>, Malformed>, &H),
        question: Question<'_>,
    ) -> Decision<'s> {
        let mut decision = match read {
            Ok(view) => self.judge(view, question, |wanted| {
                let asked = Asked { now: question.now, wanted, settled: question.settled };
                sources.authenticate(view, asked)
            }),
            Err(malformed) => Decision::refuse(reason_of(*malformed)),
        };
        if let Some(cors) = &self.cors {
            decision.share = cors.share(headers);
        }
        decision
    }

    /// The decision on a canonical request whose caller `prove` tells. It is not asked on a public route.
    pub fn judge<'s, H: Headers>(
        &'s self,
        view: &RequestView<'_, H>,
        question: Question<'_>,
        prove: impl FnOnce(Wanted) -> Proof<'s>,
    ) -> Decision<'s> {
        let mut decision = self.enforced(view, question, prove);
        self.watch(&mut decision);
        decision
    }

    /// Puts a denial in the place of what was decided, for what only the gate can know: a limit, an issuer that cannot be asked.
    pub fn overrule(&self, decision: &mut Decision<'_>, denial: Denial) {
        decision.outcome = Outcome::Deny(denial);
        decision.shadow = None;
        self.watch(decision);
    }

    /// Lets pass what would be denied where the operator said so: on a route in shadow, or for a caller whom a source in shadow has proved.
    /// A request without a rule is nobody's to let pass.
    fn watch(&self, decision: &mut Decision<'_>) {
        let Some(denial) = decision.denial() else { return };
        let by_rule = denial.reason.may_pass() && decision.rule.is_some_and(|rule| rule.mode == Mode::Shadow);
        let by_caller = denial.reason.is_of_caller() && decision.caller.as_ref().is_some_and(|caller| self.watched.contains(&caller.source));
        if decision.rule.is_some() && (by_rule || by_caller) {
            decision.shadow = Some(denial.clone());
            decision.outcome = Outcome::Allow(Allowed(()));
        }
    }

    fn enforced<'s, H: Headers>(
        &'s self,
        view: &RequestView<'_, H>,
        question: Question<'_>,
        prove: impl FnOnce(Wanted) -> Proof<'s>,
    ) -> Decision<'s> {
        if let Some(decision) = self.cors.as_ref().and_then(|cors| self.preflight(cors, view)) {
            return decision;
        }
        let rule = match self.find(view, view.method) {
            Ok(rule) => rule,
            Err(reason) => return Decision::refuse(reason),
        };
        let decided = |outcome, caller| Decision { rule: Some(rule), caller, ..Decision::of(outcome) };
        let deny = |reason: Reason, caller| decided(Outcome::Deny(reason.into()), caller);
        if view.link.websocket && self.cors.as_ref().is_some_and(|cors| cors.refuses_socket(view)) {
            return deny(Reason::WrongOrigin, None);
        }
        let shut = view.link.websocket && !rule.websocket;
        if matches!(rule.access, Access::Public) && question.extra_scopes.is_empty() {
            return if shut { deny(Reason::WebSocketDenied, None) } else { decided(Outcome::Allow(Allowed(())), None) };
        }
        let factor = matches!(&rule.access, Access::Needs(Needs { mfa: Some(_), .. }));
        let caller = match prove(Wanted { query: rule.query_credentials || view.link.websocket, factor }) {
            Proof::Caller(caller) => caller,
            Proof::Nothing => return deny(Reason::NoCredential, None),
            Proof::Ambiguous => return deny(Reason::AmbiguousCredential, None),
            Proof::NoProfile => return deny(Reason::ProfileNotFound, None),
            Proof::Unreachable => return deny(Reason::Unavailable, None),
            Proof::Waits(wait) => return decided(Outcome::Wait(wait), None),
            Proof::Refused { cause, id } => {
                return Decision { refused: Some((cause, id)), ..deny(Reason::InvalidCredential, None) };
            }
        };
        let nothing = Needs::default();
        let needs = match &rule.access {
            Access::Deny => return deny(self.refusal_of(rule), Some(caller)),
            Access::Needs(needs) => needs,
            Access::Public => &nothing,
        };
        if shut {
            return deny(Reason::WebSocketDenied, Some(caller));
        }
        if let Err(denial) = self.check(needs, &caller, view.headers, question) {
            return decided(Outcome::Deny(denial), Some(caller));
        }
        let (outcome, tools) = match needs.tools.as_ref().map(|tools| self.inspect(tools, &caller, (view.headers, question.body))) {
            None => (Outcome::Allow(Allowed(())), Vec::new()),
            Some(Ok(Inspected::Holds(scopes))) => (Outcome::Allow(Allowed(())), scopes),
            Some(Ok(Inspected::Unread(limit))) => (Outcome::Inspect { limit }, Vec::new()),
            Some(Err(denial)) => (Outcome::Deny(denial), Vec::new()),
        };
        Decision { tools, ..decided(outcome, Some(caller)) }
    }

    /// The answer to a preflight, where the route that it asks about leaves it to the gate or to the upstream.
    fn preflight<H: Headers>(&self, cors: &Cors, view: &RequestView<'_, H>) -> Option<Decision<'_>> {
        let method = cors::asked(view)?;
        let rule = match self.find(view, method) {
            Ok(rule) => rule,
            Err(reason) => return Some(Decision::refuse(reason)),
        };
        let named = !std::ptr::eq(rule, &raw const self.default);
        // Whoever may ask is told so: the request itself passes, and is recorded.
        let answers = named || rule.mode == Mode::Shadow;
        let outcome = match rule.preflight {
            Preflights::Require => return None,
            Preflights::Pass if named => Outcome::Allow(Allowed(())),
            Preflights::Pass | Preflights::Answer => Outcome::Preflight(Preflight {
                method: answers.then(|| method.as_str().to_owned()),
                headers: cors::asked_headers(view.headers),
                max_age: cors.max_age,
            }),
        };
        Some(Decision { rule: Some(rule), ..Decision::of(outcome) })
    }

    /// The rule for a request with this method: the most specific pattern's, or the default.
    pub fn find<H: Headers>(&self, view: &RequestView<'_, H>, method: Method<'_>) -> Result<&Rule, Reason> {
        if view.host.is_none() && self.table.speaks_of_hosts() {
            return Err(Reason::AmbiguousHost);
        }
        let found = |path: &str| self.table.find(view.host.as_ref(), method, path);
        let id = found(view.path.decoded());
        let rule = id.map_or(&self.default, |id| self.rule(id));
        let oddities = view.path.oddities();
        if oddities.any() {
            // A server that drops `;x`, merges slashes or decodes `%2F` would see another path; no other rule may speak of it.
            let other = found(&view.path.simplified());
            if !oddities.within(rule.allow_paths) || other.is_some_and(|other| Some(other) != id) {
                return Err(Reason::AmbiguousPath);
            }
        }
        Ok(rule)
    }

    pub fn rule(&self, id: RuleId) -> &Rule {
        self.rules.get(id.0).unwrap_or(&self.default)
    }

    fn refusal_of(&self, rule: &Rule) -> Reason {
        if std::ptr::eq(rule, &raw const self.default) { Reason::NoRule } else { Reason::Denied }
    }

    /// Whether a rule lets this caller in, whatever else a request would have to show (a tenant header, a body, a fresh second factor).
    pub fn admits(&self, rule: &Rule, caller: &Caller<'_>) -> Result<(), Denial> {
        let needs = match &rule.access {
            Access::Public => return Ok(()),
            Access::Deny => return Err(self.refusal_of(rule).into()),
            Access::Needs(needs) => needs,
        };
        let caller = Caller { factor: Some(i64::MAX), ..caller.clone() };
        let headers: &[(&str, &[u8])] = &[];
        self.check(needs, &caller, &headers, Question { body: Body::Unread, extra_scopes: "", now: 0, settled: &[] })
    }

    /// All that a rule needs of a caller but for the body.
    fn check<H: Headers>(&self, needs: &Needs, caller: &Caller<'_>, headers: &H, question: Question<'_>) -> Result<(), Denial> {
        let extra_scopes = question.extra_scopes;
        if !needs.credentials.is_empty() && !needs.credentials.contains(&caller.source) {
            return Err(Reason::WrongCredential.into());
        }
        if caller.is_restricted() {
            return Err(Reason::Restricted.into());
        }
        if let Some(tenant) = caller.tenant() {
            match headers.get("x-tenant-id") {
                Values::None => {}
                Values::One(said) if said == tenant.as_bytes() => {}
                // A comma is what is left of two joined lines.
                Values::One(said) if !said.contains(&b',') => return Err(Reason::WrongTenant.into()),
                Values::One(_) | Values::Many => return Err(Reason::AmbiguousHeader.into()),
            }
        }
        if !needs.roles.is_empty() && !needs.roles.iter().any(|role| caller.roles().has(role)) {
            return Err(Reason::WrongRole.into());
        }
        let lacks = |id: &&ScopeId| !caller.scopes().has(**id);
        if needs.all.iter().any(|id| lacks(&id)) || !extra_scopes.is_empty() {
            let own = needs.all.iter().filter(lacks).map(|id| self.universe.text(*id));
            let extra = extra_scopes.split(' ').filter(|scope| !scope.is_empty() && !caller.scopes().has_text(scope));
            let missing = own.chain(extra).collect::<Vec<_>>();
            if !missing.is_empty() {
                return Err(insufficient(Missing::All(missing.join(" "))));
            }
        }
        if !needs.any.is_empty() && needs.any.iter().all(|id| lacks(&id)) {
            let any = needs.any.iter().map(|id| self.universe.text(*id)).collect::<Vec<_>>();
            return Err(insufficient(Missing::AnyOf(any.join(" "))));
        }
        // Only who may do it at all is asked for a second factor.
        let is_fresh = |max_age: u32| caller.factor.is_some_and(|shown| question.now.saturating_sub(shown) <= i64::from(max_age));
        match needs.mfa {
            Some(max_age) if !is_fresh(max_age) => Err(Denial { max_age: Some(max_age), ..Reason::StepUp.into() }),
            Some(_) | None => Ok(()),
        }
    }

    fn inspect<H: Headers>(&self, tools: &Tools, caller: &Caller<'_>, (headers, body): (&H, Body<'_>)) -> Result<Inspected, Denial> {
        // Whoever decodes a coding reads another body than the one that is here.
        if !matches!(headers.get("content-encoding"), Values::None | Values::One(b"identity")) {
            return Err(Reason::PartialBody.into());
        }
        let body = match body {
            Body::Unread => return Ok(Inspected::Unread(tools.max_body)),
            Body::Partial => return Err(Reason::PartialBody.into()),
            Body::Whole(body) if body.len() > tools.max_body => return Err(Reason::PartialBody.into()),
            Body::Whole(body) => body,
        };
        let (mut held, mut missing): (Vec<ScopeId>, Vec<ScopeId>) = Default::default();
        for call in rpc::calls(body).map_err(|_| Reason::InvalidBody)? {
            let Call::Tool(name) = call else { continue };
            let scopes = tools.scopes.get(&*name).ok_or(Reason::UnknownTool)?;
            for scope in scopes {
                let list = if caller.scopes().has(*scope) { &mut held } else { &mut missing };
                if !list.contains(scope) {
                    list.push(*scope);
                }
            }
        }
        let texts = || missing.iter().map(|id| self.universe.text(*id)).collect::<Vec<_>>().join(" ");
        if missing.is_empty() { Ok(Inspected::Holds(held)) } else { Err(insufficient(Missing::All(texts()))) }
    }
}

/// What becomes of a body whose tools decide.
enum Inspected {
    /// Its first so many bytes are still to be read.
    Unread(usize),
    /// The caller holds all that its tools need, which is this.
    Holds(Vec<ScopeId>),
}

fn insufficient(missing: Missing) -> Denial {
    Denial { missing: Some(missing), ..Reason::InsufficientScope.into() }
}

fn reason_of(malformed: Malformed) -> Reason {
    match malformed {
        Malformed::Method => Reason::InvalidMethod,
        Malformed::Connect => Reason::Connect,
        Malformed::Path(PathFault::Empty) => Reason::EmptyPath,
        Malformed::Path(
            PathFault::NotAbsolute
            | PathFault::TooLong
            | PathFault::Character
            | PathFault::Escape
            | PathFault::EncodedCharacter
            | PathFault::DoubleEncoding
            | PathFault::Utf8
            | PathFault::DotSegment,
        ) => Reason::AmbiguousPath,
        Malformed::Query => Reason::InvalidQuery,
        Malformed::Host => Reason::AmbiguousHost,
    }
}
