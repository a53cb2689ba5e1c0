//! Lines of patterns, an empty line, lines of `METHOD HOST PATH`: the table finds a pattern that matches,
//! finds one where any matches, and finds the same whatever the order.

use scopegate::policy::pattern::{Pattern, Segment};
use scopegate::policy::table::Table;
use scopegate::request::{HostName, Method, NormalPath};

pub fn hold(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (patterns, requests) = text.split_once("\n\n").unwrap_or((text, "GET h /"));
    let mut inside = Vec::new();
    let mut table = Table::default();
    for pattern in patterns.lines().take(40).filter_map(|line| Pattern::parse(line).ok()) {
        let free = inside.iter().all(|other: &Pattern| !other.conflicts_with(&pattern));
        assert!(inside.iter().all(|other| other.conflicts_with(&pattern) == pattern.conflicts_with(other)));
        assert!(pattern.conflicts_with(&pattern));
        assert_eq!(table.insert(pattern.clone()).is_ok(), free);
        if free {
            inside.push(pattern);
        }
    }
    let mut reversed = Table::default();
    for pattern in inside.iter().rev() {
        reversed.insert(pattern.clone()).expect("what got in once gets in again");
    }
    for line in requests.lines().take(20) {
        let mut words = line.split(' ');
        let (Some(method), Some(host), Some(path)) = (words.next(), words.next(), words.next()) else { continue };
        let (Some(method), Ok(path)) = (Method::parse(method.as_bytes()), NormalPath::parse(path.as_bytes())) else { continue };
        let host = HostName::parse(host.as_bytes());
        ask(&table, &reversed, &inside, (host.as_ref(), method, path.decoded()));
    }
}

fn ask(table: &Table, reversed: &Table, inside: &[Pattern], (host, method, path): (Option<&HostName<'_>>, Method<'_>, &str)) {
    let found = table.find(host, method, path).map(|rule| rule.0);
    assert_eq!(reversed.find(host, method, path).map(|rule| inside.len() - 1 - rule.0), found);
    let segments: Vec<_> = path.split('/').skip(1).collect();
    let fits = |pattern: &Pattern| {
        let method_fits = match pattern.method.as_deref() {
            None => method.is_standard(),
            Some(named) => named == method.as_str() || (named == "GET" && method.as_str() == "HEAD"),
        };
        let host_fits = pattern.host.is_none() || pattern.host.as_deref() == host.map(HostName::as_str);
        method_fits && host_fits && matches(&pattern.segments, &segments)
    };
    let all: Vec<_> = inside.iter().filter(|pattern| fits(pattern)).collect();
    assert_eq!(found.is_some(), !all.is_empty());
    let Some(found) = found.map(|index| &inside[index]) else { return };
    assert!(fits(found));
    // A host of its own goes first; a pattern that says all that another says and more is the more specific.
    assert!(found.host.is_some() || all.iter().all(|other| other.host.is_none()));
    let literals = |pattern: &Pattern| pattern.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count();
    for other in all.iter().filter(|other| other.host == found.host && other.method == found.method && other.segments.len() == found.segments.len()) {
        assert!(literals(other) <= literals(found));
    }
}

fn matches(pattern: &[Segment], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) | ([Segment::Rest, ..], [_, ..]) | ([Segment::End], [""]) => true,
        ([Segment::One, rest @ ..], [segment, after @ ..]) => !segment.is_empty() && matches(rest, after),
        ([Segment::Literal(text), rest @ ..], [segment, after @ ..]) => **text == **segment && matches(rest, after),
        _ => false,
    }
}
