//! The one use case: a request as a door read it, into a decision that is counted, written down and traced.
//! Holds no lock and waits for nothing.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use crate::credential::Place;
use crate::limits::{self, Limiter};
use crate::live::{Live, Snapshot};
use crate::policy::judge::{Policy, Question};
use crate::policy::{Decision, Denial, Outcome, Reason};
use crate::principal::{Caller, Cause};
use crate::request::{Body, Headers, Malformed, RawRequest, RequestView, Values};
use crate::telemetry::instrument::Metric;
use crate::telemetry::trace::Context;
use crate::telemetry::{DecisionId, Ended, Record, Seen, Telemetry};
use std::sync::Arc;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    Proxy,
    ExtAuthz,
    ForwardAuth,
    /// The management API, behind whichever door it is served at.
    Management,
}

impl Door {
    pub const ALL: [Self; 4] = [Self::Proxy, Self::ExtAuthz, Self::ForwardAuth, Self::Management];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::ExtAuthz => "ext_authz",
            Self::ForwardAuth => "forward_auth",
            Self::Management => "management",
        }
    }
}

/// What every door asks.
#[derive(Debug)]
pub struct Gate {
    pub live: Arc<Live>,
    pub telemetry: Arc<Telemetry>,
    pub limiter: Arc<Limiter>,
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

/// How a request stands that was let through a while ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It would be let through now; to be asked again after this time.
    Holds(Duration),
    /// It would not, and why.
    Lost(Ended),
    /// Somebody who has to be asked does not answer.
    Unsettled,
}

/// At most this long without asking again: a clock may have jumped, a key set may have changed.
const LONGEST: Duration = Duration::from_secs(60);
/// Where an issuer's answer counts for a while, it is the issuer's memory that knows for how long.
const REMEMBERED: Duration = Duration::from_secs(1);

