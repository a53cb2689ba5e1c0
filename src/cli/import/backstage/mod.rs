//! Backstage's `app-config.yaml` into a source of service tokens and the routes of its plugins.
//! Refuses a configuration that lets everybody in, and invents no caller.

mod access;
mod keys;
mod said;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use self::said::{Said, said};
use super::draft::Draft;
use super::{Target, cors, kind_of, strangers, yaml};
use crate::cli::input;
use crate::config::tree::{self, Node};

#[derive(Debug, Args)]
pub struct Backstage {
    /// Backstage's configuration, as the backend reads it
    file: PathBuf,
    /// The plugin behind this gate, where it is one: `catalog`
    #[arg(long, value_name = "ID")]
    plugin: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Backstage {
    pub fn run(self) -> Result<bool, String> {
        if let Some(plugin) = self.plugin.as_ref().filter(|plugin| !is_plugin(plugin)) {
            return Err(format!("`{}` is no plugin id; it is lower case letters, digits, `-` and `_`, such as `catalog`", plugin.escape_debug()));
        }
        let text = input::text(&self.file)?;
        let broken = |message: &str, place: (u64, u64)| format!("{message} ({}:{}:{})", self.file.display(), place.0, place.1);
        // The parser's own message could quote a secret.
        let tree = tree::parse(&text).map_err(|(_, place)| broken("this is not YAML from here on", place))?;
        let document = value(&tree).map_err(|(key, place)| broken(&format!("key `{}` stands twice; keep one", key.escape_debug()), place))?;
        if !document.is_object() {
            return Err(format!("{} is {}; app-config.yaml is a mapping", self.file.display(), kind_of(&document)));
        }
        let mut draft = Draft::new("backstage", &self.file, &self.target);
        let body = self.body(&document, &mut draft);
        draft.finish("Backstage's callers, service to service", &body)
    }

    fn body(&self, document: &Value, draft: &mut Draft<'_>) -> String {
        let nothing = Value::Null;
        let backend = document.get("backend").unwrap_or(&nothing);
        let auth = backend.get("auth").unwrap_or(&nothing);
        refuse_open(auth, draft);
        let upstream = self.target.upstream.clone().unwrap_or_else(|| upstream(backend, draft));
        let keys = keys::keys(auth, draft);
        let (access, restricted_to) = access::access(auth, draft).unzip();
        let plugin = self.plugin.clone().or_else(|| only(&restricted_to.unwrap_or_default(), draft));
        let plugins = plugins(document, draft);
        if keys.is_none() && access.is_none() && (plugin.is_none() || plugins.is_empty()) {
            draft.fault("there is neither `backend.auth.keys` nor `backend.auth.externalAccess`, so that no caller could be known; add the one that callers use");
        }
        let mut source = String::from("  backstage:\n    kind: backstage\n    forward: true   # the backend checks the token too\n");
        for part in [&keys, &access].into_iter().flatten() {
            source.push_str(part);
        }
        match &plugin {
            Some(plugin) => source.push_str(&format!("    plugin: {}\n{plugins}    scopes: [\"{plugin}:*\"]   # of callers without restrictions\n", yaml::text(plugin))),
            None if plugins.is_empty() => {}
            None => draft.note("`discovery.endpoints`: tokens of other plugins are for one plugin each; give --plugin ID, for the plugin behind this gate, to take them"),
        }
        let cors = cors::cors(backend.get("cors"), "backend.cors", draft).unwrap_or_default();
        without_counterpart(document, draft);
        let path = plugin.as_deref().unwrap_or("{plugin}");
        format!(
            "upstream: {}\ncredentials:\n{source}{cors}routes:\n  GET /.backstage/health/v1/readiness: public\n  GET /.backstage/health/v1/liveness: public\n  \
             GET /api/{path}/.backstage/auth/v1/jwks.json: public   # public keys, for other plugins\n  /api/{path}/{{rest...}}: authenticated\n",
            yaml::text(&upstream)
        )
    }
}

/// The plugin behind the gate, where restrictions speak of one alone.
fn only(restricted_to: &[String], draft: &mut Draft<'_>) -> Option<String> {
    match restricted_to {
        [] => None,
        [one] => {
            draft.note(format!(
                "`{one}` is taken for the plugin behind this gate, because `accessRestrictions` speak of no other; --plugin ID says otherwise"
            ));
            Some(one.clone())
        }
        several => {
            let names = several.iter().map(|plugin| format!("--plugin {plugin}")).collect::<Vec<_>>().join(", ");
            draft.fault(format!("`accessRestrictions` are judged for the plugin behind a gate; say which one that is: {names}"));
            None
        }
    }
}

/// Backstage's own rule for names that become part of an address.
fn is_plugin(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

/// `Err` with a key that stands twice.
fn value(node: &Node) -> Result<Value, (String, (u64, u64))> {
    Ok(match &node.value {
        tree::Value::Null => Value::Null,
        tree::Value::Bool(value) => Value::from(*value),
        tree::Value::Whole(value) => Value::from(*value),
        tree::Value::Float(value) => Value::from(*value),
        tree::Value::Text(value) => Value::from(value.as_str()),
        tree::Value::List(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        tree::Value::Map(entries) => {
            let mut object = Map::new();
            for (key, node) in entries {
                if object.insert(key.text.clone(), value(node)?).is_some() {
                    return Err((key.text.clone(), key.place));
                }
            }
            Value::Object(object)
        }
    })
}

fn refuse_open(auth: &Value, draft: &mut Draft<'_>) {
    match auth.get("dangerouslyDisableDefaultAuthPolicy") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(Value::String(said)) if said == "false" => {}
        Some(_) => draft.fault(
            "`backend.auth.dangerouslyDisableDefaultAuthPolicy` lets every request in, and a gate that does so is none; set it to false or remove it, \
             and see which callers then need a key",
        ),
    }
}

/// Where the backend listens, as the gate on the same machine sees it.
fn upstream(backend: &Value, draft: &mut Draft<'_>) -> String {
    let listen = backend.get("listen");
    let (host, port) = match listen {
        Some(Value::String(text)) => match text.rsplit_once(':') {
            Some((host, port)) => (host.to_owned(), port.to_owned()),
            None => (text.clone(), String::new()),
        },
        Some(listen) => (listen.get("host").and_then(Value::as_str).unwrap_or_default().to_owned(), plain(listen.get("port"))),
        None => (String::new(), String::new()),
    };
    let resolved = |text: &str| match said(&Value::from(text)) {
        Ok(Said::Text { text, .. }) => Some(text),
        Ok(Said::File(_)) | Err(_) => None,
    };
    let everywhere = ["", "0.0.0.0", "::", "[::]", "*", "localhost"];
    let host = resolved(&host).filter(|host| !everywhere.contains(&host.as_str())).unwrap_or_else(|| "127.0.0.1".into());
    let port = resolved(&port).filter(|port| !port.is_empty()).unwrap_or_else(|| "7007".into());
    if backend.get("https").is_some_and(|https| *https != Value::Bool(false)) {
        draft.note("`backend.https`: behind the gate the backend is called over plain HTTP; let it listen so on localhost, or set `upstream`");
    }
    let base =
        backend.get("baseUrl").and_then(Value::as_str).map(|base| format!(" (`backend.baseUrl`: `{}`)", base.escape_debug())).unwrap_or_default();
    draft.note(format!(
        "`upstream` is where the backend listens; callers now come to the gate at `listen.proxy`{base}, and nobody else should reach the backend"
    ));
    format!("http://{host}:{port}")
}

fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) | None => String::new(),
    }
}

