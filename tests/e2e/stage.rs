//! An application, `scopegate serve` and, but for the bare proxy door, a real proxy before them, with the files of `deploy/` as they are.
//! Only ports, socket paths and temporary folders are changed, and how long a proxy waits for the gate: `patient`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::application::Application;
use crate::client::{Answer, Ask};
use crate::ingress_nginx;
use crate::message::Message;
use crate::process::{Process, free_port, root, scopegate, tool};

/// What stands before the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    EnvoyGrpc,
    /// Which hands the management API's paths to the gate's own proxy door.
    EnvoyManaged,
    /// With `encode_raw_headers` off, as gateways that generate the filter leave it.
    EnvoyGrpcPlainHeaders,
    EnvoyUnix,
    EnvoyHttp,
    Nginx,
    /// What the Kubernetes controller makes of the annotations of `deploy/ingress-nginx`.
    IngressNginx,
    Traefik,
    /// Whose entry points take no spellings away, as before 3.7.12.
    OlderTraefik,
    Caddy,
    /// The gate itself.
    Proxy,
}

impl Front {
    pub fn is_envoy(self) -> bool {
        matches!(self, Self::EnvoyGrpc | Self::EnvoyManaged | Self::EnvoyGrpcPlainHeaders | Self::EnvoyUnix | Self::EnvoyHttp)
    }

    /// Whether the gate gets to see request bodies.
    pub fn shows_bodies(self) -> bool {
        self.is_envoy() || self == Self::Proxy
    }

    /// Whether the gate's own body and headers reach the client; nginx writes its own.
    pub fn carries_denials(self) -> bool {
        !matches!(self, Self::Nginx | Self::IngressNginx)
    }
}

