//! Routes that cross into routes that do not: of two, one is widened until it holds the other, and what both match needs both.
//! No request gets by with less than the narrowest operation that it is for asks.

use super::listed;
use super::need::Need;
use super::routes::Route;
use crate::policy::pattern::{Pattern, Segment};

/// More rounds than any document takes; each takes a text off some route.
const MAX_ROUNDS: usize = 10_000;

/// The name of a wildcard: letters, digits and `_`, and no other's.
pub fn name(said: &str, index: usize, others: &[String]) -> String {
    let mut name: String = said.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') || name.bytes().all(|byte| byte == b'_') {
        name = format!("p{index}");
    }
    while others.contains(&name) {
        name = format!("{name}_{index}");
    }
    name
}

/// One route for each pattern, which needs what all of its operations need.
pub fn same(routes: Vec<Route>, notes: &mut Vec<String>) -> Vec<Route> {
    let mut list: Vec<Route> = Vec::new();
    let mut merged = Vec::new();
    for route in routes {
        match list.iter_mut().find(|known| known.method == route.method && known.segments == route.segments) {
            None => list.push(route),
            Some(known) => {
                if known.need != route.need {
                    merged.push(known.text());
                }
                known.need = known.need.and(&route.need);
            }
        }
    }
    if !merged.is_empty() {
        notes.push(format!("several operations are one route, which needs what each of them needs: {}", listed(&merged)));
    }
    // GET speaks for HEAD, too.
    let spoken_for = |route: &Route| {
        route.method == "HEAD" && list.iter().any(|get| get.method == "GET" && get.segments == route.segments && get.need == route.need)
    };
    list.iter().filter(|route| !spoken_for(route)).cloned().collect()
}

pub fn settle(mut routes: Vec<Route>, notes: &mut Vec<String>) -> Result<Vec<Route>, String> {
    let (mut widened, mut closed) = (Vec::new(), Vec::new());
    let mut both = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let Some((index, partners)) = worst(&routes) else {
            let mut note = |names: &[String], text: &str| {
                if !names.is_empty() {
                    notes.push(format!("{text}: {}", listed(names)));
                }
            };
            note(&widened, "crosses other routes with neither the narrower one; it has a wildcard more, so that paths beside its own need the same");
            note(&both, "a request for two operations, which needs what both of them need");
            note(&closed, "open to everybody in the document, and cannot be told from what is not; a scope is asked for");
            return Ok(routes);
        };
        let victim = routes.remove(index);
        let partners: Vec<Route> = partners.into_iter().filter_map(|at| routes.get(if at > index { at - 1 } else { at }).cloned()).collect();
        widened.push(victim.text());
        if victim.need == Need::Public {
            closed.push(victim.text());
        }
        for partner in partners.iter().filter(|partner| partner.need != victim.need) {
            let Some(meet) = meet(&victim, partner) else { continue };
            both.push(meet.text());
            let (one, other) = (victim.pattern(), partner.pattern());
            // What holds the one or the other as a whole leaves these requests to it.
            put(&mut routes, meet, usize::MAX, |wider| !one.is_within(wider) && !other.is_within(wider));
        }
        let mut wide = partners.iter().fold(victim, |wide, partner| join(&wide, partner));
        if wide.need == Need::Public {
            wide.need = wide.closed.clone();
        }
        put(&mut routes, wide, index, |_| true);
    }
    Err("routes of the document cross each other in too many ways; write them by hand".into())
}

/// Adds a route, or what it needs to the one that is there. What it is carved out of has its say, where that counts.
fn put(routes: &mut Vec<Route>, mut route: Route, at: usize, counts: impl Fn(&Pattern) -> bool) {
    let pattern = route.pattern();
    for wider in routes.iter() {
        let wide = wider.pattern();
        if pattern.is_within(&wide) && (wide == pattern || counts(&wide)) {
            route.need = route.need.and(&wider.need);
        }
    }
    match routes.iter_mut().find(|known| known.method == route.method && known.segments == route.segments) {
        Some(known) => known.need = route.need,
        None => routes.insert(at.min(routes.len()), route),
    }
}

/// The route that crosses the most others, and those; rather one that is not public, because what is widened lets more in.
fn worst(routes: &[Route]) -> Option<(usize, Vec<usize>)> {
    let patterns: Vec<_> = routes.iter().map(Route::pattern).collect();
    let mut crossings: Vec<Vec<usize>> = vec![Vec::new(); routes.len()];
    for (index, pattern) in patterns.iter().enumerate() {
        for (other, _) in patterns.iter().enumerate().skip(index + 1).filter(|(_, other)| pattern.conflicts_with(other)) {
            crossings.get_mut(index)?.push(other);
            crossings.get_mut(other)?.push(index);
        }
    }
    let open = |index: usize| routes.get(index).is_some_and(|route| route.need == Need::Public);
    let listed = crossings.into_iter().enumerate().filter(|(_, others)| !others.is_empty());
    listed.min_by_key(|(index, others)| (open(*index), std::cmp::Reverse(others.len()), *index))
}

