//! `${NAME}` and `{{env.NAME}}` inside string values into the environment's text.
//! An unset or empty variable is a fault, never an empty text; what was put in is not searched again.

use super::fault::Faults;
use super::tree::{Node, Value};

/// The three spellings; the last is what a template engine made of the second.
const FORMS: [(&str, &str); 3] = [("${", "}"), ("{{env.", "}}"), ("&#123;&#123;env.", "&#125;&#125;")];

/// Puts variables into every string of the tree.
pub fn substitute(node: &mut Node, env: &dyn Fn(&str) -> Option<String>, faults: &mut Faults) {
    match &mut node.value {
        Value::Text(text) => match replaced(text, env) {
            Ok(None) => {}
            Ok(Some(new)) => {
                *text = new;
                node.substituted = true;
            }
            Err(message) => faults.at(node, message),
        },
        Value::List(items) => items.iter_mut().for_each(|item| substitute(item, env, faults)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, item)| substitute(item, env, faults)),
        Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Float(_) => {}
    }
}

fn replaced(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let mut out = String::new();
    let mut rest = text;
    let mut any = false;
    while let Some((start, (open, close))) = FORMS.iter().filter_map(|form| Some((rest.find(form.0)?, form))).min_by_key(|(start, _)| *start) {
        let (before, from) = rest.split_at_checked(start).unwrap_or((rest, ""));
        let inside = from.strip_prefix(open).unwrap_or_default();
        let Some((name, after)) = inside.split_once(close) else {
            return Err(format!("variable `{open}…` is not closed; write `{open}NAME{close}`"));
        };
        if !is_variable(name) {
            // A password may have these characters, too.
            return Err(format!("variable `{open}…{close}` has no plain name; a name is letters, digits and `_`"));
        }
        match env(name) {
            Some(value) if !value.is_empty() => {
                out.push_str(before);
                out.push_str(&value);
            }
            Some(_) => return Err(format!("variable `{name}` is empty in the environment; give it a value")),
            None => return Err(format!("variable `{name}` is not set in the environment; set it")),
        }
        rest = after;
        any = true;
    }
    out.push_str(rest);
    Ok(any.then_some(out))
}

/// Letters, digits and `_`, and no digit first.
pub fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".into()),
            "NEST" => Some("${A}".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn every_spelling_is_replaced_once() {
        for (text, result) in [
            ("x${A}y", "xalphay"),
            ("{{env.A}}", "alpha"),
            ("&#123;&#123;env.A&#125;&#125;", "alpha"),
            ("${A}-{{env.A}}", "alpha-alpha"),
            ("${NEST}", "${A}"),
        ] {
            assert_eq!(replaced(text, &env).unwrap().as_deref(), Some(result), "{text}");
        }
        for untouched in ["", "$A", "{{auth.sub}}", "{rest...}"] {
            assert_eq!(replaced(untouched, &env), Ok(None), "{untouched}");
        }
    }

    #[test]
    fn unset_empty_and_malformed_variables_are_faults() {
        for text in ["${NOPE}", "${EMPTY}", "${", "${A", "${}", "${A B}", "{{env.1}}", "{{env.A}"] {
            assert!(replaced(text, &env).is_err(), "{text}");
        }
    }
}
