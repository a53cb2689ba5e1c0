//! The places whose credentials the upstream must not see into what a door has to take away: headers, cookies, query parameters.
//! Takes away nothing that is no credential: another scheme of `Authorization`, another cookie, another parameter stays as it came.

use super::{Place, Presented, bearer};
use crate::request::{Headers, Values, cookie, query, spelling};

/// What goes before a request is forwarded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hidden<'p> {
    /// Headers to remove, in lower case. What only looks like one goes too: [`Self::has`].
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

    /// Whether a header goes: an application may read the credential under another spelling of its name.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|own| spelling::same(name, own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a [u8])];

    fn places() -> [Place; 6] {
        [
            Place::Bearer,
            Place::Header("x-key".into()),
            Place::Cookie("session".into()),
            Place::Cookie("other".into()),
            Place::Query("token".into()),
            Place::Certificate,
        ]
    }

    fn hidden<'p>(places: &'p [Place], lines: Lines<'_>, query: Option<&str>) -> Hidden<'p> {
        Hidden::of(places.iter(), &lines, query.map(str::as_bytes))
    }

    #[test]
    fn every_place_is_emptied() {
        let places = places();
        let lines: Lines<'_> = &[("authorization", b"bEaReR x"), ("x-key", b"k"), ("cookie", b"a=b; session=x; other=y; c=d")];
        let found = hidden(&places, lines, Some("a=1&token=x&b=2"));
        assert_eq!(found.headers, ["authorization", "x-key"]);
        assert_eq!(found.cookie, Some(Some(b"a=b; c=d".to_vec())));
        assert_eq!(found.query, Some(Some("a=1&b=2".into())));
        let all = hidden(&places, &[("cookie", b"session=x;other=y")], Some("token=x&%74oken=y"));
        assert_eq!((all.cookie, all.query), (Some(None), Some(None)));
    }

    #[test]
    fn a_header_goes_in_every_spelling() {
        let places = [Place::Header("x-api-key".into()), Place::Header("old_key".into())];
        let found = hidden(&places, &[], None);
        for name in ["x-api-key", "X-API-KEY", "x_api_key", "X.Api.Key", "x-api!key", "old_key", "Old-Key"] {
            assert!(found.has(name), "{name}");
        }
        for name in ["x-api-keys", "xxapi-key", "authorization", "cookie"] {
            assert!(!found.has(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_credential_stays() {
        let places = places();
        for other in [&b"Basic dXNlcjpwdw=="[..], b"DPoP x", b"Bearerx", b""] {
            let found = hidden(&places, &[("authorization", other), ("cookie", b"a=b; sessions=x")], Some("a=1&Token=x"));
            assert_eq!(found, Hidden { headers: vec!["x-key"], ..Hidden::default() }, "{}", String::from_utf8_lossy(other));
        }
        assert_eq!(hidden(&places, &[], None), Hidden { headers: vec!["x-key"], ..Hidden::default() });
        assert_eq!(hidden(&[], &[("authorization", b"Bearer x"), ("cookie", b"session=x")], Some("token=x")), Hidden::default());
    }

    #[test]
    fn what_could_be_a_credential_goes_even_where_it_is_none() {
        let places = places();
        for odd in [&b"Bearer"[..], b"Bearer a b", b"Bearer a,b", b"Basic x, Bearer y", b"bearer \xff"] {
            assert_eq!(hidden(&places, &[("authorization", odd)], None).headers, ["authorization", "x-key"], "{}", String::from_utf8_lossy(odd));
        }
        let twice: Lines<'_> = &[("authorization", b"Basic x"), ("authorization", b"Bearer y"), ("cookie", b"a=b"), ("cookie", b"session=x")];
        let found = hidden(&places, twice, Some("token&token=%zz"));
        assert_eq!((found.headers, found.cookie, found.query), (vec!["authorization", "x-key"], Some(None), Some(None)));
    }

    #[test]
    fn a_query_that_is_none_of_the_gates_business_is_not_touched() {
        let places = places();
        assert_eq!(hidden(&places, &[], None).query, None);
        assert_eq!(hidden(&[Place::Bearer], &[], Some("token=x")).query, None);
    }
}
