//! Every pod of every case against Kubernetes' restricted pod security standard, and where secrets may be.
//! The standard as its page lists it, and stricter where a gate can be: one user, a read-only root, no token of the cluster's.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::{CASES, case, chart, helm, kubernetes, of, one, read};

/// The case that leaves users and groups to the platform.
const PLATFORMS: &str = "authorizer-openshift";

/// Somebody else's chart, whose pod has the sidecar.
pub fn shop(more: &[&str]) -> Result<Vec<Json>, String> {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let status = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
        assert!(status.success());
    };
    let shop = folder.path().join("shop");
    copy(&kubernetes("chart"), &shop);
    fs::create_dir(shop.join("charts")).unwrap();
    copy(&chart(), &shop.join("charts/scopegate"));
    let arguments = [&["template", "web", shop.to_str().unwrap(), "-n", "shop"], more].concat();
    Ok(read(&helm(&arguments)?))
}

/// Every pod of every case, and one of somebody else's with the sidecar.
fn pods() -> Vec<(String, Json)> {
    let mut pods = Vec::new();
    let all = CASES.iter().map(|case| (case.name.clone(), case.objects.clone())).chain([("shop".to_owned(), shop(&[]).unwrap())]);
    for (name, objects) in all {
        pods.extend(of(&objects, "Deployment").iter().map(|deployment| (name.clone(), deployment["spec"]["template"]["spec"].clone())));
    }
    assert!(pods.len() >= 8, "{}", pods.len());
    pods
}

fn containers(pod: &Json) -> Vec<&Json> {
    ["initContainers", "containers"].iter().filter_map(|list| pod[list].as_array()).flatten().collect()
}

#[test]
fn every_pod_is_restricted() {
    for (name, pod) in pods() {
        for host in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[host].is_null(), "{name}: {host}");
        }
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        for volume in pod["volumes"].as_array().unwrap() {
            let kinds: Vec<&String> = volume.as_object().unwrap().keys().filter(|key| *key != "name").collect();
            assert!(
                kinds.iter().all(|kind| ["projected", "secret", "emptyDir", "persistentVolumeClaim"].contains(&kind.as_str())),
                "{name}: {volume}"
            );
        }
        for container in containers(&pod) {
            let security = &container["securityContext"];
            let mut fixed = json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
            });
            if name == PLATFORMS {
                fixed.as_object_mut().unwrap().retain(|key, _| !["runAsUser", "runAsGroup"].contains(&&**key));
            }
            assert_eq!(*security, fixed, "{name}: {}", container["name"]);
            for port in container["ports"].as_array().into_iter().flatten() {
                assert!(port["hostPort"].is_null() && port["containerPort"].as_u64().unwrap() >= 1024, "{name}: {port}");
            }
        }
    }
}

/// A mounted secret is for the gate's group and nobody else, and follows the Secret: neither a `subPath` nor a checksum holds it.
#[test]
fn secrets_are_files_of_the_gate_alone_and_follow_what_they_come_from() {
    for (name, pod) in pods() {
        assert_eq!(pod["securityContext"]["fsGroup"].as_u64().is_some_and(|group| group > 0), name != PLATFORMS, "{name}");
        for volume in pod["volumes"].as_array().unwrap() {
            for kind in ["projected", "secret"] {
                assert!(volume[kind].is_null() || volume[kind]["defaultMode"] == 0o440, "{name}: {volume}");
            }
        }
        for container in containers(&pod) {
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                assert!(mount["subPath"].is_null(), "{name}: {mount}");
                assert!(mount["readOnly"] == true || ["scopegate-state", "audit"].iter().any(|own| mount["name"] == *own), "{name}: {mount}");
            }
        }
    }
}

#[test]
fn no_secret_is_anywhere_but_in_a_secret() {
    const TOKEN: &str = "canary-token-of-the-ci-0001";
    let full = case("authorizer-full");
    let secret = one(&full.objects, "Secret");
    let file = STANDARD.decode(secret["data"]["tokens.json"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8(file).unwrap().contains(TOKEN));
    for object in full.objects.iter().filter(|object| object["kind"] != "Secret") {
        let text = object.to_string();
        // In base64 it may begin at any of three places.
        let images = (0..3).map(|skip| STANDARD.encode(&TOKEN.as_bytes()[skip..skip + 24]));
        assert!(!text.contains(TOKEN) && images.into_iter().all(|image| !text.contains(&image)), "{text}");
    }
    for (name, pod) in pods() {
        for container in containers(&pod) {
            for variable in container["env"].as_array().into_iter().flatten() {
                assert!(variable["valueFrom"].is_null(), "{name}: {variable}");
            }
            assert!(container["envFrom"].is_null(), "{name}");
        }
    }
}
