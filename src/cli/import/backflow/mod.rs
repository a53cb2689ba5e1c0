//! Backflow's JSON configuration into sources, roles and routes.
//! Opens no route that Backflow closes: what cannot be asked for closes the route, and says so.

mod limits;
mod roles;
mod routes;
mod said;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use self::routes::KEYS;
use self::said::said;
use super::draft::Draft;
use super::{Target, cors, kind_of, read_json, strangers, yaml};
use crate::config::quantity;
use crate::jose::Algorithm;

#[derive(Debug, Args)]
pub struct Backflow {
    /// Backflow's configuration; a list of routes alone is taken too
    file: PathBuf,
    /// A file of routes, where they are not in the configuration
    #[arg(long, value_name = "FILE")]
    routes: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Keys of the document that the notes or other parts speak of.
const KNOWN: [&str; 10] = ["jwt", "firebase", "rbac", "tenantRbac", "routes", "cors", "rateLimit", "mfa", "apiKeys", "userLimits"];

impl Backflow {
    pub fn run(self) -> Result<bool, String> {
        let mut document = read_json(&self.file)?;
        let mut draft = Draft::new("backflow", &self.file, &self.target);
        let mut list = routes::take(&mut document, &self.file)?;
        if let Some(file) = &self.routes {
            let mut more = read_json(file)?;
            list.extend(routes::take(&mut more, file)?);
            if more.as_object().is_some_and(|rest| !rest.is_empty()) {
                draft.note(format!("only the routes of {} were read", file.display()));
            }
        }
        if document.is_null() {
            document = assumed(&list);
            draft.note("the file is a list of routes: secrets and projects have the names of Backflow's own manual");
        }
        if !document.is_object() {
            return Err(format!("{} is {}; Backflow's configuration is an object, or a list of routes", self.file.display(), kind_of(&document)));
        }
        let sources = sources(&document, speaks_of_keys(&document, &list), &mut draft);
        let roles = roles::roles(&document, &mut draft);
        let routes = routes::routes(&list, &document, &sources.names, &mut draft);
        let cors = cors::cors(document.get("cors"), "cors", &mut draft);
        in_the_store(&document, sources.names.contains(&KEYS), routes.contains("mfa: {"), &mut draft);
        without_counterpart(&document, &mut draft);
        let mut body = String::new();
        let upstream = self.target.upstream.as_deref().unwrap_or("http://127.0.0.1:3000");
        body.push_str(&format!("upstream: {}\ncredentials:\n{}", yaml::text(upstream), sources.text));
        for part in [roles, forward(&list), cors].into_iter().flatten() {
            body.push_str(&part);
        }
        body.push_str(&format!("routes:\n{routes}"));
        draft.finish("Backflow's routes and what they need", &body)
    }
}

/// What a list of routes takes for granted.
fn assumed(routes: &[Value]) -> Value {
    let mut document = json!({"jwt": {"secret": "{{env.JWT_SECRET}}"}});
    if let (Some(object), true) = (document.as_object_mut(), routes.iter().any(|route| route.get("authProvider") == Some(&json!("firebase")))) {
        object.insert("firebase".into(), json!({"projectId": "{{env.FIREBASE_PROJECT_ID}}"}));
    }
    document
}

/// The sources as text, and their names.
struct Sources {
    names: Vec<&'static str>,
    text: String,
}

/// Whether callers show API keys.
fn speaks_of_keys(document: &Value, routes: &[Value]) -> bool {
    let off = |said: &Value| matches!(said, Value::Null | Value::Bool(false)) || said.get("enabled") == Some(&Value::Bool(false));
    document.get("apiKeys").is_some_and(|said| !off(said)) || routes.iter().any(routes::is_for_keys)
}

fn sources(document: &Value, with_keys: bool, draft: &mut Draft<'_>) -> Sources {
    let mut sources = Sources { names: Vec::new(), text: String::new() };
    if with_keys {
        // First, so that a bad key beside a good token is refused.
        sources.names.push(KEYS);
        sources.text.push_str(&format!("  {KEYS}: {{kind: api_key}}\n"));
    }
    for (name, lines) in [
        ("jwt", document.get("jwt").map(|jwt| jwt_source(jwt, draft))),
        ("firebase", document.get("firebase").map(|firebase| firebase_source(firebase, draft))),
    ] {
        let Some(lines) = lines else { continue };
        sources.names.push(name);
        sources.text.push_str(&format!("  {name}:\n    kind: {name}\n"));
        for line in lines {
            sources.text.push_str(&format!("    {line}\n"));
        }
        sources.text.push_str("    forward: true   # Backflow reads the token too; remove it where the service behind the gate does not\n");
    }
    if sources.names.iter().all(|name| *name == KEYS) {
        draft.fault("there is neither `jwt` nor `firebase`, so that no caller could be known; add the one that callers use");
    }
    sources
}

fn jwt_source(jwt: &Value, draft: &mut Draft<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let algorithm = match jwt.get("algorithm").map(Value::as_str) {
        None => Some(Algorithm::Hs256),
        Some(name) => name.and_then(Algorithm::parse).filter(|algorithm| algorithm.is_hmac()),
    };
    let Some(algorithm) = algorithm else {
        draft.fault("`jwt.algorithm` is none of HS256, HS384 and HS512, which are what a secret is for; write the source by hand");
        return lines;
    };
    match jwt.get("secret").and_then(Value::as_str).map(said) {
        Some(Ok(secret)) if secret.variable => lines.push(format!("secret: {}", yaml::text(&secret.text))),
        // RFC 7518 §3.2, and Backflow's own advice.
        Some(Ok(secret)) if secret.text.len() < algorithm.min_hmac() => {
            let least = algorithm.min_hmac();
            draft.fault(format!("`jwt.secret` has under {least} characters; make a longer one, as with `openssl rand -hex {least}`"));
        }
        Some(Ok(secret)) => lines.push(draft.keep("secret", "jwt.secret", &secret.text)),
        Some(Err(fault)) => draft.fault(format!("`jwt.secret` {fault}")),
        None => draft.fault("`jwt.secret` is missing or no text; it is such as `{{env.JWT_SECRET}}`"),
    }
    lines.push(format!("algorithms: [{}]", algorithm.as_str()));
    if let Some(issuer) = jwt.get("issuer").and_then(|issuer| one(issuer, "jwt.issuer", draft)) {
        lines.push(format!("issuer: {}", yaml::text(&issuer)));
    }
    if let Some(audience) = jwt.get("audience") {
        let list: Vec<&Value> = audience.as_array().map_or_else(|| vec![audience], |list| list.iter().collect());
        let texts: Vec<String> = list.into_iter().filter_map(|item| one(item, "jwt.audience", draft)).collect();
        lines.push(format!("audiences: {}", yaml::list(texts.iter().map(String::as_str))));
    }
    match jwt.get("expiresIn").map(|said| (said, lifetime(said))) {
        Some((_, Some(lifetime))) => {
            lines.push(format!("max_lifetime: {lifetime}"));
            draft
                .note("`jwt.expiresIn` is how long Backflow's tokens last; it became `max_lifetime`, so that tokens made to last longer are refused");
        }
        Some((said, None)) => draft.note(format!("`jwt.expiresIn` is {} that is no lifetime here; set `max_lifetime`, such as `24h`", kind_of(said))),
        None => {}
    }
    let strangers = strangers(jwt, "jwt.", &["secret", "algorithm", "issuer", "audience", "expiresIn"]);
    if !strangers.is_empty() {
        draft.note(format!("without counterpart: {}", strangers.join(", ")));
    }
    lines
}

fn firebase_source(firebase: &Value, draft: &mut Draft<'_>) -> Vec<String> {
    let not_needed: Vec<String> = strangers(firebase, "firebase.", &["projectId"]);
    if !not_needed.is_empty() {
        draft.note(format!("not needed to verify tokens, and left out: {}", not_needed.join(", ")));
    }
    match firebase.get("projectId").and_then(|project| one(project, "firebase.projectId", draft)) {
        Some(project) => vec![format!("project_id: {}", yaml::text(&project))],
        None => {
            draft.fault("`firebase.projectId` is missing or no text; it is such as `{{env.FIREBASE_PROJECT_ID}}`");
            Vec::new()
        }
    }
}

/// A text that is no secret, in Scopegate's spelling.
fn one(value: &Value, place: &str, draft: &mut Draft<'_>) -> Option<String> {
    match value.as_str().map(said) {
        Some(Ok(said)) if !said.text.is_empty() => return Some(said.text),
        Some(Ok(_)) => draft.fault(format!("`{place}` is empty")),
        Some(Err(fault)) => draft.fault(format!("`{place}` {fault}")),
        None => draft.fault(format!("`{place}` is {}; it is a text", kind_of(value))),
    }
    None
}

/// jsonwebtoken's: a number is seconds, a text has a unit.
fn lifetime(said: &Value) -> Option<String> {
    if let Some(seconds) = said.as_u64() {
        return Some(format!("{seconds}s"));
    }
    let text = said.as_str()?.trim();
    let (number, unit) = text.split_at_checked(text.find(|letter: char| !letter.is_ascii_digit())?)?;
    let (scale, unit) = match unit.trim().to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => (1, "s"),
        "m" | "min" | "mins" | "minute" | "minutes" => (1, "m"),
        "h" | "hr" | "hrs" | "hour" | "hours" => (1, "h"),
        "d" | "day" | "days" => (1, "d"),
        "w" | "week" | "weeks" => (7, "d"),
        _ => return None,
    };
    let text = format!("{}{unit}", number.parse::<u64>().ok()?.checked_mul(scale)?);
    quantity::duration(&text).filter(|duration| !duration.is_zero()).map(|_| text)
}

