//! `scopegate coverage`: what a policy leaves open, unused, unheld and unreached, against a document and a log.
//! Changes nothing; prints names, never a token.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Config;
use super::import::yaml::line;
use crate::coverage::{Against, Finding, Log, Report, read_log, report};
use crate::gate::unix_now;
use crate::openapi;

#[derive(Debug, Args)]
pub struct Coverage {
    #[command(flatten)]
    config: Config,
    /// The service's OpenAPI document, 3.0 or 3.1, JSON or YAML
    #[arg(long, value_name = "FILE")]
    openapi: Option<PathBuf>,
    /// Files of audit lines
    #[arg(long, value_name = "FILE", num_args = 1..)]
    decisions: Vec<PathBuf>,
    /// Goes before the document's paths, in the place of its servers'; `/` for nothing
    #[arg(long, value_name = "PATH", requires = "openapi")]
    base_path: Option<String>,
    /// Any finding is exit status 1, and not an unprotected operation alone
    #[arg(long)]
    strict: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub const EXAMPLES: &str = "Examples:
  scopegate coverage --openapi openapi.yaml
  scopegate coverage --openapi openapi.yaml --decisions audit.jsonl --strict --json

An operation is unprotected where no rule is its own, or where the document protects it and a rule makes it public.
Without --openapi and --decisions: the scopes and roles that nobody holds, and the credentials that reach nothing.";

/// How many of a kind a person is shown.
const SHOWN: usize = 30;

impl Coverage {
    pub fn run(self) -> Result<bool, String> {
        let document = match &self.openapi {
            Some(file) => Some(openapi::read(file, self.base_path.as_deref())?),
            None => None,
        };
        let log = self.log()?;
        let loaded = self.config.load()?.map_err(|faults| faults.to_string())?;
        let found = report(&loaded, Against { document: document.as_ref(), log: log.as_ref(), now: unix_now() });
        let good = if self.strict { found.findings.is_empty() } else { !found.is_unprotected() };
        if self.json {
            println!("{:#}", told(&found, good)?);
        } else {
            print(&found);
        }
        Ok(good)
    }

    fn log(&self) -> Result<Option<Log>, String> {
        let mut log = Log::default();
        for path in &self.decisions {
            let broken = |error: std::io::Error| format!("decisions cannot be read: {error} ({})", path.display());
            read_log(&mut log, BufReader::new(File::open(path).map_err(broken)?)).map_err(broken)?;
        }
        if !self.decisions.is_empty() && log.decisions == 0 {
            return Err("there are no decisions in the log; it has audit lines, one JSON object each, as `telemetry.audit` writes them".into());
        }
        Ok((!self.decisions.is_empty()).then_some(log))
    }
}

fn told(found: &Report, good: bool) -> Result<Value, String> {
    let mut value = json!({"ok": good, "unprotected": found.is_unprotected()});
    let report = serde_json::to_value(found).map_err(|error| error.to_string())?;
    if let (Some(value), Value::Object(report)) = (value.as_object_mut(), report) {
        value.extend(report);
    }
    Ok(value)
}

fn print(found: &Report) {
    let operations = found.operations.map(|count| format!("{count} operations, ")).unwrap_or_default();
    let decisions = found.decisions.map(|count| format!(", {count} decisions")).unwrap_or_default();
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (rules, findings, notes) = (many(found.rules, "rule"), many(found.findings.len(), "finding"), many(found.notes.len(), "note"));
    println!("{operations}{rules}{decisions}: {findings}, {notes}");
    for list in [&found.findings, &found.notes] {
        for group in list.chunk_by(|one, other| one.kind == other.kind) {
            let Some(first) = group.first() else { continue };
            println!("\n{}", first.kind.title(group.len()));
            group.iter().take(SHOWN).for_each(|finding| println!("  {}", line(&shown(finding))));
            if group.len() > SHOWN {
                println!("  and {} more; --json tells all", group.len() - SHOWN);
            }
        }
    }
}

fn shown(finding: &Finding) -> String {
    let count = finding.count.map(|count| format!("{count} × ")).unwrap_or_default();
    let detail = finding.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{count}{}{detail}", finding.subject)
}
