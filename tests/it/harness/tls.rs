//! A certificate of its own making for each server, so that a test decides who believes it.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// A server's certificate, and a client that believes it and nobody else.
pub struct Identity {
    pub acceptor: TlsAcceptor,
    pub believer: Arc<ClientConfig>,
}

impl Identity {
    pub fn of(name: &str) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (certificate, key) = certificate(name);
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let believer = client.with_root_certificates(roots).with_no_client_auth();
        Self { acceptor: Arc::new(server).into(), believer: Arc::new(believer) }
    }
}

fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = match u16::try_from(content.len()).unwrap().to_be_bytes() {
        [0, low @ ..0x80] => vec![low],
        [0, low] => vec![0x81, low],
        [high, low] => vec![0x82, high, low],
    };
    [vec![tag], length, content].concat()
}

/// A self-signed certificate (RFC 5280) for a DNS name, P-256, valid from 2020 to 2049.
fn certificate(name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    let algorithm = tlv(0x30, &[b"\x06\x08\x2A\x86\x48\xCE\x3D\x04\x03\x02"]);
    let curve = tlv(0x30, &[b"\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01", b"\x06\x08\x2A\x86\x48\xCE\x3D\x03\x01\x07"]);
    let key = tlv(0x30, &[&curve, &tlv(0x03, &[&[0], pair.public_key().as_ref()])]);
    let subject = tlv(0x30, &[&tlv(0x31, &[&tlv(0x30, &[b"\x06\x03\x55\x04\x03", &tlv(0x0C, &[name.as_bytes()])])])]);
    let validity = tlv(0x30, &[&tlv(0x17, &[b"200101000000Z"]), &tlv(0x17, &[b"491231235959Z"])]);
    let names = tlv(0x04, &[&tlv(0x30, &[&tlv(0x82, &[name.as_bytes()])])]);
    let extensions = tlv(0xA3, &[&tlv(0x30, &[&tlv(0x30, &[b"\x06\x03\x55\x1D\x11", &names])])]);
    let version = tlv(0xA0, &[&tlv(0x02, &[&[2]])]);
    let signed = tlv(0x30, &[&version, &tlv(0x02, &[&[1]]), &algorithm, &subject, &validity, &subject, &key, &extensions]);
    let signature = pair.sign(&random, &signed).unwrap();
    let whole = tlv(0x30, &[&signed, &algorithm, &tlv(0x03, &[&[0], signature.as_ref()])]);
    (whole.into(), PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()).into())
}
