//! What it costs that somebody watches: five thousand checks a second at the gRPC door, with and without a reader of `GET /decisions` and a page's feed.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scopegate::config::{Input, load};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;
use scopegate::proto::CheckRequest;
use scopegate::proto::authorization_client::AuthorizationClient;
use tonic::transport::Endpoint;

use crate::checks::request;
use crate::load::Measured;
use crate::processes::{Server, free_port, on_one_core, scopegate};
use crate::{Effort, Table, files};

const A_SECOND: u64 = 5000;
const FLIGHTS: u64 = 16;

/// What a reader has seen.
#[derive(Default)]
struct Seen {
    lines: AtomicU64,
    dropped: AtomicU64,
}

/// Leaves with the value.
struct Reader {
    stream: TcpStream,
    seen: Arc<Seen>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Reads events for as long as the gate sends any.
fn watch(port: u16, path: &str) -> Reader {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(&stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let reader = Reader { stream: stream.try_clone().unwrap(), seen: Arc::default() };
    let seen = Arc::clone(&reader.seen);
    std::thread::spawn(move || {
        let (mut lines, mut dropping) = (BufReader::with_capacity(256 * 1024, stream), false);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
            if line.starts_with("id: ") {
                seen.lines.fetch_add(1, Ordering::Relaxed);
            }
            if let (true, Some(number)) = (dropping, line.strip_prefix("data: {\"lines\":")) {
                seen.dropped.fetch_add(number.trim_end().trim_end_matches('}').parse().unwrap_or(0), Ordering::Relaxed);
            }
            dropping = line.starts_with("event: dropped");
            line.clear();
        }
    });
    reader
}

/// Checks at a steady pace, however long each takes.
fn paced(server: &Server, requests: &[CheckRequest], time: Duration) -> (Measured, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", server.port)).unwrap().tcp_nodelay(true);
        let client = AuthorizationClient::new(endpoint.connect().await.unwrap());
        let ends = Instant::now() + time;
        let mut flights = tokio::task::JoinSet::new();
        for flight in 0..FLIGHTS {
            let (mut client, requests) = (client.clone(), requests.to_vec());
            flights.spawn(async move {
                let mut pace = tokio::time::interval(Duration::from_secs(1) * u32::try_from(FLIGHTS).unwrap() / u32::try_from(A_SECOND).unwrap());
                let (mut number, mut latencies, mut failed) = (usize::try_from(flight).unwrap() * 997, Vec::new(), 0);
                while Instant::now() < ends {
                    pace.tick().await;
                    number = (number + 1) % requests.len();
                    let started = Instant::now();
                    let answer = client.check(requests[number].clone()).await;
                    latencies.push(started.elapsed());
                    failed += usize::from(answer.is_err());
                }
                (latencies, failed)
            });
        }
        let parts = flights.join_all().await;
        let count = parts.iter().map(|(latencies, _)| latencies.len() as u64).sum();
        (Measured::gather(parts), count)
    })
}

/// How long it takes to tell what a reload changed, on the thread that reads the files.
fn differences(effort: Effort, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let tokens = files::tokens(folder.path(), effort.tokens);
    let text = files::configuration(&tokens, 100, "");
    let key = TagKey::new([7; 32]);
    let loaded = || {
        let input = Input::Text { name: "bench.yaml", text: text.clone() };
        load(&input, &|_| None, &key, &Registry::offline()).unwrap_or_else(|faults| panic!("{faults}"))
    };
    let (old, new) = (loaded(), loaded());
    let started = Instant::now();
    let changes = new.sources.changes_since(&old.sources);
    let took = started.elapsed().as_secs_f64() * 1e3;
    assert!(changes.tokens.is_empty(), "{changes:?}");
    table.row(format!("what differs between two sets of {} tokens", effort.tokens), format!("{took:.0} ms"), "");
}

pub fn measure(effort: Effort, table: &mut Table) {
    differences(effort, table);
    let folder = tempfile::tempdir().unwrap();
    let tokens = files::tokens(folder.path(), 1000);
    let (port, admin) = (free_port(), free_port());
    let listen = format!("listen: {{ext_authz: 127.0.0.1:{port}, forward_auth: 'off', admin: 127.0.0.1:{admin}}}");
    let config = folder.path().join("scopegate.yaml");
    std::fs::write(&config, files::configuration(&tokens, 100, &listen)).unwrap();
    let gate = Server::start(on_one_core(&scopegate()).arg("serve").arg("--config").arg(&config), port);
    let requests: Vec<_> = (0..1024).map(|n| request(&files::token(n % 1000), &files::target(n % 100))).collect();
    let time = effort.time.max(Duration::from_secs(1));
    paced(&gate, &requests, time / 2);
    let (mut alone, mut watched) = (Measured::default(), Measured::default());
    let (mut made, mut seen, mut told) = (0, 0, 0);
    for _ in 0..effort.rounds {
        alone.add(paced(&gate, &requests, time).0);
        let reader = watch(admin, "/decisions?last=0");
        let _page = watch(admin, "/panel/decisions/stream");
        std::thread::sleep(Duration::from_millis(100));
        let (measured, count) = paced(&gate, &requests, time);
        watched.add(measured);
        made += count;
        let until = Instant::now() + Duration::from_secs(5);
        let so_far = || reader.seen.lines.load(Ordering::Relaxed) + reader.seen.dropped.load(Ordering::Relaxed);
        while so_far() < count && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        seen += reader.seen.lines.load(Ordering::Relaxed);
        told += reader.seen.dropped.load(Ordering::Relaxed);
    }
    let (with, without) = (watched.quantile(0.99), alone.quantile(0.99));
    table.ratio(format!("p99 at {A_SECOND} checks a second, watched ÷ not ({with:.0} µs, {without:.0} µs)"), (with, without), "≤ 2");
    let lost = i64::try_from(made).unwrap_or_default() - i64::try_from(seen + told).unwrap_or_default();
    table.row(format!("lines neither seen nor told to be dropped, of {made}"), lost.to_string(), "0");
    table.row("lines told to be dropped", told.to_string(), "");
    table.row("checks that failed while watched", (alone.failed + watched.failed).to_string(), "0");
}