/// Headers in place of the templates that routes have.
fn forward(routes: &[Value]) -> Option<String> {
    let text = Value::from(routes).to_string();
    let headers = [("auth.sub", "x-user-id: \"{{auth.sub}}\""), ("auth.role", "x-user-role: \"{{auth.role}}\"")];
    let used: Vec<&str> = headers.iter().filter(|(template, _)| text.contains(template)).map(|(_, header)| *header).collect();
    (!used.is_empty()).then(|| format!("forward:   # for what routes say as `{{{{auth.…}}}}`\n  headers: {{{}}}\n", used.join(", ")))
}

/// Says what of Backflow's database has to be made anew, and where it is then kept.
fn in_the_store(document: &Value, with_keys: bool, with_mfa: bool, draft: &mut Draft<'_>) {
    if with_keys {
        draft.note(
            "`x-api-key`: keys in Backflow's database were not read; `scopegate keys import` takes keys that are UUIDs, for a source of `format: uuid`, \
             and others have to be made anew, with `scopegate keys create`",
        );
        draft.note("API keys open the routes of `authProvider` API key alone; add `keys` to the `credentials` of others that they are for");
    } else {
        draft.note(
            "`x-api-key`: nothing here speaks of API keys, and none is read; for them add `keys: {kind: api_key}` first under `credentials`, \
             and `credentials` to every route, which else takes them too",
        );
    }
    if with_mfa {
        draft.note(
            "`requireMfa` became `mfa: {max_age: 15m}`; enrolments in Backflow's database were not read, and such routes are closed to everybody \
             who has not been at `/mfa/setup` anew, which `management: {expose: true}` opens at the proxy door",
        );
    } else if document.get("mfa").is_some() || (document.get("supabase").is_some() && document.get("jwt").is_some()) {
        draft.note("Backflow has second factors here, and no route says `requireMfa`; a route asks for one by `mfa: {max_age: 15m}`");
    }
    if with_mfa && document.get("mfa").is_some() {
        draft.note("`mfa`: where it demands a second factor of all, each route that needs a caller asks for one; its other settings are left out");
    }
    if with_keys || with_mfa {
        draft.note(
            "keys, roles and second factors are kept in `scopegate.db` beside this file, under `store.keys` beside that; `store` and `store_keys` say \
             otherwise",
        );
    }
}

