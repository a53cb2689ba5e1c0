//! The `credentials` of a tree, the environment's token files and development mode into sources.
//! Without a single source there is nothing to start.

mod backstage;
mod jwt;
mod others;
mod place;
mod secret;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::compile;
use super::fault::Faults;
use super::load::Env;
use super::quantity;
use super::tokens::{self, Context, MAX_FILE};
use super::tree::Node;
use crate::credential::Place;
use crate::credential::digest::TagKey;
use crate::credential::key_format::Format;
use crate::introspection::{self, Introspector};
use crate::jose::KeySet;
use crate::keys::{Registry, Where};
use crate::live::memory::Remembered;
use crate::live::outside::Outside;
use crate::policy::Mode;
use crate::principal::certificate::Name;
use crate::principal::grant::Grant;
use crate::principal::jwt::{Jwt, Rules};
use crate::principal::managed::Managed;
use crate::principal::roles::Roles;
use crate::principal::{At, Keys, Means, Signed, Source, SourceId, Sources};
use crate::scope::{Scope, Universe};
pub(super) use secret::read as secret_bytes;

/// A source before its files are read.
pub struct Plan {
    pub name: String,
    places: Vec<Place>,
    forward: bool,
    mode: Mode,
    means: Vec<Way>,
}

impl Plan {
    /// Whether its callers come with claims of their own, or may have a profile.
    pub fn has_claims(&self) -> bool {
        self.means.iter().any(|way| matches!(way, Way::Signed { .. } | Way::Introspection { .. } | Way::Managed { .. }))
    }
}

/// The sources whose callers are only watched.
pub fn watched(plans: &[Plan]) -> Box<[SourceId]> {
    plans.iter().enumerate().filter(|(_, plan)| plan.mode == Mode::Shadow).map(|(index, _)| SourceId(index)).collect()
}

/// One way to prove a credential, before scopes and roles have their numbers.
enum Way {
    File { path: PathBuf, max_size: usize },
    Development,
    Token(Listed),
    Signed { rules: Rules, keys: Keying, grant: Grant },
    Certificates(Vec<(Name, Listed)>),
    Introspection { issuer: introspection::Settings, rules: crate::principal::Introspected },
    Managed { format: Format, environment: String },
    Noop(Listed),
}

impl Way {
    fn max_size(&self) -> usize {
        match self {
            Self::File { max_size, .. } => *max_size,
            Self::Development
            | Self::Token(_)
            | Self::Signed { .. }
            | Self::Certificates(_)
            | Self::Introspection { .. }
            | Self::Managed { .. }
            | Self::Noop(_) => 0,
        }
    }
}

/// Somebody whom the configuration itself names.
struct Listed {
    id: String,
    /// Empty where there is none to show.
    token: Zeroizing<String>,
    scopes: Vec<Scope>,
    roles: Vec<String>,
    tenant: Option<String>,
    restricted: bool,
}

/// Where a source's keys are.
enum Keying {
    Fixed(Arc<KeySet>),
    Remote(Where),
}

/// What kinds there are, with the keys that each takes beside `kind`, `from`, `forward` and `mode`.
const KINDS: [(&str, &[&str]); 8] = [
    ("static", &["file", "max_size"]),
    (
        "jwt",
        &[
            "secret",
            "secret_file",
            "secret_base64",
            "public_key_file",
            "jwks_file",
            "jwks_url",
            "issuer_url",
            "algorithms",
            "issuer",
            "audiences",
            "leeway",
            "max_lifetime",
            "typ",
            "claims",
            "profile",
            "scopes",
        ],
    ),
    ("firebase", &["project_id", "keys_url", "leeway", "claims", "profile", "scopes"]),
    ("backstage", &["keys", "max_lifetime", "scopes", "plugin", "plugins", "external_access", "noop"]),
    ("webhook", &["token", "token_file", "scopes"]),
    ("mtls", &["identities"]),
    ("api_key", &["format", "header", "environment"]),
    ("introspection", &["url", "client_id", "client_secret", "client_secret_file", "cache", "timeout", "issuer", "audiences", "claims", "scopes"]),
];

/// What a credential is planned with.
struct Desk<'a> {
    name: &'a str,
    node: &'a Node,
    base: &'a Path,
    env: Env<'a>,
    /// A secret that others may read is a fault, and not a warning alone.
    strict: bool,
    files: &'a mut Vec<PathBuf>,
    warnings: &'a mut Vec<String>,
    faults: &'a mut Faults,
}

