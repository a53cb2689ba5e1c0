//! Paths have one form: the product agrees with a second reading of the rules, and every spelling of a path finds the same route.

use scopegate::policy::pattern::Pattern;
use scopegate::policy::table::Table;
use scopegate::policy::{Access, Policy, Rule};
use scopegate::request::path::{MAX_PATH, Oddities};
use scopegate::request::{NormalPath, RawRequest, RequestView};
use scopegate::scope::Universe;

use crate::random::{Random, check};

const PIECES: [&str; 44] = [
    "/",
    "/",
    "/",
    "/",
    "a",
    "b",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "%2F",
    "%25",
    "%25",
    "%",
    "2",
    "e",
    "F",
    ";",
    "%3b",
    "%5c",
    "\\",
    "%c3%a9",
    "%C3",
    "%a9",
    "\u{e9}",
    "%00",
    "%20",
    "+",
    "#",
    " ",
    "[",
    "{",
    "%41",
    "%7E",
    "~",
    "%3f",
    "*",
    "%zz",
    "%61",
    "%62",
    "c",
    "%E2%82%AC",
    "?",
];

fn raw(random: &mut Random) -> String {
    // Few pieces most of the time, so that many are accepted.
    let most = random.pick(&[3, 5, 9]);
    let start = if random.once_in(20) { "" } else { "/" };
    start.to_owned() + &random.text(&PIECES, most)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// One byte of a path, and whether it was written as an escape.
fn tokens(path: &[u8]) -> Option<Vec<(u8, bool)>> {
    let mut list = Vec::new();
    let mut at = 0;
    while at < path.len() {
        if path[at] == b'%' {
            let digits = path.get(at + 1..at + 3)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
            list.push((u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?, true));
            at += 3;
        } else {
            list.push((path[at], false));
            at += 1;
        }
    }
    Some(list)
}

/// Canonical and decoded form after the rules as they are documented; `None` is a refusal.
fn model(path: &[u8]) -> Option<(String, String)> {
    (path.first() == Some(&b'/') && path.len() <= MAX_PATH).then_some(())?;
    let list = tokens(path)?;
    let is_raw = |byte: u8| is_unreserved(byte) || b"!$&'()*+,;=:@/[]".contains(&byte);
    let is_escape = |byte: u8| !byte.is_ascii_control() && byte != b'\\';
    list.iter().all(|&(byte, escaped)| if escaped { is_escape(byte) } else { is_raw(byte) }).then_some(())?;
    let hides = |window: &[(u8, bool)]| window[0].0 == b'%' && window[1].0.is_ascii_hexdigit() && window[2].0.is_ascii_hexdigit();
    (!list.windows(3).any(hides)).then_some(())?;
    let mut decoded = Vec::new();
    let mut canonical = String::new();
    for &(byte, escaped) in &list {
        if escaped && !is_unreserved(byte) {
            canonical.push_str(&format!("%{byte:02X}"));
        } else {
            canonical.push(char::from(byte));
        }
        if escaped && byte == b'/' { decoded.extend(b"%2F") } else { decoded.push(byte) }
    }
    let decoded = String::from_utf8(decoded).ok()?;
    let is_dots = |segment: &str| [".", ".."].contains(&segment.split(';').next().unwrap());
    (!decoded.replace("%2F", "/").split('/').any(is_dots)).then_some((canonical, decoded))
}

#[test]
fn the_canonical_form_is_that_of_the_rules_and_taking_it_twice_changes_nothing() {
    check(400_000, |random| {
        let raw = raw(random);
        let path = NormalPath::parse(raw.as_bytes());
        let said = path.as_ref().ok().map(|path| (path.canonical().to_owned(), path.decoded().to_owned()));
        assert_eq!(said, model(raw.as_bytes()), "{raw:?}: {path:?}");
        let Ok(path) = path else { return };
        let again = NormalPath::parse(path.canonical().as_bytes()).unwrap_or_else(|fault| panic!("{raw:?}: {fault:?}"));
        assert_eq!(again, path, "{raw:?}");
        let canonical = path.canonical();
        assert!(canonical.is_ascii() && !canonical.contains([' ', '#', '\\', '?', '"', '<', '>', '{', '}', '\0']), "{canonical:?}");
        assert!(!path.decoded().contains("/../") && !path.decoded().ends_with("/.."), "{raw:?}");
    });
}

/// Another way to write the same path: unreserved characters as escapes, hexadecimal digits in either case.
fn respelled(canonical: &str, random: &mut Random) -> String {
    let mut text = String::new();
    for (byte, escaped) in tokens(canonical.as_bytes()).unwrap() {
        if escaped || (is_unreserved(byte) && random.once_in(3)) {
            text.push_str(&if random.once_in(2) { format!("%{byte:02x}") } else { format!("%{byte:02X}") });
        } else {
            text.push(char::from(byte));
        }
    }
    text
}

const ROUTES: [&str; 17] = [
    "/",
    "/a",
    "/a/",
    "/a/{$}",
    "/a/b",
    "/{x}",
    "/a/{x}",
    "/a/{x}/c",
    "/%61/%20",
    "/\u{e9}/",
    "/a%2Fb",
    "/a;b",
    "/b/{rest...}",
    "/{x}/b/{$}",
    "/c/",
    "/%3F",
    "/b/c/",
];

fn policy(random: &mut Random) -> Policy {
    let oddities =
        |random: &mut Random| Oddities { encoded_slash: random.once_in(2), semicolon: random.once_in(2), empty_segment: random.once_in(2) };
    let mut table = Table::default();
    let mut rules = Vec::new();
    for text in random.some_of(&ROUTES) {
        if table.insert(Pattern::parse(text).unwrap()).is_ok() {
            rules.push(Rule { allow_paths: oddities(random), ..Rule::new(text, Access::Public) });
        }
    }
    let default = Rule { allow_paths: oddities(random), ..Rule::new("default", Access::Deny) };
    Policy { table, rules, default, universe: Universe::default(), cors: None, watched: Box::default() }
}

/// The rule's name, or the reason why there is none.
fn found(policy: &Policy, target: &str) -> Option<Result<String, String>> {
    let headers: &[(&str, &[u8])] = &[];
    let raw = RawRequest { method: b"GET", target: target.as_bytes(), host: Some(b"h"), headers: &headers, link: Default::default() };
    let view = RequestView::read(&raw).ok()?;
    Some(policy.find(&view, view.method).map(|rule| rule.name.to_string()).map_err(|reason| format!("{reason:?}")))
}

#[test]
fn every_spelling_of_a_path_finds_the_same_rule_and_so_does_what_is_forwarded() {
    check(40_000, |random| {
        let policy = policy(random);
        for _ in 0..8 {
            let raw = raw(random);
            let query = random.pick(&["", "?", "?a=/b", "?%2e./"]);
            let Ok(path) = NormalPath::parse(raw.as_bytes()) else { continue };
            let answer = found(&policy, &format!("{raw}{query}")).unwrap();
            let forwarded = format!("{}{query}", path.canonical());
            assert_eq!(found(&policy, &forwarded).as_ref(), Some(&answer), "{raw:?} goes on as {forwarded:?}");
            let spelled = respelled(path.canonical(), random);
            assert_eq!(NormalPath::parse(spelled.as_bytes()).as_ref(), Ok(&path), "{raw:?} as {spelled:?}");
            assert_eq!(found(&policy, &format!("{spelled}{query}")), Some(answer), "{raw:?} as {spelled:?}");
        }
    });
}

#[test]
fn a_server_that_reads_a_path_more_loosely_reaches_no_rule_of_another() {
    check(40_000, |random| {
        let policy = policy(random);
        for _ in 0..8 {
            let raw = raw(random);
            let (Ok(path), Some(Ok(rule))) = (NormalPath::parse(raw.as_bytes()), found(&policy, &raw)) else { continue };
            // Three readings that servers are known for: `%2F` as a slash, `;…` dropped, empty segments merged.
            let loose = path.decoded().replace("%2F", "/");
            let plain: Vec<_> = loose.split('/').map(|segment| segment.split(';').next().unwrap()).filter(|segment| !segment.is_empty()).collect();
            let end = if loose.ends_with('/') && !plain.is_empty() { "/" } else { "" };
            let headers: &[(&str, &[u8])] = &[];
            let request = RawRequest { method: b"GET", target: b"/", host: Some(b"h"), headers: &headers, link: Default::default() };
            let view = RequestView::read(&request).unwrap();
            let other = policy.table.find(view.host.as_ref(), view.method, &format!("/{}{end}", plain.join("/")));
            if let Some(other) = other {
                assert_eq!(&*policy.rule(other).name, rule, "{raw:?}");
            }
        }
    });
}
