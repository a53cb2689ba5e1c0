//! What a client of the proxy door may take: each bound holds, is counted under its key, and leaves others alone.

#[path = "bounds/bodies.rs"]
mod bodies;
#[path = "bounds/connections.rs"]
mod connections;
#[path = "bounds/floods.rs"]
mod floods;
#[path = "bounds/heads.rs"]
mod heads;
#[path = "bounds/streams.rs"]
mod streams;

use crate::harness::upstream::Upstream;
use crate::harness::{Gate, ask, metric, until};

const POLICY: &str = "routes: {/open/: public}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const GET: &str = "GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n";

async fn gate(bounds: &str) -> Gate {
    Gate::start(&format!("{POLICY}bounds: {{{bounds}}}\n"), TOKENS).await
}

async fn before(upstream: Upstream, bounds: &str) -> Gate {
    Gate::before(upstream, &format!("{POLICY}bounds: {{{bounds}}}\n"), TOKENS).await
}

/// Waits until the bound has been counted, and is counted no more than `times`.
async fn counted(gate: &Gate, bound: &str, times: f64) {
    let name = format!(r#"scopegate_refused_connections_total{{bound="{bound}"}}"#);
    let count = until(bound, async || metric(&gate.metrics().await, &name).filter(|count| *count >= times)).await;
    assert!(count <= times, "{bound}: {count}");
}

/// Somebody else is served.
async fn serves(gate: &Gate) {
    assert_eq!(ask(gate.proxy(), GET).await.status, 200);
}
