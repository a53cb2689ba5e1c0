//! `forward.assertion` of a tree into what signs who calls.
//! Refuses a key that no verifier would take, and a header that means something to the hop.

use std::time::Duration;

use super::quantity;
use super::tls::Desk;
use super::tree::Node;
use crate::assertion::{Assertion, Said, SigningKey};
use crate::identity::{FIXED, PREFIX};

/// Its default, and the one name of the gate's own that it may have.
const HEADER: &str = "x-scopegate-assertion";
/// Shorter ones would be made for almost every request, longer ones outlive what was taken away.
const LEAST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(3600);
/// Written for the upstream by the proxy door itself.
const HOPS: [&str; 5] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "traceparent", "tracestate"];

/// `taken` are the names of `forward.headers`.
pub fn assertion(tree: &Node, taken: &dyn Fn(&str) -> bool, desk: &mut Desk<'_>) -> Option<Assertion> {
    let node = tree.get("forward")?.get("assertion")?;
    let said = |key: &str| node.get(key).and_then(Node::text);
    let header = header(node, taken, desk);
    let ttl = quantity::said(node.get("ttl"), Duration::from_secs(60));
    if !(LEAST..=MOST).contains(&ttl) {
        let at = node.get("ttl").unwrap_or(node);
        desk.faults.at(at, format!("`forward.assertion.ttl` is {}; it is from 10s to 1h", at.quoted()));
    }
    for key in ["issuer", "audience"] {
        if let Some(at) = node.get(key).filter(|at| at.text().is_some_and(str::is_empty)) {
            desk.faults.at(at, format!("`forward.assertion.{key}` is empty; say what services are to find there, or remove the key"));
        }
    }
    let Some(file) = node.get("key_file") else {
        desk.faults.at(node, "`forward.assertion` has no `key_file`; `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` writes one");
        return None;
    };
    let key = SigningKey::read(&desk.key(file, "forward.assertion.key_file")?);
    if key.is_none() {
        let kinds = "it is ECDSA on P-256, Ed25519, or RSA of 2048 bits and more";
        desk.faults.at(file, format!("`forward.assertion.key_file` {} is no key that can be used; {kinds}", file.quoted()));
    }
    let said = Said {
        header: header.into_boxed_str(),
        issuer: said("issuer").unwrap_or("scopegate").into(),
        audience: said("audience").map(Into::into),
        ttl: i64::try_from(ttl.as_secs()).unwrap_or_default(),
    };
    Some(Assertion::new(said, key?))
}

fn header(node: &Node, taken: &dyn Fn(&str) -> bool, desk: &mut Desk<'_>) -> String {
    let Some(at) = node.get("header") else { return HEADER.to_owned() };
    let name = at.text().unwrap_or_default().to_ascii_lowercase();
    let own = FIXED.contains(&&*name) || (name.starts_with(PREFIX) && name != HEADER);
    if !super::forward::is_plain(&name) || HOPS.contains(&&*name) || own || taken(&name) {
        desk.faults
            .at(at, format!("`forward.assertion.header` is {}, which cannot carry it or is another's; leave it out for `{HEADER}`", at.quoted()));
    }
    name
}
