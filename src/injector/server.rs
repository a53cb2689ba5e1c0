//! Connections of the API server, HTTP/2 or HTTP/1.1 over TLS, into reviews and back.
//! Takes no more connections, bytes and time than its bounds say; whoever is there at the end is answered.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificate::Certificates;
use super::{Answer, Outcome, Settings, answer};
use crate::config::Address;
use crate::transport::descriptors;
use crate::transport::listener::{Accepted, Acceptor, Listener};
use crate::transport::seats::Seats;

/// The API server takes 3 MiB (`MaxRequestBodyBytes`) and puts little around it.
const BODY: usize = 3 * 1024 * 1024 + 512 * 1024;
const TOO_LONG: &str = "a review is not longer than 3.5 MiB";
/// As much as most pods are. A review that says so waits for none that is larger or does not say.
const SMALL: usize = 64 * 1024;
/// Bodies of each kind that are taken at once: some 32 MiB and 14 MiB. None waits for more once it has begun.
const SMALLS: usize = 512;
const LARGES: usize = 4;
/// Bytes that are read at once: what is read takes some sixty times the room, and one of the largest is as much as there is.
const READ: usize = BODY + 1;
/// Of a body, once its head is there; the API server waits for ten seconds unless told otherwise.
const BODY_TIME: Duration = Duration::from_secs(10);
/// What is read of a body that is refused, so that its sender reads why.
const DISCARDED: usize = 16 * 1024 * 1024;
const CONNECTIONS: usize = 512;
const STREAMS: u32 = 64;
/// What is sent ahead of a body that waits; all of a connection's at once leave room on it for one that does not.
const AHEAD: u32 = 64 * 1024;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Longer than a Go client keeps an idle connection (90 s): a close that crosses its next request would lose it.
const HEAD_TIME: Duration = Duration::from_secs(120);
const HEAD: u32 = 64 * 1024;
const PING: Duration = Duration::from_secs(60);
/// What a client gets to ask in that connected just before the end.
const MOMENT: Duration = Duration::from_secs(1);

/// A running webhook.
#[derive(Debug)]
pub struct Running {
    /// With the port that the system chose for port 0.
    pub address: Address,
    shared: Arc<Shared>,
    closing: CancellationToken,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    certificates: Arc<Certificates>,
    seats: Seats,
    smalls: Semaphore,
    larges: Semaphore,
    reading: Semaphore,
    tasks: TaskTracker,
    /// Clients shall move on.
    leaving: CancellationToken,
    /// What is in flight shall end.
    drain: CancellationToken,
}

/// Call inside a tokio runtime.
pub fn start(listen: &Address, certificates: Arc<Certificates>, settings: Settings) -> io::Result<Running> {
    descriptors::raise(CONNECTIONS);
    let listener = Listener::bind(listen, false)?;
    let address = listener.address()?;
    let [leaving, drain, closing] = std::array::from_fn(|_| CancellationToken::new());
    let (seats, tasks) = (Seats::new(CONNECTIONS), TaskTracker::new());
    let [smalls, larges, reading] = [SMALLS, LARGES, READ].map(Semaphore::new);
    let shared = Arc::new(Shared { settings, certificates, seats, smalls, larges, reading, tasks, leaving, drain });
    let own = Arc::clone(&shared);
    let accepting = tokio::spawn(Acceptor::new(listener)?.run("the webhook", closing.clone(), move |accepted| deal(accepted, &own)));
    Ok(Running { address, shared, closing, accepting })
}

impl Running {
    /// Says that this process is about to go, and serves on.
    pub fn retire(&self) {
        self.shared.leaving.cancel();
    }

    /// Stops accepting, and lets what is in flight end within `time`.
    pub async fn stop(self, time: Duration) {
        self.retire();
        self.closing.cancel();
        let _ = self.accepting.await;
        self.shared.drain.cancel();
        self.shared.tasks.close();
        if timeout(time, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("some reviews did not end within `--drain`");
        }
    }
}

fn deal(accepted: Accepted, shared: &Arc<Shared>) {
    // One too many is closed at once.
    let Some(seat) = shared.seats.take() else { return };
    let own = Arc::clone(shared);
    shared.tasks.spawn(async move {
        let _seat = seat;
        serve(accepted, own).await;
    });
}

async fn serve(accepted: Accepted, shared: Arc<Shared>) {
    let Ok((stream, _)) = accepted.open() else { return };
    let acceptor = TlsAcceptor::from(shared.certificates.current());
    let Ok(Ok(stream)) = timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let (shared, asked) = (Arc::clone(&shared), Arc::clone(&asked));
        service_fn(move |request| {
            asked.store(true, Ordering::Relaxed);
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(respond(&shared, request).await) }
        })
    };
    let io = TokioIo::new(stream);
    if is_http2 {
        // GOAWAY loses nothing, so it goes out at once; who comes later has just looked for a server and found this one.
        let end = if shared.leaving.is_cancelled() { &shared.drain } else { &shared.leaving };
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(AHEAD)
            .initial_connection_window_size(AHEAD * (STREAMS + 1))
            .max_header_list_size(HEAD)
            .keep_alive_interval(PING)
            .serve_connection(io, service);
        drive(connection, end, &asked, |connection| connection.graceful_shutdown()).await;
    } else {
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD as usize).serve_connection(io, service);
        drive(connection, &shared.drain, &asked, |connection| connection.graceful_shutdown()).await;
    }
}

