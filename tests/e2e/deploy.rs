//! The folders of `deploy/` that no real program of theirs can run here: against published schemas, and against each other.
//! Envoy, nginx, Traefik and Caddy run with their files in `promises`, ingress-nginx in `ingress_nginx`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::application::Application;
use crate::client::Ask;
use crate::helm::{self, case, faults, kubernetes, of, one, read};
use crate::process::{Process, free_port, root, scopegate, tool};

fn deploy(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

#[test]
fn every_folder_has_a_short_page_with_two_commands_and_what_to_look_at() {
    let index = text("README.md");
    let mut seen = 0;
    for entry in fs::read_dir(deploy("")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(index.contains(&format!("{name}/")), "deploy/README.md does not speak of {name}");
        if name == "examples" {
            continue;
        }
        let page = fs::read_to_string(entry.join("README.md")).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.lines().count() <= 40, "{name}: the page is long");
        let commands = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
        assert_eq!(commands.lines().count(), 2, "{name}");
        assert!(page.contains("- **Look**"), "{name}");
        // Each file that it has, its page or the index speaks of, and each that it speaks of is there.
        for file in fs::read_dir(&entry).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()) {
            assert!(file == "README.md" || page.contains(&file) || index.contains(&format!("{name}/{file}")), "{name}: {file}");
        }
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
}

#[test]
fn manifests_fit_the_schemas_of_kubernetes_and_of_the_other_projects() {
    let files = [
        "istio/policy.yaml",
        "envoy-gateway/policy.yaml",
        "ingress-nginx/ingress.yaml",
        "kubernetes/sidecar.yaml",
        "kubernetes/injected.yaml",
        "traefik/middleware.yaml",
    ];
    let objects: Vec<Json> = files.iter().flat_map(|file| read(&text(file))).collect();
    assert!(objects.len() >= 8, "{}", objects.len());
    assert_eq!(faults(&objects), [""; 0]);
}

/// What a manifest shows beside what it says: a line that is a comment, in place of another one or as one more.
#[test]
fn commented_lines_fit_the_schemas_too() {
    let with = |file: &str, instead: &str, line: &str| {
        let text = text(file);
        let (shown, gone) = (format!("  # {line}\n"), format!("  {instead}\n"));
        assert!(text.contains(&shown) && (instead.is_empty() || text.contains(&gone)), "{file} does not show `{line}`");
        let kept = if instead.is_empty() { text } else { text.replace(&gone, "") };
        let objects = read(&kept.replace(&shown, &format!("  {line}\n")));
        assert_eq!(faults(&objects), [""; 0], "{file}");
        objects
    };
    let waypoint = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}]";
    let policy = with("istio/policy.yaml", "selector: {matchLabels: {app: shop}}", waypoint).remove(0);
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}]);
    assert_eq!((&policy["spec"]["targetRefs"], &policy["spec"]["selector"]), (&target, &Json::Null));
    let chart = one(&case("authorizer-waypoint").objects, "AuthorizationPolicy");
    assert_eq!((&policy["spec"]["targetRefs"], &policy["spec"]["action"]), (&chart["spec"]["targetRefs"], &chart["spec"]["action"]));
    let gateway = with("envoy-gateway/policy.yaml", "", "bodyToExtAuth: {maxRequestBytes: 65536}");
    assert_eq!(one(&gateway, "SecurityPolicy")["spec"]["extAuth"]["bodyToExtAuth"], json!({"maxRequestBytes": 65536}));
}

/// The manifests speak of a release `gate` in the namespace `auth`: what the chart makes of it has those names and ports.
#[test]
fn manifests_find_what_the_chart_installs() {
    let service = |values: &Json| {
        let objects = read(&helm::template(values, &[]).unwrap());
        let service = one(&objects, "Service").clone();
        let name =
            format!("{}.{}.svc.cluster.local", service["metadata"]["name"].as_str().unwrap(), service["metadata"]["namespace"].as_str().unwrap());
        let port = |name: &str| {
            let ports = service["spec"]["ports"].as_array().unwrap();
            ports.iter().find(|port| port["name"] == name).map(|port| port["port"].as_u64().unwrap()).unwrap()
        };
        (name, port("grpc-authz"), port("http-authz"))
    };
    let (host, grpc, http) = service(&json!({"doors": {"forwardAuth": {"enabled": true}}}));
    let mesh = read(&text("istio/mesh.yaml")).remove(0);
    let provider = &mesh["meshConfig"]["extensionProviders"][0];
    let door = &provider["envoyExtAuthzGrpc"];
    assert_eq!((&door["service"], &door["port"], &door["failOpen"]), (&json!(host), &json!(grpc), &json!(false)));
    let policy = read(&text("istio/policy.yaml")).remove(0);
    assert_eq!(policy["spec"]["provider"]["name"], provider["name"]);
    assert_eq!(policy["spec"]["action"], "CUSTOM");
    assert_eq!((&policy["spec"]["selector"], &policy["spec"]["targetRefs"]), (&json!({"matchLabels": {"app": "shop"}}), &Json::Null));
    let gateway = read(&text("envoy-gateway/policy.yaml"));
    let asked = &one(&gateway, "SecurityPolicy")["spec"]["extAuth"];
    let backend = &asked["grpc"]["backendRefs"][0];
    assert_eq!((&backend["port"], &asked["failOpen"]), (&json!(grpc), &json!(false)));
    assert_eq!(asked["bodyToExtAuth"], Json::Null, "it would refuse every long upload");
    let (name, namespace) = (backend["name"].as_str().unwrap(), backend["namespace"].as_str().unwrap());
    assert!(host.starts_with(&format!("{name}.{namespace}.")), "{host}");
    let grant = one(&gateway, "ReferenceGrant");
    assert_eq!((&grant["metadata"]["namespace"], &grant["spec"]["to"][0]["name"]), (&json!(namespace), &json!(name)));
    for (file, path) in [("ingress-nginx/ingress.yaml", "ingress-nginx/$host"), ("traefik/middleware.yaml", "traefik")] {
        assert!(text(file).contains(&format!("http://{host}:{http}/{path}\n")), "{file}");
    }
    // The notes of the release say the same of the mesh.
    let chart = helm::chart();
    let notes = helm::helm(&["install", "gate", chart.to_str().unwrap(), "-n", "auth", "--dry-run=client", "--set", "istio.enabled=true"]).unwrap();
    let said = notes.split_once("  extensionProviders:\n").unwrap().1.split_once("Until then").unwrap().0;
    assert_eq!(read(said).remove(0)[0], *provider);
}

