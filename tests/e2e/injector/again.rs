//! A pod that comes a second time, whatever the API server and other webhooks did with it meanwhile.

use serde_json::{Value as Json, json};

use super::{UID, Webhook, bare, named, pod, proxy, transparent, with};
use crate::helm::faults;

/// What the API server fills in when it has a patched pod before it: defaults, and what its own plugins add to each container.
fn defaulted(pod: &Json) -> Json {
    let mut pod = pod.clone();
    let token = json!({"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true});
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().unwrap() {
            let missing = [
                ("imagePullPolicy", json!("IfNotPresent")),
                ("terminationMessagePath", json!("/dev/termination-log")),
                ("terminationMessagePolicy", json!("File")),
                ("resources", json!({})),
            ];
            for (field, value) in missing {
                container.as_object_mut().unwrap().entry(field).or_insert(value);
            }
            let container = container.as_object_mut().unwrap();
            let mounts = container.entry("volumeMounts").or_insert(json!([])).as_array_mut().unwrap();
            if !mounts.contains(&token) {
                mounts.push(token.clone());
            }
            // A LimitRange.
            container["resources"].as_object_mut().unwrap().entry("limits").or_insert(json!({}))["cpu"] = json!("2");
        }
    }
    pod
}

/// What Istio makes of a pod with native sidecars: rules and proxy first, volumes, an environment and mounts of its own.
fn meshed(pod: &Json) -> Json {
    let mut pod = pod.clone();
    let init = pod["spec"]["initContainers"].as_array_mut().unwrap();
    let image = "docker.io/istio/proxyv2:1.29.0";
    let rules = json!({
        "name": "istio-init", "image": image, "args": ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337"],
        "securityContext": {"runAsUser": 0, "runAsNonRoot": false, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}},
    });
    let proxy = json!({
        "name": "istio-proxy", "image": image, "args": ["proxy", "sidecar"], "restartPolicy": "Always",
        "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}],
        "startupProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}, "periodSeconds": 1},
        "env": [{"name": "PROXY_CONFIG", "value": "{}"}],
        "volumeMounts": [{"name": "istio-envoy", "mountPath": "/etc/istio/proxy"}, {"name": "istio-token", "mountPath": "/var/run/secrets/tokens"}],
    });
    init.splice(0..0, [rules, proxy]);
    let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
    volumes.insert(0, json!({"name": "istio-envoy", "emptyDir": {"medium": "Memory"}}));
    volumes
        .push(json!({"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {"path": "istio-token", "audience": "istio-ca"}}]}}));
    let more = json!({"name": "istio-envoy", "mountPath": "/etc/istio/proxy", "readOnly": true});
    let mounts = pod["spec"]["containers"][0].as_object_mut().unwrap().entry("volumeMounts").or_insert(json!([]));
    mounts.as_array_mut().unwrap().push(more);
    pod["metadata"]["annotations"]["sidecar.istio.io/status"] = json!("{\"revision\":\"default\"}");
    pod
}

/// What policies and platforms add to every container, none of which it has not been given already.
fn hardened(pod: &Json) -> Json {
    let mut pod = pod.clone();
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().unwrap() {
            let security = &mut container["securityContext"];
            security["seLinuxOptions"] = json!({"level": "s0:c26,c5"});
            security["privileged"] = json!(false);
            if let Some(dropped) = security["capabilities"]["drop"].as_array_mut() {
                dropped.extend([json!("KILL"), json!("MKNOD")]);
            }
        }
    }
    pod
}

/// What agents for secrets and for metrics mount into every container of a pod.
fn vaulted(pod: &Json) -> Json {
    let mut pod = pod.clone();
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().unwrap() {
            let container = container.as_object_mut().unwrap();
            let mounts = container.entry("volumeMounts").or_insert(json!([])).as_array_mut().unwrap();
            for (name, path) in [("vault-secrets", "/vault/secrets"), ("datadog", "/var/run/datadog")] {
                if mounts.iter().all(|mount| mount["mountPath"] != path) {
                    mounts.push(json!({"name": name, "mountPath": path}));
                }
            }
        }
    }
    for name in ["vault-secrets", "datadog"] {
        let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
        if volumes.iter().all(|volume| volume["name"] != name) {
            volumes.push(json!({"name": name, "emptyDir": {"medium": "Memory"}}));
        }
    }
    pod
}

/// Two versions of the injector answer while one takes the other's place, and a pod that was kept comes back when only the newer is there.
#[test]
fn a_gate_of_another_version_is_a_gate() {
    let webhook = Webhook::start(&[]);
    let mut pod = webhook.admit(&pod(&transparent()));
    for container in &mut pod["spec"]["initContainers"].as_array_mut().unwrap()[..2] {
        let (repository, _) = container["image"].as_str().unwrap().split_once('@').unwrap();
        container["image"] = json!(format!("{repository}:0.9"));
    }
    assert_eq!(webhook.create(&pod), json!({"uid": UID, "allowed": true}));
}

/// Where the platform gives users, the gate has none until it has, and the one that it got is as good as another.
#[test]
fn a_platform_gives_the_user() {
    let webhook = Webhook::start(&["--user", "platform"]);
    let mut pod = webhook.admit(&pod(&proxy()));
    let security = &mut pod["spec"]["initContainers"][0]["securityContext"];
    assert!(security["runAsUser"].is_null() && security["runAsGroup"].is_null() && security["runAsNonRoot"] == true, "{security}");
    security["runAsUser"] = json!(1_000_660_000);
    assert_eq!(webhook.create(&pod), json!({"uid": UID, "allowed": true}));
    pod["spec"]["initContainers"][0]["securityContext"]["runAsUser"] = json!(0);
    assert!(webhook.refusal(&pod).contains("its `securityContext` differs"));
}

/// What a webhook of a cloud's adds to every container: who the workload is.
fn identified(pod: &Json) -> Json {
    let mut pod = pod.clone();
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().unwrap() {
            let container = container.as_object_mut().unwrap();
            let role = json!({"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::1:role/shop"});
            container.entry("env").or_insert(json!([])).as_array_mut().unwrap().push(role);
            let mount = json!({"name": "aws-iam-token", "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount", "readOnly": true});
            container.entry("volumeMounts").or_insert(json!([])).as_array_mut().unwrap().push(mount);
        }
    }
    let token = json!({"serviceAccountToken": {"audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"}});
    pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "aws-iam-token", "projected": {"sources": [token]}}));
    pod
}

