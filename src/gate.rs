//! The one use case: a request as a door read it, into a decision that is counted, written down and traced.
//! Holds no lock and waits for nothing.

use std::time::{Instant, SystemTime};

use crate::live::{Live, Snapshot};
use crate::policy::judge::{Policy, Question};
use crate::policy::{Decision, Outcome, Reason};
use crate::request::{Body, Headers, RawRequest, Values};
use crate::telemetry::trace::Context;
use crate::telemetry::{DecisionId, Record, Telemetry};
use std::sync::Arc;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Proxy,
    ExtAuthz,
    ForwardAuth,
}

impl Door {
    pub const ALL: [Self; 3] = [Self::Proxy, Self::ExtAuthz, Self::ForwardAuth];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::ExtAuthz => "ext_authz",
            Self::ForwardAuth => "forward_auth",
        }
    }
}

/// What every door asks.
#[derive(Debug)]
pub struct Gate {
    pub live: Arc<Live>,
    pub telemetry: Arc<Telemetry>,
}

/// A decision and how it can be found again.
#[derive(Debug)]
pub struct Verdict<'s> {
    pub decision: Decision<'s>,
    /// `x-scopegate-decision`, and `id` of the audit line.
    pub id: DecisionId,
    pub generation: u64,
    /// Whether a parameter of the URL could be a credential, and is not for the upstream then.
    pub query: bool,
    /// The trace that the request is part of from here on, where traces are on.
    pub trace: Option<Context>,
}

impl Gate {
    /// Decides on `raw`. Without a snapshot, every answer is that there is none. Waits only where the outside has to be asked
    /// about a credential that was not seen before, and no longer than that source allows.
    pub async fn decide<'s, H: Headers>(
        &self,
        door: Door,
        snapshot: Option<&'s Snapshot>,
        raw: &RawRequest<'_, H>,
        (body, extra_scopes): (Body<'_>, &str),
    ) -> Verdict<'s> {
        let started = Instant::now();
        let decision = match snapshot {
            None => Decision::refuse(Reason::NotReady),
            Some(snapshot) => decide(&snapshot.policy, snapshot, raw, (body, extra_scopes)).await,
        };
        let mut verdict = self.record(door, snapshot, decision, raw.headers.get("traceparent"), started);
        verdict.query = raw.link.websocket || verdict.decision.rule.is_some_and(|rule| rule.query_credentials);
        verdict
    }

    /// A refusal of a door that has no request to decide on.
    pub fn refuse(&self, door: Door, reason: Reason) -> Verdict<'static> {
        self.record(door, None, Decision::refuse(reason), Values::None, Instant::now())
    }

    fn record<'s>(
        &self,
        door: Door,
        snapshot: Option<&'s Snapshot>,
        decision: Decision<'s>,
        traceparent: Values<'_>,
        started: Instant,
    ) -> Verdict<'s> {
        let generation = snapshot.map_or(0, |snapshot| snapshot.generation);
        let id = DecisionId::next();
        let mut verdict = Verdict { decision, id, generation, query: false, trace: None };
        if !matches!(verdict.decision.outcome, Outcome::Inspect { .. }) {
            let record = Record { door, decision: &verdict.decision, id, generation, elapsed: started.elapsed() };
            verdict.trace = self.telemetry.record(&record, traceparent);
        }
        verdict
    }
}

/// Asks the judge, and whoever outside has to be asked first, each once.
pub async fn decide<'s, H: Headers>(
    policy: &'s Policy,
    snapshot: &'s Snapshot,
    raw: &RawRequest<'_, H>,
    (body, extra_scopes): (Body<'_>, &str),
) -> Decision<'s> {
    let mut settled = Vec::new();
    loop {
        let question = Question { body, extra_scopes, now: unix_now(), settled: &settled };
        let decision = policy.decide(&snapshot.sources, raw, question);
        let Outcome::Wait(wait) = &decision.outcome else { return decision };
        if settled.iter().any(|(at, _)| *at == wait.at) {
            return Decision::refuse(Reason::Unavailable);
        }
        settled.push((wait.at, snapshot.outside.settle(wait).await));
    }
}

/// Seconds since 1970; a clock before that is 1970, when nothing is valid yet.
pub fn unix_now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}
