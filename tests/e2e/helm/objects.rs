//! What the chart makes of the cases: objects that Kubernetes and the other projects take, the very ones that were reviewed.
//! `SCOPEGATE_GOLDEN=write cargo test --test e2e helm::objects` writes the reviewed files anew; look at the difference before it goes in.

use std::fs;

use serde_json::{Value as Json, json};

use super::security::shop;
use super::values::settled;
use super::{CASES, case, faults, kubernetes, of, one, read, template};

/// Oldest first.
const VERSIONS: [&str; 9] = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];

#[test]
fn every_case_is_what_was_reviewed() {
    let write = std::env::var("SCOPEGATE_GOLDEN").is_ok_and(|value| value == "write");
    let mut known: Vec<String> = fs::read_dir(kubernetes("golden")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for case in CASES.iter() {
        let file = kubernetes("golden").join(format!("{}.yaml", case.name));
        let now = settled(&case.text);
        if write {
            fs::write(&file, &now).unwrap();
        }
        let reviewed = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(now, reviewed, "{} differs from {}", case.name, file.display());
        known.retain(|name| *name != format!("{}.yaml", case.name));
    }
    assert_eq!(known, [""; 0], "no case is called so");
}

#[test]
fn every_object_fits_the_schemas_of_kubernetes_and_of_the_other_projects() {
    let mut objects: Vec<Json> = Vec::new();
    for case in CASES.iter() {
        // The oldest has fields fewer: see below.
        objects.extend(case.objects.iter().filter(|object| object["spec"]["trafficDistribution"].is_null()).cloned());
    }
    assert_eq!(faults(&objects), [""; 0]);
    let kinds = ["ServiceMonitor", "AuthorizationPolicy", "SecurityPolicy", "HTTPRoute", "ReferenceGrant", "Certificate", "Issuer"];
    for kind in kinds.iter().chain(&["MutatingWebhookConfiguration", "NetworkPolicy", "HorizontalPodAutoscaler", "PodDisruptionBudget"]) {
        assert!(objects.iter().any(|object| object["kind"] == **kind), "no case has a {kind}");
    }
}

#[test]
fn the_oldest_kubernetes_gets_what_it_knows_and_every_other_the_same() {
    let full = case("authorizer-full");
    let at = |version: &str| template(&full.values, &["--kube-version", version]).unwrap();
    assert_eq!(faults(&read(&at("1.29"))), [""; 0]);
    for version in &VERSIONS[2..] {
        assert_eq!(at(version), full.text, "{version}");
    }
    let service = one(&full.objects, "Service");
    assert_eq!(service["spec"]["trafficDistribution"], "PreferClose");
    // Values that are newer than the field.
    for (version, has) in [("1.33", false), ("1.34", true), ("1.37", true)] {
        let objects = read(&template(&json!({"service": {"trafficDistribution": "PreferSameZone"}}), &["--kube-version", version]).unwrap());
        assert_eq!(one(&objects, "Service")["spec"]["trafficDistribution"].is_string(), has, "{version}");
    }
    assert!(template(&json!({}), &["--kube-version", "1.28"]).unwrap_err().contains("1.28"));
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    let mut deployment = one(&case("authorizer-default").objects, "Deployment").clone();
    deployment["spec"]["template"]["spec"]["containers"][0]["restartpolicy"] = json!("Always");
    let gateways = &case("authorizer-gateways").objects;
    let mut policy = one(gateways, "AuthorizationPolicy").clone();
    policy["spec"]["action"] = json!("ASK");
    let mut security = one(gateways, "SecurityPolicy").clone();
    security["spec"]["extAuth"]["failopen"] = json!(false);
    let mut route = one(gateways, "HTTPRoute").clone();
    route["spec"]["rules"][0]["filters"][0]["externalAuth"]["protocol"] = json!("SOAP");
    let mut bare = one(gateways, "HTTPRoute").clone();
    bare["spec"]["rules"][0]["filters"][0]["externalAuth"].as_object_mut().unwrap().remove("grpc");
    let mut monitor = one(&case("authorizer-full").objects, "ServiceMonitor").clone();
    monitor["spec"]["endpoints"][0]["interval"] = json!("often");
    let stranger = json!({"apiVersion": "example.com/v1", "kind": "Gate", "metadata": {"name": "x"}});
    for object in [deployment, policy, security, route, bare, monitor, stranger] {
        assert!(!faults(std::slice::from_ref(&object)).is_empty(), "{object}");
    }
}

/// A cluster drops a field that is written wrong, and says nothing. Here is one in an object of each project.
#[test]
fn the_schemas_refuse_a_field_that_they_do_not_know() {
    let gateways = &case("authorizer-gateways").objects;
    let traefik = read(&fs::read_to_string(crate::process::root().join("deploy/traefik/middleware.yaml")).unwrap());
    let places = [
        (one(gateways, "AuthorizationPolicy"), "/spec", "selector", "selectr"),
        (one(gateways, "SecurityPolicy"), "/metadata", "labels", "lables"),
        (one(gateways, "HTTPRoute"), "/spec/rules/0/filters/0/externalAuth", "forwardBody", "forwardBdy"),
        (of(gateways, "ReferenceGrant")[0], "/spec/to/0", "name", "nme"),
        (one(&case("authorizer-full").objects, "ServiceMonitor"), "/spec/endpoints/0", "interval", "intervall"),
        (one(&case("injector-cert-manager").objects, "Certificate"), "/spec", "dnsNames", "dnsName"),
        (one(&traefik, "Middleware"), "/spec/forwardAuth", "trustForwardHeader", "trustForwardHeadr"),
    ];
    let wrong: Vec<Json> = places
        .iter()
        .map(|(object, place, right, typo)| {
            let mut object = Json::clone(object);
            let fields = object.pointer_mut(place).unwrap().as_object_mut().unwrap();
            fields.insert((*typo).to_owned(), fields[*right].clone());
            object
        })
        .collect();
    let found = faults(&wrong);
    for (object, place, _, typo) in places {
        let kind = object["kind"].as_str().unwrap();
        assert!(found.iter().any(|fault| fault.starts_with(&format!("{kind} "))), "{kind} {place}/{typo}: {found:?}");
    }
    assert_eq!(found.len(), wrong.len(), "{found:?}");
}

#[test]
fn replicas_leave_without_loss() {
    for name in ["authorizer-default", "authorizer-full"] {
        let deployment = one(&case(name).objects, "Deployment");
        assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}), "{name}");
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0].get("lifecycle"), None, "SIGTERM is enough");
        let config = &read(one(&case(name).objects, "ConfigMap")["data"]["scopegate.yaml"].as_str().unwrap())[0];
        let seconds = |key: &str| config[key].as_str().unwrap().trim_end_matches('s').parse::<i64>().unwrap();
        let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
        assert!(grace > seconds("lame_duck") + seconds("drain_timeout"), "{name}: {grace}");
        // Whoever looks at readiness sees it go within the lame duck.
        let probe = &pod["containers"][0]["readinessProbe"];
        assert!(probe["periodSeconds"].as_i64().unwrap() <= seconds("lame_duck"), "{name}");
    }
}

