//! Texts into YAML scalars: bare where every reader takes them for the same text, else quoted as in JSON.
//! Writes nothing that could be read as a number, a boolean, a comment or a reference.

/// A scalar that may stand anywhere, inside `[…]` and `{…}` too.
pub fn text(text: &str) -> String {
    let bare = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte) || byte == b':')
        && !text.ends_with(':')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if bare { text.to_owned() } else { quoted(text) }
}

/// The pattern of a route as a key of a block mapping.
pub fn pattern(pattern: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"/ {}._-$".contains(&byte);
    if pattern.starts_with(|first: char| first == '/' || first.is_ascii_uppercase()) && pattern.bytes().all(bare) {
        pattern.to_owned()
    } else {
        quoted(pattern)
    }
}

pub fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", items.into_iter().map(text).collect::<Vec<_>>().join(", "))
}

/// A line of a comment.
pub fn comment(text: &str) -> String {
    format!("# {}", line(text))
}

/// One line, whatever the operator's text in it.
pub fn line(text: &str) -> String {
    text.chars().fold(String::new(), |mut line, character| {
        if is_odd(character) {
            line.extend(character.escape_debug());
        } else {
            line.push(character);
        }
        line
    })
}

fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.chars().fold(String::new(), |mut quoted, character| {
        if is_odd(character) {
            quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            quoted.push(character);
        }
        quoted
    })
}

/// What a reader of YAML refuses, drops, or takes for a line end.
fn is_odd(character: char) -> bool {
    character.is_control() || ['\u{2028}', '\u{2029}', '\u{feff}', '\u{fffe}', '\u{ffff}'].contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree;

    #[test]
    fn a_text_comes_back_as_it_was() {
        let texts = [
            "a",
            "users:delete",
            "a.b/c_d-e",
            "",
            " a",
            "a ",
            "1",
            "0x1",
            "1e3",
            "true",
            "No",
            "null",
            "~",
            "*",
            "users:*",
            "a: b",
            "a #b",
            "a:",
            "&a",
            "!a",
            "${A}",
            "{{auth.sub}}",
            "[a]",
            "{a}",
            "a\"b",
            "a\\b",
            "a\nb",
            "\u{1}\u{7f}\u{85}\u{2028}\u{feff}\u{ffff}\u{1f600}",
            "caf\u{e9}",
            "-",
            "- a",
            "?",
            "@a",
            "%a",
            "`a`",
            "'a'",
            ">",
            "|",
            "2001-01-01",
            "12:30:45",
            "Y",
            "on",
        ];
        for said in texts {
            for yaml in [format!("k: {}", text(said)), format!("k: [{}, x]", text(said)), format!("{{k: {}}}", text(said))] {
                let node = tree::parse(&yaml).unwrap_or_else(|fault| panic!("{yaml}: {fault:?}"));
                let found = node.get("k").unwrap();
                let found = found.text().or_else(|| found.items().first().and_then(tree::Node::text));
                assert_eq!(found, Some(said), "{yaml}");
            }
        }
    }

    #[test]
    fn a_pattern_comes_back_as_it_was() {
        for said in ["GET /users/{id}", "/a/{rest...}", "/{$}", "POST /a:b", "/caf\u{e9}", "GET /a#b", "/a%20b"] {
            let node = tree::parse(&format!("{}: public", pattern(said))).unwrap();
            assert_eq!(node.entries()[0].0.text, said);
        }
    }

    #[test]
    fn a_comment_stays_one_line() {
        assert_eq!(comment("a\nb: c\u{85}"), "# a\\nb: c\\u{85}");
    }
}
