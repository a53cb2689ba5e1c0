//! `tls`, and `upstream`'s certificates, into what the proxy door speaks TLS with on either side.
//! Never falls back: a file that cannot be read is a fault of the whole reading.

mod pem;
mod sni;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};

use super::fault::Faults;
use super::settings::{Target, Upstream};
use super::tree::{Key, Node, Value};
use sni::Shelf;

/// With the rest of the snapshot, so that a renewed certificate comes with a reload.
#[derive(Clone, Default)]
pub struct Tls {
    /// Towards clients.
    pub server: Option<Arc<ServerConfig>>,
    /// Who vouches for clients.
    pub authorities: Option<Authorities>,
    /// Towards an `https` upstream.
    pub client: Option<Arc<ClientConfig>>,
}

/// The authorities of `client_ca`.
#[derive(Clone)]
pub struct Authorities {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Tells one set from another.
    pub id: [u8; 32],
}

/// What the files are read with.
pub struct Desk<'a> {
    /// What relative paths are relative to.
    pub base: &'a Path,
    /// A key that others may read is a fault, and not a warning alone.
    pub strict: bool,
    /// Seconds since 1970.
    pub now: i64,
    pub files: &'a mut Vec<PathBuf>,
    pub warnings: &'a mut Vec<String>,
    pub faults: &'a mut Faults,
}

impl Authorities {
    /// Whether they vouch for a client at that second.
    pub fn vouch_for(&self, chain: &[CertificateDer<'_>], now: i64) -> bool {
        let Some((leaf, between)) = chain.split_first() else { return false };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now).unwrap_or_default()));
        self.verifier.verify_client_cert(leaf, between, now).is_ok()
    }
}

pub fn tls(tree: &Node, upstream: Option<&Upstream>, desk: &mut Desk<'_>) -> Tls {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let said = tree.get("tls");
    if let (Some(node), None) = (said, tree.get("upstream")) {
        desk.faults.at(node, "`tls` is for the proxy door, and there is none; set `upstream: http://host:port` or remove it");
    }
    let (server, authorities) = said.map_or((None, None), |node| server(node, desk, &provider));
    let options = tree.get("upstream").filter(|node| !node.entries().is_empty());
    let client = upstream.and_then(|upstream| client(upstream, options, desk, &provider));
    Tls { server, authorities, client }
}

/// What a server that asks nobody for a certificate speaks TLS with, of two PEM files, and what there is to say of them. `Err` has one line a fault.
pub fn of_files(cert: &str, key: &str, now: i64) -> Result<(Arc<ServerConfig>, Vec<String>), Vec<String>> {
    let node = |value| Node { value, place: (1, 1), substituted: false };
    let entry = |name: &str, path: &str| (Key { text: name.to_owned(), place: (1, 1) }, node(Value::Text(path.to_owned())));
    let said = node(Value::Map(vec![entry("cert", cert), entry("key", key)]));
    let (mut files, mut warnings, mut faults) = (Vec::new(), Vec::new(), Faults::default());
    let mut desk = Desk { base: Path::new(""), strict: false, now, files: &mut files, warnings: &mut warnings, faults: &mut faults };
    let (config, _) = server(&said, &mut desk, &Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    config.map(|config| (config, warnings)).ok_or_else(|| faults.iter().map(|fault| fault.message.clone()).collect())
}

fn server(node: &Node, desk: &mut Desk<'_>, provider: &Arc<CryptoProvider>) -> (Option<Arc<ServerConfig>>, Option<Authorities>) {
    let must = node.get("require_client").is_some_and(Node::is_true);
    let known = node.get("client_ca").map(|said| authorities(said, must, desk, provider));
    if let (None, true, Some(said)) = (&known, must, node.get("require_client")) {
        desk.faults.at(said, "`tls.require_client` asks for a certificate that nobody could vouch for; set `tls.client_ca`");
    }
    let shelf = shelf(node, desk, provider);
    let (verifier, authorities) = match known {
        None => (WebPkiClientVerifier::no_client_auth(), None),
        Some(Some(known)) => (Arc::clone(&known.verifier), Some(known)),
        // Nobody is let in unasked because the authorities could not be read.
        Some(None) => return (None, None),
    };
    let Some(shelf) = shelf else { return (None, None) };
    let versions = ServerConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions();
    let Ok(versions) = versions.inspect_err(|error| desk.faults.at(node, format!("TLS cannot be had: {error}"))) else { return (None, None) };
    let mut config = versions.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(shelf));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Some(Arc::new(config)), authorities)
}

