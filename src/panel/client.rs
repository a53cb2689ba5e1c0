//! An operation of the management API, called in this process as whoever is signed in.
//! Adds no right: the API's own rules judge the visitor's credential, and its answer is the page's.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::Desk;
use super::page::{Here, failure};

/// The longest answer: a page of a thousand keys is some hundred kilobytes.
const LONGEST: usize = 8 * 1024 * 1024;

/// What an operation answered. It may hold a secret that was just made.
pub struct Answer {
    pub body: Value,
}

/// Why something was not done.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
    /// Where in the body, and what is wrong there.
    pub faults: Vec<(String, String)>,
}

impl Refusal {
    /// What is wrong with a field, or with an entry of its list.
    pub fn at(&self, field: &str) -> Option<&str> {
        let is_there = |path: &str| path == field || path.strip_prefix(field).is_some_and(|rest| rest.starts_with(['[', '.']));
        self.faults.iter().find(|(path, _)| is_there(path)).map(|(_, message)| message.as_str())
    }

    /// All of it, but for what stands at its field.
    pub fn show(&self, fields: &[&str]) -> Markup {
        let is_shown = |path: &str| fields.iter().any(|field| path == *field || path.starts_with(&format!("{field}[")));
        let others = self.faults.iter().filter(|(path, _)| !is_shown(path));
        let others: Vec<String> = others.map(|(path, message)| if path.is_empty() { message.clone() } else { format!("{path} {message}") }).collect();
        failure(&self.message, &others)
    }
}

impl Answer {
    pub fn text(&self, name: &str) -> &str {
        text(&self.body, name)
    }
}

/// A member that is a text; empty where it is none.
pub fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A member that is a list of texts.
pub fn texts(value: &Value, name: &str) -> Vec<String> {
    list(value, name).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A call that is not made yet.
pub struct Call<'a> {
    pub method: Method,
    pub target: &'a str,
    pub body: Option<Value>,
    /// Makes a create safe to repeat.
    pub once: &'a str,
}

impl<'a> Call<'a> {
    pub fn get(target: &'a str) -> Self {
        Self { method: Method::GET, target, body: None, once: "" }
    }

    pub fn new(method: Method, target: &'a str, body: Value) -> Self {
        Self { method, target, body: Some(body), once: "" }
    }
}

impl Desk {
    /// What the API answers to the visitor.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, Refusal> {
        let (Some(api), Some(signed)) = (&self.panel.admin.management, self.visitor.signed_in()) else {
            return Err(Refusal { status: StatusCode::UNAUTHORIZED, message: "Sign in first".into(), faults: Vec::new() });
        };
        let body = call.body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = Request::new(body);
        *request.method_mut() = call.method;
        *request.uri_mut() = call.target.parse().map_err(|_| broken())?;
        let headers = request.headers_mut();
        *headers = signed.credential.headers();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let (false, Ok(once)) = (call.once.is_empty(), HeaderValue::from_str(call.once)) {
            headers.insert(HeaderName::from_static("idempotency-key"), once);
        }
        read(api.serve(request).await).await
    }

    /// Whether the visitor may send the form; otherwise the page that says why not. A form that was sent is not done again, whatever a browser repeats.
    pub fn first(&self, once: &str) -> Result<(), Refusal> {
        let is_first = self.visitor.signed_in().is_some_and(|signed| !once.is_empty() && self.panel.sessions.is_first(signed.session, once));
        if is_first {
            return Ok(());
        }
        let message = "This form was sent before, and nothing was done again. A secret that it made was shown once, and is shown nowhere else.";
        Err(Refusal { status: StatusCode::CONFLICT, message: message.into(), faults: Vec::new() })
    }

    /// The page in the place of one that cannot be shown.
    pub fn refused(&self, here: Here, title: &str, refusal: &Refusal) -> Response {
        let back = html! {
            @if self.visitor.signed_in().is_none() {
                p { "The store is changed in somebody's name, and with what that one may do." }
                p { a.button href="/panel/sign-in" { "Sign in" } }
            }
        };
        let status = if refusal.status.is_success() { StatusCode::BAD_GATEWAY } else { refusal.status };
        self.page_with(status, here, title, &html! { (refusal.show(&[])) (back) })
    }
}

fn broken() -> Refusal {
    Refusal { status: StatusCode::BAD_GATEWAY, message: "The answer cannot be read".into(), faults: Vec::new() }
}

async fn read(response: Response) -> Result<Answer, Refusal> {
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), LONGEST).await.map_err(|_| broken())?;
    let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).map_err(|_| broken())? };
    if status.is_success() {
        return Ok(Answer { body });
    }
    let faults = list(&body, "faults").iter().map(|fault| (text(fault, "path").to_owned(), text(fault, "message").to_owned()));
    Err(Refusal { status, message: text(&body, "message").to_owned(), faults: faults.collect() })
}
