//! Templates and patterns into concrete paths: values that no rule knows where nothing is said, what is said elsewhere.
//! A rule that wins at the values that nothing else knows wins wherever nothing narrower speaks.

use crate::openapi::template::{Part, Template, escaped};
use crate::policy::Policy;
use crate::policy::pattern::Segment;
use crate::policy::rule::RuleId;

/// Texts that are in no pattern of a policy.
#[derive(Debug)]
pub struct Fresh {
    prefix: String,
    /// The most segments that a value with slashes is tried with.
    longest: usize,
}

impl Fresh {
    pub fn new<'t>(policy: &Policy, templates: impl Iterator<Item = &'t Template>) -> Self {
        let (mut texts, mut longest) = (Vec::new(), 0);
        for index in 0..policy.rules.len() {
            let segments = policy.table.pattern(RuleId(index)).map(|pattern| &*pattern.segments).unwrap_or_default();
            longest = longest.max(segments.len());
            texts.extend(segments.iter().filter_map(|segment| match segment {
                Segment::Literal(text) => Some(text.to_string()),
                Segment::One | Segment::Rest | Segment::End => None,
            }));
        }
        for part in templates.flat_map(|template| &template.0) {
            match part {
                Part::Literal(text) => texts.push(text.clone()),
                Part::Mixed(parts) => texts.extend(parts.iter().cloned()),
                Part::One(_) | Part::Many(_) => {}
            }
        }
        let mut prefix = String::from("any");
        while texts.iter().any(|text| text.contains(&prefix)) {
            prefix.push('x');
        }
        Self { prefix, longest: longest + 1 }
    }

    fn value(&self, at: usize) -> String {
        format!("{}{at}", self.prefix)
    }

    fn mixed(&self, texts: &[String], at: usize) -> String {
        texts.join(&self.value(at))
    }

    /// Paths with a value of its own for every parameter; several where a value may have slashes.
    pub fn generic(&self, template: &Template) -> Vec<String> {
        self.rest(&template.0, 0)
    }

    fn rest(&self, parts: &[Part], at: usize) -> Vec<String> {
        let mut path = String::new();
        for (index, part) in parts.iter().enumerate() {
            path.push('/');
            match part {
                Part::Literal(text) => path.push_str(&escaped(text)),
                Part::One(_) => path.push_str(&self.value(at + index)),
                Part::Mixed(texts) => path.push_str(&escaped(&self.mixed(texts, at + index))),
                Part::Many(_) => {
                    let lengths = 1..=self.longest.saturating_sub(at + index).max(2);
                    let value = |count: usize| (0..count).map(|step| self.value(at + index + step)).collect::<Vec<_>>().join("/");
                    return lengths.map(|count| format!("{path}{}", value(count))).collect();
                }
            }
        }
        vec![path]
    }

    /// Paths that both match, with no more said than either says; none where no request is one for both.
    pub fn meet(&self, template: &Template, pattern: &[Segment]) -> Vec<String> {
        let mut paths = Vec::new();
        self.walk((&template.0, pattern), 0, String::new(), &mut paths);
        paths
    }

    fn walk(&self, (parts, segments): (&[Part], &[Segment]), at: usize, path: String, paths: &mut Vec<String>) {
        let (Some((part, parts_left)), Some((segment, segments_left))) = (parts.split_first(), segments.split_first()) else {
            // `/a/` and `/a/{rest...}` want a slash behind `/a`.
            if parts.is_empty() && segments.is_empty() {
                paths.push(path);
            }
            return;
        };
        let text = match (part, segment) {
            (_, Segment::Rest) => return paths.extend(self.rest(parts, at).iter().map(|rest| format!("{path}{rest}"))),
            (Part::Many(_), _) => return self.many(segments, at, path, paths),
            (Part::Literal(text), Segment::End) if text.is_empty() => text.clone(),
            (_, Segment::End) => return,
            (part, Segment::Literal(text)) if part.matches(text) => text.to_string(),
            (_, Segment::Literal(_)) => return,
            (Part::Literal(text), Segment::One) if text.is_empty() => return,
            (Part::Literal(text), Segment::One) => text.clone(),
            (Part::One(_), Segment::One) => self.value(at),
            (Part::Mixed(texts), Segment::One) => self.mixed(texts, at),
        };
        self.walk((parts_left, segments_left), at + 1, format!("{path}/{}", escaped(&text)), paths);
    }

    /// A value with slashes takes whatever the pattern goes on with.
    fn many(&self, segments: &[Segment], at: usize, mut path: String, paths: &mut Vec<String>) {
        for (index, segment) in segments.iter().enumerate() {
            match segment {
                Segment::Literal(text) => path.push_str(&format!("/{}", escaped(text))),
                Segment::One => path.push_str(&format!("/{}", self.value(at + index))),
                Segment::End => path.push('/'),
                Segment::Rest => {
                    let more = self.rest(&[Part::Many(String::new())], at + index);
                    return paths.extend(more.iter().map(|rest| format!("{path}{rest}")));
                }
            }
        }
        paths.push(path);
    }
}
