//! Coverage against its own definition, on a world so small that every request can be tried: whatever is found is so, and whatever is so is found.

use std::collections::BTreeSet;

use scopegate::config::{Input, Loaded, load};
use scopegate::coverage::{Against, Kind, Report, report};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;
use scopegate::openapi::{self, Document, Operation, Part};
use scopegate::policy::{Access, Reason, Rule};
use scopegate::request::{Link, NormalPath, RawRequest, RequestView};
use serde_json::{Map, Value, json};

use crate::random::{Random, check};

/// Policies and documents know the first two; nobody knows the others.
const VALUES: [&str; 4] = ["a", "b", "y", "z"];
const HOSTS: [&str; 2] = ["h.test", "other.test"];

/// Some pattern or template, of up to three segments.
fn path(random: &mut Random, ends: &[&str], mixed: bool) -> String {
    let mut path = String::new();
    for depth in 0..random.below(4) {
        match random.below(if mixed { 6 } else { 5 }) {
            0 | 1 => path.push_str("/a"),
            2 => path.push_str("/b"),
            5 => path.push_str(&format!("/{{m{depth}}}b")),
            _ => path.push_str(&format!("/{{p{depth}}}")),
        }
    }
    path.push_str(random.pick(ends));
    if path.is_empty() { "/".into() } else { path }
}

fn policy(random: &mut Random) -> Option<(Loaded, String)> {
    let mut routes = String::from("default: deny\nroutes:\n");
    for _ in 0..1 + random.below(5) {
        let method = random.pick(&["", "GET ", "HEAD ", "POST "]);
        let host = if random.once_in(6) { "h.test" } else { "" };
        let need = random.pick(&["public", "authenticated", "deny", "x:read"]);
        routes.push_str(&format!("  \"{method}{host}{}\": {need}\n", path(random, &["", "/", "/{rest...}", "/{$}"], false)));
    }
    let input = Input::Text { name: "policy", text: routes.clone() };
    let env = |name: &str| (name == "BACKSTOP_TOKENS").then(|| r#"[{"id":"a","token":"token-of-somebody-1","scopes":["x:read"]}]"#.to_owned());
    // Routes that cross each other, or stand twice, are no policy.
    load(&input, &env, &TagKey::new([7; 32]), &Registry::offline()).ok().map(|loaded| (loaded, routes))
}

fn document(random: &mut Random) -> Value {
    let mut paths = Map::new();
    for _ in 0..1 + random.below(4) {
        let many = random.once_in(4);
        let path = format!("{}{}", path(random, &[""], true), if many { "/{rest}" } else { random.pick(&["", "", "/"]) });
        let path = path.replace("//", "/");
        let item = paths.entry(path).or_insert_with(|| json!({"parameters": [{"name": "rest", "in": "path", "x-multi-segment": true}]}));
        let security = random.pick(&["open", "key", "key", "optional"]);
        let security = match security {
            "open" => json!([]),
            "key" => json!([{"key": []}]),
            _ => json!([{}, {"key": []}]),
        };
        item[random.pick(&["get", "post", "head"])] = json!({"security": security});
    }
    let servers = if random.once_in(4) { json!([{"url": "https://h.test"}]) } else { json!([{"url": "/"}]) };
    json!({"openapi": "3.1.0", "servers": servers, "paths": paths})
}

/// Every request for an operation, its parameters one of the values each; one with slashes up to three of them.
fn requests(operation: &Operation) -> Vec<(String, bool)> {
    let mut paths = vec![(String::new(), true)];
    for part in &operation.template.0 {
        let choices: Vec<(String, bool)> = match part {
            Part::Literal(text) => vec![(text.clone(), true)],
            Part::One(_) => VALUES.iter().enumerate().map(|(index, value)| ((*value).to_owned(), index > 1)).collect(),
            Part::Mixed(texts) => {
                VALUES.iter().enumerate().map(|(index, value)| (texts.join(value), index > 1)).chain([("bb".to_owned(), false)]).collect()
            }
            Part::Many(_) => {
                let mut all = Vec::new();
                let mut last = vec![(String::new(), true)];
                for depth in 0..3 {
                    let longer = |(path, fresh): &(String, bool)| {
                        let slash = if depth > 0 { "/" } else { "" };
                        let (path, fresh) = (path.clone(), *fresh);
                        VALUES.iter().enumerate().map(move |(index, value)| (format!("{path}{slash}{value}"), fresh && index > 1)).collect::<Vec<_>>()
                    };
                    last = last.iter().flat_map(longer).collect();
                    all.extend(last.iter().cloned());
                }
                all.extend([("a/".to_owned(), false), ("z/".to_owned(), false), ("z/z/".to_owned(), false)]);
                all
            }
        };
        paths = paths.iter().flat_map(|(path, fresh)| choices.iter().map(move |(text, also)| (format!("{path}/{text}"), *fresh && *also))).collect();
    }
    paths
}

fn winner<'l>(loaded: &'l Loaded, method: &str, host: &str, path: &str) -> Result<Option<&'l Rule>, Reason> {
    let headers: &[(&str, &[u8])] = &[];
    let raw =
        RawRequest { method: method.as_bytes(), target: path.as_bytes(), host: Some(host.as_bytes()), headers: &headers, link: Link::default() };
    let view = RequestView::read(&raw).unwrap_or_else(|_| panic!("{path}"));
    loaded.policy.find(&view, view.method).map(|rule| (&*rule.name != "default").then_some(rule))
}

