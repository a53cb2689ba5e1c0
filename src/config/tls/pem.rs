//! Named PEM files into certificates and private keys, each fault with its place and what would be right.
//! Quotes no content; every file that it was asked for is watched, whether it could be read or not.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::Desk;
use crate::config::credentials::secret_bytes;
use crate::config::modes::remedy_at;
use crate::config::tree::Node;
use crate::credential::certificate::Certificate;

/// A certificate with its chain and its key.
#[derive(Debug)]
pub struct Pair {
    pub leaf: Certificate,
    pub certified: CertifiedKey,
}

impl Desk<'_> {
    fn read(&mut self, node: &Node, name: &str) -> Option<(PathBuf, Zeroizing<Vec<u8>>)> {
        let path = self.base.join(node.text()?);
        self.files.push(path.clone());
        match secret_bytes(&path) {
            Ok(bytes) => Some((path, bytes)),
            Err(why) => {
                self.faults.at(node, format!("`{name}` {} cannot be read: {why}", node.quoted()));
                None
            }
        }
    }

    fn certificates(&mut self, node: &Node, name: &str) -> Option<Vec<CertificateDer<'static>>> {
        let (_, bytes) = self.read(node, name)?;
        let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let list = list.ok().filter(|list| !list.is_empty());
        if list.is_none() {
            self.faults.at(node, format!("`{name}` {} holds no certificate; it is PEM with `-----BEGIN CERTIFICATE-----`", node.quoted()));
        }
        list
    }

    pub fn key(&mut self, node: &Node, name: &str) -> Option<PrivateKeyDer<'static>> {
        let (path, bytes) = self.read(node, name)?;
        if let Some(remedy) = remedy_at(&path) {
            let message = format!("`{name}` {} is a private key that other users may read; {remedy}", node.quoted());
            if self.strict { self.faults.at(node, message) } else { self.warnings.push(message) }
        }
        let key = PrivateKeyDer::from_pem_slice(&bytes).ok();
        if key.is_none() {
            let form = "PEM with `-----BEGIN PRIVATE KEY-----` (PKCS #8, PKCS #1 or SEC 1), not encrypted";
            self.faults.at(node, format!("`{name}` {} holds no private key; it is {form}", node.quoted()));
        }
        key
    }

    /// `under` is the key of the file that both stand under.
    pub fn pair(&mut self, (cert, key): (&Node, &Node), under: &str, provider: &CryptoProvider) -> Option<Pair> {
        let (cert_name, key_name) = (format!("{under}.cert"), format!("{under}.key"));
        let (chain, secret) = (self.certificates(cert, &cert_name), self.key(key, &key_name));
        let leaf = self.chain(cert, &cert_name, chain.as_deref()?)?;
        let Ok(signer) = provider.key_provider.load_private_key(secret?) else {
            self.faults
                .at(key, format!("`{key_name}` {} is no key that can be used; it is ECDSA, Ed25519, or RSA of 2048 to 8192 bits", key.quoted()));
            return None;
        };
        let certified = CertifiedKey::new(chain?, signer);
        if certified.keys_match().is_err() {
            let message = format!("`{key_name}` {} is not the key of the first certificate of `{cert_name}` {}", key.quoted(), cert.quoted());
            self.faults.at(key, format!("{message}; name the one that it was made with, and put the server's own certificate before its chain"));
            return None;
        }
        Some(Pair { leaf, certified })
    }

    /// Looks at every certificate of a chain; gives the first.
    fn chain(&mut self, node: &Node, name: &str, chain: &[CertificateDer<'_>]) -> Option<Certificate> {
        let mut leaf = None;
        for (index, der) in chain.iter().enumerate() {
            let Some(certificate) = Certificate::from_der(der) else {
                self.faults.at(node, format!("`{name}` {} has a certificate that cannot be read, number {}", node.quoted(), index + 1));
                return None;
            };
            let date = |second| jiff::Timestamp::from_second(second).map_or_else(|_| "a date far away".into(), |date| date.to_string());
            if certificate.not_after < self.now {
                let since = date(certificate.not_after);
                self.warnings.push(format!("`{name}` {} has expired at {since}, and nobody will believe it; renew it", node.quoted()));
            } else if certificate.not_before > self.now {
                let from = date(certificate.not_before);
                self.warnings.push(format!("`{name}` {} is not valid before {from}; is the clock right?", node.quoted()));
            }
            leaf = leaf.or(Some(certificate));
        }
        leaf
    }

    /// Whom to believe, and nobody else.
    pub fn authorities(&mut self, node: &Node, name: &str) -> Option<(Arc<RootCertStore>, Vec<CertificateDer<'static>>)> {
        let list = self.certificates(node, name)?;
        let mut roots = RootCertStore::empty();
        for (index, der) in list.iter().enumerate() {
            if roots.add(der.clone()).is_err() {
                self.faults.at(node, format!("`{name}` {} has a certificate that cannot be read, number {}", node.quoted(), index + 1));
                return None;
            }
        }
        Some((Arc::new(roots), list))
    }
}
