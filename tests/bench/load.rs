//! Many clients on kept connections, over plain sockets, so that little of the machine goes into asking.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::processes::Server;

pub const CLIENTS: usize = 32;

/// What one or more runs gave.
#[derive(Default)]
pub struct Measured {
    latencies: Vec<Duration>,
    pub failed: usize,
    /// Seconds of the server's in this run.
    pub cpu: f64,
    /// Microseconds of the server's for each request, of every run that was added.
    runs: Vec<f64>,
}

impl Measured {
    pub fn gather(parts: Vec<(Vec<Duration>, usize)>) -> Self {
        let failed = parts.iter().map(|(_, failed)| failed).sum();
        Self { latencies: parts.into_iter().flat_map(|(latencies, _)| latencies).collect(), failed, ..Self::default() }
    }

    pub fn add(&mut self, other: Self) {
        self.runs.push(other.cpu * 1e6 / other.latencies.len().max(1) as f64);
        self.latencies.extend(other.latencies);
        self.failed += other.failed;
    }

    /// Microseconds of the server's for each request: the median of the runs, so that a neighbour's work in one of them does not count.
    pub fn cpu_micros(&self) -> f64 {
        let mut sorted = self.runs.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    /// In microseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }
}

/// Sends `requests` in turn on every connection; an answer that is not 200 has failed.
async fn client(port: u16, requests: Arc<[String]>, (first, ends): (usize, Instant)) -> (Vec<Duration>, usize) {
    let (mut latencies, mut failed) = (Vec::new(), 0);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut number, mut buffer) = (first * 997, vec![0; 16 * 1024]);
    while Instant::now() < ends {
        number = (number + 1) % requests.len();
        let started = Instant::now();
        if exchange(&mut stream, requests[number].as_bytes(), &mut buffer).await.is_some() {
            latencies.push(started.elapsed());
        } else {
            failed += 1;
            stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        }
    }
    (latencies, failed)
}

/// `Some` where the answer is 200 and whole. Its body has a length; every server here sends one.
pub async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8], buffer: &mut [u8]) -> Option<()> {
    stream.write_all(request).await.ok()?;
    let mut filled = 0;
    loop {
        let count = stream.read(buffer.get_mut(filled..)?).await.ok().filter(|count| *count > 0)?;
        filled += count;
        let text = &buffer[..filled];
        let Some(head) = memchr::memmem::find(text, b"\r\n\r\n") else { continue };
        let lower = text[..head].to_ascii_lowercase();
        let at = memchr::memmem::find(&lower, b"content-length:")? + 15;
        let digits = lower[at..].split(|byte| *byte == b'\r').next()?;
        let length: usize = str::from_utf8(digits).ok()?.trim().parse().ok()?;
        if filled >= head + 4 + length {
            return text.starts_with(b"HTTP/1.1 200").then_some(());
        }
    }
}

/// Load on a server for a time, after a quarter of it to warm up.
pub fn load(server: &Server, requests: &Arc<[String]>, time: Duration) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let run = async |time: Duration| {
            let ends = Instant::now() + time;
            let clients: Vec<_> = (0..CLIENTS).map(|first| tokio::spawn(client(server.port, Arc::clone(requests), (first, ends)))).collect();
            let mut parts = Vec::new();
            for client in clients {
                parts.push(client.await.unwrap());
            }
            Measured::gather(parts)
        };
        run(time / 4).await;
        let before = server.cpu();
        let mut measured = run(time).await;
        measured.cpu = server.cpu() - before;
        measured
    })
}
