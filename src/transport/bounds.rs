//! Every bound on what a peer can make the doors do, with its origin.

use std::time::Duration;

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
/// One gRPC message: Envoy's headers, and the largest body that a route may inspect.
pub const GRPC_MESSAGE: usize = 4 * 1024 * 1024;
/// Checks in flight on one gRPC connection: what Envoy asks for by itself.
pub const GRPC_STREAMS: u32 = 1024;
/// Body of a request to the operator door.
pub const ADMIN_BODY: usize = 256 * 1024;
/// What the frame under way gets to end in once the gate closes a tunnel, and then again the answer to the Close frame.
pub const FAREWELL: Duration = Duration::from_secs(2);
