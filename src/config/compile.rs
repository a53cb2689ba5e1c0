//! A checked tree into settings, roles and rules.
//! Takes every fault with it; nothing that is in doubt becomes a rule.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use hashbrown::HashMap;

use super::egress;
use super::fault::Faults;
use super::limits;
use super::management;
use super::proxy;
use super::quantity;
use super::settings::{Address, Listen, Settings};
use super::telemetry;
use super::tree::{Node, Value};
use crate::policy::cors::Preflights;
use crate::policy::pattern::Pattern;
use crate::policy::table::Table;
use crate::policy::{Access, Mode, Needs, Policy, Rule, Tools};
use crate::principal::SourceId;
use crate::principal::roles::{Definition, Roles};
use crate::request::path::Oddities;
use crate::scope::{Scope, ScopeId, Universe};

/// The default of `max_body`; MCP calls are a few KiB.
const MAX_BODY: usize = 64 * 1024;
/// The default of `mfa.max_age`: as long as an MFA token counts.
const MFA_AGE: Duration = Duration::from_secs(15 * 60);
/// The most that `max_body` may be: what the gRPC door takes in one message, less room for headers.
const MAX_MAX_BODY: usize = 3 * 1024 * 1024;

/// What a route may ask of a caller.
const ASKS: [&str; 7] = ["scopes", "any_scopes", "roles", "credentials", "tools", "mfa", "authenticated"];

pub fn settings(tree: &Node, base: Option<&Path>, faults: &mut Faults) -> Settings {
    let egress = egress::egress(tree, base.unwrap_or(Path::new("")), faults);
    let upstream = tree.get("upstream").and_then(|node| proxy::upstream(node, faults));
    let listen = tree.get("listen");
    let mut door = |name: &str, default: Option<u16>| {
        let said = listen.and_then(|listen| listen.get(name));
        match said {
            None => default.map(|port| Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))),
            Some(node) => address(node, &format!("listen.{name}"), faults),
        }
    };
    let listen = Listen {
        proxy: door("proxy", upstream.is_some().then_some(8080)),
        ext_authz: door("ext_authz", Some(9191)),
        forward_auth: door("forward_auth", Some(9192)),
        admin: door("admin", Some(9190)),
    };
    if let (Some(_), None, Some(node)) = (&listen.proxy, tree.get("upstream"), tree.get("listen").and_then(|listen| listen.get("proxy"))) {
        faults.at(node, "`listen.proxy` has nothing behind it; set `upstream: http://host:port`");
    }
    let trusted_proxies = match tree.get("trusted_proxies") {
        None => ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| text.parse().ok()).collect(),
        Some(node) => node.items().iter().filter_map(|item| network(item, faults)).collect(),
    };
    if let Some(node) = tree.get("reload").and_then(|node| node.get("signal")).filter(|node| !node.is_true()) {
        faults.at(node, "`reload.signal` is always on; remove the key");
    }
    Settings {
        listen,
        upstream,
        trusted_proxies,
        telemetry: telemetry::telemetry(tree, base.unwrap_or(Path::new("")), faults),
        watch: tree.get("reload").and_then(|node| node.get("watch")).is_none_or(Node::is_true),
        drain_timeout: quantity::said(tree.get("drain_timeout"), Duration::from_secs(30)),
        lame_duck: quantity::said(tree.get("lame_duck"), Duration::from_secs(5)),
        reuse_port: tree.get("reuse_port").is_some_and(Node::is_true),
        tls: tree.get("tls").is_some(),
        proxy_protocol: tree.get("proxy_protocol").is_some_and(Node::is_true),
        bounds: proxy::bounds(tree.get("bounds"), faults),
        egress,
        key_cache: match tree.get("key_cache").and_then(Node::text) {
            Some("off") => None,
            Some(folder) => Some(base.unwrap_or(Path::new("")).join(folder)),
            None => base.map(|base| base.join("scopegate-keys")),
        },
        expose: management::is_exposed(tree),
        limits: limits::limits(tree, base.unwrap_or(Path::new("")), faults),
        store: None,
    }
}

/// `name` is the key as a fault names it.
pub fn address(node: &Node, name: &str, faults: &mut Faults) -> Option<Address> {
    let text = node.text()?;
    if text == "off" {
        return None;
    }
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Some(Address::Unix(Path::new(path).to_owned()));
    }
    let resolved = text.to_socket_addrs().ok().and_then(|mut list| list.next());
    if resolved.is_none() {
        faults.at(node, format!("`{name}` is {}; it is `host:port`, `unix:/path` or `off`", node.quoted()));
    }
    resolved.map(Address::Tcp)
}

