//! Pods that ask for a gate into pods that have one: the answers of a mutating admission webhook (`admission.k8s.io/v1`).
//! Knows nothing of requests, tokens and rules; all but `server` and `certificate` is pure.

mod ask;
pub mod certificate;
mod patch;
mod pod;
mod review;
mod same;
pub mod server;
mod sidecar;

use std::net::IpAddr;

use serde_json::Value;

use ask::Ask;
use patch::Operation;
use review::{Review, Verdict};

/// What is the same for every pod.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the sidecar, and of the container that applies the rules.
    pub image: String,
    /// What the sidecar's door listens on.
    pub address: IpAddr,
    /// What both of them ask for and may use, as in a pod.
    pub resources: Value,
    pub failure: Failure,
    /// Whom the gate runs as; none: whom the platform says.
    pub user: Option<u32>,
}

/// What becomes of a pod that asks for a gate and cannot have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is refused.
    Closed,
    /// It is let in as it is, with a warning.
    Open,
}

/// An answer, and what the log says of it.
#[derive(Debug)]
pub struct Answer {
    pub body: Vec<u8>,
    pub namespace: String,
    pub pod: String,
    pub dry_run: bool,
    pub outcome: Outcome,
    /// What its owner should know: a controller makes most pods, and shows its own answers to nobody.
    pub warnings: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    NotAsked,
    Injected,
    /// It has all of it already.
    Unchanged,
    Refused(String),
    /// Let in without a gate, though it asked for one.
    LetIn(String),
}

/// Answers one review. `Err` says why the body is none.
pub fn answer(body: &[u8], settings: &Settings) -> Result<Answer, String> {
    let request = Review::read(body)?;
    let considered = considered(&request, settings).map_err(|reason| review::line(&reason, review::MESSAGE));
    let (verdict, outcome) = match considered {
        Ok((Asked::No, warnings)) => (Verdict { warnings, ..Verdict::default() }, Outcome::NotAsked),
        Ok((Asked::Yes(patch), warnings)) => {
            let outcome = if patch.is_empty() { Outcome::Unchanged } else { Outcome::Injected };
            (Verdict { patch, warnings, refusal: None }, outcome)
        }
        Err(reason) => match settings.failure {
            Failure::Closed => (Verdict { refusal: Some(reason.clone()), ..Verdict::default() }, Outcome::Refused(reason)),
            Failure::Open => {
                let warnings = vec![format!("no gate was added: {reason}")];
                (Verdict { warnings, ..Verdict::default() }, Outcome::LetIn(reason))
            }
        },
    };
    let (namespace, pod, dry_run) = (request.namespace(), request.pod(), request.dry_run);
    let body = verdict.write(&request.uid);
    Ok(Answer { body, namespace, pod, dry_run, outcome, warnings: verdict.shown() })
}

enum Asked {
    No,
    Yes(Vec<Operation>),
}

fn considered(request: &review::Request, settings: &Settings) -> Result<(Asked, Vec<String>), String> {
    let object = request.created_pod()?;
    let ask = match Ask::read(object)? {
        ask::Asked::Yes(ask) => ask,
        ask::Asked::No => return Ok((Asked::No, Vec::new())),
        ask::Asked::Idle => {
            let warning = format!("its annotations `{}…` say nothing without `{}: \"true\"`", ask::PREFIX, ask::INJECT);
            return Ok((Asked::No, vec![warning]));
        }
    };
    let pod = pod::Pod::read(object)?;
    let additions = sidecar::Additions::new(&ask, pod.has_group(), settings);
    pod.takes(&ask, &additions)?;
    Ok((Asked::Yes(patch::patch(&pod, &additions)), pod.warnings(&ask)))
}
