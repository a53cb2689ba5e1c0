//! `scopegate explain`: the decision on a request and why, without a server.

use clap::Args;

use super::Config;
use crate::gate::unix_now;
use crate::policy::explain::{Explanation, explain};
use crate::policy::judge::Question;
use crate::request::{Body, Link, RawRequest};
use crate::transport::headers::opens_websocket;

#[derive(Args)]
pub struct Explain {
    /// The request's method, such as GET
    method: String,
    /// Path and query, as on the request line
    path: String,
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
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: Config,
}

impl Explain {
    pub fn run(self) -> Result<bool, String> {
        let loaded = self.config.load()?.map_err(|faults| faults.to_string())?;
        let mut headers = Vec::new();
        for header in &self.header {
            let (name, value) = header.split_once(':').ok_or("a header is `Name: value`")?;
            headers.push((name.trim(), value.trim().as_bytes()));
        }
        let body = match &self.body_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| format!("the body cannot be read: {error}"))?),
        };
        let headers = headers.as_slice();
        let link = Link { websocket: opens_websocket(self.method.as_bytes(), &headers, true).unwrap_or(false), ..Link::default() };
        let raw =
            RawRequest { method: self.method.as_bytes(), target: self.path.as_bytes(), host: Some(self.host.as_bytes()), headers: &headers, link };
        let question =
            Question { body: body.as_ref().map_or(Body::Unread, |body| Body::Whole(body)), extra_scopes: "", now: unix_now(), settled: &[] };
        let explained = explain((&loaded.policy, &loaded.sources), &raw, question, self.credential_id.as_deref(), 0);
        let explanation = explained.ok_or_else(|| format!("no credential has the id `{}`", self.credential_id.unwrap_or_default()))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&explanation).map_err(|error| error.to_string())?);
        } else {
            print(&explanation);
        }
        Ok(explanation.decision != "deny")
    }
}

impl std::fmt::Debug for Explain {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Explain(…)")
    }
}

fn print(explanation: &Explanation) {
    let line = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            println!("{name:<15}{value}");
        }
    };
    let reason = explanation.reason.map(|reason| format!(" {} ({reason})", explanation.status)).unwrap_or_default();
    println!("{:<15}{}{reason}", "decision", explanation.decision.replace('_', " "));
    line("cause", &explanation.cause.map(str::to_owned));
    line("rule", &explanation.rule);
    line("needs", &explanation.needs);
    line("caller", &explanation.id);
    line("credential", &explanation.credential);
    line("holds", &explanation.scopes);
    line("missing", &explanation.missing_scopes);
    for considered in &explanation.considered {
        println!("{:<15}{} ({})", "considered", considered.rule, considered.verdict);
    }
}
