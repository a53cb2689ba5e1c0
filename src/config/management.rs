//! `management` into whether the API is served at the proxy door, and routes that this takes away into faults.
//! Lets no route stand that no request would reach.

use std::collections::BTreeMap;

use super::fault::Faults;
use super::tree::{Key, Node};
use crate::management::paths;
use crate::policy::pattern::Pattern;

pub fn is_exposed(tree: &Node) -> bool {
    tree.get("management").and_then(|management| management.get("expose")).is_some_and(Node::is_true)
}

/// What the API takes of the proxy door's paths.
#[derive(Debug)]
pub struct Taken(BTreeMap<&'static str, Pattern>);

pub fn taken(tree: &Node) -> Taken {
    Taken(if is_exposed(tree) { paths() } else { BTreeMap::new() })
}

impl Taken {
    pub fn refuse(&self, route: &Key, pattern: &Pattern, faults: &mut Faults) {
        if let Some((path, _)) = self.0.iter().find(|(_, taken)| pattern.is_within(taken)) {
            let message = format!("route `{}` would never be asked: `management.expose` serves {path} here; remove the route or the key", route.text);
            faults.at_place(route.place, message);
        }
    }
}
