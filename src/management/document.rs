//! What the handlers say of themselves into one OpenAPI document, and that document into rules.
//! An operation that says nothing of who may call it is denied to everybody.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use super::actor::OPERATOR;
use super::problem::{Fault, Problem};
use crate::policy::pattern::Pattern;
use crate::policy::table::Table;
use crate::policy::{Access, Needs, Policy, Rule, RuleId};
use crate::scope::{Scope, Universe};

/// How a request shows who calls; each operation takes any.
const SCHEMES: [&str; 2] = ["bearer", "api_key"];

/// Completes the document: what every operation may answer, and the ways to show who calls.
pub fn complete(mut document: Value) -> Value {
    operations(&mut document).for_each(complete_operation);
    complete_bodies(&mut document);
    let Value::Object(members) = &mut document else { return document };
    members.insert("openapi".into(), json!("3.1.0"));
    let info = json!({
        "title": "Scopegate management",
        "version": env!("CARGO_PKG_VERSION"),
        "description": format!("Managed keys, roles, profiles, revocations and second factors. A caller with a tenant reaches that tenant's rows; \
            one without a tenant the rows without one, and with `{OPERATOR}` all."),
        "license": {"name": "Apache-2.0"},
    });
    members.insert("info".into(), info);
    let schemes = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "A token of any source that reads `Authorization`"},
        "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "A managed key"},
    });
    if let Some(components) = members.entry("components").or_insert_with(|| json!({})).as_object_mut() {
        components.insert("securitySchemes".into(), schemes);
        if let Some(schemas) = components.entry("schemas").or_insert_with(|| json!({})).as_object_mut() {
            schemas.insert("Problem".into(), json!(Problem::schema()));
            schemas.insert("Fault".into(), json!(Fault::schema()));
        }
    }
    document
}

