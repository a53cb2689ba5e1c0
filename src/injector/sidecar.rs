//! What a pod asks for into the containers and volumes that it gets, as the API server would hold them.
//! The same as the chart's and `deploy/kubernetes/sidecar.yaml`'s gate; says every field that has a default, so that none changes it later.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Settings;
use super::ask::{ADMIN, Ask, Mode};

pub const GATE: &str = "scopegate";
pub const INTERCEPT: &str = "scopegate-intercept";
pub const CONFIG: &str = "scopegate-config";
pub const STATE: &str = "scopegate-state";

/// Of the mounted files: for the pod's group where it has one, or else for anybody, since only the gate's container has them.
pub const MODES: [u32; 2] = [0o440, 0o444];

/// What is to be in the pod.
#[derive(Debug)]
pub struct Additions {
    pub gate: Value,
    /// In transparent mode.
    pub intercept: Option<Value>,
    pub volumes: Vec<Value>,
}

impl Additions {
    /// `has_group`: the files of the pod have a group of its own, which is not ours to set.
    pub fn new(ask: &Ask, has_group: bool, settings: &Settings) -> Self {
        Self { gate: gate(ask, settings), intercept: intercept(ask, settings), volumes: vec![config(ask, has_group), state()] }
    }

    /// Everything, by name.
    pub fn init_containers(&self) -> impl Iterator<Item = &Value> {
        self.intercept.iter().chain([&self.gate])
    }
}

fn gate(ask: &Ask, settings: &Settings) -> Value {
    let door = SocketAddr::new(settings.address, ask.port).to_string();
    let upstream = match &ask.mode {
        Mode::Proxy(port) => format!("http://127.0.0.1:{port}"),
        Mode::Transparent(_) => "original_destination".to_owned(),
    };
    let file = ["serve", "--config", "/etc/scopegate/scopegate.yaml"];
    let args = [&file[..], &["--upstream", &upstream, "--proxy", &door, "--ext-authz", "off", "--forward-auth", "off"]].concat();
    let ready = json!({"command": ["scopegate", "healthcheck", "--address", format!("127.0.0.1:{ADMIN}")]});
    let live = json!({"command": ["scopegate", "healthcheck", "--address", format!("127.0.0.1:{ADMIN}"), "--live"]});
    json!({
        "name": GATE,
        "image": settings.image,
        "restartPolicy": "Always",
        "args": args,
        "ports": [{"name": "gate", "containerPort": ask.port, "protocol": "TCP"}],
        // The application starts behind it. What it waits for (a store, keys of an issuer) does not come sooner by a restart: an hour.
        "startupProbe": {"exec": ready, "timeoutSeconds": 2, "periodSeconds": 1, "successThreshold": 1, "failureThreshold": 3600},
        "readinessProbe": {"exec": ready, "timeoutSeconds": 2, "periodSeconds": 5, "successThreshold": 1, "failureThreshold": 2},
        // Its SIGTERM comes after the application has ended: clients are sent away before.
        "lifecycle": {"preStop": {"exec": {"command": ["scopegate", "retire"]}}},
        // Alive is not ready: a gate that drains is not to be killed for it.
        "livenessProbe": {"exec": live, "timeoutSeconds": 2, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 6},
        "resources": settings.resources,
        "securityContext": restricted(settings.user),
        "volumeMounts": [
            {"name": CONFIG, "mountPath": "/etc/scopegate", "readOnly": true},
            {"name": STATE, "mountPath": "/var/lib/scopegate"},
        ],
        "terminationMessagePath": "/dev/termination-log",
        // `kubectl describe pod` then shows the faults of a configuration.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

fn restricted(user: Option<u32>) -> Value {
    let mut security = json!({
        "runAsNonRoot": true,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if let (Some(user), Some(fields)) = (user, security.as_object_mut()) {
        fields.extend(["runAsUser", "runAsGroup"].map(|key| (key.to_owned(), user.into())));
    }
    security
}

/// Rules need a capability that the gate is never to have.
fn intercept(ask: &Ask, settings: &Settings) -> Option<Value> {
    let Mode::Transparent(ports) = &ask.mode else { return None };
    let (port, ports, except) = (ask.port.to_string(), ports.to_string(), ADMIN.to_string());
    Some(json!({
        "name": INTERCEPT,
        "image": settings.image,
        "args": ["intercept", "--apply", "--port", port, "--ports", ports, "--except", except],
        "resources": settings.resources,
        "securityContext": {
            "runAsNonRoot": false,
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }))
}

fn config(ask: &Ask, has_group: bool) -> Value {
    let [for_group, for_all] = MODES;
    let mut sources = vec![json!({"configMap": {"name": ask.config, "items": [{"key": "scopegate.yaml", "path": "scopegate.yaml"}]}})];
    if let Some(name) = &ask.tokens {
        sources.push(json!({"secret": {"name": name, "items": [{"key": "tokens.json", "path": "tokens/tokens.json"}]}}));
    }
    json!({"name": CONFIG, "projected": {"defaultMode": if has_group { for_group } else { for_all }, "sources": sources}})
}

fn state() -> Value {
    // In memory: a pod with a part of its node's disk is not moved to another node by whoever makes room.
    json!({"name": STATE, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}})
}
