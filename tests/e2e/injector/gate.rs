//! The injected container, really started: its arguments, its files as a kubelet lays them out, an application behind it.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{Webhook, named, pod, proxy, with};
use crate::application::Application;
use crate::client::Ask;
use crate::helm::install::project;
use crate::process::{Process, free_port, scopegate};

const TOKEN: &str = "canary-token-of-the-client-1";
const POOR: &str = "canary-token-of-a-poor-one-1";

/// The ConfigMap and the Secret that the pods name, with rules for more than one application.
fn objects(admin: u16, route: &str) -> Vec<Json> {
    let config = format!(
        "listen: {{admin: 127.0.0.1:{admin}}}\ncredentials:\n  tokens: {{kind: static, file: tokens/tokens.json}}\nroutes:\n  GET /health: public\n  {route}: orders:read\nkey_cache: /var/lib/scopegate/keys\n"
    );
    let tokens = json!([{"id": "client", "token": TOKEN, "scopes": ["orders:read"]}, {"id": "poor", "token": POOR, "scopes": ["other:read"]}]);
    vec![
        json!({"kind": "ConfigMap", "metadata": {"name": "shop-gate"}, "data": {"scopegate.yaml": config}}),
        json!({"kind": "Secret", "metadata": {"name": "shop-tokens"}, "data": {"tokens.json": STANDARD.encode(tokens.to_string())}}),
    ]
}

/// A pod's gate in a folder that stands for its container's root.
struct Sidecar {
    process: Process,
    port: u16,
    root: TempDir,
    pod: Json,
}

impl Sidecar {
    fn start(webhook: &Webhook, application: &Application, objects: &[Json]) -> Self {
        let port = free_port();
        let annotations = [
            ("/scopegate.dev~1upstream-port", json!(application.port.to_string())),
            ("/scopegate.dev~1port", json!(port.to_string())),
            ("/scopegate.dev~1tokens", json!("shop-tokens")),
        ];
        let pod = webhook.admit(&pod(&with(&proxy(), &annotations)))["spec"].clone();
        let root = tempfile::tempdir().unwrap();
        let container = named(&pod["initContainers"], "scopegate").clone();
        for mount in container["volumeMounts"].as_array().unwrap() {
            fs::create_dir_all(within(root.path(), mount["mountPath"].as_str().unwrap())).unwrap();
        }
        let config = within(root.path(), "/etc/scopegate");
        project(&rooted(objects, root.path()), &pod, Path::new(&config), "1");
        let process = Process::start("scopegate", &scopegate(), root.path(), |command| {
            command.args(container["args"].as_array().unwrap().iter().map(|word| within(root.path(), word.as_str().unwrap())));
        });
        Self { process, port, root, pod }
    }

    fn until_ready(&mut self, admin: u16) {
        let probe = &named(&self.pod["initContainers"], "scopegate")["startupProbe"]["exec"]["command"];
        let probe: Vec<String> =
            probe.as_array().unwrap().iter().map(|word| word.as_str().unwrap().replace("127.0.0.1:9190", &format!("127.0.0.1:{admin}"))).collect();
        self.process.until("ready", |_| {
            let mut command = std::process::Command::new(scopegate());
            command.args(&probe[1..]).env_clear().output().unwrap().status.success()
        });
    }

    fn ask(&self, path: &str, token: &str) -> u16 {
        let ask = Ask::get(path);
        (if token.is_empty() { ask } else { ask.token(token) }).send(self.port).status
    }
}

/// A path of the container's.
fn within(root: &Path, word: &str) -> String {
    if word.starts_with("/etc/scopegate") || word.starts_with("/var/lib/scopegate") { format!("{}{word}", root.display()) } else { word.to_owned() }
}

fn rooted(objects: &[Json], root: &Path) -> Vec<Json> {
    let state = within(root, "/var/lib/scopegate");
    let mut objects = objects.to_vec();
    let text = objects[0]["data"]["scopegate.yaml"].as_str().unwrap().replace("/var/lib/scopegate", &state);
    objects[0]["data"]["scopegate.yaml"] = json!(text);
    objects
}

#[test]
fn the_injected_gate_guards_a_real_application() {
    let webhook = Webhook::start(&["--address", "127.0.0.1"]);
    let (application, admin) = (Application::start(), free_port());
    let mut sidecar = Sidecar::start(&webhook, &application, &objects(admin, "GET /orders"));
    sidecar.until_ready(admin);
    assert_eq!(sidecar.ask("/orders", ""), 401);
    assert_eq!(sidecar.ask("/orders", "no-token-of-anybodys-1"), 401);
    assert_eq!(sidecar.ask("/orders", POOR), 403);
    assert_eq!(sidecar.ask("/elsewhere", TOKEN), 403);
    assert_eq!(application.take().len(), 0);
    assert_eq!((sidecar.ask("/orders", TOKEN), sidecar.ask("/health", "")), (200, 200));
    let seen = application.take();
    assert_eq!((seen.len(), seen[0].header("x-scopegate-id"), seen[0].header("authorization")), (2, Some("client"), None));
    // Nothing else of it listens: the operator's door, and this one.
    let serving = sidecar.process.said();
    assert!(serving.contains("ext_authz: None") && serving.contains("forward_auth: None"), "{serving}");
    sidecar.process.signal("INT");
    assert_eq!(sidecar.process.ended(), Some(0));
}

#[test]
fn one_configuration_serves_several_pods_and_a_reload_keeps_what_is_each_ones_own() {
    let webhook = Webhook::start(&["--address", "127.0.0.1"]);
    let applications = [Application::start(), Application::start()];
    let admins = [free_port(), free_port()];
    let mut pods: Vec<Sidecar> = Vec::new();
    for (application, admin) in applications.iter().zip(admins) {
        let mut sidecar = Sidecar::start(&webhook, application, &objects(admin, "GET /orders"));
        sidecar.until_ready(admin);
        pods.push(sidecar);
    }
    let each_asks_its_own = |pods: &[Sidecar], path: &str| {
        for (pod, application) in pods.iter().zip(&applications) {
            assert_eq!(pod.ask(path, TOKEN), 200);
            assert_eq!(application.take().len(), 1);
        }
        assert!(applications.iter().all(|application| application.take().is_empty()));
    };
    each_asks_its_own(&pods, "/orders");
    // At a signal, where nothing has changed on disk; then where the kubelet has brought a new ConfigMap.
    for pod in &mut pods {
        pod.process.signal("HUP");
        pod.process.until("reloaded", |process| process.said().contains("\"reloaded\"") && process.said().contains("\"trigger\":\"Signal\""));
    }
    each_asks_its_own(&pods, "/orders");
    for (pod, admin) in pods.iter_mut().zip(admins) {
        let folder = within(pod.root.path(), "/etc/scopegate");
        project(&rooted(&objects(admin, "GET /parcels"), pod.root.path()), &pod.pod, Path::new(&folder), "2");
        let (port, root) = (pod.port, pod.root.path().display().to_string());
        pod.process.until("the new rules hold", |_| Ask::get("/parcels").token(TOKEN).send(port).status == 200);
        assert!(!pod.process.said().contains("reload refused"), "{root}");
    }
    for application in &applications {
        application.take();
    }
    each_asks_its_own(&pods, "/parcels");
}
