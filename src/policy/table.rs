//! Patterns into a tree that finds the most specific match in the length of the path, whatever the number of routes.
//! Two patterns that overlap with neither more specific cannot both get in.

use std::ops::ControlFlow;

use hashbrown::HashMap;

use super::pattern::{Pattern, Segment};
use super::rule::RuleId;
use crate::request::{HostName, Method};

/// Every route, by host, method and path.
#[derive(Debug, Default)]
pub struct Table {
    any_host: Methods,
    hosts: HashMap<Box<str>, Methods>,
    patterns: Vec<Pattern>,
}

/// The routes of one host, by method.
#[derive(Debug, Default)]
struct Methods {
    named: Vec<(Box<str>, Node)>,
    any: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// The rule of the pattern that ends here.
    rule: Option<RuleId>,
    literals: HashMap<Box<str>, Node>,
    one: Option<Box<Node>>,
    end: Option<RuleId>,
    rest: Option<RuleId>,
}

impl Table {
    /// Adds the pattern of the rule with the next number. `Err` with every earlier pattern that it conflicts with.
    pub fn insert(&mut self, pattern: Pattern) -> Result<RuleId, Vec<RuleId>> {
        let rule = RuleId(self.patterns.len());
        let methods = match &pattern.host {
            Some(host) => self.hosts.entry(host.clone()).or_default(),
            None => &mut self.any_host,
        };
        let mut near = Vec::new();
        methods.each(|_, node| node.overlapping(&pattern.segments, &mut near));
        near.retain(|other: &RuleId| self.patterns.get(other.0).is_some_and(|known| known.conflicts_with(&pattern)));
        if !near.is_empty() {
            near.sort_unstable();
            near.dedup();
            return Err(near);
        }
        methods.root(pattern.method.as_deref()).insert(&pattern.segments, rule);
        self.patterns.push(pattern);
        Ok(rule)
    }

    /// The most specific rule for a request.
    pub fn find(&self, host: Option<&HostName<'_>>, method: Method<'_>, path: &str) -> Option<RuleId> {
        let mut best = None;
        let _ = self.candidates(host, method, path, &mut |rule| {
            best = Some(rule);
            ControlFlow::Break(())
        });
        best
    }

    /// Every rule that matches, the most specific first.
    pub fn candidates(
        &self,
        host: Option<&HostName<'_>>,
        method: Method<'_>,
        path: &str,
        found: &mut dyn FnMut(RuleId) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.hosts.is_empty()
            && let Some(methods) = host.and_then(|host| self.hosts.get(host.as_str()))
        {
            methods.candidates(method, path, found)?;
        }
        self.any_host.candidates(method, path, found)
    }

    /// Rules whose path matches under another method or host: what an operator may have meant.
    pub fn near_misses(&self, path: &str, found: &mut dyn FnMut(RuleId)) {
        for methods in self.hosts.values().chain([&self.any_host]) {
            methods.each(|_, node| {
                let _ = node.walk(path, &mut |rule| {
                    found(rule);
                    ControlFlow::Continue(())
                });
            });
        }
    }

    pub fn pattern(&self, rule: RuleId) -> Option<&Pattern> {
        self.patterns.get(rule.0)
    }

    /// Whether some rule speaks of a host, so that a request without one cannot be judged.
    pub fn speaks_of_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }
}

impl Methods {
    fn each<'a>(&'a self, mut visit: impl FnMut(Option<&'a str>, &'a Node)) {
        for (method, node) in &self.named {
            visit(Some(method), node);
        }
        visit(None, &self.any);
    }

    fn root(&mut self, method: Option<&str>) -> &mut Node {
        let Some(method) = method else { return &mut self.any };
        if !self.named.iter().any(|(known, _)| **known == *method) {
            self.named.push((method.into(), Node::default()));
        }
        match self.named.iter_mut().find(|(known, _)| **known == *method) {
            Some((_, node)) => node,
            None => &mut self.any,
        }
    }

    /// A method of its own first, then GET for HEAD, then the patterns without a method.
    fn candidates(&self, method: Method<'_>, path: &str, found: &mut dyn FnMut(RuleId) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut named = |name: &str| match self.named.iter().find(|(known, _)| **known == *name) {
            Some((_, node)) => node.walk(path, found),
            None => ControlFlow::Continue(()),
        };
        named(method.as_str())?;
        if method.as_str() == "HEAD" {
            named("GET")?;
        }
        if method.is_standard() { self.any.walk(path, found) } else { ControlFlow::Continue(()) }
    }
}

impl Node {
    fn insert(&mut self, segments: &[Segment], rule: RuleId) {
        let Some((segment, rest)) = segments.split_first() else {
            self.rule = Some(rule);
            return;
        };
        match segment {
            Segment::Literal(text) => self.literals.entry(text.clone()).or_default().insert(rest, rule),
            Segment::One => self.one.get_or_insert_default().insert(rest, rule),
            Segment::Rest => self.rest = Some(rule),
            Segment::End => self.end = Some(rule),
        }
    }

