//! A create, and its `Idempotency-Key`, into one transaction and one answer: asked again, the same request gets the same bytes.
//! Nothing is answered before it is on the disk, and nothing is written that is not answered.

use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Context;
use super::actor::Actor;
use super::body::{self, Members};
use super::problem::Problem;
use crate::credential::digest::sha256;
use crate::gate::unix_now;
use crate::request::{Headers, Values};
use crate::store::Change;
use crate::store::idempotency::{Known, Once};

/// Longest `Idempotency-Key`.
const LONGEST: usize = 255;
const HEADER: &str = "idempotency-key";

/// A body, and what makes its request safe to repeat.
#[derive(Debug)]
pub struct Repeatable<T> {
    pub body: T,
    pub once: Option<Once>,
}

impl<S: Sync, T: Members> FromRequest<S> for Repeatable<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = body::bytes(body).await?;
        let token = match Headers::get(&parts.headers, HEADER) {
            Values::None => None,
            Values::One(token) if (1..=LONGEST).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic) => Some(sha256(token)),
            Values::One(_) | Values::Many => {
                return Err(Problem::fault("Idempotency-Key", "is not one text of 1 to 255 visible ASCII characters"));
            }
        };
        let actor = parts.extensions.get::<Actor>();
        let once = token.zip(actor).map(|(token, actor)| {
            let request = [parts.method.as_str().as_bytes(), b" ", parts.uri.path().as_bytes(), b"\n", &bytes].concat();
            let who = [&*actor.realm, actor.tenant.as_deref().unwrap_or_default(), &*actor.id];
            Once { actor: who.join("\0"), token, request: sha256(request) }
        });
        Ok(Self { body: body::parse(&parts.headers, &bytes)?, once })
    }
}

/// What is under way: a transaction, whose answer is kept where it may be asked for again.
#[derive(Debug)]
pub struct Work {
    pub change: Change,
    context: Context,
    once: Option<Once>,
    now: i64,
}

/// Something to be done, or the answer from when it was.
#[derive(Debug)]
pub enum Begun {
    Work(Work),
    Done(Response),
}

impl Work {
    pub async fn begin(context: &Context, once: Option<Once>, status: StatusCode) -> Result<Begun, Problem> {
        let now = unix_now();
        let mut change = context.store()?.change().await?;
        if let Some(once) = &once {
            match change.answered(once, &context.store()?.keys, now).await? {
                Known::Nothing => {}
                Known::Answer(bytes) => return Ok(Begun::Done(answer(status, bytes))),
                Known::Other => return Err(Problem::fault("Idempotency-Key", "was another request's; take a new one")),
            }
        }
        Ok(Begun::Work(Self { change, context: context.clone(), once, now }))
    }

    /// Writes it down, makes it hold on this node, and answers.
    pub async fn finish(mut self, status: StatusCode, result: &impl Serialize) -> Result<Response, Problem> {
        let bytes = Zeroizing::new(serde_json::to_vec(result).unwrap_or_default());
        if let Some(once) = &self.once {
            let keys = &self.context.store()?.keys;
            self.change.remember(once, keys, &bytes, self.now).await?;
        }
        self.change.commit().await?;
        self.context.refresh().await;
        Ok(answer(status, bytes.to_vec()))
    }
}

fn answer(status: StatusCode, bytes: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response()
}
