//! A configuration file and all that it names into everything that a gate needs, or every fault of it.
//! Reads files; decides nothing and swaps nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use super::fault::Faults;
use super::overrides::Overrides;
use super::settings::Settings;
use super::shape::FILE;
use super::tls::{self, Tls};
use super::tree::{self, Node};
use super::{assertion, check, compile, credentials, forward, modes, store, variables};
use crate::assertion::Assertion;
use crate::credential::digest::TagKey;
use crate::gate::unix_now;
use crate::identity::Identity;
use crate::keys::Registry;
use crate::live::outside::Outside;
use crate::policy::Policy;
use crate::principal::Sources;

/// Largest configuration file; ten thousand routes take one.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The environment, asked by name.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Input {
    File(PathBuf),
    /// A text of the program's own, with the name to report.
    Text {
        name: &'static str,
        text: String,
    },
    /// Another, with values that go before its own; in every reading of it.
    Amended(Box<Self>, Overrides),
}

/// All that one reading gave.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub policy: Policy,
    pub sources: Sources,
    pub identity: Identity,
    pub assertion: Option<Assertion>,
    pub outside: Outside,
    pub tls: Tls,
    pub warnings: Vec<String>,
    /// Every file that was read, to be watched.
    pub files: Vec<PathBuf>,
    pub development: bool,
}

impl Input {
    fn name(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Text { name, .. } => Path::new(name),
            Self::Amended(input, _) => input.name(),
        }
    }

    /// Where it is a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Text { .. } => None,
            Self::Amended(input, _) => input.file(),
        }
    }

    fn amend(&self, tree: &mut Node) {
        if let Self::Amended(input, overrides) = self {
            input.amend(tree);
            overrides.apply(tree);
        }
    }

    fn read(&self) -> Result<String, String> {
        let path = match self {
            Self::Text { text, .. } => return Ok(text.clone()),
            Self::Amended(input, _) => return input.read(),
            Self::File(path) => path,
        };
        let unreadable = |error| format!("configuration cannot be read: {error}; name a file that is there, or write one with `scopegate init`");
        let meta = std::fs::metadata(path).map_err(unreadable)?;
        if meta.is_dir() {
            return Err("configuration is a directory; name a file".into());
        }
        if meta.len() > MAX_FILE {
            return Err("configuration is larger than 16 MiB; name the right file".into());
        }
        let bytes = std::fs::read(path).map_err(|error| format!("configuration cannot be read: {error}"))?;
        String::from_utf8(bytes).map_err(|_| "configuration is not UTF-8; save it as UTF-8".into())
    }
}

/// Reads and compiles. The key and the key sets of the registry are the process's own and outlive the reading.
pub fn load(input: &Input, env: Env<'_>, key: &TagKey, registry: &Registry) -> Result<Loaded, Faults> {
    let mut faults = Faults::of(input.name());
    let tree = tree(input, env, &mut faults)?;
    let base = input.name().parent().unwrap_or(Path::new("")).to_owned();
    let folder = input.file().map(|_| &*base);
    let mut settings = compile::settings(&tree, folder, &mut faults);
    registry.keep_in(settings.key_cache.as_deref());
    let roles = compile::roles(&tree, &mut faults);
    let mut warnings = Vec::new();
    let (plans, mut files) = credentials::plan(&tree, &base, env, (&mut warnings, &mut faults));
    let names: Vec<String> = plans.iter().map(|plan| plan.name.clone()).collect();
    let mut policy = compile::policy(&tree, &names, &roles, &mut faults);
    policy.watched = credentials::watched(&plans);
    let mut identity = forward::identity(&tree, plans.iter().any(credentials::Plan::has_claims), &mut faults);
    files.extend(input.file().map(Path::to_owned));
    let strict = tree.get("strict_file_modes").is_some_and(Node::is_true);
    for (node, message) in modes::of_settings(&tree, &base) {
        if strict { faults.at(node, message) } else { warnings.push(message) }
    }
    settings.store = store::store(&tree, &mut store::Desk { base: folder, strict, warnings: &mut warnings, faults: &mut faults });
    let materials = credentials::Materials { key, universe: &policy.universe, roles, registry, strict_modes: strict };
    let (sources, outside) = credentials::read(plans, materials, (&mut warnings, &mut faults));
    let mut desk = tls::Desk { base: &base, strict, now: unix_now(), files: &mut files, warnings: &mut warnings, faults: &mut faults };
    let tls = tls::tls(&tree, settings.upstream.as_ref(), &mut desk);
    let assertion = assertion::assertion(&tree, &|name| identity.has(name), &mut desk);
    if let Some(assertion) = &assertion {
        identity.own(assertion.header());
    }
    faults.into_result()?;
    warnings.extend(policy.in_shadow(&sources).map(|shadow| shadow.to_string()));
    Ok(Loaded { settings, policy, sources, identity, assertion, outside, tls, warnings, files, development: credentials::is_development(env) })
}

/// Settings alone, for commands that need neither rules nor tokens.
pub fn settings(input: &Input, env: Env<'_>) -> Result<Settings, Faults> {
    let mut faults = Faults::of(input.name());
    let tree = tree(input, env, &mut faults)?;
    let settings = compile::settings(&tree, input.name().parent(), &mut faults);
    faults.into_result()?;
    Ok(settings)
}

fn tree(input: &Input, env: Env<'_>, faults: &mut Faults) -> Result<Node, Faults> {
    let stop = |faults: &mut Faults| Err(std::mem::take(faults));
    let text = match input.read() {
        Ok(text) => text,
        Err(message) => {
            faults.whole(message);
            return stop(faults);
        }
    };
    let mut tree = match tree::parse(&text) {
        Ok(tree) => tree,
        Err((message, place)) => {
            faults.at_place(place, format!("configuration is not YAML or JSON: {message}"));
            return stop(faults);
        }
    };
    if compile::is_empty(&tree) {
        faults.whole("configuration is empty; `scopegate init --upstream URL` writes a first one");
        return stop(faults);
    }
    variables::substitute(&mut tree, env, faults);
    input.amend(&mut tree);
    check::check(&tree, &FILE, "", faults);
    Ok(tree)
}

impl fmt::Display for Input {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().display().fmt(out)
    }
}
