//! `scopegate token`: makes, rotates and hashes the tokens of a token file; looks into, checks and mints signed ones.
//! A file is replaced whole or not at all; a token is printed once and only its digest is kept.

mod inspect;
mod mint;
mod verify;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::input::{self, contents, standard_input};
use crate::config::quantity;
use crate::credential::digest::sha256;
use crate::gate::unix_now;
use crate::principal::backstage::{GOOD_SECRET, decode_secret};
use crate::scope::Scope;

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token, print it once, store its digest
    #[command(after_help = "Example:\n  scopegate token new --id ci --scopes deploy:write,deploy:read --expires 90d")]
    New(New),
    /// Make a new secret for an entry; the old one goes on until the grace ends
    #[command(after_help = "Example:\n  scopegate token rotate --id ci --file tokens.json --grace 7d")]
    Rotate(Rotate),
    /// Print the SHA-256 digest of the token on standard input, for `token_sha256`
    #[command(after_help = "Example:\n  openssl rand -hex 32 | tee token | scopegate token hash")]
    Hash,
    /// Show header and claims of the JWT on standard input, unverified
    #[command(after_help = "Example:\n  scopegate token inspect < token")]
    Inspect,
    /// Check the signature and the claims of the JWT on standard input; exit status 1 and the reason where they do not hold
    #[command(
        after_help = "Examples:\n  scopegate token verify --jwks keys.json --alg RS256 --issuer https://issuer.example.com < token\n  scopegate token verify --pem key.pem --alg ES256 --no-claims < token"
    )]
    Verify(verify::Verify),
    /// Mint a JWT under a shared secret: a Backstage service token, or claims of your own
    #[command(
        after_help = "Examples:\n  scopegate token mint --secret-base64-file backend.secret\n  scopegate token mint --secret-file jwt.secret --claim sub=user-123 --claim role=admin --claim level:=3 --ttl 24h\n\nThe latter is what Backflow's `npm run generate-jwt` makes."
    )]
    Mint(mint::Mint),
}

#[derive(Debug, Args)]
pub struct New {
    /// Who the token belongs to
    #[arg(long, value_parser = id)]
    id: String,
    /// Scopes, separated by commas
    #[arg(long, value_delimiter = ',', required = true, value_parser = scope)]
    scopes: Vec<String>,
    /// The token file; made where there is none
    #[arg(long, default_value = "tokens.json")]
    file: PathBuf,
    /// A duration such as `90d`, or an RFC 3339 instant
    #[arg(long, value_parser = instant)]
    expires: Option<String>,
}

#[derive(Debug, Args)]
pub struct Rotate {
    #[arg(long)]
    id: String,
    #[arg(long, default_value = "tokens.json")]
    file: PathBuf,
    /// How long the old secret goes on, such as `7d`
    #[arg(long, default_value = "7d", value_parser = grace)]
    grace: Duration,
}

impl Token {
    /// Whether a program reads the answer.
    pub fn is_json(&self) -> bool {
        match self {
            Self::Verify(verify) => verify.json,
            Self::New(_) | Self::Rotate(_) | Self::Hash | Self::Inspect | Self::Mint(_) => false,
        }
    }

    pub fn run(self) -> Result<bool, String> {
        match self {
            Self::New(new) => println!("{}", add(&new.file, &new.id, &new.scopes, new.expires.as_deref())?),
            Self::Rotate(rotate) => println!("{}", rotate.run()?),
            Self::Inspect => println!("{:#}", inspect::inspect(&standard_input()?, unix_now())?),
            Self::Verify(verify) => return verify.run(),
            Self::Mint(mint) => println!("{}", *mint.run()?),
            Self::Hash => {
                let text = standard_input()?;
                let token = without_line_end(&text);
                if let Some(fault) = crate::config::tokens::token_fault(token) {
                    return Err(format!("standard input {fault}"));
                }
                println!("{}", digest(token));
            }
        }
        Ok(true)
    }
}

/// Adds an entry and gives its token; `expires` is an instant.
pub fn add(file: &Path, id: &str, scopes: &[String], expires: Option<&str>) -> Result<String, String> {
    let mut document = if file.exists() { read(file)? } else { json!([]) };
    let entries = entries(&mut document, file)?;
    if entries.iter().any(|entry| entry_id(entry) == Some(id)) {
        return Err(format!("{} has an entry `{id}` already; `scopegate token rotate` gives it a new secret", file.display()));
    }
    let token = make()?;
    let mut entry = json!({"id": id, "token_sha256": digest(&token), "scopes": scopes});
    if let (Some(expires), Some(object)) = (expires, entry.as_object_mut()) {
        object.insert("expires_at".into(), json!(expires));
    }
    entries.push(entry);
    write(file, &document)?;
    Ok(token)
}

