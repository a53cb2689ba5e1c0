//! What passes in shadow into the report of who would be denied where, and for want of what.
//! Keeps a bounded number of rows, counts what is beyond, and holds no credential, path or query.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use hashbrown::{Equivalent, HashMap};
use serde::Serialize;

use crate::gate::unix_now;
use crate::policy::decision::{Denial, Missing};
use crate::policy::{Decision, Reason};
use crate::principal::Caller;

/// Rows that are kept; more principals than that nobody reads one by one.
const ROWS: usize = 10_000;

/// The report as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// RFC 3339: since when it counts. A reload clears nothing.
    pub since: String,
    pub total: u64,
    /// Of these, how many are in no row, since there were too many rows already.
    pub other: u64,
    /// The most frequent first.
    pub rows: Vec<Row>,
}

/// Requests that would be denied alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The source that proved the principal; none where nothing was proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Box<str>>,
    /// Without a `credential`, whoever a refused one belongs to; none where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Box<str>>,
    pub route: Box<str>,
    pub reason: &'static str,
    /// Space-delimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_scopes: Option<Box<str>>,
    /// Whether one of them would do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub any: bool,
    pub count: u64,
    /// RFC 3339.
    pub first: String,
    pub last: String,
    /// Of tokens and routes, when it was last seen; an older one than the current may be settled.
    pub generation: u64,
}

#[derive(Debug)]
pub struct Shadow(Mutex<Book>);

#[derive(Debug)]
struct Book {
    rows: HashMap<Key, Count>,
    total: u64,
    other: u64,
    since: i64,
}

#[derive(Debug)]
struct Count {
    count: u64,
    first: i64,
    last: i64,
    generation: u64,
}

/// What a row is of, to look it up without a copy.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Seen<'a> {
    credential: Option<&'a str>,
    principal: Option<&'a str>,
    tenant: Option<&'a str>,
    route: &'a str,
    reason: Reason,
    missing: Option<&'a str>,
    any: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    credential: Option<Box<str>>,
    principal: Option<Box<str>>,
    tenant: Option<Box<str>>,
    route: Box<str>,
    reason: Reason,
    missing: Option<Box<str>>,
    any: bool,
}

impl Default for Shadow {
    fn default() -> Self {
        Self(Mutex::new(Book::since(unix_now())))
    }
}

impl Shadow {
    /// Counts a decision, where it is one of shadow.
    pub fn decided(&self, decision: &Decision<'_>, generation: u64) {
        if let Some(denial) = &decision.shadow {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).count(&Seen::of(decision, denial), unix_now(), generation);
        }
    }

    pub fn report(&self) -> Report {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<_> = book.rows.iter().map(|(key, count)| row(key, count)).collect();
        let (since, total, other) = (instant(book.since), book.total, book.other);
        drop(book);
        let name = |row: &Row| (row.credential.clone(), row.principal.clone(), row.route.clone(), row.missing_scopes.clone(), row.reason);
        rows.sort_by(|one, two| two.count.cmp(&one.count).then_with(|| name(one).cmp(&name(two))));
        Report { since, total, other, rows }
    }

    /// Begins anew.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Book::since(unix_now());
    }
}

impl Book {
    fn since(since: i64) -> Self {
        Self { rows: HashMap::new(), total: 0, other: 0, since }
    }

    fn count(&mut self, seen: &Seen<'_>, now: i64, generation: u64) {
        self.total += 1;
        if let Some(row) = self.rows.get_mut(seen) {
            row.count += 1;
            (row.last, row.generation) = (now, generation);
        } else if self.rows.len() < ROWS {
            self.rows.insert(seen.key(), Count { count: 1, first: now, last: now, generation });
        } else {
            self.other += 1;
        }
    }
}

impl<'a> Seen<'a> {
    fn of(decision: &'a Decision<'_>, denial: &'a Denial) -> Self {
        let (missing, any) = match &denial.missing {
            None => (None, false),
            Some(Missing::All(scopes)) => (Some(&**scopes), false),
            Some(Missing::AnyOf(scopes)) => (Some(&**scopes), true),
        };
        Self {
            credential: decision.caller.as_ref().map(|caller| caller.credential),
            principal: decision.principal(),
            tenant: decision.caller.as_ref().and_then(Caller::tenant),
            route: decision.rule.map_or("", |rule| &rule.name),
            reason: denial.reason,
            missing,
            any,
        }
    }

    fn key(&self) -> Key {
        Key {
            credential: self.credential.map(Into::into),
            principal: self.principal.map(Into::into),
            tenant: self.tenant.map(Into::into),
            route: self.route.into(),
            reason: self.reason,
            missing: self.missing.map(Into::into),
            any: self.any,
        }
    }
}

impl Key {
    fn seen(&self) -> Seen<'_> {
        Seen {
            credential: self.credential.as_deref(),
            principal: self.principal.as_deref(),
            tenant: self.tenant.as_deref(),
            route: &self.route,
            reason: self.reason,
            missing: self.missing.as_deref(),
            any: self.any,
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.seen().hash(state);
    }
}

