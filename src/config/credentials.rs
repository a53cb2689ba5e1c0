//! The `credentials` of a tree, the environment's token files and development mode into sources.
//! Without a single source there is nothing to start.

use std::path::{Path, PathBuf};

use super::fault::Faults;
use super::load::Env;
use super::quantity;
use super::tokens::{self, Context, MAX_FILE};
use super::tree::Node;
use crate::credential::Place;
use crate::credential::digest::TagKey;
use crate::principal::roles::Roles;
use crate::principal::{Source, Sources};
use crate::scope::Universe;

/// A source before its token file is read.
#[derive(Debug)]
pub struct Plan {
    pub name: String,
    kind: Kind,
    places: Vec<Place>,
    forward: bool,
    max_size: usize,
}

#[derive(Debug)]
enum Kind {
    File(PathBuf),
    Development,
}

/// The sources that the file and the environment ask for, in the order of trial.
pub fn plan(tree: &Node, base: &Path, env: Env<'_>, faults: &mut Faults) -> Vec<Plan> {
    let said = tree.get("credentials").map(Node::entries).unwrap_or_default();
    let mut plans = Vec::new();
    for (key, node) in said {
        if key.text.is_empty() || !key.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            faults.at_place(key.place, format!("credential `{}` has an odd name; use letters, digits, `-`, `_` and `.`", key.text.escape_debug()));
        }
        if let Some(plan) = file_source(&key.text, node, base, faults) {
            plans.push(plan);
        }
    }
    let source = |name: &str, kind, places| Plan { name: name.into(), kind, places, forward: false, max_size: MAX_FILE };
    // Backstop's clients may send `X-Backstop-Token`, which wins over `Authorization` there.
    let backstop = vec![Place::Header("x-backstop-token".into()), Place::Bearer];
    for (variable, name) in [("BACKSTOP_TOKENS", "backstop"), ("BACKSTOP_AUTH_TOKENS_FILE", "backstop-auth")] {
        match env(variable) {
            Some(path) if path.is_empty() => faults.whole(format!("`{variable}` is empty; it is the path of a token file")),
            Some(path) => plans.push(source(name, Kind::File(path.into()), backstop.clone())),
            None => {}
        }
    }
    if is_development(env) {
        plans.push(source("development", Kind::Development, vec![Place::Bearer]));
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
    plans
}

/// Exactly `true`: `1`, `TRUE` and `true ` are not.
pub fn is_development(env: Env<'_>) -> bool {
    ["SCOPEGATE_DEV_MODE", "BACKSTOP_DEV_MODE"].iter().any(|name| env(name).as_deref() == Some("true"))
}

fn file_source(name: &str, node: &Node, base: &Path, faults: &mut Faults) -> Option<Plan> {
    let places = match node.get("from") {
        None => vec![Place::Bearer],
        Some(list) => list.items().iter().filter_map(|item| place(item, name, faults)).collect(),
    };
    if let (true, Some(list)) = (places.is_empty(), node.get("from")) {
        faults.at(list, format!("credential `{name}` is read from nowhere; `from` is `bearer` or `header:NAME`"));
    }
    let kind = node.get("kind").and_then(Node::text);
    if kind.is_none() && node.get("kind").is_none() {
        faults.at(node, format!("credential `{name}` has no `kind`; it is `static`"));
    }
    let file = node.get("file").and_then(Node::text);
    if file.is_none() && kind == Some("static") {
        faults.at(node, format!("credential `{name}` has no `file`; name its token file"));
    }
    Some(Plan {
        name: name.into(),
        kind: Kind::File(base.join(file?)),
        places,
        forward: node.get("forward").is_some_and(Node::is_true),
        max_size: node.get("max_size").and_then(Node::text).and_then(quantity::size).unwrap_or(MAX_FILE),
    })
}

fn place(node: &Node, name: &str, faults: &mut Faults) -> Option<Place> {
    let text = node.text().unwrap_or_default();
    if text == "bearer" {
        return Some(Place::Bearer);
    }
    if text.starts_with("cookie:") || text.starts_with("query:") {
        faults
            .at(node, format!("credential `{name}`: place {} is not yet available in this version; it is `bearer` or `header:NAME`", node.quoted()));
        return None;
    }
    let header = text.strip_prefix("header:").map(str::to_ascii_lowercase).filter(|header| http::HeaderName::from_bytes(header.as_bytes()).is_ok());
    // Headers that mean something to the hop or to the gate cannot carry a credential as well.
    let taken = ["authorization", "cookie", "host", "connection", "content-length", "transfer-encoding", "te", "upgrade"];
    match header {
        Some(header) if !taken.contains(&header.as_str()) && !header.starts_with(crate::identity::PREFIX) => Some(Place::Header(header.into())),
        _ => {
            faults.at(node, format!("credential `{name}`: place {} is unknown; it is `bearer` or `header:NAME`", node.quoted()));
            None
        }
    }
}

/// Reads every token file.
pub fn read(
    plans: Vec<Plan>,
    (key, universe, mut roles): (&TagKey, &Universe, Roles),
    strict_modes: bool,
    (warnings, faults): (&mut Vec<String>, &mut Faults),
) -> Sources {
    let mut list = Vec::new();
    for plan in plans {
        let context = Context { key: key.clone(), universe, roles: &mut roles, strict_modes, max_size: plan.max_size };
        let roster = match &plan.kind {
            Kind::Development => Ok(tokens::development(context)),
            Kind::File(path) => tokens::read(path, context, warnings),
        };
        match roster {
            Ok(roster) => list.push(Source { name: plan.name.into(), forward: plan.forward, places: plan.places, roster }),
            Err(found) => faults.extend(found),
        }
    }
    Sources::new(list, roles)
}

/// The token files of a plan, to be watched.
pub fn files(plans: &[Plan]) -> Vec<PathBuf> {
    let file = |plan: &Plan| match &plan.kind {
        Kind::File(path) => Some(path.clone()),
        Kind::Development => None,
    };
    plans.iter().filter_map(file).collect()
}