#[test]
fn rules_and_tokens_reload_and_settings_replace_the_pods() {
    let pods = |values: Json| one(&read(&template(&values, &[]).unwrap()), "Deployment")["spec"]["template"].clone();
    let rules = |route: &str, more: &str| {
        let config = format!("credentials:\n  t: {{kind: static, file: tokens/tokens.json}}\nroutes:\n  {route}: public\n{more}");
        pods(json!({"config": config}))
    };
    // `management` is nothing without a store.
    let before = rules("GET /a", "store: one\n");
    assert_eq!(before, rules("GET /b", "store: one\n"), "a rule");
    assert_eq!(before, rules("GET /a", "store: one\nroles: {user: [\"a:b\"]}\n"), "a role");
    let token = json!([{"id": "ci", "token": "canary-token-of-the-ci-0001", "scopes": ["a:b"]}]);
    assert_eq!(pods(json!({})), pods(json!({"tokens": {"entries": token}})), "a token");
    // Every setting that a running gate refuses to change, as the gate itself lists them.
    let source = fs::read_to_string(crate::process::root().join("src/config/settings.rs")).unwrap();
    let listed = source.split_once("pub fn changed").unwrap().1.split_once(".into_iter()").unwrap().0;
    let keys: Vec<&str> = listed.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next()).collect();
    assert!(keys.len() >= 16, "{keys:?}");
    let own = ["listen", "lame_duck", "drain_timeout", "key_cache"];
    for key in keys.iter().filter(|key| !own.contains(key)) {
        let more = if *key == "store" { "store: changed\n".to_owned() } else { format!("store: one\n{key}: changed\n") };
        assert_ne!(before, rules("GET /a", &more), "{key}");
    }
    for values in
        [json!({"shutdown": {"lameDuckSeconds": 3}}), json!({"doors": {"admin": {"expose": false}}}), json!({"limits": {"secret": "redis"}})]
    {
        assert_ne!(pods(json!({})), pods(values.clone()), "{values}");
    }
}

