//! A request for the management API, at the proxy door, into its answer.
//! Reads no body before the caller is known, and never more of it than the API takes.

use axum::body::Body as Stream;
use axum::response::IntoResponse;
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full};

use super::flow::Flow;
use super::pace::{Keeping, Paced};
use super::refused;
use super::standing::Head;
use crate::gate::Gate;
use crate::management::Api;
use crate::management::problem::Problem;
use crate::policy::Reason;
use crate::transport::bounds;

pub async fn answer(api: &Api, (head, parts): (&Head, Parts), (body, keeping): (Paced, &Keeping), gate: &Gate) -> Response<Flow> {
    let admitted = {
        let guard = gate.live.current();
        api.admit(&head.raw(&parts.headers, guard.as_deref())).await
    };
    let response = match admitted {
        Err(refused) => *refused,
        Ok(admitted) => {
            let body = read(body).await;
            if keeping.is_broken() {
                let mut response = refused(gate, Reason::RequestTimeout);
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                return response;
            }
            match body {
                Some(body) => api.answer(Request::from_parts(parts, Stream::from(body)), admitted).await,
                None => Problem::malformed("The body broke off").into_response(),
            }
        }
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Response::from_parts(parts, Either::Right(Full::new(body)))
}

/// The body, or one byte more of it than the API takes, so that it says so itself. `None` where it broke off.
async fn read(mut body: Paced) -> Option<Bytes> {
    let mut taken = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.ok()?.data_ref() {
            let room = (bounds::MANAGEMENT_BODY + 1).saturating_sub(taken.len());
            taken.extend_from_slice(data.get(..room).unwrap_or(data));
        }
        if taken.len() > bounds::MANAGEMENT_BODY {
            break;
        }
    }
    Some(taken.freeze())
}
