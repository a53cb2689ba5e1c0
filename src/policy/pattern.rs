//! The text of a route into a pattern, after Go's `net/http.ServeMux` (Go 1.22): `[METHOD ][HOST]/path/{name}/{rest...}`.
//! Says how two patterns relate; which of two wins is decided by that alone, never by their order.

use std::fmt;

use crate::request::path::{NormalPath, PathFault};
use crate::request::{HostName, Method, method};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub method: Option<Box<str>>,
    pub host: Option<Box<str>>,
    pub segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Decoded text, compared with a segment of the decoded path.
    Literal(Box<str>),
    /// `{name}`: one segment that is not empty.
    One,
    /// `{name...}` or a trailing slash: whatever follows, also nothing.
    Rest,
    /// `{$}`: the slash at the end of the path.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternFault {
    Method,
    Host,
    NoPath,
    Path(PathFault),
    Braces,
    Name,
    DoubledName,
    NotLast,
}

impl fmt::Display for PatternFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Method => "the method is not an upper-case HTTP token; a pattern is `[METHOD ][HOST]/path`",
            Self::Host => "the host is not a plain name without port; a pattern is `[METHOD ][HOST]/path`",
            Self::NoPath => "there is no path; a pattern is `[METHOD ][HOST]/path`",
            Self::Path(_) => {
                "the path is not in canonical form, so no request could match it; write it without `.`, `..`, `//` and malformed escapes"
            }
            Self::Braces => "a wildcard is a whole segment: `{name}`, `{name...}` or `{$}`",
            Self::Name => "a wildcard's name is a letter or `_`, then letters, digits or `_`",
            Self::DoubledName => "two wildcards have the same name",
            Self::NotLast => "`{name...}` and `{$}` stand only at the end",
        })
    }
}

/// How the requests that one pattern matches relate to those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Equivalent,
    MoreGeneral,
    MoreSpecific,
    Disjoint,
    Overlaps,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        let (method, rest) = match text.split_once([' ', '\t']) {
            Some((method, rest)) => (Some(method), rest.trim_start_matches([' ', '\t'])),
            None => (None, text),
        };
        if let Some(method) = method
            && !(method::is_token(method.as_bytes()) && !method.bytes().any(|byte| byte.is_ascii_lowercase()) && method != "CONNECT")
        {
            return Err(PatternFault::Method);
        }
        let slash = rest.find('/').ok_or(PatternFault::NoPath)?;
        let (host, path) = rest.split_at_checked(slash).ok_or(PatternFault::NoPath)?;
        let host = match host {
            "" => None,
            // The canonical form loses a port and a trailing dot, so that a pattern with one would promise what it cannot hold.
            _ => Some(HostName::parse(host.as_bytes()).filter(|name| name.as_str() == host).ok_or(PatternFault::Host)?.as_str().into()),
        };
        Ok(Self { method: method.map(Into::into), host, segments: segments(path)? })
    }

    /// The relation of what `self` matches to what `other` matches, hosts aside.
    fn relation(&self, other: &Self) -> Relation {
        combine(compare_methods(self.method.as_deref(), other.method.as_deref()), compare_paths(&self.segments, &other.segments))
    }

    /// Whether some request matches both and neither is the more specific.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.host == other.host && matches!(self.relation(other), Relation::Equivalent | Relation::Overlaps)
    }

    /// Whether every request that it matches is one of the other's, hosts aside.
    pub fn is_within(&self, other: &Self) -> bool {
        matches!(self.relation(other), Relation::Equivalent | Relation::MoreSpecific)
    }

    /// A pattern that would settle a conflict: the method of the one with the path of the other where they cross there, else nothing.
    pub fn settles(&self, other: &Self) -> Option<String> {
        let (narrow, wide) = match (&self.method, &other.method) {
            (Some(_), None) => (self, other),
            (None, Some(_)) => (other, self),
            _ => return None,
        };
        let paths = compare_paths(&narrow.segments, &wide.segments);
        (paths == Relation::MoreGeneral).then(|| {
            let host = narrow.host.as_deref().unwrap_or_default();
            format!("{} {host}{}", narrow.method.as_deref().unwrap_or_default(), path_text(&wide.segments))
        })
    }
}

