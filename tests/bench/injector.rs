//! The webhook under a thousand admissions a second, on kept TLS connections, with pods of ordinary size.
//! An admission has its time to begin at, whether the one before is answered or not: what waits, counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::load::{Measured, exchange};
use crate::processes::{Server, free_port, scopegate};
use crate::{Effort, Table};

const RATE: u32 = 1000;
const CONNECTIONS: u32 = 16;

pub fn measure(effort: Effort, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let mut command = std::process::Command::new(scopegate());
    command.arg("injector").args(["--listen", &format!("127.0.0.1:{port}"), "--image", "scopegate:1", "--cert"]).arg(&cert).arg("--key").arg(&key);
    let server = Server::start(&mut command, port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let measured = runtime.block_on(run(server.port, made.cert.der(), effort.time * 5));
    let (measured, rate) = measured;
    let millis = |share: f64| measured.quantile(share) / 1e3;
    table.row("admissions a second that were answered", format!("{rate:.0}"), "1000");
    table.row("admission, median", format!("{:.2} ms", millis(0.5)), "≤ 10 ms");
    table.row("admission, p99", format!("{:.2} ms", millis(0.99)), "");
    table.row("admissions that failed", measured.failed.to_string(), "0");
}

/// What all connections saw, and the admissions a second that were answered.
async fn run(port: u16, authority: &CertificateDer<'static>, time: Duration) -> (Measured, f64) {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let request: Arc<str> = request().into();
    let begins = Instant::now() + Duration::from_millis(500);
    let clients = (0..CONNECTIONS)
        .map(|index| tokio::spawn(client(port, connector.clone(), Arc::clone(&request), (begins + Duration::from_secs(1) * index / RATE, time))));
    let mut parts = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        parts.push(client.await.unwrap());
    }
    let took = begins.elapsed().as_secs_f64();
    let answered: usize = parts.iter().map(|(latencies, _)| latencies.len()).sum();
    (Measured::gather(parts), answered as f64 / took)
}

/// Every so many milliseconds one review, from `begins` on.
async fn client(port: u16, connector: TlsConnector, request: Arc<str>, (begins, time): (Instant, Duration)) -> (Vec<Duration>, usize) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let (mut latencies, mut failed, mut buffer) = (Vec::new(), 0, vec![0; 64 * 1024]);
    let step = Duration::from_secs(1) * CONNECTIONS / RATE;
    let mut due = begins;
    while due < begins + time {
        tokio::time::sleep_until(due.into()).await;
        match exchange(&mut stream, request.as_bytes(), &mut buffer).await {
            Some(()) => latencies.push(due.elapsed()),
            None => failed += 1,
        }
        due += step;
    }
    (latencies, failed)
}

/// A review of a pod as a Deployment of some age makes it, of some eight KiB.
fn request() -> String {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let env: Vec<_> =
        (0..40).map(|index| json!({"name": format!("SETTING_{index}"), "value": "a value of an ordinary length, such as a host name"})).collect();
    let probe = json!({"httpGet": {"path": "/health", "port": 3000, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1});
    let container =
        |name: &str| json!({"name": name, "image": "shop:1", "env": env, "readinessProbe": probe, "resources": {}, "imagePullPolicy": "Always"});
    let annotations = json!({"scopegate.dev/inject": "true", "scopegate.dev/config": "shop", "scopegate.dev/upstream-port": "3000"});
    let spec = json!({"volumes": [{"name": "data", "emptyDir": {}}], "initContainers": [container("migrate")], "containers": [container("shop")]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "shop-", "annotations": annotations}, "spec": spec});
    let request = json!({
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "requestKind": kind, "namespace": "shop", "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"}, "object": pod, "oldObject": null, "dryRun": false,
    });
    let body = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).to_string();
    let length = body.len();
    format!("POST /inject?timeout=5s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}
