//! Client certificates that a real Envoy has checked: who they are to the gate, and the tokens that are bound to them.

use std::net::TcpStream;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value as Json, json};

use crate::client::{Answer, Ask};
use crate::gate::{Desk, Envoy, Gate, now};
use crate::tokens::Minter;

const SPIFFE: &str = "spiffe://cluster.local/ns/shop/sa/orders";
/// Envoy and whoever reads the certificate spell its letters in different ways.
const SUBJECT: &str = r"CN=bätch,OU=Ops,O=Example\, Inc.";

/// A certificate and its key.
struct Identity {
    chain: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// `more` says what is in it.
    fn made(minter: &Minter, name: &str, more: &Json) -> Self {
        let mut request = json!({"op": "certificate", "key": name, "issuer": "ca"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = minter.ask(&request);
        let text = |member: &str| made[member].as_str().unwrap().as_bytes();
        Self { chain: CertificateDer::from_pem_slice(text("pem")).unwrap(), key: PrivateKeyDer::from_pem_slice(text("private")).unwrap() }
    }

    /// RFC 8705 §3.1.
    fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.chain))
    }
}

/// A gate that knows certificates and tokens, and what both are made with.
struct World {
    certifier: Minter,
    minter: Minter,
    gate: Gate,
    roots: RootCertStore,
}

impl World {
    fn start() -> Self {
        let (certifier, minter) = (Minter::start("mint.py"), Minter::start("mint.mjs"));
        let ca = certifier.text("pem", &json!({"op": "certificate", "key": "ca", "authority": true}));
        let server = certifier.ask(&json!({"op": "certificate", "key": "server", "issuer": "ca", "dns": ["shop.test"]}));
        minter.ask(&json!({"op": "key", "key": "k", "alg": "ES256"}));
        let text = |member: &str| server[member].as_str().unwrap();
        let desk = Desk::new().file("ca.pem", &ca).file("server.pem", text("pem")).file("server.key", text("private"));
        let desk = desk.file("keys.json", &minter.ask(&json!({"op": "jwks", "keys": ["k"]})).to_string());
        let identities = json!([
            {"spiffe": SPIFFE, "id": "orders", "scopes": ["orders:read"]},
            {"dns": "billing.shop.test", "id": "billing"},
            {"subject": SUBJECT, "id": "batch", "scopes": ["orders:*"]},
        ]);
        let credentials = json!({
            "jwt": {"kind": "jwt", "jwks_file": "keys.json", "algorithms": ["ES256"]},
            "mtls": {"kind": "mtls", "identities": identities},
        });
        let gate = desk.serve(&json!({"credentials": credentials, "routes": {"GET /orders": "orders:read"}}));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        Self { certifier, minter, gate, roots }
    }

    /// The shipped Envoy, which asks its clients for certificates.
    fn envoy(&self, shows_certificates: bool) -> Envoy {
        let file = |name: &str| format!("{{filename: '{}'}}", self.gate.desk.path(name).display());
        let tls = format!(
            r#"- transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              require_client_certificate: true
              common_tls_context:
                tls_certificates: [{{certificate_chain: {}, private_key: {}}}]
                validation_context: {{trusted_ca: {}}}
          filters:"#,
            file("server.pem"),
            file("server.key"),
            file("ca.pem")
        );
        let shows = "include_peer_certificate: true\n                      failure_mode_allow: false";
        let shows = if shows_certificates { shows } else { "failure_mode_allow: false" };
        self.gate.envoy(&[("- filters:", &tls), ("failure_mode_allow: false", shows)])
    }

    fn certificate(&self, name: &str, more: &Json) -> Identity {
        Identity::made(&self.certifier, name, more)
    }

    fn exchange(&self, envoy: &Envoy, identity: Option<&Identity>, ask: &Ask) -> std::io::Result<Answer> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(self.roots.clone());
        let config = match identity {
            Some(identity) => config.with_client_auth_cert(vec![identity.chain.clone()], identity.key.clone_key()).unwrap(),
            None => config.with_no_client_auth(),
        };
        let connection = ClientConnection::new(Arc::new(config), "shop.test".try_into().unwrap()).unwrap();
        ask.exchange(StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", envoy.port))?))
    }

    fn told(&self, envoy: &Envoy, identity: &Identity, ask: &Ask) -> (u16, String) {
        self.gate.told_by(&self.exchange(envoy, Some(identity), ask).unwrap())
    }

    /// A token that is bound to a certificate, where one is named.
    fn token(&self, bound: Option<&Identity>) -> String {
        let mut claims = json!({"sub": "alice", "scope": "orders:read", "exp": now() + 600});
        if let Some(identity) = bound {
            claims["cnf"] = json!({"x5t#S256": identity.thumbprint()});
        }
        self.minter.text("token", &json!({"op": "sign", "alg": "ES256", "key": "k", "claims": claims}))
    }
}