impl Equivalent<Key> for Seen<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.seen()
    }
}

fn row(key: &Key, count: &Count) -> Row {
    Row {
        credential: key.credential.clone(),
        principal: key.principal.clone(),
        tenant: key.tenant.clone(),
        route: key.route.clone(),
        reason: key.reason.as_str(),
        missing_scopes: key.missing.clone(),
        any: key.any,
        count: count.count,
        first: instant(count.first),
        last: instant(count.last),
        generation: count.generation,
    }
}

fn instant(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// A table for a terminal. What a name could do to one is escaped.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} requests since {} passed in shadow and would be denied", self.total, self.since)?;
        let plain = |text: &str| text.escape_debug().to_string();
        let heads = ["COUNT", "PRINCIPAL", "ROUTE", "REASON", "MISSING", "LAST"].map(str::to_owned);
        let cells = |row: &Row| {
            let principal = match (&row.credential, &row.principal) {
                (Some(credential), Some(id)) => format!("{}/{}", plain(credential), plain(id)),
                (None, Some(id)) => plain(id),
                (_, None) => "-".to_owned(),
            };
            let missing = row.missing_scopes.as_deref().map_or_else(|| "-".to_owned(), plain);
            let missing = if row.any { format!("any of {missing}") } else { missing };
            [row.count.to_string(), principal, plain(&row.route), row.reason.to_owned(), missing, row.last.clone()]
        };
        let lines: Vec<_> = [heads].into_iter().filter(|_| !self.rows.is_empty()).chain(self.rows.iter().map(cells)).collect();
        let widths = lines.iter().fold([0; 6], |widths, line| {
            std::array::from_fn(|at| {
                let width = line.get(at).map_or(0, |cell| cell.chars().count());
                widths.get(at).copied().unwrap_or_default().max(width)
            })
        });
        for line in &lines {
            let padded: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(out, "{}", padded.join("  ").trim_end())?;
        }
        if self.other > 0 {
            writeln!(out, "{} more are in no row: there were {ROWS} rows already", self.other)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(principal: &'a str, missing: &'a str) -> Seen<'a> {
        Seen {
            credential: Some("tokens"),
            principal: Some(principal),
            tenant: None,
            route: "GET /orders",
            reason: Reason::InsufficientScope,
            missing: Some(missing),
            any: false,
        }
    }

    fn stranger() -> Seen<'static> {
        Seen { credential: None, principal: None, missing: None, reason: Reason::NoCredential, ..seen("", "") }
    }

    #[test]
    fn requests_that_would_be_denied_alike_are_one_row() {
        let shadow = Shadow(Mutex::new(Book::since(1000)));
        for (second, seen) in [(1000, seen("ci", "a:b")), (1001, seen("ci", "c:d")), (1002, stranger()), (1003, seen("ci", "c:d"))] {
            shadow.0.lock().unwrap().count(&seen, second, second as u64);
        }
        let report = shadow.report();
        let told: Vec<_> = report.rows.iter().map(|row| (row.count, row.principal.as_deref(), row.missing_scopes.as_deref())).collect();
        assert_eq!(told, [(2, Some("ci"), Some("c:d")), (1, None, None), (1, Some("ci"), Some("a:b"))]);
        let first = &report.rows[0];
        assert_eq!((&*first.first, &*first.last, first.generation), ("1970-01-01T00:16:41Z", "1970-01-01T00:16:43Z", 1003));
        assert_eq!((report.total, report.other), (4, 0));
        shadow.clear();
        assert_eq!((shadow.report().total, shadow.report().rows.len()), (0, 0));
    }

    #[test]
    fn more_principals_than_there_are_rows_are_counted_and_not_kept() {
        let mut book = Book::since(0);
        for number in 0..ROWS + 5 {
            book.count(&seen(&number.to_string(), "a:b"), 0, 1);
        }
        book.count(&seen("0", "a:b"), 0, 1);
        assert_eq!((book.rows.len(), book.other, book.total), (ROWS, 5, ROWS as u64 + 6));
    }

    #[test]
    fn the_table_can_do_nothing_to_a_terminal() {
        let shadow = Shadow(Mutex::new(Book::since(0)));
        shadow.0.lock().unwrap().count(&seen("a\u{1b}[2Jb", "a:b"), 0, 1);
        let expected = "1 requests since 1970-01-01T00:00:00Z passed in shadow and would be denied\n\
            COUNT  PRINCIPAL                 ROUTE        REASON              MISSING  LAST\n\
            1      tokens/a\\u{1b}[2Jb        GET /orders  insufficient_scope  a:b      1970-01-01T00:00:00Z\n";
        assert_eq!(shadow.report().to_string().split_whitespace().collect::<Vec<_>>(), expected.split_whitespace().collect::<Vec<_>>());
        assert!(!shadow.report().to_string().contains('\u{1b}'));
    }
}
