//! The running webhook, asked as the API server asks it: real TLS, whole reviews, and its patches applied by a library that is not ours.

mod again;
mod answers;
mod gate;
mod refusals;
mod server;

use std::fs;
use std::io::BufReader;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::client::{Answer, Ask};
use crate::helm::{kubernetes, run};
use crate::message::Message;
use crate::process::{Process, free_port, scopegate, tool};

const HOST: &str = "gate-scopegate.auth.svc";
const IMAGE: &str = "registry.internal/scopegate@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

pub struct Webhook {
    process: Process,
    port: u16,
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

impl Webhook {
    pub fn start(more: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the cluster");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
        let (certificate, key) = issue(&authority);
        fs::write(folder.path().join("tls.crt"), certificate).unwrap();
        fs::write(folder.path().join("tls.key"), key).unwrap();
        let listen = format!("127.0.0.1:{port}");
        let mut process = Process::start("injector", &scopegate(), folder.path(), |command| {
            command.args(["injector", "--listen", &listen, "--cert", "tls.crt", "--key", "tls.key", "--image", IMAGE]).args(more);
        });
        process.until("serving", |process| process.said().contains("\"serving\""));
        Self { process, port, folder, authority }
    }

    fn connect(&self) -> Connection {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), HOST.try_into().unwrap()).unwrap(), stream)
    }

    fn ask(&self, ask: &Ask) -> Answer {
        ask.exchange(self.connect()).unwrap()
    }

    fn send(&self, body: &[u8]) -> Answer {
        self.ask(&post().body(body))
    }

    /// The response to a review.
    fn review(&self, review: &Json) -> Json {
        let answer = self.send(review.to_string().as_bytes());
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.body());
        response(&answer.body())
    }

    /// The same, of the creation of a pod.
    fn create(&self, pod: &Json) -> Json {
        self.review(&review(pod))
    }

    /// The pod as it is admitted.
    fn admit(&self, pod: &Json) -> Json {
        patched(pod, &self.create(pod))
    }

    /// Why the pod is refused.
    fn refusal(&self, pod: &Json) -> String {
        let response = self.create(pod);
        let status = &response["status"];
        assert_eq!((&response["allowed"], &status["code"], &status["reason"]), (&json!(false), &json!(422), &json!("Invalid")), "{response}");
        assert!(response["patch"].is_null() && response["patchType"].is_null(), "{response}");
        status["message"].as_str().unwrap().to_owned()
    }
}

/// A certificate for the name that the API server calls, and its key.
fn issue(authority: &CertifiedIssuer<'static, KeyPair>) -> (String, String) {
    let (params, key) = (CertificateParams::new(vec![HOST.to_owned()]).unwrap(), KeyPair::generate().unwrap());
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// As the API server calls it, with its own time limit in the query.
fn post() -> Ask {
    Ask::new("POST", "/inject?timeout=10s").host(HOST).header("Content-Type", "application/json").header("Accept", "application/json, */*")
}

/// Checks what goes around a response; gives that.
fn response(body: &str) -> Json {
    let answer: Json = serde_json::from_str(body).unwrap();
    assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    let response = answer["response"].clone();
    assert_eq!(response["uid"], UID);
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let text = warning.as_str().unwrap();
        assert!(text.len() <= 256 && !text.contains(char::is_control), "{text}");
    }
    response
}

/// A whole review, as the API server writes it.
fn review(pod: &Json) -> Json {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let user = json!({
        "username": "system:serviceaccount:kube-system:replicaset-controller",
        "uid": "a7e0ab33-5f29-11e8-8a3c-36e6bb280816",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]},
    });
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID, "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "namespace": "shop", "operation": "CREATE", "userInfo": user, "object": pod, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

/// The object as the response leaves it.
fn patched(pod: &Json, response: &Json) -> Json {
    assert_eq!((&response["allowed"], &response["status"]), (&json!(true), &Json::Null), "{response}");
    let Some(patch) = response["patch"].as_str() else {
        assert!(response["patchType"].is_null());
        return pod.clone();
    };
    assert_eq!(response["patchType"], "JSONPatch");
    let patch: Json = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
    let script = kubernetes("patch.py");
    let said = run(&tool("python3"), &[script.to_str().unwrap()], &json!({"object": pod, "patch": patch}).to_string());
    serde_json::from_str(&said.unwrap_or_else(|error| panic!("{error}\n{patch}"))).unwrap()
}

/// A pod of a ReplicaSet's, as it comes to the webhooks: defaults are there, and the token of its service account.
fn pod(annotations: &Json) -> Json {
    let token = json!({"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "shop-7d4b9c6f5-",
            "labels": {"app": "shop", "pod-template-hash": "7d4b9c6f5"},
            "annotations": annotations,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-7d4b9c6f5", "uid": "1", "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {
            "volumes": [
                {"name": "data", "emptyDir": {}},
                {"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                ]}},
            ],
            "initContainers": [{
                "name": "migrate", "image": "shop:1", "resources": {}, "volumeMounts": [token], "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "containers": [{
                "name": "shop", "image": "shop:1", "resources": {}, "volumeMounts": [{"name": "data", "mountPath": "/data"}, token],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "serviceAccountName": "default",
            "serviceAccount": "default", "securityContext": {}, "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority",
        },
    })
}

/// As little as a pod may have.
fn bare(annotations: &Json) -> Json {
    let spec = json!({"containers": [{"name": "shop", "image": "shop:1"}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop", "annotations": annotations}, "spec": spec})
}

/// What asks for a gate in mode `proxy`.
fn proxy() -> Json {
    json!({"scopegate.dev/inject": "true", "scopegate.dev/upstream-port": "3000", "scopegate.dev/config": "shop-gate"})
}

/// The same in mode `transparent`, with tokens.
fn transparent() -> Json {
    with(
        &proxy(),
        &[
            ("/scopegate.dev~1mode", json!("transparent")),
            ("/scopegate.dev~1upstream-port", json!("80,3000")),
            ("/scopegate.dev~1tokens", json!("shop-tokens")),
        ],
    )
}

/// A copy with these values; a pointer's last step may be new, or one past the end of a list.
fn with(value: &Json, changes: &[(&str, Json)]) -> Json {
    let mut value = value.clone();
    for (pointer, new) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/");
        let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}"));
        let Some(list) = parent.as_array_mut() else {
            parent.as_object_mut().unwrap().insert(key, new.clone());
            continue;
        };
        match key.parse::<usize>().ok().filter(|index| *index < list.len()) {
            Some(index) => list[index] = new.clone(),
            None => list.push(new.clone()),
        }
    }
    value
}

fn named<'a>(list: &'a Json, name: &str) -> &'a Json {
    list.as_array().unwrap().iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

fn names(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// What comes back on a connection that is kept.
fn exchange(connection: &mut Connection, request: &Ask) -> Message {
    use std::io::Write;
    let bytes = String::from_utf8(request.bytes()).unwrap().replace("Connection: close\r\n", "");
    connection.write_all(bytes.as_bytes()).unwrap();
    Message::read(&mut BufReader::new(connection), |_| true).unwrap().unwrap()
}
