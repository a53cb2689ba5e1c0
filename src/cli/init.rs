//! `scopegate init`: a first configuration and a first token.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use clap::Args;

use super::import::{openapi, yaml};
use super::token;

#[derive(Debug, Args)]
pub struct Init {
    /// The service to protect, `http://host:port`
    #[arg(long, value_name = "URL")]
    upstream: String,
    /// The service's OpenAPI document, for the routes and the scopes that they need
    #[arg(long, value_name = "FILE")]
    openapi: Option<std::path::PathBuf>,
    /// Goes before the document's paths, in the place of its servers'; `/` for nothing
    #[arg(long, value_name = "PATH", requires = "openapi")]
    base_path: Option<String>,
    /// The folder to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: std::path::PathBuf,
}

impl Init {
    pub fn run(self) -> Result<bool, String> {
        let (config, tokens) = (self.folder.join("scopegate.yaml"), self.folder.join("tokens.json"));
        for path in [&config, &tokens] {
            if path.exists() {
                return Err(format!("{} exists already and is left as it is; remove it first, or choose another --folder", path.display()));
            }
        }
        let First { text, scopes, path } = self.first()?;
        write_new(&config, &text)?;
        let made = token::add(&tokens, "first", &scopes, None);
        let token = made.inspect_err(|_| {
            // Nothing half-made is left behind.
            let _ = std::fs::remove_file(&config);
        })?;
        let checked = super::Config { config: Some(config.clone()) }.load()?;
        if let Err(faults) = checked {
            let _ = (std::fs::remove_file(&config), std::fs::remove_file(&tokens));
            return Err(faults.to_string());
        }
        let holds = scopes.join(", ");
        eprintln!("wrote {} and {}; the token `first` holds {holds} and is shown this once:", config.display(), tokens.display());
        println!("{token}");
        eprintln!(
            "\nnow run\n  scopegate serve --config {}\nand try\n  curl -i http://127.0.0.1:8080{path}\n  curl -i -H 'Authorization: Bearer {token}' http://127.0.0.1:8080{path}\n  curl -i -X POST -H 'Authorization: Bearer {token}' http://127.0.0.1:8080{path}",
            config.display()
        );
        Ok(true)
    }

    fn first(&self) -> Result<First, String> {
        let Some(file) = &self.openapi else {
            let text = TEMPLATE.replace("UPSTREAM", &serde_json::Value::from(self.upstream.as_str()).to_string());
            return Ok(First { text, scopes: vec!["app:read".to_owned()], path: "/".into() });
        };
        let made = openapi::made(&crate::openapi::read(file, self.base_path.as_deref())?)?;
        let mut text = format!("{}\n", yaml::comment(&format!("What Scopegate protects and who may do what, from {}.", file.display())));
        for note in &made.notes {
            eprintln!("note: {}", yaml::line(note));
            text.push_str(&format!("{}\n", yaml::comment(&format!("- {note}"))));
        }
        text.push_str(&openapi::configuration(&self.upstream, &made));
        Ok(First { text, path: made.example().unwrap_or_else(|| "/".into()), scopes: made.reading })
    }
}

/// What is written first.
struct First {
    text: String,
    /// Of the first token.
    scopes: Vec<String>,
    /// One to try.
    path: String,
}

const TEMPLATE: &str = "# What Scopegate protects and who may do what. `scopegate check` finds faults, `scopegate schema` helps an editor.
upstream: UPSTREAM
credentials:
  tokens: {kind: static, file: tokens.json}
routes:
  GET /health: public        # no credential is asked for
  GET /: app:read            # every other GET and HEAD
  /: app:write               # every other request
";

fn write_new(path: &Path, text: &str) -> Result<(), String> {
    let broken = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(broken)?;
    file.write_all(text.as_bytes()).map_err(broken)
}