impl Verdict<'_> {
    /// The places whose credentials the upstream must not see.
    pub fn hidden<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Place> {
        let hides = !self.decision.keeps_credentials();
        hides.then(|| snapshot.sources.hidden(self.decision.caller.as_ref())).into_iter().flatten()
    }
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
        self.decide_by(snapshot.map(|snapshot| (&snapshot.policy, snapshot)), door, raw, (body, extra_scopes)).await
    }

    /// Decides by other rules than the snapshot's, on its credentials.
    pub async fn decide_by<'s, H: Headers>(
        &self,
        by: Option<(&'s Policy, &'s Snapshot)>,
        door: Door,
        raw: &RawRequest<'_, H>,
        (body, extra_scopes): (Body<'_>, &str),
    ) -> Verdict<'s> {
        let started = Instant::now();
        let read = RequestView::read(raw);
        let mut decision = match by {
            None => Decision::refuse(Reason::NotReady),
            Some((policy, snapshot)) => settle(policy, snapshot, (&read, raw.headers), (body, extra_scopes)).await.0,
        };
        if let Some((policy, _)) = by {
            self.limit(policy, &mut decision, raw.link.client).await;
        }
        let seen = Seen::new(raw.method, &read, by.map(|(policy, _)| policy), extra_scopes);
        let generation = by.map_or(0, |(_, snapshot)| snapshot.generation);
        let mut verdict = self.record(door, generation, decision, (seen, raw.headers.get("traceparent")), started);
        verdict.query = raw.link.websocket || verdict.decision.rule.is_some_and(|rule| rule.query_credentials);
        verdict
    }

    /// Takes what the request falls under; in the place of an answer that there is too much of, says so.
    async fn limit(&self, policy: &Policy, decision: &mut Decision<'_>, client: Option<IpAddr>) {
        let taken = match limits::wants(decision, client) {
            [None, None] => return,
            wants => self.limiter.take(&wants).await,
        };
        if let Err(exceeded) = taken {
            policy.overrule(decision, Denial { limited: Some(exceeded.told(unix_now())), ..Reason::TooMany.into() });
        }
    }

    /// Whether a request that was let through would be now: no decision to count or to write down.
    pub async fn stands<H: Headers>(&self, snapshot: &Snapshot, raw: &RawRequest<'_, H>, body: Body<'_>) -> Standing {
        let (decision, asked) = settle(&snapshot.policy, snapshot, (&RequestView::read(raw), raw.headers), (body, "")).await;
        let denial = match &decision.outcome {
            Outcome::Allow(_) if asked => return Standing::Holds(REMEMBERED),
            Outcome::Allow(_) => {
                let until = decision.caller.as_ref().and_then(Caller::until);
                return Standing::Holds(until.map_or(LONGEST, |until| until_second(until).min(LONGEST)));
            }
            Outcome::Deny(denial) => denial,
            Outcome::Inspect { .. } | Outcome::Preflight(_) | Outcome::Wait(_) => return Standing::Lost(Ended::Scope),
        };
        let expired = matches!(decision.refused, Some((Cause::Expired, _)));
        match (denial.reason, denial.reason.status()) {
            (_, 503) => Standing::Unsettled,
            // The factor was fresh when the stream was opened.
            (Reason::StepUp, _) => Standing::Lost(Ended::Expired),
            (_, 401) if expired => Standing::Lost(Ended::Expired),
            (_, 401) | (Reason::AmbiguousCredential, _) => Standing::Lost(Ended::Revoked),
            (_, _) => Standing::Lost(Ended::Scope),
        }
    }

    /// A refusal of a door that has no request to decide on.
    pub fn refuse(&self, door: Door, reason: Reason) -> Verdict<'static> {
        self.record(door, 0, Decision::refuse(reason), (Seen::default(), Values::None), Instant::now())
    }

    /// Everything that is counted, with what is read as it stands.
    pub fn measured(&self) -> Vec<Metric> {
        let metrics = &self.telemetry.metrics;
        for set in self.live.status().key_sets {
            metrics.key_set(set.credential, set.status.age_seconds);
        }
        if let Some(keeper) = self.live.keeper() {
            metrics.store(keeper.age(), keeper.keys());
        }
        metrics.collect()
    }

    fn record<'s>(
        &self,
        door: Door,
        generation: u64,
        decision: Decision<'s>,
        (seen, traceparent): (Seen<'_>, Values<'_>),
        started: Instant,
    ) -> Verdict<'s> {
        let id = DecisionId::next();
        let mut verdict = Verdict { decision, id, generation, query: false, trace: None };
        if let (Outcome::Allow(_), Some(key)) = (&verdict.decision.outcome, verdict.decision.caller.as_ref().and_then(Caller::key)) {
            self.live.usage.count(&key.id, unix_now());
        }
        if !matches!(verdict.decision.outcome, Outcome::Inspect { .. }) {
            let record = Record { door, decision: &verdict.decision, id, generation, elapsed: started.elapsed(), seen };
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
    settle(policy, snapshot, (&RequestView::read(raw), raw.headers), (body, extra_scopes)).await.0
}

/// The decision, and whether anybody was asked.
async fn settle<'s, H: Headers>(
    policy: &'s Policy,
    snapshot: &'s Snapshot,
    read: (&Result<RequestView<'_, H>, Malformed>, &H),
    (body, extra_scopes): (Body<'_>, &str),
) -> (Decision<'s>, bool) {
    let mut settled = Vec::new();
    loop {
        let question = Question { body, extra_scopes, now: unix_now(), settled: &settled };
        let mut decision = policy.decide_as_read(&snapshot.sources, read, question);
        let Outcome::Wait(wait) = &decision.outcome else { return (decision, !settled.is_empty()) };
        if settled.iter().any(|(at, _)| *at == wait.at) {
            policy.overrule(&mut decision, Reason::Unavailable.into());
            return (decision, true);
        }
        settled.push((wait.at, snapshot.outside.settle(wait).await));
    }
}

/// How long it is until that second of the clock begins.
fn until_second(second: i64) -> Duration {
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(u64::try_from(second).unwrap_or_default()).saturating_sub(age).max(Duration::from_millis(10))
}

/// Seconds since 1970; a clock before that is 1970, when nothing is valid yet.
pub fn unix_now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}