/// The addresses of other plugins, by `discovery.endpoints`.
fn plugins(document: &Value, draft: &mut Draft<'_>) -> String {
    let endpoints = document.get("discovery").and_then(|discovery| discovery.get("endpoints")).and_then(Value::as_array);
    let mut text = String::new();
    for (index, endpoint) in endpoints.into_iter().flatten().enumerate() {
        let target = endpoint.get("target").map(|target| target.get("internal").unwrap_or(target));
        let Some(Ok(Said::Text { text: target, .. })) = target.map(said) else {
            draft.fault(format!(
                "`discovery.endpoints[{index}].target` is no address with variables; it is such as `https://catalog.internal/api/{{{{pluginId}}}}`"
            ));
            continue;
        };
        for plugin in endpoint.get("plugins").and_then(Value::as_array).into_iter().flatten() {
            match plugin.as_str().filter(|plugin| is_plugin(plugin)) {
                Some(plugin) => {
                    let url = target.replace("{{pluginId}}", plugin).replace("{{ pluginId }}", plugin);
                    text.push_str(&format!("      {}: {}\n", yaml::text(plugin), yaml::text(&url)));
                }
                None => draft.fault(format!("`discovery.endpoints[{index}].plugins` has something that is no plugin id")),
            }
        }
    }
    if text.is_empty() { text } else { format!("    plugins:\n{text}") }
}

/// Says of every key what becomes of it.
fn without_counterpart(document: &Value, draft: &mut Draft<'_>) {
    let empty = Value::Null;
    let backend = document.get("backend").unwrap_or(&empty);
    let auth = backend.get("auth").unwrap_or(&empty);
    let own = strangers(auth, "backend.auth.", &["keys", "externalAccess", "dangerouslyDisableDefaultAuthPolicy"]);
    if !own.is_empty() {
        draft.note(format!("without counterpart: {}", own.join(", ")));
    }
    for (key, what) in [
        (
            "rateLimit",
            "a limit is one of a route; write such as `rate_limit: {rate: 100/m, per: ip}` on it, and `trusted_proxies` where one is in front",
        ),
        ("trustProxy", "whose X-Forwarded-* headers are believed is said by `trusted_proxies`"),
    ] {
        if backend.get(key).is_some() {
            draft.note(format!("`backend.{key}`: {what}"));
        }
    }
    let mut rest = strangers(backend, "backend.", &["auth", "baseUrl", "listen", "https", "cors", "rateLimit", "trustProxy"]);
    rest.extend(strangers(document, "", &["backend", "discovery"]));
    if !rest.is_empty() {
        draft.note(format!("not the gate's business, and left out: {}", rest.join(", ")));
    }
    draft.note("users: their tokens, the sign-in under `/api/auth/` and the frontend are not opened; this is for calls of services");
}
