//! `rateLimit` of Backflow's configuration and of its routes into the `rate_limit` of a route.
//! Rounds nothing: what no rate says exactly is left to the operator, with what would be right.

use serde_json::{Map, Value};

use super::super::draft::Draft;
use super::super::strangers;
use crate::principal::record::Rate;

/// Milliseconds of the units of a rate.
const UNITS: [(u64, &str); 4] = [(1_000, "s"), (60_000, "m"), (3_600_000, "h"), (86_400_000, "d")];
const SUCH: &str = "write such as `rate_limit: {rate: 100/m, per: principal}` on the route";

/// What a route's limit is.
#[derive(Debug, PartialEq, Eq)]
pub enum Limit {
    Without,
    /// `max` is 0.
    Never,
    /// As the keys of a `rate_limit`, but for whose it is.
    Rate(String),
}

/// The limits that the document has for paths.
pub struct Limits<'a> {
    paths: Vec<(&'a str, &'a Value)>,
    used: Vec<&'a str>,
}

impl<'a> Limits<'a> {
    pub fn new(document: &'a Value, draft: &mut Draft<'_>) -> Self {
        let mut limits = Self { paths: Vec::new(), used: Vec::new() };
        let Some(said) = document.get("rateLimit") else { return limits };
        if is_off(said) {
            draft.note("`rateLimit` is switched off, and was not read");
            return limits;
        }
        let rest = strangers(said, "rateLimit.", &["enabled", "default", "perEndpoint"]);
        if !rest.is_empty() {
            draft.note(format!("without counterpart: {}", rest.join(", ")));
        }
        match said.get("default").filter(|limit| !is_off(limit)).map(read) {
            Some(Read::Rate(rate)) => draft.note(format!(
                "`rateLimit.default`: no limit is for all routes at once; where it matters, write `rate_limit: {{{rate}, per: principal}}` on the route, \
                 `per: ip` on one that is public"
            )),
            Some(Read::Odd | Read::Never | Read::Near(_)) => draft.note(format!("`rateLimit.default`: no limit is for all routes at once; {SUCH}")),
            None => draft.note(format!("`rateLimit`: a limit is one of a route; {SUCH}")),
        }
        let paths = said.get("perEndpoint").and_then(Value::as_object).into_iter().flat_map(Map::iter);
        limits.paths = paths.map(|(path, limit)| (path.as_str(), limit)).collect();
        limits
    }

    /// The limit of a route: its own, or else that of its path.
    pub fn of(&mut self, route: &Value, draft: &mut Draft<'_>) -> Limit {
        let path = route.get("path").and_then(Value::as_str).unwrap_or_default();
        let own = route.get("rateLimit").filter(|limit| !is_off(limit));
        let listed = self.paths.iter().find(|(listed, _)| listed.trim_end_matches('/') == path.trim_end_matches('/')).copied();
        let mut name = format!("`rateLimit` of `{}`", path.escape_debug());
        if let Some((listed, _)) = listed {
            self.used.push(listed);
            if own.is_some() {
                draft.note(format!("{name} was taken, and not the one that `rateLimit.perEndpoint` has for it"));
            } else {
                name = format!("`rateLimit.perEndpoint` of `{}`", path.escape_debug());
            }
        }
        let Some(said) = own.or(listed.map(|(_, limit)| limit).filter(|limit| !is_off(limit))) else { return Limit::Without };
        let rest = strangers(said, "rateLimit.", &["enabled", "windowMs", "max"]);
        if !rest.is_empty() {
            draft.note(format!("{name}: without counterpart: {}", rest.join(", ")));
        }
        match read(said) {
            Read::Rate(rate) => return Limit::Rate(rate),
            Read::Never => return Limit::Never,
            Read::Near(rate) => {
                draft.note(format!("{name} is no rate exactly and was left out; the nearest below is `rate_limit: {{{rate}, per: principal}}`"));
            }
            Read::Odd => draft.note(format!("{name} is no `windowMs` and `max` that make a rate, and was left out; {SUCH}")),
        }
        Limit::Without
    }

    /// Says which paths no route has.
    pub fn finish(self, draft: &mut Draft<'_>) {
        for (path, _) in self.paths.iter().filter(|(path, _)| !self.used.contains(path)) {
            draft.note(format!("`rateLimit.perEndpoint` has `{}`, which is the path of no route; {SUCH}", path.escape_debug()));
        }
    }
}

enum Read {
    Rate(String),
    /// The nearest that lets no more through.
    Near(String),
    Never,
    Odd,
}

fn is_off(said: &Value) -> bool {
    matches!(said, Value::Null | Value::Bool(false)) || said.get("enabled") == Some(&Value::Bool(false))
}

fn read(said: &Value) -> Read {
    let number = |key: &str| said.get(key).and_then(Value::as_u64);
    let (Some(window @ 1..), Some(max)) = (number("windowMs"), number("max")) else { return Read::Odd };
    if max == 0 {
        return Read::Never;
    }
    let rate = |(milliseconds, unit): &(u64, &str)| {
        let count = max.checked_mul(*milliseconds)? / window;
        let text = format!("{count}/{unit}");
        // As many at once as in a window, and back at its pace.
        let burst = if count == max { String::new() } else { format!(", burst: {max}") };
        Rate::parse(&text, Some(u32::try_from(max).ok()?)).ok().map(|_| format!("rate: {text}{burst}"))
    };
    let exact = |(milliseconds, _): &&(u64, &str)| max.checked_mul(*milliseconds).is_some_and(|total| total % window == 0);
    let same = UNITS.iter().find(|(milliseconds, _)| *milliseconds == window).and_then(rate);
    match same.or_else(|| UNITS.iter().filter(exact).find_map(rate)) {
        Some(text) => Read::Rate(text),
        None => UNITS.iter().rev().find_map(rate).map_or(Read::Odd, Read::Near),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_window_is_a_rate_where_it_is_one_exactly() {
        for (window, max, expected) in [
            (1_000, 5, "rate: 5/s"),
            (60_000, 120, "rate: 120/m"),
            (3_600_000, 1_000, "rate: 1000/h"),
            (86_400_000, 10_000, "rate: 10000/d"),
            (900_000, 100, "rate: 400/h, burst: 100"),
            (10_000, 1, "rate: 6/m, burst: 1"),
        ] {
            assert!(matches!(read(&json!({"windowMs": window, "max": max})), Read::Rate(rate) if rate == expected), "{window} {max}");
        }
        let near = read(&json!({"windowMs": 7_000, "max": 5}));
        assert!(matches!(near, Read::Near(rate) if rate == "rate: 61714/d, burst: 5"));
        assert!(matches!(read(&json!({"windowMs": 1_000, "max": 0})), Read::Never));
    }

    #[test]
    fn what_is_no_window_is_no_rate() {
        for said in [
            json!({}),
            json!(7),
            json!({"max": 5}),
            json!({"windowMs": 0, "max": 5}),
            json!({"windowMs": 1000, "max": "5"}),
            json!({"windowMs": 1000, "max": 1.5}),
            json!({"windowMs": 1000, "max": u64::MAX}),
            json!({"windowMs": u64::MAX, "max": 1}),
        ] {
            assert!(matches!(read(&said), Read::Odd), "{said}");
        }
    }
}
