//! A pod's containers, ports and volumes into what stands against a gate, and what its owner should know.
//! Believes no name: what is called like ours is ours only where it is the same.

use serde_json::{Map, Value};

use super::ask::{ADMIN, Ask, Mode, PORT};
use super::same;
use super::sidecar::{Additions, CONFIG, GATE, STATE};

/// Of a pod that a kubelet shows to the API server.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Containers of meshes that redirect connections to themselves.
const MESHES: [&str; 3] = ["istio-proxy", "linkerd-proxy", "kuma-sidecar"];
const AMBIENT: &str = "istio.io/dataplane-mode";

/// What a pod has.
pub struct Pod<'a> {
    meta: Option<&'a Value>,
    spec: &'a Map<String, Value>,
    containers: &'a [Value],
    pub init_containers: &'a [Value],
    pub volumes: &'a [Value],
    pub has_init_containers: bool,
    pub has_volumes: bool,
}

impl<'a> Pod<'a> {
    pub fn read(object: &'a Map<String, Value>) -> Result<Self, String> {
        let spec = object.get("spec").and_then(Value::as_object).ok_or("the pod has no `spec`")?;
        let list = |key: &str| match spec.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list.as_slice())),
            Some(_) => Err(format!("the pod's `spec.{key}` is no list")),
        };
        let (containers, init_containers, volumes) = (list("containers")?, list("initContainers")?, list("volumes")?);
        Ok(Self {
            meta: object.get("metadata"),
            spec,
            containers: containers.ok_or("the pod has no `spec.containers`")?,
            init_containers: init_containers.unwrap_or_default(),
            volumes: volumes.unwrap_or_default(),
            has_init_containers: init_containers.is_some(),
            has_volumes: volumes.is_some(),
        })
    }

    /// Whether its files have a group of its own (`fsGroup`).
    pub fn has_group(&self) -> bool {
        self.spec.get("securityContext").and_then(|security| security.get("fsGroup")).is_some_and(|group| !group.is_null())
    }

    /// `Err` says why it cannot have these additions.
    pub fn takes(&self, ask: &Ask, additions: &Additions) -> Result<(), String> {
        let is_true = |key: &str| self.spec.get(key).is_some_and(|value| *value == true);
        if is_true("hostNetwork") {
            return Err("the pod has `hostNetwork: true`: ports and rules would be its node's; leave one of the two out".into());
        }
        let os = self.spec.get("os").and_then(|os| os.get("name"));
        let node = self.spec.get("nodeSelector").and_then(|labels| labels.get("kubernetes.io/os"));
        if [os, node].into_iter().flatten().any(|os| os == "windows") {
            return Err("the pod is for Windows, where the gate does not run; leave the annotations out".into());
        }
        if self.says("annotations", MIRROR).is_some() {
            return Err("the pod is the image of a static one, whose manifest the kubelet runs as it is; write the gate into that manifest".into());
        }
        if let (Mode::Transparent(_), Some(mesh)) = (&ask.mode, self.mesh()) {
            return Err(format!(
                "{mesh}, which hands connections on over loopback, past the rules of mode `transparent`; take mode `proxy` behind a mesh"
            ));
        }
        self.has_no_other_of_our_names(additions)?;
        for container in self.others() {
            self.leaves_our_ports(container, ask)?;
            if let Some(volume) = [CONFIG, STATE].into_iter().find(|volume| mounts(container, volume)) {
                return Err(format!("container `{}` mounts `{volume}`, which is the gate's alone; take that mount away", name(container)));
            }
        }
        Ok(())
    }

    fn says(&self, kind: &str, name: &str) -> Option<&'a str> {
        self.meta?.get(kind)?.get(name)?.as_str()
    }

    /// What tells that a mesh takes its connections, as far as the pod shows it: a mesh that asks its nodes alone does not.
    fn mesh(&self) -> Option<String> {
        let proxy = self.others().map(name).find(|name| MESHES.contains(name));
        let ambient = self.says("labels", AMBIENT) == Some("ambient");
        proxy
            .map(|name| format!("the pod has the proxy of a mesh, `{name}`"))
            .or_else(|| ambient.then(|| format!("the pod's label `{AMBIENT}` puts it into a mesh")))
    }

    /// Every container but those of ours.
    fn others(&self) -> impl Iterator<Item = &'a Value> {
        let ours = |container: &&Value| is_our_name(name(container));
        self.init_containers.iter().filter(move |container| !ours(container)).chain(self.containers)
    }

    fn has_no_other_of_our_names(&self, additions: &Additions) -> Result<(), String> {
        let right = "names that begin with `scopegate` are the injector's, call it otherwise";
        if let Some(container) = self.containers.iter().find(|container| is_our_name(name(container))) {
            return Err(format!("container `{}` is called like the gate; {right}", name(container)));
        }
        for have in self.init_containers.iter().filter(|container| is_our_name(name(container))) {
            let want = additions.init_containers().find(|want| name(want) == name(have));
            let Some(want) = want else { return Err(format!("init container `{}` is called like the gate; {right}", name(have))) };
            if let Some(field) = same::container(have, want) {
                return Err(format!("init container `{}` is not the one that is injected: its `{field}` differs; {right}", name(have)));
            }
        }
        for have in self.volumes.iter().filter(|volume| is_our_name(name(volume))) {
            let want = additions.volumes.iter().find(|want| name(want) == name(have));
            let Some(want) = want else { return Err(format!("volume `{}` is called like the gate's; {right}", name(have))) };
            if let Some(field) = same::volume(have, want) {
                return Err(format!("volume `{}` is not the one that is injected: its `{field}` differs; {right}", name(have)));
            }
        }
        Ok(())
    }

    fn leaves_our_ports(&self, container: &Value, ask: &Ask) -> Result<(), String> {
        for port in ports(container) {
            let name = name(container);
            if is_port(port, ask.port) {
                return Err(format!("container `{name}` has port {}, which is the gate's; set `{PORT}` to another", ask.port));
            }
            if is_port(port, ADMIN) {
                return Err(format!("container `{name}` has port {ADMIN}, which is the gate's operator door; the container needs another"));
            }
            // A Service that sends to `gate` would send to whichever comes first.
            if port.get("name").is_some_and(|name| name == "gate") {
                return Err(format!("container `{name}` calls a port `gate`, as the gate's is; call it otherwise"));
            }
        }
        Ok(())
    }

    /// What works otherwise with a gate than its owner may think.
    pub fn warnings(&self, ask: &Ask) -> Vec<String> {
        let mut warnings = Vec::new();
        for container in self.others() {
            match &ask.mode {
                Mode::Proxy(upstream) => behind(container, *upstream, ask.port, &mut warnings),
                Mode::Transparent(guarded) => {
                    let meets = |port| port != ask.port && port != ADMIN && guarded.contains(port);
                    for port in elements(container, "ports").filter(|port| port.get("protocol").is_some_and(|protocol| protocol == "UDP")) {
                        if let Some(number) = number(port).filter(|number| guarded.contains(*number)) {
                            warnings.push(format!("container `{}` has port {number} by UDP too, which is not redirected", name(container)));
                        }
                    }
                    for (probe, way, port) in probes(container).filter(|(_, _, port)| meets(*port)) {
                        let name = name(container);
                        warnings.push(if way == "tcpSocket" {
                            format!("{probe} of `{name}` connects to port {port}, where the gate answers whether the application listens or not")
                        } else {
                            format!("{probe} of `{name}` asks port {port}, where the gate stands: it fails unless the route is `public`")
                        });
                    }
                }
            }
        }
        if self.spec.get("shareProcessNamespace").is_some_and(|value| *value == true) {
            warnings.push("`shareProcessNamespace` lets the other containers see and signal the gate's process".into());
        }
        warnings
    }
}

