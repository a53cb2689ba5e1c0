//! Backstop's token file into the small configuration with Backstop's routes.
//! Copies no token; the file stays where it is and is checked as `serve` would.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::draft::Draft;
use super::{Target, read_json, yaml};
use crate::cli::{BACKSTOP, loaded};
use crate::config::Input;
use crate::scope::Scope;

#[derive(Debug, Args)]
pub struct Backstop {
    /// Backstop's token file
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

impl Backstop {
    pub fn run(self) -> Result<bool, String> {
        let mut draft = Draft::new("backstop", &self.file, &self.target);
        let upstream = self.target.upstream.as_deref().unwrap_or("http://127.0.0.1:3000");
        let routes = BACKSTOP.split_once("\nroutes:").map_or("", |(_, routes)| routes);
        let body = |file: &str| {
            let source = format!("{{kind: static, file: {}, from: [\"header:x-backstop-token\", bearer]}}", yaml::text(file));
            format!("upstream: {}\ncredentials:\n  tokens: {source}\nroutes:{routes}", yaml::text(upstream))
        };
        let name = self.file.file_name().map(PathBuf::from).ok_or_else(|| format!("{} is no file", self.file.display()))?;
        let absolute = std::path::absolute(&self.file).map_err(|error| format!("{} cannot be read: {error}", self.file.display()))?;
        let text = body(&absolute.display().to_string());
        let loaded = loaded(&Input::Text { name: "the configuration made of it", text })?.map_err(|faults| faults.to_string())?;
        loaded.warnings.into_iter().for_each(|warning| draft.note(warning));
        notes(&read_json(&self.file)?, &mut draft);
        let file = draft.path(&name);
        draft.finish("Backstop's operations and the scopes that they need", &body(&file))
    }
}

/// What holders of scopes should know.
fn notes(document: &Value, draft: &mut Draft<'_>) {
    let needed: Vec<&str> = BACKSTOP.split([' ', ',', '}', '\n']).filter(|word| word.contains(':') && !word.ends_with(':')).collect();
    for entry in document.get("tokens").unwrap_or(document).as_array().into_iter().flatten() {
        let id = entry.get("id").or_else(|| entry.get("name")).and_then(Value::as_str).unwrap_or_default().escape_debug().to_string();
        for text in entry.get("scopes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let counts = Scope::parse(text).is_ok_and(|scope| needed.iter().any(|needed| scope.satisfies(needed)));
            if !counts {
                draft.note(format!("`{id}` holds `{}`, which no route needs", text.escape_debug()));
            }
            if text == "admin:*" {
                draft.note(format!("`{id}` holds `admin:*`, which is every admin operation and nothing else; for all there is, it would hold `*`"));
            }
        }
    }
}