fn hosts(loaded: &Loaded, operation: &Operation) -> Vec<&'static str> {
    let named = loaded.policy.rules.iter().any(|rule| rule.name.contains("h.test"));
    if named && operation.hosts.iter().any(|host| host == "h.test") { vec!["h.test"] } else { HOSTS.to_vec() }
}

fn methods(document: &Document, operation: &Operation) -> Vec<&'static str> {
    let same =
        |other: &Operation| other.method == "HEAD" && other.template.is_within(&operation.template) && operation.template.is_within(&other.template);
    match operation.method.as_str() {
        "GET" if document.operations.iter().any(same) => vec!["GET"],
        "GET" => vec!["GET", "HEAD"],
        "HEAD" => vec!["HEAD"],
        _ => vec!["POST"],
    }
}

fn is_anothers(document: &Document, operation: &Operation, method: &str, path: &str) -> bool {
    let normal = NormalPath::parse(path.as_bytes()).unwrap();
    let segments: Vec<&str> = normal.decoded().split('/').skip(1).collect();
    document.operations.iter().any(|other| {
        let narrower = other.template.is_within(&operation.template) && !operation.template.is_within(&other.template);
        let speaks = other.method == method || (other.method == "GET" && method == "HEAD");
        narrower && speaks && other.template.matches(&segments)
    })
}

fn subjects(found: &Report, kind: Kind) -> BTreeSet<&str> {
    found.findings.iter().filter(|finding| finding.kind == kind).map(|finding| finding.subject.as_str()).collect()
}

fn compare(random: &mut Random) {
    let Some((loaded, routes)) = policy(random) else { return };
    let text = document(random).to_string();
    let document = openapi::parse(&text, None).unwrap();
    let found = report(&loaded, Against { document: Some(&document), log: None, now: 0 });
    let (mut missing, mut public, mut used) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for operation in &document.operations {
        for (path, fresh) in requests(operation) {
            let rules = |method: &str| hosts(&loaded, operation).into_iter().map(|host| winner(&loaded, method, host, &path)).collect::<Vec<_>>();
            if fresh && rules(&operation.method).iter().all(|rule| matches!(rule, Ok(None))) {
                missing.insert(operation.name());
            }
            for method in methods(&document, operation) {
                for rule in rules(method).into_iter().filter_map(|rule| rule.ok().flatten()) {
                    used.insert(rule.name.to_string());
                    let open = matches!(rule.access, Access::Public) && operation.security.is_protected();
                    if open && !is_anothers(&document, operation, method, &path) {
                        public.insert(operation.name());
                    }
                }
            }
        }
    }
    let unused: BTreeSet<&str> = loaded.policy.rules.iter().map(|rule| &*rule.name).filter(|name| !used.contains(*name)).collect();
    let context = || format!("{routes}\n{text}\n{found:#?}");
    assert_eq!(subjects(&found, Kind::NoRule), missing.iter().map(String::as_str).collect(), "{}", context());
    assert_eq!(subjects(&found, Kind::Public), public.iter().map(String::as_str).collect(), "{}", context());
    assert_eq!(subjects(&found, Kind::RuleMatchesNothing), unused, "{}", context());
    assert_eq!(found.is_unprotected(), !(missing.is_empty() && public.is_empty()), "{}", context());
}

#[test]
fn whatever_coverage_finds_is_so_and_whatever_is_so_it_finds() {
    check(20_000, compare);
}
