//! Pods that ask for a gate and cannot have it, and what is called like the gate and is not.

use serde_json::{Value as Json, json};

use super::{Webhook, pod, proxy, review, transparent, with};

/// Pods that cannot have what they ask for, each with a word of what would be right.
fn impossible() -> Vec<(Json, &'static str)> {
    let asks = |annotations: &Json, changes: &[(&str, Json)]| pod(&with(annotations, changes));
    let has = |changes: &[(&str, Json)]| with(&pod(&proxy()), changes);
    let without = |annotation: &str| {
        let mut annotations = proxy();
        annotations.as_object_mut().unwrap().remove(annotation);
        pod(&annotations)
    };
    let port = |number: u16| json!([{"containerPort": number, "protocol": "TCP"}]);
    let mut pods = vec![
        (has(&[("/spec/hostNetwork", json!(true))]), "`hostNetwork: true`"),
        (has(&[("/spec/os", json!({"name": "windows"}))]), "is for Windows"),
        (has(&[("/spec/nodeSelector", json!({"kubernetes.io/os": "windows"}))]), "is for Windows"),
        (has(&[("/metadata/annotations/kubernetes.io~1config.mirror", json!("5f0c"))]), "the kubelet runs as it is"),
        (has(&[("/spec/containers/0/ports", port(8080))]), "`shop` has port 8080, which is the gate's; set `scopegate.dev/port`"),
        (has(&[("/spec/containers/0/ports", json!([{"containerPort": 8080}]))]), "which is the gate's"),
        (has(&[("/spec/initContainers/0/ports", port(8080))]), "`migrate` has port 8080"),
        (has(&[("/spec/containers/0/ports", port(9190))]), "the gate's operator door"),
        (has(&[("/spec/containers/0/ports", json!([{"name": "gate", "containerPort": 4000}]))]), "calls a port `gate`"),
        (has(&[("/spec/containers", json!("none"))]), "`spec.containers` is no list"),
        (without("scopegate.dev/upstream-port"), "`scopegate.dev/upstream-port` is missing; it is the port that"),
        (without("scopegate.dev/config"), "`scopegate.dev/config` is missing; it names a ConfigMap"),
    ];
    let wrong = [
        ("inject", "yes", "it is `true` or `false`"),
        ("inject", "", "it is `true` or `false`"),
        ("mode", "sidecar", "it is `proxy` or `transparent`"),
        ("mode", "Proxy", "it is `proxy` or `transparent`"),
        ("upstream-port", "http", "it is one port from 1 to 65535"),
        ("upstream-port", "80,3000", "it is one port from 1 to 65535"),
        ("upstream-port", "all", "it is one port from 1 to 65535"),
        ("upstream-port", "70000", "it is one port from 1 to 65535"),
        ("upstream-port", "8080", "which is the gate's own port; set `scopegate.dev/port` to another"),
        ("upstream-port", "9190", "which is the gate's operator door"),
        ("port", "80", "from 1024 to 65535"),
        ("port", "x", "from 1024 to 65535"),
        ("port", "9190", "take another"),
        ("config", "Shop_Gate", "which no object can be called"),
        ("config", "../../etc", "which no object can be called"),
        ("tokens", "", "which no object can be called"),
        ("upstreamport", "3000", "is unknown; there are `scopegate.dev/inject`, `scopegate.dev/upstream-port`"),
        ("injekt", "true", "is unknown"),
        ("", "true", "is unknown"),
    ];
    pods.extend(wrong.map(|(name, value, said)| (asks(&proxy(), &[(&format!("/scopegate.dev~1{name}"), json!(value))]), said)));
    for (ports, said) in
        [("", "up to 64 ports"), ("80;81", "up to 64 ports"), ("80,15206", "which is the gate's own port"), ("9190", "operator door")]
    {
        pods.push((asks(&transparent(), &[("/scopegate.dev~1upstream-port", json!(ports))]), said));
    }
    pods.push((pod(&json!({"scopegate.dev/injekt": "true"})), "is unknown"));
    pods
}