/// Serves a connection to its end, or from `end` on to the end of what is in flight.
async fn drive<C: Future>(connection: C, end: &CancellationToken, asked: &AtomicBool, shut: impl FnOnce(Pin<&mut C>)) {
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = end.cancelled() => {}
    }
    if !asked.load(Ordering::Relaxed) && timeout(MOMENT, connection.as_mut()).await.is_ok() {
        return;
    }
    shut(connection.as_mut());
    // An error is the client's going away; there is nobody left to tell.
    let _ = connection.await;
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (is_http1, is_leaving) = (request.version() < Version::HTTP_2, shared.leaving.is_cancelled());
    let mut response = match (request.uri().path(), request.method()) {
        ("/inject", &Method::POST) => review(shared, request).await,
        ("/inject", _) => with(refuse(request, StatusCode::METHOD_NOT_ALLOWED, "a review is sent by POST").await, header::ALLOW, "POST"),
        ("/healthz" | "/readyz", method) if method != Method::GET && method != Method::HEAD => {
            with(refuse(request, StatusCode::METHOD_NOT_ALLOWED, "health is asked by GET").await, header::ALLOW, "GET, HEAD")
        }
        ("/readyz", _) if is_leaving => said(StatusCode::SERVICE_UNAVAILABLE, json!({"status": "leaving"})),
        ("/readyz", _) => said(StatusCode::OK, json!({"status": "ready"})),
        ("/healthz", _) => said(StatusCode::OK, json!({"status": "alive"})),
        _ => refuse(request, StatusCode::NOT_FOUND, "there are /inject, /readyz and /healthz").await,
    };
    if is_http1 && is_leaving {
        response = with(response, header::CONNECTION, "close");
    }
    response
}

async fn review(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return refuse(request, StatusCode::UNSUPPORTED_MEDIA_TYPE, "a review is `application/json`").await;
    }
    let length = request.body().size_hint().upper().and_then(|length| usize::try_from(length).ok());
    if length.is_some_and(|length| length > BODY) {
        return refuse(request, StatusCode::PAYLOAD_TOO_LARGE, TOO_LONG).await;
    }
    let seats = if length.is_some_and(|length| length <= SMALL) { &shared.smalls } else { &shared.larges };
    // Held for as long as the body is.
    let read = async {
        let seat = seats.acquire().await.ok();
        gather(request.into_body(), BODY).await.map(|body| (body, seat))
    };
    let (body, _seat) = match timeout(BODY_TIME, read).await {
        Ok(Ok((Some(body), seat))) => (body, seat),
        Ok(Ok((None, _))) => return problem(StatusCode::PAYLOAD_TOO_LARGE, TOO_LONG),
        Ok(Err(_)) => return problem(StatusCode::BAD_REQUEST, "the body broke off"),
        Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "the body did not come within ten seconds"),
    };
    let units = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let Ok(_turn) = shared.reading.acquire_many(units).await else { return problem(StatusCode::SERVICE_UNAVAILABLE, "the injector ends") };
    match answer(&body, &shared.settings) {
        Ok(answer) => {
            log(&answer);
            json_response(StatusCode::OK, answer.body)
        }
        Err(message) => {
            tracing::warn!("a review is refused: {message}");
            problem(StatusCode::BAD_REQUEST, &message)
        }
    }
}

fn log(answer: &Answer) {
    let Answer { namespace, pod, dry_run, outcome, warnings, .. } = answer;
    for warning in warnings.iter().filter(|_| !matches!(outcome, Outcome::LetIn(_))) {
        tracing::warn!(namespace, pod, dry_run, warning, "review");
    }
    match outcome {
        Outcome::NotAsked => tracing::debug!(namespace, pod, dry_run, outcome = "not asked", "review"),
        Outcome::Injected => tracing::info!(namespace, pod, dry_run, outcome = "injected", "review"),
        Outcome::Unchanged => tracing::info!(namespace, pod, dry_run, outcome = "unchanged", "review"),
        Outcome::Refused(reason) => tracing::warn!(namespace, pod, dry_run, outcome = "refused", reason, "review"),
        Outcome::LetIn(reason) => tracing::warn!(namespace, pod, dry_run, outcome = "let in as it is", reason, "review"),
    }
}

async fn refuse(request: Request<Incoming>, status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let _ = timeout(BODY_TIME, gather(request.into_body(), 0)).await;
    problem(status, message)
}

/// A body of at most so many bytes; of a longer one nothing, but some of it is taken: bytes that nobody reads would turn the answer into a reset.
async fn gather(mut body: Incoming, most: usize) -> hyper::Result<Option<Vec<u8>>> {
    let (mut gathered, mut taken) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        taken += data.len();
        if taken <= most {
            gathered.extend_from_slice(&data);
        } else {
            gathered = Vec::new();
        }
        if taken > DISCARDED {
            break;
        }
    }
    Ok((taken <= most).then_some(gathered))
}

fn problem(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    said(status, json!({"error": "invalid_request", "message": message}))
}

fn said(status: StatusCode, body: serde_json::Value) -> Response<Full<Bytes>> {
    json_response(status, body.to_string().into_bytes())
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    with(with(response, header::CONTENT_TYPE, "application/json"), header::CACHE_CONTROL, "no-store")
}

fn with(mut response: Response<Full<Bytes>>, name: header::HeaderName, value: &'static str) -> Response<Full<Bytes>> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