/// Says of every key what becomes of it.
fn without_counterpart(document: &Value, draft: &mut Draft<'_>) {
    if document.get("apiKeys").is_some() {
        draft.note("`apiKeys`: its settings are left out; a key's scopes, end and rate are said when it is made");
    }
    if document.get("userLimits").is_some() {
        draft.note("`userLimits` is left out; write such as `rate_limit: {rate: 100/m, per: principal}` on a route, or give a key its own rate");
    }
    let rest = strangers(document, "", &KNOWN);
    if !rest.is_empty() {
        draft.note(format!("not the gate's business, and left out: {}", rest.join(", ")));
    }
    draft.note("`GET /ui` and `GET /doc` are open in Backflow and closed here; `GET /doc: public` under `routes` opens the one");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_as_jsonwebtoken_reads_them() {
        for (said, expected) in
            [(json!("24h"), "24h"), (json!("7 days"), "7d"), (json!("2w"), "14d"), (json!(3600), "3600s"), (json!("15min"), "15m")]
        {
            assert_eq!(lifetime(&said).as_deref(), Some(expected), "{said}");
        }
        for said in [json!("120"), json!("soon"), json!("0s"), json!(""), json!(null), json!(1.5), json!("-1h")] {
            assert_eq!(lifetime(&said), None, "{said}");
        }
    }
}
