//! `scopegate keys …`: managed keys, by the management API of a gate that runs.
//! Takes no token and no key from an argument, and prints a new key once.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::client::{Call, Service};
use super::input::contents;
use super::token::{grace, instant};

const PATH: &str = "/tenant/api-keys";

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List every key within your reach
    #[command(after_help = "Example:\n  scopegate keys list --token-file admin.token")]
    List(List),
    /// Make a key and print it, this once
    #[command(after_help = CREATE)]
    Create(Create),
    /// Show one key, without its secret
    #[command(after_help = "Example:\n  scopegate keys get Ab3dEf7h --token-file admin.token --json")]
    Get(One),
    /// Change a key; what is not said stays
    #[command(
        after_help = "Examples:\n  scopegate keys patch Ab3dEf7h --disable --token-file admin.token\n  scopegate keys patch Ab3dEf7h --scopes orders:read --expires 30d < admin.token"
    )]
    Patch(Patch),
    /// Give a key a new secret and print it; the old one goes on until the grace ends
    #[command(after_help = "Example:\n  scopegate keys rotate Ab3dEf7h --grace 1h --token-file admin.token")]
    Rotate(Rotate),
    /// Revoke a key: its secrets stop at once
    #[command(after_help = "Example:\n  scopegate keys revoke Ab3dEf7h --token-file admin.token")]
    Revoke(One),
    /// Take UUID keys that exist already, all of a file or none
    #[command(
        after_help = "Example:\n  scopegate keys import keys.json --token-file admin.token\n\nThe file is a list of {\"key\", \"name\", \"scopes\" or \"profile_id\"}, as for POST /tenant/api-keys/import."
    )]
    Import(Import),
}

/// The published form of a key, for secret scanners.
const CREATE: &str = concat!(
    "Examples:\n  scopegate keys create --name 'Production API' --scopes orders:read,orders:write --token-file admin.token\n",
    "  scopegate keys create --name ci --scopes deploy:write --expires 90d --rate 100/m < admin.token\n\n",
    "Secret scanners know a key by sg_[a-z0-9]{1,16}_[0-9A-Za-z]{44}; its last six digits are a checksum, which `scopegate scan` checks."
);

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    service: Service,
}

#[derive(Debug, Args)]
pub struct One {
    /// The key's id
    id: String,
    #[command(flatten)]
    service: Service,
}

#[derive(Debug, Args)]
pub struct Create {
    /// What people call it
    #[arg(long)]
    name: String,
    /// Scopes, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    scopes: Vec<String>,
    /// A duration such as `90d`, or an RFC 3339 instant
    #[arg(long, value_parser = instant)]
    expires: Option<String>,
    /// Another tenant than your own
    #[arg(long)]
    tenant: Option<String>,
    /// Roles, separated by commas
    #[arg(long, value_delimiter = ',')]
    roles: Vec<String>,
    /// How often it may be used, such as `100/m`
    #[arg(long)]
    rate: Option<String>,
    /// How many at once
    #[arg(long, requires = "rate")]
    burst: Option<u32>,
    #[command(flatten)]
    service: Service,
}

#[derive(Debug, Args)]
pub struct Patch {
    /// The key's id
    id: String,
    #[arg(long)]
    name: Option<String>,
    /// Scopes in the place of those that it has, separated by commas
    #[arg(long, value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    /// A duration such as `90d`, an RFC 3339 instant, or `never`
    #[arg(long, value_parser = instant_or_never)]
    expires: Option<String>,
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    service: Service,
}

#[derive(Debug, Args)]
pub struct Rotate {
    /// The key's id
    id: String,
    /// How long the old secret goes on, from `0s` to `7d`
    #[arg(long, default_value = "1d", value_parser = grace)]
    grace: Duration,
    #[command(flatten)]
    service: Service,
}

#[derive(Debug, Args)]
pub struct Import {
    /// JSON; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    service: Service,
}

impl Keys {
    /// Whether a program reads the answer.
    pub fn is_json(&self) -> bool {
        match self {
            Self::List(List { service })
            | Self::Create(Create { service, .. })
            | Self::Get(One { service, .. })
            | Self::Patch(Patch { service, .. })
            | Self::Rotate(Rotate { service, .. })
            | Self::Revoke(One { service, .. })
            | Self::Import(Import { service, .. }) => service.json,
        }
    }

    pub fn run(self) -> Result<bool, String> {
        match self {
            Self::List(list) => list.run(),
            Self::Create(create) => create.run(),
            Self::Get(one) => one.get(),
            Self::Patch(patch) => patch.run(),
            Self::Rotate(rotate) => rotate.run(),
            Self::Revoke(one) => one.revoke(),
            Self::Import(import) => import.run(),
        }
    }
}

impl List {
    fn run(self) -> Result<bool, String> {
        let token = self.service.token()?;
        let mut path = format!("{PATH}?limit=1000");
        let mut all = Vec::new();
        loop {
            let call = Call { method: Method::GET, path: &path, body: None, once: None };
            let page = self.service.ask(Some(&token), &call)??;
            all.extend(page.get("keys").and_then(Value::as_array).cloned().unwrap_or_default());
            let Some(next) = page.get("next_cursor").and_then(Value::as_str) else { break };
            path = format!("{PATH}?limit=1000&cursor={}", segment(next));
        }
        match self.service.json {
            true => println!("{:#}", json!({"keys": all})),
            false => all.iter().for_each(|key| println!("{}", line(key))),
        }
        Ok(true)
    }
}