#[test]
fn what_cannot_be_is_refused_with_what_would_be_right() {
    let webhook = Webhook::start(&["--failure", "closed"]);
    for (pod, said) in impossible() {
        let message = webhook.refusal(&pod);
        assert!(message.contains(said) && !message.contains('\n'), "{said}: {message}");
    }
    let log = webhook.process.said();
    assert!(log.contains("\"outcome\":\"refused\"") && log.contains("\"pod\":\"shop-7d4b9c6f5-…\"") && log.contains("hostNetwork"), "{log}");
}

#[test]
fn where_it_fails_open_the_pod_is_let_in_as_it_is_and_its_owner_is_told() {
    let webhook = Webhook::start(&["--failure", "open"]);
    for (pod, said) in impossible() {
        let response = webhook.create(&pod);
        assert!(response["allowed"] == true && response["patch"].is_null() && response["status"].is_null(), "{response}");
        let warning = response["warnings"][0].as_str().unwrap();
        // A long one is cut short.
        assert!(warning.starts_with("no gate was added: ") && (warning.contains(said) || warning.ends_with('…')), "{said}: {warning}");
    }
    assert!(webhook.process.said().contains("let in as it is"));
    assert_eq!(webhook.create(&pod(&proxy()))["patchType"], "JSONPatch", "and others get theirs");
}

#[test]
fn closed_is_what_it_is_without_a_word() {
    let webhook = Webhook::start(&[]);
    assert!(webhook.refusal(&with(&pod(&proxy()), &[("/spec/hostNetwork", json!(true))])).contains("hostNetwork"));
}

#[test]
fn what_is_called_like_the_gate_and_is_not_is_never_taken_for_it() {
    let webhook = Webhook::start(&[]);
    let gate = "/spec/initContainers/1";
    let injected = webhook.admit(&pod(&transparent()));
    assert_eq!(injected.pointer(gate).unwrap()["name"], "scopegate");
    let spoofed = [
        ("image", json!("somebody/else:1")),
        ("command", json!(["sleep", "infinity"])),
        ("args", json!(["serve", "--config", "/etc/scopegate/scopegate.yaml"])),
        ("env", json!([{"name": "SCOPEGATE_DEV_MODE", "value": "true"}])),
        ("env", json!([{"name": "BACKSTOP_DEV_MODE", "value": "true"}])),
        ("env", json!([{"name": "SSL_CERT_FILE", "value": "/data/ca.pem"}])),
        ("envFrom", json!([{"configMapRef": {"name": "x"}}])),
        ("lifecycle", json!({"postStart": {"exec": {"command": ["scopegate", "demo"]}}})),
        ("startupProbe", json!({"exec": {"command": ["scopegate", "--version"]}})),
        ("readinessProbe", Json::Null),
        ("restartPolicy", Json::Null),
        ("securityContext", json!({"privileged": true})),
        ("workingDir", json!("/data")),
        ("terminationMessagePath", json!("/etc/scopegate/scopegate.yaml")),
        ("stdin", json!(true)),
    ];
    for (field, value) in spoofed {
        let message = webhook.refusal(&with(&injected, &[(&format!("{gate}/{field}"), value)]));
        assert!(
            message.starts_with("init container `scopegate` is not the one that is injected") && message.contains(&format!("`{field}`")),
            "{message}"
        );
    }
    let over = json!({"name": "data", "mountPath": "/etc/scopegate/tokens"});
    assert!(webhook.refusal(&with(&injected, &[(&format!("{gate}/volumeMounts/-"), over)])).contains("`volumeMounts`"));
    let rules = "/spec/initContainers/0/args";
    assert!(webhook.refusal(&with(&injected, &[(rules, json!(["--version"]))])).contains("`scopegate-intercept`"));
    for volume in ["scopegate-config", "scopegate-state"] {
        let foreign = json!({"name": volume, "hostPath": {"path": "/etc"}});
        let message = webhook.refusal(&with(&pod(&proxy()), &[("/spec/volumes/-", foreign)]));
        assert!(message.contains(&format!("volume `{volume}` is not the one")), "{message}");
    }
    // Each is for the annotations that the pod has now.
    let other = with(&injected, &[("/metadata/annotations/scopegate.dev~1config", json!("another"))]);
    assert!(webhook.refusal(&other).contains("`scopegate-config`"));
    let other = with(
        &injected,
        &[("/metadata/annotations/scopegate.dev~1mode", json!("proxy")), ("/metadata/annotations/scopegate.dev~1upstream-port", json!("80"))],
    );
    assert!(webhook.refusal(&other).contains("init container `scopegate-intercept` is called like the gate"));
}