impl Desk<'_> {
    fn fault(&mut self, node: Option<&Node>, message: &str) {
        self.faults.at(node.unwrap_or(self.node), format!("credential `{}` {message}", self.name));
    }

    fn warn(&mut self, message: &str) {
        self.warnings.push(format!("credential `{}` {message}", self.name));
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.node.get(key).map(Node::items).unwrap_or_default().iter().filter_map(Node::text).map(str::to_owned).collect()
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.node.get(key).and_then(Node::text)
    }

    fn seconds(&self, key: &str) -> Option<i64> {
        let duration = self.text(key).and_then(quantity::duration)?;
        i64::try_from(duration.as_secs()).ok()
    }

    fn path(&mut self, file: &str) -> PathBuf {
        let path = self.base.join(file);
        self.files.push(path.clone());
        path
    }

    fn scopes(&mut self, node: &Node) -> Vec<Scope> {
        let mut scopes = Vec::new();
        for item in node.get("scopes").map(Node::items).unwrap_or_default() {
            match Scope::parse(item.text().unwrap_or_default()) {
                Ok(scope) => scopes.push(scope),
                Err(fault) => self.fault(Some(item), &format!("has scope {}, which {fault}", item.quoted())),
            }
        }
        scopes
    }
}

/// The sources that the file and the environment ask for, in the order of trial, and the files that they name.
pub fn plan(tree: &Node, base: &Path, env: Env<'_>, (warnings, faults): (&mut Vec<String>, &mut Faults)) -> (Vec<Plan>, Vec<PathBuf>) {
    let said = tree.get("credentials").map(Node::entries).unwrap_or_default();
    let (mut plans, mut files) = (Vec::new(), Vec::new());
    let strict = tree.get("strict_file_modes").is_some_and(Node::is_true);
    for (key, node) in said {
        if key.text.is_empty() || !key.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            faults.at_place(key.place, format!("credential `{}` has an odd name; use letters, digits, `-`, `_` and `.`", key.text.escape_debug()));
        }
        let desk = Desk { name: &key.text, node, base, env, strict, files: &mut files, warnings: &mut *warnings, faults: &mut *faults };
        plans.extend(source(desk));
    }
    // Backstop's clients may send `X-Backstop-Token`, which wins over `Authorization` there.
    let backstop = vec![Place::Header("x-backstop-token".into()), Place::Bearer];
    for (variable, name) in [("BACKSTOP_TOKENS", "backstop"), ("BACKSTOP_AUTH_TOKENS_FILE", "backstop-auth")] {
        match env(variable) {
            Some(path) if path.is_empty() => faults.whole(format!("`{variable}` is empty; it is the path of a token file")),
            Some(path) => {
                files.push(path.clone().into());
                let means = vec![Way::File { path: path.into(), max_size: MAX_FILE }];
                plans.push(Plan { name: name.into(), places: backstop.clone(), forward: false, mode: Mode::Enforce, means });
            }
            None => {}
        }
    }
    if is_development(env) {
        let (name, places, means) = ("development".into(), vec![Place::Bearer], vec![Way::Development]);
        plans.push(Plan { name, places, forward: false, mode: Mode::Enforce, means });
    }
    for (index, plan) in plans.iter().enumerate() {
        if plans.iter().take(index).any(|other| other.name == plan.name) {
            faults.whole(format!("credential `{}` is named by the file and by the environment; rename the one of the file", plan.name));
        }
    }
    if plans.is_empty() && faults.is_empty() {
        faults
            .whole("no credential source; add one under `credentials`, such as `tokens: {kind: static, file: tokens.json}`, or set BACKSTOP_TOKENS");
    }
    (plans, files)
}

/// Exactly `true`: `1`, `TRUE` and `true ` are not.
pub fn is_development(env: Env<'_>) -> bool {
    ["SCOPEGATE_DEV_MODE", "BACKSTOP_DEV_MODE"].iter().any(|name| env(name).as_deref() == Some("true"))
}

