//! What it costs to be told: the gRPC door with neither audit lines nor spans, with one of them and with both, taking turns in one run.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::{Request, Response, Status};

use crate::checks::{load, requests};
use crate::load::Measured;
use crate::processes::{Server, free_port, on_one_core, role, scopegate};
use crate::{Effort, Table, files};

/// Takes every span, and forgets it.
struct Collector;

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, _request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// This program as a collector.
pub fn collect(port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector));
    runtime.block_on(server.serve(([127, 0, 0, 1], port).into())).unwrap();
}

pub fn measure(effort: Effort, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let tokens = files::tokens(folder.path(), effort.tokens);
    let requests = requests(effort);
    let collector_port = free_port();
    let _collector = Server::start(&mut role("collector", collector_port), collector_port);
    let otlp = format!("otlp: {{endpoint: 'http://127.0.0.1:{collector_port}', signals: [traces]}}");
    let kinds = [
        ("neither", "audit: 'off'".to_owned()),
        ("audit lines", "audit: stdout".to_owned()),
        ("spans", format!("audit: 'off', {otlp}")),
        ("both", format!("audit: stdout, {otlp}")),
    ];
    let mut servers: Vec<(Server, Measured)> = Vec::new();
    for (name, telemetry) in &kinds {
        let (port, file) = (free_port(), folder.path().join(format!("{name}.yaml")));
        let more = format!("listen: {{ext_authz: 127.0.0.1:{port}, forward_auth: 'off', admin: 'off'}}\ntelemetry: {{{telemetry}}}");
        std::fs::write(&file, files::configuration(&tokens, effort.routes, &more)).unwrap();
        servers.push((Server::start(on_one_core(&scopegate()).arg("serve").arg("--config").arg(&file), port), Measured::default()));
    }
    for _ in 0..effort.rounds {
        for (server, measured) in &mut servers {
            measured.add(load(server, &requests, effort.time));
        }
    }
    let base = servers[0].1.cpu_micros();
    for ((name, _), (_, measured)) in kinds.iter().zip(&servers).skip(1) {
        let figure = format!("ext_authz CPU per check with {name} ÷ with neither ({:.1} µs, {base:.1} µs)", measured.cpu_micros());
        table.ratio(figure, (measured.cpu_micros(), base), if *name == "both" { "≤ 1.10" } else { "" });
    }
    let (both, none) = (servers[3].1.quantile(0.99), servers[0].1.quantile(0.99));
    table.ratio(format!("p99 with both ÷ with neither ({both:.0} µs, {none:.0} µs)"), (both, none), "");
}
