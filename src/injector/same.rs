//! A container or volume that a pod has, against the one that it would get: whether it is the very same in all that matters.
//! Lets nothing pass but what is known to come from the API server and from other webhooks, and can change nothing of what the gate does.

use std::path::{Component, Path};

use serde_json::{Map, Value};

use super::sidecar::MODES;

/// Variables that cloud webhooks and agents put into every container of a pod; the gate itself reads none of them.
const FOREIGN_VARIABLES: [&str; 6] = ["AWS_", "AZURE_", "CLOUDSDK_", "DD_", "GOOGLE_", "KUBERNETES_"];
/// Where the gate and its libraries look for anything: the program, what it reads and writes, the system's own files, authorities to believe.
/// Others mount tokens of clouds, secrets of a vault and sockets of agents into every container, and all of them elsewhere.
const OURS: &str = "/bin /boot /data /dev /etc /home /lib /lib64 /opt /private /proc /root /sbin /sys /system /usr /var/lib/scopegate /var/ssl";

/// The first field of a container in which it differs.
pub fn container(have: &Value, want: &Value) -> Option<String> {
    let (Some(have), Some(want)) = (have.as_object(), want.as_object()) else { return Some("kind".into()) };
    fields(have, want, |key, have, want| match (key, want) {
        // A LimitRange fills in what is missing, an autoscaler knows better.
        ("resources", _) | ("resizePolicy", None) => true,
        ("image", Some(want)) => is_image(have.as_str().unwrap_or_default(), want.as_str().unwrap_or_default()),
        ("volumeMounts", want) => mounts(have, want.unwrap_or(&Value::Array(Vec::new()))),
        ("securityContext", Some(want)) => is_secure(have, want),
        ("imagePullPolicy", None) => have == "Always" || have == "IfNotPresent",
        ("env", None) => elements(have).all(is_foreign_variable),
        (_, Some(want)) => have == want,
        (_, None) => false,
    })
}

/// The same of a volume, of which everything matters but which of two modes its files have: the pod's group may have come later.
pub fn volume(have: &Value, want: &Value) -> Option<String> {
    let (Some(have), Some(want)) = (have.as_object(), want.as_object()) else { return Some("kind".into()) };
    fields(have, want, |key, have, want| match want {
        Some(want) if key == "projected" => MODES.iter().any(|mode| *have == with_mode(want, *mode)),
        _ => want == Some(have),
    })
}

fn with_mode(volume: &Value, mode: u32) -> Value {
    let mut volume = volume.clone();
    if let Some(fields) = volume.as_object_mut() {
        fields.insert("defaultMode".into(), mode.into());
    }
    volume
}

/// Every field of either; one that is null is not there.
fn fields(have: &Map<String, Value>, want: &Map<String, Value>, is_same: impl Fn(&str, &Value, Option<&Value>) -> bool) -> Option<String> {
    let is_lacking = |key: &&String| key.as_str() != "resources" && have.get(*key).is_none_or(Value::is_null);
    if let Some(key) = want.keys().find(is_lacking) {
        return Some(key.clone());
    }
    let other = have.iter().find(|(key, value)| !value.is_null() && !is_same(key, value, want.get(*key)));
    other.map(|(key, _)| key.chars().take(64).collect())
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().map(Vec::as_slice).unwrap_or(std::slice::from_ref(list)).iter()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_foreign_variable(variable: &Value) -> bool {
    FOREIGN_VARIABLES.iter().any(|prefix| text(variable, "name").starts_with(prefix))
}

/// Each of ours once, and beside them none that could lie over them or over the program.
fn mounts(have: &Value, want: &Value) -> bool {
    let ours = |mount: &Value| elements(want).any(|own| own == mount);
    let each = elements(want).all(|own| elements(have).filter(|mount| *mount == own).count() == 1);
    each && elements(have).all(|mount| ours(mount) || is_foreign_mount(mount))
}

fn is_foreign_mount(mount: &Value) -> bool {
    let path = Path::new(text(mount, "mountPath"));
    // Component by component, so that neither `..` nor another beginning leads into them.
    let is_plain = path.has_root() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let touches = |own: &str| path.starts_with(own) || Path::new(own).starts_with(path);
    is_plain && !OURS.split(' ').any(touches)
}

/// The same image, or another version of it: injectors of two versions answer while one takes the other's place, and a pod that was kept comes back later.
fn is_image(have: &str, want: &str) -> bool {
    have == want || have.strip_prefix(repository(want)).is_some_and(is_version)
}

/// `:tag`, `@sha256:digest` or both.
fn is_version(text: &str) -> bool {
    let (tag, digest) = text.split_once('@').map_or((text, None), |(tag, digest)| (tag, Some(digest)));
    let is_tag = |tag: &str| !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let is_digest = |digest: &str| {
        digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    };
    match (tag.strip_prefix(':'), digest) {
        (Some(tag), digest) => is_tag(tag) && digest.is_none_or(is_digest),
        (None, Some(digest)) => tag.is_empty() && is_digest(digest),
        (None, None) => false,
    }
}

/// Without tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let tag = name.get(path..).and_then(|last| last.find(':'));
    tag.and_then(|tag| name.get(..path + tag)).unwrap_or(name)
}

