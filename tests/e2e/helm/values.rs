//! The chart's values: each is documented, each matters, and a wrong one is refused by its name.
//! Renders, and compares; knows no object.

use std::fs;

use serde_json::{Value as Json, json};

use super::{CASES, chart, helm, kubernetes, read, template};

type Path = Vec<String>;

fn defaults() -> Json {
    read(&fs::read_to_string(chart().join("values.yaml")).unwrap()).remove(0)
}

/// The ways to every value that is no map, or an empty one.
fn leaves(value: &Json, way: &Path, found: &mut Vec<Path>) {
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, value) in map {
                leaves(value, &[way.as_slice(), std::slice::from_ref(key)].concat(), found);
            }
        }
        Some(_) | None => found.push(way.clone()),
    }
}

fn at<'a>(value: &'a Json, way: &[String]) -> Option<&'a Json> {
    way.iter().try_fold(value, |value, key| value.get(key))
}

fn without(values: &Json, way: &[String]) -> Json {
    let mut values = values.clone();
    let (last, parents) = way.split_last().unwrap();
    let parent = parents.iter().fold(&mut values, |value, key| value.get_mut(key).unwrap());
    parent.as_object_mut().unwrap().remove(last);
    values
}

/// A certificate that the chart makes is another each time.
pub fn settled(text: &str) -> String {
    let secret =
        |line: &&str| ["ca.crt:", "tls.crt:", "tls.key:", "caBundle:", "scopegate.dev/renewal:"].iter().any(|key| line.trim_start().starts_with(key));
    let line = |line: &str| if secret(&line) { format!("{}: …\n", line.split(':').next().unwrap()) } else { format!("{line}\n") };
    text.lines().map(line).collect()
}

#[test]
fn every_value_is_set_by_some_case_and_changes_what_is_rendered() {
    let (defaults, mut ways, mut dead) = (defaults(), Vec::new(), Vec::new());
    leaves(&defaults, &Vec::new(), &mut ways);
    assert!(ways.len() > 80, "{}", ways.len());
    for way in ways {
        let differs = |case: &&super::Case| at(&case.values, &way).is_some_and(|value| Some(value) != at(&defaults, &way));
        // What the case renders without it, or that it cannot be rendered without it.
        let matters = |case: &super::Case| template(&without(&case.values, &way), &[]).map(|text| settled(&text)) != Ok(settled(&case.text));
        if !CASES.iter().filter(differs).any(matters) {
            dead.push(way.join("."));
        }
    }
    // How long a certificate is valid is inside of it.
    assert_eq!(dead, ["injector.certificate.days"]);
    let days = ["--set", "mode=injector", "--set", "injector.certificate.days=0"];
    assert!(template(&json!({}), &days).unwrap_err().contains("/injector/certificate/days"));
}

#[test]
fn every_value_has_a_word_of_explanation() {
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_key = |line: &str| !line.trim_start().starts_with('#') && line.contains(':');
    let indent = |line: &str| line.len() - line.trim_start().len();
    let explained =
        |index: usize| lines[..index].iter().rev().take_while(|line| line.trim_start().starts_with("# ")).any(|line| line.contains("# -- "));
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| is_key(line)) {
        // A map is explained by its keys, or explains them.
        let parent = (0..index).rev().find(|&above| is_key(lines[above]) && indent(lines[above]) < indent(line));
        let is_map = line.ends_with(':');
        assert!(is_map || explained(index) || parent.is_some_and(explained), "values.yaml says nothing of: {line}");
    }
}

fn are_refused<const N: usize>(wrong: [(Json, &str); N]) {
    for (values, said) in wrong {
        match template(&values, &[]) {
            Ok(_) => panic!("{values} is not refused"),
            Err(error) => assert!(error.contains(said), "{values}: {error}"),
        }
    }
}

