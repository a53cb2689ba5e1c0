//! `scopegate test`: files of cases into the decisions of a policy, and every difference from what was expected.
//! Asks nobody outside, takes of no limit, and prints no header, body, query or token of a case.

mod case;
mod judge;
mod read;
mod report;
mod shape;

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Config, loaded};
use crate::config::{Faults, Input, Loaded};
use case::File;
use report::{Report, Verdict};

#[derive(Debug, Args)]
pub struct Test {
    /// Files of cases, YAML or JSON
    #[arg(value_name = "CASES", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: Config,
    /// Write the results as JUnit XML, for a build server
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub const EXAMPLES: &str = "Examples:
  scopegate test cases.yaml
  scopegate test policy/*.yaml --config scopegate.yaml --junit report.xml

A file of cases:
  config: scopegate.yaml            # beside the file; --config goes before it
  cases:
    - name: the reader may list
      request: GET /orders?page=1
      as: ci                        # a credential's id, as in `explain --as`
      expect: allow
    - name: nobody deletes without the scope
      request: {method: DELETE, path: /orders/7}
      caller: {id: bob, scopes: [orders:read], roles: [viewer], tenant: acme, mfa_age: 2m}
      expect: {status: 403, missing_scopes: orders:delete}
    - name: a stranger is asked for a token
      request: GET /orders
      expect: 401

What `expect` may say: allow, deny, preflight, a status, or some of decision, status, reason, rule, missing_scopes, id,
tenant, headers (what the service is told; \"\" for none) and shadow. Nothing else is compared. A rate limit counts for nothing here.";

impl Test {
    pub fn run(self) -> Result<bool, String> {
        let mut faults = String::new();
        let mut files = Vec::new();
        for path in &self.files {
            match read::read(path) {
                Ok(file) => files.push(file),
                Err(found) => faults.push_str(&format!("{found}\n")),
            }
        }
        if !faults.is_empty() {
            return Err(faults.trim_end().to_owned());
        }
        let mut report = Report::default();
        let mut configs: Vec<(PathBuf, Loaded)> = Vec::new();
        for file in &files {
            let path = self.config_of(file)?;
            if !configs.iter().any(|(known, _)| *known == path) {
                let loaded = loaded(&Input::File(path.clone()))?.map_err(|faults| faults.to_string())?;
                configs.push((path.clone(), loaded));
            }
            let Some((_, loaded)) = configs.iter().find(|(known, _)| *known == path) else { continue };
            report.add(&file.path, judged(file, loaded).map_err(|faults| faults.to_string())?);
        }
        if let Some(path) = &self.junit {
            let xml = report.junit()?;
            std::fs::write(path, xml).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
        if self.json {
            println!("{:#}", report.json());
        } else {
            report.print();
        }
        Ok(report.is_good())
    }

    /// What was said on the command line, else what the file says, else what there is.
    fn config_of(&self, file: &File) -> Result<PathBuf, String> {
        match (&self.config.config, &file.config) {
            (None, Some(named)) => Ok(file.path.parent().unwrap_or(Path::new("")).join(named)),
            (Some(_), _) | (None, None) => {
                let input = self.config.input()?;
                input.file().map(Path::to_owned).ok_or_else(|| format!("{input} stand in no file; name a configuration with --config"))
            }
        }
    }
}

/// Every case of a file; what a case says of the configuration and is not so is a fault.
fn judged(file: &File, loaded: &Loaded) -> Result<Vec<Verdict>, Faults> {
    let mut faults = Faults::of(&file.path);
    let verdicts = file.cases.iter().filter_map(|case| judge::judge(case, loaded, &mut faults)).collect();
    faults.into_result().map(|()| verdicts)
}
