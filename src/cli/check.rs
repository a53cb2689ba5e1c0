//! `scopegate check`: every fault of a configuration.

use clap::Args;
use serde_json::json;

use super::Config;

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    config: Config,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Check {
    pub fn run(self) -> Result<bool, String> {
        let (faults, warnings, summary) = match self.config.load()? {
            Ok(loaded) => (Vec::new(), loaded.warnings, Some((loaded.policy.rules.len(), loaded.sources.tokens()))),
            Err(faults) => (faults.iter().cloned().collect(), Vec::new(), None),
        };
        if self.json {
            let fault = |fault: &crate::config::Fault| json!({"message": fault.message, "file": fault.file, "line": fault.place.map(|place| place.0), "column": fault.place.map(|place| place.1)});
            println!("{:#}", json!({"ok": faults.is_empty(), "faults": faults.iter().map(fault).collect::<Vec<_>>(), "warnings": warnings}));
            return Ok(faults.is_empty());
        }
        for warning in &warnings {
            eprintln!("warning: {warning}");
        }
        for fault in &faults {
            println!("{fault}");
        }
        if let Some((routes, tokens)) = summary {
            println!("no faults (routes: {routes}, tokens: {tokens})");
        }
        Ok(faults.is_empty())
    }
}
