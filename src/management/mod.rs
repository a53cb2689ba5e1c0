//! Operations on what is in the store, over HTTP, into rows and answers in JSON. Who may call what is decided by the gate's own engine.
//! Does nothing for a caller that the guard has not let through.

pub mod actor;
mod assignments;
pub mod body;
mod document;
pub mod grants;
mod keys;
mod mfa;
pub mod names;
mod once;
pub mod page;
pub mod problem;
mod profiles;
mod revocation;
mod roles;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use arc_swap::Guard;
use axum::Router;
use axum::body::Body as Stream;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HOST};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::Handle;
use tower_service::Service;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::credential::key_format::Format;
use crate::gate::{Door, Gate, Verdict};
use crate::live::Snapshot;
use crate::policy::pattern::Pattern;
use crate::policy::{Outcome, Reason};
use crate::principal::Means;
use crate::request::{Body, Headers, Link, RawRequest, RequestView, Values};
use crate::store::Store;
use crate::transport::answer;
use actor::Actor;
use document::Rules;
use grants::Asked;
use problem::Problem;

/// What operations work with.
#[derive(Clone, Debug)]
pub struct Context {
    pub gate: Arc<Gate>,
}

impl Context {
    pub fn store(&self) -> Result<&Store, Problem> {
        let keeper = self.gate.live.keeper().ok_or(Problem::unavailable("There is no store; the configuration names one with `store`"))?;
        Ok(keeper.store())
    }

    /// What decisions are made on now.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        Guard::into_inner(self.gate.live.current()).ok_or(Problem::unavailable(Reason::NotReady.message()))
    }

    /// Makes what was given hold on this node, as soon as may be: where the store does not answer again, the answer to the one who
    /// asked is worth more, because a secret in it is shown only once.
    pub async fn refresh(&self) {
        let _ = self.hold().await;
    }

    /// Makes what was taken away hold on this node: 503 where nobody can say that it does.
    pub async fn hold(&self) -> Result<(), Problem> {
        let Some(keeper) = self.gate.live.keeper() else { return Ok(()) };
        keeper.refresh().await.map_err(|_| Problem::unavailable("Written, and not yet in force on this node: the store does not answer"))
    }

    /// What routes and operations ask for.
    pub fn asked(&self, snapshot: &Snapshot) -> Asked {
        Asked::by(&snapshot.policy, document::scopes(&DOCUMENT))
    }

    /// The second part of new keys: what the first source of keys of the gate's own form takes.
    pub fn environment(&self) -> Result<String, Problem> {
        let snapshot = self.snapshot()?;
        let mut means = snapshot.sources.list().iter().flat_map(|source| &source.means);
        let environment = means.find_map(|means| match means {
            Means::Managed(managed) if managed.format == Format::Scopegate => Some(managed.environment.to_string()),
            Means::Managed(_) | Means::Listed(_) | Means::Signed(_) | Means::Certificate(_) | Means::Introspected(_) | Means::Noop(_) => None,
        });
        Ok(environment.unwrap_or_else(|| "live".into()))
    }
}

/// None for rows without a tenant.
pub fn named(tenant: &str) -> Option<String> {
    Some(tenant).filter(|tenant| !tenant.is_empty()).map(str::to_owned)
}

/// RFC 3339.
pub fn instant(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| String::new(), |instant| instant.to_string())
}

/// The API, as every door serves it.
pub struct Api {
    gate: Arc<Gate>,
    router: Router,
    rules: Rules,
    /// Where operations run: the store's connections belong there, and a client that goes away ends none in the middle.
    runtime: Handle,
}

/// A request that the rules let through, and what its operation has to know of the caller.
pub struct Admitted {
    rule: Option<Box<str>>,
    actor: Option<Actor>,
    client: Client,
}

/// The rule that let a request through.
#[derive(Clone)]
struct Passed(Box<str>);

/// Where the request comes from, as far as that is known.
#[derive(Clone, Copy)]
struct Client(Option<IpAddr>);

/// The document of every operation. Complete, and the same in every process of this version.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let (_, document) = operations().split_for_parts();
    document::complete(serde_json::to_value(document).unwrap_or_default())
});

/// Every operation, one line each path.
fn operations() -> OpenApiRouter<Context> {
    let all = [routes!(openapi)].into_iter().chain(keys::routes()).chain(mfa::routes());
    let all = all.chain(roles::routes()).chain(assignments::routes()).chain(profiles::routes()).chain(revocation::routes());
    all.map(guarded).fold(OpenApiRouter::default(), OpenApiRouter::routes)
}

/// Every path of the API, as a pattern of routes.
pub fn paths() -> BTreeMap<&'static str, Pattern> {
    document::paths(&DOCUMENT)
}

/// The operations of a path, each behind a look at whether the guard meant this very one.
fn guarded((schemas, paths, methods): UtoipaMethodRouter<Context>) -> UtoipaMethodRouter<Context> {
    let path: Arc<str> = paths.paths.keys().next().map_or("", String::as_str).into();
    let methods = methods.route_layer(from_fn_with_state(path, agreed));
    (schemas, paths, methods)
}

