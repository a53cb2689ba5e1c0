//! A policy, an OpenAPI document and a log of decisions into what is not protected, not used, not held and not reached.
//! Asks the policy's own table about concrete requests: what it finds is what a door would find.

pub mod finding;
mod holders;
pub mod instances;
mod log;
mod operations;

use std::io;

use crate::config::Loaded;
use crate::openapi::Document;
pub use finding::{Finding, Kind, Report};
pub use log::Log;

/// What a policy is held against.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    pub document: Option<&'a Document>,
    pub log: Option<&'a Log>,
    /// Seconds since 1970.
    pub now: i64,
}

pub fn report(loaded: &Loaded, against: Against<'_>) -> Report {
    let mut report = Report { rules: loaded.policy.rules.len(), ..Report::default() };
    if let Some(document) = against.document {
        operations::compare(&loaded.policy, document, against.log, &mut report);
    }
    if let Some(log) = against.log {
        log.compare(&loaded.policy, against.document.is_some(), &mut report);
    }
    holders::compare(loaded, against.now, &mut report);
    report.sort();
    report
}

/// Reads lines of decisions into a log.
pub fn read_log(log: &mut Log, lines: impl io::BufRead) -> io::Result<()> {
    lines.split(b'\n').try_for_each(|line| line.map(|line| log.add(&line)))
}