/// What takes away, or says what is so already, is let be: a policy drops capabilities by name, a platform gives users and labels of its own.
fn is_secure(have: &Value, want: &Value) -> bool {
    let (Some(have), Some(want)) = (have.as_object(), want.as_object()) else { return false };
    fields(have, want, |key, have, want| match (key, want) {
        ("capabilities", Some(want)) => drops_all(have, want),
        ("procMount", None) => have == "Default",
        ("privileged", None) => have == false,
        ("appArmorProfile", None) => *have == serde_json::json!({"type": "RuntimeDefault"}),
        // Not a type or a role: a level keeps pods from each other.
        ("seLinuxOptions", None) => have.as_object().is_some_and(|options| options.keys().all(|key| key == "level")),
        ("runAsUser" | "runAsGroup", None) => have.as_u64().is_some_and(|number| number != 0),
        (_, Some(want)) => have == want,
        (_, None) => false,
    })
    .is_none()
}

/// All are dropped, by that word, and those added that are wanted.
fn drops_all(have: &Value, want: &Value) -> bool {
    let empty = Value::Array(Vec::new());
    let added = |of: &Value| of.get("add").filter(|added| !added.is_null()).unwrap_or(&empty).clone();
    let is_known = have.as_object().is_some_and(|have| have.keys().all(|key| key == "add" || key == "drop"));
    is_known && have.get("drop").is_some_and(|dropped| elements(dropped).any(|name| name == "ALL")) && added(have) == added(want)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn want() -> Value {
        json!({
            "name": "scopegate",
            "image": "scopegate:1",
            "args": ["serve"],
            "resources": {"limits": {"memory": "256Mi"}},
            "securityContext": {"runAsUser": 65532},
            "volumeMounts": [{"name": "scopegate-config", "mountPath": "/etc/scopegate", "readOnly": true}],
        })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut have = want();
        have[key] = value;
        have
    }

    #[test]
    fn what_others_add_without_changing_it_is_let_be() {
        let own = want()["volumeMounts"][0].clone();
        let token = json!({"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true});
        for (key, value) in [
            ("name", json!("scopegate")),
            ("imagePullPolicy", json!("IfNotPresent")),
            ("resources", json!({"limits": {"memory": "256Mi", "cpu": "1"}})),
            ("env", json!([{"name": "AWS_ROLE_ARN", "value": "x"}, {"name": "DD_AGENT_HOST", "value": "y"}])),
            ("env", json!([])),
            ("env", json!(null)),
            ("volumeMounts", json!([token, own])),
            ("volumeMounts", json!([own, {"name": "v", "mountPath": "/vault/secrets"}, {"name": "d", "mountPath": "/var/run/datadog"}])),
            ("image", json!("scopegate:2")),
            ("image", json!(format!("scopegate:1@sha256:{}", "0a".repeat(32)))),
            ("image", json!(format!("scopegate@sha256:{}", "0a".repeat(32)))),
            ("resizePolicy", json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}])),
            ("securityContext", json!({"runAsUser": 65532, "privileged": false, "seLinuxOptions": {"level": "s0:c1,c2"}})),
            ("securityContext", json!({"runAsUser": 65532, "appArmorProfile": {"type": "RuntimeDefault"}})),
            ("securityContext", json!({"runAsUser": 65532, "runAsGroup": 1})),
            ("securityContext", json!({"runAsUser": 65532, "procMount": "Default"})),
        ] {
            let have = with(key, value);
            assert_eq!(container(&have, &want()), None, "{have}");
        }
        let mut without = want();
        without.as_object_mut().unwrap().remove("resources");
        assert_eq!(container(&without, &want()), None);
    }

    #[test]
    fn whatever_could_change_the_gate_is_told_by_its_field() {
        let own = want()["volumeMounts"][0].clone();
        let beside = |mount: Value| json!([own, mount]);
        for (key, value) in [
            ("name", json!("other")),
            ("image", json!("scopegate-2:1")),
            ("image", json!("scopegate")),
            ("image", json!("scopegate:")),
            ("image", json!("scopegate@x/evil:1")),
            ("image", json!("scopegate@sha256:00")),
            ("image", json!("scopegate:1/evil:1")),
            ("image", json!("other/scopegate:1")),
            ("image", json!("scopegate:5000/scopegate:1")),
            ("image", json!("")),
            ("image", json!(null)),
            ("args", json!(["serve", "--config"])),
            ("command", json!(["true"])),
            ("command", json!([])),
            ("workingDir", json!("/")),
            ("lifecycle", json!({"postStart": {"exec": {"command": ["true"]}}})),
            ("envFrom", json!([{"configMapRef": {"name": "x"}}])),
            ("env", json!([{"name": "SCOPEGATE_DEV_MODE", "value": "true"}])),
            ("env", json!([{"name": "AWS_REGION", "value": "x"}, {"name": "SSL_CERT_FILE", "value": "x"}])),
            ("env", json!([{"value": "x"}])),
            ("env", json!("AWS_")),
            ("imagePullPolicy", json!("Never")),
            ("terminationMessagePath", json!("/etc/scopegate/scopegate.yaml")),
            ("volumeDevices", json!([])),
            ("securityContext", json!({"runAsUser": 0})),
            ("securityContext", json!({"runAsUser": 65532, "privileged": true})),
            ("securityContext", json!({"runAsUser": 65532, "procMount": "Unmasked"})),
            ("securityContext", json!({"runAsUser": 65532, "runAsGroup": 0})),
            ("securityContext", json!({"runAsUser": 65532, "seLinuxOptions": {"type": "spc_t"}})),
            ("securityContext", json!({"runAsUser": 65532, "appArmorProfile": {"type": "Unconfined"}})),
            ("securityContext", json!({"runAsUser": 65532, "capabilities": {"drop": ["ALL"]}})),
            ("securityContext", json!({})),
            ("volumeMounts", json!([])),
            ("volumeMounts", json!([own, own])),
            ("volumeMounts", json!([{"name": "other", "mountPath": "/etc/scopegate", "readOnly": true}])),
            ("volumeMounts", json!([{"name": "scopegate-config", "mountPath": "/etc/scopegate", "readOnly": true, "subPath": "x"}])),
            ("volumeMounts", beside(json!({"name": "x", "mountPath": "/etc/scopegate/tokens"}))),
            ("volumeMounts", beside(json!({"name": "x", "mountPath": "/etc/ssl"}))),
            ("volumeMounts", beside(json!({"name": "x", "mountPath": "/"}))),
            ("volumeMounts", beside(json!({"name": "x", "mountPath": "/var"}))),
            ("volumeMounts", beside(json!({"name": "x", "mountPath": "/var/lib/scopegate/keys"}))),
            ("volumeMounts", beside(json!({"name": "x", "mountPath": "/usr/local/bin/scopegate"}))),
            ("volumeMounts", beside(json!({"name": "x", "mountPath": "/proc"}))),
            ("volumeMounts", beside(json!({"name": "x", "mountPath": "/var/run/secrets/../../../etc/scopegate"}))),
            ("volumeMounts", beside(json!({"name": "x", "mountPath": "var/run/secrets/a"}))),
            ("volumeMounts", beside(json!({"name": "x"}))),
            ("somethingNew", json!(true)),
        ] {
            let have = with(key, value);
            assert_eq!(container(&have, &want()).as_deref(), Some(key), "{have}");
        }
    }

    #[test]
    fn capabilities_are_dropped_all_and_none_is_added() {
        let want = json!({"drop": ["ALL"]});
        for have in [json!({"drop": ["ALL"]}), json!({"drop": ["ALL", "NET_RAW"]}), json!({"drop": ["KILL", "ALL"], "add": null})] {
            assert!(drops_all(&have, &want), "{have}");
        }
        for have in
            [json!({"drop": ["NET_RAW"]}), json!({}), json!(null), json!({"drop": ["ALL"], "add": ["NET_RAW"]}), json!({"drop": ["ALL"], "x": 1})]
        {
            assert!(!drops_all(&have, &want), "{have}");
        }
        let rules = json!({"drop": ["ALL"], "add": ["NET_ADMIN"]});
        assert!(drops_all(&rules, &rules) && !drops_all(&want, &rules));
    }

    #[test]
    fn a_container_without_mounts_may_get_those_of_others_and_no_more() {
        let rules = json!({"name": "scopegate-intercept"});
        for (path, is_same) in [("/var/run/secrets/kubernetes.io/serviceaccount", true), ("/etc/scopegate", false)] {
            let have = json!({"name": "scopegate-intercept", "volumeMounts": [{"name": "x", "mountPath": path}]});
            assert_eq!(container(&have, &rules).is_none(), is_same, "{path}");
        }
    }

    #[test]
    fn a_volume_is_the_same_or_it_is_not() {
        let want = json!({"name": "scopegate-state", "emptyDir": {"sizeLimit": "16Mi"}});
        assert_eq!(volume(&want, &want), None);
        let files =
            |mode: u32, from: &str| json!({"name": "scopegate-config", "projected": {"defaultMode": mode, "sources": [{"secret": {"name": from}}]}});
        assert_eq!(volume(&files(0o440, "a"), &files(0o444, "a")), None);
        assert_eq!(volume(&files(0o444, "a"), &files(0o440, "a")), None);
        for have in [files(0o644, "a"), files(0o400, "a"), files(0o444, "b")] {
            assert_eq!(volume(&have, &files(0o444, "a")).as_deref(), Some("projected"), "{have}");
        }
        for have in [
            json!({"name": "scopegate-state", "hostPath": {"path": "/"}}),
            json!({"name": "scopegate-state", "emptyDir": {}}),
            json!({"name": "scopegate-state", "emptyDir": {"sizeLimit": "16Mi"}, "hostPath": {"path": "/"}}),
            json!("scopegate-state"),
        ] {
            assert!(volume(&have, &want).is_some(), "{have}");
        }
    }
}
