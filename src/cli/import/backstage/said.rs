//! A value of Backstage's configuration, with its variables and includes, into Scopegate's spelling.
//! Refuses what only Backstage's loader could work out.

use std::path::PathBuf;

use serde_json::Value;

use crate::config::variables::is_variable;

/// What a value says.
pub enum Said {
    Text {
        text: String,
        /// Whether it names a variable, so that it is no secret by itself.
        variable: bool,
    },
    /// `$file`: the text is in there.
    File(PathBuf),
}

/// The fault never has the text, which may be a secret.
pub fn said(value: &Value) -> Result<Said, &'static str> {
    match value {
        Value::String(text) => substituted(text),
        Value::Object(object) => match object.iter().next() {
            Some((key, Value::String(name))) if object.len() == 1 => match key.as_str() {
                "$env" if is_variable(name) => Ok(Said::Text { text: format!("${{{name}}}"), variable: true }),
                "$file" => Ok(Said::File(name.into())),
                "$include" => Err("is an `$include` of another file, which is not followed; write it as `${NAME}` or as `$file`"),
                _ => Err("is a mapping; it is a text"),
            },
            _ => Err("is a mapping; it is a text"),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err("is no text; quote it, or write it as `${NAME}`"),
    }
}

/// `${NAME}` stays. What is not a variable there and would be one here, such as `$${…}`, cannot be said.
fn substituted(text: &str) -> Result<Said, &'static str> {
    if ["$${", "{{env.", "&#123;&#123;env."].iter().any(|form| text.contains(form)) {
        return Err("has `$${` or `{{env.` in it, which would be a variable here; put all of it into one variable");
    }
    let (mut out, mut rest) = (String::new(), text);
    let mut variable = false;
    while let Some((before, from)) = rest.split_once("${") {
        let (name, after) = from.split_once('}').ok_or("has a variable that is not closed; write `${NAME}`")?;
        if name.contains(":-") {
            return Err("has a variable with a default, which is not known here; write `${NAME}` alone and set the variable");
        }
        if !is_variable(name.trim()) {
            return Err("has a variable without a plain name; a name is letters, digits and `_`");
        }
        out.push_str(&format!("{before}${{{}}}", name.trim()));
        variable = true;
        rest = after;
    }
    out.push_str(rest);
    Ok(Said::Text { text: out, variable })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_stay_and_nothing_else_becomes_one() {
        for (value, expected, is_variable) in [
            (json!("${A}"), "${A}", true),
            (json!("${ A }"), "${A}", true),
            (json!("x-${A}-${B}"), "x-${A}-${B}", true),
            (json!({"$env": "A"}), "${A}", true),
            (json!("plain"), "plain", false),
            (json!("cost$"), "cost$", false),
        ] {
            let Ok(Said::Text { text, variable }) = said(&value) else { panic!("{value}") };
            assert_eq!((text.as_str(), variable), (expected, is_variable), "{value}");
        }
        assert!(matches!(said(&json!({"$file": "a.txt"})), Ok(Said::File(path)) if path.as_os_str() == "a.txt"));
        for value in [
            json!("${A:-x}"),
            json!("${}"),
            json!("${A B}"),
            json!("$${A}"),
            json!("$${A}${B}"),
            json!("a${b"),
            json!("{{env.A}}"),
            json!({"$include": "a.yaml#b"}),
            json!({"a": "b"}),
            json!(7),
            json!(null),
            json!({"$env": "A B"}),
        ] {
            assert!(said(&value).is_err(), "{value}");
        }
    }
}
