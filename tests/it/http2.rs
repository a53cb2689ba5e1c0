//! HTTP/2 at the proxy door, frame by frame: what is malformed is refused, what is large passes, and gRPC is refused in its own words.

#[path = "http2/abuse.rs"]
mod abuse;
#[path = "http2/grpc.rs"]
mod grpc;
#[path = "http2/transfers.rs"]
mod transfers;
