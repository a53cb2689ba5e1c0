//! A canonical request into every rule that an operator may have meant by it: what each needs, and why it lost.
//! Decides nothing: the first one is the table's own choice.

use std::ops::ControlFlow;

use serde::Serialize;

use super::explain::needs_text;
use super::judge::Policy;
use super::pattern::{Pattern, Segment};
use super::rule::RuleId;
use crate::request::{HostName, RequestView};

/// A rule that spoke of the path, or nearly did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Considered {
    pub rule: String,
    pub needs: String,
    /// `wins`, `less specific`, `other method`, `other host` or `near miss`.
    pub verdict: &'static str,
    /// In words, where it lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A typing error is one of few; a page of them helps nobody.
const NEAR_MISSES: usize = 5;

pub fn considered<H>(policy: &Policy, view: &RequestView<'_, H>) -> Vec<Considered> {
    let mut list = List { policy, found: Vec::new() };
    let (host, path) = (view.host.as_ref(), view.path.decoded());
    let mut winner: Option<&str> = None;
    let _ = policy.table.candidates(host, view.method, path, &mut |rule| {
        match winner {
            None => {
                winner = Some(&policy.rule(rule).name);
                list.add(rule, "wins", None);
            }
            Some(winner) => list.add(rule, "less specific", Some(format!("it is less specific than `{winner}`"))),
        }
        ControlFlow::Continue(())
    });
    policy.table.near_misses(path, &mut |rule| {
        let Some(pattern) = policy.table.pattern(rule) else { return };
        match &pattern.host {
            Some(wanted) if host.map(HostName::as_str) != Some(wanted) => list.add(rule, "other host", Some(other_host(wanted, host))),
            Some(_) | None => list.add(rule, "other method", Some(other_method(pattern, view.method.as_str()))),
        }
    });
    near_misses(policy, view, &mut list);
    list.found.into_iter().map(|(_, considered)| considered).collect()
}

/// Each rule once, for the first reason.
struct List<'p> {
    policy: &'p Policy,
    found: Vec<(RuleId, Considered)>,
}

impl List<'_> {
    fn add(&mut self, id: RuleId, verdict: &'static str, why: Option<String>) {
        if self.found.iter().all(|(known, _)| *known != id) {
            let rule = self.policy.rule(id);
            let considered = Considered { rule: rule.name.to_string(), needs: needs_text(self.policy, rule), verdict, why };
            self.found.push((id, considered));
        }
    }
}

fn other_host(wanted: &str, host: Option<&HostName<'_>>) -> String {
    match host {
        Some(host) => format!("it is for the host `{wanted}`, and the request's is `{}`", host.as_str()),
        None => format!("it is for the host `{wanted}`, and the request names none"),
    }
}

fn other_method(pattern: &Pattern, method: &str) -> String {
    match &pattern.method {
        Some(wanted) if wanted.eq_ignore_ascii_case(method) => format!("it is for `{wanted}`, and the request's method is `{method}`: case counts"),
        Some(wanted) => format!("it is for `{wanted}`, and the request's method is `{method}`"),
        None => format!("without a method of its own it is for the standard ones, and `{method}` is none of them"),
    }
}

/// Rules that a slash or a typing error keeps from matching.
fn near_misses<H>(policy: &Policy, view: &RequestView<'_, H>, list: &mut List<'_>) {
    let path = view.path.decoded();
    let (slash, why) = match path.strip_suffix('/') {
        Some("") => (None, ""),
        Some(without) => (Some(without.to_owned()), "it would match without the slash at the end of the path"),
        None => (Some(format!("{path}/")), "it would match with a slash at the end of the path"),
    };
    let before = list.found.len();
    if let Some(path) = slash {
        let _ = policy.table.candidates(view.host.as_ref(), view.method, &path, &mut |rule| {
            list.add(rule, "near miss", Some(why.to_owned()));
            ControlFlow::Continue(())
        });
    }
    let asked: Vec<&str> = path.split('/').skip(1).collect();
    for (rule, pattern) in (0..policy.rules.len()).filter_map(|index| Some((RuleId(index), policy.table.pattern(RuleId(index))?))) {
        if list.found.len() >= before + NEAR_MISSES {
            return;
        }
        let is_ours = |wanted: &Option<Box<str>>, own: Option<&str>| wanted.as_deref().is_none_or(|wanted| Some(wanted) == own);
        if is_ours(&pattern.host, view.host.as_ref().map(HostName::as_str))
            && is_ours(&pattern.method, Some(view.method.as_str()))
            && let Some((said, meant)) = one_differs(pattern, &asked)
        {
            list.add(rule, "near miss", Some(format!("one segment differs: `{said}` is not `{meant}`")));
        }
    }
}

