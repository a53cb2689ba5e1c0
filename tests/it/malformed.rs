//! Thousands of malformed requests: the process goes on, each connection comes to an end, and the upstream sees nothing but sound requests
//! that the policy allows, never more of them than a strict reader sees in what was sent.

#[path = "malformed/http1.rs"]
mod http1;
#[path = "malformed/http2.rs"]
mod http2;
#[path = "malformed/random.rs"]
mod random;
#[path = "malformed/strict.rs"]
mod strict;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{DEADLINE, Gate, ask};
use random::Random;

const POLICY: &str = "routes: {/open/: public, /secret: app:use}\n\
     bounds: {handshake_time: 500ms, head_time: 500ms, idle: 500ms, body_idle: 500ms, send_idle: 5s}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// At a time.
const BATCH: u64 = 400;

const QUIET: Duration = Duration::from_millis(100);

/// What the upstream saw: the targets of sound requests, and what was none.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<(Vec<String>, Vec<String>)>>);

/// Reads by the letter, writes everything down, and answers what it could read.
async fn upstream(book: Book) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, book.clone()));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, book: Book) {
    let (mut bytes, mut told) = (Vec::new(), false);
    loop {
        match strict::read(&bytes) {
            Ok(Some(request)) => {
                if !std::mem::replace(&mut told, true) {
                    book.note(&request, &bytes[..request.head]);
                }
                match request.whole {
                    Some(Ok(length)) => {
                        bytes.drain(..length);
                        told = false;
                        let body = if request.method == "HEAD" { "" } else { "ok" };
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    Some(Err(why)) => return book.odd(why, &bytes),
                    None => {}
                }
            }
            Ok(None) => {}
            Err(why) => return book.odd(why, &bytes),
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
    }
}

impl Book {
    fn note(&self, request: &strict::Request, head: &[u8]) {
        let path = request.target.split('?').next().unwrap();
        let is_plain = path.starts_with("/open/") && !["..", "//", ";", "\\", "#", "secret"].iter().any(|part| path.contains(part));
        let is_own = strict::find(&head.to_ascii_lowercase(), b"scopegate-id: root").is_some();
        if !is_plain || is_own || !METHODS.contains(&&*request.method) {
            self.odd("not allowed", head);
        }
        self.0.lock().unwrap().0.push(request.target.clone());
    }

    fn odd(&self, why: &str, bytes: &[u8]) {
        self.0.lock().unwrap().1.push(format!("{why}: {:?}", String::from_utf8_lossy(bytes)));
    }

    fn take(&self) -> (Vec<String>, Vec<String>) {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A mark that no accident makes another one's.
fn mark(seed: u64) -> String {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    format!("c{seed}-{:08x}", hasher.finish() >> 32)
}

/// Sends it, and waits for the end of the connection; where it `ends`, the client says that it will send no more once it hears nothing.
async fn send(address: SocketAddr, bytes: Vec<u8>, ends: bool) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Whoever is refused may not get everything out.
        let _ = stream.write_all(&bytes).await;
        let mut taken = Vec::new();
        if ends {
            // A server of HTTP/2 does nothing for a client that has gone.
            while let Ok(Ok(1..)) = tokio::time::timeout(QUIET, stream.read_buf(&mut taken)).await {}
            let _ = stream.shutdown().await;
        }
        let _ = stream.read_to_end(&mut taken).await;
    };
    tokio::time::timeout(DEADLINE, exchange).await.is_ok()
}

async fn run(cases: u64, make: fn(&mut Random, &str) -> Vec<u8>, count: fn(&[u8]) -> usize) {
    let book = Book::default();
    let address = upstream(book.clone()).await;
    let gate = Gate::start(&format!("{POLICY}upstream: http://{address}\n"), TOKENS).await;
    let mut arrived = 0;
    for batch in 0..cases.div_ceil(BATCH) {
        let mut connections = JoinSet::new();
        let mut expected = HashMap::new();
        for seed in batch * BATCH..(batch + 1) * BATCH {
            let bytes = make(&mut Random::new(seed), &mark(seed));
            expected.insert(mark(seed), (count(&bytes), bytes.clone()));
            let address = gate.proxy();
            connections.spawn(async move { (seed, send(address, bytes, !seed.is_multiple_of(5)).await) });
        }
        while let Some(ended) = connections.join_next().await {
            let (seed, ended) = ended.unwrap();
            assert!(ended, "seed {seed}: no end of {:?}", String::from_utf8_lossy(&expected[&mark(seed)].1));
        }
        let (seen, odd) = book.take();
        assert!(odd.is_empty(), "batch {batch}: {odd:#?}");
        let all: usize = expected.values().map(|(count, _)| count).sum();
        assert!(seen.len() <= all, "batch {batch}: {} of {all} requests", seen.len());
        for (mark, (count, bytes)) in &expected {
            let own = seen.iter().filter(|target| target.contains(mark)).count();
            assert!(own <= *count, "{mark}: {own} of {count} requests in {:?}", String::from_utf8_lossy(bytes));
        }
        arrived += seen.len();
        assert_eq!(ask(gate.proxy(), "GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200, "batch {batch}");
        book.take();
    }
    // Some have to get through, or nothing was tried.
    assert!(arrived > usize::try_from(cases).unwrap() / 20, "{arrived} arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_thousand_malformed_http1_connections_let_nothing_through_that_is_not_sound() {
    run(4000, http1::connection, strict::count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_malformed_http2_connections_let_nothing_through_that_is_not_sound() {
    run(2000, http2::connection, http2::count).await;
}