/// What is played: an example of `deploy/examples/`, and what a test changes of it.
#[derive(Clone, Debug)]
pub struct Script {
    pub folder: &'static str,
    pub file: &'static str,
    pub env: Vec<(&'static str, String)>,
    /// Put behind the gate's configuration.
    pub more: String,
    /// Texts of the gate's configuration and of the proxy's, by what is to stand there instead.
    pub edits: Vec<(&'static str, String)>,
    pub proxy_edits: Vec<(&'static str, &'static str)>,
    /// Files beside the configuration, for their owner alone.
    pub beside: Vec<(&'static str, &'static str)>,
    /// What is answered once all is up: a path, and the status without a credential.
    pub probe: (&'static str, u16),
}

impl Script {
    pub fn of(folder: &'static str, file: &'static str, env: &[(&'static str, &str)], probe: (&'static str, u16)) -> Self {
        let env = env.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { folder, file, env, more: String::new(), edits: Vec::new(), proxy_edits: Vec::new(), beside: Vec::new(), probe }
    }

    pub fn backstop() -> Self {
        let tokens = root().join("deploy/examples/backstop/tokens.json");
        Self::of("backstop", "scopegate.yaml", &[("BACKSTOP_TOKENS", &tokens.display().to_string())], ("/health", 200))
    }
}

#[derive(Debug)]
pub struct Stage {
    pub front: Front,
    pub port: u16,
    /// The gate's own proxy door, whatever the front is.
    pub proxy_door: u16,
    /// The gate's operator door.
    pub admin: u16,
    /// Envoy's operator port, where Envoy is the front.
    pub envoy_admin: u16,
    pub application: Application,
    pub gate: Process,
    /// Where the gate's configuration is.
    pub folder: TempDir,
    _proxy: Option<Process>,
}

/// The entries of Backstop's example.
static TOKENS: LazyLock<Json> = LazyLock::new(|| serde_json::from_str(&example("backstop", "tokens.json")).unwrap());

/// Where the doors are.
struct Doors {
    application: u16,
    proxy: u16,
    ext_authz: String,
    forward_auth: u16,
    admin: u16,
}

impl Stage {
    pub fn start(front: Front) -> Self {
        Self::start_with(front, "")
    }

    /// `more` is put behind the gate's configuration.
    pub fn start_with(front: Front, more: &str) -> Self {
        Self::play(front, &Script { more: more.to_owned(), ..Script::backstop() })
    }

    pub fn play(front: Front, script: &Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let application = Application::start();
        let socket = folder.path().join("authz.sock");
        let ext_authz = if front == Front::EnvoyUnix { format!("unix:{}", socket.display()) } else { format!("127.0.0.1:{}", free_port()) };
        let doors = Doors { application: application.port, proxy: free_port(), ext_authz, forward_auth: free_port(), admin: free_port() };
        let gate = gate(folder.path(), &doors, script);
        let (port, envoy_admin) = (if front == Front::Proxy { doors.proxy } else { free_port() }, free_port());
        let mut proxy = proxy(front, folder.path(), &doors, (port, envoy_admin), &script.proxy_edits);
        let (path, status) = script.probe;
        if let Some(proxy) = &mut proxy {
            proxy.until("answering for all", |_| Ask::get(path).try_send(port).is_ok_and(|answer| answer.status == status));
        }
        application.take();
        Self { front, port, proxy_door: doors.proxy, admin: doors.admin, envoy_admin, application, gate, folder, _proxy: proxy }
    }

    /// The token of an entry of Backstop's example file.
    pub fn token(&self, id: &str) -> &str {
        self.entry(id)["token"].as_str().unwrap()
    }

    pub fn holds(&self, id: &str, scope: &str) -> bool {
        self.entry(id)["scopes"].as_array().unwrap().iter().any(|held| held == scope)
    }

    fn entry(&self, id: &str) -> &Json {
        TOKENS.as_array().unwrap().iter().find(|entry| entry["id"] == id).unwrap()
    }

    /// The front's answer, and what the application saw of it.
    pub fn ask(&self, ask: &Ask) -> (Answer, Vec<Message>) {
        self.ask_at(self.port, ask)
    }

    /// The same of the front or of the gate's own proxy door.
    pub fn ask_at(&self, port: u16, ask: &Ask) -> (Answer, Vec<Message>) {
        let answer = ask.send(port);
        (answer, self.application.take())
    }
}

fn gate(folder: &Path, doors: &Doors, script: &Script) -> Process {
    let shipped = example(script.folder, script.file);
    let upstream = shipped.lines().find(|line| line.starts_with("upstream: ")).unwrap().to_owned();
    let here = format!("upstream: http://127.0.0.1:{}", doors.application);
    let edits = script.edits.iter().map(|(from, to)| (*from, to.as_str())).chain([(&*upstream, &*here)]).collect::<Vec<_>>();
    let mut config = swap(&shipped, &edits);
    writeln!(
        config,
        "listen: {{proxy: 127.0.0.1:{}, ext_authz: '{}', forward_auth: 127.0.0.1:{}, admin: 127.0.0.1:{}}}\n{}",
        doors.proxy, doors.ext_authz, doors.forward_auth, doors.admin, script.more
    )
    .unwrap();
    fs::write(folder.join("scopegate.yaml"), config).unwrap();
    // What the configuration names stands beside it.
    for file in fs::read_dir(root().join("deploy/examples").join(script.folder)).unwrap().flatten() {
        if file.path().extension().is_some_and(|end| end == "json") {
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
    for (name, text) in &script.beside {
        fs::write(folder.join(name), text).unwrap();
        fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let mut gate = Process::start("scopegate", &scopegate(), folder, |command| {
        command.args(["serve", "--config", "scopegate.yaml"]).envs(script.env.iter().map(|(name, value)| (name, value)));
    });
    gate.until("ready", |_| Ask::get("/readyz").try_send(doors.admin).is_ok_and(|answer| answer.status == 200));
    gate
}

fn proxy(front: Front, folder: &Path, doors: &Doors, (port, envoy_admin): (u16, u16), edits: &[(&str, &str)]) -> Option<Process> {
    let shipped = |name: &str| fs::read_to_string(root().join("deploy").join(name)).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let own = |address: u16| format!("127.0.0.1:{address}");
    let (front_address, application, door) = (own(port), own(doors.application), own(doors.forward_auth));
    match front {
        Front::Proxy => None,
        Front::EnvoyGrpc | Front::EnvoyManaged | Front::EnvoyGrpcPlainHeaders | Front::EnvoyUnix | Front::EnvoyHttp => {
            let changes =
                [("port_value: 10000", &*format!("port_value: {port}")), ("port_value: 3000", &format!("port_value: {}", doors.application))];
            let text = swap(&envoy_file(front, doors), &[edits, &changes].concat());
            let admin = format!("admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {envoy_admin}}}}}}}\n");
            write("envoy.yaml", &(patient(&text) + &admin));
            Some(Process::start("envoy", &tool("envoy"), folder, |command| {
                command.args(["-c", "envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]);
            }))
        }
        Front::Nginx => {
            let changes = [("127.0.0.1:10000", &*front_address), ("127.0.0.1:3000", &application), ("127.0.0.1:9192", &door)];
            write("nginx.conf", &patient(&swap(&shipped("nginx/nginx.conf"), &[edits, &changes].concat())));
            Some(nginx(folder))
        }
        Front::IngressNginx => {
            let ingress = swap(&shipped("ingress-nginx/ingress.yaml"), edits);
            write("nginx.conf", &ingress_nginx::configuration(&ingress, port, doors.application, doors.forward_auth));
            Some(nginx(folder))
        }
        Front::Traefik | Front::OlderTraefik => {
            let strategy = if front == Front::Traefik { "aliasHeadersStrategy: delete" } else { "aliasHeadersStrategy: keep" };
            let changes = [("127.0.0.1:10000", &*front_address), ("aliasHeadersStrategy: delete", strategy)];
            write("traefik.yaml", &swap(&shipped("traefik/traefik.yaml"), &changes));
            let changes = [("127.0.0.1:3000", &*application), ("127.0.0.1:9192", &door)];
            write("dynamic.yaml", &swap(&shipped("traefik/dynamic.yaml"), &[edits, &changes].concat()));
            Some(Process::start("traefik", &tool("traefik"), folder, |command| {
                command.arg("--configFile=traefik.yaml");
            }))
        }
        Front::Caddy => {
            let changes = [(":10000", &*format!(":{port}")), ("127.0.0.1:3000", &application), ("127.0.0.1:9192", &door)];
            write("Caddyfile", &swap(&shipped("caddy/Caddyfile"), &[edits, &changes].concat()));
            Some(Process::start("caddy", &tool("caddy"), folder, |command| {
                command.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]);
            }))
        }
    }
}

fn nginx(folder: &Path) -> Process {
    Process::start("nginx", &tool("nginx"), folder, |command| {
        command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
        // One process: a worker would outlive a master that is killed.
        command.args(["-e", "stderr", "-g", "daemon off; master_process off; error_log stderr warn;"]);
    })
}

/// The shipped file of an Envoy front, with its way to the gate.
fn envoy_file(front: Front, doors: &Doors) -> String {
    let shipped = |name: &str| fs::read_to_string(root().join("deploy/envoy").join(name)).unwrap();
    let grpc_port = || format!("port_value: {}", doors.ext_authz.rsplit(':').next().unwrap());
    match front {
        Front::EnvoyUnix => swap(&shipped("unix.yaml"), &[("/run/scopegate/authz.sock", doors.ext_authz.trim_start_matches("unix:"))]),
        Front::EnvoyManaged => {
            swap(&shipped("management.yaml"), &[("port_value: 9191", &grpc_port()), ("port_value: 8080", &format!("port_value: {}", doors.proxy))])
        }
        Front::EnvoyHttp => swap(&shipped("http.yaml"), &[("port_value: 9192", &format!("port_value: {}", doors.forward_auth))]),
        Front::EnvoyGrpcPlainHeaders => {
            swap(&shipped("grpc.yaml"), &[("encode_raw_headers: true", "encode_raw_headers: false"), ("port_value: 9191", &grpc_port())])
        }
        Front::EnvoyGrpc | Front::Nginx | Front::IngressNginx | Front::Traefik | Front::OlderTraefik | Front::Caddy | Front::Proxy => {
            swap(&shipped("grpc.yaml"), &[("port_value: 9191", &grpc_port())])
        }
    }
}

fn example(folder: &str, name: &str) -> String {
    fs::read_to_string(root().join("deploy/examples").join(folder).join(name)).unwrap()
}

/// Replaces each text by another, and insists that it was there. The head comment is a user's to read and stays out of it.
pub fn swap(text: &str, changes: &[(&str, &str)]) -> String {
    let mut text: String = text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect();
    // By way of a mark, so that nothing is changed twice: `127.0.0.1:30001` begins with another address.
    for (index, (from, _)) in changes.iter().enumerate() {
        assert!(text.contains(from), "the shipped file has no `{from}`");
        text = text.replace(from, &format!("\0{index}\0"));
    }
    for (index, (_, to)) in changes.iter().enumerate() {
        text = text.replace(&format!("\0{index}\0"), to);
    }
    text
}

/// A shipped file of a proxy that waits for the gate ten times as long as a service would want: the machine may be busy, and speed is not what
/// is tested.
pub fn patient(text: &str) -> String {
    let waits = [
        ("timeout: 0.5s", "timeout: 5s"),
        ("timeout: 0.1s", "timeout: 5s"),
        ("max_interval: 0.5s", "max_interval: 5s"),
        ("proxy_connect_timeout 2s", "proxy_connect_timeout 20s"),
        ("proxy_read_timeout 2s", "proxy_read_timeout 20s"),
    ];
    waits.iter().fold(text.to_owned(), |text, (shipped, wait)| text.replace(shipped, wait))
}
