//! What happened, for the operator: one audit line, some counters and, where asked for, one span a decision.
//! Never waits, never fails a decision, never writes a token or a query, and of a path nothing that may be a token.

pub mod audit;
pub mod exposition;
pub mod history;
pub mod instrument;
mod lanes;
pub mod line;
pub mod metrics;
pub mod otlp;
mod process;
pub mod recent;
mod seen;
pub mod shadow;
pub mod span;
pub mod trace;

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use crate::gate::Door;
use crate::policy::Decision;
use crate::request::Values;
use audit::Audit;
use history::History;
use metrics::{Kept, Metrics};
use recent::Recent;
pub use seen::Seen;
use shadow::Shadow;
use span::Tracer;
use trace::Context;

#[derive(Debug, Default)]
pub struct Telemetry {
    pub metrics: Metrics,
    pub history: History,
    /// Who would be denied if nothing were in shadow.
    pub shadow: Shadow,
    pub audit: Option<Audit>,
    /// The last audit lines.
    pub recent: Recent,
    pub tracer: Option<Tracer>,
}

/// Why a stream was ended by the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The credential's time is over.
    Expired,
    /// The credential counts no more, or cannot be checked.
    Revoked,
    /// It does not suffice any more for what was asked.
    Scope,
    /// The process stops.
    Shutdown,
    /// Nothing came either way for too long.
    Idle,
    /// The upstream went away in the middle.
    Upstream,
    /// The client's frames are none.
    Protocol,
}

impl Ended {
    pub const ALL: [Self; 7] = [Self::Expired, Self::Revoked, Self::Scope, Self::Shutdown, Self::Idle, Self::Upstream, Self::Protocol];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Scope => "scope",
            Self::Shutdown => "shutdown",
            Self::Idle => "idle",
            Self::Upstream => "upstream",
            Self::Protocol => "protocol",
        }
    }
}

/// All that is told of one decision.
#[derive(Debug)]
pub struct Record<'a> {
    pub door: Door,
    pub decision: &'a Decision<'a>,
    pub id: DecisionId,
    pub generation: u64,
    pub elapsed: Duration,
    pub seen: Seen<'a>,
}

impl Record<'_> {
    pub fn outcome(&self) -> &'static str {
        Kept::of(self.decision).outcome()
    }
}

impl Telemetry {
    /// Tells of a decision; gives the trace that it is part of, where traces are on.
    pub fn record(&self, record: &Record<'_>, traceparent: Values<'_>) -> Option<Context> {
        self.metrics.decided(record);
        self.shadow.decided(record.decision, record.generation);
        let parent = match traceparent {
            Values::One(text) => Context::parse(text),
            Values::None | Values::Many => None,
        };
        let trace = self.tracer.as_ref().map(|tracer| tracer.decided(record, parent));
        if let Some(audit) = &self.audit {
            audit.write(record, trace.or(parent));
        }
        trace
    }
}

impl Telemetry {
    /// Tells of the end that the gate made of a stream, which `id` had let in.
    pub fn ended(&self, door: Door, id: DecisionId, why: Ended) {
        self.metrics.ended(why);
        if let Some(audit) = &self.audit {
            audit.ended(door, id, why);
        }
    }
}

/// A decision's id: 64 bits, unlikely to repeat in the life of a log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DecisionId(u64);

thread_local! {
    static NEXT: Cell<u64> = Cell::new(getrandom::u64().unwrap_or_default());
}

impl DecisionId {
    /// SplitMix64 (Steele, Lea, Flood, 2014) from a random start on each thread. It names a decision and protects nothing.
    pub fn next() -> Self {
        NEXT.with(|state| {
            let next = state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
            state.set(next);
            let mixed = (next ^ (next >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            Self(mixed ^ (mixed >> 31))
        })
    }

    /// A part of `whole`, of which different ids have different ones.
    pub fn part_of(self, whole: Duration) -> Duration {
        whole.mul_f64(self.0 as f64 / u64::MAX as f64)
    }

    /// Whether this decision is among so many of a million.
    pub fn is_among(self, of_a_million: u32) -> bool {
        ((self.0 >> 32) * 1_000_000) >> 32 < u64::from(of_a_million)
    }

    /// Sixteen hexadecimal digits.
    pub fn hex(self) -> [u8; 16] {
        let mut out = [0; 16];
        for (index, byte) in out.iter_mut().enumerate() {
            let digit = (self.0 >> (60 - 4 * index) & 15) as usize;
            *byte = b"0123456789abcdef".get(digit).copied().unwrap_or(b'0');
        }
        out
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
