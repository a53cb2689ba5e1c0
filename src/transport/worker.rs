//! One thread and one runtime a core: a connection stays where it was first served, so that nothing on its way is shared.
//! Connections are dealt out in turn by one accepting task a door.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::drain::{Noting, until_drain};
use super::framing::{Checked, Refusal};
use super::leftover::answered;
use super::linger::linger;
use super::listener::{Accepted, Acceptor, Listener, Stream};
use super::seats::Seats;
use super::{bounds, egress, ext_authz, forward_auth, proxy};
use crate::config::settings::{Settings, Upstream};
use crate::gate::{Door, Gate};
use crate::management::Api;

/// What every worker serves with.
#[derive(Clone, Debug)]
pub struct Shared {
    pub gate: Arc<Gate>,
    pub settings: Arc<Settings>,
    pub health: ext_authz::Health,
    /// Targets of the service's own calls.
    pub egress: Arc<[Arc<egress::Target>]>,
    /// Connections of the proxy door.
    pub seats: Seats,
    /// Where it is served at the proxy door too.
    pub management: Option<Arc<Api>>,
    /// Cancelled when clients shall move on.
    pub leaving: CancellationToken,
    /// Cancelled when connections of the proxy door shall end with what is in flight on them; new ones are accepted, for a moment each.
    pub parting: CancellationToken,
    /// Cancelled when no more is accepted and what is in flight shall end.
    pub drain: CancellationToken,
}

/// What a connection came in by.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Door(Door),
    /// The listener of this target of [`Shared::egress`].
    Egress(usize),
}

impl From<Door> for Way {
    fn from(door: Door) -> Self {
        Self::Door(door)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Door(door) => write!(out, "the {} door", door.as_str()),
            Self::Egress(index) => write!(out, "`egress[{index}]`"),
        }
    }
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    inboxes: Arc<[UnboundedSender<(Way, Accepted)>]>,
    next: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
    /// One task a listener.
    acceptors: TaskTracker,
}