#[test]
fn a_wrong_value_is_refused_by_its_name() {
    are_refused([
        (json!({"mod": "authorizer"}), "'mod' not allowed"),
        (json!({"mode": "proxy"}), "/mode"),
        (json!({"image": {"digest": "latest"}}), "/image/digest"),
        (
            json!({"config": "  routes: {GET /a: public}\n  credentials: {}\n"}),
            "config: is not one YAML document whose keys begin at the left margin",
        ),
        (json!({"tokens": {"entries": [{"id": "ci", "token": "short", "scopes": ["a:b"]}]}}), "/tokens/entries/0/token"),
        (json!({"tokens": {"entries": [{"id": "ci", "scopes": ["a:b"]}]}}), "/tokens/entries/0"),
        (
            json!({"tokens": {"entries": [{"id": "ci", "token": "0123456789abcdef", "scopes": ["a:b"]}], "existingSecret": "x"}}),
            "tokens.entries: stand beside",
        ),
        (json!({"files": {"secrets": [{"name": "store", "keys": ["url"]}]}, "store": {"secret": "shop"}}), "files.secrets: `store` would lie"),
        (json!({"files": {"secrets": [{"name": "../etc", "keys": ["a"]}]}}), "/files/secrets/0/name"),
        (json!({"files": {"secrets": [{"name": "oidc"}]}}), "/files/secrets/0"),
        (json!({"doors": {"extAuthz": {"port": 80}}}), "/doors/extAuthz/port"),
        (json!({"doors": {"extAuthz": {"port": null}}}), "/doors/extAuthz': missing property 'port'"),
        (json!({"doors": {"admin": {"port": 9191}}}), "doors.extAuthz.port: is 9191, and so is doors.admin.port"),
        (json!({"mode": "sidecar", "sidecar": {"port": 9190}}), "sidecar.port: is 9190, and so is doors.admin.port"),
        (json!({"mode": "injector", "config": "routes: {}"}), "config: is for other modes"),
        (json!({"mode": "injector", "tokens": {"existingSecret": "x"}}), "tokens.existingSecret: is for other modes"),
        (json!({"autoscaling": {"enabled": true}, "resources": {"requests": {"cpu": null}}}), "resources.requests.cpu: is empty"),
        (json!({"mode": "injector", "extraVolumes": [{"name": "tls", "emptyDir": {}}]}), "/extraVolumes/0/name"),
        (json!({"mode": null}), "missing property 'mode'"),
        (json!({"service": null}), "missing property 'service'"),
        (json!({"podLabels": {"app.kubernetes.io/name": "mine"}}), "podLabels: has `app.kubernetes.io/name`, which is there already"),
        (json!({"podAnnotations": {"checksum/scopegate-settings": "x"}}), "podAnnotations: has `checksum/scopegate-settings`"),
        (json!({"env": [{"name": "SCOPEGATE_LOG", "value": "debug"}]}), "/env/0/name"),
        (json!({"fullnameOverride": "my.gate"}), "/fullnameOverride"),
        (
            json!({"istio": {"enabled": true, "selector": {"app": "shop"}, "targetRefs": [{"kind": "Gateway", "name": "w"}]}}),
            "istio.selector: stands",
        ),
        (json!({"networkPolicy": {"enabled": true, "extAuthzFrom": [{}]}}), "/networkPolicy/extAuthzFrom/0"),
        (json!({"podDisruptionBudget": {"maxUnavailable": "0%"}}), "/podDisruptionBudget/maxUnavailable"),
        (json!({"doors": {"extAuthz": {"enabled": false}}}), "doors: neither"),
        (json!({"doors": {"extAuthz": {"enabled": "no"}}}), "/doors/extAuthz/enabled"),
        (json!({"doors": {"admin": {"expose": false}}, "serviceMonitor": {"enabled": true}}), "doors.admin.expose: is false"),
        (json!({"replicaCount": -1}), "/replicaCount"),
        (json!({"autoscaling": {"enabled": true, "minReplicas": 9, "maxReplicas": 3}}), "autoscaling.minReplicas: 9"),
        (json!({"shutdown": {"drainSeconds": "30s"}}), "/shutdown/drainSeconds"),
        (json!({"store": {"staleFor": "half a minute"}}), "/store/staleFor"),
        (json!({"fsGroup": 0}), "/fsGroup"),
        (json!({"envoyGateway": {"enabled": true}}), "envoyGateway.targetRefs: is empty"),
        (json!({"gatewayApi": {"enabled": true}}), "gatewayApi.backend.name: is empty"),
        (json!({"gatewayApi": {"enabled": true, "backend": {"name": "shop"}}}), "gatewayApi.parentRefs: is empty"),
        (json!({"injector": {"failurePolicy": "Open"}}), "/injector/failurePolicy"),
        (json!({"injector": {"timeoutSeconds": 31}}), "/injector/timeoutSeconds"),
        (json!({"mode": "injector", "injector": {"certificate": {"existingSecret": "x"}}}), "injector.certificate.caBundle: is empty"),
    ]);
}

