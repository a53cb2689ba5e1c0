//! `forward` of a tree into the identity headers that the upstream is told.
//! Refuses names that mean something to the hop or to the gate, and claims that no source has.

use super::fault::Faults;
use super::tree::Node;
use crate::identity::{Claim, FIXED, Identity, PREFIX, Part, Template};
use crate::request::spelling;

/// Names that carry framing, routing or the hop itself (RFC 9110 §7.6.1); the gate does not set them for anybody.
const NOT_IDENTITY: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "cookie",
];

/// `claims` is whether some source has tokens with claims of their own.
pub fn identity(tree: &Node, claims: bool, faults: &mut Faults) -> Identity {
    let mut headers: Vec<(Box<str>, Template)> = Vec::new();
    let said = tree.get("forward").and_then(|forward| forward.get("headers"));
    for (key, value) in said.map(Node::entries).unwrap_or_default() {
        let name = key.text.to_ascii_lowercase();
        if !is_plain(&name) {
            faults.at_place(
                key.place,
                format!(
                    "`forward.headers` has `{}`, which cannot carry an identity; use a name of your own such as `x-user-id`",
                    key.text.escape_debug()
                ),
            );
        } else if FIXED.contains(&name.as_str()) || name.starts_with(PREFIX) {
            faults.at_place(key.place, format!("`forward.headers` has `{name}`, and `{PREFIX}…` is Scopegate's own; use another name"));
        }
        if headers.iter().any(|(known, _)| **known == *name) {
            faults.at_place(key.place, format!("`forward.headers` has `{name}` twice; header names have no case"));
        }
        if let Some(template) = template(value, &name, claims, faults) {
            headers.push((name.into_boxed_str(), template));
        }
    }
    Identity::new(headers)
}

/// Whether a header of this name, in lower case, means nothing but what the operator has it say.
pub fn is_plain(name: &str) -> bool {
    http::HeaderName::from_bytes(name.as_bytes()).is_ok() && spelling::is_plain(name) && !NOT_IDENTITY.contains(&name)
}

fn template(node: &Node, header: &str, claims: bool, faults: &mut Faults) -> Option<Template> {
    let mut rest = node.text()?;
    let mut parts = Vec::new();
    if rest.is_empty() || !rest.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        faults.at(
            node,
            format!("`forward.headers.{header}` is {}; a header's value is visible ASCII, with claims as `{{{{auth.id}}}}`", node.quoted()),
        );
        return None;
    }
    while let Some((before, from)) = rest.split_once("{{") {
        let claim = from.split_once("}}").and_then(|(inside, after)| Some((Claim::parse(inside.trim().strip_prefix("auth.")?)?, after)));
        let claim = claim.filter(|(claim, _)| claims || !matches!(claim, Claim::Path(path) if **path != *"sub"));
        let Some((claim, after)) = claim else {
            faults.at(
                node,
                format!(
                    "`forward.headers.{header}` is {}; known are `{{{{auth.id}}}}`, `sub`, `credential`, `scopes`, `tenant`, `role`, `roles`, and the claims of signed tokens where some source takes them",
                    node.quoted()
                ),
            );
            return None;
        };
        if !before.is_empty() {
            parts.push(Part::Literal(before.into()));
        }
        parts.push(Part::Claim(claim));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.into()));
    }
    Some(Template(parts))
}