fn network(node: &Node, faults: &mut Faults) -> Option<ipnet::IpNet> {
    let text = node.text().unwrap_or_default();
    let parsed = text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from));
    if parsed.is_none() {
        faults.at(node, format!("`trusted_proxies` has {}; a network is `10.0.0.0/8` or one address", node.quoted()));
    }
    parsed
}

pub fn roles(tree: &Node, faults: &mut Faults) -> Roles {
    let mut definitions = BTreeMap::new();
    let mut default = None;
    let node = tree.get("roles");
    for (key, value) in node.map(Node::entries).unwrap_or_default() {
        match (key.text.as_str(), value.text()) {
            ("default", Some(name)) => default = Some(name),
            ("default", None) => faults.at(value, "`roles.default` is the name of a role"),
            (name, _) => {
                let said = if value.entries().is_empty() { Some(value) } else { value.get("scopes") };
                let scopes = said.map(Node::items).unwrap_or_default();
                let scopes = scopes.iter().filter_map(|item| scope(item, &format!("role `{name}`"), faults)).collect();
                let inherits = value.get("inherits").map(Node::items).unwrap_or_default();
                let inherits = inherits.iter().filter_map(|item| item.text().map(str::to_owned)).collect();
                definitions.insert(name.to_owned(), Definition { inherits, scopes });
            }
        }
        if key.text.is_empty() || !key.text.bytes().all(|byte| byte.is_ascii_graphic()) {
            faults.at_place(
                key.place,
                format!("role `{}` has a name that a header cannot carry; use visible ASCII without spaces", key.text.escape_debug()),
            );
        }
    }
    Roles::new(&definitions, default).unwrap_or_else(|list| {
        for fault in list {
            faults.at(node.unwrap_or(tree), fault.to_string());
        }
        Roles::default()
    })
}

/// Rules from `routes` and `default`. `sources` are the names that a route may speak of.
pub fn policy(tree: &Node, sources: &[String], roles: &Roles, faults: &mut Faults) -> Policy {
    let mode = mode(tree).unwrap_or_default();
    let mut compiler = Compiler { universe: Universe::default(), sources, roles, cors: tree.get("cors").is_some(), mode };
    let mut table = Table::default();
    let mut rules: Vec<Rule> = Vec::new();
    let routes = tree.get("routes");
    let mut seen = std::collections::HashSet::new();
    let taken = management::taken(tree);
    for (key, value) in routes.map(Node::entries).unwrap_or_default() {
        if !seen.insert(key.text.as_str()) {
            // A doubled key is a fault already.
            continue;
        }
        let rule = compiler.rule(&key.text, value, faults);
        let pattern = match Pattern::parse(&key.text) {
            Ok(pattern) => pattern,
            Err(fault) => {
                faults.at_place(key.place, format!("route `{}`: {fault}", key.text.escape_debug()));
                continue;
            }
        };
        taken.refuse(key, &pattern, faults);
        match table.insert(pattern.clone()) {
            Ok(_) => rules.push(rule),
            Err(others) => {
                for other in others {
                    let name = rules.get(other.0).map_or("", |rule| &rule.name);
                    let remedy = table.pattern(other).and_then(|known| known.settles(&pattern));
                    let remedy = remedy.map_or_else(
                        || "make one of them more specific".to_owned(),
                        |remedy| format!("add the method to the wider one, or replace one by narrower patterns such as `{remedy}`"),
                    );
                    faults.at_place(
                        key.place,
                        format!("route `{}` and route `{name}` match the same requests and neither is more specific; {remedy}", key.text),
                    );
                }
            }
        }
    }
    if routes.is_none_or(|routes| routes.entries().is_empty()) && tree.get("default").is_none() {
        faults.whole("`routes` is missing, so that every request would be denied; name at least one, such as `GET /health: public`");
    }
    let mut default = match tree.get("default") {
        None => Rule { mode, ..Rule::new("default", Access::Deny) },
        Some(node) => compiler.rule("default", node, faults),
    };
    if let (Access::Public, Some(node)) = (&default.access, tree.get("default")) {
        faults.at(node, "`default: public` would let everything in that no route names; `default` is `deny`, `authenticated` or a requirement");
    }
    default.name = "default".into();
    Policy { table, rules, default, universe: compiler.universe, cors: super::cors::cors(tree, faults), watched: Box::default() }
}