#[test]
fn a_second_time_changes_nothing_whatever_others_did_meanwhile() {
    let webhook = Webhook::start(&[]);
    let mut seen = Vec::new();
    for annotations in [proxy(), transparent(), with(&proxy(), &[("/scopegate.dev~1tokens", json!("t")), ("/scopegate.dev~1port", json!("9000"))])] {
        for before in [pod(&annotations), bare(&annotations)] {
            let once = webhook.admit(&before);
            assert_ne!(once, before);
            // Behind a mesh there are no rules.
            let others =
                if annotations == transparent() { [defaulted, identified, hardened, vaulted] } else { [defaulted, meshed, hardened, vaulted] };
            for change in others.into_iter().chain([Json::clone as fn(&Json) -> Json, identified]) {
                let again = change(&once);
                assert_eq!(webhook.create(&again), json!({"uid": UID, "allowed": true}), "{again}");
                seen.push(with(&again, &[("/metadata/name", json!("shop"))]));
            }
            let all = defaulted(&vaulted(&identified(&hardened(&others[1](&defaulted(&once))))));
            assert_eq!(webhook.create(&all), json!({"uid": UID, "allowed": true}), "{all}");
        }
    }
    assert_eq!(faults(&seen), [""; 0], "none of them is a pod that could not be");
    assert!(webhook.process.said().contains("\"outcome\":\"unchanged\""));
}

#[test]
fn what_is_half_there_is_completed() {
    let webhook = Webhook::start(&[]);
    let whole = webhook.admit(&pod(&transparent()));
    for (list, name) in
        [("initContainers", "scopegate"), ("initContainers", "scopegate-intercept"), ("volumes", "scopegate-config"), ("volumes", "scopegate-state")]
    {
        let mut half = whole.clone();
        half["spec"][list].as_array_mut().unwrap().retain(|item| item["name"] != name);
        let completed = webhook.admit(&half);
        assert_eq!(named(&completed["spec"][list], name), named(&whole["spec"][list], name));
        assert_eq!(completed["spec"]["initContainers"], whole["spec"]["initContainers"], "in the same order");
    }
}

#[test]
fn another_webhook_may_come_first() {
    let webhook = Webhook::start(&[]);
    let before = meshed(&defaulted(&pod(&proxy())));
    let after = webhook.admit(&before);
    assert_eq!(super::names(&after["spec"]["initContainers"]), ["scopegate", "istio-init", "istio-proxy", "migrate"]);
    assert_eq!(webhook.admit(&after), after);
    // Its proxy hands connections on over loopback, which no rule of ours sees; on this pass or the next it is there.
    let rules = meshed(&defaulted(&pod(&transparent())));
    let late = meshed(&webhook.admit(&defaulted(&pod(&transparent()))));
    let ambient = with(&pod(&transparent()), &[("/metadata/labels", json!({"istio.io/dataplane-mode": "ambient"}))]);
    for pod in [rules, late, ambient] {
        let message = webhook.refusal(&pod);
        assert!(message.contains("mode `transparent`; take mode `proxy` behind a mesh"), "{message}");
    }
}
