//! A decision into one line of JSON: by hand, because it is written for every request and its keys never change.
//! Writes no query, no header and no body; of a path no segment that may be a token.

use std::io::Write;
use std::time::SystemTime;

use crate::gate::Door;
use crate::policy::{Mode, Rule};
use crate::principal::Caller;
use crate::telemetry::line::Line;
use crate::telemetry::trace::Context;
use crate::telemetry::{DecisionId, Ended, Record};

/// From this length on, a segment with a digit or a capital may be a token.
const SECRET: usize = 16;
/// From this length on, any may be.
const LONG: usize = 64;
/// What is shown of such a one.
const SHOWN: usize = 4;
/// Longest path that a line has whole.
const LONGEST: usize = 512;

/// What a line says beside the decision.
#[derive(Clone, Debug)]
pub struct Style {
    pub paths: bool,
    /// The share of allows that are told of, as JSON has it, where not all are.
    pub sample: Option<String>,
}

pub fn decision(out: &mut Vec<u8>, record: &Record<'_>, trace: Option<Context>, style: &Style) {
    let Record { door, decision, generation, elapsed, id, seen } = record;
    let denial = decision.objection();
    out.extend_from_slice(b"{\"time\":\"");
    now(out);
    out.extend_from_slice(b"\",\"kind\":\"decision\"");
    text(out, "id", str::from_utf8(&id.hex()).unwrap_or_default());
    text(out, "door", door.as_str());
    let outcome = record.outcome();
    text(out, "outcome", outcome);
    text(out, "reason", denial.map_or("allowed", |denial| denial.reason.as_str()));
    maybe(out, "cause", decision.refused.as_ref().map(|(cause, _)| cause.as_str()));
    maybe(out, "method", seen.method);
    if let Some(path) = seen.path.filter(|_| style.paths) {
        out.extend_from_slice(b",\"path\":\"");
        shortened(out, path.canonical(), decision.rule);
        out.push(b'"');
    }
    maybe(out, "host", seen.host.map(|host| host.as_str()));
    maybe(out, "route", decision.rule.map(|rule| &*rule.name));
    maybe(out, "credential", decision.caller.as_ref().map(|caller| caller.credential));
    maybe(out, "principal", decision.principal());
    maybe(out, "tenant", decision.caller.as_ref().and_then(Caller::tenant));
    maybe(out, "missing_scopes", denial.and_then(|denial| denial.missing.as_ref()).map(|missing| missing.scopes()));
    if let (None, Some(policy)) = (decision.denial(), seen.policy) {
        words(out, "used_scopes", &policy.used_scopes(decision, seen.extra_scopes));
    }
    let watches = decision.shadow.is_some() || decision.rule.is_some_and(|rule| rule.mode == Mode::Shadow);
    maybe(out, "mode", watches.then_some("shadow"));
    if let Some(trace) = trace {
        text(out, "trace_id", &trace.trace_id());
    }
    out.extend_from_slice(b",\"generation\":");
    whole(out, *generation, 1);
    out.extend_from_slice(b",\"micros\":");
    let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    whole(out, nanos / 1000, 1);
    out.push(b'.');
    whole(out, nanos % 1000, 3);
    if let (Some(sample), "allow") = (&style.sample, outcome) {
        out.extend_from_slice(b",\"sample\":");
        out.extend_from_slice(sample.as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

/// A stream that was let in by the decision of this id, and ended by the gate.
pub fn end(out: &mut Vec<u8>, (door, id, why): (Door, DecisionId, Ended)) {
    out.extend_from_slice(b"{\"time\":\"");
    now(out);
    let (door, why) = (door.as_str(), why.as_str());
    // Writing to a vector does not fail.
    let _ = writeln!(out, "\",\"kind\":\"stream_ended\",\"id\":\"{id}\",\"door\":\"{door}\",\"cause\":\"{why}\"}}");
}

fn text(out: &mut Vec<u8>, key: &str, value: &str) {
    begin(out, key);
    quoted(out, value);
}

/// Space-delimited; nothing where there are none.
fn words(out: &mut Vec<u8>, key: &str, list: &[&str]) {
    let Some((first, rest)) = list.split_first() else { return };
    begin(out, key);
    out.push(b'"');
    escaped(out, first);
    for word in rest {
        out.push(b' ');
        escaped(out, word);
    }
    out.push(b'"');
}

fn begin(out: &mut Vec<u8>, key: &str) {
    for part in [",\"", key, "\":"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn maybe(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, key, value);
    }
}

/// A canonical path, which has no character that JSON escapes: without what may be a secret, and of a bearable length.
/// What the rule's own pattern says is no secret.
pub fn shortened(out: &mut Vec<u8>, path: &str, rule: Option<&Rule>) {
    let start = out.len();
    for segment in path.split('/').skip(1) {
        out.push(b'/');
        if out.len() - start + segment.len().min(LONG) > LONGEST {
            out.extend_from_slice(Line::CUT.encode_utf8(&mut [0; 4]).as_bytes());
            break;
        }
        let odd = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        let may_be_secret = segment.len() >= LONG || (segment.len() >= SECRET && segment.bytes().any(odd));
        if may_be_secret && !rule.is_some_and(|rule| rule.name.split('/').any(|literal| literal == segment)) {
            let shown = segment.get(..SHOWN).unwrap_or_default();
            // Not half an escape.
            let shown = shown.rsplit_once('%').map_or(shown, |(before, _)| before);
            out.extend_from_slice(shown.as_bytes());
            out.extend_from_slice(Line::CUT.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            out.extend_from_slice(segment.as_bytes());
        }
    }
}

/// A number with at least so many digits.
fn whole(out: &mut Vec<u8>, mut number: u64, least: usize) {
    let (mut digits, mut at) = ([b'0'; 20], 20);
    while number > 0 || at > 20 - least {
        at -= 1;
        if let (Some(slot), Ok(digit)) = (digits.get_mut(at), u8::try_from(number % 10)) {
            *slot = b'0' + digit;
        }
        number /= 10;
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// A text as JSON has it (RFC 8259 §7).
fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// The same, without its quotes.
fn escaped(out: &mut Vec<u8>, text: &str) {
    if text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    // A text is always JSON.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    out.extend_from_slice(inner.as_bytes());
}

thread_local! {
    static SECOND: std::cell::RefCell<(u64, String)> = const { std::cell::RefCell::new((u64::MAX, String::new())) };
}

/// RFC 3339 in microseconds; the text of the second is kept from one line to the next.
fn now(out: &mut Vec<u8>) {
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SECOND.with(|second| {
        let (known, prefix) = &mut *second.borrow_mut();
        if *known != age.as_secs() {
            *known = age.as_secs();
            let stamp = jiff::Timestamp::from_second(i64::try_from(*known).unwrap_or_default()).unwrap_or_default();
            *prefix = stamp.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        out.extend_from_slice(prefix.as_bytes());
        let micros = age.subsec_micros();
        out.extend([100_000, 10_000, 1000, 100, 10, 1].map(|scale| b"0123456789".get((micros / scale % 10) as usize).copied().unwrap_or(b'0')));
        out.push(b'Z');
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::decision::Missing;
    use crate::policy::judge::Question;
    use crate::policy::pattern::Pattern;
    use crate::policy::table::Table;
    use crate::policy::{Access, Decision, Denial, Needs, Policy, Reason};
    use crate::principal::roles::RoleSet;
    use crate::principal::{Cause, Listed, Proof, SourceId, Who};
    use crate::request::{Body, NormalPath, RawRequest, RequestView};
    use crate::scope::{Scope, ScopeSet, Universe};
    use crate::telemetry::Seen;
    use std::time::Duration;

    #[test]
    fn texts_are_json_whatever_they_hold() {
        for text in ["", "plain", "a \"b\" \\c", "line\nend\u{0}\u{7f}", "Jürgen \u{2028}", "\u{1f}"] {
            let mut out = Vec::new();
            quoted(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn numbers_are_decimal() {
        for (number, least, expected) in [(0, 1, "0"), (7, 1, "7"), (7, 3, "007"), (1000, 3, "1000"), (u64::MAX, 1, "18446744073709551615")] {
            let mut out = Vec::new();
            whole(&mut out, number, least);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    fn path(text: &str, rule: Option<&str>) -> String {
        let rule = rule.map(|name| Rule::new(name, Access::Deny));
        let path = NormalPath::parse(text.as_bytes()).unwrap();
        let mut out = Vec::new();
        shortened(&mut out, path.canonical(), rule.as_ref());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_segment_that_may_be_a_token_is_cut() {
        let long = "a".repeat(64);
        for (full, short) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/users/1234", "/users/1234"),
            ("/reset/abcdefghijklmno1/done", "/reset/abcd…/done"),
            ("/reset/ABCDEFGHIJKLMNOP", "/reset/ABCD…"),
            ("/reset/abcdefghijklmnop", "/reset/abcdefghijklmnop"),
            ("/short/abcdefghijklmn1", "/short/abcdefghijklmn1"),
            ("/6f9619ff-8b86-d011-b42d-00c04fc964ff", "/6f96…"),
            ("/a%20b%20c%20d%20e%20f", "/a…"),
            (&format!("/{long}"), "/aaaa…"),
        ] {
            assert_eq!(path(full, None), short);
        }
    }

    #[test]
    fn what_the_pattern_says_itself_is_shown() {
        assert_eq!(path("/api/getUserProfileImages/x", Some("GET /api/getUserProfileImages/{id}")), "/api/getUserProfileImages/x");
        assert_eq!(path("/api/getUserProfileImages", Some("GET /api/{id}")), "/api/getU…");
    }

    #[test]
    fn a_path_without_end_is_cut() {
        let text = path(&"/abc".repeat(2000), None);
        assert!(text.len() <= LONGEST + 8 && text.ends_with("/abc/…"), "{text}");
        let text = path(&format!("/{}", "abc".repeat(2000)), None);
        assert_eq!(text, "/abca…");
    }

    fn rules() -> Policy {
        let mut universe = Universe::default();
        let mut scope = |text: &str| universe.intern(Scope::parse(text).unwrap());
        let needs = Needs { all: [scope("a:b")].into(), any: [scope("c:d"), scope("e:f")].into(), ..Needs::default() };
        let mut rule = Rule::new("GET host.example/a/{x}", Access::Needs(needs));
        rule.mode = Mode::Shadow;
        let mut table = Table::default();
        table.insert(Pattern::parse(&rule.name).unwrap()).unwrap();
        Policy { table, rules: vec![rule], default: Rule::new("default", Access::Deny), universe, cors: None, watched: Box::default() }
    }

    #[test]
    fn the_reader_of_lines_knows_every_key_that_the_writer_writes() {
        let policy = rules();
        let scopes = ScopeSet::new(vec![Scope::parse("a:*").unwrap(), Scope::parse("e:f").unwrap()], &policy.universe);
        let roles = RoleSet::default();
        let listed = Listed { id: "who \"she\" is", scopes: &scopes, roles: &roles, tenant: Some("t"), restricted: false, until: None };
        let caller = Caller { source: SourceId(0), credential: "tokens", place: None, who: Who::Listed(listed), factor: None };
        let headers: &[(&str, &[u8])] = &[];
        let target = b"/a/b?token=secret-in-query-1";
        let raw = RawRequest { method: b"GET", target, host: Some(b"host.example"), headers: &headers, link: Default::default() };
        let read = RequestView::read(&raw);
        let question = Question { body: Body::Unread, extra_scopes: "a:z", now: 0, settled: &[] };
        let mut decision = policy.judge(read.as_ref().unwrap(), question, |_| Proof::Caller(caller));
        let seen = Seen::new(b"GET", &read, Some(&policy), "a:z");
        let parsed = |decision: &Decision<'_>, style: &Style| {
            let record = Record { door: Door::Proxy, decision, id: DecisionId::next(), generation: 3, elapsed: Duration::from_nanos(12_345), seen };
            let mut out = Vec::new();
            super::decision(&mut out, &record, Context::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), style);
            let text = String::from_utf8(out).unwrap();
            assert!(text.ends_with("}\n") && !text.contains("secret"), "{text}");
            let line = Line::parse(text.trim_end()).unwrap();
            let said: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(said, serde_json::to_value(&line).unwrap(), "no key is lost");
            (line, said.as_object().unwrap().keys().cloned().collect::<Vec<_>>())
        };
        let style = Style { paths: true, sample: Some("0.05".into()) };
        let (line, mut keys) = parsed(&decision, &style);
        assert_eq!((line.outcome.as_str(), line.used_scopes.as_deref(), line.sample), ("allow", Some("a:b e:f a:z"), Some(0.05)));
        assert_eq!((line.path.as_deref(), line.host.as_deref(), line.micros), (Some("/a/b"), Some("host.example"), Some(12.345)));
        decision.shadow = Some(Denial { missing: Some(Missing::All("x:y".into())), ..Reason::InsufficientScope.into() });
        decision.refused = Some((Cause::Expired, None));
        let (line, more) = parsed(&decision, &Style { paths: false, ..style });
        assert_eq!((line.outcome.as_str(), line.reason.as_str(), line.mode.as_deref()), ("shadow", "insufficient_scope", Some("shadow")));
        assert_eq!((line.path, line.sample, line.missing_scopes.as_deref()), (None, None, Some("x:y")));
        keys.extend(more);
        let all: Vec<_> = serde_json::to_value(complete()).unwrap().as_object().unwrap().keys().cloned().collect();
        assert!(all.iter().all(|key| keys.contains(key)), "the writer never writes one of {all:?}");
    }

    /// With every field.
    fn complete() -> Line {
        let some = || Some("x".to_owned());
        Line {
            outcome: "x".into(),
            reason: "x".into(),
            cause: some(),
            method: some(),
            path: some(),
            host: some(),
            route: some(),
            credential: some(),
            principal: some(),
            tenant: some(),
            missing_scopes: some(),
            used_scopes: some(),
            mode: some(),
            trace_id: some(),
            generation: Some(1),
            micros: Some(1.0),
            sample: Some(1.0),
            ..Line::default()
        }
    }

    #[test]
    fn the_time_is_rfc_3339() {
        let mut out = Vec::new();
        now(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!((text.len(), text.parse::<jiff::Timestamp>().is_ok()), (27, true), "{text}");
    }
}
