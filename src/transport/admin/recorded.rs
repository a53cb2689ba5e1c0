//! A decision that was taken, found again by its id: what was decided then, and what the set of today says of the same request.
//! Knows no more of the request than its audit line; says where that is not enough.

use serde::Serialize;

use crate::gate::{Gate, unix_now};
use crate::live::Snapshot;
use crate::policy::Reason;
use crate::policy::explain::{Explanation, Whose, explain_to};
use crate::policy::judge::Question;
use crate::request::{Body, Link, RawRequest};
use crate::telemetry::line::Line;
use crate::telemetry::recent::KEPT;

/// The answer to `{"decision_id"}`.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    /// The audit line.
    pub then: Line,
    /// The decision on such a request now; `None` where the line does not say enough of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Explanation>,
    /// How far the second may be held against the first.
    pub notes: Vec<String>,
}

/// `Err` says why there is nothing to tell.
pub fn recorded(gate: &Gate, id: &str) -> Result<Recorded, String> {
    if gate.telemetry.audit.is_none() {
        return Err("No decision is kept: `telemetry.audit` is `off`".into());
    }
    let is_id = id.len() == 16 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id {
        return Err("A decision's id is sixteen hexadecimal digits in lower case, as in `x-scopegate-decision`".into());
    }
    let Some(then) = gate.telemetry.recent.find(id) else {
        return Err(format!(
            "The decision is no longer kept, or was another process's: the last {KEPT} decisions and the last {KEPT} denials are; look for its id in the audit lines"
        ));
    };
    let guard = gate.live.current();
    let mut notes = Vec::new();
    let now = guard.as_deref().and_then(|snapshot| again(&then, snapshot, &mut notes));
    Ok(Recorded { then, now, notes })
}

/// The same request, as far as it is known, on the set of today.
fn again(then: &Line, snapshot: &Snapshot, notes: &mut Vec<String>) -> Option<Explanation> {
    let mut note = |text: String| notes.push(text);
    if let Some(generation) = then.generation.filter(|generation| *generation != snapshot.generation) {
        note(format!("it was decided on generation {generation}; what is said of now is of generation {}", snapshot.generation));
    }
    if then.door == "management" {
        note("the management API has rules of its own, which are not explained".into());
        return None;
    }
    let (Some(method), Some(path)) = (&then.method, &then.path) else {
        note("the line has no path: the request had none that all would read alike, or `telemetry.audit.paths` is `false`".into());
        return None;
    };
    if path.contains(Line::CUT) {
        note("a part of the path that may be a secret is not in the line; another stands for it".into());
    }
    let path = whole(path);
    let whose = match (then.reason.as_str(), &then.credential, &then.principal) {
        ("no_credential", _, _) => Whose::Shown,
        (_, Some(credential), Some(id)) if is_known(snapshot, credential, id) => Whose::Id(id),
        (_, None, _) if then.outcome == "allow" => Whose::Shown,
        (_, _, _) => {
            note("who asked is not among those that can be looked up by id; what it holds now is not known".into());
            Whose::Unknown
        }
    };
    if then.reason == Reason::TooMany.as_str() {
        note("a rate limit is nothing that can be explained again: it is told as if there were room".into());
    }
    let headers: &[(&str, &[u8])] = &[];
    let host = then.host.as_deref().map(str::as_bytes);
    let raw = RawRequest { method: method.as_bytes(), target: path.as_bytes(), host, headers: &headers, link: Link::default() };
    let question = Question { body: Body::Unread, extra_scopes: "", now: unix_now(), settled: &[] };
    explain_to((&snapshot.policy, &snapshot.sources), &raw, question, whose, snapshot.generation)
}

fn is_known(snapshot: &Snapshot, credential: &str, id: &str) -> bool {
    snapshot.sources.by_id(id, unix_now()).is_some_and(|caller| caller.credential == credential)
}

/// The path with a segment that no rule names in the place of what was cut out.
fn whole(path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.ends_with(Line::CUT) { "cut-out-of-the-audit-line" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}
