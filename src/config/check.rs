//! A tree against the table of known keys: every fault with its place and with what would be right.
//! Quotes no value that could be a secret in the wrong place.

use std::borrow::Cow;

use super::fault::Faults;
use super::quantity;
use super::shape::{Key, Shape};
use super::tree::{Node, Value};
use crate::policy::considered::distance;

/// Reports whatever of the tree is unknown, doubled or of another shape. What passes can be read without asking again.
pub fn check(node: &Node, shape: &Shape, what: &str, faults: &mut Faults) {
    match (shape, &node.value) {
        (Shape::Text, Value::Text(_)) | (Shape::Bool, Value::Bool(_)) => {}
        (Shape::Count, Value::Whole(1..)) => {}
        (Shape::Texts, Value::Text(_)) => {}
        (Shape::Texts, Value::List(items)) => items.iter().for_each(|item| check(item, &Shape::Text, what, faults)),
        (Shape::Duration, Value::Text(text)) if quantity::duration(text).is_some() => {}
        (Shape::Size, Value::Text(text)) if quantity::size(text).is_some() => {}
        (Shape::Choice(choices, _), Value::Text(text)) if choices.contains(&text.as_str()) => {}
        (Shape::Choice(_, later), Value::Text(text)) if later.contains(&text.as_str()) => {
            faults.at(node, format!("`{what}: {text}` is not yet available in this version; {}", describe(shape)));
        }
        (Shape::Object(keys), Value::Map(entries)) => {
            doubled(node, what, faults);
            for (said, value) in entries {
                let key = if is_private(what) { word(&said.text) } else { Cow::Borrowed(said.text.as_str()) };
                let name = if what.is_empty() { key.to_string() } else { format!("{what}.{key}") };
                match keys.iter().find(|known| known.name == said.text) {
                    Some(known) => check(value, &known.shape, &name, faults),
                    None => faults.at_place(said.place, format!("key `{name}` is unknown; {}", nearest(key.trim_end_matches('…'), keys))),
                }
            }
        }
        (Shape::List(inner), Value::List(items)) => items.iter().for_each(|item| check(item, inner, what, faults)),
        (Shape::Map(inner, _), Value::Map(entries)) => {
            doubled(node, what, faults);
            entries.iter().for_each(|(said, value)| check(value, inner, &format!("{what}.{}", said.text), faults));
        }
        (Shape::Either(shapes), _) => match shapes.iter().find(|shape| accepts(shape, &node.value)) {
            Some(shape) => check(node, shape, what, faults),
            None => faults.at(node, format!("`{what}` is {}; it is {}", found(node, shape, what), describe(shape))),
        },
        _ => faults.at(node, format!("`{what}` is {}; it is {}", found(node, shape, what), describe(shape))),
    }
}

fn accepts(shape: &Shape, value: &Value) -> bool {
    matches!(
        (shape, value),
        (Shape::Text, Value::Text(_))
            | (Shape::Count, Value::Whole(_))
            | (Shape::Texts, Value::Text(_) | Value::List(_))
            | (Shape::Object(_) | Shape::Map(..), Value::Map(_))
    )
}

/// Where a text of another shape than it must have could be a secret that has lost its way.
fn is_private(what: &str) -> bool {
    ["credentials", "egress", "cases.request"].iter().any(|key| what.starts_with(key))
}

/// What stands there: as it was said, unless that could be a secret.
fn found(node: &Node, shape: &Shape, what: &str) -> String {
    match (&node.value, shape) {
        (Value::Text(text), Shape::Choice(..) | Shape::Duration | Shape::Size | Shape::Bool) if is_private(what) && !node.substituted => {
            format!("`{}`", word(text))
        }
        (_, Shape::Choice(..) | Shape::Duration | Shape::Size | Shape::Bool | Shape::Count) => node.quoted(),
        (Value::Text(_), _) if is_private(what) => "a text".into(),
        (Value::Whole(_) | Value::Float(_), _) if is_private(what) => "a number".into(),
        _ => node.quoted(),
    }
}

/// A text up to the end of its first word, and nothing of a word that is longer than any key or choice.
fn word(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 24;
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '_' | '-')).unwrap_or(text.len());
    match text.split_at_checked(end) {
        Some((word, "")) if end <= LONGEST => word.into(),
        Some((word, _)) if end <= LONGEST => format!("{word}…").into(),
        Some(_) | None => "…".into(),
    }
}

fn doubled(node: &Node, what: &str, faults: &mut Faults) {
    for (index, (said, _)) in node.entries().iter().enumerate() {
        if let Some((first, _)) = node.entries().iter().take(index).find(|(other, _)| other.text == said.text) {
            let name = if is_private(what) { word(&said.text) } else { Cow::Borrowed(said.text.as_str()) };
            let inside = if what.is_empty() { String::new() } else { format!(" in `{what}`") };
            faults.at_place(said.place, format!("key `{name}` stands twice{inside}, first in line {}; keep one", first.place.0));
        }
    }
}

fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Text => "a text (quote it if it looks like a number)".into(),
        Shape::Bool => "`true` or `false`".into(),
        Shape::Count => "a whole number from 1".into(),
        Shape::Duration => "a duration such as `500ms`, `2s`, `5m` or `1h`".into(),
        Shape::Size => "a size such as `64KiB` or `1MiB`".into(),
        Shape::Texts => "a text or a list of texts".into(),
        Shape::Object(keys) => format!("a mapping with {}", names(keys)),
        Shape::List(inner) => format!("a list, each {}", describe(inner)),
        Shape::Map(_, what) => format!("a mapping from {what}"),
        Shape::Either(shapes) => shapes.iter().map(describe).collect::<Vec<_>>().join(" or "),
        Shape::Choice(choices, _) => choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(" or "),
    }
}

fn names(keys: &[Key]) -> String {
    keys.iter().map(|key| format!("`{}`", key.name)).collect::<Vec<_>>().join(", ")
}

/// The known key that differs least, else all of them.
fn nearest(said: &str, keys: &[Key]) -> String {
    let close = keys.iter().map(|key| (distance(said, key.name), key.name)).min();
    match close {
        Some((steps, name)) if steps <= 2 => format!("did you mean `{name}`?"),
        _ => format!("known are {}", names(keys)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::FILE;
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        let Shape::Object(keys) = &FILE else { panic!("the file is an object") };
        assert_eq!(nearest("route", keys), "did you mean `routes`?");
        assert!(nearest("zzzzzzzz", keys).starts_with("known are `upstream`"));
    }

    #[test]
    fn no_more_than_a_short_word_is_repeated() {
        for (said, told) in [
            ("jwtt", "jwtt"),
            ("5 minutes", "5…"),
            ("token:abc", "token…"),
            ("webhook token: x", "webhook…"),
            ("", ""),
            ("é", "…"),
            ("abcdefghijklmnopqrstuvwxy", "…"),
        ] {
            assert_eq!(word(said), told);
        }
    }
}