/// Of an application whose port clients could reach past the gate.
fn behind(container: &Value, upstream: u16, gate: u16, warnings: &mut Vec<String>) {
    let name = name(container);
    if ports(container).any(|port| is_port(port, upstream)) {
        warnings.push(format!(
            "container `{name}` declares port {upstream}: whoever reaches the pod there is past the gate, unless it listens on 127.0.0.1 alone"
        ));
    }
    for (probe, _, _) in probes(container).filter(|(_, _, port)| *port == upstream) {
        warnings.push(format!(
            "{probe} of `{name}` asks port {upstream} of the pod's address, where nobody should listen; probe by `exec`, or port {gate} and a `public` route"
        ));
    }
}

fn is_our_name(name: &str) -> bool {
    name.strip_prefix(GATE).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn name(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn elements<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn ports(container: &Value) -> impl Iterator<Item = &Value> {
    elements(container, "ports").filter(|port| port.get("protocol").is_none_or(|protocol| protocol == "TCP"))
}

fn number(port: &Value) -> Option<u16> {
    u16::try_from(port.get("containerPort")?.as_u64()?).ok()
}

fn is_port(port: &Value, number: u16) -> bool {
    port.get("containerPort").is_some_and(|port| *port == number)
}

fn mounts(container: &Value, volume: &str) -> bool {
    elements(container, "volumeMounts").any(|mount| name(mount) == volume)
}

/// What the kubelet asks from outside of the pod, probes and hooks: their name, their way and their port.
fn probes(container: &Value) -> impl Iterator<Item = (&'static str, &'static str, u16)> {
    let names = ["startupProbe", "readinessProbe", "livenessProbe", "postStart", "preStop"];
    names.into_iter().flat_map(move |probe| {
        ["httpGet", "tcpSocket", "grpc"].into_iter().filter_map(move |way| {
            let asked = container.get(probe).or_else(|| container.get("lifecycle")?.get(probe))?.get(way)?;
            // Another host is not the pod's affair.
            let is_here = asked.get("host").and_then(Value::as_str).is_none_or(str::is_empty);
            let port = asked.get("port")?;
            let named = || ports(container).find(|known| known.get("name").is_some_and(|name| name == port))?.get("containerPort")?.as_u64();
            let number = port.as_u64().or_else(named).filter(|_| is_here)?;
            Some((probe, way, u16::try_from(number).ok()?))
        })
    })
}
