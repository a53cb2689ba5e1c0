//! `scopegate demo`: an application that knows nothing of tokens, every door in front of it, and four tokens made on the spot.

use std::convert::Infallible;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{BACKSTOP, log, serve, token};
use crate::app::{self, Running};
use crate::config::{Address, Input};

const TOKENS: &str = include_str!("../../deploy/examples/backstop/tokens.json");
const ENVOY: &str = include_str!("../../deploy/envoy/grpc.yaml");

pub fn run() -> Result<bool, String> {
    log("error");
    serve::runtime()?.block_on(async {
        let broken = |error: std::io::Error| format!("signals cannot be received: {error}");
        let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
        let folder = Folder::new()?;
        let tokens = write_tokens(&folder.0)?;
        let application = application().await.map_err(|error| format!("the application cannot start: {error}"))?;
        let running = start(&folder.0, application).await?;
        let mut envoy = envoy(&folder.0, &running, application).await;
        print(&running, &tokens, envoy.as_ref().map(|(_, port)| *port));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if let Some((child, _)) = &mut envoy {
            let _ = child.kill().await;
        }
        running.stop().await;
        eprintln!("\nstopped");
        Ok(true)
    })
}

/// A folder of the demo's own, gone when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("scopegate-demo-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Backstop's four example entries with secrets of their own; gives `(id, token)`.
fn write_tokens(folder: &Path) -> Result<Vec<(String, String)>, String> {
    use std::io::Write;
    let mut entries: Vec<serde_json::Value> = serde_json::from_str(TOKENS).map_err(|error| error.to_string())?;
    let mut made = Vec::new();
    for entry in &mut entries {
        let token = token::make()?.replacen("sgt_", "bsp_demo_", 1);
        made.push((entry["id"].as_str().unwrap_or_default().to_owned(), token.clone()));
        if let (true, Some(scopes)) = (entry["id"] == "admin", entry["scopes"].as_array_mut()) {
            scopes.push(json!("apikeys:*"));
        }
        entry["token"] = json!(token);
    }
    let path = folder.join("tokens.json");
    let broken = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(broken)?;
    file.write_all(json!(entries).to_string().as_bytes()).map_err(broken)?;
    Ok(made)
}

/// The usual port where it is free, any other where it is not.
fn port(usual: u16) -> u16 {
    TcpListener::bind(("127.0.0.1", usual)).map_or(0, |_| usual)
}

async fn start(folder: &Path, application: SocketAddr) -> Result<Running, String> {
    let config = BACKSTOP.replace("http://127.0.0.1:3000", &format!("http://{application}"));
    let config = format!(
        "{config}credentials:\n  tokens: {{kind: static, file: {}, from: [header:x-backstop-token, bearer]}}\n  keys: {{kind: api_key}}\nlisten: {{proxy: 127.0.0.1:{}, ext_authz: 127.0.0.1:{}, forward_auth: 127.0.0.1:{}, admin: 127.0.0.1:{}}}\n",
        json!(folder.join("tokens.json")),
        port(8080),
        port(9191),
        port(9192),
        port(9190)
    );
    app::start(Input::Text { name: "demo", text: config }, std::io::sink()).await.map_err(|faults| faults.join("\n"))
}

/// Answers every request with what it was told of the caller.
async fn application() -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = service_fn(|request: http::Request<Incoming>| async move {
                let (parts, body) = request.into_parts();
                let size = body.collect().await.map_or(0, |body| body.to_bytes().len());
                let told: serde_json::Map<_, _> = parts
                    .headers
                    .iter()
                    .filter(|(name, _)| name.as_str().starts_with("x-scopegate-"))
                    .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap_or_default())))
                    .collect();
                let text = format!(
                    "{}\n",
                    json!({"application": "echo", "method": parts.method.as_str(), "path": parts.uri.path(), "body_bytes": size, "told": told})
                );
                Ok::<_, Infallible>(http::Response::new(Full::new(bytes::Bytes::from(text))))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
        }
    });
    Ok(address)
}