impl Create {
    fn run(self) -> Result<bool, String> {
        let mut body = Map::from_iter([("name".to_owned(), json!(self.name)), ("scopes".to_owned(), json!(self.scopes))]);
        if let Some(expires) = &self.expires {
            body.insert("expires_at".into(), json!(expires));
        }
        if let Some(tenant) = &self.tenant {
            body.insert("tenant".into(), json!(tenant));
        }
        if !self.roles.is_empty() {
            body.insert("roles".into(), json!(self.roles));
        }
        if let Some(rate) = &self.rate {
            body.insert("rate_limit".into(), json!({"rate": rate, "burst": self.burst}));
        }
        made(&self.service, PATH, &Value::Object(body))
    }
}

impl Rotate {
    fn run(self) -> Result<bool, String> {
        made(&self.service, &format!("{PATH}/{}/rotate", segment(&self.id)), &json!({"grace_seconds": self.grace.as_secs()}))
    }
}

/// Asks for a new secret, and prints it to standard output alone.
fn made(service: &Service, path: &str, body: &Value) -> Result<bool, String> {
    let once = once()?;
    let said = service.ask(Some(&service.token()?), &Call { method: Method::POST, path, body: Some(body), once: Some(&once) })??;
    if service.json {
        println!("{said:#}");
        return Ok(true);
    }
    println!("{}", said.get("key").and_then(Value::as_str).unwrap_or_default());
    eprintln!("{}", line(&said));
    if let Some(until) = said.get("old_key_expires_at").and_then(Value::as_str) {
        eprintln!("the old secret goes on until {until}");
    }
    Ok(true)
}

impl One {
    fn get(self) -> Result<bool, String> {
        let path = format!("{PATH}/{}", segment(&self.id));
        let said = self.service.ask(Some(&self.service.token()?), &Call { method: Method::GET, path: &path, body: None, once: None })??;
        show(&self.service, &said);
        Ok(true)
    }

    fn revoke(self) -> Result<bool, String> {
        let path = format!("{PATH}/{}", segment(&self.id));
        self.service.ask(Some(&self.service.token()?), &Call { method: Method::DELETE, path: &path, body: None, once: None })??;
        eprintln!("{} is revoked", self.id);
        Ok(true)
    }
}

impl Patch {
    fn run(self) -> Result<bool, String> {
        let mut body = Map::new();
        let mut say = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        if let Some(name) = &self.name {
            say("name", json!(name));
        }
        if let Some(scopes) = &self.scopes {
            say("scopes", json!(scopes));
        }
        if self.enable || self.disable {
            say("enabled", json!(self.enable));
        }
        match self.expires.as_deref() {
            None => {}
            Some("never") => say("expires_at", Value::Null),
            Some(expires) => say("expires_at", json!(expires)),
        }
        let (path, body) = (format!("{PATH}/{}", segment(&self.id)), Value::Object(body));
        let said = self.service.ask(Some(&self.service.token()?), &Call { method: Method::PATCH, path: &path, body: Some(&body), once: None })??;
        show(&self.service, &said);
        Ok(true)
    }
}

fn instant_or_never(text: &str) -> Result<String, String> {
    if text == "never" { Ok(text.to_owned()) } else { instant(text) }
}

impl Import {
    fn run(self) -> Result<bool, String> {
        let bytes = contents(&self.file)?;
        // The parser's own message could quote a key.
        let said: Value =
            serde_json::from_slice(&bytes).map_err(|error| format!("{} is not JSON at {}:{}", self.file.display(), error.line(), error.column()))?;
        let body = if said.is_array() { json!({"keys": said}) } else { said };
        let (path, once) = (format!("{PATH}/import"), once()?);
        let call = Call { method: Method::POST, path: &path, body: Some(&body), once: Some(&once) };
        let said = self.service.ask(Some(&self.service.token()?), &call)??;
        match self.service.json {
            true => println!("{said:#}"),
            false => said.get("keys").and_then(Value::as_array).into_iter().flatten().for_each(|key| println!("{}", line(key))),
        }
        Ok(true)
    }
}

fn show(service: &Service, key: &Value) {
    match service.json {
        true => println!("{key:#}"),
        false => println!("{}", line(key)),
    }
}

/// One key in one line.
fn line(key: &Value) -> String {
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let scopes: Vec<_> = key.get("scopes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let state = match key.get("enabled").and_then(Value::as_bool) {
        Some(false) => "disabled",
        Some(true) | None => "enabled",
    };
    let used = key.get("request_count").and_then(Value::as_i64).unwrap_or_default();
    let columns = [text("id"), text("name"), state.into(), scopes.join(","), text("tenant"), text("expires_at"), used.to_string()];
    columns.join("\t")
}

/// A name for every try of one create.
fn once() -> Result<String, String> {
    let random = getrandom::u64().map_err(|error| format!("the system gives no randomness: {error}"))?;
    Ok(format!("scopegate-{random:016x}"))
}

/// One segment of a path.
fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}