fn path_text(segments: &[Segment]) -> String {
    let mut text = String::new();
    for (index, segment) in segments.iter().enumerate() {
        text.push('/');
        match segment {
            Segment::Literal(literal) => text.push_str(literal),
            Segment::One => text.push_str(&format!("{{p{index}}}")),
            Segment::Rest => text.push_str("{rest...}"),
            Segment::End => text.push_str("{$}"),
        }
    }
    text
}

fn segments(path: &str) -> Result<Vec<Segment>, PatternFault> {
    let mut list = Vec::new();
    let mut names = Vec::new();
    let mut texts = path.split('/').skip(1).peekable();
    while let Some(text) = texts.next() {
        let last = texts.peek().is_none();
        let Some(inside) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            if text.contains(['{', '}']) {
                return Err(PatternFault::Braces);
            }
            match (text.is_empty(), last) {
                (true, true) => list.push(Segment::Rest),
                _ => list.push(Segment::Literal(literal(text)?)),
            }
            continue;
        };
        if inside == "$" {
            list.push(Segment::End);
        } else {
            let (name, segment) = match inside.strip_suffix("...") {
                Some(name) => (name, Segment::Rest),
                None => (inside, Segment::One),
            };
            if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                return Err(PatternFault::Name);
            }
            if names.contains(&name) {
                return Err(PatternFault::DoubledName);
            }
            names.push(name);
            list.push(segment);
        }
        if !last && list.last() != Some(&Segment::One) {
            return Err(PatternFault::NotLast);
        }
    }
    Ok(list)
}

/// The decoded text of one literal segment; characters beyond ASCII may stand for themselves.
fn literal(text: &str) -> Result<Box<str>, PatternFault> {
    let mut escaped = String::from("/");
    for character in text.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    if text.is_empty() {
        return Err(PatternFault::Path(PathFault::Empty));
    }
    let path = NormalPath::parse(escaped.as_bytes()).map_err(PatternFault::Path)?;
    Ok(path.decoded().strip_prefix('/').unwrap_or_default().into())
}

fn compare_methods(one: Option<&str>, two: Option<&str>) -> Relation {
    // A pattern without a method covers the standard ones only, so that it has nothing in common with `PROPFIND`.
    let is_other = |name: Option<&str>| name.and_then(|name| Method::parse(name.as_bytes())).is_some_and(|method| !method.is_standard());
    match (one, two) {
        _ if one == two => Relation::Equivalent,
        (None, other) | (other, None) if is_other(other) => Relation::Disjoint,
        (None, _) | (Some("GET"), Some("HEAD")) => Relation::MoreGeneral,
        (_, None) | (Some("HEAD"), Some("GET")) => Relation::MoreSpecific,
        (Some(_), Some(_)) => Relation::Disjoint,
    }
}

fn compare_paths(one: &[Segment], two: &[Segment]) -> Relation {
    let open = |segments: &[Segment]| segments.last() == Some(&Segment::Rest);
    if one.len() != two.len() && !open(one) && !open(two) {
        return Relation::Disjoint;
    }
    let mut relation = Relation::Equivalent;
    for (left, right) in one.iter().zip(two) {
        relation = combine(relation, compare_segments(left, right));
        if relation == Relation::Disjoint {
            return relation;
        }
    }
    match one.len().cmp(&two.len()) {
        std::cmp::Ordering::Equal => relation,
        std::cmp::Ordering::Less if open(one) => combine(relation, Relation::MoreGeneral),
        std::cmp::Ordering::Greater if open(two) => combine(relation, Relation::MoreSpecific),
        std::cmp::Ordering::Less | std::cmp::Ordering::Greater => Relation::Disjoint,
    }
}

fn compare_segments(one: &Segment, two: &Segment) -> Relation {
    use Segment::{End, Literal, One, Rest};
    match (one, two) {
        (Rest, Rest) | (One, One) | (End, End) => Relation::Equivalent,
        (Rest, One | Literal(_) | End) | (One, Literal(_)) => Relation::MoreGeneral,
        (One | Literal(_) | End, Rest) | (Literal(_), One) => Relation::MoreSpecific,
        (Literal(left), Literal(right)) if left == right => Relation::Equivalent,
        (Literal(_), Literal(_) | End) | (End, Literal(_) | One) | (One, End) => Relation::Disjoint,
    }
}

