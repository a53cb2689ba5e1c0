//! Wiring: configuration, live set, telemetry, workers and doors, from start to drain.
//! The only file that knows every room.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::egress::{Credential, Egress, Sealed};
use crate::config::store::StoreSettings;
use crate::config::{Address, Input, Settings, load};
use crate::credential::digest::TagKey;
use crate::fetch;
use crate::gate::{Door, Gate};
use crate::jose::HmacKey;
use crate::keys::Registry;
use crate::limits::Limiter;
use crate::live::Live;
use crate::live::reload::{self, Reloader, Trigger, environment};
use crate::live::shelf::Bookkeeper;
use crate::live::watch::Watch;
use crate::management::{Api, Context};
use crate::store::secrets::{self, StoreKeys};
use crate::store::{Place, Store, StoreError};
use crate::telemetry::audit::Audit;
use crate::telemetry::otlp::variables::Plan;
use crate::telemetry::otlp::{Exports, Sending};
use crate::telemetry::{Telemetry, history};
use crate::transport::admin::origin::Audience;
use crate::transport::admin::{self, Admin};
use crate::transport::descriptors;
use crate::transport::destination;
use crate::transport::egress::Target;
use crate::transport::egress::token::Token;
use crate::transport::ext_authz::Health;
use crate::transport::listener::Listener;
use crate::transport::seats::Seats;
use crate::transport::worker::{Shared, Way, Workers};

/// A store of ordinary size has been read by then, and the first request finds it.
const FIRST_READING: Duration = Duration::from_secs(2);

/// A running gate.
#[derive(Debug)]
pub struct Running {
    pub addresses: Addresses,
    pub gate: Arc<Gate>,
    pub reloader: Reloader,
    /// How long it serves on once it is to go.
    pub lame_duck: Duration,
    shared: Shared,
    closing: CancellationToken,
    /// Nobody needs the store any more.
    ended: CancellationToken,
    workers: Workers,
    operator: tokio::task::JoinHandle<()>,
    sending: Sending,
}

/// Where each open door listens, with the ports that the system chose.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub proxy: Option<Address>,
    pub ext_authz: Option<Address>,
    pub forward_auth: Option<Address>,
    pub admin: Option<Address>,
    /// Listeners for the service's own calls, in the order of the file.
    pub egress: Vec<Address>,
}

impl Addresses {
    /// Every open door by its name in the configuration.
    fn shown(&self) -> Arc<[(&'static str, String)]> {
        let named = [("proxy", &self.proxy), ("ext_authz", &self.ext_authz), ("forward_auth", &self.forward_auth), ("admin", &self.admin)];
        let open = named.into_iter().filter_map(|(name, address)| Some((name, address.as_ref()?)));
        open.chain(self.egress.iter().map(|address| ("egress", address))).map(|(name, address)| (name, address.to_string())).collect()
    }
}

/// Starts every door. `Err` has one line a fault. Call inside a multi-threaded tokio runtime.
pub async fn start(input: Input, audit: impl Write + Send + 'static) -> Result<Running, Vec<String>> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| vec![format!("the system gives no randomness: {error}")])?;
    let key = TagKey::new(random);
    let registry = Registry::fetching(tokio::runtime::Handle::current());
    let loaded = load(&input, &environment, &key, &registry).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let settings = loaded.settings.clone();
    let (telemetry, exports) = telemetry(&settings, audit).map_err(|message| vec![message])?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let telemetry = Arc::new(telemetry);
    let live = Arc::new(Live::default());
    let limiter = Limiter::start(&settings.limits, telemetry.metrics.limits_fallback.clone()).await.map_err(|message| vec![message])?;
    let gate = Arc::new(Gate { live: Arc::clone(&live), telemetry: Arc::clone(&telemetry), limiter: Arc::new(limiter) });
    destination::may_mark(&settings).map_err(|message| vec![message])?;
    let (closing, ended) = (CancellationToken::new(), CancellationToken::new());
    if let Some(said) = &settings.store {
        keep(store(said)?, said, (&live, &telemetry), ended.clone()).await?;
    }
    let doors = bind(&settings)?;
    let management = Arc::new(Api::new(Context { gate: Arc::clone(&gate) }, tokio::runtime::Handle::current()));
    let shared = Shared {
        gate: Arc::clone(&gate),
        settings: Arc::new(settings.clone()),
        health: Health::default(),
        egress: targets(&settings).map_err(|message| vec![message])?,
        seats: Seats::new(settings.bounds.connections),
        management: settings.expose.then(|| Arc::clone(&management)),
        leaving: CancellationToken::new(),
        parting: CancellationToken::new(),
        drain: CancellationToken::new(),
    };
    descriptors::raise(settings.bounds.connections);
    let broken = |error: std::io::Error| vec![format!("the doors cannot be served: {error}")];
    let workers = Workers::start(&shared).map_err(broken)?;
    let (watch, files, development) = (Watch::default(), loaded.files.clone(), loaded.development);
    telemetry.metrics.loaded(1, loaded.sources.tokens());
    live.swap(loaded);
    let watching = settings.watch.then(|| watch.events.clone());
    let reloader = reload::spawn(reload::Source { input, key, registry, settings: settings.clone(), live, telemetry, files: watching });
    if settings.watch {
        let reloader = reloader.clone();
        watch.follow(files, move || reloader.ask(Trigger::Watch)).map_err(broken)?;
    }
    let (addresses, operators) = accept(doors, &workers, &closing).map_err(broken)?;
    let audience = Audience::of(addresses.admin.as_ref());
    let doors = addresses.shown();
    let operator = Admin { gate: Arc::clone(&gate), reloader: reloader.clone(), audience, doors, management: Some(management) };
    let operator = operate(operators, operator).map_err(broken)?;
    let sending = exports.start(&gate);
    tokio::spawn(history::keep(Arc::downgrade(&gate.telemetry)));
    tokio::spawn(serve_when_ready(Arc::clone(&gate), shared.health.clone(), shared.leaving.clone()));
    if development {
        tokio::spawn(warn_of_development(shared.drain.clone()));
    }
    Ok(Running { addresses, gate, reloader, lame_duck: settings.lame_duck, shared, closing, ended, workers, operator, sending })
}

impl Running {
    /// Says everywhere that this process is about to go, and serves on.
    pub async fn retire(&self) {
        self.gate.live.drain();
        self.shared.health.set(false).await;
        self.shared.leaving.cancel();
    }