#[test]
fn names_of_the_injectors_and_its_volumes_are_nobody_elses() {
    let webhook = Webhook::start(&[]);
    let container = |name: &str| json!({"name": name, "image": "x:1"});
    for (at, what, said) in [
        ("/spec/containers/-", container("scopegate"), "container `scopegate` is called like the gate"),
        ("/spec/containers/-", container("scopegate-intercept"), "container `scopegate-intercept` is called like the gate"),
        ("/spec/initContainers/-", container("scopegate"), "init container `scopegate` is not the one that is injected"),
        ("/spec/initContainers/-", container("scopegate-x"), "init container `scopegate-x` is called like the gate"),
        ("/spec/volumes/-", json!({"name": "scopegate-x", "emptyDir": {}}), "volume `scopegate-x` is called like the gate's"),
        (
            "/spec/containers/0/volumeMounts/-",
            json!({"name": "scopegate-state", "mountPath": "/x"}),
            "`shop` mounts `scopegate-state`, which is the gate's alone",
        ),
        ("/spec/initContainers/0/volumeMounts/-", json!({"name": "scopegate-config", "mountPath": "/x"}), "`migrate` mounts `scopegate-config`"),
    ] {
        let message = webhook.refusal(&with(&pod(&proxy()), &[(at, what)]));
        assert!(message.contains(said), "{said}: {message}");
    }
    // Kubernetes looks at names after the webhooks.
    let odd = json!({"name": "a\nb".repeat(1000), "ports": [{"containerPort": 8080}]});
    let message = webhook.refusal(&with(&pod(&proxy()), &[("/spec/containers/-", odd)]));
    assert!(!message.contains('\n') && message.len() <= 1024, "{message}");
    let response = webhook.create(&with(&pod(&proxy()), &[("/spec/containers/-", container("scopegatekeeper"))]));
    assert_eq!(response["allowed"], true, "a name of its own");
}

#[test]
fn what_is_no_creation_of_a_pod_is_refused_or_let_in_as_configured() {
    let (closed, open) = (Webhook::start(&[]), Webhook::start(&["--failure", "open"]));
    let request = |changes: &[(&str, Json)]| with(&review(&pod(&proxy())), changes);
    for (review, said) in [
        (request(&[("/request/operation", json!("UPDATE"))]), "operations: [CREATE]"),
        (request(&[("/request/operation", json!("CONNECT"))]), "operations: [CREATE]"),
        (request(&[("/request/kind", json!({"group": "apps", "version": "v1", "kind": "Deployment"}))]), "not about a pod"),
        (request(&[("/request/kind/version", json!("v2"))]), "not about a pod"),
        (request(&[("/request/subResource", json!("ephemeralcontainers"))]), "not about a pod"),
        (request(&[("/request/object/kind", json!("Service"))]), "not about a pod"),
        (request(&[("/request/object/apiVersion", json!("v2"))]), "not about a pod"),
        (request(&[("/request/object", Json::Null)]), "not about a pod"),
    ] {
        let response = closed.review(&review);
        assert!(response["allowed"] == false && response["status"]["message"].as_str().unwrap().contains(said), "{response}");
        let response = open.review(&review);
        assert!(response["allowed"] == true && response["warnings"][0].as_str().unwrap().contains(said), "{response}");
    }
    let dry = closed.review(&request(&[("/request/dryRun", json!(true))]));
    assert_eq!(dry, closed.create(&pod(&proxy())), "a dry run has the same answer");
    assert!(closed.process.said().contains("\"dry_run\":true"));
}