fn source(mut desk: Desk<'_>) -> Option<Plan> {
    let Some(kind) = desk.text("kind") else {
        if desk.node.get("kind").is_none() {
            let kinds = KINDS.map(|(kind, _)| format!("`{kind}`")).join(", ");
            desk.fault(None, &format!("has no `kind`; it is one of {kinds}"));
        }
        return None;
    };
    let (kind, takes) = KINDS.into_iter().find(|(known, _)| *known == kind)?;
    for (key, _) in desk.node.entries().iter().filter(|(key, _)| !["kind", "from", "forward", "mode"].contains(&key.text.as_str())) {
        if !takes.contains(&key.text.as_str()) {
            let known = takes.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let name = desk.name;
            desk.faults
                .at_place(key.place, format!("credential `{name}` is of kind `{kind}`, which has no `{}`; it has {known}", key.text.escape_debug()));
        }
    }
    let places = place::places(&mut desk, kind);
    let means = match kind {
        "static" => others::file(&mut desk).into_iter().collect(),
        "jwt" => jwt::jwt(&mut desk).into_iter().collect(),
        "firebase" => jwt::firebase(&mut desk).into_iter().collect(),
        "backstage" => backstage::backstage(&mut desk),
        "webhook" => others::webhook(&mut desk).into_iter().collect(),
        "mtls" => vec![others::mtls(&mut desk)],
        "api_key" => vec![others::api_key(&mut desk)],
        _ => others::introspection(&mut desk).into_iter().collect(),
    };
    let mode = compile::mode(desk.node).unwrap_or_default();
    Some(Plan { name: desk.name.into(), places, forward: desk.node.get("forward").is_some_and(Node::is_true), mode, means })
}

/// The one line of a file that holds a secret.
pub fn secret_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = secret::read(path)?;
    let text = str::from_utf8(&bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(Zeroizing::new(secret::without_line_end(text).to_owned()))
}

/// What sources are made with.
#[derive(Debug)]
pub struct Materials<'a> {
    pub key: &'a TagKey,
    pub universe: &'a Universe,
    pub roles: Roles,
    pub registry: &'a Registry,
    pub strict_modes: bool,
}

/// Reads every token file, and finds every key set's keeper.
pub fn read(plans: Vec<Plan>, materials: Materials<'_>, (warnings, faults): (&mut Vec<String>, &mut Faults)) -> (Sources, Outside) {
    let Materials { key, universe, mut roles, registry, strict_modes } = materials;
    let (mut list, mut outside) = (Vec::new(), Outside::default());
    for (index, plan) in plans.into_iter().enumerate() {
        let mut means = Vec::new();
        for way in plan.means {
            let at = At { source: SourceId(index), means: means.len() };
            let context = Context { key: key.clone(), universe, roles: &mut roles, strict_modes, max_size: way.max_size() };
            let listed = |roster| Means::Listed(Box::new(roster));
            means.push(match way {
                Way::Development => listed(tokens::development(context)),
                Way::File { path, .. } => match tokens::read(&path, context, warnings) {
                    Ok(roster) => listed(roster),
                    Err(found) => {
                        faults.extend(found);
                        continue;
                    }
                },
                Way::Token(token) => listed(others::roster(&token, context)),
                Way::Noop(anybody) => Means::Noop(Box::new(others::identity(Name::Dns("".into()), anybody, universe, &mut roles))),
                Way::Certificates(list) => {
                    let identities = list.into_iter().map(|(name, listed)| others::identity(name, listed, universe, &mut roles));
                    Means::Certificate(crate::principal::certificate::Identities(identities.collect()))
                }
                Way::Signed { rules, keys, grant } => {
                    let keys: Arc<dyn Keys> = match keys {
                        Keying::Fixed(keys) => Arc::new(keys),
                        Keying::Remote(place) => {
                            let remote = registry.remote(&place);
                            outside.keys.push((at, plan.name.as_str().into(), Arc::clone(&remote)));
                            remote
                        }
                    };
                    Means::Signed(Box::new(Signed { jwt: Jwt { keys, rules }, grant }))
                }
                Way::Managed { format, environment } => {
                    // No token has a space in it.
                    let nobody = |number: &str| key.of_token(&format!("{number} of {}", plan.name));
                    Means::Managed(Box::new(Managed::new(format, &environment, nobody)))
                }
                Way::Introspection { issuer, rules } => {
                    outside.issuers.push((at, Arc::new(Introspector::new(&issuer, key.clone(), registry))));
                    Means::Introspected(Box::new(rules))
                }
            });
        }
        list.push(Source { name: plan.name.into(), forward: plan.forward, places: plan.places, means });
    }
    (Sources::new(list, (key.clone(), universe.clone(), roles), Box::new(Remembered::default())), outside)
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Plan").field("name", &self.name).finish_non_exhaustive()
    }
}
