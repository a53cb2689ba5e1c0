//! A collector that others wrote, before every kind of door: what it understands of spans, metrics and the log.

use super::at;
use crate::client::Ask;
use crate::process::{Process, free_port, tool};
use crate::stage::{Front, Stage};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[test]
fn an_ordinary_collector_understands_all_of_it() {
    for (front, door) in
        [(Front::Proxy, "proxy"), (Front::EnvoyGrpc, "ext_authz"), (Front::EnvoyHttp, "forward_auth"), (Front::Nginx, "forward_auth")]
    {
        let folder = tempfile::tempdir().unwrap();
        let (grpc, http) = (free_port(), free_port());
        let own = |port: u16| format!("127.0.0.1:{port}");
        let mut rotel = Process::start("rotel", &tool("rotel-agent"), folder.path(), |command| {
            command.args([
                "start",
                "--exporter",
                "blackhole",
                "--debug-log-verbosity",
                "detailed",
                "--log-file",
                "rotel.log",
                "--pid-file",
                "rotel.pid",
            ]);
            command.args(["--otlp-grpc-endpoint", &own(grpc), "--otlp-http-endpoint", &own(http)]);
            command.args(["--debug-log", "traces", "--debug-log", "metrics", "--debug-log", "logs"]);
        });
        rotel.until("listening", |_| std::net::TcpStream::connect(("127.0.0.1", grpc)).is_ok());
        let mut stage = Stage::start_with(front, &format!("telemetry: {{otlp: '{}'}}", at(grpc)));
        let ask = Ask::get("/pending").token(stage.token("operator-01")).header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"));
        assert_eq!(stage.ask(&ask).0.status, 200);
        stage.gate.signal("INT");
        assert_eq!(stage.gate.ended(), Some(0));
        let expected = [TRACE, "scopegate.decision", door, "operator-01", "scopegate.decisions", "AGGREGATION_TEMPORALITY", "SeverityText"];
        rotel.until("all three signals", |rotel| expected.iter().all(|text| rotel.said().contains(text)));
        assert!(!rotel.said().contains(stage.token("operator-01")));
    }
}
