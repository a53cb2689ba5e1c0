//! The places whose credentials the upstream must not see into what a door has to take away: headers, cookies, query parameters.
//! Takes away nothing that is no credential: another scheme of `Authorization`, another cookie, another parameter stays as it came.

use super::{Place, Presented, bearer};
use crate::request::{Headers, Values, cookie, query};

/// What goes before a request is forwarded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hidden<'p> {
    /// Headers to remove, in lower case.
    pub headers: Vec<&'p str>,
    /// What is left of `Cookie`, where cookies were taken from it; it may be another list, or nothing.
    pub cookie: Option<Option<Vec<u8>>>,
    /// What is left of the query, where parameters were taken from it.
    pub query: Option<Option<String>>,
}

impl<'p> Hidden<'p> {
    /// `query` is that of the request where its parameters could be credentials.
    pub fn of<H: Headers>(places: impl Iterator<Item = &'p Place>, headers: &H, query: Option<&[u8]>) -> Self {
        let mut hidden = Self::default();
        let (mut cookies, mut parameters) = (Vec::new(), Vec::new());
        for place in places {
            match place {
                Place::Bearer if bearer(headers.get("authorization")) == Presented::Nothing => {}
                Place::Bearer => hidden.headers.push("authorization"),
                Place::Header(name) => hidden.headers.push(name),
                Place::Cookie(name) => cookies.push(&**name),
                Place::Query(name) => parameters.push(&**name),
                Place::Certificate => {}
            }
        }
        if !cookies.is_empty() {
            hidden.cookie = match headers.get("cookie") {
                Values::None => None,
                Values::One(value) => Some(cookie::without(value, &cookies)).filter(|left| left.as_deref() != Some(value)),
                // Which of two lines a server reads is not known; neither goes on.
                Values::Many => Some(None),
            };
        }
        if let (Some(said), false) = (query, parameters.is_empty()) {
            hidden.query = Some(query::without(said, &parameters)).filter(|left| left.as_deref().map(str::as_bytes) != Some(said));
        }
        hidden
    }
}
