//! The gate and four proxies, each before a recorder of its own, as plain as they can be set.
//! Sets nothing that makes one of them stricter than it comes, and where they refuse what is valid by default, has them accept it.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::recorder::{MARKER, Recorder};
use crate::client::Ask;
use crate::gate::{Desk, Gate};
use crate::process::{Process, free_port, tool};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the first byte of a connection, where requests without a body take their short way.
    Gate,
    /// After a request with a body, so that everything takes the long way.
    GateLong,
    Nginx,
    Haproxy,
    Caddy,
    Envoy,
}

pub const PEERS: [Kind; 4] = [Kind::Nginx, Kind::Haproxy, Kind::Caddy, Kind::Envoy];

#[derive(Debug)]
pub struct Program {
    pub kind: Kind,
    pub port: u16,
    pub recorder: Recorder,
    _process: Running,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held so that it runs")]
enum Running {
    Gate(Box<Gate>),
    Other(Process, TempDir),
}

impl Program {
    pub fn start(kind: Kind) -> Self {
        let recorder = Recorder::start();
        let (port, process) = match kind {
            Kind::Gate | Kind::GateLong => {
                let config = json!({
                    "upstream": format!("http://127.0.0.1:{}", recorder.port),
                    "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
                    "routes": {"/{rest...}": "public"},
                });
                let gate = Desk::new().file("tokens.json", r#"[{"id": "any", "token": "token-of-anybody-1", "scopes": ["any:use"]}]"#).serve(&config);
                (gate.door(), Running::Gate(Box::new(gate)))
            }
            Kind::Nginx => nginx(recorder.port),
            Kind::Haproxy => haproxy(recorder.port),
            Kind::Caddy => caddy(recorder.port),
            Kind::Envoy => envoy(recorder.port),
        };
        let program = Self { kind, port, recorder, _process: process };
        crate::process::until("a marker's answer", || program.marker());
        program
    }

    /// Whether a request of ours comes through.
    pub fn marker(&self) -> bool {
        Ask::get(MARKER).try_send(self.port).is_ok_and(|answer| answer.status == 200)
    }
}

fn run(name: &str, file: &str, config: &str, arguments: &[&str]) -> Running {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(file), config).unwrap();
    let process = Process::start(name, &tool(name), folder.path(), |command| {
        // HAProxy's libraries are beside it.
        let libraries = tool(name).canonicalize().unwrap().with_file_name("lib");
        command.args(arguments).env("LD_LIBRARY_PATH", libraries);
        if name == "nginx" {
            command.arg("-p").arg(folder.path());
        }
    });
    Running::Other(process, folder)
}

fn nginx(upstream: u16) -> (u16, Running) {
    let port = free_port();
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\nevents {{ worker_connections 1024; }}\nhttp {{\n access_log off;\n \
         client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n \
         server {{ listen 127.0.0.1:{port}; server_name a;\n  location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; \
         proxy_request_buffering off; proxy_set_header Host $host; proxy_set_header Connection \"\"; }} }} }}\n"
    );
    (port, run("nginx", "nginx.conf", &config, &["-e", "stderr", "-c", "nginx.conf"]))
}

fn haproxy(upstream: u16) -> (u16, Running) {
    let port = free_port();
    let config = format!(
        "global\n nbthread 1\n maxconn 1000\ndefaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n \
         frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s 127.0.0.1:{upstream}\n"
    );
    (port, run("haproxy", "haproxy.cfg", &config, &["-db", "-f", "haproxy.cfg"]))
}

fn caddy(upstream: u16) -> (u16, Running) {
    let port = free_port();
    let config = format!("{{\n admin off\n auto_https off\n}}\nhttp://:{port} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{upstream}\n}}\n");
    (port, run("caddy", "Caddyfile", &config, &["run", "--config", "Caddyfile", "--adapter", "caddyfile"]))
}

fn envoy(upstream: u16) -> (u16, Running) {
    let port = free_port();
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let types = "type.googleapis.com/envoy.extensions.filters";
    let manager = json!({
        "@type": format!("{types}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "f",
        "http_protocol_options": {"accept_http_10": true, "default_host_for_http_10": "a", "enable_trailers": true},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": format!("{types}.http.router.v3.Router")}}],
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "u"}}]}]},
    });
    let config = json!({"static_resources": {
        "listeners": [{"address": address(port), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
        "clusters": [{"name": "u", "connect_timeout": "2s", "load_assignment": {"cluster_name": "u",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}]}}],
    }});
    (port, run("envoy", "envoy.yaml", &config.to_string(), &["-c", "envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "off"]))
}
