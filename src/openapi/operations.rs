//! `paths` of a document into operations, references within the document followed.
//! Fetches nothing: a reference to another file is a fault that says what would be right.

use serde_json::{Map, Value};

use super::security::security;
use super::server::{self, Place};
use super::{Document, Operation, Template};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// How many references may lead to a next one.
const MAX_STEPS: usize = 16;

pub fn document(root: &Value, base: Option<&str>) -> Result<Document, String> {
    let Some(paths) = root.get("paths").and_then(Value::as_object) else {
        return Err("the document has no `paths`; they are a mapping such as `{/orders: {get: …}}`".into());
    };
    let reader = Reader { root, base: base.map(server::base).transpose()?, place: server::place(root.get("servers")).unwrap_or_default() };
    let mut operations = Vec::new();
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
        reader.path(path, item, &mut operations).map_err(|fault| format!("path `{}`: {fault}", path.escape_debug()))?;
    }
    if operations.is_empty() {
        return Err("the document has no operations; a path has some such as `get` or `post`".into());
    }
    let speaks_of_security = root.get("security").is_some()
        || root.pointer("/components/securitySchemes").and_then(Value::as_object).is_some_and(|schemes| !schemes.is_empty())
        || operations.iter().any(|operation: &Operation| operation.security != super::Security::Unsaid);
    let mut notes = Vec::new();
    if let (None, [_, ..]) = (&reader.base, reader.place.others.as_slice()) {
        let shown = |base: &String| format!("`{}`", if base.is_empty() { "/" } else { base });
        let others: Vec<String> = reader.place.others.iter().map(shown).collect();
        notes.push(format!(
            "servers of the document have different base paths; {} is taken and not {}, --base-path takes another",
            shown(&reader.place.base),
            others.join(", ")
        ));
    }
    Ok(Document { operations, speaks_of_security, notes })
}

struct Reader<'d> {
    root: &'d Value,
    /// As the operator says.
    base: Option<String>,
    place: Place,
}

impl<'d> Reader<'d> {
    fn path(&self, path: &str, item: &'d Value, operations: &mut Vec<Operation>) -> Result<(), String> {
        if !path.starts_with('/') {
            return Err("it does not begin with a slash".into());
        }
        let item = self.follow(item)?;
        let object = item.as_object().ok_or("it is no mapping of methods")?;
        for (method, operation) in METHODS.iter().filter_map(|method| Some((*method, object.get(*method)?))) {
            let operation = operation.as_object().ok_or_else(|| format!("`{method}` is no mapping"))?;
            operations.push(self.operation((method, path), object, operation).map_err(|fault| format!("`{method}`: {fault}"))?);
        }
        Ok(())
    }

    fn operation(&self, (method, path): (&str, &str), item: &'d Map<String, Value>, said: &'d Map<String, Value>) -> Result<Operation, String> {
        let own = server::place(said.get("servers")).or_else(|| server::place(item.get("servers")));
        let place = own.as_ref().unwrap_or(&self.place);
        let path = format!("{}{path}", self.base.as_ref().unwrap_or(&place.base));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Operation {
            method: method.to_ascii_uppercase(),
            template: Template::parse(&path, &self.many(item, said)?),
            path,
            id: said.get("operationId").and_then(text),
            tags: said.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(text).collect(),
            security: security(said.get("security"), self.root.get("security"))?,
            hosts: place.hosts.clone(),
        })
    }

    /// The path parameters whose values may have slashes: GitHub's documents say `x-multi-segment`, OpenAPI itself has no word for it but
    /// `allowReserved`.
    fn many(&self, item: &'d Map<String, Value>, said: &'d Map<String, Value>) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for parameter in [item, said].iter().filter_map(|object| object.get("parameters")?.as_array()).flatten() {
            let parameter = self.follow(parameter)?;
            let says = |key: &str| parameter.get(key) == Some(&Value::Bool(true));
            if parameter.get("in").and_then(Value::as_str) == Some("path") && (says("x-multi-segment") || says("allowReserved")) {
                names.extend(parameter.get("name").and_then(Value::as_str).map(str::to_owned));
            }
        }
        Ok(names)
    }

    /// What a reference stands for, or the value itself.
    fn follow(&self, value: &'d Value) -> Result<&'d Value, String> {
        let mut value = value;
        for _ in 0..MAX_STEPS {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
            let Some(pointer) = reference.strip_prefix('#') else {
                let reference = reference.escape_debug();
                return Err(format!("`$ref: {reference}` leads to another file; bundle the document first, as with `npx @redocly/cli bundle`"));
            };
            // RFC 6901 §6: a pointer in a fragment is percent-encoded.
            let pointer = super::template::decoded_pointer(pointer);
            value = self.root.pointer(&pointer).ok_or_else(|| format!("`$ref: {}` leads to nothing", reference.escape_debug()))?;
        }
        Err("`$ref` leads to itself".into())
    }
}
