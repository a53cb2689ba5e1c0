//! Paths in the style of Express into patterns of Scopegate.
//! Guesses at no regular expression: what has no exact counterpart is refused, because a rule that misses requests protects nothing.

/// One pattern, or two where the last segment is optional or the path ends in a slash, which Express does not look at.
pub fn patterns(path: &str) -> Result<Vec<String>, String> {
    if path == "*" || path == "/*" {
        return Ok(vec!["/{rest...}".into()]);
    }
    if path == "/" {
        return Ok(vec!["/{$}".into()]);
    }
    let inside = path.strip_prefix('/').ok_or("it does not begin with a slash")?;
    let trimmed = inside.strip_suffix('/');
    let mut pattern = String::new();
    let mut segments = trimmed.unwrap_or(inside).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match read(segment) {
            Some(Segment::Exactly(text)) => pattern.push_str(&format!("/{text}")),
            Some(Segment::Maybe(text)) if last => {
                let without = if pattern.is_empty() { "/{$}".to_owned() } else { pattern.clone() };
                return Ok(vec![without, format!("{pattern}/{text}")]);
            }
            Some(Segment::Rest(name)) if last => pattern.push_str(&format!("/{{{name}...}}")),
            Some(Segment::Maybe(_) | Segment::Rest(_)) | None => {
                return Err(format!(
                    "`{}` has no counterpart there; a segment is a text, `:name` or, at the end, `:name?` or `*`",
                    segment.escape_debug()
                ));
            }
        }
    }
    let with_slash = trimmed.map(|_| format!("{pattern}/{{$}}"));
    Ok(std::iter::once(pattern).chain(with_slash).collect())
}

enum Segment {
    Exactly(String),
    Maybe(String),
    Rest(String),
}

fn read(segment: &str) -> Option<Segment> {
    let named = |name: &str| is_name(name).then(|| format!("{{{name}}}"));
    let braced = segment.strip_prefix('{').and_then(|inside| inside.strip_suffix('}'));
    let rest = segment.strip_prefix('*').or_else(|| braced?.strip_prefix('*')).or_else(|| braced?.strip_suffix("..."));
    if let Some(name) = rest {
        let name = if name.is_empty() { "rest" } else { name };
        return is_name(name).then(|| Segment::Rest(name.to_owned()));
    }
    if let Some(name) = segment.strip_prefix(':') {
        return match (name.strip_suffix('?'), name.strip_suffix('*').or_else(|| name.strip_suffix("(.*)"))) {
            (Some(name), _) => named(name).map(Segment::Maybe),
            (None, Some(name)) => is_name(name).then(|| Segment::Rest(name.to_owned())),
            (None, None) => named(name).map(Segment::Exactly),
        };
    }
    match braced {
        Some(name) => named(name).map(Segment::Exactly),
        None => (!segment.is_empty() && !segment.contains([':', '*', '?', '+', '(', ')', '[', ']', '{', '}', '\\', '|', '!']))
            .then(|| Segment::Exactly(segment.to_owned())),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::pattern::Pattern;

    #[test]
    fn every_path_that_is_taken_becomes_the_patterns_of_the_same_requests() {
        for (path, expected) in [
            ("/", &["/{$}"][..]),
            ("*", &["/{rest...}"]),
            ("/*", &["/{rest...}"]),
            ("/users", &["/users"]),
            ("/users/", &["/users", "/users/{$}"]),
            ("/users/:id", &["/users/{id}"]),
            ("/users/:id/", &["/users/{id}", "/users/{id}/{$}"]),
            ("/users/:id?", &["/users", "/users/{id}"]),
            ("/:id?", &["/{$}", "/{id}"]),
            ("/users/{id}/posts/:post_id", &["/users/{id}/posts/{post_id}"]),
            ("/files/*", &["/files/{rest...}"]),
            ("/files/*path", &["/files/{path...}"]),
            ("/files/{*path}", &["/files/{path...}"]),
            ("/files/{path...}", &["/files/{path...}"]),
            ("/files/:path*", &["/files/{path...}"]),
            ("/files/:path(.*)", &["/files/{path...}"]),
            ("/v1.0/a-b_c~d", &["/v1.0/a-b_c~d"]),
        ] {
            let found = patterns(path).unwrap();
            assert_eq!(found, expected, "{path}");
            assert!(found.iter().all(|pattern| Pattern::parse(pattern).is_ok()), "{path}");
        }
    }

    #[test]
    fn what_has_no_exact_counterpart_is_refused() {
        for path in [
            "",
            "users",
            "/users/:id(\\d+)",
            "/a/*/b",
            "/:a-:b",
            "/:a?/b",
            "/file.:ext",
            "/a+",
            "/a|b",
            "//a",
            "/a//b",
            "/[a]",
            "/:",
            "/:1",
            "/{}",
            "/:a+",
        ] {
            assert!(patterns(path).is_err(), "{path}");
        }
    }
}
