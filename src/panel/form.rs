//! What a page was asked with and what a form says, as names and texts; and the fields that people fill in.
//! Prints no value, and takes no other form than a browser's own.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};

use super::client::Refusal;
use crate::request::query::pairs;
use crate::transport::bounds;

pub use crate::introspection::form::encoded;

/// The fields of a form, or the parameters of an address.
#[derive(Clone, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    pub fn of<const N: usize>(fields: [(&str, String); N]) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The first field of this name, without white space around it; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.get(name).parse().ok()
    }

    /// The words of a field; people put spaces, commas or lines between them.
    pub fn words(&self, name: &str) -> Vec<&str> {
        self.get(name).split([' ', ',', '\n', '\r', '\t']).filter(|word| !word.is_empty()).collect()
    }

    /// The same address with one parameter of another value; an empty one is left out.
    pub fn with(&self, path: &str, changes: &[(&str, &str)]) -> String {
        let kept = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let kept = kept.filter(|(name, value)| !value.is_empty() && changes.iter().all(|(changed, _)| changed != name));
        address(path, kept.chain(changes.iter().copied()))
    }
}

/// A path with these parameters; empty ones are left out.
pub fn address<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let said = parameters.into_iter().filter(|(_, value)| !value.is_empty());
    let query: Vec<_> = said.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// A text as one segment of a path.
pub fn segment(text: &str) -> String {
    encoded(text).replace('+', "%20")
}

impl<S: Sync> FromRequestParts<S> for Form {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StatusCode> {
        pairs(parts.uri.query().unwrap_or_default().as_bytes()).map(Self).ok_or(StatusCode::BAD_REQUEST)
    }
}

/// A form that was sent.
pub struct Sent(pub Form);

impl<S: Sync> FromRequest<S> for Sent {
    type Rejection = StatusCode;

    async fn from_request(request: Request, _state: &S) -> Result<Self, StatusCode> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let body = axum::body::to_bytes(request.into_body(), bounds::ADMIN_BODY).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        pairs(&body).map(|pairs| Self(Form(pairs))).ok_or(StatusCode::BAD_REQUEST)
    }
}

/// A text that this form alone has, so that it can be taken once.
pub fn once() -> Markup {
    let mut random = [0; 16];
    // Without it the form is refused, as one that was sent before.
    let once = getrandom::fill(&mut random).map(|()| URL_SAFE_NO_PAD.encode(random)).unwrap_or_default();
    html! { input type="hidden" name="once" value=(once); }
}

/// One line to fill in.
#[derive(Clone, Copy, Default)]
pub struct Field<'a> {
    pub name: &'a str,
    pub label: &'a str,
    /// What to write there.
    pub hint: &'a str,
    pub value: &'a str,
    pub kind: &'a str,
    pub required: bool,
    /// What is wrong with what was written.
    pub fault: Option<&'a str>,
    /// Many words, in a box of lines.
    pub long: bool,
}

impl<'a> Field<'a> {
    /// A field with what was said in it before, and what is wrong with that.
    pub fn again(said: &'a Form, refusal: Option<&'a Refusal>, (name, label, hint): (&'a str, &'a str, &'a str)) -> Self {
        let fault = refusal.and_then(|refusal| refusal.at(name));
        Self { name, label, hint, value: said.get(name), fault, ..Self::default() }
    }

    pub fn show(&self) -> Markup {
        let Self { name, label, hint, value, required, fault, .. } = *self;
        let kind = if self.kind.is_empty() { "text" } else { self.kind };
        let (hint_id, fault_id) = (format!("{name}-hint"), format!("{name}-fault"));
        let mut described: Vec<&str> = Vec::new();
        if !hint.is_empty() {
            described.push(&hint_id);
        }
        if fault.is_some() {
            described.push(&fault_id);
        }
        let described = Some(described.join(" ")).filter(|ids| !ids.is_empty());
        let invalid = fault.map(|_| "true");
        html! {
            div.field {
                label for=(name) { (label) @if required { span.needed { " needed" } } }
                @if !hint.is_empty() { p.hint id=(hint_id) { (hint) } }
                @if self.long {
                    textarea id=(name) name=(name) rows="3" spellcheck="false" autocapitalize="none" required[required] aria-describedby=[described] aria-invalid=[invalid] { (value) }
                } @else {
                    input id=(name) name=(name) type=(kind) value=(value) spellcheck="false" autocapitalize="none" autocomplete="off" required[required] aria-describedby=[described] aria-invalid=[invalid];
                }
                @if let Some(fault) = fault { p.fault id=(fault_id) { (fault) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_carries_what_people_typed() {
        assert_eq!(address("/panel/routes", [("q", "GET /a&b=c d"), ("page", "")]), "/panel/routes?q=GET+%2Fa%26b%3Dc+d");
        let form = Form(vec![("q".into(), "x".into()), ("page".into(), "3".into())]);
        assert_eq!(form.with("/p", &[("page", "")]), "/p?q=x");
        assert_eq!(form.with("/p", &[("page", "4")]), "/p?q=x&page=4");
        assert_eq!(segment("a b/c"), "a%20b%2Fc");
    }

    #[test]
    fn words_stand_between_spaces_commas_and_lines() {
        let form = Form(vec![("scopes".into(), " a:b, c:d\r\ne:f ".into())]);
        assert_eq!(form.words("scopes"), ["a:b", "c:d", "e:f"]);
        assert_eq!((form.get("none"), form.words("none").len()), ("", 0));
    }
}
