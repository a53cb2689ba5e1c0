//! Audit lines into what was asked, how often, and by which rule it was decided.
//! Keeps counts; knows of a cut segment no more than the line says.

use std::collections::{BTreeMap, HashMap};

use super::finding::{Finding, Kind, Report};
use crate::openapi::template::Part;
use crate::openapi::{Document, Operation};
use crate::policy::{Policy, Reason};
use crate::request::NormalPath;
use crate::telemetry::line::Line;

/// What lines of decisions say.
#[derive(Debug, Default)]
pub struct Log {
    /// Method and path.
    calls: BTreeMap<(String, String), u64>,
    denied: BTreeMap<(String, String), u64>,
    /// By the rule that decided.
    rules: HashMap<String, u64>,
    pub decisions: u64,
    /// Lines that are none of the gate's.
    pub strangers: u64,
    without_path: u64,
    sampled: bool,
}

impl Log {
    pub fn add(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let Some(line) = Line::parse(text) else {
            self.strangers += 1;
            return;
        };
        if !line.is_decision() {
            return;
        }
        self.decisions += 1;
        self.sampled |= line.sample.is_some_and(|share| share < 1.0);
        if let Some(route) = line.route {
            *self.rules.entry(route).or_default() += 1;
        }
        let (Some(method), Some(path)) = (line.method, line.path) else {
            self.without_path += 1;
            return;
        };
        if line.reason == Reason::NoRule.as_str() {
            *self.denied.entry((method.clone(), path.clone())).or_default() += 1;
        }
        // The end of a long path is cut as a whole.
        if path.rsplit('/').next().is_some_and(|last| last.starts_with(Line::CUT)) {
            self.without_path += 1;
            return;
        }
        *self.calls.entry((method, path)).or_default() += 1;
    }

    pub fn compare(&self, policy: &Policy, has_document: bool, report: &mut Report) {
        report.decisions = Some(self.decisions);
        if self.strangers > 0 {
            report.note(format!("{} lines of the log are no audit lines", self.strangers));
        }
        let mut denied: Vec<_> = self.denied.iter().collect();
        denied.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for ((method, path), count) in denied {
            report.add(Finding { count: Some(*count), ..Finding::new(Kind::RequestWithoutRule, format!("{method} {path}")) });
        }
        if has_document {
            return;
        }
        for rule in policy.rules.iter().filter(|rule| !self.rules.contains_key(&*rule.name)) {
            report.add(Finding::new(Kind::RuleMatchesNothing, &*rule.name).detail("no request of the log was its own"));
        }
        if self.sampled {
            report.note("the log has a share of the allows only, so that a rule that matches nothing in it may have matched all the same");
        }
    }

    /// Why an operation may have been called though it is not here.
    pub fn is_partial(&self) -> Option<String> {
        match (self.sampled, self.without_path) {
            (true, _) => Some("the log has a share of the allows only".into()),
            (false, 0) => None,
            (false, count) => Some(format!("{count} decisions of the log have no whole path")),
        }
    }

    /// Whether each operation of the document was called; of several that a request is one for, the narrowest.
    pub fn called(&self, document: &Document) -> Vec<bool> {
        let mut called = vec![false; document.operations.len()];
        for (method, path) in self.calls.keys() {
            let segments: Vec<Shown> = path.split('/').skip(1).map(Shown::new).collect();
            let fits = |operation: &Operation, method: &str| operation.method == method && is_for(operation, &segments, false);
            let of = |method: &str| -> Vec<(usize, &Operation)> {
                document.operations.iter().enumerate().filter(|(_, operation)| fits(operation, method)).collect()
            };
            let mut found = of(method);
            if found.is_empty() && method == "HEAD" {
                found = of("GET");
            }
            for (index, operation) in &found {
                let narrower = |other: &Operation| {
                    is_for(other, &segments, true) && other.template.is_within(&operation.template) && !operation.template.is_within(&other.template)
                };
                if !found.iter().any(|(_, other)| narrower(other))
                    && let Some(called) = called.get_mut(*index)
                {
                    *called = true;
                }
            }
        }
        called
    }
}

/// A segment as a line shows it.
enum Shown {
    Whole(String),
    /// Its first characters.
    Cut(String),
}

impl Shown {
    fn new(segment: &str) -> Self {
        match segment.strip_suffix(Line::CUT) {
            Some(start) => Self::Cut(start.to_owned()),
            None => {
                let path = format!("/{segment}");
                let decoded = NormalPath::parse(path.as_bytes()).map(|path| path.decoded().trim_start_matches('/').to_owned());
                Self::Whole(decoded.unwrap_or_else(|_| segment.to_owned()))
            }
        }
    }

    /// Whether it may be one of the part's, or is one for sure.
    fn fits(&self, part: &Part, sure: bool) -> bool {
        match (self, part) {
            (Self::Whole(text), part) => part.matches(text),
            (Self::Cut(start), Part::Literal(text)) => !sure && text.starts_with(start.as_str()) && text.len() > start.len(),
            (Self::Cut(_), Part::Mixed(_)) => !sure,
            (Self::Cut(_), Part::One(_) | Part::Many(_)) => true,
        }
    }
}

fn is_for(operation: &Operation, segments: &[Shown], sure: bool) -> bool {
    let parts = &operation.template.0;
    let many = matches!(parts.last(), Some(Part::Many(_)));
    let fits = if many { segments.len() >= parts.len() } else { segments.len() == parts.len() };
    fits && parts.iter().zip(segments).all(|(part, segment)| segment.fits(part, sure))
}