    /// Ends the proxy door's connections with what is in flight on them, HTTP/2 by GOAWAY and WebSockets by 1001, and serves on who comes anew.
    pub fn part(&self) {
        self.shared.parting.cancel();
    }

    pub fn has_parted(&self) -> bool {
        self.shared.parting.is_cancelled()
    }

    /// Stops accepting, lets what is in flight end within the configured time, and writes out what is left to tell.
    pub async fn stop(self) {
        self.retire().await;
        self.closing.cancel();
        self.workers.closed().await;
        self.part();
        self.shared.drain.cancel();
        let workers = self.workers;
        let _ = tokio::task::spawn_blocking(move || workers.join()).await;
        self.operator.abort();
        let gate = self.gate;
        self.ended.cancel();
        if let Some(keeper) = gate.live.keeper() {
            if let Err(error) = gate.live.usage.write(keeper.store()).await {
                tracing::warn!("the last uses of keys are not written down: {error}");
            }
            keeper.store().close().await;
        }
        self.sending.stop().await;
        let flushed = tokio::task::spawn_blocking(move || {
            if let Some(audit) = &gate.telemetry.audit {
                audit.flush();
            }
        });
        let _ = flushed.await;
    }
}

fn telemetry(settings: &Settings, audit: impl Write + Send + 'static) -> Result<(Telemetry, Exports), String> {
    let mut telemetry = Telemetry::default();
    if let Some(said) = &settings.telemetry.audit {
        telemetry.audit = Some(Audit::start(said, audit, telemetry.metrics.audit_dropped.clone(), telemetry.recent.clone())?);
    }
    let plan = Plan::read(settings.telemetry.otlp.as_ref(), &environment)?;
    let paths = settings.telemetry.audit.as_ref().is_none_or(|audit| audit.paths);
    let (exports, tracer) = Exports::new((plan, paths), &telemetry.metrics)?;
    telemetry.tracer = tracer;
    Ok((telemetry, exports))
}

/// Where the service's own calls go.
fn targets(settings: &Settings) -> Result<Arc<[Arc<Target>]>, String> {
    if settings.egress.is_empty() {
        return Ok(Arc::default());
    }
    let roots = Arc::new(fetch::tls()?);
    let target = |said: &Egress| {
        let token = match &said.credential {
            Credential::Backstage(Sealed(key)) => Token::backstage(HmacKey::new(key)),
            Credential::File(path) => Token::file(path.clone()),
        };
        Target::new(&said.url, &roots, token).map(Arc::new).map_err(|why| format!("`egress.url` of {} cannot be used: {why}", said.listen))
    };
    settings.egress.iter().map(target).collect()
}

fn store(said: &StoreSettings) -> Result<Store, Vec<String>> {
    let keys = match (&said.keys, &said.place) {
        (None, _) => StoreKeys::passing().map_err(|error| vec![format!("no keys for the store: {error}")]),
        (Some(path), Place::Sqlite(file)) => secrets::read_or_make(path, file),
        (Some(path), Place::Postgres(_) | Place::Memory) => secrets::read_for_use(path),
    };
    Store::open(&said.place, Arc::new(keys?)).map_err(|error| vec![error.to_string()])
}

/// Begins to keep the store's book. A store that does not answer is waited for later on, by nobody; one that is not to be used ends the start.
async fn keep(store: Store, said: &StoreSettings, of: (&Arc<Live>, &Arc<Telemetry>), ended: CancellationToken) -> Result<(), Vec<String>> {
    let (keeper, first) = Bookkeeper::start(store, said.stale_for, of, ended.clone());
    of.0.keep(keeper.clone());
    let live = Arc::clone(of.0);
    tokio::spawn(async move { live.usage.follow(keeper.store(), ended).await });
    match tokio::time::timeout(FIRST_READING, first).await {
        Ok(Ok(Err(fault @ StoreError::Fault(_)))) => Err(vec![fault.to_string()]),
        Ok(Ok(Ok(()) | Err(StoreError::Unreachable(_) | StoreError::NotFound | StoreError::Conflict(_))) | Err(_)) | Err(_) => Ok(()),
    }
}

struct Doors {
    serving: Vec<(Door, Listener)>,
    egress: Vec<Listener>,
    admin: Option<Listener>,
}

/// Binds every door, or tells of all that cannot be bound.
fn bind(settings: &Settings) -> Result<Doors, Vec<String>> {
    let mut faults = Vec::new();
    let mut bound = |name: &str, address: &Option<Address>| {
        let address = address.as_ref()?;
        match Listener::bind(address, settings.reuse_port) {
            Ok(listener) => Some(listener),
            Err(error) => {
                faults.push(format!("`{name}` cannot listen on {address}: {error}; free it or set another address"));
                None
            }
        }
    };
    let listen = &settings.listen;
    let serving = [
        (Door::Proxy, bound("listen.proxy", &listen.proxy)),
        (Door::ExtAuthz, bound("listen.ext_authz", &listen.ext_authz)),
        (Door::ForwardAuth, bound("listen.forward_auth", &listen.forward_auth)),
    ];
    let admin = bound("listen.admin", &listen.admin);
    let egress = settings.egress.iter().filter_map(|egress| bound("egress.listen", &Some(egress.listen.clone()))).collect();
    let serving = serving.into_iter().filter_map(|(door, listener)| Some((door, listener?))).collect();
    if faults.is_empty() { Ok(Doors { serving, egress, admin }) } else { Err(faults) }
}

/// Lets clients in; gives where, and the listener of the operator's door.
fn accept(doors: Doors, workers: &Workers, closing: &CancellationToken) -> std::io::Result<(Addresses, Option<Listener>)> {
    let mut addresses = Addresses::default();
    for (door, listener) in doors.serving {
        let address = listener.address().ok();
        match door {
            Door::Proxy => addresses.proxy = address,
            Door::ExtAuthz => addresses.ext_authz = address,
            Door::ForwardAuth => addresses.forward_auth = address,
            // Has no listener of its own.
            Door::Management => {}
        }
        workers.accept(door, listener, closing.clone())?;
    }
    for (index, listener) in doors.egress.into_iter().enumerate() {
        addresses.egress.extend(listener.address());
        workers.accept(Way::Egress(index), listener, closing.clone())?;
    }
    addresses.admin = doors.admin.as_ref().and_then(|listener| listener.address().ok());
    Ok((addresses, doors.admin))
}

/// Health answers through the drain; the task is ended with the process.
fn operate(listener: Option<Listener>, operator: Admin) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let router = admin::router(operator);
    Ok(match listener {
        None => tokio::spawn(async {}),
        Some(Listener::Tcp(listener)) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() })
        }
        Some(Listener::Unix(listener, mut name)) => {
            name.claim()?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            tokio::spawn(async move {
                let _name = name;
                axum::serve(listener, router).await.unwrap_or_default();
            })
        }
    })
}

/// The key sets of the first snapshot and the store's content come in their own time; until then nobody should send what they check.
async fn serve_when_ready(gate: Arc<Gate>, health: Health, leaving: CancellationToken) {
    let sets: Vec<_> = gate.live.current().as_deref().map(|snapshot| snapshot.outside.changes()).unwrap_or_default();
    for mut set in sets {
        tokio::select! {
            () = leaving.cancelled() => return,
            _ = set.wait_for(|loaded| *loaded) => {}
        }
    }
    if let Some(keeper) = gate.live.keeper() {
        tokio::select! {
            () = leaving.cancelled() => return,
            () = keeper.loaded() => {}
        }
    }
    if !leaving.is_cancelled() {
        health.set(true).await;
    }
}

async fn warn_of_development(drain: CancellationToken) {
    loop {
        tracing::warn!("DEVELOPMENT MODE: `dev-token` opens every route; unset SCOPEGATE_DEV_MODE and BACKSTOP_DEV_MODE in production");
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
    }
}