impl Workers {
    pub fn start(shared: &Shared) -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (mut inboxes, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (outbox, inbox) = unbounded_channel();
            // Tokens of its own: they are looked at for every request.
            let [leaving, parting, drain] = [&shared.leaving, &shared.parting, &shared.drain].map(CancellationToken::child_token);
            let shared = Shared { leaving, parting, drain, ..shared.clone() };
            let (started, ready) = std::sync::mpsc::sync_channel(1);
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(started.send(Err(error))),
                };
                let _ = started.send(Ok(()));
                let limit = shared.settings.drain_timeout;
                let tasks = TaskTracker::new();
                runtime.block_on(work(inbox, shared, tasks.clone()));
                tasks.close();
                let drained = runtime.block_on(async { tokio::time::timeout(limit, tasks.wait()).await.is_ok() });
                if !drained {
                    tracing::warn!("some requests did not end within `drain_timeout`");
                }
                runtime.shutdown_timeout(Duration::ZERO);
            });
            ready.recv().unwrap_or_else(|_| Err(io::Error::other("a worker did not start")))?;
            inboxes.push(outbox);
            threads.push(thread?);
        }
        Ok(Self { inboxes: inboxes.into(), next: Arc::default(), threads, acceptors: TaskTracker::new() })
    }

    /// Accepts until the door closes. Call inside a tokio runtime.
    pub fn accept(&self, way: impl Into<Way>, listener: Listener, closing: CancellationToken) -> io::Result<()> {
        let way = way.into();
        let (inboxes, next) = (Arc::clone(&self.inboxes), Arc::clone(&self.next));
        let deal = move |accepted| {
            let index = next.fetch_add(1, Ordering::Relaxed) % inboxes.len().max(1);
            if let Some(inbox) = inboxes.get(index) {
                // A worker that has ended is draining, and so is this connection.
                let _ = inbox.send((way, accepted));
            }
        };
        let acceptor = Acceptor::new(listener)?;
        self.acceptors.spawn(acceptor.run(way, closing, deal));
        Ok(())
    }

    /// Waits until every door is closed, and whoever was accepted is with a worker.
    pub async fn closed(&self) {
        self.acceptors.close();
        self.acceptors.wait().await;
    }

    /// Waits until every worker has drained.
    pub fn join(self) {
        drop(self.inboxes);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

async fn work(mut inbox: UnboundedReceiver<(Way, Accepted)>, shared: Shared, tasks: TaskTracker) {
    let (checks, incoming) = unbounded_channel();
    tasks.spawn(ext_authz::serve((Arc::clone(&shared.gate), shared.settings.trusted_proxies.clone()), shared.health.clone(), incoming));
    let upstream = shared.settings.upstream.clone().map(|upstream: Upstream| Rc::new(proxy::Proxy::new(&shared, upstream)));
    let forward_auth = Rc::new(forward_auth::ForwardAuth { gate: Arc::clone(&shared.gate), trusted: shared.settings.trusted_proxies.clone() });
    let targets = shared.egress.iter().map(|target| Rc::new(egress::Egress::new(Arc::clone(target), Arc::clone(&shared.gate))));
    let targets: Vec<_> = targets.collect();
    loop {
        let job = tokio::select! {
            biased;
            job = inbox.recv() => job,
            // Whoever was accepted before is served.
            () = shared.drain.cancelled() => inbox.try_recv().ok(),
        };
        let Some((way, accepted)) = job else { return };
        let Ok((stream, peer)) = accepted.open() else { continue };
        let refusal = Refusal::default();
        match way {
            Way::Door(Door::ExtAuthz) => {
                let _ = checks.send(stream);
            }
            Way::Door(Door::ForwardAuth) => {
                let (door, io) = (Rc::clone(&forward_auth), Checked::new(stream, Rc::clone(&refusal)));
                let service = service_fn(move |request| {
                    let (door, refusal) = (Rc::clone(&door), Rc::clone(&refusal));
                    async move { Ok::<_, Infallible>(answered(request, async |request| door.answer(request, peer, &refusal).await).await) }
                });
                tasks.spawn_local(http1::<_, Full<bytes::Bytes>>(io, shared.drain.clone(), service));
            }
            Way::Door(Door::Proxy) => {
                let Some(proxy) = &upstream else { continue };
                tasks.spawn_local(proxy::serve(Rc::clone(proxy), stream, peer, (shared.clone(), tasks.clone())));
            }
            // Has no listener of its own.
            Way::Door(Door::Management) => {}
            Way::Egress(index) => {
                let Some(target) = targets.get(index) else { continue };
                let (caller, io) = (Rc::new(egress::Caller::new(Rc::clone(target))), Checked::new(stream, Rc::clone(&refusal)));
                let service = service_fn(move |request| {
                    let (caller, refusal) = (Rc::clone(&caller), Rc::clone(&refusal));
                    async move { Ok::<_, Infallible>(answered(request, async |request| caller.answer(request, &refusal).await).await) }
                });
                tasks.spawn_local(http1(io, shared.drain.clone(), service));
            }
        }
    }
}

/// Serves one HTTP/1 connection to its end, or to the end of what is in flight once the drain begins.
async fn http1<S, B>(io: Checked<Stream>, drain: CancellationToken, service: S)
where
    S: hyper::service::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible> + Unpin,
    B: hyper::body::Body<Data = bytes::Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (service, asked) = Noting::new(service);
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds::HEAD_TIME)
        .serve_connection(TokioIo::new(io), service);
    // An error here is the client's going away; there is nobody left to tell.
    if until_drain(&mut connection, &drain, &asked).await.is_none() {
        Pin::new(&mut connection).graceful_shutdown();
        let _ = (&mut connection).await;
    }
    let client = connection.into_parts().io.into_inner();
    if client.is_unread() {
        linger(client.into_inner(), &[]).await;
    }
}
