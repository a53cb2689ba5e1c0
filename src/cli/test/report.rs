//! Verdicts into lines for a terminal, JSON for a program, and JUnit XML for a build server.
//! Shows rules, scopes, ids and identity headers; never what a case sends.

use std::path::{Path, PathBuf};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::import::yaml::line;
use crate::policy::explain::Considered;

pub struct Verdict {
    pub name: String,
    pub place: (u64, u64),
    pub request: String,
    pub decision: &'static str,
    pub status: u16,
    /// None where all is as expected.
    pub differences: Vec<Difference>,
    pub why: Why,
}

#[derive(Serialize)]
pub struct Difference {
    pub key: String,
    pub expected: String,
    pub got: String,
}

#[derive(Serialize)]
pub struct Why {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What a refused credential was refused for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_scopes: Option<String>,
    pub considered: Vec<Considered>,
}

/// Every case of every file.
#[derive(Default)]
pub struct Report(Vec<(PathBuf, Vec<Verdict>)>);

impl Report {
    pub fn add(&mut self, file: &Path, verdicts: Vec<Verdict>) {
        self.0.push((file.to_owned(), verdicts));
    }

    fn all(&self) -> impl Iterator<Item = (&Path, &Verdict)> {
        self.0.iter().flat_map(|(file, list)| list.iter().map(move |verdict| (file.as_path(), verdict)))
    }

    /// Passed and failed.
    fn counts(&self) -> (usize, usize) {
        let failed = self.all().filter(|(_, verdict)| !verdict.differences.is_empty()).count();
        (self.all().count() - failed, failed)
    }

    pub fn is_good(&self) -> bool {
        self.counts().1 == 0
    }

    pub fn print(&self) {
        for (file, verdict) in self.all().filter(|(_, verdict)| !verdict.differences.is_empty()) {
            println!("FAIL {}:{} {} ({})", file.display(), verdict.place.0, line(&verdict.name), line(&verdict.request));
            for detail in verdict.details() {
                println!("  {}", line(&detail));
            }
        }
        let (passed, failed) = self.counts();
        println!("{} {}, {passed} passed, {failed} failed", passed + failed, if passed + failed == 1 { "case" } else { "cases" });
    }

    pub fn json(&self) -> Value {
        let case = |(file, verdict): (&Path, &Verdict)| {
            json!({
                "file": file.display().to_string(),
                "line": verdict.place.0,
                "name": verdict.name,
                "request": verdict.request,
                "ok": verdict.differences.is_empty(),
                "decision": verdict.decision,
                "status": verdict.status,
                "differences": verdict.differences,
                "why": verdict.why,
            })
        };
        let (passed, failed) = self.counts();
        json!({"ok": failed == 0, "passed": passed, "failed": failed, "cases": self.all().map(case).collect::<Vec<_>>()})
    }

    pub fn junit(&self) -> Result<String, String> {
        let mut report = quick_junit::Report::new("scopegate test");
        for (file, verdicts) in &self.0 {
            let mut suite = TestSuite::new(file.display().to_string());
            for verdict in verdicts {
                let mut status = TestCaseStatus::success();
                if let Some(first) = verdict.differences.first() {
                    status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(first.line()).set_type("decision").set_description(verdict.details().join("\n"));
                }
                let mut case = TestCase::new(verdict.name.as_str(), status);
                case.set_classname(file.display().to_string());
                suite.add_test_case(case);
            }
            report.add_test_suite(suite);
        }
        report.to_string().map_err(|error| format!("the report cannot be written: {error}"))
    }
}

impl Difference {
    fn line(&self) -> String {
        let text = |text: &str| if text.is_empty() { "nothing".to_owned() } else { format!("`{text}`") };
        format!("{} is {}, expected {}", self.key, text(&self.got), text(&self.expected))
    }
}

impl Verdict {
    /// What differs, and why it came out so.
    fn details(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.differences.iter().map(Difference::line).collect();
        let why = &self.why;
        let mut told = Vec::new();
        match (&why.rule, &why.needs) {
            (Some(rule), Some(needs)) => told.push(format!("rule `{rule}` decides and needs: {needs}")),
            (Some(rule), None) => told.push(format!("rule `{rule}` decides")),
            (None, _) => told.push("no rule is asked".to_owned()),
        }
        if let Some(reason) = why.reason {
            told.push(format!("reason `{reason}`{}", why.cause.map(|cause| format!(" ({cause})")).unwrap_or_default()));
        }
        if let (Some(id), Some(scopes)) = (&why.id, &why.scopes) {
            told.push(format!("`{id}` holds {}", if scopes.is_empty() { "no scopes" } else { scopes }));
        }
        if let Some(missing) = &why.missing_scopes {
            told.push(format!("missing {missing}"));
        }
        lines.push(format!("why: {}", told.join("; ")));
        let others = why.considered.iter().filter(|other| Some(&other.rule) != why.rule.as_ref());
        lines.extend(others.map(|other| format!("considered: `{}` ({})", other.rule, other.why.as_deref().unwrap_or(other.verdict))));
        lines
    }
}