/// Every request of either, and more.
fn join(one: &Route, other: &Route) -> Route {
    let mut segments = Vec::new();
    for (left, right) in one.segments.iter().zip(&other.segments) {
        let wide = match (left, right) {
            (Segment::Rest, _) | (_, Segment::Rest) => Segment::Rest,
            (left, right) if left == right => left.clone(),
            (Segment::Literal(_) | Segment::One | Segment::End, _) => Segment::One,
        };
        let last = wide == Segment::Rest;
        segments.push(wide);
        if last {
            break;
        }
    }
    let method = if one.method == other.method { one.method.clone() } else { "GET".into() };
    Route { method, names: names(one, other, &segments), segments, need: one.need.clone(), closed: one.closed.clone() }
}

/// The requests of both.
fn meet(one: &Route, other: &Route) -> Option<Route> {
    let mut segments = Vec::new();
    let (mut left, mut right) = (one.segments.as_slice(), other.segments.as_slice());
    loop {
        match (left.split_first(), right.split_first()) {
            (None, None) => break,
            (Some((Segment::Rest, _)), _) => {
                segments.extend(right.iter().cloned());
                break;
            }
            (_, Some((Segment::Rest, _))) => {
                segments.extend(left.iter().cloned());
                break;
            }
            (Some((first, rest)), Some((second, after))) => {
                segments.push(if *first == Segment::One { second.clone() } else { first.clone() });
                (left, right) = (rest, after);
            }
            (None, Some(_)) | (Some(_), None) => return None,
        }
    }
    let method = if [&one.method, &other.method].iter().any(|method| *method == "HEAD") { "HEAD".into() } else { one.method.clone() };
    let closed = one.closed.and(&other.closed);
    Some(Route { method, names: names(one, other, &segments), segments, need: one.need.and(&other.need), closed })
}

