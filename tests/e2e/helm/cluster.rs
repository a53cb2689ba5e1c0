//! What Helm asks a cluster while it renders: which kinds there are, and objects by name. Here they are a list, and one Secret or none.
//! Keeps nothing, and says 404 to the rest.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value as Json, json};

use super::{case, helm, one, read};
use crate::message::Message;

const KINDS: [(&str, &str, &str); 6] = [
    ("v1", "Secret", "secrets"),
    ("v1", "Service", "services"),
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("apps/v1", "Deployment", "deployments"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
];

fn answer(path: &str, secret: Option<&Json>) -> Option<Json> {
    let groups = KINDS.iter().filter_map(|(version, ..)| version.split_once('/'));
    let list = |version: &str| {
        let resource = |(_, kind, name): &(&str, &str, &str)| json!({"name": name, "kind": kind, "namespaced": !kind.ends_with("Configuration"), "verbs": ["get", "list", "create"]});
        let found: Vec<Json> = KINDS.iter().filter(|(at, ..)| *at == version).map(resource).collect();
        json!({"kind": "APIResourceList", "groupVersion": version, "resources": found})
    };
    let group = |(name, version): (&str, &str)| {
        let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    match path.split('?').next().unwrap() {
        "/version" => Some(json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0"})),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.map(group).collect::<Vec<_>>()})),
        "/api/v1/namespaces/auth/secrets/gate-scopegate-tls" => secret.cloned(),
        path => {
            let version = path.strip_prefix("/apis/").or_else(|| path.strip_prefix("/api/"))?;
            KINDS.iter().any(|(at, ..)| *at == version).then(|| list(version))
        }
    }
}

fn serve(stream: &TcpStream, secret: Option<&Json>) {
    let mut from = BufReader::new(stream);
    while let Ok(Some(request)) = Message::read(&mut from, |_| true) {
        let found = answer(request.word(1), secret);
        let absent = || json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
        let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
        let body = found.unwrap_or_else(absent).to_string();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        if (&*stream).write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// The address of a cluster that has this Secret.
fn cluster(secret: Option<Json>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let secret = Arc::new(secret);
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let secret = Arc::clone(&secret);
            std::thread::spawn(move || serve(&stream, secret.as_ref().as_ref()));
        }
    });
    address
}

fn render(secret: Option<Json>) -> Vec<Json> {
    let (address, chart) = (cluster(secret), super::chart());
    let arguments = ["template", "gate", chart.to_str().unwrap(), "-n", "auth", "--set", "mode=injector"];
    let cluster = ["--dry-run=server", "--disable-openapi-validation", "--kube-apiserver", &address];
    read(&helm(&[&arguments[..], &cluster].concat()).unwrap())
}

#[test]
fn a_certificate_of_the_chart_is_made_once_and_kept() {
    let bundle = |objects: &[Json]| one(objects, "MutatingWebhookConfiguration")["webhooks"][0]["clientConfig"]["caBundle"].clone();
    let first = render(None);
    let mut secret = one(&first, "Secret").clone();
    // As Helm leaves it.
    let annotations = secret["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.extend([("meta.helm.sh/release-name".to_owned(), json!("gate")), ("meta.helm.sh/release-namespace".to_owned(), json!("auth"))]);
    assert_eq!(bundle(&first), secret["data"]["ca.crt"]);
    let again = render(Some(secret.clone()));
    assert_eq!(one(&again, "Secret")["data"], secret["data"]);
    assert_eq!(bundle(&again), secret["data"]["ca.crt"]);
    let renewal = |secret: &Json| secret["metadata"]["annotations"]["scopegate.dev/renewal"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(renewal(one(&again, "Secret")), renewal(&secret));
    assert_ne!(one(&render(None), "Secret")["data"], secret["data"], "without one it is made");
    // Two thirds of its ten years later, an upgrade makes another.
    let now = crate::gate::now();
    assert!((now + 2432 * 86400..now + 2434 * 86400).contains(&renewal(&secret)), "{}", renewal(&secret));
    secret["metadata"]["annotations"]["scopegate.dev/renewal"] = json!((now - 1).to_string());
    let later = render(Some(secret.clone()));
    assert_ne!(one(&later, "Secret")["data"], secret["data"]);
    assert_eq!(bundle(&later), one(&later, "Secret")["data"]["ca.crt"]);
    assert!(renewal(one(&later, "Secret")) > now);
}

#[test]
fn a_certificate_of_the_chart_is_for_the_name_that_the_api_server_calls() {
    let objects = &case("injector").objects;
    let certificate = |text: &Json| CertificateDer::from_pem_slice(&STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap();
    let webhook = &one(objects, "MutatingWebhookConfiguration")["webhooks"][0]["clientConfig"];
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&webhook["caBundle"])).unwrap();
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(rustls::crypto::aws_lc_rs::default_provider())).build().unwrap();
    let host = |name: &str| ServerName::try_from(format!("{name}.{}.svc", webhook["service"]["namespace"].as_str().unwrap())).unwrap();
    let shown = certificate(&one(objects, "Secret")["data"]["tls.crt"]);
    let verify = |name: &str| verifier.verify_server_cert(&shown, &[], &host(name), &[], UnixTime::now());
    verify(webhook["service"]["name"].as_str().unwrap()).unwrap();
    verify("another").unwrap_err();
}