    /// Literal before `{name}` before `{rest...}`, going back where a longer way ends in nothing. Each node is seen at most once.
    fn walk(&self, path: &str, found: &mut dyn FnMut(RuleId) -> ControlFlow<()>) -> ControlFlow<()> {
        let Some(rest) = path.strip_prefix('/') else {
            return report(self.rule, found);
        };
        let cut = memchr::memchr(b'/', rest.as_bytes()).unwrap_or(rest.len());
        let Some((segment, tail)) = rest.split_at_checked(cut) else {
            return ControlFlow::Continue(());
        };
        if rest.is_empty() {
            report(self.end, found)?;
        } else {
            if let Some(node) = self.literals.get(segment) {
                node.walk(tail, found)?;
            }
            if let (Some(node), false) = (&self.one, segment.is_empty()) {
                node.walk(tail, found)?;
            }
        }
        report(self.rest, found)
    }

    /// Rules in this tree that some path has in common with `segments`.
    fn overlapping(&self, segments: &[Segment], near: &mut Vec<RuleId>) {
        near.extend(self.rest);
        match segments.split_first() {
            None => near.extend(self.rule),
            Some((Segment::Rest, _)) => self.all(near),
            Some((Segment::End, _)) => near.extend(self.end),
            Some((Segment::Literal(text), rest)) => {
                for node in self.literals.get(text).into_iter().chain(self.one.as_deref()) {
                    node.overlapping(rest, near);
                }
            }
            Some((Segment::One, rest)) => {
                for node in self.literals.values().chain(self.one.as_deref()) {
                    node.overlapping(rest, near);
                }
            }
        }
    }

    fn all(&self, near: &mut Vec<RuleId>) {
        near.extend(self.rule.into_iter().chain(self.end).chain(self.rest));
        for node in self.literals.values().chain(self.one.as_deref()) {
            node.all(near);
        }
    }
}

fn report(rule: Option<RuleId>, found: &mut dyn FnMut(RuleId) -> ControlFlow<()>) -> ControlFlow<()> {
    rule.map_or(ControlFlow::Continue(()), found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[&str]) -> Table {
        let mut table = Table::default();
        for text in patterns {
            table.insert(Pattern::parse(text).unwrap()).unwrap();
        }
        table
    }

    fn find<'a>(table: &Table, patterns: &[&'a str], method: &str, host: &str, path: &str) -> Option<&'a str> {
        let host = HostName::parse(host.as_bytes());
        table.find(host.as_ref(), Method::parse(method.as_bytes()).unwrap(), path).map(|rule| patterns[rule.0])
    }

    #[test]
    fn the_most_specific_pattern_wins_whatever_the_order() {
        let mut patterns =
            ["/", "/a/", "/a/{x}", "/a/b", "/a/{$}", "GET /a/b", "/a/{x}/c", "/r/{rest...}", "/{x}", "example.com/a/b", "PROPFIND /dav/"];
        for _ in 0..2 {
            let table = table(&patterns);
            for (method, host, path, wins) in [
                ("GET", "h", "/", Some("/")),
                ("GET", "h", "/zzz", Some("/{x}")),
                ("GET", "h", "/a", Some("/{x}")),
                ("GET", "h", "/a/", Some("/a/{$}")),
                ("GET", "h", "/a/q", Some("/a/{x}")),
                ("GET", "h", "/a/b", Some("GET /a/b")),
                ("HEAD", "h", "/a/b", Some("GET /a/b")),
                ("POST", "h", "/a/b", Some("/a/b")),
                ("GET", "example.com", "/a/b", Some("example.com/a/b")),
                ("GET", "example.com", "/a/c", Some("/a/{x}")),
                ("GET", "h", "/a/b/", Some("/a/")),
                ("GET", "h", "/r/b/c/d", Some("/r/{rest...}")),
                ("GET", "h", "/r/", Some("/r/{rest...}")),
                ("GET", "h", "/r", Some("/{x}")),
                ("GET", "h", "/a/q/c", Some("/a/{x}/c")),
                ("GET", "h", "/a/q/d", Some("/a/")),
                ("GET", "h", "/q/z", Some("/")),
                ("get", "h", "/a/b", None),
                ("PURGE", "h", "/a/b", None),
                ("TRACE", "h", "/a/b", None),
                ("PROPFIND", "h", "/dav/x", Some("PROPFIND /dav/")),
                ("PROPFIND", "h", "/a/b", None),
            ] {
                assert_eq!(find(&table, &patterns, method, host, path), wins, "{method} {host} {path}");
            }
            patterns.reverse();
        }
    }

    #[test]
    fn a_conflict_names_every_earlier_pattern() {
        let mut table = table(&["/a/{x}", "/a/b/"]);
        assert_eq!(table.insert(Pattern::parse("/{y}/b").unwrap()), Err(vec![RuleId(0)]));
        assert_eq!(table.insert(Pattern::parse("/a/{z}").unwrap()), Err(vec![RuleId(0)]));
        assert_eq!(table.insert(Pattern::parse("/a/b").unwrap()), Ok(RuleId(2)));
    }
}
