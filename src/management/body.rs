//! A request's body or query into what an operation takes, or every fault of it at once.
//! Quotes no value: it could be a secret in the wrong place.

use std::ops::RangeInclusive;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::problem::{Fault, Problem};
use crate::jose;
use crate::request::query;
use crate::scope::Scope;
use crate::transport::bounds;

/// What an operation takes, as members of one object.
pub trait Members: Sized {
    /// Asks for every member before it gives up, so that every fault is found.
    fn read(object: &mut Object<'_>) -> Option<Self>;
}

/// A body of one JSON object; no body is an empty one.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// The parameters of the URL; each once, and none that is not known.
#[derive(Debug)]
pub struct Query<T>(pub T);

/// Where a value stands, and what was found wrong so far.
pub struct At<'f> {
    path: String,
    faults: &'f mut Vec<Fault>,
}

/// The members of an object, each to be asked for once.
pub struct Object<'f> {
    members: Map<String, Value>,
    at: At<'f>,
}

impl At<'_> {
    pub fn fault(&mut self, message: impl Into<String>) {
        self.faults.push(Fault { path: self.path.clone(), message: message.into() });
    }

    fn below(&mut self, path: String) -> At<'_> {
        At { path, faults: self.faults }
    }

    fn member(&mut self, name: &str) -> At<'_> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        self.below(path)
    }
}

impl Object<'_> {
    pub fn required<T>(&mut self, name: &str, read: impl Fn(Value, &mut At<'_>) -> Option<T>) -> Option<T> {
        let value = self.members.shift_remove(name);
        let mut at = self.at.member(name);
        match value {
            Some(value) => read(value, &mut at),
            None => {
                at.fault("is missing");
                None
            }
        }
    }

    /// `Some(None)` where it is not said, or is `null`.
    pub fn optional<T>(&mut self, name: &str, read: impl Fn(Value, &mut At<'_>) -> Option<T>) -> Option<Option<T>> {
        match self.members.shift_remove(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => read(value, &mut self.at.member(name)).map(Some),
        }
    }

    /// For changes: `Some(None)` where it is not said, `Some(Some(None))` where `null` takes it away.
    pub fn change<T>(&mut self, name: &str, read: impl Fn(Value, &mut At<'_>) -> Option<T>) -> Option<Option<Option<T>>> {
        match self.members.shift_remove(name) {
            None => Some(None),
            Some(Value::Null) => Some(Some(None)),
            Some(value) => read(value, &mut self.at.member(name)).map(|value| Some(Some(value))),
        }
    }

    /// For changes of what cannot be taken away.
    pub fn replacement<T>(&mut self, name: &str, read: impl Fn(Value, &mut At<'_>) -> Option<T>) -> Option<Option<T>> {
        match self.members.shift_remove(name) {
            None => Some(None),
            Some(value) => read(value, &mut self.at.member(name)).map(Some),
        }
    }

    /// A fault of the object as a whole.
    pub fn fault(&mut self, message: impl Into<String>) {
        self.at.fault(message);
    }

    /// Whatever nobody asked for is unknown.
    fn end(mut self) {
        let names = std::mem::take(&mut self.members);
        for name in names.keys() {
            // A name that is none of a member could be anything, also a key.
            let is_plain = name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let mut at = if is_plain { self.at.member(name) } else { self.at.member("?") };
            at.fault("is not known");
        }
    }
}

/// The whole of `members`, or all of its faults.
fn whole<T: Members>(members: Map<String, Value>) -> Result<T, Problem> {
    let mut faults = Vec::new();
    let mut object = Object { members, at: At { path: String::new(), faults: &mut faults } };
    let read = T::read(&mut object);
    object.end();
    match read {
        Some(value) if faults.is_empty() => Ok(value),
        Some(_) | None => Err(Problem::invalid(faults)),
    }
}

/// An object within an object.
pub fn object<T: Members>(value: Value, at: &mut At<'_>) -> Option<T> {
    let Value::Object(members) = value else {
        at.fault("is not an object");
        return None;
    };
    let path = at.path.clone();
    let mut object = Object { members, at: at.below(path) };
    let read = T::read(&mut object);
    object.end();
    read
}

/// A text of so many characters, without control characters.
pub fn text(characters: RangeInclusive<usize>) -> impl Fn(Value, &mut At<'_>) -> Option<Box<str>> {
    move |value, at| match value {
        Value::String(text) if characters.contains(&text.chars().count()) && !text.chars().any(char::is_control) => Some(text.into()),
        Value::String(_) => {
            at.fault(format!("is no text of {} to {} characters without control characters", characters.start(), characters.end()));
            None
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            at.fault("is not a text");
            None
        }
    }
}

/// `true` or `false`.
pub fn flag(value: Value, at: &mut At<'_>) -> Option<bool> {
    let flag = value.as_bool();
    if flag.is_none() {
        at.fault("is neither `true` nor `false`");
    }
    flag
}

/// A whole number.
pub fn number(range: RangeInclusive<u64>) -> impl Fn(Value, &mut At<'_>) -> Option<u64> {
    move |value, at| {
        // JSON Schema takes `5.0` for a whole number too.
        let whole = || value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number)).map(|number| number as u64);
        within(value.as_u64().or_else(whole), &range, at)
    }
}

/// A whole number as a query has it.
pub fn digits(range: RangeInclusive<u64>) -> impl Fn(Value, &mut At<'_>) -> Option<u64> {
    move |value, at| {
        let digits = value.as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        within(digits.and_then(|digits| digits.parse().ok()), &range, at)
    }
}

fn within(number: Option<u64>, range: &RangeInclusive<u64>, at: &mut At<'_>) -> Option<u64> {
    let number = number.filter(|number| range.contains(number));
    if number.is_none() {
        at.fault(format!("is not a whole number from {} to {}", range.start(), range.end()));
    }
    number
}

pub fn scope(value: Value, at: &mut At<'_>) -> Option<Scope> {
    let Value::String(text) = value else {
        at.fault("is not a text; a scope is `resource:action`");
        return None;
    };
    if text.len() > bounds::MANAGED_NAME {
        at.fault(format!("is longer than {} characters", bounds::MANAGED_NAME));
        return None;
    }
    Scope::parse(&text).map_err(|fault| at.fault(fault.to_string())).ok()
}

/// RFC 3339, as seconds since 1970.
pub fn instant(value: Value, at: &mut At<'_>) -> Option<i64> {
    let instant = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    if instant.is_none() {
        at.fault("is no instant of RFC 3339, such as `2027-01-31T00:00:00Z`");
    }
    instant.map(Timestamp::as_second)
}

/// A list of so many.
pub fn list<T>(count: RangeInclusive<usize>, read: impl Fn(Value, &mut At<'_>) -> Option<T>) -> impl Fn(Value, &mut At<'_>) -> Option<Vec<T>> {
    move |value, at| {
        let Value::Array(values) = value else {
            at.fault("is not a list");
            return None;
        };
        if !count.contains(&values.len()) {
            at.fault(format!("has {} entries; it takes {} to {}", values.len(), count.start(), count.end()));
            return None;
        }
        // Every entry is looked at, whatever the first was.
        let read: Vec<_> = values.into_iter().enumerate().map(|(index, value)| read(value, &mut at.below(format!("{}[{index}]", at.path)))).collect();
        read.into_iter().collect()
    }
}

impl<S: Sync, T: Members> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        parse(&parts.headers, &bytes(body).await?).map(Self)
    }
}

