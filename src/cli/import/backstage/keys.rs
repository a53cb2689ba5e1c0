//! `backend.auth.keys` into `keys`, and any secret of the file into a variable or a file of its own.
//! Keeps one of several keys that are the same bytes once decoded, and refuses what Backstage could not decode.

use serde_json::Value;
use zeroize::Zeroizing;

use super::super::draft::Draft;
use super::super::{kind_of, strangers, yaml};
use super::said::{Said, said};
use crate::config::tokens::token_fault;
use crate::principal::backstage::decode_secret;

/// The shared secrets, the first of which signs.
pub fn keys(auth: &Value, draft: &mut Draft<'_>) -> Option<String> {
    let list = match auth.get("keys") {
        None | Some(Value::Null) => return None,
        Some(Value::Array(list)) if list.is_empty() => return None,
        Some(Value::Array(list)) => list,
        Some(other) => {
            draft.fault(format!("`backend.auth.keys` is {}; it is a list of `{{secret}}`", kind_of(other)));
            return None;
        }
    };
    let mut text = String::from("    keys:\n");
    let mut seen: Vec<(usize, Zeroizing<Vec<u8>>)> = Vec::new();
    for (index, key) in list.iter().enumerate() {
        let place = format!("backend.auth.keys[{index}]");
        let rest = strangers(key, &format!("{place}."), &["secret"]);
        if !rest.is_empty() {
            draft.note(format!("without counterpart: {}", rest.join(", ")));
        }
        if let Some(bytes) = literal(key.get("secret")) {
            if let Some((first, _)) = seen.iter().find(|(_, other)| *other == bytes) {
                draft.note(format!("`{place}.secret` is left out: decoded, it is the same bytes as that of `backend.auth.keys[{first}]`"));
                continue;
            }
            seen.push((index, bytes));
        }
        if let Some(line) = secret(key.get("secret"), "secret", &format!("{place}.secret"), draft) {
            text.push_str(&format!("      - {{{line}}}\n"));
        }
    }
    Some(text)
}

/// The bytes of a secret that stands in the file.
fn literal(value: Option<&Value>) -> Option<Zeroizing<Vec<u8>>> {
    match said(value?) {
        Ok(Said::Text { text, variable: false }) => decode_secret(&text).ok().map(|(bytes, _)| bytes),
        Ok(Said::Text { .. } | Said::File(_)) | Err(_) => None,
    }
}

/// `secret: "${NAME}"`, or the file that has it. `key` is `secret`, which is base64, or `token`.
pub fn secret(value: Option<&Value>, key: &str, place: &str, draft: &mut Draft<'_>) -> Option<String> {
    let Some(value) = value else {
        draft.fault(format!("`{place}` is missing; write it as `${{NAME}}`"));
        return None;
    };
    let fault = match said(value) {
        Ok(Said::File(path)) => return Some(format!("{key}_file: {}", yaml::text(&draft.path(&path)))),
        Ok(Said::Text { text, variable: true }) => return Some(format!("{key}: {}", yaml::text(&text))),
        Ok(Said::Text { text, variable: false }) => match fault_of(key, &text) {
            None => return Some(draft.keep(key, place, &text)),
            Some(fault) => fault,
        },
        Err(fault) => fault,
    };
    draft.fault(format!("`{place}` {fault}"));
    None
}

fn fault_of(key: &str, text: &str) -> Option<&'static str> {
    if key == "token" {
        return token_fault(text);
    }
    match decode_secret(text) {
        Ok((bytes, _)) if bytes.is_empty() => Some("is empty; `openssl rand -base64 32` makes a secret"),
        Ok(_) => None,
        Err(_) => Some("is not base64; `openssl rand -base64 32` makes such a secret"),
    }
}