fn combine(one: Relation, two: Relation) -> Relation {
    use Relation::{Disjoint, Equivalent, MoreGeneral, MoreSpecific, Overlaps};
    match (one, two) {
        (Equivalent, other) | (other, Equivalent) => other,
        (Disjoint, _) | (_, Disjoint) => Disjoint,
        (Overlaps, _) | (_, Overlaps) | (MoreGeneral, MoreSpecific) | (MoreSpecific, MoreGeneral) => Overlaps,
        (MoreGeneral, MoreGeneral) => MoreGeneral,
        (MoreSpecific, MoreSpecific) => MoreSpecific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn patterns_are_read_as_go_reads_them() {
        assert_eq!(pattern("/").segments, [Segment::Rest]);
        assert_eq!(pattern("/{$}").segments, [Segment::End]);
        assert_eq!(pattern("/a/").segments, [Segment::Literal("a".into()), Segment::Rest]);
        assert_eq!(pattern("/a/{x}/{rest...}").segments, [Segment::Literal("a".into()), Segment::One, Segment::Rest]);
        assert_eq!(pattern("/caf\u{e9}/%61%20b").segments, [Segment::Literal("caf\u{e9}".into()), Segment::Literal("a b".into())]);
        let full = pattern("GET   example.com/x");
        assert_eq!((full.method.as_deref(), full.host.as_deref()), (Some("GET"), Some("example.com")));
    }

    #[test]
    fn malformed_patterns_are_refused_by_kind() {
        use PatternFault::*;
        for (text, fault) in [
            ("", NoPath),
            ("GET", NoPath),
            ("GET ", NoPath),
            ("get /a", Method),
            ("G(T /a", Method),
            ("CONNECT /a", Method),
            (" /a", Method),
            ("example.com:80/a", Host),
            ("Example.com/a", Host),
            ("a b/c", Method),
            ("/a//b", Path(PathFault::Empty)),
            ("//", Path(PathFault::Empty)),
            ("/a/../b", Path(PathFault::DotSegment)),
            ("/a/%zz", Path(PathFault::Escape)),
            ("/a b", Path(PathFault::Character)),
            ("/a{x}", Braces),
            ("/{x}b", Braces),
            ("/{x", Braces),
            ("/{}", Name),
            ("/{1a}", Name),
            ("/{...}", Name),
            ("/{a-b}", Name),
            ("/{x}/{x}", DoubledName),
            ("/{x...}/a", NotLast),
            ("/{$}/a", NotLast),
            ("/{x...}/", NotLast),
        ] {
            assert_eq!(Pattern::parse(text).err(), Some(if text == "/a b" { Method } else { fault }), "{text:?}");
        }
    }

    #[test]
    fn conflicts_are_those_of_go() {
        for (one, two, conflict) in [
            ("/a", "/a", true),
            ("/a/{x}", "/a/{y}", true),
            ("/a/{x}", "/a/b", false),
            ("/a/{x}", "/{y}/b", true),
            ("/a/", "/a/{rest...}", true),
            ("/a/", "/a/{$}", false),
            ("/{x}", "/{$}", false),
            ("GET /", "/a", true),
            ("POST /", "/admin/{rest...}", true),
            ("POST /{$}", "/admin/{rest...}", false),
            ("GET /a", "HEAD /a", false),
            ("GET /a", "POST /a", false),
            ("PROPFIND /", "/a", false),
            ("TRACE /a/", "/{x}/b", false),
            ("PROPFIND /a/{x}", "PROPFIND /{y}/b", true),
            ("example.com/a", "/a", false),
            ("example.com/a", "example.org/a", false),
            ("/{x}/b/{rest...}", "/a/{y}/c", true),
            ("/a/{rest...}", "/a/b/{more...}", false),
            ("/a", "/a/", false),
        ] {
            assert_eq!(pattern(one).conflicts_with(&pattern(two)), conflict, "{one} against {two}");
            assert_eq!(pattern(two).conflicts_with(&pattern(one)), conflict, "{two} against {one}");
        }
    }

    #[test]
    fn a_conflict_of_method_and_path_has_a_remedy() {
        assert_eq!(pattern("POST /").settles(&pattern("/admin/{rest...}")).as_deref(), Some("POST /admin/{rest...}"));
        assert_eq!(pattern("/admin/{x}").settles(&pattern("POST /")).as_deref(), Some("POST /admin/{p1}"));
        assert_eq!(pattern("/a/{x}").settles(&pattern("/{y}/b")), None);
    }
}