/// A wildcard is called as in one of the routes where it stands.
fn names(one: &Route, other: &Route, segments: &[Segment]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let said = [one, other].into_iter().find(|route| route.segments.get(index) == Some(segment)).and_then(|route| route.names.get(index));
        let said = said.map_or("", String::as_str);
        names.push(name(if said.is_empty() && *segment == Segment::Rest { "rest" } else { said }, index, &names));
    }
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::policy::table::Table;
    use crate::request::Method;

    fn route(method: &str, path: &str, need: Need) -> Route {
        let pattern = Pattern::parse(&format!("{method} {path}")).unwrap();
        let names = (0..pattern.segments.len()).map(|index| format!("p{index}")).collect();
        Route { method: method.into(), segments: pattern.segments, names, need, closed: Need::all(vec!["closed".into()]) }
    }

    fn matches(route: &Route, method: &str, path: &str) -> bool {
        let mut table = Table::default();
        table.insert(route.pattern()).unwrap();
        table.find(None, Method::parse(method.as_bytes()).unwrap(), path).is_some()
    }

    fn suffices(need: &Need, held: &BTreeSet<&str>) -> bool {
        match need {
            Need::Public => true,
            Need::All(scopes) => scopes.iter().all(|scope| held.contains(scope.as_str())),
            Need::Any(scopes) => scopes.iter().any(|scope| held.contains(scope.as_str())),
        }
    }

    /// Whoever is let in could do whatever the request is narrowest for.
    fn holds(said: &[Route], worlds: &[(&str, String)]) {
        let mut notes = Vec::new();
        let settled = settle(said.to_vec(), &mut notes).unwrap();
        let mut table = Table::default();
        for route in &settled {
            let text = route.text();
            let pattern = Pattern::parse(&text).unwrap();
            assert_eq!(pattern, route.pattern(), "{text}");
            table.insert(pattern).unwrap_or_else(|_| panic!("{text} crosses another of {:?}", settled.iter().map(Route::text).collect::<Vec<_>>()));
        }
        let scopes = ["s0", "s1", "s2", "s3", "closed"];
        for (method, path) in worlds {
            let meant: Vec<&Route> = said.iter().filter(|route| matches(route, method, path)).collect();
            let narrowest = |route: &&&Route| {
                let narrower = |other: &&&Route| other.pattern().is_within(&route.pattern()) && !route.pattern().is_within(&other.pattern());
                !meant.iter().any(|other| narrower(&other))
            };
            let meant: Vec<&&Route> = meant.iter().filter(narrowest).collect();
            if meant.is_empty() {
                continue;
            }
            let names = || {
                (
                    said.iter().map(Route::text).collect::<Vec<_>>(),
                    settled.iter().map(|route| format!("{}: {}", route.text(), route.need.yaml())).collect::<Vec<_>>(),
                )
            };
            let rule = table.find(None, Method::parse(method.as_bytes()).unwrap(), path);
            let rule = &settled[rule.unwrap_or_else(|| panic!("{method} {path} has no route: {:?}", names())).0];
            for bits in 0..1_u32 << scopes.len() {
                let held: BTreeSet<&str> = scopes.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, scope)| *scope).collect();
                let could = meant.iter().all(|route| suffices(&route.need, &held));
                assert!(!suffices(&rule.need, &held) || could, "{method} {path} by {} with {held:?}: {:?}", rule.text(), names());
            }
        }
    }

    #[test]
    fn no_request_gets_by_with_less_than_its_narrowest_operation_asks() {
        let names = ["a", "b", "z"];
        let mut paths = vec![String::new()];
        let mut last = paths.clone();
        for _ in 0..3 {
            last = last.iter().flat_map(|path| names.map(|name| format!("{path}/{name}"))).collect();
            paths.extend(last.iter().cloned());
        }
        let worlds: Vec<(&str, String)> =
            paths.iter().filter(|path| !path.is_empty()).flat_map(|path| ["GET", "HEAD"].map(|method| (method, path.clone()))).collect();
        let patterns = [
            "GET /a/{x}",
            "GET /{x}/b",
            "GET /{x}/{y}",
            "GET /a/b",
            "GET /a/{x...}",
            "GET /{x}/b/{y...}",
            "GET /a/{x}/b",
            "GET /{x}/b/{y}",
            "GET /{x}/{y}/z",
            "GET /a/b/{x}",
            "HEAD /a/{x}",
            "HEAD /{x}/b/z",
            "GET /{x...}",
            "GET /{x}/a/{y}",
        ];
        let one = |scope: &str| Need::all(vec![scope.into()]);
        let needs = [one("s0"), Need::Public, one("s2"), Need::any(vec!["s1".into(), "s3".into()])];
        let count = patterns.len();
        for first in 0..count {
            for second in first + 1..count {
                for third in second + 1..count {
                    // The needs take turns, so that each is at each place of some set.
                    let turn = first + second * 2 + third;
                    let chosen = [first, second, third, (third + turn) % count];
                    let mut said: Vec<Route> = Vec::new();
                    for (place, index) in chosen.into_iter().enumerate() {
                        let (method, path) = patterns[index].split_once(' ').unwrap();
                        if !said.iter().any(|route| route.text() == patterns[index]) && (place < 3 || !chosen[..3].contains(&index)) {
                            said.push(route(method, path, needs[(place + turn) % needs.len()].clone()));
                        }
                    }
                    holds(&said, &worlds);
                }
            }
        }
    }

    #[test]
    fn the_route_that_crosses_most_is_widened_and_the_others_stay() {
        let read = || Need::all(vec!["issues:read".into()]);
        let said = ["/issues/{n}/labels", "/issues/{n}/events", "/issues/comments/{id}"].map(|path| route("GET", path, read()));
        let mut notes = Vec::new();
        let texts: Vec<String> = settle(said.to_vec(), &mut notes).unwrap().iter().map(Route::text).collect();
        assert_eq!(texts, ["GET /issues/{p1}/labels", "GET /issues/{p1}/events", "GET /issues/{p1}/{p2}"]);
        assert!(notes[0].contains("`GET /issues/comments/{p2}`") && notes.len() == 1, "{notes:?}");
    }

    #[test]
    fn what_is_public_stays_narrow_where_the_other_can_give_way() {
        let said = [route("GET", "/a/{x}", Need::Public), route("GET", "/{x}/b", Need::all(vec!["s0".into()]))];
        let settled = settle(said.to_vec(), &mut Vec::new()).unwrap();
        let told: Vec<String> = settled.iter().map(|route| format!("{}: {}", route.text(), route.need.yaml())).collect();
        assert_eq!(told, ["GET /a/{p1}: public", "GET /{p0}/{p1}: [s0]", "GET /a/b: [s0]"]);
        let said = [route("GET", "/a/{x}", Need::Public), route("GET", "/{x}/b", Need::Public)];
        let settled = settle(said.to_vec(), &mut Vec::new()).unwrap();
        assert!(settled.iter().any(|route| route.text() == "GET /{p0}/{p1}" && route.need == route.closed), "{settled:?}");
    }

    #[test]
    fn names_of_wildcards_are_such_as_patterns_take() {
        let mut names: Vec<String> = Vec::new();
        for said in ["user-id", "user_id", "1st", "", "id", "id", "\u{e9}", "_"] {
            names.push(name(said, names.len(), &names));
        }
        let path: String = names.iter().map(|name| format!("/{{{name}}}")).collect();
        assert!(Pattern::parse(&path).is_ok(), "{path}");
    }
}