impl Rotate {
    fn run(&self) -> Result<String, String> {
        let mut document = read(&self.file)?;
        let entry = entries(&mut document, &self.file)?.iter_mut().find(|entry| entry_id(entry) == Some(&self.id));
        let entry = entry.and_then(Value::as_object_mut);
        let entry = entry.ok_or_else(|| format!("{} has no entry `{}`; `scopegate token new` makes one", self.file.display(), self.id))?;
        let old = match (entry.remove("token"), entry.remove("token_sha256")) {
            (Some(Value::String(token)), None) => digest(&token),
            (None, Some(Value::String(digest))) => digest,
            _ => return Err(format!("entry `{}` has no one secret to rotate; `scopegate check` tells more", self.id)),
        };
        let now = Timestamp::now();
        let until = now.checked_add(self.grace).map_err(|_| "the grace is too long")?;
        let ended = |previous: &Value| {
            previous.get("expires_at").and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok()).is_some_and(|end| end <= now)
        };
        let mut previous = entry.remove("previous").and_then(|list| list.as_array().cloned()).unwrap_or_default();
        previous.retain(|old| !ended(old));
        previous.push(json!({"token_sha256": old, "expires_at": seconds(until)}));
        let token = make()?;
        entry.insert("token_sha256".into(), json!(digest(&token)));
        entry.insert("previous".into(), json!(previous));
        write(&self.file, &document)?;
        Ok(token)
    }
}

/// A text without the line end that an editor leaves.
pub fn without_line_end(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

/// A secret as it stands in a file, less one line end.
fn secret(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut bytes = contents(file)?;
    let end = if bytes.ends_with(b"\r\n") { 2 } else { usize::from(bytes.ends_with(b"\n")) };
    let length = bytes.len().saturating_sub(end);
    bytes.truncate(length);
    Ok(bytes)
}

/// A secret that a file has in base64, as Node reads it.
fn secret_base64(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = secret(file)?;
    let text = str::from_utf8(&text).map_err(|_| format!("{} is not base64; `openssl rand -base64 32` makes such a secret", file.display()))?;
    // The character itself is part of a secret.
    let (bytes, dangling) =
        decode_secret(text).map_err(|_| format!("{} is not base64; `openssl rand -base64 32` makes such a secret", file.display()))?;
    if bytes.is_empty() {
        return Err(format!("{} is empty; `openssl rand -base64 32` makes a secret", file.display()));
    }
    if dangling {
        eprintln!("warning: the last character of {} counts for nothing, as in Node", file.display());
    }
    if bytes.len() < GOOD_SECRET {
        eprintln!("warning: {} holds a secret of {} bytes, which can be guessed; make one of 32 or more", file.display(), bytes.len());
    }
    Ok(bytes)
}

fn seconds(instant: Timestamp) -> String {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant).to_string()
}

fn id(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    good.then(|| text.to_owned()).ok_or_else(|| "an id is 1 to 256 bytes without control characters".into())
}

fn scope(text: &str) -> Result<String, String> {
    Scope::parse(text).map(|_| text.to_owned()).map_err(|fault| format!("a scope {fault}"))
}

/// How long an old secret goes on.
pub fn grace(text: &str) -> Result<Duration, String> {
    quantity::duration(text).ok_or_else(|| "a grace is a duration such as `7d`".into())
}

/// RFC 3339, from that or from a duration.
pub fn instant(text: &str) -> Result<String, String> {
    if let Some(duration) = quantity::duration(text) {
        return Timestamp::now().checked_add(duration).map(seconds).map_err(|_| "the expiry is too far away".into());
    }
    match text.parse::<Timestamp>() {
        Ok(instant) => Ok(seconds(instant)),
        Err(_) => Err("an expiry is a duration such as `90d`, or an instant such as `2027-01-31T00:00:00Z`".into()),
    }
}

/// 256 random bits, with a prefix by which a scanner can know them.
pub fn make() -> Result<String, String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| format!("the system gives no randomness: {error}"))?;
    Ok(random.iter().fold(String::from("sgt_"), |text, byte| format!("{text}{byte:02x}")))
}

fn digest(token: &str) -> String {
    sha256(token).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn entry_id(entry: &Value) -> Option<&str> {
    entry.get("id").or_else(|| entry.get("name")).and_then(Value::as_str)
}

fn entries<'a>(document: &'a mut Value, file: &Path) -> Result<&'a mut Vec<Value>, String> {
    let list = if document.is_array() { Some(document) } else { document.get_mut("tokens") };
    list.and_then(Value::as_array_mut).ok_or_else(|| format!("{} is no token file; it is a JSON array of entries", file.display()))
}

fn read(file: &Path) -> Result<Value, String> {
    let text = input::text(file)?;
    // The parser's own message could quote a token.
    serde_json::from_str(&text).map_err(|error| format!("{} is not JSON at {}:{}", file.display(), error.line(), error.column()))
}

/// Beside the file and then in its place, readable by the owner alone.
fn write(file: &Path, document: &Value) -> Result<(), String> {
    let broken = |error: std::io::Error| format!("{} cannot be written: {error}", file.display());
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    // A link is followed, so that what it points to is replaced and not the link.
    let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let beside = target.with_file_name(name);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(broken)?;
    let text = serde_json::to_string_pretty(document).map_err(|error| error.to_string())?;
    let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.sync_all());
    written.and_then(|()| fs::rename(&beside, &target)).map_err(|error| {
        let _ = fs::remove_file(&beside);
        broken(error)
    })
}
