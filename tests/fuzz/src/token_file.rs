//! A token file is taken whole, so that each of its tokens is known, or refused in messages without a token.

use std::path::Path;

use scopegate::config::Faults;
use scopegate::config::tokens::{Context, parse};
use scopegate::credential::digest::TagKey;
use scopegate::principal::roles::Roles;
use scopegate::scope::Universe;
use serde_json::Value;

use crate::count;

pub fn hold(data: &[u8]) {
    let mut roles = Roles::default();
    let universe = Universe::default();
    let context = Context { key: TagKey::new([7; 32]), universe: &universe, roles: &mut roles, strict_modes: false, max_size: 1 << 20 };
    let tag = |token: &str| TagKey::new([7; 32]).of_token(token);
    let value = serde_json::from_slice::<Value>(data);
    match parse(data, context, Faults::of(Path::new("tokens.json"))) {
        Ok(roster) => {
            let value = value.expect("what is accepted is JSON");
            for entry in value.get("tokens").unwrap_or(&value).as_array().expect("and a list") {
                let windowed = ["disabled", "not_before", "expires_at"].iter().any(|key| entry.get(key).is_some_and(|value| !value.is_null()));
                let (Some(token), false) = (entry.get("token").and_then(Value::as_str), windowed) else { continue };
                let found = roster.find(token, tag(token), 1_700_000_000).map(|(owner, _)| owner.id.to_string()).map_err(|(cause, _)| cause);
                let longer = format!("{token}x");
                let id = entry.get("id").or_else(|| entry.get("name")).and_then(Value::as_str).unwrap_or_default();
                assert_eq!(found.as_deref(), Ok(id));
                assert!(roster.find(&longer, tag(&longer), 0).is_err());
            }
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            let text = faults.to_string();
            for fault in faults.iter() {
                assert!(!fault.message.is_empty() && !fault.message.chars().any(char::is_control), "{text}");
            }
            let mut secrets = Vec::new();
            if let Ok(value) = &value {
                collect(value, &mut secrets);
            }
            // A token that stands somewhere else too is not one that the file keeps secret.
            for secret in secrets.iter().filter(|secret| secret.len() >= 16 && count(data, secret.as_bytes()) == 1) {
                let elsewhere = strings(value.as_ref().ok()).iter().filter(|text| text.contains(*secret)).count();
                assert!(elsewhere > 1 || !text.contains(secret), "{text}");
            }
        }
    }
}

fn collect<'a>(value: &'a Value, secrets: &mut Vec<&'a str>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| collect(value, secrets)),
        Value::Object(members) => {
            for (key, value) in members {
                if let ("token", Some(text)) = (key.as_str(), value.as_str()) {
                    secrets.push(text);
                }
                collect(value, secrets);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every text of a document, keys too.
fn strings(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().flat_map(|value| strings(Some(value))).collect(),
        Some(Value::Object(members)) => members.iter().flat_map(|(key, value)| std::iter::once(key.as_str()).chain(strings(Some(value)))).collect(),
        _ => Vec::new(),
    }
}