struct Compiler<'a> {
    universe: Universe,
    sources: &'a [String],
    roles: &'a Roles,
    /// Whether there is a `cors`.
    cors: bool,
    /// The whole gate's.
    mode: Mode,
}

impl Compiler<'_> {
    fn rule(&mut self, name: &str, node: &Node, faults: &mut Faults) -> Rule {
        let what = if name == "default" { "`default`".to_owned() } else { format!("route `{name}`") };
        let access = match node.text() {
            Some("public") => Access::Public,
            Some("deny") => Access::Deny,
            Some("authenticated") => Access::Needs(Needs::default()),
            Some(text) if !text.contains(':') && text != "*" => {
                faults.at(node, format!("{what}: {} is none of `public`, `authenticated`, `deny` and no scope `resource:action`", node.quoted()));
                Access::Deny
            }
            Some(_) => Access::Needs(Needs { all: self.scopes(node, &what, faults), ..Needs::default() }),
            None if node.entries().is_empty() => Access::Needs(Needs { all: self.listed(node, &what, faults), ..Needs::default() }),
            None if node.get("public").is_some() => public(node, &what, faults),
            None => Access::Needs(self.needs(node, &what, faults)),
        };
        let allow_paths = node.get("allow_paths").map(|list| oddities(list, &what, faults)).unwrap_or_default();
        let query_credentials = node.get("query_credentials").is_some_and(Node::is_true);
        let websocket = node.get("websocket").is_none_or(Node::is_true);
        let preflight = match node.get("preflight").and_then(Node::text) {
            Some("pass") => Preflights::Pass,
            Some("require") => Preflights::Require,
            Some(_) | None => Preflights::Answer,
        };
        if let (Some(said), false) = (node.get("preflight"), self.cors) {
            faults.at(said, format!("{what}: `preflight` says nothing without `cors`; set `cors: {{origins: […]}}` or remove it"));
        }
        let rate_limit = limits::rate_limit(node, &what, matches!(access, Access::Public), faults);
        let mode = mode(node).unwrap_or(self.mode);
        Rule { name: name.into(), access, allow_paths, preflight, query_credentials, websocket, rate_limit, mode }
    }

    fn needs(&mut self, node: &Node, what: &str, faults: &mut Faults) -> Needs {
        let mut list = |compiler: &mut Self, key: &str| match node.get(key) {
            None => Box::default(),
            Some(list) => compiler.listed(list, what, faults),
        };
        let (all, any) = (list(self, "scopes"), list(self, "any_scopes"));
        let needs = Needs {
            all,
            any,
            roles: self.roles(node, what, faults),
            credentials: self.credentials(node, what, faults),
            tools: self.tools(node, what, faults),
            mfa: mfa(node, what, faults),
        };
        let authenticated = node.get("authenticated");
        if let Some(said) = authenticated.filter(|said| !said.is_true()) {
            faults.at(said, format!("{what}: `authenticated: false` would say nothing; write `public` in place of the mapping"));
        }
        if ASKS.iter().all(|key| node.get(key).is_none()) {
            faults.at(
                node,
                format!("{what} needs nothing; add `scopes`, `any_scopes`, `roles`, `credentials`, `tools`, `mfa`, `authenticated: true` or `public: true`"),
            );
        }
        if let (Some(said), None) = (node.get("max_body"), node.get("tools")) {
            faults.at(said, format!("{what}: `max_body` bounds what `tools` inspects, and there are none; remove it"));
        }
        needs
    }

    /// A list that must name something: nothing to need would be an open door.
    fn listed(&mut self, node: &Node, what: &str, faults: &mut Faults) -> Box<[ScopeId]> {
        if node.items().is_empty() {
            faults.at(node, format!("{what} has an empty list of scopes; name one, or write `authenticated` or `public`"));
        }
        self.scopes(node, what, faults)
    }

    fn scopes(&mut self, node: &Node, what: &str, faults: &mut Faults) -> Box<[ScopeId]> {
        node.items().iter().filter_map(|item| scope(item, what, faults)).map(|scope| self.universe.intern(scope)).collect()
    }

    fn roles(&self, node: &Node, what: &str, faults: &mut Faults) -> Box<[Box<str>]> {
        let Some(list) = node.get("roles") else { return Box::default() };
        if list.items().is_empty() {
            faults.at(list, format!("{what} has an empty list of roles; name one or remove the key"));
        }
        for item in list.items().iter().filter(|item| !self.roles.knows(item.text().unwrap_or_default())) {
            faults.at(item, format!("{what}: role {} is not defined; define it under `roles`", item.quoted()));
        }
        list.items().iter().filter_map(Node::text).map(Into::into).collect()
    }

    fn credentials(&self, node: &Node, what: &str, faults: &mut Faults) -> Box<[SourceId]> {
        let Some(list) = node.get("credentials") else { return Box::default() };
        if list.items().is_empty() {
            faults.at(list, format!("{what} has an empty list of credentials; name one or remove the key"));
        }
        let mut ids = Vec::new();
        for item in list.items() {
            match self.sources.iter().position(|name| Some(name.as_str()) == item.text()) {
                Some(index) => ids.push(SourceId(index)),
                None => faults.at(item, format!("{what}: credential {} is not defined; known are {}", item.quoted(), self.sources.join(", "))),
            }
        }
        ids.into()
    }

    fn tools(&mut self, node: &Node, what: &str, faults: &mut Faults) -> Option<Tools> {
        let said = node.get("tools")?;
        let mut scopes = HashMap::new();
        for (tool, list) in said.entries() {
            scopes.insert(tool.text.as_str().into(), self.listed(list, &format!("{what}, tool `{}`", tool.text), faults));
        }
        if scopes.is_empty() {
            faults.at(said, format!("{what} lists no tools, so that every call would be denied; name one"));
        }
        let max_body = node.get("max_body").and_then(|size| Some((size, quantity::size(size.text()?)?)));
        if let Some((size, bytes)) = max_body
            && !(1..=MAX_MAX_BODY).contains(&bytes)
        {
            faults.at(size, format!("{what}: `max_body` is {}; it is from `1B` to `3MiB`", size.quoted()));
        }
        Some(Tools { scopes, max_body: max_body.map_or(MAX_BODY, |(_, bytes)| bytes) })
    }
}

