//! What thousands of idle and slow connections, and requests of a million headers, cost those who ask for something at the same time.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::load::{Measured, exchange};
use crate::processes::{Server, free_port};
use crate::{Effort, Table, proxies};

const CONNECTIONS: u64 = 10_000;
/// Descriptors for everything else.
const SPARE: u64 = 500;
const CLIENTS: usize = 16;
/// Between two requests of a client: some two thousand a second, which leaves the machine most of its time.
const PAUSE: Duration = Duration::from_millis(8);
/// Shorter than the bounds of a head, so that nobody is closed meanwhile.
const TIME: Duration = Duration::from_secs(4);

/// Latencies at a steady pace.
fn paced(port: u16, requests: &Arc<[String]>, time: Duration) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = |number: usize, requests: Arc<[String]>| async move {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut buffer, mut latencies, mut failed) = (vec![0; 16 * 1024], Vec::new(), 0);
        let (mut ticks, ends) = (tokio::time::interval(PAUSE), Instant::now() + time);
        let mut at = number * 997;
        while Instant::now() < ends {
            ticks.tick().await;
            at = (at + 1) % requests.len();
            let started = Instant::now();
            match exchange(&mut stream, requests[at].as_bytes(), &mut buffer).await {
                Some(()) => latencies.push(started.elapsed()),
                None => {
                    failed += 1;
                    stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                }
            }
        }
        (latencies, failed)
    };
    runtime.block_on(async {
        let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(number, Arc::clone(requests)))).collect();
        let mut parts = Vec::new();
        for client in clients {
            parts.push(client.await.unwrap());
        }
        Measured::gather(parts)
    })
}

/// As many connections as fit; each second one says nothing, the others have begun a head.
fn crowd(port: u16) -> Vec<TcpStream> {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let room = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(SPARE);
    let mut all = Vec::new();
    for number in 0..CONNECTIONS.min(room) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { break };
        if number % 2 == 1 {
            stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\nx-slow: ").unwrap();
        }
        all.push(stream);
    }
    all
}

/// One request of a million headers after the other, as far as each is read.
fn headers(port: u16, over: &AtomicBool, sent: &AtomicUsize) {
    let block = b"x-header: value\r\n".repeat(1000);
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut taken = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n");
        for _ in 0..1000 {
            taken = taken.and_then(|()| stream.write_all(&block));
        }
        sent.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A byte on every second connection each second, one after the other, as clients that know nothing of each other would send them.
fn drip(crowd: &[TcpStream], over: &AtomicBool) {
    let slow: Vec<_> = crowd.iter().skip(1).step_by(2).collect();
    while !over.load(Ordering::Relaxed) {
        for some in slow.chunks(slow.len() / 200 + 1) {
            for mut stream in some.iter().copied() {
                let _ = stream.write_all(b"x");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub fn measure(effort: Effort, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _upstream = Server::start(Command::new(std::env::current_exe().unwrap()).args(["upstream", &port.to_string()]), port);
    let gate = proxies::gate(folder.path(), effort, (port, Some(())), "");
    let requests = proxies::requests(effort);
    paced(gate.port, &requests, TIME / 5);
    let quiet = paced(gate.port, &requests, TIME);
    let crowd = crowd(gate.port);
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (beside, among) = std::thread::scope(|scope| {
        scope.spawn(|| drip(&crowd, &over));
        let beside = paced(gate.port, &requests, TIME);
        scope.spawn(|| headers(gate.port, &over, &sent));
        let among = paced(gate.port, &requests, TIME);
        over.store(true, Ordering::Relaxed);
        (beside, among)
    });
    let base = quiet.quantile(0.99);
    let crowd = format!("{} idle and slow connections", crowd.len());
    for (what, measured) in [(crowd.clone(), &beside), (format!("them and {} requests of a million headers", sent.into_inner()), &among)] {
        let p99 = measured.quantile(0.99);
        table.ratio(format!("p99 of others beside {what} ÷ quiet p99 ({p99:.0} µs, {base:.0} µs)"), (p99, base), "≤ 2");
    }
    table.row("  requests of others that failed then", (beside.failed + among.failed).to_string(), "0");
    let resident = gate.resident().unwrap_or_default() / 1_048_576.0;
    table.row(format!("  resident memory beside {crowd}"), format!("{resident:.1} MiB"), "");
}
