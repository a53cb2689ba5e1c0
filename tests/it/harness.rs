//! A gate in this process on ports of the system's choice, the upstream behind it, and clients for each of its doors.
//! Nothing here waits by sleeping: a condition is asked for again until it holds or a deadline has passed.

pub mod authority;
pub mod collector;
pub mod desk;
pub mod everywhere;
pub mod example;
pub mod frames;
pub mod grpc;
pub mod http2;
pub mod process;
pub mod sign;
pub mod tls;
pub mod upstream;
pub mod wire;

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use scopegate::app::{self, Running};
use scopegate::config::{Address, Input};
use tempfile::TempDir;
use upstream::Upstream;
use wire::{Reply, Wire};

/// Long enough for a busy machine; a test that needs it has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What was written, for whoever holds a copy.
#[derive(Clone, Default)]
pub struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A running gate with its upstream and its folder.
pub struct Gate {
    pub running: Running,
    pub upstream: Upstream,
    pub folder: TempDir,
    pub audit: Capture,
}

impl Gate {
    /// `config` may leave out `listen`, `upstream`, `credentials` and `reload`; `tokens` becomes `tokens.json` beside it.
    pub async fn start(config: &str, tokens: &str) -> Self {
        let upstream = Upstream::start().await;
        Self::before(upstream, config, tokens).await
    }

    pub async fn before(upstream: Upstream, config: &str, tokens: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_secret(&folder.path().join("tokens.json"), tokens);
        std::fs::write(folder.path().join("scopegate.yaml"), complete(config, upstream.address)).unwrap();
        Self::at(folder, upstream).await
    }

    /// From the `scopegate.yaml` of a folder.
    pub async fn at(folder: TempDir, upstream: Upstream) -> Self {
        let audit = Capture::default();
        let running = app::start(Input::File(folder.path().join("scopegate.yaml")), audit.clone())
            .await
            .unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
        Self { running, upstream, folder, audit }
    }

    pub fn proxy(&self) -> SocketAddr {
        tcp(&self.running.addresses.proxy)
    }

    pub fn ext_authz(&self) -> SocketAddr {
        tcp(&self.running.addresses.ext_authz)
    }

    pub fn forward_auth(&self) -> SocketAddr {
        tcp(&self.running.addresses.forward_auth)
    }

    pub fn admin(&self) -> SocketAddr {
        tcp(&self.running.addresses.admin)
    }

    /// Writes the configuration again, as [`Self::start`] would.
    pub fn rewrite(&self, config: &str) {
        std::fs::write(self.folder.path().join("scopegate.yaml"), complete(config, self.upstream.address)).unwrap();
    }

    /// Every audit line so far.
    pub async fn audit(&self) -> String {
        let gate = Arc::clone(&self.running.gate);
        tokio::task::spawn_blocking(move || gate.telemetry.audit.as_ref().unwrap().flush()).await.unwrap();
        self.audit.text()
    }

    pub async fn metrics(&self) -> String {
        ask(self.admin(), "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.text()
    }

    pub async fn reload(&self) -> Reply {
        ask(self.admin(), "POST /reload HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await
    }

    pub async fn readyz(&self) -> (u16, serde_json::Value) {
        let reply = ask(self.admin(), "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }
}

/// The configuration with an address of the system's choice for every door, unless it says otherwise.
pub fn complete(config: &str, upstream: SocketAddr) -> String {
    let says = |key: &str| config.lines().any(|line| line.starts_with(&format!("{key}:")));
    let mut text = config.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if !says("listen") {
        text.push_str("listen: {proxy: 127.0.0.1:0, ext_authz: 127.0.0.1:0, forward_auth: 127.0.0.1:0, admin: 127.0.0.1:0}\n");
    }
    if !says("upstream") {
        text.push_str(&format!("upstream: http://{upstream}\n"));
    }
    if !says("credentials") {
        text.push_str("credentials: {tokens: {kind: static, file: tokens.json}}\n");
    }
    if !says("reload") {
        text.push_str("reload: {watch: false}\n");
    }
    if !says("lame_duck") {
        text.push_str("lame_duck: 0s\n");
    }
    text.replace("UPSTREAM", &upstream.to_string())
}

/// A file that its owner alone can read, in place of whatever was there.
pub fn write_secret(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

pub fn tcp(address: &Option<Address>) -> SocketAddr {
    match address {
        Some(Address::Tcp(address)) => *address,
        other => panic!("not a TCP door: {other:?}"),
    }
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Reply {
    let request = request.as_ref();
    let mut wire = Wire::connect(address).await;
    wire.send(request).await;
    wire.reply(request.starts_with(b"HEAD ")).await
}

/// Waits until `holds` gives something.
pub async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = holds().await {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The value of a metric's line, labels included in the name.
pub fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
