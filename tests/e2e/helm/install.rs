//! What the chart writes into the pod's folder, laid out as a kubelet does and served by the real gate.
//! Addresses and paths that are a pod's own are changed, and nothing else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::security::shop;
use super::{CASES, of, read, template};
use crate::client::Ask;
use crate::process::{Process, free_port, scopegate};

/// What a kubelet finds in the cluster beside the release: Secrets and ConfigMaps of somebody else's.
const OTHERS: [(&str, &str); 5] = [
    ("keys", "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
    ("postgres", "postgres://gate@127.0.0.1:1/gate"),
    ("redis", "redis://127.0.0.1:1"),
    ("client_secret", "of-the-client"),
    ("ca.pem", ""),
];

/// Fills `folder` with the projected volume of `pod`, by way of the `..data` link that a kubelet swaps.
pub fn project(objects: &[Json], pod: &Json, folder: &Path, version: &str) {
    let data = folder.join(format!("..{version}"));
    let volume = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "scopegate-config").unwrap();
    let mode = u32::try_from(volume["projected"]["defaultMode"].as_u64().unwrap()).unwrap();
    for source in volume["projected"]["sources"].as_array().unwrap() {
        let (kind, source) = if source["secret"].is_null() { ("ConfigMap", &source["configMap"]) } else { ("Secret", &source["secret"]) };
        let object = of(objects, kind).into_iter().find(|object| object["metadata"]["name"] == source["name"]);
        for item in source["items"].as_array().unwrap() {
            let key = item["key"].as_str().unwrap();
            let text = match object {
                Some(object) if kind == "Secret" => STANDARD.decode(object["data"][key].as_str().unwrap()).unwrap(),
                Some(object) => object["data"][key].as_str().unwrap().as_bytes().to_vec(),
                None => OTHERS.iter().find(|(other, _)| *other == key).unwrap_or_else(|| panic!("{key}")).1.as_bytes().to_vec(),
            };
            let path = data.join(item["path"].as_str().unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    symlink(format!("..{version}"), folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    for entry in fs::read_dir(&data).unwrap() {
        let name = entry.unwrap().file_name();
        let link = folder.join(&name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(&name), link).unwrap();
        }
    }
}

/// The configuration with this machine's addresses and folders.
fn here(objects: &[Json], changes: &[(&str, &str)]) -> Vec<Json> {
    let mut objects = objects.to_vec();
    for object in objects.iter_mut().filter(|object| object["kind"] == "ConfigMap") {
        let mut text = object["data"]["scopegate.yaml"].as_str().unwrap().to_owned();
        for (from, to) in changes {
            text = text.replace(from, to);
        }
        object["data"]["scopegate.yaml"] = json!(text);
    }
    objects
}

fn pod(objects: &[Json]) -> Json {
    of(objects, "Deployment")[0]["spec"]["template"]["spec"].clone()
}

#[test]
fn without_values_it_is_ready_and_denies_everything_and_a_secret_that_comes_is_followed() {
    let (authz, forward, admin) = (free_port(), free_port(), free_port());
    let changes = [
        ("0.0.0.0:9191", format!("127.0.0.1:{authz}")),
        ("0.0.0.0:9190", format!("127.0.0.1:{admin}")),
        ("forward_auth: \"off\"", format!("forward_auth: 127.0.0.1:{forward}")),
        ("/var/lib/scopegate/keys", "off".to_owned()),
    ];
    let changes: Vec<(&str, &str)> = changes.iter().map(|(from, to)| (*from, &**to)).collect();
    let install = |values: &Json| here(&read(&template(values, &[]).unwrap()), &changes);
    let folder = tempfile::tempdir().unwrap();
    let nothing = install(&json!({}));
    project(&nothing, &pod(&nothing), folder.path(), "1");
    let mut gate = Process::start("scopegate", &scopegate(), folder.path(), |command| {
        command.args(["serve", "--config"]).arg(folder.path().join("scopegate.yaml"));
    });
    gate.until("ready", |_| Ask::get("/readyz").try_send(admin).is_ok_and(|answer| answer.status == 200));
    let ask = |path: &str, token: &str| {
        let ask = Ask::get("/nginx").header("X-Original-Method", "GET").header("X-Original-URI", path).header("X-Forwarded-Host", "shop.test");
        (if token.is_empty() { ask } else { ask.token(token) }).send(forward).status
    };
    for path in ["/", "/orders", "/healthz"] {
        assert!([401, 403].contains(&ask(path, "")), "{path}");
        assert!([401, 403].contains(&ask(path, &"0".repeat(64))), "{path}");
    }
    // Somebody reads the notes: rules and a token, in a folder that a kubelet swaps under the running gate.
    let rules = "credentials:\n  tokens: {kind: static, file: tokens/tokens.json}\nroutes:\n  GET /orders: orders:read\n";
    let tokens = json!([{"id": "ci", "token": "canary-token-of-the-ci-0001", "scopes": ["orders:read"]}]);
    let something = install(&json!({"config": rules, "tokens": {"entries": tokens}}));
    project(&something, &pod(&something), folder.path(), "2");
    gate.until("the token counts", |_| ask("/orders", "canary-token-of-the-ci-0001") == 200);
    assert_eq!(ask("/orders", ""), 401);
    assert_eq!(ask("/other", "canary-token-of-the-ci-0001"), 403);
    gate.signal("INT");
    assert_eq!(gate.ended(), Some(0));
}

#[test]
fn the_gate_finds_no_fault_in_what_the_chart_writes() {
    let shop = shop(&[]).unwrap();
    let mut seen = 0;
    let all = CASES.iter().map(|case| (&*case.name, &case.objects)).chain([("shop", &shop)]);
    for (name, objects) in all.filter(|(name, objects)| !of(objects, "ConfigMap").is_empty() && *name != "sidecar") {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("keys");
        let objects = here(objects, &[("/var/lib/scopegate/keys", state.to_str().unwrap())]);
        project(&objects, &pod(&objects), folder.path(), "1");
        let config = folder.path().join("scopegate.yaml");
        let said = super::run(&scopegate(), &["check", "--config", config.to_str().unwrap()], "").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(said.starts_with("no faults"), "{name}: {said}");
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn somebody_elses_pod_gets_a_native_sidecar() {
    let told = shop(&["--set", "scopegate.mode=authorizer"]).unwrap_err();
    assert!(told.contains("mode: is `authorizer`, and `scopegate.sidecar` needs `sidecar`"), "{told}");
    let shop = shop(&[]).unwrap();
    assert_eq!(super::faults(&shop), [""; 0]);
    let pod = pod(&shop);
    let sidecar = &pod["initContainers"][0];
    assert_eq!((&sidecar["name"], &sidecar["restartPolicy"]), (&json!("scopegate"), &json!("Always")));
    let config = &read(of(&shop, "ConfigMap")[0]["data"]["scopegate.yaml"].as_str().unwrap())[0];
    assert_eq!(config["upstream"], "http://127.0.0.1:3000");
    assert_eq!(config["listen"], json!({"proxy": "0.0.0.0:8080", "ext_authz": "off", "forward_auth": "off", "admin": "0.0.0.0:9190"}));
    assert_eq!(sidecar["ports"][0]["containerPort"], 8080);
}
