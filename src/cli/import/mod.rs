//! `scopegate import`: what an operator already has into a `scopegate.yaml`, on standard output or in a new file.
//! Loses nothing in silence: what has no counterpart is named at the top of the file and on standard error.

mod backflow;
mod backstage;
mod backstop;
mod cors;
mod draft;
mod express;
pub mod openapi;
pub mod yaml;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::input;

#[derive(Debug, Subcommand)]
pub enum Import {
    /// Backstop's token file: its routes, and the scopes that they need
    #[command(after_help = "Example:\n  scopegate import backstop tokens.json --output scopegate.yaml")]
    Backstop(backstop::Backstop),
    /// Backstage's app-config.yaml: shared keys, external access, the addresses of other plugins
    #[command(
        after_help = "Examples:\n  scopegate import backstage app-config.yaml --output scopegate.yaml\n  scopegate import backstage app-config.production.yaml --plugin catalog"
    )]
    Backstage(backstage::Backstage),
    /// Backflow's JSON configuration: JWT and Firebase, roles, routes
    #[command(
        after_help = "Examples:\n  scopegate import backflow config.json --output scopegate.yaml\n  scopegate import backflow config.json --routes routes.json"
    )]
    Backflow(backflow::Backflow),
    /// An OpenAPI document: its operations, and the scopes that its `security` names
    #[command(
        after_help = "Examples:\n  scopegate import openapi openapi.yaml --output scopegate.yaml\n  scopegate import openapi openapi.json --base-path /api/v2"
    )]
    Openapi(openapi::OpenApi),
}

/// What every import is told.
#[derive(Debug, Args)]
struct Target {
    /// The file to write, which must not be there yet; else standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The service behind the gate, `http://host:port`
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
}

impl Import {
    pub fn run(self) -> Result<bool, String> {
        match self {
            Self::Backstop(backstop) => backstop.run(),
            Self::Backstage(backstage) => backstage.run(),
            Self::Backflow(backflow) => backflow.run(),
            Self::Openapi(openapi) => openapi.run(),
        }
    }
}

fn read_json(file: &Path) -> Result<Value, String> {
    // The parser's own message could quote a secret.
    serde_json::from_str(&input::text(file)?).map_err(|error| format!("{} is not JSON at {}:{}", file.display(), error.line(), error.column()))
}

/// What was found, for a message: never a text, which may be a secret.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "`true` or `false`",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The keys of a mapping that are not among `known`, in backticks behind a prefix.
fn strangers(value: &Value, prefix: &str, known: &[&str]) -> Vec<String> {
    let keys = value.as_object().into_iter().flat_map(|object| object.keys());
    keys.filter(|key| !known.contains(&key.as_str())).map(|key| format!("`{prefix}{}`", key.escape_debug())).collect()
}