/// A real Envoy in front of the same application, where one is on the path and comes up.
async fn envoy(folder: &Path, running: &Running, application: SocketAddr) -> Option<(Child, u16)> {
    let Some(Address::Tcp(authorizer)) = running.addresses.ext_authz else { return None };
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).ok()?.port();
    let config = ENVOY
        .replace("port_value: 10000", &format!("port_value: {port}"))
        .replace("port_value: 3000", &format!("port_value: {}", application.port()))
        .replace("port_value: 9191", &format!("port_value: {}", authorizer.port()));
    let path = folder.join("envoy.yaml");
    fs::write(&path, config).ok()?;
    let child = Command::new("envoy")
        .arg("-c")
        .arg(&path)
        .args(["--concurrency", "1", "--disable-hot-restart", "-l", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.ok()?;
    // What is printed is there to be pasted at once.
    for _ in 0..200 {
        if !matches!(child.try_wait(), Ok(None)) {
            return None;
        }
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Some((child, port))
}

fn print(running: &Running, tokens: &[(String, String)], envoy: Option<u16>) {
    let token = |id: &str| tokens.iter().find(|(known, _)| known == id).map_or("", |(_, token)| token);
    let at = |address: &Option<Address>| address.as_ref().map_or_else(|| "off".into(), ToString::to_string);
    let addresses = &running.addresses;
    println!("Scopegate stands before an echo application. Four tokens were made; each line below can be pasted.\n");
    let lines = |base: &str| {
        println!("  curl -i {base}/pending                                     # 401: no token");
        println!("  curl -i -H 'Authorization: Bearer {}' {base}/pending   # 200: operator-01 holds approval:read", token("operator-01"));
        println!("  curl -i -X POST -H 'Authorization: Bearer {}' {base}/admin/pause   # 403: operator-01 lacks admin:*", token("operator-01"));
        println!("  curl -i -H 'Authorization: Bearer {}' {base}/metrics   # 200: prometheus holds metrics:read", token("prometheus"));
        println!("  curl -i {base}/health                                      # 200: public\n");
    };
    println!("The proxy door:");
    lines(&format!("http://{}", at(&addresses.proxy)));
    match envoy {
        Some(port) => {
            println!("A real Envoy, asking the ext_authz door:");
            lines(&format!("http://127.0.0.1:{port}"));
        }
        None => println!("(With `envoy` on the PATH, the same application would stand behind Envoy too.)\n"),
    }
    println!("The forward-auth door, as Traefik would ask:");
    println!(
        "  curl -i -H 'X-Forwarded-Method: GET' -H 'X-Forwarded-Uri: /pending' -H 'X-Forwarded-Host: localhost' -H 'Authorization: Bearer {}' http://{}/traefik\n",
        token("prometheus"),
        at(&addresses.forward_auth)
    );
    println!("The operator door, with a panel for the browser; the token of `admin` below signs in:");
    println!("  http://{}/panel", at(&addresses.admin));
    println!("  curl -s http://{0}/readyz; curl -s http://{0}/metrics", at(&addresses.admin));
    println!(
        "  curl -s -d '{{\"method\":\"POST\",\"path\":\"/admin/pause\",\"credential_id\":\"operator-01\"}}' http://{}/explain\n",
        at(&addresses.admin)
    );
    println!("A managed key, for the header x-api-key, of the store in memory:");
    println!(
        "  curl -i -X POST -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d '{{\"name\":\"demo\",\"scopes\":[\"approval:read\"]}}' http://{}/tenant/api-keys   # 201: shown this once\n",
        token("admin"),
        at(&addresses.admin)
    );
    println!("The other tokens: agent-prod-01 {}\n                  admin         {}", token("agent-prod-01"), token("admin"));
    println!("Envoy's gRPC door is at {}. Ctrl-C stops.", at(&addresses.ext_authz));
}
