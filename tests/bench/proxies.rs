//! The proxy door, which authenticates, against proxies that do not; the same upstream behind all of them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::load::{Measured, load};
use crate::processes::{Server, free_port, on_one_core, role, scopegate, tool};
use crate::{Effort, Table, files};

/// Answers every request with a few bytes.
pub fn upstream(port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let answer =
                service_fn(|_| async { Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(bytes::Bytes::from_static(b"hello")))) });
            tokio::task::spawn_local(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
}

pub fn requests(effort: Effort) -> Arc<[String]> {
    let spread = |number: usize, bound: usize| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % bound;
    let request = |number| {
        let (target, token) = (files::target(spread(number, effort.routes)), files::token(spread(number, effort.tokens)));
        format!("GET {target} HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    (0..8192).map(request).collect::<Vec<_>>().into()
}

/// The gate before `upstream`, its proxy door open alone; `said` is a further line of its configuration.
pub fn gate(folder: &Path, effort: Effort, (upstream, cores): (u16, Option<()>), said: &str) -> Server {
    let port = free_port();
    let tokens = files::tokens(folder, effort.tokens);
    let more = format!(
        "listen: {{proxy: 127.0.0.1:{port}, ext_authz: 'off', forward_auth: 'off', admin: 'off'}}\nupstream: http://127.0.0.1:{upstream}\n{said}"
    );
    let config = folder.join(format!("scopegate-{port}.yaml"));
    std::fs::write(&config, files::configuration(&tokens, effort.routes, &more)).unwrap();
    let mut command = if cores.is_some() { Command::new(scopegate()) } else { on_one_core(&scopegate()) };
    Server::start(command.arg("serve").arg("--config").arg(&config), port)
}

fn haproxy(folder: &Path, upstream: u16) -> Option<Server> {
    let (port, config) = (free_port(), folder.join("haproxy.cfg"));
    let text = format!(
        "global\n nbthread 1\n maxconn 1000\ndefaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n http-reuse always\n\
         frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s 127.0.0.1:{upstream}\n"
    );
    std::fs::write(&config, text).unwrap();
    let program = tool("haproxy")?;
    // Its libraries are beside it in the wheel.
    let libraries = program.with_file_name("lib");
    Some(Server::start(on_one_core(&program).env("LD_LIBRARY_PATH", libraries).arg("-db").arg("-f").arg(&config), port))
}

fn nginx(folder: &Path, upstream: u16) -> Option<Server> {
    let (port, config) = (free_port(), folder.join("nginx.conf"));
    let text = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\nevents {{ worker_connections 1024; }}\nhttp {{\n access_log off;\n \
         client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n keepalive_requests 100000000;\n \
         upstream u {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}\n server {{ listen 127.0.0.1:{port};\n  \
         location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
    );
    std::fs::write(&config, text).unwrap();
    Some(Server::start(on_one_core(&tool("nginx")?).arg("-p").arg(folder).arg("-c").arg(&config), port))
}

/// `checker` is the port of an ext_authz server that is asked before each request.
fn envoy(folder: &Path, upstream: u16, checker: Option<u16>) -> Option<Server> {
    let (port, config) = (free_port(), folder.join(format!("envoy-{}.yaml", checker.is_some())));
    let endpoint = |name: &str, port: u16, more: &str| {
        format!(
            "    - name: {name}\n      connect_timeout: 2s\n{more}      load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: \
             [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}\n"
        )
    };
    let types = "type.googleapis.com/envoy.extensions";
    let filter = checker.map_or(String::new(), |_| {
        format!(
            "                - name: envoy.filters.http.ext_authz\n                  typed_config: {{\"@type\": \
             {types}.filters.http.ext_authz.v3.ExtAuthz, transport_api_version: V3, grpc_service: {{envoy_grpc: {{cluster_name: checker}}, timeout: 1s}}}}\n"
        )
    });
    let http2 = format!(
        "      typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{\"@type\": \
         {types}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {{http2_protocol_options: {{}}}}}}}}\n"
    );
    let text = format!(
        "static_resources:\n  listeners:\n    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}\n      filter_chains:\n        - filters:\n            \
         - name: http\n              typed_config:\n                \"@type\": \
         {types}.filters.network.http_connection_manager.v3.HttpConnectionManager\n                stat_prefix: f\n                http_filters:\n{filter}                \
         - name: envoy.filters.http.router\n                  typed_config: {{\"@type\": {types}.filters.http.router.v3.Router}}\n                route_config: {{virtual_hosts: \
         [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: upstream}}}}]}}]}}\n  clusters:\n{}{}",
        endpoint("upstream", upstream, ""),
        checker.map_or(String::new(), |port| endpoint("checker", port, &http2)),
    );
    std::fs::write(&config, text).unwrap();
    let mut command = on_one_core(&tool("envoy")?);
    Some(Server::start(command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "off", "-c"]).arg(&config), port))
}

pub fn measure(effort: Effort, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let requests = requests(effort);
    let upstream_port = free_port();
    let _upstream = Server::start(Command::new(std::env::current_exe().unwrap()).args(["upstream", &upstream_port.to_string()]), upstream_port);
    let checker_port = free_port();
    let checker = Server::start(&mut role("no-op", checker_port), checker_port);
    let quiet = gate(folder.path(), effort, (upstream_port, None), "telemetry: {audit: 'off'}");
    let gate = gate(folder.path(), effort, (upstream_port, None), "");
    let mut peers = vec![
        ("HAProxy plain", "≤ 0.80", haproxy(folder.path(), upstream_port), None, Measured::default()),
        ("nginx plain", "≤ 0.90", nginx(folder.path(), upstream_port), None, Measured::default()),
        ("Envoy plain", "≤ 0.20", envoy(folder.path(), upstream_port, None), None, Measured::default()),
        ("Envoy with ext_authz", "≤ 0.09", envoy(folder.path(), upstream_port, Some(checker_port)), Some(&checker), Measured::default()),
    ];
    let (mut ours, mut unsaid) = (Measured::default(), Measured::default());
    for _ in 0..effort.rounds {
        ours.add(load(&gate, &requests, effort.time));
        unsaid.add(load(&quiet, &requests, effort.time));
        for (_, _, server, beside, measured) in &mut peers {
            let Some(server) = server else { continue };
            // The warm-up of a quarter is in the checker's time as well.
            let before = beside.map_or(0.0, Server::cpu);
            let mut round = load(server, &requests, effort.time);
            round.cpu += beside.map_or(0.0, |beside| (beside.cpu() - before) / 1.25);
            measured.add(round);
        }
    }
    for (name, target, server, _, measured) in &peers {
        let figure = format!("proxy door CPU per request ÷ {name} ({:.1} µs, {:.1} µs)", ours.cpu_micros(), measured.cpu_micros());
        match server {
            Some(_) => table.ratio(figure, (ours.cpu_micros(), measured.cpu_micros()), target),
            None => table.row(format!("proxy door CPU per request ÷ {name}"), "not installed", *target),
        }
        table.row(
            format!("  p99 of {name} at full load, requests that failed"),
            format!("{:.0} µs, {}", measured.quantile(0.99), measured.failed),
            "",
        );
    }
    // HAProxy, nginx and Envoy write no log here.
    let (peer, plain) = peers.first().map(|(name, _, _, _, measured)| (*name, measured.cpu_micros())).unwrap();
    table.ratio(format!("the same without audit lines ÷ {peer} ({:.1} µs)", unsaid.cpu_micros()), (unsaid.cpu_micros(), plain), "≤ 0.80");
    table.row("  p99 of the proxy door at full load, requests that failed", format!("{:.0} µs, {}", ours.quantile(0.99), ours.failed), "");
}