/// Two routers read the path, the guard's and this one's; should they ever differ, nobody gets through.
async fn agreed(State(path): State<Arc<str>>, request: Request, next: Next) -> Response {
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let here = format!("{method} {path}");
    match request.extensions().get::<Passed>() {
        Some(Passed(rule)) if **rule == *here => next.run(request).await,
        Some(_) | None => Problem::malformed("Malformed or ambiguous path").into_response(),
    }
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "document", security(()), responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn openapi() -> axum::Json<&'static Value> {
    axum::Json(&DOCUMENT)
}

impl Api {
    /// Operations run on `runtime`.
    pub fn new(context: Context, runtime: Handle) -> Self {
        let gate = Arc::clone(&context.gate);
        let (router, _) = operations().split_for_parts();
        let router = router
            .method_not_allowed_fallback(|| async { Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "See `Allow`") })
            .fallback(|| async { Problem::not_found("No such operation; /openapi.json lists them all") })
            .with_state(context);
        Self { gate, router, rules: Rules::of(&DOCUMENT), runtime }
    }

    /// Whether a request with this target is for the API, whatever its method.
    pub fn owns(&self, target: &[u8]) -> bool {
        if !self.rules.may_know(target) {
            return false;
        }
        let nothing: &[(&str, &[u8])] = &[];
        let raw = RawRequest { method: b"GET", target, host: None, headers: &nothing, link: Link::default() };
        RequestView::read(&raw).is_ok_and(|view| self.rules.knows(view.path.decoded()))
    }

    /// Lets a request through that the rules let through, or gives the answer.
    pub async fn admit<H: Headers>(&self, raw: &RawRequest<'_, H>) -> Result<Admitted, Box<Response>> {
        if is_cross_site(raw.headers, raw.host) {
            let verdict = self.gate.refuse(Door::Management, Reason::WrongOrigin);
            return Err(Box::new(denied(&verdict, Reason::WrongOrigin)));
        }
        let client = Client(raw.link.client);
        let scopes = match RequestView::read(raw) {
            Ok(view) => match self.rules.policy.table.find(None, view.method, view.path.decoded()) {
                Some(rule) => self.rules.scopes(rule),
                // There is nothing to guard; the router knows whether it is the path or the method that is unknown.
                None => return Ok(Admitted { rule: None, actor: None, client }),
            },
            // To be refused in the gate's own words.
            Err(_) => "",
        };
        let guard = self.gate.live.current();
        let by = guard.as_deref().map(|snapshot| (&self.rules.policy, snapshot));
        let verdict = self.gate.decide_by(by, Door::Management, raw, (Body::Unread, scopes)).await;
        match (&verdict.decision.outcome, verdict.decision.rule) {
            (Outcome::Allow(_), Some(rule)) => {
                Ok(Admitted { rule: Some(rule.name.clone()), actor: verdict.decision.caller.as_ref().map(Actor::of), client })
            }
            (Outcome::Allow(_) | Outcome::Deny(_) | Outcome::Inspect { .. } | Outcome::Wait(_) | Outcome::Preflight(_), _) => {
                Err(Box::new(denied(&verdict, Reason::Denied)))
            }
        }
    }

    /// The answer to a request that was admitted.
    pub async fn answer(&self, mut request: Request, admitted: Admitted) -> Response {
        let extensions = request.extensions_mut();
        admitted.rule.map(|rule| extensions.insert(Passed(rule)));
        admitted.actor.map(|actor| extensions.insert(actor));
        extensions.insert(admitted.client);
        let mut router = self.router.clone();
        let done = self.runtime.spawn(async move { router.call(request).await }).await;
        match done {
            Ok(Ok(mut response)) => {
                response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
                response
            }
            Ok(Err(never)) => match never {},
            Err(_) => Problem::unavailable("The operation broke off").into_response(),
        }
    }

    /// Admits and answers, for a door that has the whole request.
    pub async fn serve(&self, request: Request) -> Response {
        let target = request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let (method, headers) = (request.method().as_str().as_bytes(), request.headers());
        let host = headers.get(HOST).map(HeaderValue::as_bytes);
        let admitted = self.admit(&RawRequest { method, target: target.as_bytes(), host, headers, link: Link::default() }).await;
        match admitted {
            Ok(admitted) => self.answer(request, admitted).await,
            Err(refused) => *refused,
        }
    }
}

fn denied(verdict: &Verdict<'_>, otherwise: Reason) -> Response {
    let denial = verdict.decision.denial().cloned().unwrap_or(otherwise.into());
    answer::denied(&denial, verdict.id).map(Stream::new)
}

/// Whether another page in the caller's browser asks, to which the browser would add a cookie or a client certificate (Fetch Metadata).
fn is_cross_site<H: Headers>(headers: &H, host: Option<&[u8]>) -> bool {
    match (headers.get("sec-fetch-site"), headers.get("origin")) {
        (Values::One(site), _) => !matches!(site, b"same-origin" | b"none"),
        (Values::Many, _) | (Values::None, Values::Many) => true,
        (Values::None, Values::None) => false,
        (Values::None, Values::One(origin)) => {
            let authority = memchr::memmem::find(origin, b"://").and_then(|at| origin.get(at + 3..));
            authority.is_none() || authority != host
        }
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Admitted").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Api(…)")
    }
}
