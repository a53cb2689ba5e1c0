//! `backend.auth.externalAccess` into `external_access`, in Backstage's own spelling.
//! Refuses what Backstage refuses at its start: a restriction that is not understood must not be lost.

use serde_json::Value;

use super::super::draft::Draft;
use super::super::{kind_of, strangers, yaml};
use super::{Said, is_plugin, said, secret};

/// The section, where there is any external access. `placed` where the plugin behind the gate is known.
pub fn access(auth: &Value, placed: bool, draft: &mut Draft<'_>) -> Option<String> {
    let list = match auth.get("externalAccess") {
        None | Some(Value::Null) => return None,
        Some(Value::Array(list)) if list.is_empty() => return None,
        Some(Value::Array(list)) => list,
        Some(other) => {
            draft.fault(format!("`backend.auth.externalAccess` is {}; it is a list", kind_of(other)));
            return None;
        }
    };
    let mut text = String::from("    external_access:\n");
    for (index, entry) in list.iter().enumerate() {
        let place = format!("backend.auth.externalAccess[{index}]");
        if let Some(entry) = one(entry, &place, placed, draft) {
            text.push_str(&entry);
        }
    }
    Some(text)
}

fn one(entry: &Value, place: &str, placed: bool, draft: &mut Draft<'_>) -> Option<String> {
    refuse(entry, place, &["type", "options", "config", "accessRestrictions"], draft);
    // Backstage's first versions called them `config`.
    let options = match (entry.get("options"), entry.get("config")) {
        (Some(options), None) | (None, Some(options)) => options,
        (Some(_), Some(_)) => {
            draft.fault(format!("`{place}` has both `options` and `config`, its older name; keep one"));
            return None;
        }
        (None, None) => {
            draft.fault(format!("`{place}` has no `options`"));
            return None;
        }
    };
    let at = format!("{place}.options");
    let mut lines = Vec::new();
    let kind = entry.get("type").and_then(Value::as_str);
    match kind {
        Some("static") => {
            refuse(options, &at, &["token", "subject"], draft);
            lines.extend(secret(options.get("token"), "token", &format!("{at}.token"), draft));
            lines.extend(texts(options, "subject", &at, draft));
        }
        Some("legacy") => {
            refuse(options, &at, &["secret", "subject"], draft);
            lines.extend(secret(options.get("secret"), "secret", &format!("{at}.secret"), draft));
            lines.extend(texts(options, "subject", &at, draft));
        }
        Some("jwks") => {
            let known = ["url", "issuer", "algorithm", "audience", "subjectPrefix"];
            refuse(options, &at, &known, draft);
            lines.extend(known.iter().filter_map(|key| texts(options, key, &at, draft)));
        }
        _ => draft.fault(format!("`{place}.type` is none of `static`, `legacy` and `jwks`")),
    }
    let needed: &[&str] = if kind == Some("jwks") { &["url"] } else { &["subject"] };
    for key in needed.iter().filter(|key| kind.is_some() && options.get(**key).is_none()) {
        draft.fault(format!("`{at}.{key}` is missing"));
    }
    let restrictions = restrictions(entry.get("accessRestrictions"), &format!("{place}.accessRestrictions"), draft);
    if restrictions.is_some() && !placed {
        draft.note("`accessRestrictions` are judged for the plugin behind the gate; give --plugin ID, or set `plugin`, or such tokens are refused");
    }
    Some(format!("      - type: {}\n        options: {{{}}}\n{}", yaml::text(kind?), lines.join(", "), restrictions.unwrap_or_default()))
}

/// A key that Backstage does not know stops its start, and this import.
fn refuse(value: &Value, place: &str, known: &[&str], draft: &mut Draft<'_>) {
    if !value.is_object() {
        return draft.fault(format!("`{place}` is {}; it is a mapping", kind_of(value)));
    }
    let rest = strangers(value, "", known);
    if !rest.is_empty() {
        draft.fault(format!("`{place}` has {}, which Backstage does not know there", rest.join(", ")));
    }
}

/// `key: text` or `key: [text, …]`, as it is said.
fn texts(options: &Value, key: &str, place: &str, draft: &mut Draft<'_>) -> Option<String> {
    let value = options.get(key)?;
    let mut text = |value: &Value| match said(value) {
        Ok(Said::Text { text, .. }) if !text.is_empty() => Some(yaml::text(&text)),
        Ok(Said::Text { .. } | Said::File(_)) => {
            draft.fault(format!("`{place}.{key}` is empty, or in a file; write it out"));
            None
        }
        Err(fault) => {
            draft.fault(format!("`{place}.{key}` {fault}"));
            None
        }
    };
    match value {
        Value::Array(list) => Some(format!("{key}: [{}]", list.iter().filter_map(text).collect::<Vec<_>>().join(", "))),
        one => text(one).map(|text| format!("{key}: {text}")),
    }
}

fn restrictions(said: Option<&Value>, place: &str, draft: &mut Draft<'_>) -> Option<String> {
    let list = match said? {
        Value::Null => return None,
        Value::Array(list) => list,
        other => {
            draft.fault(format!("`{place}` is {}; it is a list", kind_of(other)));
            return None;
        }
    };
    let mut plugins: Vec<&str> = Vec::new();
    let mut text = String::from("        accessRestrictions:\n");
    if list.is_empty() {
        draft.fault(format!("`{place}` is an empty list; remove it, or name a plugin"));
    }
    for (index, restriction) in list.iter().enumerate() {
        let place = format!("{place}[{index}]");
        refuse(restriction, &place, &["plugin", "permission", "permissionAttribute"], draft);
        let Some(plugin) = restriction.get("plugin").and_then(Value::as_str).filter(|plugin| is_plugin(plugin)) else {
            draft.fault(format!("`{place}.plugin` is no plugin id, such as `catalog`"));
            continue;
        };
        if plugins.contains(&plugin) {
            draft.fault(format!("`{place}.plugin` is `{plugin}` a second time; Backstage takes one restriction a plugin"));
        }
        plugins.push(plugin);
        let mut lines = vec![format!("plugin: {}", yaml::text(plugin))];
        lines.extend(texts(restriction, "permission", &place, draft));
        if let Some(attribute) = restriction.get("permissionAttribute") {
            let place = format!("{place}.permissionAttribute");
            refuse(attribute, &place, &["action"], draft);
            check_actions(attribute.get("action"), &place, draft);
            let action = texts(attribute, "action", &place, draft);
            lines.push(format!("permissionAttribute: {{{}}}", action.unwrap_or_default()));
        }
        if lines.len() > 1 {
            draft.note("`permission` and `permissionAttribute` of `accessRestrictions` are for the plugin's own permissions, which the backend goes on checking");
        }
        text.push_str(&format!("          - {{{}}}\n", lines.join(", ")));
    }
    Some(text)
}

fn check_actions(action: Option<&Value>, place: &str, draft: &mut Draft<'_>) {
    let list = match action {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let words = list.iter().flat_map(|action| action.as_str().unwrap_or("?").split([',', ' ']).filter(|word| !word.is_empty()));
    if words.clone().count() == 0 || words.clone().any(|word| !["create", "read", "update", "delete"].contains(&word)) {
        draft.fault(format!("`{place}.action` is none of `create`, `read`, `update` and `delete`"));
    }
}