/// `None` where nothing is said of it; what is neither of the two words is a fault already.
pub fn mode(node: &Node) -> Option<Mode> {
    match node.get("mode")?.text() {
        Some("shadow") => Some(Mode::Shadow),
        Some(_) | None => Some(Mode::Enforce),
    }
}

fn mfa(node: &Node, what: &str, faults: &mut Faults) -> Option<u32> {
    let node = node.get("mfa")?;
    let said = quantity::said(node.get("max_age"), MFA_AGE).as_secs();
    let seconds = u32::try_from(said).ok().filter(|seconds| *seconds > 0);
    if seconds.is_none() {
        faults.at(node.get("max_age").unwrap_or(node), format!("{what}: `mfa.max_age` is {said} seconds; it is from `1s` on, such as `5m`"));
    }
    seconds
}

/// `public: true`, beside what is no requirement.
fn public(node: &Node, what: &str, faults: &mut Faults) -> Access {
    if let Some(said) = node.get("public").filter(|said| !said.is_true()) {
        faults.at(said, format!("{what}: `public: false` would say nothing; remove it"));
    }
    for key in ASKS.iter().chain(&["query_credentials", "max_body"]) {
        if let Some(said) = node.get(key) {
            faults.at(said, format!("{what} is public, so that `{key}` would not be looked at; remove one of them"));
        }
    }
    Access::Public
}

fn scope(node: &Node, what: &str, faults: &mut Faults) -> Option<Scope> {
    match Scope::parse(node.text().unwrap_or_default()) {
        Ok(scope) => Some(scope),
        Err(fault) => {
            faults.at(node, format!("{what}: scope {} {fault}", node.quoted()));
            None
        }
    }
}

fn oddities(node: &Node, what: &str, faults: &mut Faults) -> Oddities {
    let mut allowed = Oddities::default();
    for item in node.items() {
        match item.text() {
            Some("encoded_slash") => allowed.encoded_slash = true,
            Some("semicolon") => allowed.semicolon = true,
            Some("empty_segment") => allowed.empty_segment = true,
            _ => faults.at(item, format!("{what}: `allow_paths` has {}; known are `encoded_slash`, `semicolon`, `empty_segment`", item.quoted())),
        }
    }
    allowed
}

/// Whether the tree says anything at all.
pub fn is_empty(tree: &Node) -> bool {
    matches!(tree.value, Value::Null)
}