/// The one segment that keeps a path from matching, where it looks like a typing error.
fn one_differs<'p>(pattern: &'p Pattern, asked: &[&'p str]) -> Option<(&'p str, &'p str)> {
    let open = pattern.segments.last() == Some(&Segment::Rest);
    let named = pattern.segments.len() - usize::from(open);
    if asked.len() < named || (!open && asked.len() != named) || (open && asked.len() == named) {
        return None;
    }
    let mut differs = None;
    for (segment, said) in pattern.segments.iter().zip(asked) {
        match segment {
            Segment::Literal(meant) if **meant == **said => {}
            Segment::Literal(meant) if differs.is_none() && is_close(said, meant) => differs = Some((*said, &**meant)),
            Segment::One if !said.is_empty() => {}
            Segment::End if said.is_empty() => {}
            Segment::Rest => {}
            Segment::Literal(_) | Segment::One | Segment::End => return None,
        }
    }
    differs
}

fn is_close(said: &str, meant: &str) -> bool {
    said.eq_ignore_ascii_case(meant)
        || (said.len().abs_diff(meant.len()) <= 2 && meant.len() <= 64 && matches!(distance(said, meant), steps @ 0..=2 if steps * 3 <= meant.len()))
}

/// Levenshtein's.
pub fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, left) in one.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((right, keep), above) in two.iter().zip(&row).zip(row.iter().skip(1)) {
            let best = (above + 1).min(next.last().map_or(usize::MAX, |last| last + 1)).min(keep + usize::from(left != *right));
            next.push(best);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::table::Table;
    use crate::policy::{Access, Rule};
    use crate::request::RawRequest;
    use crate::scope::Universe;

    fn verdicts(patterns: &[&str], method: &str, target: &str) -> Vec<(String, &'static str, String)> {
        let mut table = Table::default();
        for text in patterns {
            table.insert(Pattern::parse(text).unwrap()).unwrap();
        }
        let rules = patterns.iter().map(|text| Rule::new(text, Access::Deny)).collect();
        let policy =
            Policy { table, rules, default: Rule::new("default", Access::Deny), universe: Universe::default(), cors: None, watched: Box::default() };
        let headers: &[(&str, &[u8])] = &[];
        let (method, target) = (method.as_bytes(), target.as_bytes());
        let raw = RawRequest { method, target, host: Some(b"a.test"), headers: &headers, link: Default::default() };
        let view = RequestView::read(&raw).unwrap();
        considered(&policy, &view).into_iter().map(|one| (one.rule, one.verdict, one.why.unwrap_or_default())).collect()
    }

    #[test]
    fn each_loser_says_why() {
        let patterns = ["/a/{x}", "GET /a/b", "/", "DELETE /a/b", "other.test/a/b", "PURGE /c"];
        let expected = [
            ("GET /a/b", "wins", ""),
            ("/a/{x}", "less specific", "it is less specific than `GET /a/b`"),
            ("/", "less specific", "it is less specific than `GET /a/b`"),
            ("other.test/a/b", "other host", "it is for the host `other.test`, and the request's is `a.test`"),
            ("DELETE /a/b", "other method", "it is for `DELETE`, and the request's method is `GET`"),
        ];
        assert_eq!(verdicts(&patterns, "GET", "/a/b"), expected.map(|(rule, verdict, why)| (rule.into(), verdict, why.into())));
        let lower = verdicts(&["GET /a", "/b"], "get", "/a");
        assert_eq!(lower, [("GET /a".into(), "other method", "it is for `GET`, and the request's method is `get`: case counts".into())]);
        let own = verdicts(&["/a"], "PURGE", "/a");
        assert_eq!(own[0].2, "without a method of its own it is for the standard ones, and `PURGE` is none of them");
    }

    #[test]
    fn a_slash_and_a_typing_error_are_pointed_out() {
        for (pattern, target, why) in [
            ("/pending", "/pending/", "it would match without the slash at the end of the path"),
            ("/pending/", "/pending", "it would match with a slash at the end of the path"),
            ("POST /approve/{id}", "/aprove/7", "one segment differs: `aprove` is not `approve`"),
            ("/api/Users", "/api/users", "one segment differs: `users` is not `Users`"),
            ("/files/{rest...}", "/file/a/b", "one segment differs: `file` is not `files`"),
        ] {
            assert_eq!(verdicts(&[pattern], "POST", target), [(pattern.to_owned(), "near miss", why.to_owned())]);
        }
        for (pattern, target) in
            [("/users", "/orders"), ("/a", "/b"), ("/approve/{id}", "/aprove"), ("/aprove/x", "/approve/y"), ("GET /approve", "/aprove")]
        {
            assert_eq!(verdicts(&[pattern], "POST", target), [], "{pattern} {target}");
        }
        let many: Vec<String> = (0..100).map(|index| format!("/item-{index:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(verdicts(&many, "GET", "/item-xx").len(), NEAR_MISSES);
    }
}
