//! Every bound on what a peer can make the doors do, with its origin.

use std::time::Duration;

use crate::policy::Reason;

/// Request head, in bytes: Envoy's default (`max_request_headers_kb: 60`).
pub const HEAD: usize = 60 * 1024;
/// Header fields of a request: Envoy's default (`max_headers_count`), and what hyper parses without a heap.
pub const HEADERS: usize = 100;
/// A chunk-size line with its extensions; real ones have under twenty bytes.
pub const CHUNK_LINE: usize = 256;
/// Trailer section, in bytes: nginx's default header buffer.
pub const TRAILERS: usize = 8 * 1024;
/// From the first to the last byte of a head, and idle between two: nginx's `keepalive_timeout` and `client_header_timeout` are about this.
pub const HEAD_TIME: Duration = Duration::from_secs(60);
/// What one end of a tunnel gets to finish in once the other has closed; nginx's `lingering_time` is of this order.
pub const LINGER: Duration = Duration::from_secs(10);
/// Connections that keep an upstream connection of their own, for each worker; beyond it they share a pool.
pub const PINNED: usize = 512;
/// Idle upstream connections that a worker keeps for whoever comes next.
pub const IDLE: usize = 64;
/// Response head of the upstream, in bytes.
pub const RESPONSE_HEAD: usize = 256 * 1024;
/// The same over HTTP/2, as hyper counts it (RFC 9113 §6.5.2).
pub const RESPONSE_LIST: u32 = 64 * 1024;
/// What an HTTP/2 upstream may send of one answer before its client has taken any.
pub const STREAM_WINDOW: u32 = 128 * 1024;
/// Streams on one connection to an HTTP/2 upstream.
pub const UPSTREAM_STREAMS: usize = 64;
/// Every stream can be full: clients that do not read hold up nobody else's answers.
pub const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;
/// HTTP/2 connections of a worker to one upstream.
pub const UPSTREAM_CONNECTIONS: usize = 16;
/// How much of a request is kept until an HTTP/2 upstream answers, because it may say that it took none (RFC 9113 §8.7).
pub const REPLAY: usize = 64 * 1024;
/// A silent upstream connection is asked whether it is alive; gRPC servers take more than one PING in five minutes for abuse.
pub const PING: Duration = Duration::from_secs(310);
/// After which the system asks by itself, and how long an answer may take.
pub const KEEPALIVE: Duration = Duration::from_secs(15);
/// One gRPC message: Envoy's headers, and the largest body that a route may inspect.
pub const GRPC_MESSAGE: usize = 4 * 1024 * 1024;
/// Checks in flight on one gRPC connection: what Envoy asks for by itself.
pub const GRPC_STREAMS: u32 = 1024;
/// Body of a request to the operator door.
pub const ADMIN_BODY: usize = 256 * 1024;
/// Body of a request to the management API; five hundred imported keys.
pub const MANAGEMENT_BODY: usize = 64 * 1024;
/// Characters of a name or scope that is kept in the store.
pub const MANAGED_NAME: usize = 256;
/// What the frame under way gets to end in once the gate closes a tunnel, and then again the answer to the Close frame.
pub const FAREWELL: Duration = Duration::from_secs(2);

// HTTP/2 at the proxy door.

/// What a client may send of one body ahead of the upstream, and of all: between Envoy's advice for the edge (64 KiB, 1 MiB) and hyper's defaults.
pub const UPLOAD_WINDOW: u32 = 256 * 1024;
pub const UPLOADS_WINDOW: u32 = 1024 * 1024;
/// One frame: RFC 9113's default, and its smallest.
pub const FRAME: u32 = 16 * 1024;
/// Of one answer that waits for the client's window.
pub const SEND_BUFFER: usize = 128 * 1024;
/// Streams of one connection that are reset because of the client's faults, in its life: h2's default.
pub const LOCAL_RESETS: usize = 1024;
/// How often a client is asked whether it is still there, and how long it may take to say so (hyper's default).
pub const PING_INTERVAL: Duration = Duration::from_secs(60);
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What hyper's HTTP/1 parser holds at least.
pub const PARSED: usize = 200 * 1024;
/// How long a refused client gets to read why.
pub const REFUSED_LINGER: Duration = Duration::from_secs(2);
/// What is taken of a body that nobody read, so that its connection goes on: as much as Go's net/http takes, and the time for a near network.
pub const LEFTOVER: u64 = 256 * 1024;
pub const LEFTOVER_TIME: Duration = Duration::from_secs(1);
/// Bytes of a refused client that are taken as they come; the rest is taken slowly.
pub const LINGER_AT_ONCE: usize = 256 * 1024;

/// The key of the bound that a refused head exceeds, for the metric.
pub fn named(reason: Reason) -> Option<&'static str> {
    let keys = [
        (Reason::HeadersTooLarge, "head"),
        (Reason::TooManyHeaders, "headers"),
        (Reason::TargetTooLong, "target"),
        (Reason::RequestTimeout, "head_time"),
    ];
    keys.iter().find(|(exceeded, _)| *exceeded == reason).map(|(_, key)| *key)
}
