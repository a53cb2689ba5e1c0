//! `backend.auth.externalAccess` into `external_access`, in Backstage's own spelling.
//! Refuses what Backstage refuses at its start: a restriction that is not understood must not be lost.

use serde_json::Value;

use super::super::draft::Draft;
use super::super::{kind_of, strangers, yaml};
use super::is_plugin;
use super::keys::secret;
use super::said::{Said, said};
use crate::fetch::is_allowed;
use crate::jose::Algorithm;

/// The section, where there is any external access, and the plugins that restrictions speak of.
pub fn access(auth: &Value, draft: &mut Draft<'_>) -> Option<(String, Vec<String>)> {
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
    let mut plugins = Vec::new();
    for (index, entry) in list.iter().enumerate() {
        let place = format!("backend.auth.externalAccess[{index}]");
        text.push_str(&one(entry, &place, &mut plugins, draft).unwrap_or_default());
    }
    Some((text, plugins))
}

fn one(entry: &Value, place: &str, plugins: &mut Vec<String>, draft: &mut Draft<'_>) -> Option<String> {
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
    let kind = entry.get("type").and_then(Value::as_str);
    let ways = match kind {
        Some("static") => vec![known_to_us(options, "token", &at, draft)],
        Some("legacy") => vec![known_to_us(options, "secret", &at, draft)],
        Some("jwks") => published(options, &at, draft),
        _ => {
            draft.fault(format!("`{place}.type` is none of `static`, `legacy` and `jwks`"));
            return None;
        }
    };
    let restrictions = restrictions(entry.get("accessRestrictions"), &format!("{place}.accessRestrictions"), plugins, draft).unwrap_or_default();
    let kind = yaml::text(kind?);
    Some(ways.iter().map(|options| format!("      - type: {kind}\n        options: {{{options}}}\n{restrictions}")).collect())
}

/// A token or a secret, and who has it.
fn known_to_us(options: &Value, key: &str, place: &str, draft: &mut Draft<'_>) -> String {
    refuse(options, place, &[key, "subject"], draft);
    let secret = secret(options.get(key), key, &format!("{place}.{key}"), draft);
    let subject = texts(options, "subject", place, draft);
    if options.get("subject").and_then(Value::as_str).is_none_or(|subject| subject.contains(char::is_whitespace)) {
        draft.fault(format!("`{place}.subject` is missing, or no word; it is one such as `ci`"));
    }
    secret.into_iter().chain(subject).collect::<Vec<_>>().join(", ")
}

/// Tokens of an issuer that publishes its keys; one way for each issuer, whose keys are its own.
fn published(options: &Value, place: &str, draft: &mut Draft<'_>) -> Vec<String> {
    refuse(options, place, &["url", "issuer", "algorithm", "audience", "subjectPrefix"], draft);
    for (key, what) in [("url", "it is the address of the key set"), ("algorithm", "name what the issuer signs with, such as `RS256`")] {
        if options.get(key).is_none() {
            draft.fault(format!("`{place}.{key}` is missing; {what}"));
        }
    }
    if let Some(fault) = options.get("url").and_then(Value::as_str).filter(|url| !url.contains("${")).and_then(|url| is_allowed(url).err()) {
        draft.fault(format!("`{place}.url`: {fault}"));
    }
    let named = words(options.get("algorithm"));
    if named.iter().any(|name| !name.contains("${") && Algorithm::parse(name).is_none_or(Algorithm::is_hmac)) {
        draft.fault(format!("`{place}.algorithm` has one that public keys are not for; known are RS, PS 256 to 512, ES256, ES384 and EdDSA"));
    }
    if options.get("audience").is_none() {
        draft.note(format!("`{place}` has no `audience`: tokens that are for somebody (`aud`) are refused until it names whom"));
    }
    let rest: Vec<String> = ["algorithm", "audience", "subjectPrefix"].iter().filter_map(|key| texts(options, key, place, draft)).collect();
    let url = texts(options, "url", place, draft).unwrap_or_default();
    let issuers = words(options.get("issuer"));
    let each = issuers.iter().map(|issuer| Some(format!("issuer: {}", yaml::text(issuer))));
    let each: Vec<Option<String>> = if issuers.is_empty() { vec![None] } else { each.collect() };
    each.into_iter().map(|issuer| std::iter::once(url.clone()).chain(issuer).chain(rest.iter().cloned()).collect::<Vec<_>>().join(", ")).collect()
}

/// The words of a text or of a list, as Backstage splits them.
fn words(value: Option<&Value>) -> Vec<String> {
    let list = match value {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let texts = list.iter().filter_map(|item| match said(item) {
        Ok(Said::Text { text, .. }) => Some(text),
        Ok(Said::File(_)) | Err(_) => None,
    });
    texts.flat_map(|text| text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()).collect()
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
    match value.as_array() {
        Some(list) => Some(format!("{key}: [{}]", list.iter().filter_map(text).collect::<Vec<_>>().join(", "))),
        None => text(value).map(|text| format!("{key}: {text}")),
    }
}

fn restrictions(said: Option<&Value>, place: &str, plugins: &mut Vec<String>, draft: &mut Draft<'_>) -> Option<String> {
    let said = said.filter(|said| !said.is_null())?;
    let Some(list) = said.as_array() else {
        draft.fault(format!("`{place}` is {}; it is a list", kind_of(said)));
        return None;
    };
    let mut seen: Vec<&str> = Vec::new();
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
        if seen.contains(&plugin) {
            draft.fault(format!("`{place}.plugin` is `{plugin}` a second time; Backstage takes one restriction a plugin"));
        }
        seen.push(plugin);
        if !plugins.iter().any(|known| known == plugin) {
            plugins.push(plugin.to_owned());
        }
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
            draft.note("`permission` and `permissionAttribute` of `accessRestrictions` became the scopes of such callers; the backend goes on checking them too");
        }
        text.push_str(&format!("          - {{{}}}\n", lines.join(", ")));
    }
    Some(text)
}

fn check_actions(action: Option<&Value>, place: &str, draft: &mut Draft<'_>) {
    let words = words(action);
    if words.is_empty() || words.iter().any(|word| !["create", "read", "update", "delete"].contains(&word.as_str())) {
        draft.fault(format!("`{place}.action` is none of `create`, `read`, `update` and `delete`"));
    }
}