#[test]
fn a_configuration_that_does_not_fit_the_chart_is_refused() {
    are_refused([
        (json!({"config": {"routes": {}}}), "/config"),
        (json!({"config": "routes: ["}), "config: is not YAML"),
        (json!({"config": "{\"routes\": {}}"}), "config: is not one YAML document"),
        (json!({"config": "routes: {}\n---\nroutes: {}\n"}), "config: is not one YAML document"),
        (json!({"config": "null"}), "config: is not one YAML document"),
        (json!({"config": "# nothing yet\n"}), "config: says nothing"),
        (json!({"config": "routes: {}\nroutes: {}\n"}), "config: has the key `routes` twice"),
        (json!({"config": "routes: [GET /a]"}), "config: its `routes` are no mapping"),
        (json!({"config": "credentials: tokens.json"}), "config: its `credentials` are no mapping"),
        (json!({"config": "listen: {ext_authz: 0.0.0.0:1}"}), "config: has the key `listen`"),
        (json!({"config": "store: sqlite:x.db", "store": {"secret": "shop"}}), "config: has the key `store`"),
        (json!({"config": "limits: {backend: memory}", "limits": {"secret": "shop"}}), "config: has the key `limits`"),
        (json!({"mode": "sidecar", "config": "upstream: http://127.0.0.1:1"}), "config: has the key `upstream`"),
        (json!({"config": "credentials: {keys: {kind: api_key}}"}), "store.secret: is needed by credential `keys`"),
        (json!({"config": "credentials: {users: {kind: firebase, profile: {claim: email}}}"}), "store.secret: is needed by credential `users`"),
        (json!({"config": "routes: {POST /pay: {mfa: {max_age: 5m}}}"}), "store.secret: is needed by `mfa` of `POST /pay`"),
        (json!({"config": "management: {expose: true}"}), "store.secret: is needed by `management`"),
        (json!({"config": "routes: {}", "existingConfigMap": "mine"}), "config: stands beside existingConfigMap"),
    ]);
}

#[test]
fn a_configuration_may_begin_as_files_do() {
    let rules = "credentials:\n  t: {kind: static, file: tokens/tokens.json}\nroutes:\n  GET /a: public\n";
    let written = |text: &str| {
        let objects = read(&template(&json!({"config": text}), &[]).unwrap());
        let documents = read(super::one(&objects, "ConfigMap")["data"]["scopegate.yaml"].as_str().unwrap());
        assert_eq!(documents.len(), 1, "{text}");
        documents[0].clone()
    };
    let plain = written(rules);
    assert_eq!(plain["routes"], json!({"GET /a": "public"}));
    for start in ["---\n", "# of the shop\n--- # rules\n", "\u{feff}", "\n\n# rules\n"] {
        assert_eq!(written(&format!("{start}{rules}")), plain, "{start:?}");
    }
    assert_eq!(written(&rules.replace('\n', "\r\n")), plain);
}

