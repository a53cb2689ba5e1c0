//! An OpenAPI document into its operations: method, path template, tags, and what each says of security.
//! Validates no document; reads what is there, and refuses what is no OpenAPI 3.0 or 3.1.

mod operations;
mod security;
mod server;
pub mod template;

use std::path::Path;

use serde_json::Value;

pub use security::{Requirement, Security};
pub use template::{Part, Template};

/// Largest document; GitHub's takes 13 MB.
const MAX_DOCUMENT: u64 = 128 * 1024 * 1024;

/// Of a document in YAML; GitHub's has half a million.
const MAX_NODES: usize = 5_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub operations: Vec<Operation>,
    /// Whether anything in it speaks of security.
    pub speaks_of_security: bool,
    /// What a reader should know of how it was read.
    pub notes: Vec<String>,
}

/// One method of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// In capitals.
    pub method: String,
    /// As the document says it, behind the path of its server.
    pub path: String,
    pub template: Template,
    /// `operationId`.
    pub id: Option<String>,
    pub tags: Vec<String>,
    pub security: Security,
    /// The hosts of its servers, where they are named.
    pub hosts: Vec<String>,
}

impl Operation {
    /// As messages name it.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Reads a file. `base` goes in the place of the path of every server.
pub fn read(file: &Path, base: Option<&str>) -> Result<Document, String> {
    let told = |what: String| format!("{what} ({})", file.display());
    let meta = std::fs::metadata(file).map_err(|error| told(format!("OpenAPI document cannot be read: {error}")))?;
    if meta.is_dir() {
        return Err(told("OpenAPI document is a folder; name a file".into()));
    }
    if meta.len() > MAX_DOCUMENT {
        return Err(told("OpenAPI document is larger than 128 MiB; name the right file".into()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| told(format!("OpenAPI document cannot be read: {error}")))?;
    parse(&text, base).map_err(told)
}

/// Reads the text of a document, JSON or YAML.
pub fn parse(text: &str, base: Option<&str>) -> Result<Document, String> {
    let root = value(text)?;
    if root.get("swagger").is_some() {
        return Err("this is Swagger 2.0; convert it to OpenAPI 3, as with `npx swagger2openapi swagger.json -o openapi.json`".into());
    }
    let version = match root.get("openapi") {
        Some(Value::String(version)) => version.clone(),
        // YAML takes an unquoted `3.1` for a number.
        Some(Value::Number(version)) => version.to_string(),
        Some(_) => return Err("`openapi` is no version; it is a text such as `3.1.0`".into()),
        None => return Err("this is no OpenAPI document: it has no key `openapi`; it begins with one such as `openapi: 3.1.0`".into()),
    };
    if !["3.0", "3.1"].iter().any(|known| version == *known || version.starts_with(&format!("{known}."))) {
        return Err(format!("OpenAPI `{}` is not read; 3.0 and 3.1 are", version.escape_debug()));
    }
    operations::document(&root, base)
}

fn value(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"));
    }
    let mut options = serde_saphyr::Options::default();
    // Documents are larger than most of what is written in YAML; how deep they may be, and what aliases may come to, stays bounded.
    let mut budget = serde_saphyr::Budget::default();
    (budget.max_nodes, budget.max_events, budget.max_depth) = (MAX_NODES, 4 * MAX_NODES, 128);
    options.budget = Some(budget);
    options.strict_booleans = true;
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or_else(String::new, |location| format!(" at line {} column {}", location.line(), location.column()));
        format!("this is neither JSON nor YAML{place}")
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err("this is no OpenAPI document: it is no mapping; it begins with a line such as `openapi: 3.1.0`".into())
    }
}
