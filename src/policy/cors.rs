//! Cross-origin requests of browsers (Fetch §3.2): which origins may read an answer, and what a preflight is told.
//! Compares whole origins only: no patterns, no suffixes, never `null`.

use super::decision::Decision;
use crate::request::{Headers, Method, RequestView, Values};

/// Longest list of header names that is echoed to a preflight.
const MAX_NAMES: usize = 1024;

/// `cors` of the configuration.
#[derive(Debug)]
pub struct Cors {
    /// As browsers send them; empty where every origin may read, without credentials.
    pub origins: Box<[Box<str>]>,
    pub credentials: bool,
    /// Seconds for which a browser may keep a preflight's answer.
    pub max_age: u64,
}

/// What a route does with a preflight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preflights {
    /// The gate answers, before any credential is looked at.
    #[default]
    Answer,
    /// The upstream answers, and its own CORS headers stand.
    Pass,
    /// A preflight is a request like any other.
    Require,
}

/// Whether the page that asks may read the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share<'s> {
    /// No business of the gate's.
    #[default]
    Off,
    /// It may not, or no page asks; another origin's answer would differ.
    Foreign,
    /// With this origin, or `*`.
    With { origin: &'s str, credentials: bool },
}

/// A preflight's answer beside [`Share`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// The method that was asked for, where some route takes it.
    pub method: Option<String>,
    pub headers: Option<String>,
    pub max_age: u64,
}

impl Share<'_> {
    /// Headers of an answer that say so, `vary` left out.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let (origin, credentials) = match self {
            Self::Off | Self::Foreign => (None, false),
            Self::With { origin, credentials } => (Some(*origin), *credentials),
        };
        let origin = origin.map(|origin| ("access-control-allow-origin", origin));
        origin.into_iter().chain(credentials.then_some(("access-control-allow-credentials", "true")))
    }

    /// Whether the answer depends on `Origin`.
    pub fn varies(&self) -> bool {
        !matches!(self, Self::Off)
    }
}

impl Cors {
    pub fn share<H: Headers>(&self, headers: &H) -> Share<'_> {
        let Values::One(origin) = headers.get("origin") else { return Share::Foreign };
        if self.origins.is_empty() {
            return Share::With { origin: "*", credentials: false };
        }
        match self.origins.iter().find(|known| known.as_bytes() == origin) {
            Some(origin) => Share::With { origin, credentials: self.credentials },
            None => Share::Foreign,
        }
    }

    /// Whether a page of another site opens a WebSocket, which no browser asks about beforehand (RFC 6455 §10.2). Programs send no origin.
    pub fn refuses_socket<H: Headers>(&self, view: &RequestView<'_, H>) -> bool {
        let origin = match view.headers.get("origin") {
            Values::None => return false,
            Values::One(origin) => origin,
            Values::Many => return true,
        };
        let own = || {
            let (_, authority) = str::from_utf8(origin).ok()?.split_once("://")?;
            let Values::One(host) = view.headers.get("host") else { return None };
            Some(authority.as_bytes().eq_ignore_ascii_case(host))
        };
        self.share(view.headers) == Share::Foreign && own() != Some(true)
    }
}

/// The method that a preflight asks for (Fetch §3.2.2): OPTIONS with `Origin` and `Access-Control-Request-Method`.
pub fn asked<'a, H: Headers>(view: &RequestView<'a, H>) -> Option<Method<'a>> {
    let Values::One(method) = view.headers.get("access-control-request-method") else { return None };
    let from_a_page = matches!(view.headers.get("origin"), Values::One(_));
    (view.method.as_str() == "OPTIONS" && from_a_page).then(|| Method::parse(method)).flatten()
}

/// The header names that a preflight asks for, if they are names.
pub fn asked_headers<H: Headers>(headers: &H) -> Option<String> {
    let Values::One(list) = headers.get("access-control-request-headers") else { return None };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_, !#$%&'*+.^`|~".contains(byte);
    (list.len() <= MAX_NAMES && !list.is_empty() && list.iter().all(plain)).then(|| String::from_utf8_lossy(list).into_owned())
}

impl Preflight {
    pub fn headers(&self, share: &Share<'_>) -> Vec<(&'static str, String)> {
        let Share::With { .. } = share else { return Vec::new() };
        let mut headers = vec![("access-control-max-age", self.max_age.to_string())];
        headers.extend(self.method.clone().map(|method| ("access-control-allow-methods", method)));
        headers.extend(self.headers.clone().filter(|_| self.method.is_some()).map(|names| ("access-control-allow-headers", names)));
        headers
    }
}

impl Decision<'_> {
    /// Whether the gate speaks for the upstream's answer too; where preflights are passed, the upstream speaks for itself.
    pub fn owns_cors(&self) -> bool {
        self.share.varies() && self.rule.is_none_or(|rule| rule.preflight != Preflights::Pass)
    }
}
