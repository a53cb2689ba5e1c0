//! A connection of the proxy door, over HTTP/1.1 or HTTP/2, from its first byte to its last.
//! Ends it once what is in flight has ended, when the drain begins.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Connection, Proxy, short};
use crate::transport::arrival::{Arrival, Protocol, receive};
use crate::transport::drain::{Noting, too_late, until_drain};
use crate::transport::framing::{Checked, Refusal};
use crate::transport::listener::Stream;
use crate::transport::rewound::Rewound;
use crate::transport::worker::{Shared, http1};

pub async fn serve(proxy: Rc<Proxy>, stream: Stream, peer: Option<IpAddr>, (shared, tasks): (Shared, TaskTracker)) {
    let arrived = tokio::select! {
        arrived = receive(stream, peer, &shared) => arrived,
        () = too_late(&shared.drain, true) => return,
    };
    let arrived = match arrived {
        Ok(arrived) => arrived,
        Err(error) => return tracing::debug!("a connection came to nothing: {error}"),
    };
    match arrived.protocol {
        Protocol::Http1 => one(proxy, arrived, shared.drain).await,
        Protocol::Http2 => two(proxy, arrived, (shared.drain, tasks)).await,
    }
}

async fn one(proxy: Rc<Proxy>, arrived: Arrival, drain: CancellationToken) {
    let refusal = Refusal::default();
    let connection = Rc::new(Connection::new(proxy, arrived.about.clone(), arrived.protocol));
    let Some(arrived) = short::run(&connection, arrived, &drain).await else { return };
    let io = Checked::new(arrived.stream, Rc::clone(&refusal)).holding_upgrades().with(arrived.ahead);
    let answering = Rc::clone(&connection);
    let service = service_fn(move |request| {
        let (connection, refusal) = (Rc::clone(&answering), Rc::clone(&refusal));
        async move { Ok::<_, Infallible>(connection.answer(request, &refusal).await) }
    });
    if let Some(client) = http1(io, drain, service).await {
        connection.tunnel(client).await;
    }
}

async fn two(proxy: Rc<Proxy>, arrived: Arrival, (drain, tasks): (CancellationToken, TaskTracker)) {
    let connection = Rc::new(Connection::new(proxy, arrived.about, arrived.protocol));
    let service = service_fn(move |request| {
        let connection = Rc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.answer(request, &Refusal::default()).await) }
    });
    let (service, asked) = Noting::new(service);
    let io = TokioIo::new(Rewound::new(arrived.stream, arrived.ahead));
    let mut connection =
        hyper::server::conn::http2::Builder::new(Local(tasks)).timer(TokioTimer::new()).enable_connect_protocol().serve_connection(io, service);
    let ended = match until_drain(&mut connection, &drain, &asked).await {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("an HTTP/2 connection broke off: {error}");
    }
}

/// Runs each stream on the worker that the connection belongs to.
#[derive(Clone, Debug)]
struct Local(TaskTracker);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, stream: F) {
        self.0.spawn_local(stream);
    }
}
