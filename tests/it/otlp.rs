//! A collector behind TLS: whom the gate believes, and what it does where it does not.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::authority::{Authority, Issued};
use crate::harness::collector::Collector;
use crate::harness::process::Serving;
use crate::harness::{ask, metric, until};

const CONFIG: &str = r#"
listen: {proxy: 127.0.0.1:0, ext_authz: "off", forward_auth: "off", admin: 127.0.0.1:0}
upstream: http://127.0.0.1:1
credentials: {hook: {kind: webhook, token: token-of-the-webhook-1}}
routes: {"GET /": deny}
"#;

/// Ends TLS before the collector, as `issued`; gives its port.
async fn secured(collector: std::net::SocketAddr, issued: &Issued) -> u16 {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut server = server.with_single_cert(chain, key).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec()];
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(server)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let (Ok(mut client), Ok(mut server)) = (acceptor.accept(client).await, TcpStream::connect(collector).await) {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_believed_by_the_systems_roots_and_by_no_others() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let folder = tempfile::tempdir().unwrap();
    let (roots, config) = (folder.path().join("roots.pem"), folder.path().join("scopegate.yaml"));
    std::fs::write(&roots, ours.pem()).unwrap();
    std::fs::write(&config, CONFIG).unwrap();
    for (authority, believed) in [(&ours, true), (&theirs, false)] {
        let (collector, address) = Collector::start();
        let port = secured(address, &authority.issue(&["localhost"])).await;
        let environment = [
            ("SSL_CERT_FILE", roots.to_str().unwrap()),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("https://localhost:{port}")),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ];
        let serving = Serving::start(&config, &environment).await;
        assert_eq!(ask(serving.address("proxy"), "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 401);
        if believed {
            until("the span", async || collector.text().contains("scopegate.decision").then_some(())).await;
        } else {
            let lost = async || {
                let metrics = ask(serving.address("admin"), "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await.text();
                (metric(&metrics, "scopegate_spans_dropped_total") == Some(1.0)).then_some(())
            };
            until("the loss of the span", lost).await;
            assert_eq!(collector.text(), "");
            until("why", async || serving.log().contains("UnknownIssuer").then_some(())).await;
        }
    }
}