/// A sidecar is in a pod of somebody else's, which is replaced by the annotation that the chart gives for it.
#[test]
fn settings_replace_the_pods_of_sidecars_too() {
    let pod = |more: &[&str]| one(&shop(more).unwrap(), "Deployment")["spec"]["template"].clone();
    let before = pod(&[]);
    assert!(before["metadata"]["annotations"]["checksum/scopegate-settings"].is_string());
    let file = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scopegate.yaml");
        fs::write(&path, format!("credentials: {{t: {{kind: static, file: tokens/tokens.json}}}}\nroutes: {{GET /other: public}}\n{text}")).unwrap();
        pod(&["--set-file", &format!("scopegate.config={}", path.display())])
    };
    assert_eq!(file(""), before, "a rule");
    assert_ne!(file("bounds: {headers: 50}\n"), before);
    assert_ne!(pod(&["--set", "scopegate.sidecar.upstreamPort=3001"]), before);
    let longer = pod(&["--set", "scopegate.shutdown.drainSeconds=60"]);
    let grace = |pod: &Json| pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap();
    assert_eq!(grace(&longer), grace(&before) + 30);
}

#[test]
fn whose_pods_the_injector_looks_at_is_said_or_a_label_and_never_both() {
    let webhook = |values: Json| {
        let objects = read(&template(&values, &[]).unwrap());
        one(&objects, "MutatingWebhookConfiguration")["webhooks"][0].clone()
    };
    let usual = webhook(json!({"mode": "injector"}));
    assert_eq!(usual["namespaceSelector"], json!({"matchLabels": {"scopegate.dev/injection": "enabled"}}));
    let team = json!({"matchLabels": {"team": "shop"}});
    let said = webhook(json!({"mode": "injector", "injector": {"namespaceSelector": team, "objectSelector": team}}));
    assert_eq!((&said["namespaceSelector"], &said["objectSelector"]), (&team, &team));
    // Whatever is selected: the webhook's own pods, and all that do not ask, start without it.
    let asked = usual["matchConditions"][0]["expression"].as_str().unwrap();
    assert!(asked.contains("startsWith('scopegate.dev/')"), "{asked}");
    for case in CASES.iter().filter(|case| !of(&case.objects, "Deployment").is_empty()) {
        let annotations = one(&case.objects, "Deployment")["spec"]["template"]["metadata"]["annotations"].clone();
        let own: Vec<&String> = annotations.as_object().unwrap().keys().filter(|name| name.starts_with("scopegate.dev/")).collect();
        assert_eq!(own, [""; 0], "{}", case.name);
    }
}

#[test]
fn a_door_without_peers_is_open_to_nobody() {
    let closed = read(&template(&json!({"networkPolicy": {"enabled": true}}), &[]).unwrap());
    let policy = &one(&closed, "NetworkPolicy")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert!(policy["ingress"].is_null(), "{policy}");
    assert_eq!(policy["egress"].as_array().unwrap().len(), 1, "names alone are asked for");
    let full = &one(&case("authorizer-full").objects, "NetworkPolicy")["spec"];
    for rule in full["ingress"].as_array().unwrap() {
        assert!(rule["from"].as_array().is_some_and(|peers| !peers.is_empty()), "{rule}");
    }
    assert_eq!(full["ingress"].as_array().unwrap().len(), 3);
}

#[test]
fn nobody_fails_open() {
    let objects = &case("authorizer-gateways").objects;
    assert_eq!(one(objects, "SecurityPolicy")["spec"]["extAuth"]["failOpen"], false);
    assert_eq!(one(objects, "AuthorizationPolicy")["spec"]["action"], "CUSTOM");
    let webhook = |name: &str| one(&case(name).objects, "MutatingWebhookConfiguration")["webhooks"][0].clone();
    assert_eq!(webhook("injector-existing")["failurePolicy"], "Fail");
    let arguments = |name: &str| one(&case(name).objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    let says = |name: &str, word: &str| arguments(name).as_array().unwrap().windows(2).any(|pair| pair[0] == "--failure" && pair[1] == word);
    assert!(says("injector-existing", "closed") && says("injector", "open"));
    for name in ["injector", "injector-existing", "injector-cert-manager", "injector-self-signed"] {
        assert_eq!(webhook(name)["sideEffects"], "None");
        assert_eq!(webhook(name)["reinvocationPolicy"], "IfNeeded");
        // The API server has to believe somebody.
        let annotations = &one(&case(name).objects, "MutatingWebhookConfiguration")["metadata"]["annotations"];
        assert!(webhook(name)["clientConfig"]["caBundle"].is_string() || annotations["cert-manager.io/inject-ca-from"].is_string(), "{name}");
    }
    assert_eq!(of(&case("injector-existing").objects, "Secret").len(), 0);
}
