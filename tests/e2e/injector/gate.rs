//! The injected container, really started: its arguments, its files as a kubelet lays them out, an application behind it.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{Webhook, named, pod, proxy, transparent, with};
use crate::application::Application;
use crate::client::Ask;
use crate::helm::install::project;
use crate::network::{Network, POD, may_begin};
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
        furnish(root.path(), &pod, objects);
        let process = Process::start("scopegate", &scopegate(), root.path(), |command| {
            command.args(words(named(&pod["initContainers"], "scopegate"), root.path()));
        });
        Self { process, port, root, pod }
    }

    fn until_ready(&mut self, admin: u16) {
        let probe = &named(&self.pod["initContainers"], "scopegate")["startupProbe"]["exec"]["command"];
        let probe: Vec<String> =
            probe.as_array().unwrap().iter().map(|word| word.as_str().unwrap().replace("127.0.0.1:9190", &format!("127.0.0.1:{admin}"))).collect();
        self.process.until("ready", |_| {
            let mut command = Command::new(scopegate());
            command.args(&probe[1..]).env_clear().output().unwrap().status.success()
        });
    }

    fn ask(&self, path: &str, token: &str) -> u16 {
        let ask = Ask::get(path);
        (if token.is_empty() { ask } else { ask.token(token) }).send(self.port).status
    }
}

/// In transparent mode, on a machine that is the pod: the rules by the container that is to apply them, then the gate as its user.
struct Guarded {
    network: Network,
    application: Application,
    gate: Process,
    _root: TempDir,
}

impl Guarded {
    fn start(webhook: &Webhook) -> Self {
        let network = Network::new();
        let application = network.pod.enter(|| Application::at(TcpListener::bind(("::", 3000)).unwrap()));
        let pod = webhook.admit(&pod(&with(&transparent(), &[("/scopegate.dev~1upstream-port", json!("3000"))])))["spec"].clone();
        let root = tempfile::tempdir().unwrap();
        furnish(root.path(), &pod, &objects(9190, "GET /orders"));
        // All that the gate is to do in there, it does as the user of its container.
        for (path, mode) in [("", 0o755), ("var/lib/scopegate", 0o777)] {
            fs::set_permissions(root.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::copy(scopegate(), root.path().join("scopegate")).unwrap();
        let container = |name: &str| words(named(&pod["initContainers"], name), root.path());
        let rules = container("scopegate-intercept");
        let gate = container("scopegate");
        // Root with this one capability.
        let applied = network.pod.enter(|| {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--bounding-set=-all,+net_admin", "./scopegate"]).args(&rules).current_dir(root.path()).env_clear().output().unwrap()
        });
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        let gate = network.pod.enter(|| {
            let mut process = Process::start("scopegate", Path::new("/usr/bin/setpriv"), root.path(), |command| {
                command
                    .args(["--reuid", "65532", "--regid", "65532", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "./scopegate"])
                    .args(&gate);
            });
            process.until("ready", |_| Ask::get("/readyz").try_send(9190).is_ok_and(|answer| answer.status == 200));
            process
        });
        Self { network, application, gate, _root: root }
    }
}

/// A folder as the gate's container has it.
fn furnish(root: &Path, pod: &Json, objects: &[Json]) {
    for mount in named(&pod["initContainers"], "scopegate")["volumeMounts"].as_array().unwrap() {
        fs::create_dir_all(within(root, mount["mountPath"].as_str().unwrap())).unwrap();
    }
    project(&rooted(objects, root), pod, Path::new(&within(root, "/etc/scopegate")), "1");
}

fn words(container: &Json, root: &Path) -> Vec<String> {
    container["args"].as_array().unwrap().iter().map(|word| within(root, word.as_str().unwrap())).collect()
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
    // At its pod's end: the hook, long before the signal. `--pid`, because other tests have gates on this machine.
    let hook = &named(&sidecar.pod["initContainers"], "scopegate")["lifecycle"]["preStop"]["exec"]["command"];
    assert_eq!(*hook, json!(["scopegate", "retire"]));
    let told = Command::new(scopegate()).args(["retire", "--pid", &sidecar.process.id().to_string()]).output().unwrap();
    assert_eq!((told.status.code(), &*told.stdout), (Some(0), &b"retired\n"[..]), "{}", String::from_utf8_lossy(&told.stderr));
    sidecar.process.until("retired", |process| process.said().contains("\"retired\""));
    let answer = Ask::get("/health").send(sidecar.port);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    sidecar.process.signal("TERM");
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

#[test]
fn in_transparent_mode_nobody_reaches_the_application_past_the_gate() {
    if !may_begin("injector::gate::in_transparent_mode_nobody_reaches_the_application_past_the_gate") {
        return;
    }
    let webhook = Webhook::start(&["--address", "::"]);
    let mut guarded = Guarded::start(&webhook);
    let Network { client, .. } = &guarded.network;
    for ip in POD {
        let ask = |path: &str, token: Option<&str>| {
            let ask = Ask::get(path);
            client.ask(&token.map_or(ask.clone(), |token| ask.token(token)), ip, 3000).status
        };
        assert_eq!((ask("/orders", None), ask("/orders", Some(POOR)), ask("/elsewhere", Some(TOKEN))), (401, 403, 403), "{ip}");
        assert_eq!(guarded.application.take().len(), 0, "{ip}");
        assert_eq!((ask("/orders", Some(TOKEN)), ask("/health", None)), (200, 200), "{ip}");
        let seen = guarded.application.take();
        assert_eq!((seen.len(), seen[0].header("x-scopegate-id"), seen[0].header("authorization")), (2, Some("client"), None), "{ip}");
        // The gate's own port leads nowhere, and its operator's door is on loopback.
        assert_eq!(client.ask(&Ask::get("/orders").token(TOKEN), ip, 15206).status, 421, "{ip}");
        assert_eq!(client.connect(ip, 9190).unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{ip}");
    }
    guarded.gate.signal("INT");
    assert_eq!(guarded.gate.ended(), Some(0));
}
