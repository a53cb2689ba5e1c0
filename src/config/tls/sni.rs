//! The host that a client asks for (SNI, RFC 6066 §3) into the certificate that it is shown.
//! Knows no other names than those that the certificates carry.

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pem::Pair;

/// Certificates in the order of the file.
pub struct Shelf(Vec<Entry>);

struct Entry {
    names: Vec<Box<str>>,
    certified: Arc<CertifiedKey>,
}

impl Shelf {
    pub fn new(pairs: Vec<Pair>) -> Self {
        let entry = |pair: Pair| Entry { names: pair.leaf.names, certified: Arc::new(pair.certified) };
        Self(pairs.into_iter().map(entry).collect())
    }

    /// The first that names the host, or else one that has it under a wildcard, or else the first of all; of several those
    /// that the client can check.
    fn choose(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let fits = |entry: &&Entry| entry.certified.key.choose_scheme(schemes).is_some();
        let of = |name: &str| self.0.iter().filter(fits).find(|entry| entry.names.iter().any(|own| own.eq_ignore_ascii_case(name)));
        let named = host.and_then(|host| {
            // RFC 9525 §6.3: a wildcard is the whole first label, and stands for one label.
            of(host).or_else(|| of(&format!("*.{}", host.split_once('.')?.1)))
        });
        named.or_else(|| self.0.iter().find(fits)).map(|entry| &entry.certified)
    }
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

/// Holds private keys.
impl fmt::Debug for Shelf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Shelf(…)")
    }
}