#[test]
fn traefiks_resource_is_its_file() {
    let file = read(&text("traefik/dynamic.yaml")).remove(0)["http"]["middlewares"]["scopegate"]["forwardAuth"].clone();
    let mut resource = read(&text("traefik/middleware.yaml")).remove(0)["spec"]["forwardAuth"].clone();
    resource["address"] = file["address"].clone();
    assert_eq!(resource, file);
}

#[test]
fn the_sidecar_by_hand_is_as_the_charts_and_its_configuration_holds() {
    let objects = read(&text("kubernetes/sidecar.yaml"));
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    let sidecar = &pod["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always");
    let chart = one(&case("authorizer-default").objects, "Deployment")["spec"]["template"]["spec"].clone();
    for key in ["securityContext", "volumeMounts", "args"] {
        assert_eq!(sidecar[key], chart["containers"][0][key], "{key}");
    }
    assert_eq!(pod["securityContext"], chart["securityContext"]);
    assert_eq!(pod["volumes"][0]["projected"]["defaultMode"], 0o440);
    assert_eq!(one(&objects, "Service")["spec"]["ports"][0]["targetPort"], sidecar["ports"][0]["containerPort"]);
    let folder = tempfile::tempdir().unwrap();
    for source in pod["volumes"][0]["projected"]["sources"].as_array().unwrap() {
        for item in ["configMap", "secret"].iter().filter_map(|kind| source[kind]["items"].as_array()).flatten() {
            let path = folder.path().join(item["path"].as_str().unwrap());
            let tokens = || r#"[{"id": "ci", "token": "token-of-the-ci-00001", "scopes": ["orders:read"]}]"#.to_owned();
            let text = of(&objects, "ConfigMap")[0]["data"][item["key"].as_str().unwrap()].as_str().map_or_else(tokens, str::to_owned);
            write(&path, &text.replace("/var/lib/scopegate/keys", "off"));
        }
    }
    let config = folder.path().join("scopegate.yaml");
    let said = helm::run(&scopegate(), &["check", "--config", config.to_str().unwrap()], "").unwrap();
    assert!(said.starts_with("no faults"), "{said}");
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn compose_fits_its_specification_and_leaves_the_application_no_door() {
    let file = read(&text("compose/compose.yaml")).remove(0);
    let (script, packages) = (kubernetes("compose.mjs"), root().join("target/tools/packages/kubernetes"));
    let check = |file: &Json| helm::run(&tool("node"), &[script.to_str().unwrap(), packages.to_str().unwrap()], &file.to_string()).unwrap();
    assert_eq!(check(&file), "[]");
    let mut wrong = file.clone();
    wrong["services"]["scopegate"]["readonly"] = json!(true);
    assert_ne!(check(&wrong), "[]");
    let (gate, application) = (&file["services"]["scopegate"], &file["services"]["application"]);
    assert!(application["ports"].is_null() && file["networks"]["inside"]["internal"] == true, "{application}");
    assert_eq!(application["networks"], json!(["inside"]));
    assert_eq!((&gate["read_only"], &gate["cap_drop"], &gate["user"]), (&json!(true), &json!(["ALL"]), &json!("65532:65532")));
    let seconds = |text: &Json| text.as_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
    let config = read(&text("compose/scopegate.yaml")).remove(0);
    assert!(seconds(&gate["stop_grace_period"]) > seconds(&config["lame_duck"]) + seconds(&config["drain_timeout"]));
    assert_eq!(gate["volumes"], json!(["./:/etc/scopegate:ro"]));
}

#[test]
fn composes_configuration_serves_the_application() {
    let (application, door, admin) = (Application::start(), free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let here = text("compose/scopegate.yaml")
        .replace("application:80", &format!("127.0.0.1:{}", application.port))
        .replace("0.0.0.0:8080", &format!("127.0.0.1:{door}"))
        .replace("listen: {", &format!("listen: {{admin: 127.0.0.1:{admin}, "));
    write(&folder.path().join("scopegate.yaml"), &here);
    write(&folder.path().join("tokens.json"), r#"[{"id": "me", "token": "token-of-mine-000001", "scopes": ["orders:read"]}]"#);
    let mut gate = Process::start("scopegate", &scopegate(), folder.path(), |command| {
        command.args(["serve", "--config"]).arg(folder.path().join("scopegate.yaml"));
    });
    gate.until("ready", |_| Ask::get("/readyz").try_send(admin).is_ok_and(|answer| answer.status == 200));
    assert_eq!(Ask::get("/orders").send(door).status, 401);
    assert_eq!(Ask::get("/orders").token("token-of-mine-000001").send(door).status, 200);
    assert_eq!(Ask::get("/health").send(door).status, 200);
}
