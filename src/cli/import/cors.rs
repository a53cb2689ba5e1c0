//! `cors` of another system into that of a configuration: whole origins and whether pages may send cookies.
//! Takes no patterns: an origin that only a pattern tells is for the operator to name.

use serde_json::Value;

use super::draft::Draft;
use super::yaml;
use crate::config::cors::is_origin;

/// `what` is the key as a note names it.
pub fn cors(said: Option<&Value>, what: &str, draft: &mut Draft<'_>) -> Option<String> {
    let said = said.filter(|said| !matches!(said, Value::Null | Value::Bool(false)))?;
    let origins: Option<Vec<&str>> = match said.get("origin").or_else(|| said.get("origins")) {
        Some(Value::String(origin)) => Some(vec![origin]),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(_) | None => None,
    };
    let credentials = said.get("credentials") == Some(&Value::Bool(true));
    let plain = |origins: &Vec<&str>| !origins.is_empty() && (origins.iter().all(|origin| is_origin(origin)) || (**origins == ["*"] && !credentials));
    let Some(origins) = origins.filter(plain) else {
        draft.note(format!("`{what}` names no whole origins such as `https://app.example.com`; name them under `cors` where browsers call"));
        return None;
    };
    let credentials = if credentials { ", credentials: true" } else { "" };
    Some(format!("cors: {{origins: {}{credentials}}}\n", yaml::list(origins)))
}
