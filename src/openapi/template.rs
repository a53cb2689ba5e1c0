//! A path template of OpenAPI into segments: texts, parameters, and mixes of both.
//! Takes what no pattern could express as it is; who turns it into one decides what becomes of it.

/// The segments of a path behind the slash at its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Decoded. An empty one at the end is a slash there.
    Literal(String),
    /// `{name}`.
    One(String),
    /// Texts and parameters in one segment, as `{base}...{head}`: the texts before, between and behind the parameters.
    Mixed(Vec<String>),
    /// `{name}` at the end, whose value may have slashes.
    Many(String),
}

impl Template {
    /// `many` are the names of parameters whose values may have slashes.
    pub fn parse(path: &str, many: &[String]) -> Self {
        // Some documents tell operations of one path apart by a query or a fragment, of which a path has none.
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let texts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let count = texts.len();
        let part = |(index, text): (usize, &str)| match part(text) {
            Part::One(name) if index + 1 == count && many.contains(&name) => Part::Many(name),
            part @ (Part::Literal(_) | Part::One(_) | Part::Mixed(_) | Part::Many(_)) => part,
        };
        Self(texts.into_iter().enumerate().map(part).collect())
    }

    /// Whether a request for these segments, decoded, is one for this path.
    pub fn matches(&self, segments: &[&str]) -> bool {
        let many = matches!(self.0.last(), Some(Part::Many(_)));
        let fits = if many { segments.len() >= self.0.len() } else { segments.len() == self.0.len() };
        fits && self.0.iter().zip(segments).all(|(part, segment)| part.matches(segment))
    }

    /// Whether it is the other one or a narrower one: a text goes before a mix, and that before a parameter.
    pub fn is_within(&self, other: &Self) -> bool {
        let many = matches!(other.0.last(), Some(Part::Many(_)));
        let fits = if many { self.0.len() >= other.0.len() } else { self.0.len() == other.0.len() };
        fits && self.0.iter().zip(&other.0).all(|(own, other)| match (own, other) {
            (_, Part::Many(_)) => true,
            (Part::Many(_), _) => false,
            (Part::Literal(own), _) => other.matches(own),
            (Part::One(_), _) => matches!(other, Part::One(_)),
            (Part::Mixed(own), Part::Mixed(other)) => own == other,
            (Part::Mixed(_), _) => matches!(other, Part::One(_)),
        })
    }

    pub fn has_mixed(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Mixed(_)))
    }
}

impl Part {
    /// Whether this decoded segment is one of its own.
    pub fn matches(&self, segment: &str) -> bool {
        match self {
            Self::Literal(text) => text == segment,
            Self::One(_) | Self::Many(_) => !segment.is_empty(),
            Self::Mixed(texts) => is_mix(texts, segment),
        }
    }
}

/// Whether `segment` has these texts in this order, with something for a parameter between every two.
fn is_mix(texts: &[String], segment: &str) -> bool {
    let Some((first, others)) = texts.split_first() else { return false };
    let Some(mut rest) = segment.strip_prefix(first.as_str()) else { return false };
    let Some((last, between)) = others.split_last() else { return rest.is_empty() };
    for text in between {
        let Some(behind) = skip_one(rest).and_then(|rest| rest.split_once(text.as_str())) else { return false };
        rest = behind.1;
    }
    skip_one(rest).is_some_and(|rest| rest.ends_with(last.as_str()))
}

/// What follows the first character.
fn skip_one(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    characters.next().map(|_| characters.as_str())
}

fn part(text: &str) -> Part {
    let mut texts = vec![String::new()];
    let mut name = "";
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((inside, after)) = behind.split_once('}') else { break };
        if let Some(last) = texts.last_mut() {
            last.push_str(before);
        }
        texts.push(String::new());
        (name, rest) = (inside, after);
    }
    if let Some(last) = texts.last_mut() {
        last.push_str(rest);
    }
    let texts: Vec<String> = texts.iter().map(|text| decoded(text)).collect();
    match texts.as_slice() {
        [literal] => Part::Literal(literal.clone()),
        [before, behind] if before.is_empty() && behind.is_empty() => Part::One(name.to_owned()),
        _ => Part::Mixed(texts),
    }
}