#[test]
fn a_client_is_who_its_certificate_says() {
    let world = World::start();
    let orders = Ask::get("/orders");
    let who = |name: &str| (200, name.to_owned());
    let refused = |reason: &str| (401, reason.to_owned());
    // By the certificate itself, and by the one name of it that Envoy tells without it.
    for envoy in [world.envoy(true), world.envoy(false)] {
        for (name, more, at_orders, elsewhere) in [
            ("spiffe", json!({"uri": [SPIFFE]}), who("orders"), who("orders")),
            ("dns", json!({"dns": ["billing.shop.test"]}), (403, "insufficient_scope".into()), who("billing")),
            ("subject", json!({"subject": SUBJECT}), who("batch"), who("batch")),
            ("another-workload", json!({"uri": [format!("{SPIFFE}2")]}), refused("unknown"), refused("unknown")),
            ("a-subdomain", json!({"dns": ["x.billing.shop.test"]}), refused("unknown"), refused("unknown")),
            ("any-subdomain", json!({"dns": ["*.shop.test"]}), refused("unknown"), refused("unknown")),
            ("a-name-in-the-subject", json!({"subject": "CN=billing.shop.test"}), refused("unknown"), refused("unknown")),
            ("a-part-of-the-subject", json!({"subject": "CN=bätch,OU=Ops"}), refused("unknown"), refused("unknown")),
            ("nobody", json!({}), refused("unknown"), refused("unknown")),
        ] {
            let identity = world.certificate(name, &more);
            assert_eq!(world.told(&envoy, &identity, &orders), at_orders, "{name}");
            assert_eq!(world.told(&envoy, &identity, &Ask::get("/")), elsewhere, "{name}");
        }
    }
}

#[test]
fn no_header_of_a_clients_is_taken_for_its_certificate() {
    let world = World::start();
    let envoy = world.envoy(true);
    let (listed, nobody) = (world.certificate("listed", &json!({"uri": [SPIFFE]})), world.certificate("nobody", &json!({})));
    let pem = world.certifier.text("pem", &json!({"op": "certificate", "key": "listed", "issuer": "ca", "uri": [SPIFFE]}));
    let encoded: String = pem.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for forged in [format!("URI={SPIFFE}"), format!("By=x;Hash=00;Cert=\"{encoded}\";Subject=\"{SUBJECT}\";URI={SPIFFE};DNS=billing.shop.test")] {
        for name in ["X-Forwarded-Client-Cert", "x_forwarded_client_cert", "X-Client-Cert", "Ssl-Client-Cert"] {
            let ask = Ask::get("/").header(name, &forged);
            let told = world.exchange(&envoy, Some(&nobody), &ask).unwrap();
            // Envoy itself refuses names with underscores.
            assert!(told.status == 400 && name.contains('_') || world.gate.told_by(&told) == (401, "unknown".into()), "{name}: {}", told.status);
            assert_eq!(world.gate.told(&ask), (401, "no_credential".into()), "{name} at the proxy door");
        }
        let ask = Ask::get("/").header("X-Forwarded-Client-Cert", &forged);
        let answer = world.exchange(&envoy, Some(&listed), &ask).unwrap();
        let seen = world.gate.application.take();
        assert_eq!((answer.status, seen.len()), (200, 1));
        assert_eq!((seen[0].header("x-scopegate-id"), seen[0].header("x-forwarded-client-cert")), (Some("orders"), None));
    }
    // What Envoy does not let in at all.
    world.certifier.ask(&json!({"op": "certificate", "key": "other-ca", "authority": true}));
    let outsider = world.certificate("outsider", &json!({"issuer": "other-ca", "uri": [SPIFFE]}));
    let late = world.certificate("late", &json!({"days": -1, "uri": [SPIFFE]}));
    for identity in [None, Some(&outsider), Some(&late)] {
        assert!(world.exchange(&envoy, identity, &Ask::get("/")).is_err());
    }
}

#[test]
fn a_token_that_is_bound_to_a_certificate_counts_with_that_one_alone() {
    let world = World::start();
    let (envoy, silent) = (world.envoy(true), world.envoy(false));
    let holder = world.certificate("holder", &json!({}));
    // The same key and names, and yet another certificate.
    let renewed = world.certificate("holder", &json!({}));
    let listed = world.certificate("listed", &json!({"uri": [SPIFFE]}));
    let bound = Ask::get("/orders").token(&world.token(Some(&holder)));
    let bearer = Ask::get("/orders").token(&world.token(None));
    // Twice, since it is remembered.
    for _ in 0..2 {
        assert_eq!(world.told(&envoy, &holder, &bound), (200, "alice".into()));
        for other in [&renewed, &listed] {
            assert_eq!(world.told(&envoy, other, &bound), (401, "bound".into()));
        }
        assert_eq!(world.told(&silent, &holder, &bound), (401, "bound".into()));
        assert_eq!(world.gate.told(&bound), (401, "bound".into()));
        for identity in [&holder, &renewed] {
            assert_eq!(world.told(&envoy, identity, &bearer), (200, "alice".into()));
        }
    }
    // The token was looked at first, as the file says, and nothing falls back to the certificate.
    assert_eq!(world.told(&envoy, &listed, &Ask::get("/orders").token("no-token-of-anybody")), (401, "unknown".into()));
}
