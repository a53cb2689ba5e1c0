//! `scopegate suggest`: the smallest scope set that each principal used, out of audit lines.
//! Changes nothing; prints ids and scopes, never a line of the log.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, stdin};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::import::yaml::{comment, list};
use super::{Config, loaded};
use crate::gate::unix_now;
use crate::suggest::{Held, Rules, Suggestion, Suggestions, Tally, Who};

#[derive(Debug, Args)]
pub struct Suggest {
    /// Files of audit lines, the rotated ones too; `-` is standard input
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    decisions: Vec<PathBuf>,
    #[command(flatten)]
    config: Config,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Suggest {
    pub fn run(self) -> Result<bool, String> {
        let loaded = match self.config.given() {
            None => None,
            Some(input) => Some(loaded(&input)?.map_err(|faults| faults.to_string())?),
        };
        let rules = loaded.as_ref().map(|loaded| Rules::of(&loaded.policy)).unwrap_or_default();
        let mut tally = Tally::default();
        for path in &self.decisions {
            let name = path.display().to_string();
            let broken = |error: std::io::Error| format!("decisions cannot be read: {error} ({name})");
            let read = match path.as_os_str() == "-" {
                true => tally.read("standard input", stdin().lock(), &rules),
                false => File::open(path).and_then(|file| tally.read(&name, BufReader::new(file), &rules)),
            };
            read.map_err(broken)?;
        }
        if tally.is_empty() {
            return Err("no decisions in the log; it has audit lines, one JSON object each, as `telemetry.audit` writes them".into());
        }
        let suggestions = tally.suggest(loaded.as_ref(), unix_now());
        if self.json {
            let told = serde_json::to_value(&suggestions).map_err(|error| error.to_string())?;
            println!("{told:#}");
        } else {
            print(&suggestions, loaded.is_some());
        }
        Ok(true)
    }
}

/// YAML: entries as a token file has them, and what else there is to say as comments.
fn print(told: &Suggestions, has_rules: bool) {
    let say = |text: String| println!("{}", comment(&text));
    say(format!("{} decisions from {} to {}", told.decisions, told.since, told.until));
    if let Some(share) = told.sample {
        say(format!("allows are there at {} % only, so that what is rare may be missing", share * 100.0));
    }
    if let Some(unreadable) = &told.unreadable {
        say(format!("{} lines are no audit lines, the first is {}", unreadable.lines, unreadable.first));
    }
    if told.unproved > 0 {
        say(format!("{} were on requests of nobody that was proved", told.unproved));
    }
    if !has_rules {
        say("without --config, all scopes that were used count as needed, also those of which one is enough".into());
    }
    let mut credential = None;
    for principal in &told.principals {
        if credential != Some(&principal.who.credential) {
            credential = Some(&principal.who.credential);
            println!();
            say(format!("credential {}", principal.who.credential));
        }
        entry(principal);
    }
    if !told.unseen.is_empty() {
        println!();
        say("not in the log:".into());
        told.unseen.iter().for_each(|who| say(format!("  {}", name(who))));
    }
}

fn name(who: &Who) -> String {
    let tenant = who.tenant.as_ref().map(|tenant| format!(" of {tenant}")).unwrap_or_default();
    format!("{}/{}{tenant}", who.credential, who.id)
}

fn entry(told: &Suggestion) {
    let say = |text: String| println!("  {}", comment(&text));
    // JSON, which is YAML too: the object can go into a token file as it stands.
    println!("- {}", ascii(&json!({"id": told.who.id, "scopes": told.scopes}).to_string()));
    let tenant = told.who.tenant.as_ref().map(|tenant| format!(", of tenant {tenant}")).unwrap_or_default();
    say(format!("{} allowed{tenant}{}", told.allowed, if told.least { "" } else { "; there may be a smaller set" }));
    if let Some(lacked) = &told.lacked {
        say(format!("lacked for {} requests: {}", lacked.requests, scopes(&lacked.scopes)));
    }
    for (reason, count) in &told.otherwise {
        say(format!("{count} × {reason}, which no scope changes"));
    }
    let Some(Held { by_roles, unused, wider, .. }) = &told.held else { return };
    if !by_roles.is_empty() {
        say(format!("by its roles: {}", scopes(by_roles)));
    }
    if !unused.is_empty() {
        say(format!("holds and did not use: {}", scopes(unused)));
    }
    for (wide, part) in wider {
        say(format!("holds {wide} and used of it: {}", scopes(part)));
    }
}

fn scopes(texts: &BTreeSet<String>) -> String {
    list(texts.iter().map(String::as_str))
}

/// JSON in the characters that every terminal and every reader of YAML shows as they are.
fn ascii(json: &str) -> String {
    let mut units = [0; 2];
    json.chars().fold(String::new(), |mut out, character| {
        match character {
            ' '..='~' => out.push(character),
            _ => character.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_plain_and_comes_back_as_it_was() {
        for id in ["a", "caf\u{e9} \u{1f600}", "a\"\\b", "\u{1b}[2J\u{7f}\u{85}\u{2028}"] {
            let text = ascii(&json!({"id": id}).to_string());
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["id"], id);
            assert_eq!(crate::config::tree::parse(&format!("- {text}")).unwrap().items()[0].get("id").unwrap().text(), Some(id));
        }
    }
}
