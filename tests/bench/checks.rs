//! The gRPC door under sixteen checks in flight on one connection, against a server that only says yes.

use std::time::{Duration, Instant};

use scopegate::proto::attribute_context::{HttpRequest, Request};
use scopegate::proto::authorization_client::AuthorizationClient;
use scopegate::proto::{AttributeContext, CheckRequest, Entry};
use tonic::transport::Endpoint;

use crate::load::Measured;
use crate::processes::{Server, free_port, on_one_core, role, scopegate};
use crate::{Effort, Table, files};

/// A check as Envoy sends it for a request of curl's behind a load balancer.
pub fn request(token: &str, target: &str) -> CheckRequest {
    let authorization = format!("Bearer {token}");
    let headers = [
        (":authority", "api.example.com"),
        (":method", "GET"),
        (":path", target),
        (":scheme", "https"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("authorization", &authorization),
        ("user-agent", "curl/8.5.0"),
        ("x-envoy-internal", "true"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "5f0f4c5e-6a38-4f0e-9f30-0d4b1b6b2a6e"),
    ];
    let bytes = |text: &str| bytes::Bytes::copy_from_slice(text.as_bytes());
    let headers = headers.map(|(name, value)| Entry { key: bytes(name), value: bytes(value) }).to_vec();
    let http = HttpRequest { method: bytes("GET"), path: bytes(target), host: bytes("api.example.com"), headers, ..Default::default() };
    CheckRequest { attributes: Some(AttributeContext { request: Some(Request { http: Some(http) }), context_extensions: Vec::new(), source: None }) }
}

/// Of many callers, for many routes.
pub fn requests(effort: Effort) -> Vec<CheckRequest> {
    let spread = |number: usize, bound: usize| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % bound;
    (0..8192).map(|n| request(&files::token(spread(n, effort.tokens)), &files::target(spread(n, effort.routes)))).collect()
}

pub fn load(server: &Server, requests: &[CheckRequest], time: Duration) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", server.port)).unwrap().tcp_nodelay(true);
        let client = AuthorizationClient::new(endpoint.connect().await.unwrap());
        let run = async |time: Duration| {
            let ends = Instant::now() + time;
            let flights = (0..16).map(|flight| {
                let mut client = client.clone();
                async move {
                    let (mut number, mut latencies, mut failed) = (flight * 997, Vec::new(), 0);
                    while Instant::now() < ends {
                        number = (number + 1) % requests.len();
                        let started = Instant::now();
                        let answer = client.check(requests[number].clone()).await;
                        latencies.push(started.elapsed());
                        failed += usize::from(answer.is_err_and(|_| true));
                    }
                    (latencies, failed)
                }
            });
            Measured::gather(futures_of(flights.collect()).await)
        };
        run(time / 4).await;
        let before = server.cpu();
        let mut measured = run(time).await;
        measured.cpu = server.cpu() - before;
        measured
    })
}

/// Polls all on this task, as one client does that has many calls in flight.
async fn futures_of<F: Future>(flights: Vec<F>) -> Vec<F::Output> {
    let mut flights: Vec<_> = flights.into_iter().map(Box::pin).map(Some).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        for slot in &mut flights {
            if let Some(flight) = slot
                && let std::task::Poll::Ready(output) = flight.as_mut().poll(context)
            {
                done.push(output);
                *slot = None;
            }
        }
        if flights.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

pub fn measure(effort: Effort, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let tokens = files::tokens(folder.path(), effort.tokens);
    let port = free_port();
    let listen = format!("listen: {{ext_authz: 127.0.0.1:{port}, forward_auth: 'off', admin: 'off'}}");
    let config = folder.path().join("scopegate.yaml");
    let requests = requests(effort);
    std::fs::write(&config, files::configuration(&tokens, effort.routes, &listen)).unwrap();
    let gate = Server::start(on_one_core(&scopegate()).arg("serve").arg("--config").arg(&config), port);
    std::fs::write(&config, files::configuration(&tokens, effort.routes, &format!("{listen}\ntelemetry: {{audit: 'off'}}"))).unwrap();
    let quiet_port = free_port();
    let quiet_config = folder.path().join("quiet.yaml");
    let text = std::fs::read_to_string(&config).unwrap().replace(&format!(":{port}"), &format!(":{quiet_port}"));
    std::fs::write(&quiet_config, text).unwrap();
    let quiet = Server::start(on_one_core(&scopegate()).arg("serve").arg("--config").arg(&quiet_config), quiet_port);
    let no_op_port = free_port();
    let no_op = Server::start(&mut role("no-op", no_op_port), no_op_port);
    let (mut ours, mut silent, mut floor) = (Measured::default(), Measured::default(), Measured::default());
    for _ in 0..effort.rounds {
        floor.add(load(&no_op, &requests, effort.time));
        ours.add(load(&gate, &requests, effort.time));
        silent.add(load(&quiet, &requests, effort.time));
    }
    let shown = format!("{:.1} µs, {:.1} µs", ours.cpu_micros(), floor.cpu_micros());
    table.ratio(format!("ext_authz CPU per check ÷ no-op tonic server's ({shown})"), (ours.cpu_micros(), floor.cpu_micros()), "≤ 1.05");
    table.ratio(format!("the same without audit lines ({:.1} µs)", silent.cpu_micros()), (silent.cpu_micros(), floor.cpu_micros()), "");
    let (slow, base) = (ours.quantile(0.99), floor.quantile(0.99));
    table.ratio(format!("ext_authz p99 ÷ no-op's p99 ({slow:.0} µs, {base:.0} µs)"), (slow, base), "≤ 1.2");
    table.row("checks that failed", (ours.failed + floor.failed).to_string(), "0");
}
