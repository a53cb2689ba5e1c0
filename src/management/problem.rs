//! Why an operation was not done, into `{"error","message"[,"faults"]}`.
//! Quotes nothing that could be a secret, and tells nothing of how the store failed.

use std::borrow::Cow;

use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// An answer that is no result.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"error": "not_found", "message": "No such key"}))]
pub struct Problem {
    #[serde(skip)]
    #[schema(ignore)]
    status: StatusCode,
    /// One word for programs
    #[schema(value_type = String)]
    error: &'static str,
    /// One line for people
    #[schema(value_type = String)]
    message: Cow<'static, str>,
    /// Everything that is wrong with the request, at 422
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    faults: Vec<Fault>,
    #[serde(skip)]
    #[schema(ignore)]
    retry_after: Option<u64>,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"path": "scopes[0]", "message": "is empty; a scope is `resource:action`"}))]
pub struct Fault {
    /// Where, as in `keys[3].name`; empty for the whole
    pub path: String,
    /// What is there, and what would be right
    pub message: String,
}

impl Problem {
    pub fn new(status: StatusCode, error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error, message: message.into(), faults: Vec::new(), retry_after: None }
    }

    /// 400: no reading of the request at all.
    pub fn malformed(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// 422, with everything that is wrong.
    pub fn invalid(faults: Vec<Fault>) -> Self {
        Self { faults, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", "The request has faults") }
    }

    /// 422 for one fault that was found later than the others.
    pub fn fault(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![Fault { path: path.into(), message: message.into() }])
    }

    /// 403: known, and not let do this.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404, also for what is another tenant's.
    pub fn not_found(message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 409: the state of things is against it.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 429, to be tried again after so many seconds.
    pub fn too_many(message: &'static str, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message) }
    }

    /// 503: somebody who is needed does not answer.
    pub fn unavailable(message: &'static str) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", message) }
    }

    /// For look-ups: what is not in the store is answered with `message`.
    pub fn of_missing(message: &'static str) -> impl Fn(StoreError) -> Self {
        move |error| match error {
            StoreError::NotFound => Self::not_found(message),
            StoreError::Unreachable(_) | StoreError::Conflict(_) | StoreError::Fault(_) => error.into(),
        }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound => Self::not_found("Not there"),
            StoreError::Conflict(message) => Self::conflict(*message),
            StoreError::Unreachable(_) => {
                tracing::warn!("an operation was not done: {error}");
                Self::unavailable("The store is out of reach")
            }
            StoreError::Fault(_) => {
                tracing::error!("an operation was not done: {error}");
                Self::unavailable("The store cannot be used")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(CACHE_CONTROL, "no-store")], axum::Json(&self)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
