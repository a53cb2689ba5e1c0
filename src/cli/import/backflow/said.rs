//! A text with Backflow's templates into one with Scopegate's variables.
//! Refuses every template that is not of the environment, and a text that would turn into a variable here.

use crate::config::variables::is_variable;

/// A text in Scopegate's spelling.
pub struct Said {
    pub text: String,
    /// Whether it names a variable, so that it is no secret by itself.
    pub variable: bool,
}

/// `{{env.NAME}}` becomes `${NAME}`. The fault never has the text, which may be a secret.
pub fn said(text: &str) -> Result<Said, &'static str> {
    let plain = text.replace("&#123;", "{").replace("&#125;", "}");
    if plain.contains("${") {
        return Err("has `${` in it, which would be a variable here; set it by a variable");
    }
    let mut out = String::new();
    let mut rest = plain.as_str();
    let mut variable = false;
    while let Some((before, from)) = rest.split_once("{{") {
        let (inside, after) = from.split_once("}}").ok_or("has a template that is not closed; write `{{env.NAME}}`")?;
        let name = inside.trim();
        if name.starts_with("secret:") {
            return Err("is a tenant's own secret, which is in Backflow's store; put it into a variable and write `{{env.NAME}}`");
        }
        let name = name
            .strip_prefix("env.")
            .filter(|name| is_variable(name))
            .ok_or("has a template that is not `{{env.NAME}}`; only the environment is known here")?;
        out.push_str(&format!("{before}${{{name}}}"));
        rest = after;
        variable = true;
    }
    out.push_str(rest);
    Ok(Said { text: out, variable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_variable_is_one() {
        for (text, expected, variable) in [
            ("{{env.A}}", "${A}", true),
            ("{{ env.A_1 }}", "${A_1}", true),
            ("&#123;&#123;env.A&#125;&#125;", "${A}", true),
            ("x{{env.A}}y{{env.B}}", "x${A}y${B}", true),
            ("plain", "plain", false),
            ("", "", false),
        ] {
            let said = said(text).ok().unwrap();
            assert_eq!((said.text.as_str(), said.variable), (expected, variable), "{text}");
        }
        for text in ["{{secret:KEY}}", "{{env.}}", "{{env.A", "{{auth.sub}}", "{{env.A B}}", "${A}", "$&#123;A}"] {
            assert!(said(text).is_err(), "{text}");
        }
    }
}
