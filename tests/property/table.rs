//! The compiled table against the definition of a pattern, on a world so small that "more specific" can be counted:
//! one pattern is more specific than another where the requests that it matches are a proper part of the other's.

use scopegate::policy::RuleId;
use scopegate::policy::pattern::{Pattern, Segment};
use scopegate::policy::table::Table;
use scopegate::request::{HostName, Method};

use crate::random::{Random, check};

const STANDARD: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PURGE", "TRACE"];

/// Every path of up to four segments of three names, of which patterns use two; with and without a slash at the end.
fn paths() -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..4 {
        last = last.iter().flat_map(|path| ["a", "b", "z"].map(|name| format!("{path}/{name}"))).collect();
        all.extend(last.iter().cloned());
    }
    all.iter().flat_map(|path| [path.clone(), format!("{path}/")]).filter(|path| !path.is_empty()).collect()
}

/// The definition, segment by segment.
fn path_matches(pattern: &[Segment], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((Segment::Rest, _)), Some(_)) => true,
        (Some((Segment::End, _)), Some((segment, rest))) => segment.is_empty() && rest.is_empty(),
        (Some((Segment::One, rest)), Some((segment, after))) => !segment.is_empty() && path_matches(rest, after),
        (Some((Segment::Literal(text), rest)), Some((segment, after))) => **text == **segment && path_matches(rest, after),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn method_matches(pattern: Option<&str>, method: &str) -> bool {
    match pattern {
        Some(named) => named == method || (named == "GET" && method == "HEAD"),
        None => STANDARD.contains(&method),
    }
}

/// A pattern and the requests of the world that it matches, one bit each.
struct Known {
    text: String,
    pattern: Pattern,
    requests: Vec<u64>,
}

impl Known {
    fn meets(&self, other: &Self) -> bool {
        self.requests.iter().zip(&other.requests).any(|(one, two)| one & two != 0)
    }

    fn within(&self, other: &Self) -> bool {
        self.requests.iter().zip(&other.requests).all(|(one, two)| one & !two == 0)
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.pattern.host == other.pattern.host && self.meets(other) && self.within(other) == other.within(self)
    }

    fn matches(&self, request: usize) -> bool {
        self.requests[request / 64] >> (request % 64) & 1 == 1
    }
}

struct World {
    requests: Vec<(&'static str, String)>,
    patterns: Vec<Known>,
}

fn world() -> World {
    let requests: Vec<_> = METHODS.iter().flat_map(|method| paths().into_iter().map(|path| (*method, path))).collect();
    let mut texts = vec![String::new()];
    let mut last = texts.clone();
    for depth in 0..3 {
        let names = ["a".to_owned(), "b".to_owned(), format!("{{x{depth}}}")];
        last = last.iter().flat_map(|path| names.clone().map(|name| format!("{path}/{name}"))).collect();
        texts.extend(last.iter().cloned());
    }
    let ends = ["", "/", "/{rest...}", "/{$}"];
    let paths: Vec<_> = texts.iter().flat_map(|path| ends.map(|end| format!("{path}{end}"))).filter(|path| !path.is_empty()).collect();
    let known = |text: String| {
        let pattern = Pattern::parse(&text).unwrap();
        let mut bits = vec![0; requests.len().div_ceil(64)];
        for (index, (method, path)) in requests.iter().enumerate() {
            let segments: Vec<_> = path.split('/').skip(1).collect();
            if method_matches(pattern.method.as_deref(), method) && path_matches(&pattern.segments, &segments) {
                bits[index / 64] |= 1 << (index % 64);
            }
        }
        Known { text, pattern, requests: bits }
    };
    let prefixes = ["", "GET ", "HEAD ", "POST ", "PURGE "].into_iter().flat_map(|method| ["", "h.com"].map(|host| format!("{method}{host}")));
    let patterns = prefixes.flat_map(|prefix| paths.iter().map(move |path| format!("{prefix}{path}"))).map(known).collect();
    World { requests, patterns }
}

#[test]
fn two_patterns_conflict_exactly_where_they_meet_and_neither_is_a_part_of_the_other() {
    let world = world();
    // In a debug build every seventh, so that it ends in time; in release all pairs, over two million.
    let step = if cfg!(debug_assertions) { 7 } else { 1 };
    for one in world.patterns.iter().step_by(step) {
        for two in world.patterns.iter().step_by(step) {
            assert_eq!(one.pattern.conflicts_with(&two.pattern), one.conflicts(two), "{} and {}", one.text, two.text);
        }
    }
}

/// Inserts in the order given; gives back what got in.
fn fill<'w>(chosen: &[&'w Known]) -> (Table, Vec<&'w Known>) {
    let mut table = Table::default();
    let mut inside: Vec<&Known> = Vec::new();
    for known in chosen {
        let against: Vec<_> = (0..inside.len()).filter(|index| inside[*index].conflicts(known)).map(RuleId).collect();
        let expected = if against.is_empty() { Ok(RuleId(inside.len())) } else { Err(against) };
        assert_eq!(table.insert(known.pattern.clone()), expected, "{}", known.text);
        if expected.is_ok() {
            inside.push(known);
        }
    }
    (table, inside)
}

/// Scans the list: of what matches, a host of its own goes first, and then the one that is a part of all others.
fn scan<'w>(list: &[&'w Known], host: Option<&str>, request: usize) -> Option<&'w Known> {
    let matching = |with_host: bool| {
        let fits = move |known: &&&Known| known.matches(request) && known.pattern.host.is_some() == with_host;
        list.iter().filter(fits).filter(|known| known.pattern.host.is_none() || known.pattern.host.as_deref() == host).copied().collect::<Vec<_>>()
    };
    let least = |found: Vec<&'w Known>| found.iter().find(|known| found.iter().all(|other| known.within(other))).copied();
    least(matching(true)).or_else(|| least(matching(false)))
}

fn ask<'w>(table: &Table, inside: &[&'w Known], host: Option<&str>, (method, path): &(&str, String)) -> Option<&'w str> {
    let host = host.and_then(|host| HostName::parse(host.as_bytes()));
    let found = table.find(host.as_ref(), Method::parse(method.as_bytes()).unwrap(), path);
    found.map(|rule| inside[rule.0].text.as_str())
}

fn try_set(world: &World, random: &mut Random) {
    let count = 1 + random.below(12);
    let chosen: Vec<_> = (0..count).map(|_| &world.patterns[random.below(world.patterns.len())]).collect();
    let (table, inside) = fill(&chosen);
    // The same set in another order: what got in gets in again, and answers the same.
    let mut other = inside.clone();
    random.shuffle(&mut other);
    let (shuffled, all) = fill(&other);
    assert_eq!(all.len(), inside.len());
    for _ in 0..24 {
        let request = random.below(world.requests.len());
        let host = random.pick(&[None, Some("h.com"), Some("other.com")]);
        let expected = scan(&inside, host, request).map(|known| known.text.as_str());
        let context = || format!("{:?} of {host:?} in {:?}", world.requests[request], inside.iter().map(|known| &known.text).collect::<Vec<_>>());
        assert_eq!(ask(&table, &inside, host, &world.requests[request]), expected, "{}", context());
        assert_eq!(ask(&shuffled, &other, host, &world.requests[request]), expected, "{}", context());
    }
}

#[test]
fn the_table_finds_what_a_scan_of_the_list_finds_whatever_the_order() {
    let world = world();
    check(60_000, |random| try_set(&world, random));
}
