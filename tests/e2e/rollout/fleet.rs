//! Gates that come and go behind one Envoy, which hears of their addresses as from a control plane: by a file that is moved into place.
//! Tells Envoy of no gate's going before that gate is gone, as an orchestrator that is late.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::load::{READER, WRITER};
use crate::application::Application;
use crate::client::Ask;
use crate::process::{Process, free_port, root, scopegate, tool};
use crate::stage::{patient, swap};

/// What Envoy asks or passes requests to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    ExtAuthz,
    ProxyDoor,
}

#[derive(Debug)]
pub struct Replica {
    pub process: Process,
    door: u16,
    admin: u16,
}

impl Replica {
    /// How many requests it has decided on.
    pub fn decisions(&self) -> u64 {
        let metrics = Ask::get("/metrics").send(self.admin).body();
        let lines = metrics.lines().filter(|line| line.starts_with("scopegate_decisions_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

#[derive(Debug)]
pub struct Fleet {
    pub application: Application,
    pub port: u16,
    before: Before,
    settings: String,
    folder: TempDir,
    made: usize,
    /// What Envoy was told: the port of each gate's door, and of its operator's door where that says how it is.
    listed: Vec<(u16, Option<u16>)>,
    envoy: Process,
    envoy_admin: u16,
}

impl Fleet {
    /// Envoy with the shipped file, its changes, and no gate yet; `settings` are lines of the gates' configuration.
    pub fn start(before: Before, settings: &str, changes: &[(&str, &str)]) -> Self {
        let (folder, application) = (tempfile::tempdir().unwrap(), Application::start());
        let tokens = json!([
            {"id": "reader", "token": READER, "scopes": ["orders:read"]},
            {"id": "writer", "token": WRITER, "scopes": ["orders:write"]},
        ]);
        fs::write(folder.path().join("tokens.json"), tokens.to_string()).unwrap();
        let (port, envoy_admin) = (free_port(), free_port());
        fs::write(folder.path().join("envoy.yaml"), envoy(before, &folder, (port, envoy_admin, application.port), changes)).unwrap();
        publish(&folder, &[]);
        let mut envoy = Process::start("envoy", &tool("envoy"), folder.path(), |command| {
            command.args(["-c", "envoy.yaml", "--concurrency", "2", "--disable-hot-restart", "-l", "warn"]);
        });
        envoy.until("live", |_| Ask::get("/ready").try_send(envoy_admin).is_ok_and(|answer| answer.status == 200));
        let settings = settings.to_owned();
        Self { application, port, before, settings, folder, made: 0, listed: Vec::new(), envoy, envoy_admin }
    }

    /// One more gate, once Envoy knows it to be well.
    pub fn add(&mut self) -> Replica {
        self.made += 1;
        let (name, door, admin) = (format!("gate-{}", self.made), free_port(), free_port());
        let doors = match self.before {
            Before::ExtAuthz => format!("proxy: 'off', ext_authz: 127.0.0.1:{door}"),
            Before::ProxyDoor => format!("proxy: 127.0.0.1:{door}, ext_authz: 'off'"),
        };
        let config = format!(
            "upstream: http://127.0.0.1:{}\nlisten: {{{doors}, forward_auth: 'off', admin: 127.0.0.1:{admin}}}\ncredentials: {{tokens: {{kind: static, file: tokens.json}}}}\nroutes: {{GET /orders: orders:read, POST /orders: orders:write, /open: public, /long: public, /feed: orders:read}}\ntelemetry: {{audit: off}}\n{}",
            self.application.port, self.settings
        );
        fs::write(self.folder.path().join(format!("{name}.yaml")), config).unwrap();
        let mut process = Process::start(&name, &scopegate(), self.folder.path(), |command| {
            command.args(["serve", "--config", &format!("{name}.yaml")]);
        });
        process.until("ready", |_| Ask::get("/readyz").try_send(admin).is_ok_and(|answer| answer.status == 200));
        let replica = Replica { process, door, admin };
        self.listed.push((door, (self.before == Before::ProxyDoor).then_some(admin)));
        publish(&self.folder, &self.listed);
        self.until(&replica, "is well", |flags| flags == Some("healthy"));
        replica
    }

    /// Waits for Envoy's opinion of a gate.
    pub fn until(&mut self, replica: &Replica, what: &str, is_so: impl Fn(Option<&str>) -> bool) {
        let (admin, start) = (self.envoy_admin, format!("scopegate::127.0.0.1:{}::health_flags::", replica.door));
        self.envoy.until(what, |_| {
            let clusters = Ask::get("/clusters").send(admin).body();
            is_so(clusters.lines().find_map(|line| line.strip_prefix(&*start)))
        });
    }

    /// Envoy hears that they are gone.
    pub fn forget(&mut self, gone: &[Replica]) {
        self.listed.retain(|(door, _)| gone.iter().all(|replica| replica.door != *door));
        publish(&self.folder, &self.listed);
        for replica in gone {
            self.until(replica, "is forgotten", |flags| flags.is_none());
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let counts = Ask::get("/stats?usedonly&filter=scopegate|ext_authz").try_send(self.envoy_admin);
            eprintln!("--- envoy counted:\n{}", counts.map_or_else(|error| error.to_string(), |answer| answer.body()));
        }
    }
}

/// The shipped file with its ports, and the gates' addresses from a file.
fn envoy(before: Before, folder: &TempDir, (port, admin, application): (u16, u16, u16), changes: &[(&str, &str)]) -> String {
    let file = match before {
        Before::ExtAuthz => "grpc.yaml",
        Before::ProxyDoor => "replicas.yaml",
    };
    let shipped = fs::read_to_string(root().join("deploy/envoy").join(file)).unwrap();
    let start = shipped.find("      load_assignment:\n        cluster_name: scopegate\n").unwrap();
    let place = folder.path().display();
    let source = format!(
        "      type: EDS\n      eds_cluster_config: {{eds_config: {{resource_api_version: V3, path_config_source: {{path: {place}/endpoints.json, watched_directory: {{path: {place}}}}}}}}}\n"
    );
    let (port, application) = (format!("port_value: {port}"), format!("port_value: {application}"));
    let mut all = vec![("port_value: 10000", &*port), (&shipped[start..], &source)];
    if before == Before::ExtAuthz {
        all.push(("port_value: 3000", &*application));
    }
    all.extend(changes);
    let own = format!("node: {{id: front, cluster: front}}\nadmin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}\n");
    patient(&swap(&shipped, &all)) + &own
}

/// Moved into place, as Envoy wants it.
fn publish(folder: &TempDir, listed: &[(u16, Option<u16>)]) {
    let endpoint = |(door, admin): &(u16, Option<u16>)| {
        let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": door}});
        let check = admin.map_or_else(|| json!({}), |admin| json!({"port_value": admin}));
        json!({"endpoint": {"address": address, "health_check_config": check}})
    };
    let assignment = json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "scopegate",
        "endpoints": [{"lb_endpoints": listed.iter().map(endpoint).collect::<Vec<_>>()}],
    });
    let next = folder.path().join("endpoints.next");
    fs::write(&next, json!({"resources": [assignment]}).to_string()).unwrap();
    fs::rename(next, folder.path().join("endpoints.json")).unwrap();
}