/// `%2F` stays as it is, as in the paths that patterns are compared with.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let value = tail.get(..2).filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        rest = match value {
            Some(b'/') => {
                bytes.extend_from_slice(b"%2F");
                tail.get(2..).unwrap_or_default()
            }
            Some(value) => {
                bytes.push(value);
                tail.get(2..).unwrap_or_default()
            }
            None => {
                bytes.push(*byte);
                tail
            }
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// A pointer in a fragment (RFC 6901 §6) without its percent-encoding.
pub fn decoded_pointer(fragment: &str) -> String {
    decoded(fragment).replace("%2F", "/")
}

/// A text as one segment of a request's path: whatever no server could take for something else is escaped.
pub fn escaped(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("%2F") {
            path.push_str("%2F");
            rest = behind;
            continue;
        }
        if first.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@[]".contains(first) {
            path.push(first);
        } else {
            let mut bytes = [0; 4];
            first.encode_utf8(&mut bytes).bytes().for_each(|byte| path.push_str(&format!("%{byte:02X}")));
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read_segment_by_segment() {
        use Part::{Literal, Many, Mixed, One};
        let literal = |text: &str| Literal(text.into());
        let one = |name: &str| One(name.into());
        let mixed = |texts: &[&str]| Mixed(texts.iter().map(|text| (*text).to_owned()).collect());
        for (path, parts) in [
            ("/", vec![literal("")]),
            ("/a/{id}", vec![literal("a"), one("id")]),
            ("/a/{id}/", vec![literal("a"), one("id"), literal("")]),
            ("/a/{base}...{head}", vec![literal("a"), mixed(&["", "...", ""])]),
            ("/{a}.json", vec![mixed(&["", ".json"])]),
            ("/users('{id}')", vec![mixed(&["users('", "')"])]),
            ("/{a}{b}", vec![mixed(&["", "", ""])]),
            ("/x:cancel", vec![literal("x:cancel")]),
            ("/caf%C3%A9/a%20b/a%2Fb", vec![literal("caf\u{e9}"), literal("a b"), literal("a%2Fb")]),
            ("/a?x={y}", vec![literal("a")]),
            ("/a#b", vec![literal("a")]),
            ("/{open", vec![literal("{open")]),
            ("/x/{path}", vec![literal("x"), Many("path".into())]),
            ("/{path}/x", vec![one("path"), literal("x")]),
        ] {
            assert_eq!(Template::parse(path, &["path".into()]).0, parts, "{path}");
        }
    }

    #[test]
    fn a_mix_matches_where_every_parameter_has_something() {
        for (template, segment, expected) in [
            ("/{a}.json", "x.json", true),
            ("/{a}.json", ".json", false),
            ("/{a}.json", "x.jsonx", false),
            ("/{a}.json", "x.json.json", true),
            ("/{a}...{b}", "x...y", true),
            ("/{a}...{b}", "...y", false),
            ("/{a}...{b}", "x...", false),
            ("/v{a}", "v", false),
            ("/v{a}", "v1", true),
            ("/{a}{b}", "x", false),
            ("/{a}{b}", "xy", true),
            ("/{a}-{b}-{c}", "1-2-3", true),
            ("/{a}-{b}-{c}", "1--3", false),
            ("/{a}-{b}", "\u{e9}-\u{e9}", true),
        ] {
            assert_eq!(Template::parse(template, &[]).matches(&[segment]), expected, "{template} {segment}");
        }
    }

    #[test]
    fn a_text_is_narrower_than_a_mix_and_that_than_a_parameter() {
        let within = |one: &str, other: &str| Template::parse(one, &["m".into()]).is_within(&Template::parse(other, &["m".into()]));
        for (narrow, wide) in
            [("/a", "/{x}"), ("/a.json", "/{x}.json"), ("/{x}.json", "/{x}"), ("/a/{x}", "/{y}/{x}"), ("/a/{x}", "/a/{m}"), ("/a/b/c", "/a/{m}")]
        {
            assert!(within(narrow, wide) && !within(wide, narrow), "{narrow} {wide}");
        }
        assert!(within("/a/{x}", "/a/{y}") && !within("/a/{x}", "/{y}/b") && !within("/a", "/a/{m}") && !within("/a/", "/a/{x}"));
    }

    #[test]
    fn a_literal_goes_into_a_request_and_comes_out_the_same() {
        use crate::request::NormalPath;
        for text in ["a", "a b", "caf\u{e9}", "a%2Fb", "100%", "x:cancel", "a@b(c)", "{open", "#?"] {
            let path = format!("/{}", escaped(text));
            assert_eq!(NormalPath::parse(path.as_bytes()).unwrap().decoded(), format!("/{text}"), "{text}");
        }
    }
}
