//! Backflow's routes into patterns and what they need.
//! Leaves no route out, since a wider one could then let its requests in, and takes no side where two contradict each other.

use std::path::Path;

use serde_json::Value;

use super::super::draft::Draft;
use super::super::{express, kind_of, yaml};
use super::limits::{Limit, Limits};
use crate::policy::pattern::{Pattern, Segment};
use crate::scope::Scope;

#[derive(Clone, PartialEq, Eq)]
enum Need {
    /// With the keys of its `rate_limit`.
    Public(Option<String>),
    /// Closed, for a reason that is written beside it.
    Closed(String),
    Caller(Caller),
}

#[derive(Clone, PartialEq, Eq)]
struct Caller {
    credentials: Vec<&'static str>,
    scopes: Vec<String>,
    mfa: bool,
    limit: Option<String>,
}

#[derive(Clone)]
struct Route {
    text: String,
    pattern: Pattern,
    need: Need,
}

/// The source of managed keys.
pub const KEYS: &str = "keys";
/// What Backflow answers to anybody.
const OPEN: &str = "GET /health";
/// What a route of every method is spelt out as where it has to be; HEAD goes with GET.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Parts of names that speak of access.
const ACCESS: [&str; 9] = ["auth", "role", "permission", "scope", "mfa", "tenant", "allow", "require", "guard"];

/// Takes the routes out of a document; what was nothing but a list of them becomes `null`.
pub fn take(document: &mut Value, file: &Path) -> Result<Vec<Value>, String> {
    match document {
        Value::Array(list) => {
            let list = std::mem::take(list);
            *document = Value::Null;
            Ok(list)
        }
        Value::Object(object) => match object.shift_remove("routes") {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(format!("`routes` is {}; it is a list ({})", kind_of(&other), file.display())),
        },
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            Err(format!("{} is {}; Backflow's configuration is an object, or a list of routes", file.display(), kind_of(other)))
        }
    }
}

/// The entries of `routes`.
pub fn routes(list: &[Value], document: &Value, sources: &[&'static str], draft: &mut Draft<'_>) -> String {
    let (mfa, limits) = (asks_all_for_mfa(document), Limits::new(document, draft));
    let mut found = Found { routes: Vec::new(), unsaid: Vec::new(), others: Vec::new(), mfa, limits };
    for (index, route) in list.iter().enumerate() {
        found.read(route, index, sources, draft);
    }
    if list.is_empty() {
        draft.note("there are no routes; every request but `GET /health` is denied until `routes` names some");
    }
    if !found.unsaid.is_empty() {
        draft.note(format!("`requireAuth` is not said and was taken for true; write `public` for what is open: {}", found.unsaid.join(", ")));
    }
    if !found.others.is_empty() {
        draft.note(format!("what routes do is the service's business, and left out: {}", found.others.join(", ")));
    }
    found.limits.finish(draft);
    let mut routes = settle(found.routes, draft);
    if let (Ok(pattern), false) = (Pattern::parse(OPEN), routes.iter().any(|route| route.text.ends_with(" /health") || route.text == "/health")) {
        routes.insert(0, Route { text: OPEN.into(), pattern, need: Need::Public(None) });
    }
    routes.iter().map(line).collect()
}

fn line(route: &Route) -> String {
    let pattern = yaml::pattern(&route.text);
    match &route.need {
        Need::Public(None) => format!("  {pattern}: public\n"),
        Need::Public(Some(rate)) => format!("  {pattern}: {{public: true, rate_limit: {{{rate}, per: ip}}}}\n"),
        Need::Closed(reason) => format!("  {pattern}: deny   {}\n", yaml::comment(reason)),
        Need::Caller(caller) => format!("  {pattern}: {}\n", requirement(caller)),
    }
}

fn requirement(caller: &Caller) -> String {
    let Caller { credentials, scopes, mfa, limit } = caller;
    let list = || yaml::list(scopes.iter().map(String::as_str));
    let mut keys = Vec::new();
    if !credentials.is_empty() {
        keys.push(format!("credentials: {}", yaml::list(credentials.iter().copied())));
    }
    if *mfa {
        keys.push("mfa: {max_age: 15m}".into());
    }
    match (keys.is_empty(), limit, scopes.as_slice()) {
        (true, None, []) => return "authenticated".into(),
        (true, None, [one]) if one.contains(':') || one == "*" => return yaml::text(one),
        (true, None, _) => return list(),
        (true, Some(_), []) => keys.push("authenticated: true".into()),
        (false, _, []) => {}
        (_, _, [_, ..]) => keys.push(format!("scopes: {}", list())),
    }
    if let Some(rate) = limit {
        keys.push(format!("rate_limit: {{{rate}, per: principal}}"));
    }
    format!("{{{}}}", keys.join(", "))
}

struct Found<'a> {
    routes: Vec<Route>,
    /// Those that do not say whether they need a caller.
    unsaid: Vec<String>,
    /// Keys that are not about access.
    others: Vec<String>,
    /// Whether every route asks for a second factor.
    mfa: bool,
    limits: Limits<'a>,
}