fn authorities(node: &Node, must: bool, desk: &mut Desk<'_>, provider: &Arc<CryptoProvider>) -> Option<Authorities> {
    let (roots, list) = desk.authorities(node, "tls.client_ca")?;
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = if must { builder } else { builder.allow_unauthenticated() };
    let verifier = builder.build().inspect_err(|error| desk.faults.at(node, format!("`tls.client_ca` {} cannot be used: {error}", node.quoted())));
    let mut id = [0; 32];
    let whole: Vec<u8> = list.iter().flat_map(|der| der.iter().copied()).collect();
    id.copy_from_slice(digest::digest(&digest::SHA256, &whole).as_ref());
    Some(Authorities { verifier: verifier.ok()?, id })
}

/// Every certificate that the door may show.
fn shelf(node: &Node, desk: &mut Desk<'_>, provider: &CryptoProvider) -> Option<Shelf> {
    let items = |key: &str| node.get(key).map(Node::items).unwrap_or_default();
    let (certs, keys) = (items("cert"), items("key"));
    for (key, list) in [("cert", certs), ("key", keys)] {
        if list.is_empty() {
            desk.faults.at(node, format!("`tls` has no `{key}`; it is `{{cert: tls.crt, key: tls.key}}`, PEM files both"));
        }
    }
    if certs.len() != keys.len() && !certs.is_empty() && !keys.is_empty() {
        let (many, few) = (certs.len(), keys.len());
        desk.faults.at(node, format!("`tls.cert` names {many} and `tls.key` {few}; each certificate has its key, in the same order"));
        return None;
    }
    let pairs: Vec<_> = certs.iter().zip(keys).map(|pair| desk.pair(pair, "tls", provider)).collect();
    let pairs: Option<Vec<_>> = pairs.into_iter().collect();
    pairs.filter(|pairs| !pairs.is_empty()).map(Shelf::new)
}

/// Its protocols are left to who connects.
fn client(upstream: &Upstream, options: Option<&Node>, desk: &mut Desk<'_>, provider: &Arc<CryptoProvider>) -> Option<Arc<ClientConfig>> {
    let said = |key: &str| options.and_then(|node| node.get(key));
    if !matches!(upstream.target, Target::Https(_)) {
        for (key, node) in ["ca", "cert", "key"].into_iter().filter_map(|key| Some((key, said(key)?))) {
            desk.faults.at(node, format!("`upstream.{key}` is for TLS, and `upstream.url` is not; write it as `https://host`, or remove the key"));
        }
        return None;
    }
    let own = match (said("cert"), said("key")) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(desk.pair((cert, key), "upstream", provider)?),
        (Some(node), None) => {
            desk.faults.at(node, "`upstream.cert` has no `upstream.key` beside it; name its private key");
            return None;
        }
        (None, Some(node)) => {
            desk.faults.at(node, "`upstream.key` has no `upstream.cert` beside it; name its certificate");
            return None;
        }
    };
    let roots = match said("ca") {
        Some(node) => desk.authorities(node, "upstream.ca")?.0,
        // Slow to load, and of no use to anybody else.
        None => Arc::new(crate::fetch::roots()),
    };
    let versions = ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions();
    let versions = versions.inspect_err(|error| desk.faults.whole(format!("TLS cannot be had: {error}"))).ok()?;
    let believing = versions.with_root_certificates(roots);
    Some(Arc::new(match own {
        Some(pair) => believing.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified))),
        None => believing.with_no_client_auth(),
    }))
}

/// Holds private keys.
impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").field("server", &self.server.is_some()).field("client", &self.client.is_some()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Authorities(…)")
    }
}

impl fmt::Debug for Desk<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Desk").field("base", &self.base).finish_non_exhaustive()
    }
}