/// Names that YAML would read as something else, and that a Service may not have.
#[test]
fn names_stay_names() {
    for release in ["on", "true", "null", "my.gate", &"a".repeat(53)] {
        let chart = chart();
        let text =
            helm(&["template", release, chart.to_str().unwrap(), "-n", "123", "--set-string", "priorityClassName=007,tokens.existingSecret=123"])
                .unwrap();
        let objects = read(&text);
        assert_eq!(super::faults(&objects), [""; 0], "{release}");
        let service = super::one(&objects, "Service");
        let name = service["metadata"]["name"].as_str().unwrap();
        assert!(name.len() <= 63 && !name.contains('.'), "{name}");
        assert_eq!((&service["metadata"]["namespace"], &service["spec"]["selector"]["app.kubernetes.io/instance"]), (&json!("123"), &json!(release)));
    }
    let told = helm(&["template", "1gate", chart().to_str().unwrap()]).unwrap_err();
    assert!(told.contains("fullnameOverride: is needed"), "{told}");
}

#[test]
fn a_parent_may_turn_it_on_and_off() {
    assert_eq!(template(&json!({"enabled": true, "global": {"x": 1}}), &[]), template(&json!({}), &[]));
}

#[test]
fn the_chart_lints_and_packs() {
    helm(&["lint", "--strict", chart().to_str().unwrap()]).unwrap();
    for case in CASES.iter() {
        let file = kubernetes("cases").join(format!("{}.yaml", case.name));
        helm(&["lint", "--strict", chart().to_str().unwrap(), "-f", file.to_str().unwrap()]).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
    let folder = tempfile::tempdir().unwrap();
    let packed = helm(&["package", chart().to_str().unwrap(), "-d", folder.path().to_str().unwrap()]).unwrap();
    let archive = folder.path().join(format!("scopegate-{}.tgz", env!("CARGO_PKG_VERSION")));
    assert!(archive.exists(), "{packed}");
    // What is in the archive renders as the folder does.
    let text = helm(&["template", "gate", archive.to_str().unwrap(), "-n", "auth"]).unwrap();
    assert_eq!(text, super::case("authorizer-default").text);
}

#[test]
fn who_installs_it_is_told_what_to_do_next() {
    let notes = |values: &[&str]| {
        let chart = chart();
        let arguments = [&["install", "gate", chart.to_str().unwrap(), "-n", "auth", "--dry-run=client"], values].concat();
        let said = helm(&arguments).unwrap();
        said.split_once("NOTES:").unwrap().1.to_owned()
    };
    let nothing = notes(&[]);
    for said in ["denies EVERY request", "scopegate token new", "--set-file config=scopegate.yaml", "gate-scopegate.auth.svc.cluster.local:9191"] {
        assert!(nothing.contains(said), "{said}: {nothing}");
    }
    // As it is told: words of a command, nothing that a shell would take otherwise.
    assert!(!nothing.contains('<'), "{nothing}");
    let rules = notes(&["--set", "config=routes: {}"]);
    assert!(!rules.contains("denies EVERY request") && rules.contains("one entry that no token fits"), "{rules}");
    assert!(notes(&["--set", "istio.enabled=true"]).contains("envoyExtAuthzGrpc"));
    assert!(notes(&["--set", "networkPolicy.enabled=true"]).contains("lets nobody in"));
    let closed = ["--set", "networkPolicy.enabled=true"];
    assert!(notes(&[&closed[..], &["--set", "mode=injector"]].concat()).contains("name the API server in `networkPolicy.extAuthzFrom`"));
    assert!(notes(&["--set", "mode=injector"]).contains("do not start"));
    assert!(notes(&["--set", "mode=injector", "--set", "injector.failurePolicy=Ignore"]).contains("start WITHOUT a sidecar"));
    assert!(notes(&["--set", "mode=sidecar"]).contains("include \"scopegate.sidecar\" .Subcharts.scopegate"));
}