impl Found<'_> {
    fn read(&mut self, route: &Value, index: usize, sources: &[&'static str], draft: &mut Draft<'_>) {
        let Some(path) = route.get("path").and_then(Value::as_str) else {
            return draft.fault(format!("`routes[{index}]` has no `path`; it is a text such as `/users/:id`"));
        };
        let methods = match methods(route) {
            Ok(methods) => methods,
            Err(fault) => return draft.fault(format!("`routes[{index}]` ({}): {fault}", path.escape_debug())),
        };
        let need = match self.need(route, sources, draft) {
            Ok(need) => need,
            Err(fault) => return draft.fault(format!("`routes[{index}]` ({}): {fault}", path.escape_debug())),
        };
        let paths = match express::patterns(path) {
            Ok(paths) => paths,
            Err(fault) => return draft.fault(format!("`routes[{index}].path` is `{}`: {fault}", path.escape_debug())),
        };
        let says = ["requireAuth", "authProvider", "requiredPermissions", "requireMfa"].iter().any(|key| route.get(key).is_some());
        for (method, path) in methods.iter().flat_map(|method| paths.iter().map(move |path| (method, path))) {
            let text = format!("{method}{}{path}", if method.is_empty() { "" } else { " " });
            match Pattern::parse(&text) {
                Ok(pattern) => {
                    if !says && matches!(need, Need::Caller(_)) {
                        self.unsaid.push(format!("`{text}`"));
                    }
                    self.routes.push(Route { text, pattern, need: need.clone() });
                }
                Err(fault) => draft.fault(format!("`routes[{index}].path` is `{}`: {fault}", path.escape_debug())),
            }
        }
    }

    fn need(&mut self, route: &Value, sources: &[&'static str], draft: &mut Draft<'_>) -> Result<Need, String> {
        let closed = self.unknown(route, draft);
        let (required, mfa) = (switch(route, "requireAuth")?, switch(route, "requireMfa")?);
        let scopes = permissions(route.get("requiredPermissions"))?;
        let provider = provider(route.get("authProvider"))?;
        if !closed.is_empty() {
            let keys = closed.join(", ");
            draft.note(format!("{keys} of routes has no counterpart; such routes are closed"));
            return Ok(Need::Closed(format!("{keys} has no counterpart: closed until you decide")));
        }
        let limit = match self.limits.of(route, draft) {
            Limit::Without => None,
            Limit::Rate(rate) => Some(rate),
            Limit::Never => return Ok(Need::Closed("its `rateLimit` lets nothing through".into())),
        };
        if let Some(name) = provider.filter(|name| !sources.contains(name)) {
            return Err(format!("`authProvider` is {name}, and there is no `{name}` in the configuration"));
        }
        if required == Some(false) && scopes.is_empty() && provider.is_none() && mfa != Some(true) {
            return Ok(Need::Public(limit));
        }
        if required == Some(false) {
            draft.note("`requireAuth: false` beside `authProvider`, `requiredPermissions` or `requireMfa` was taken for true");
        }
        // Backflow's own provider is the JWT; without that the only other one is meant.
        let credentials = match (provider, sources) {
            (_, [_] | []) => Vec::new(),
            (Some(name), _) => vec![name],
            (None, _) => sources.iter().copied().find(|name| *name != KEYS).into_iter().collect(),
        };
        Ok(Need::Caller(Caller { credentials, scopes, mfa: self.mfa || mfa == Some(true), limit }))
    }

    /// The keys that speak of access in a way that is not known; others are remembered.
    fn unknown(&mut self, route: &Value, draft: &mut Draft<'_>) -> Vec<String> {
        let mut closed = Vec::new();
        for (key, value) in route.as_object().into_iter().flatten() {
            let off = matches!(value, Value::Null | Value::Bool(false)) || value.as_array().is_some_and(Vec::is_empty);
            match key.as_str() {
                "path" | "method" | "methods" | "requireAuth" | "authProvider" | "requiredPermissions" | "requireMfa" | "rateLimit" => {}
                "cors" => draft.note("`cors` of routes: origins are the same for all routes here; name them under `cors`"),
                key if ACCESS.iter().any(|part| key.to_ascii_lowercase().contains(part)) && !off => closed.push(format!("`{}`", key.escape_debug())),
                key => {
                    let name = format!("`{}`", key.escape_debug());
                    if !self.others.contains(&name) {
                        self.others.push(name);
                    }
                }
            }
        }
        closed
    }
}

/// The routes without repetitions and without contradictions.
fn settle(routes: Vec<Route>, draft: &mut Draft<'_>) -> Vec<Route> {
    let mut settled: Vec<Route> = Vec::new();
    for route in spelt_out(routes) {
        let clash = settled.iter().find(|other| other.pattern.conflicts_with(&route.pattern));
        match clash {
            None => settled.push(route),
            Some(other) if other.pattern == route.pattern && other.need == route.need => {}
            Some(other) => draft.fault(format!(
                "routes `{}` and `{}` match the same requests, and neither is more specific; Backflow takes the first of them, so make the other one differ or remove it",
                other.text, route.text
            )),
        }
    }
    with_slashes(&mut settled, draft);
    settled
}

/// Where a route of every method crosses one of a single method, Go's patterns want its methods by name.
fn spelt_out(routes: Vec<Route>) -> Vec<Route> {
    let crosses = |route: &Route| {
        let other = |other: &&Route| other.pattern.method.is_some() && other.pattern.conflicts_with(&route.pattern);
        route.pattern.method.is_none() && routes.iter().any(|candidate| other(&candidate))
    };
    let spell = |route: &Route| -> Vec<Route> {
        if !crosses(route) {
            return vec![route.clone()];
        }
        let one = |method: &&str| {
            let text = format!("{method} {}", route.text);
            Pattern::parse(&text).ok().map(|pattern| Route { text, pattern, need: route.need.clone() })
        };
        METHODS.iter().filter_map(one).collect()
    };
    routes.iter().flat_map(spell).collect()
}

/// Express takes `/users/` for `/users`: where a wide route asks for less, the narrow one must speak of both, or the wide one would answer for it.
fn with_slashes(routes: &mut Vec<Route>, draft: &mut Draft<'_>) {
    let mut twins: Vec<Route> = Vec::new();
    let mut open: Vec<String> = Vec::new();
    for route in routes.iter() {
        let Some(wide) = routes.iter().find(|wide| wide.need != route.need && covers(&wide.pattern, &route.pattern)) else { continue };
        if matches!(wide.need, Need::Public(_)) && !matches!(route.need, Need::Public(_)) && !open.contains(&wide.text) {
            open.push(wide.text.clone());
        }
        let text = format!("{}/{{$}}", route.text);
        if let (Ok(pattern), Some(Segment::Literal(_) | Segment::One)) = (Pattern::parse(&text), route.pattern.segments.last()) {
            twins.push(Route { text, pattern, need: route.need.clone() });
        }
    }
    for twin in twins {
        if !routes.iter().any(|route| route.pattern.conflicts_with(&twin.pattern)) {
            routes.push(twin);
        }
    }
    for wide in open {
        draft.note(format!(
            "`{wide}` is open and wider than routes that are not: a service that takes `/ADMIN` for `/admin`, as Express does unless told otherwise, \
             answers there without the narrower rule; make its routing case sensitive"
        ));
    }
}

/// Whether the wide route has the requests that the narrow one leaves to it.
fn covers(wide: &Pattern, narrow: &Pattern) -> bool {
    let Some((Segment::Rest, before)) = wide.segments.split_last() else { return false };
    let method = wide.method.is_none() || wide.method == narrow.method;
    let same = |(wide, narrow): (&Segment, &Segment)| *wide == Segment::One || wide == narrow;
    method && narrow.segments.len() > before.len() && before.iter().zip(&narrow.segments).all(same)
}

/// Methods in capitals; one that is empty stands for all.
fn methods(route: &Value) -> Result<Vec<String>, String> {
    let said = route.get("method").or_else(|| route.get("methods"));
    let list: Vec<&Value> = match said {
        None | Some(Value::Null) => return Ok(vec![String::new()]),
        Some(Value::Array(list)) if !list.is_empty() => list.iter().collect(),
        Some(one) => vec![one],
    };
    let method = |value: &Value| match value.as_str().map(str::to_ascii_uppercase) {
        Some(all) if ["ALL", "ANY", "*"].contains(&all.as_str()) => Ok(String::new()),
        Some(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase()) => Ok(name),
        _ => Err("`method` is none, such as `get`; `all` stands for every one".to_owned()),
    };
    list.into_iter().map(method).collect()
}

fn permissions(said: Option<&Value>) -> Result<Vec<String>, String> {
    let list: Vec<&Value> = match said {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
    };
    let scope = |value: &Value| {
        let text = value.as_str().ok_or_else(|| format!("`requiredPermissions` has {}; a permission is a text", kind_of(value)))?;
        Scope::parse(text).map_err(|fault| format!("permission `{}` as a scope {fault}", text.escape_debug()))?;
        Ok(text.to_owned())
    };
    list.into_iter().map(scope).collect()
}

fn switch(route: &Value, key: &str) -> Result<Option<bool>, String> {
    match route.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(other) => Err(format!("`{key}` is {}; it is `true` or `false`", kind_of(other))),
    }
}

/// `mfa` of the document is taken for a demand where one of its keys speaks of one.
fn asks_all_for_mfa(document: &Value) -> bool {
    let demands = |key: &str| ["require", "enforce", "mandatory"].iter().any(|part| key.to_ascii_lowercase().contains(part));
    let mut keys = document.get("mfa").and_then(Value::as_object).into_iter().flatten();
    keys.any(|(key, value)| demands(key) && !matches!(value, Value::Null | Value::Bool(false)))
}

/// Whether a route is for API keys.
pub fn is_for_keys(route: &Value) -> bool {
    provider(route.get("authProvider")) == Ok(Some(KEYS))
}

fn provider(said: Option<&Value>) -> Result<Option<&'static str>, String> {
    let text = match said {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_str().ok_or_else(|| format!("`authProvider` is {}; it is a text", kind_of(value)))?,
    };
    match text.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "jwt" => Ok(Some("jwt")),
        "firebase" => Ok(Some("firebase")),
        "apikey" | "apikeys" => Ok(Some(KEYS)),
        _ => Err(format!("`authProvider` is `{}`; it is `jwt`, `firebase` or `apiKey`", text.escape_debug())),
    }
}
