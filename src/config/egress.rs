//! `egress` of a tree into listeners for the service's own calls: where they listen, where they go, what is added.
//! Refuses a listener that others than this machine can reach: whoever reaches it speaks as the service.

use std::fmt;
use std::path::{Path, PathBuf};

use http::Uri;
use http::uri::Authority;
use zeroize::Zeroizing;

use super::compile::address;
use super::fault::Faults;
use super::settings::Address;
use super::tree::Node;
use crate::principal::backstage::decode_secret;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    pub listen: Address,
    pub url: Uri,
    pub credential: Credential,
}

/// What is added to each call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A Backstage service token under this key.
    Backstage(Sealed),
    /// The token in a file.
    File(PathBuf),
}

/// A secret without a printable form.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Sealed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Sealed(…)")
    }
}

pub fn egress(tree: &Node, base: &Path, faults: &mut Faults) -> Vec<Egress> {
    tree.get("egress").map(Node::items).unwrap_or_default().iter().filter_map(|node| entry(node, base, faults)).collect()
}

fn entry(node: &Node, base: &Path, faults: &mut Faults) -> Option<Egress> {
    let Some(listen) = node.get("listen") else {
        faults.at(node, "an entry of `egress` has no `listen`; it is an address of this machine such as `127.0.0.1:8090`");
        return None;
    };
    let Some(said) = node.get("url") else {
        faults.at(node, "an entry of `egress` has no `url`; it is `https://host` or `http://host:port`");
        return None;
    };
    let listen_at = address(listen, "egress.listen", faults)?;
    if !listen_at.is_local() {
        faults.at(
            listen,
            format!(
                "`egress.listen` is {}; whoever reaches it speaks as this service, so that it is `127.0.0.1:port` or `unix:/path`",
                listen.quoted()
            ),
        );
    }
    let url = said.text().unwrap_or_default().parse::<Uri>().ok().filter(names_a_server);
    if url.is_none() {
        faults.at(said, "`egress.url` is no URL of a server; it is `https://host` or `http://host:port`, without path, query and user");
    }
    Some(Egress { listen: listen_at, url: url?, credential: credential(node, base, faults)? })
}

/// And nothing else: a password or a key that stood in it would be seen wherever the settings are.
fn names_a_server(url: &Uri) -> bool {
    let plain = |authority: &Authority| {
        let host = authority.host();
        !host.is_empty() && (authority.as_str() == host || authority.as_str() == format!("{host}:{}", authority.port_u16().unwrap_or_default()))
    };
    let bare = matches!(url.path(), "" | "/") && url.query().is_none();
    bare && matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some_and(plain)
}

fn credential(node: &Node, base: &Path, faults: &mut Faults) -> Option<Credential> {
    match (node.get("backstage"), node.get("bearer_file").and_then(Node::text)) {
        (Some(backstage), None) => backstage_key(backstage, base, faults).map(Credential::Backstage),
        (None, Some(file)) => Some(Credential::File(base.join(file))),
        (Some(_), Some(_)) | (None, None) => {
            faults.at(node, "an entry of `egress` adds one credential: set `backstage: {key_file: …}` or `bearer_file`");
            None
        }
    }
}

fn backstage_key(node: &Node, base: &Path, faults: &mut Faults) -> Option<Sealed> {
    let text = match (node.get("key").and_then(Node::text), node.get("key_file")) {
        (Some(key), None) => Zeroizing::new(key.to_owned()),
        (None, Some(file)) => match super::credentials::secret_file(&base.join(file.text()?)) {
            Ok(text) => text,
            Err(why) => {
                faults.at(file, format!("`egress.backstage.key_file` cannot be read: {why}"));
                return None;
            }
        },
        (Some(_), Some(_)) | (None, None) => {
            faults.at(node, "`egress.backstage` has one of `key` and `key_file`, base64");
            return None;
        }
    };
    match decode_secret(&text) {
        Ok((bytes, _)) if !bytes.is_empty() => Some(Sealed(bytes)),
        Ok(_) | Err(_) => {
            faults.at(node, "`egress.backstage` has a key that is not base64; `openssl rand -base64 32` makes one");
            None
        }
    }
}
