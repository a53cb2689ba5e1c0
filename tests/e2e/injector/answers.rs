//! What a pod gets: a gate before everything else, and nothing else changed.

use std::fs;

use serde_json::{Value as Json, json};

use super::{IMAGE, Webhook, bare, named, names, pod, proxy, transparent, with};
use crate::helm::{faults, read};
use crate::process::root;

/// The schemas want a name, which a controller's pod gets later.
fn as_stored(pod: &Json) -> Json {
    with(pod, &[("/metadata/name", json!("shop-7d4b9c6f5-x2x4z"))])
}

#[test]
fn a_pod_that_asks_gets_a_gate_before_all_others_and_keeps_the_rest_as_it_was() {
    let webhook = Webhook::start(&[]);
    let mut admitted = Vec::new();
    for (annotations, first) in [(proxy(), &["scopegate"][..]), (transparent(), &["scopegate-intercept", "scopegate"])] {
        for before in
            [pod(&annotations), bare(&annotations), with(&bare(&annotations), &[("/spec/initContainers", Json::Null), ("/spec/volumes", json!([]))])]
        {
            let after = webhook.admit(&before);
            let there = before["spec"]["initContainers"].as_array().map_or(Vec::new(), |_| names(&before["spec"]["initContainers"]));
            assert_eq!(names(&after["spec"]["initContainers"]), [first, &there].concat());
            for volume in ["scopegate-config", "scopegate-state"] {
                named(&after["spec"]["volumes"], volume);
            }
            // Without what is ours, it is what it was.
            let mut rest = after.clone();
            for list in ["initContainers", "volumes"] {
                let all = rest["spec"][list].as_array_mut().unwrap();
                all.retain(|item| !item["name"].as_str().unwrap().starts_with("scopegate"));
                if all.is_empty() {
                    rest["spec"].as_object_mut().unwrap().remove(list);
                }
            }
            let was = |list: &str| before["spec"][list].as_array().is_some_and(|list| !list.is_empty());
            let mut before = before.clone();
            for list in ["initContainers", "volumes"] {
                if !was(list) {
                    before["spec"].as_object_mut().unwrap().remove(list);
                }
            }
            assert_eq!(rest, before);
            admitted.push(as_stored(&after));
        }
    }
    assert_eq!(faults(&admitted), [""; 0], "from Kubernetes 1.29 to the newest");
    let log = webhook.process.said();
    for said in ["\"outcome\":\"injected\"", "\"namespace\":\"shop\"", "\"pod\":\"shop-7d4b9c6f5-…\"", "\"pod\":\"shop\""] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[test]
fn the_gate_is_told_port_and_upstream_and_opens_no_other_door() {
    let webhook = Webhook::start(&["--address", "::"]);
    let gate = |annotations: &Json| named(&webhook.admit(&pod(annotations))["spec"]["initContainers"], "scopegate").clone();
    let told = |annotations: &Json| {
        gate(annotations)["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let common = "serve --config /etc/scopegate/scopegate.yaml --upstream";
    let closed = "--ext-authz off --forward-auth off";
    assert_eq!(told(&proxy()), format!("{common} http://127.0.0.1:3000 --proxy [::]:8080 {closed}"));
    assert_eq!(told(&transparent()), format!("{common} original_destination --proxy [::]:15206 {closed}"));
    let other = with(&proxy(), &[("/scopegate.dev~1port", json!("8443"))]);
    assert_eq!(told(&other), format!("{common} http://127.0.0.1:3000 --proxy [::]:8443 {closed}"));
    assert_eq!(gate(&other)["ports"], json!([{"name": "gate", "containerPort": 8443, "protocol": "TCP"}]));
    for (annotations, ports) in [(transparent(), "80,3000"), (with(&transparent(), &[("/scopegate.dev~1upstream-port", json!("all"))]), "all")] {
        let pod = webhook.admit(&pod(&annotations));
        let rules = named(&pod["spec"]["initContainers"], "scopegate-intercept");
        assert_eq!(rules["args"], json!(["intercept", "--apply", "--port", "15206", "--ports", ports, "--except", "9190"]));
        assert_eq!(rules["image"], IMAGE);
        assert!(rules["restartPolicy"].is_null() && rules["volumeMounts"].is_null() && rules["command"].is_null() && rules["env"].is_null());
        let security = &rules["securityContext"];
        assert_eq!(security["capabilities"], json!({"add": ["NET_ADMIN"], "drop": ["ALL"]}));
        assert_eq!((&security["runAsUser"], &security["runAsNonRoot"]), (&json!(0), &json!(false)));
        assert_eq!((&security["allowPrivilegeEscalation"], &security["readOnlyRootFilesystem"]), (&json!(false), &json!(true)));
        assert!(security["privileged"].is_null());
    }
}

/// But for what one pod has and another has not, the gate is the one of `deploy/kubernetes`.
#[test]
fn the_gate_is_that_of_the_shipped_manifest() {
    let webhook = Webhook::start(&[]);
    let objects = read(&fs::read_to_string(root().join("deploy/kubernetes/sidecar.yaml")).unwrap());
    let shipped = objects.iter().find(|object| object["kind"] == "Deployment").unwrap()["spec"]["template"]["spec"].clone();
    let asks = pod(&with(&proxy(), &[("/scopegate.dev~1tokens", json!("shop-tokens"))]));
    let injected = webhook.admit(&asks)["spec"].clone();
    let (by_hand, gate) = (named(&shipped["initContainers"], "scopegate"), named(&injected["initContainers"], "scopegate"));
    for field in ["restartPolicy", "securityContext", "volumeMounts", "resources"] {
        assert_eq!(gate[field], by_hand[field], "{field}");
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        for field in ["periodSeconds", "timeoutSeconds", "failureThreshold"] {
            assert_eq!(gate[probe][field], by_hand[probe][field], "{probe}");
        }
        let command = gate[probe]["exec"]["command"].as_array().unwrap();
        let without: Vec<&Json> = command.iter().filter(|word| !["--address", "127.0.0.1:9190"].iter().any(|own| *word == own)).collect();
        assert_eq!(json!(without), by_hand[probe]["exec"]["command"], "{probe}");
        assert_eq!(without.len() + 2, command.len(), "{probe}");
    }
    assert_eq!(gate["args"].as_array().unwrap()[..3], by_hand["args"].as_array().unwrap()[..]);
    let volume = |spec: &Json, name: &str| named(&spec["volumes"], name).clone();
    assert_eq!(volume(&injected, "scopegate-state"), volume(&shipped, "scopegate-state"));
    // Its group is the pod's own affair here: the files are for that, where there is one.
    let config = volume(&shipped, "scopegate-config");
    assert_eq!(volume(&injected, "scopegate-config"), with(&config, &[("/projected/defaultMode", json!(0o444))]));
    let grouped = webhook.admit(&with(&asks, &[("/spec/securityContext/fsGroup", json!(2000))]));
    assert_eq!(volume(&grouped["spec"], "scopegate-config"), config);
    // Also where it came after the gate.
    let later = with(&webhook.admit(&asks), &[("/spec/securityContext/fsGroup", json!(2000))]);
    assert_eq!(webhook.admit(&later), later);
}

#[test]
fn what_the_sidecars_may_use_is_the_injectors_to_say() {
    let said = r#"{"requests":{"cpu":"10m"},"limits":{"cpu":1,"memory":"64Mi"}}"#;
    let webhook = Webhook::start(&["--resources", said]);
    let pod = webhook.admit(&pod(&transparent()));
    for name in ["scopegate", "scopegate-intercept"] {
        assert_eq!(named(&pod["spec"]["initContainers"], name)["resources"], serde_json::from_str::<Json>(said).unwrap());
    }
}

#[test]
fn a_pod_that_does_not_ask_is_left_alone() {
    let webhook = Webhook::start(&[]);
    for annotations in [json!({}), Json::Null, json!({"scopegate.dev/inject": "false"}), json!({"example.com/inject": "true"})] {
        let response = webhook.create(&pod(&annotations));
        assert_eq!(response, json!({"uid": super::UID, "allowed": true}), "{annotations}");
    }
    let mut plain = bare(&Json::Null);
    plain["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(webhook.admit(&plain), plain);
    // Who forgot the one that matters is told.
    let response = webhook.create(&pod(&json!({"scopegate.dev/config": "shop-gate"})));
    assert!(response["allowed"] == true && response["patch"].is_null() && response["warnings"][0].as_str().unwrap().contains("scopegate.dev/inject"));
}

#[test]
fn the_owner_is_told_of_ways_around_the_gate_and_of_probes_that_meet_it() {
    let webhook = Webhook::start(&[]);
    let warnings = |annotations: &Json, changes: &[(&str, Json)]| -> Vec<String> {
        let response = webhook.create(&with(&pod(annotations), changes));
        assert_eq!(response["allowed"], true, "{response}");
        response["warnings"].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let probe = |name: &str, way: Json| (format!("/spec/containers/0/{name}"), way);
    let port = |number: u16| ("/spec/containers/0/ports", json!([{"name": "http", "containerPort": number, "protocol": "TCP"}]));
    assert_eq!(warnings(&proxy(), &[]), [""; 0]);
    assert_eq!(warnings(&transparent(), &[]), [""; 0]);
    assert_eq!(warnings(&proxy(), &[port(3001)]), [""; 0]);
    assert_eq!(warnings(&transparent(), &[port(3000)]), [""; 0], "that is what it is for");
    let past = warnings(&proxy(), &[port(3000)]);
    assert!(past.len() == 1 && past[0].contains("`shop` declares port 3000") && past[0].contains("127.0.0.1"), "{past:?}");
    let udp = ("/spec/containers/0/ports", json!([{"containerPort": 3000, "protocol": "UDP"}, {"containerPort": 8080, "protocol": "UDP"}]));
    assert_eq!(warnings(&proxy(), std::slice::from_ref(&udp)), [""; 0]);
    assert!(warnings(&transparent(), &[udp])[0].contains("port 3000 by UDP too, which is not redirected"));
    let (at, way) = ("/spec/containers/0/lifecycle", json!({"postStart": {"httpGet": {"path": "/warm", "port": 3000}}}));
    assert!(warnings(&transparent(), &[(at, way)])[0].starts_with("postStart of `shop` asks port 3000"));
    // Whoever makes a controller's pods reads no answers: the log has it too.
    assert!(webhook.process.said().contains("declares port 3000"), "{}", webhook.process.said());
    let (at, way) = probe("readinessProbe", json!({"httpGet": {"path": "/health", "port": "http", "scheme": "HTTP"}}));
    for (annotations, said) in [(proxy(), "port 8080 and a `public` route"), (transparent(), "unless the route is `public`")] {
        let told = warnings(&annotations, &[port(3000), (&at, way.clone())]);
        assert!(told.iter().any(|text| text.starts_with("readinessProbe of `shop` asks port 3000") && text.contains(said)), "{told:?}");
    }
    let (at, way) = probe("livenessProbe", json!({"tcpSocket": {"port": 80}}));
    assert!(warnings(&transparent(), &[(&at, way.clone())])[0].contains("livenessProbe of `shop` connects to port 80"));
    let (at, way) = probe("startupProbe", json!({"grpc": {"port": 3000, "service": ""}}));
    assert!(warnings(&transparent(), &[(&at, way)])[0].contains("startupProbe"));
    for way in [
        json!({"exec": {"command": ["true"]}}),
        json!({"httpGet": {"port": 4000}}),
        json!({"httpGet": {"port": 80, "host": "192.0.2.1"}}),
        json!({"httpGet": {"port": "nobody"}}),
    ] {
        assert_eq!(warnings(&transparent(), &[(&at, way.clone())]), [""; 0], "{way}");
    }
    let all = with(&transparent(), &[("/scopegate.dev~1upstream-port", json!("all"))]);
    assert!(warnings(&all, &[(&at, json!({"httpGet": {"port": 4000}}))])[0].contains("port 4000"));
    assert!(warnings(&proxy(), &[("/spec/shareProcessNamespace", json!(true))])[0].contains("shareProcessNamespace"));
}

/// The pod of the page gets its gate, and nobody has a word to say about it.
#[test]
fn the_shipped_example_gets_its_gate_without_a_warning() {
    let webhook = Webhook::start(&[]);
    let objects = read(&fs::read_to_string(root().join("deploy/kubernetes/injected.yaml")).unwrap());
    let template = &objects.iter().find(|object| object["kind"] == "Deployment").unwrap()["spec"]["template"];
    let mut pod = template.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    let response = webhook.create(&pod);
    assert!(response["warnings"].is_null(), "{response}");
    let pod = super::patched(&pod, &response);
    assert_eq!(named(&pod["spec"]["initContainers"], "scopegate")["ports"][0]["name"], "gate");
    assert_eq!(faults(&[as_stored(&pod)]), [""; 0]);
    // What the annotations name is what the file has.
    let sources = &named(&pod["spec"]["volumes"], "scopegate-config")["projected"]["sources"];
    let config = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    assert_eq!(sources[0]["configMap"]["name"], config["metadata"]["name"]);
    let service = objects.iter().find(|object| object["kind"] == "Service").unwrap();
    assert_eq!(service["spec"]["ports"][0]["targetPort"], named(&pod["spec"]["initContainers"], "scopegate")["ports"][0]["containerPort"]);
}