fn complete_operation(operation: &mut Map<String, Value>) {
    let mut statuses = vec![];
    if let Some(security) = operation.get_mut("security").and_then(Value::as_array_mut)
        && let Some(scopes) = security.first().and_then(|first| first.get("bearer")).cloned()
    {
        *security = SCHEMES.map(|scheme| json!({scheme: scopes})).into();
        statuses = vec!["400", "401", "403", "429", "503"];
    }
    if operation.contains_key("requestBody") {
        statuses.extend(["413", "415", "422"]);
    }
    let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    for place in parameters.filter_map(|parameter| parameter.get("in").and_then(Value::as_str)) {
        statuses.push(if place == "path" { "404" } else { "422" });
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for status in statuses {
        responses.entry(status).or_insert_with(|| json!({"description": meaning(status)}));
    }
    let refused = responses.iter_mut().filter(|(status, _)| status.starts_with(['4', '5']));
    for response in refused.filter_map(|(_, response)| response.as_object_mut()) {
        response.insert("content".into(), json!({"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}));
    }
    responses.sort_keys();
}

/// Members that are not known are refused; a body that need not have any need not be there.
fn complete_bodies(document: &mut Value) {
    let body = "/content/application~1json/schema/$ref";
    let bodies = operations(document).filter_map(|operation| operation.get_mut("requestBody"));
    let mut open: Vec<String> = bodies.filter_map(|said| Some(said.pointer(body)?.as_str()?.to_owned())).collect();
    let mut closed = BTreeMap::new();
    while let Some(reference) = open.pop() {
        let Some(Value::Object(schema)) = document.pointer_mut(reference.trim_start_matches('#')) else { continue };
        if closed.contains_key(&reference) || schema.get("type").is_none_or(|kind| kind != "object") {
            continue;
        }
        schema.insert("additionalProperties".into(), false.into());
        references(&Value::Object(schema.clone()), &mut open);
        closed.insert(reference, schema.contains_key("required"));
    }
    for said in operations(document).filter_map(|operation| operation.get_mut("requestBody")) {
        let required = said.pointer(body).and_then(Value::as_str).and_then(|reference| closed.get(reference)).copied();
        if let (Some(said), Some(required)) = (said.as_object_mut(), required) {
            said.insert("required".into(), required.into());
        }
    }
}

/// Every schema that one refers to.
fn references(schema: &Value, into: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, into));
        }
        Value::Array(list) => list.iter().for_each(|entry| references(entry, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn meaning(status: &str) -> &'static str {
    match status {
        "400" => "Malformed or ambiguous",
        "401" => "No credential, or one that is refused",
        "403" => "Not enough scopes, another's tenant, or more than the caller holds itself",
        "404" => "Not there, or another tenant's",
        "413" => "The body is too large",
        "415" => "The body is not `application/json`",
        "422" => "Everything that is wrong with the request, in `faults`",
        "429" => "Too many requests",
        _ => "The store is out of reach; nothing was written",
    }
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let items = paths.into_iter().flat_map(|paths| paths.values_mut()).filter_map(Value::as_object_mut);
    items.flat_map(|item| item.values_mut()).filter_map(Value::as_object_mut)
}

/// Every path and its operations by method.
fn items(document: &Value) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
    let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
    paths.filter_map(|(path, item)| Some((path.as_str(), item.as_object()?)))
}

fn security(operation: &Value) -> Option<&Vec<Value>> {
    operation.get("security").and_then(Value::as_array)
}

/// Every scope that an operation of a document needs.
pub fn scopes(document: &Value) -> BTreeSet<Scope> {
    let requirements = items(document).flat_map(|(_, item)| item.values()).filter_map(security).flatten();
    let named = requirements.filter_map(Value::as_object).flat_map(Map::values).filter_map(Value::as_array).flatten();
    let named = named.filter_map(Value::as_str).chain([OPERATOR]);
    named.filter_map(|scope| Scope::parse(scope).ok()).collect()
}

/// Who may call what.
#[derive(Debug)]
pub struct Rules {
    pub policy: Policy,
    /// By rule, the scopes that it needs, space-delimited. They are no part of the rules because scopes are numbered anew at each reload.
    scopes: Vec<Box<str>>,
    /// Every path, whatever the method.
    paths: Table,
    /// The first segments of those.
    roots: Vec<Box<str>>,
}

impl Rules {
    /// From a complete document.
    pub fn of(document: &Value) -> Self {
        let mut rules = Self { policy: nothing(), scopes: Vec::new(), paths: Table::default(), roots: Vec::new() };
        for (path, item) in items(document) {
            let root = path.split('/').nth(1).unwrap_or_default();
            rules.roots.push(format!("/{root}").into());
            if let Ok(pattern) = Pattern::parse(path) {
                let _ = rules.paths.insert(pattern);
            }
            for (method, operation) in item {
                rules.add(&format!("{} {path}", method.to_ascii_uppercase()), operation);
            }
        }
        rules
    }

    fn add(&mut self, name: &str, operation: &Value) {
        let first = security(operation).and_then(|list| list.first());
        let (access, scopes) = match first.and_then(Value::as_object) {
            None => (Access::Deny, String::new()),
            Some(requirement) if requirement.is_empty() => (Access::Public, String::new()),
            Some(requirement) => {
                let scopes = requirement.values().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
                (Access::Needs(Needs::default()), scopes.collect::<Vec<_>>().join(" "))
            }
        };
        let added = Pattern::parse(name).ok().and_then(|pattern| self.policy.table.insert(pattern).ok());
        if added.is_some() {
            self.policy.rules.push(Rule { name: name.into(), access, ..denied() });
            self.scopes.push(scopes.into());
        }
    }

    /// The scopes that a rule needs.
    pub fn scopes(&self, rule: RuleId) -> &str {
        self.scopes.get(rule.0).map_or("", |scopes| scopes)
    }

    /// Whether a canonical path is one of these.
    pub fn knows(&self, path: &str) -> bool {
        let get = crate::request::Method::parse(b"GET");
        get.is_some_and(|get| self.paths.find(None, get, path).is_some())
    }

    /// Whether the path of a target could be one of these, at a glance.
    pub fn may_know(&self, target: &[u8]) -> bool {
        target.contains(&b'%') || self.roots.iter().any(|root| target.starts_with(root.as_bytes()))
    }
}

/// The paths of a document, as patterns of routes.
pub fn paths(document: &Value) -> BTreeMap<&str, Pattern> {
    items(document).filter_map(|(path, _)| Some((path, Pattern::parse(path).ok()?))).collect()
}

fn nothing() -> Policy {
    Policy { table: Table::default(), rules: Vec::new(), default: denied(), universe: Universe::default(), cors: None, watched: Box::default() }
}

fn denied() -> Rule {
    Rule::new("default", Access::Deny)
}
