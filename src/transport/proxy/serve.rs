//! A connection of the proxy door, over HTTP/1.1 or HTTP/2, from its first byte to its last.
//! Ends it once what is in flight has ended, when clients have to go; at once where its client keeps to no bound.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::task::TaskTracker;

use super::given::{self, Given};
use super::{Connection, Proxy, short};
use crate::gate::Gate;
use crate::transport::arrival::{Arrival, Protocol, receive};
use crate::transport::bounds;
use crate::transport::drain::{Asked, Noting, may_end, too_late};
use crate::transport::framing::frames::Frames;
use crate::transport::framing::{Checked, Limits, Refusal};
use crate::transport::leftover::{Lent, answered};
use crate::transport::linger::linger;
use crate::transport::listener::Stream;
use crate::transport::pulse::{Overrun, Pulse};
use crate::transport::worker::Shared;

pub async fn serve(proxy: Rc<Proxy>, stream: Stream, peer: Option<IpAddr>, (shared, tasks): (Shared, TaskTracker)) {
    let Some(_seat) = shared.seats.take() else { return shared.gate.telemetry.metrics.refused("connections") };
    let arrived = tokio::select! {
        arrived = receive(stream, peer, &shared) => arrived,
        () = too_late(&shared.parting, true) => return,
    };
    let arrived = match arrived {
        Ok(arrived) => arrived,
        Err(error) => return tracing::debug!("a connection came to nothing: {error}"),
    };
    match arrived.protocol {
        Protocol::Http1 => {
            let connection = Rc::new(Connection::new(proxy, arrived.about.clone(), arrived.protocol));
            if let Some(arrived) = Box::pin(short::run(&connection, arrived, &shared.parting)).await {
                Box::pin(one(connection, arrived, &shared)).await;
            }
        }
        Protocol::Http2 => Box::pin(two(proxy, arrived, (&shared, tasks))).await,
    }
}

/// The long way of HTTP/1.1.
async fn one(connection: Rc<Connection>, arrived: Arrival, shared: &Shared) {
    let bounds = &shared.settings.bounds;
    let (refusal, pulse, limits) = (Refusal::default(), Pulse::new(false), Limits::from(bounds));
    let io = Checked::new(arrived.stream, Rc::clone(&refusal)).within(limits, Rc::clone(&pulse)).holding_upgrades().with(arrived.ahead);
    let (answering, opening) = (Rc::clone(&connection), Rc::clone(&pulse));
    let service = service_fn(move |request| {
        let (connection, refusal, open) = (Rc::clone(&answering), Rc::clone(&refusal), opening.open());
        async move {
            let response = answered(request, async |request| connection.answer(request, &refusal).await).await;
            Ok::<_, Infallible>(response.map(|flow| Given::new(flow, Some(open))))
        }
    });
    let mut builder = http1::Builder::new();
    // The head is there whole before the parser sees it, and has had its time.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(bounds.head.max(bounds::PARSED) * 2);
    if bounds.headers > bounds::HEADERS {
        builder.max_headers(bounds.headers);
    }
    let (service, asked) = Noting::new(service);
    let mut http = builder.serve_connection(TokioIo::new(io), service);
    let ended = watched(&mut http, http1::Connection::graceful_shutdown, (&pulse, &asked), shared).await;
    let client = http.into_parts().io.into_inner();
    match ended {
        Ended::Cut => {}
        Ended::Http(_) if client.is_unread() => linger(client.into_inner(), &[]).await,
        Ended::Http(Ok(())) => connection.tunnel(client).await,
        // The client's going away; there is nobody left to tell.
        Ended::Http(Err(_)) => {}
    }
}

async fn two(proxy: Rc<Proxy>, arrived: Arrival, (shared, tasks): (&Shared, TaskTracker)) {
    let bounds = &shared.settings.bounds;
    let pulse = Pulse::new(true);
    let connection = Rc::new(Connection::new(proxy, arrived.about, arrived.protocol));
    let service = service_fn(move |request| {
        let connection = Rc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.answer(request.map(Lent::from), &Refusal::default()).await.map(|flow| Given::new(flow, None))) }
    });
    let gate = Arc::clone(&shared.gate);
    let told = Box::new(move |bound| gate.telemetry.metrics.refused(bound));
    let io = Frames::new(arrived.stream, arrived.ahead, bounds.control_frames, Rc::clone(&pulse), told);
    let streams = Streams { tasks, pulse: Rc::clone(&pulse), gate: Arc::clone(&shared.gate), send_idle: bounds.send_idle };
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(bounds.streams)
        // Twice, so that what is too large by less is answered in the gate's own words.
        .max_header_list_size(u32::try_from(bounds.head.saturating_mul(2)).unwrap_or(u32::MAX))
        // All of them may be given up in one moment; those that go on like that meet `control_frames`.
        .max_pending_accept_reset_streams(usize::try_from(bounds.streams).unwrap_or(usize::MAX))
        .max_local_error_reset_streams(bounds::LOCAL_RESETS)
        .initial_stream_window_size(bounds::UPLOAD_WINDOW)
        .initial_connection_window_size(bounds::UPLOADS_WINDOW)
        .max_frame_size(bounds::FRAME)
        .max_send_buf_size(bounds::SEND_BUFFER)
        .keep_alive_interval(bounds::PING_INTERVAL)
        .keep_alive_timeout(bounds::PING_TIMEOUT);
    let (service, asked) = Noting::new(service);
    let mut http = builder.serve_connection(TokioIo::new(io), service);
    if let Ended::Http(Err(error)) = watched(&mut http, http2::Connection::graceful_shutdown, (&pulse, &asked), shared).await {
        tracing::debug!("an HTTP/2 connection broke off: {error}");
    }
}

enum Ended {
    Http(hyper::Result<()>),
    /// Nobody is heard any more.
    Cut,
}

/// Runs a connection to its end, to the end of what is in flight once clients have to go, or to a bound.
async fn watched<C>(connection: &mut C, finish: impl Fn(Pin<&mut C>), (pulse, asked): (&Pulse, &Asked), shared: &Shared) -> Ended
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let (mut parts, mut idles) = (false, false);
    loop {
        let overrun = tokio::select! {
            biased;
            ended = &mut *connection => return Ended::Http(ended),
            () = may_end(&shared.parting, asked), if !parts => {
                parts = true;
                finish(Pin::new(connection));
                continue;
            }
            overrun = pulse.watch(&shared.settings.bounds) => overrun,
        };
        match overrun {
            // Whoever reads it ends it in its own words.
            Overrun::Head => {}
            Overrun::Idle if idles => return Ended::Cut,
            Overrun::Idle => {
                idles = true;
                shared.gate.telemetry.metrics.refused(overrun.as_str());
                finish(Pin::new(connection));
            }
            Overrun::Send => {
                shared.gate.telemetry.metrics.refused(overrun.as_str());
                return Ended::Cut;
            }
        }
    }
}

/// Runs each stream on the worker that the connection belongs to.
#[derive(Clone, Debug)]
struct Streams {
    tasks: TaskTracker,
    pulse: Rc<Pulse>,
    gate: Arc<Gate>,
    send_idle: Duration,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (gate, limit) = (Arc::clone(&self.gate), self.send_idle);
        // A tunnel on a stream is such a task too, behind its answer.
        let open = self.pulse.open();
        self.tasks.spawn_local(async move {
            let _open = open;
            if !given::run(stream, limit).await {
                gate.telemetry.metrics.refused(Overrun::Send.as_str());
            }
        });
    }
}
