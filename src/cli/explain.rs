//! `scopegate explain`: the decision on a request and why, without a server; or a decision that a running gate took.

use std::ops::ControlFlow;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::client::{Call, Service};
use super::input::contents;
use super::{Config, wrong};
use crate::config::Loaded;
use crate::gate::unix_now;
use crate::policy::explain::explain;
use crate::policy::judge::Question;
use crate::request::{Body, Link, RawRequest};
use crate::transport::headers::opens_websocket;

/// So many ids are told to who does not know one.
const KNOWN: usize = 5;

#[derive(Args)]
pub struct Explain {
    /// The request's method, such as GET
    #[arg(required_unless_present = "decision")]
    method: Option<String>,
    /// Path and query, as on the request line
    #[arg(required_unless_present = "decision")]
    path: Option<String>,
    /// Ask a running gate about a decision of its own, by the id in `x-scopegate-decision`
    #[arg(long, value_name = "ID", value_parser = decision, conflicts_with_all = ["method", "path", "header", "host", "credential_id", "body_file"])]
    decision: Option<String>,
    /// A header, `Name: value`; may be given more than once
    #[arg(long, value_name = "H")]
    header: Vec<String>,
    /// The request's host
    #[arg(long, default_value = "localhost")]
    host: String,
    /// Decide as the credential with this id
    #[arg(long = "as", value_name = "ID")]
    credential_id: Option<String>,
    /// A file with the request's body, for routes that inspect it
    #[arg(long, value_name = "FILE")]
    body_file: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub service: Service,
    #[command(flatten)]
    config: Config,
}

impl Explain {
    pub fn run(self) -> Result<bool, String> {
        if let Some(id) = &self.decision {
            return self.decided(id);
        }
        let explanation = self.described()?;
        if self.service.json {
            println!("{explanation:#}");
        } else {
            print(&explanation);
        }
        Ok(explanation.get("decision").is_none_or(|decision| decision != "deny"))
    }

    /// The decision on a request that nobody made, by the files here.
    fn described(&self) -> Result<Value, String> {
        let (Some(method), Some(path)) = (&self.method, &self.path) else { return Err("name a method and a path, or --decision".into()) };
        let loaded = self.config.load()?.map_err(|faults| faults.to_string())?;
        let mut headers = Vec::new();
        for header in &self.header {
            // Not said again: it may be a token.
            let Some((name, value)) = header.split_once(':') else { wrong("a header is `Name: value`") };
            headers.push((name.trim(), value.trim().as_bytes()));
        }
        let body = match &self.body_file {
            None => None,
            Some(path) => Some(contents(path).map_err(|why| format!("the body: {why}"))?),
        };
        let headers = headers.as_slice();
        let link = Link { websocket: opens_websocket(method.as_bytes(), &headers, true).unwrap_or(false), ..Link::default() };
        let raw = RawRequest { method: method.as_bytes(), target: path.as_bytes(), host: Some(self.host.as_bytes()), headers: &headers, link };
        let question =
            Question { body: body.as_ref().map_or(Body::Unread, |body| Body::Whole(body)), extra_scopes: "", now: unix_now(), settled: &[] };
        let explained = explain((&loaded.policy, &loaded.sources), &raw, question, self.credential_id.as_deref(), 0);
        let explanation = explained.ok_or_else(|| unknown(self.credential_id.as_deref().unwrap_or_default(), &loaded))?;
        serde_json::to_value(&explanation).map_err(|error| error.to_string())
    }

    /// A decision that the running gate took.
    fn decided(&self, id: &str) -> Result<bool, String> {
        let token = self.service.named_token()?;
        let call = Call { method: Method::POST, path: "/explain", body: Some(&json!({"decision_id": id})), once: None };
        let said = self.service.ask(token.as_ref().map(|token| token.as_str()), &call)??;
        if self.service.json {
            println!("{said:#}");
        } else {
            print_recorded(&said);
        }
        Ok(said.pointer("/then/outcome").is_none_or(|outcome| outcome != "deny"))
    }
}

impl std::fmt::Debug for Explain {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Explain(…)")
    }
}

fn decision(text: &str) -> Result<String, String> {
    let good = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| text.to_owned()).ok_or_else(|| "the id of a decision is sixteen hexadecimal digits, as in `x-scopegate-decision`".into())
}

fn unknown(id: &str, loaded: &Loaded) -> String {
    let mut known = Vec::new();
    let _ = loaded.sources.known(unix_now(), &mut |caller| {
        known.push(format!("`{}`", caller.id()));
        if known.len() < KNOWN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let known = if known.is_empty() { "none is known here".to_owned() } else { format!("known are {}", known.join(", ")) };
    format!("no credential has the id `{}`; {known}; signed tokens and keys of the store are shown with --header", id.escape_debug())
}

fn line(name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => println!("{name:<15}{text}"),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => println!("{name:<15}{value}"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What was decided, and then what would be now.
fn print_recorded(said: &Value) {
    let then = &said["then"];
    println!("{:<15}{} ({}) at {}", "then", text(&then["outcome"]), text(&then["reason"]), text(&then["time"]));
    if let (Some(method), Some(path)) = (then["method"].as_str(), then["path"].as_str()) {
        println!("{:<15}{method} {path}", "request");
    }
    for (name, key) in [
        ("door", "door"),
        ("cause", "cause"),
        ("host", "host"),
        ("rule", "route"),
        ("caller", "principal"),
        ("credential", "credential"),
        ("tenant", "tenant"),
        ("missing", "missing_scopes"),
        ("used", "used_scopes"),
        ("generation", "generation"),
    ] {
        line(name, &then[key]);
    }
    if let Some(now) = said.get("now") {
        println!();
        println!("now, on generation {}:", now["generation"]);
        print(now);
    }
    for note in said["notes"].as_array().into_iter().flatten() {
        line("note", note);
    }
}

fn print(explanation: &Value) {
    let reason = explanation["reason"].as_str().map(|reason| format!(" {} ({reason})", explanation["status"])).unwrap_or_default();
    println!("{:<15}{}{reason}", "decision", text(&explanation["decision"]).replace('_', " "));
    for (name, key) in [
        ("fault", "fault"),
        ("cause", "cause"),
        ("rule", "rule"),
        ("needs", "needs"),
        ("caller", "id"),
        ("credential", "credential"),
        ("holds", "scopes"),
        ("missing", "missing_scopes"),
    ] {
        line(name, &explanation[key]);
    }
    let holders = &explanation["holders"];
    if let Some(ids) = holders["ids"].as_array() {
        let count = holders["count"].as_u64().unwrap_or_default();
        let shown = ids.iter().map(text).collect::<Vec<_>>().join(", ");
        let more = count.saturating_sub(ids.len() as u64);
        match (count, more) {
            (0, _) => println!("{:<15}nobody who can be listed", "held by"),
            (_, 0) => println!("{:<15}{shown}", "held by"),
            (_, more) => println!("{:<15}{shown} and {more} more", "held by"),
        }
    }
    for considered in explanation["considered"].as_array().into_iter().flatten() {
        let (rule, needs) = (text(&considered["rule"]), text(&considered["needs"]));
        let why = considered["why"].as_str().unwrap_or_else(|| text(&considered["verdict"]));
        println!("{:<15}{rule} [{needs}]: {why}", "considered");
    }
}
