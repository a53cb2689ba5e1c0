//! Operations into routes, one each, with what each needs.
//! Says in notes whatever a route cannot say.

use super::need::Need;
use super::words::Words;
use super::{listed, settle};
use crate::openapi::template::escaped;
use crate::openapi::{Document, Operation, Part, Requirement, Security};
use crate::policy::pattern::{Pattern, Segment};

#[derive(Clone, Debug)]
pub struct Route {
    pub method: String,
    pub segments: Vec<Segment>,
    /// Of the wildcards, by segment.
    pub names: Vec<String>,
    pub need: Need,
    /// What it needs where it cannot be public.
    pub closed: Need,
}

impl Route {
    pub fn text(&self) -> String {
        let mut text = format!("{} ", self.method);
        for (index, segment) in self.segments.iter().enumerate() {
            let name = self.names.get(index).map_or("rest", String::as_str);
            text.push('/');
            match segment {
                Segment::Literal(literal) => text.push_str(&escaped(literal)),
                Segment::One => text.push_str(&format!("{{{name}}}")),
                Segment::Rest => text.push_str(&format!("{{{name}...}}")),
                Segment::End => text.push_str("{$}"),
            }
        }
        text
    }

    pub fn pattern(&self) -> Pattern {
        Pattern { method: Some(self.method.as_str().into()), host: None, segments: self.segments.clone() }
    }

    pub fn is_reading(&self) -> bool {
        is_reading(&self.method)
    }
}

fn is_reading(method: &str) -> bool {
    ["GET", "HEAD", "OPTIONS"].contains(&method)
}

/// What is told once for all operations that it is so of.
#[derive(Default)]
struct Told {
    public: Vec<String>,
    optional: Vec<String>,
    unsaid: Vec<String>,
    /// Alternatives that name no scopes beside some that do.
    loose: Vec<String>,
    /// Alternatives that no route can say.
    all: Vec<String>,
    mixed: Vec<String>,
    impossible: Vec<String>,
}

pub fn routes(document: &Document, notes: &mut Vec<String>) -> Vec<Route> {
    let alternatives = document.operations.iter().flat_map(|operation| match &operation.security {
        Security::Needs { alternatives, .. } => alternatives.as_slice(),
        Security::Unsaid | Security::Open => &[],
    });
    let scopes = alternatives.flat_map(|alternative| alternative.scopes.iter().map(String::as_str));
    let tags = document.operations.iter().filter_map(|operation| operation.tags.first()).map(String::as_str);
    let words = Words::new(scopes, tags);
    let mut told = Told::default();
    let mut routes = Vec::new();
    for operation in &document.operations {
        let closed = by_tag(operation, &words);
        let need = need(operation, (&words, &closed), &mut told);
        let Some((segments, names)) = segments(operation) else {
            told.impossible.push(operation.name());
            continue;
        };
        if operation.template.has_mixed() {
            told.mixed.push(operation.name());
        }
        if need == Need::Public {
            told.public.push(operation.name());
        }
        routes.push(Route { method: operation.method.clone(), segments, names, need, closed });
    }
    told.notes(document, &words, notes);
    settle::same(routes, notes)
}

fn by_tag(operation: &Operation, words: &Words) -> Need {
    let resource = operation.tags.first().map_or_else(|| "app".to_owned(), |tag| words.tag(tag));
    Need::all(vec![format!("{resource}:{}", if is_reading(&operation.method) { "read" } else { "write" })])
}

fn need(operation: &Operation, (words, closed): (&Words, &Need), told: &mut Told) -> Need {
    let (alternatives, optional) = match &operation.security {
        Security::Open => return Need::Public,
        Security::Unsaid => {
            told.unsaid.push(operation.name());
            return closed.clone();
        }
        Security::Needs { alternatives, optional } => (alternatives, *optional),
    };
    if optional {
        told.optional.push(operation.name());
    }
    let named: Vec<&Requirement> = alternatives.iter().filter(|alternative| !alternative.scopes.is_empty()).collect();
    if named.is_empty() {
        return closed.clone();
    }
    if named.len() < alternatives.len() {
        told.loose.push(operation.name());
    }
    let scopes = |alternative: &Requirement| alternative.scopes.iter().map(|scope| words.scope(scope)).collect::<Vec<_>>();
    match named.as_slice() {
        [one] => Need::all(scopes(one)),
        several if several.iter().all(|alternative| alternative.scopes.len() == 1) => {
            Need::any(several.iter().flat_map(|alternative| scopes(alternative)).collect())
        }
        several => {
            told.all.push(operation.name());
            Need::all(several.iter().flat_map(|alternative| scopes(alternative)).collect())
        }
    }
}

/// `None` where no request could be for it.
fn segments(operation: &Operation) -> Option<(Vec<Segment>, Vec<String>)> {
    let parts = &operation.template.0;
    let (mut segments, mut names): (Vec<Segment>, Vec<String>) = (Vec::new(), Vec::new());
    for (index, part) in parts.iter().enumerate() {
        let (segment, name) = match part {
            Part::Literal(text) if text.is_empty() && index + 1 == parts.len() => (Segment::End, ""),
            Part::Literal(text) => (Segment::Literal(text.as_str().into()), ""),
            Part::One(name) => (Segment::One, name.as_str()),
            Part::Mixed(_) => (Segment::One, ""),
            Part::Many(name) => (Segment::Rest, name.as_str()),
        };
        let name = settle::name(name, index, &names);
        segments.push(segment);
        names.push(name);
    }
    let route = Route { method: operation.method.clone(), segments, names, need: Need::Public, closed: Need::Public };
    // What a pattern takes for something else is nothing that a route could be for.
    let parsed = Pattern::parse(&route.text()).ok().filter(|pattern| pattern.segments == route.segments);
    parsed.map(|_| (route.segments, route.names))
}

impl Told {
    fn notes(&self, document: &Document, words: &Words, notes: &mut Vec<String>) {
        let mut note = |names: &[String], text: &str| {
            if !names.is_empty() {
                notes.push(format!("{text}: {}", listed(names)));
            }
        };
        note(&self.public, "open to everybody, because the document says `security: []`");
        note(&self.optional, "may be called with or without a credential; a credential is asked for here, write `public` if none is wanted");
        if document.speaks_of_security {
            note(
                &self.unsaid,
                "nothing is said of security, which OpenAPI takes for open; a scope is asked for here, write `public` if none is wanted",
            );
        }
        note(&self.loose, "one of the alternatives names no scopes; those of the others are asked for all the same");
        note(&self.all, "alternatives of more than one scope; all of them together are asked for");
        note(&self.mixed, "a parameter is only a part of a segment; a wildcard stands for the whole of it");
        note(&self.impossible, "a path that the gate refuses as ambiguous, so that there is no route for it");
        let changed: Vec<String> = words.changed().map(|(said, scope)| format!("`{}` is `{scope}`", said.escape_debug())).collect();
        if !changed.is_empty() {
            notes.push(format!("scopes of the document that are none here have other names: {}", changed.join(", ")));
        }
        if !document.speaks_of_security {
            notes.push("the document says nothing of security: every operation needs a scope of its first tag, `:read` for GET, HEAD and OPTIONS, else `:write`".into());
        }
    }
}
