//! `scopegate coverage`, and what is made of an OpenAPI document: small documents, one for each rule.

mod documents;
mod findings;

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::process::{run, scopegate};
use crate::harness::write_secret;

pub const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["orders:*"]}]"#;

pub struct Desk(TempDir);

impl Desk {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| write_secret(&desk.path(name), text));
        desk
    }

    /// With these routes, and this under `paths`.
    pub fn with(routes: &str, paths: &str) -> Self {
        let config = format!("credentials: {{tokens: {{kind: static, file: tokens.json}}}}\nroutes:\n{routes}");
        let document = format!("openapi: 3.0.3\npaths:\n{paths}");
        Self::new(&[("scopegate.yaml", &config), ("tokens.json", TOKENS), ("api.yaml", &document)])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(scopegate().args(args).current_dir(self.0.path()))
    }

    /// Status and what was found, `kind subject` each, in order.
    pub fn found(&self, args: &[&str]) -> (i32, Vec<String>) {
        let (status, told) = self.told(args);
        let list = |key: &str| told[key].as_array().unwrap().clone();
        let line = |finding: &Value| format!("{} {}", finding["kind"].as_str().unwrap(), finding["subject"].as_str().unwrap());
        (status, list("findings").iter().chain(&list("notes")).map(line).collect())
    }

    pub fn told(&self, args: &[&str]) -> (i32, Value) {
        let args: Vec<&str> = ["coverage", "--json"].iter().chain(args).copied().collect();
        let (status, out, err) = self.run(&args);
        assert!(err.is_empty(), "{err}");
        (status, serde_json::from_str(&out).unwrap())
    }
}
