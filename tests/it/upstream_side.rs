//! The proxy door towards its upstream: every protocol that a URL can name, what is sent again, and what is never believed.

mod answers;
mod backpressure;
mod grpc;
mod peers;
mod protocols;
mod retries;
mod reuse;
mod sockets;
mod trouble;

use crate::harness::Gate;

const ANY: &str = "routes: {'/{rest...}': public}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;

/// A gate before the upstream of a URL, which lets everything through.
async fn before(upstream: &str) -> Gate {
    Gate::start(&format!("upstream: {upstream}\n{ANY}"), TOKENS).await
}