/// What a body says. No body is an empty object.
pub fn parse<T: Members>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Problem> {
    if bytes.is_empty() {
        return whole(Map::new());
    }
    if !is_json(headers) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body is `application/json`, not encoded"));
    }
    match jose::strict_object(bytes) {
        Some(members) => whole(members),
        None if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() => {
            Err(Problem::fault("", "is not one object, or has a member twice, or is nested too deeply"))
        }
        None => Err(Problem::malformed("The body is not JSON")),
    }
}

/// The whole body, if it is not too large.
pub async fn bytes(body: Body) -> Result<bytes::Bytes, Problem> {
    match Limited::new(body, bounds::MANAGEMENT_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let message = format!("A body has at most {} bytes", bounds::MANAGEMENT_BODY);
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message))
        }
        Err(_) => Err(Problem::malformed("The body broke off")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
        && headers.get(CONTENT_ENCODING).is_none_or(|coding| *coding == HeaderValue::from_static("identity"))
}

impl<S: Sync, T: Members> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let pairs = query::pairs(parts.uri.query().unwrap_or_default().as_bytes()).ok_or(Problem::malformed("The query is malformed"))?;
        let mut members = Map::new();
        for (name, value) in pairs {
            if members.insert(name, Value::String(value)).is_some() {
                return Err(Problem::fault("?", "is there twice"));
            }
        }
        whole(members).map(Self)
    }
}

// Bodies carry secrets.

impl std::fmt::Debug for At<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "At({})", self.path)
    }
}

impl std::fmt::Debug for Object<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Object(…)")
    }
}
