//! What a pod lacks into a JSON Patch (RFC 6902): additions alone.
//! Changes and removes nothing of what is there.

use serde_json::{Value, json};

use super::pod::Pod;
use super::sidecar::{Additions, INTERCEPT};

/// An `add` at a JSON pointer.
#[derive(Debug)]
pub struct Operation {
    path: String,
    value: Value,
}

impl Operation {
    pub fn json(&self) -> Value {
        json!({"op": "add", "path": self.path, "value": self.value})
    }
}

/// Empty where the pod has all of it.
pub fn patch(pod: &Pod<'_>, additions: &Additions) -> Vec<Operation> {
    let mut patch = Vec::new();
    let name = |value: &Value| value.get("name").cloned();
    let lacks = |list: &[Value], wanted: &&Value| !list.iter().any(|have| name(have) == name(wanted));
    let containers: Vec<Value> = additions.init_containers().filter(|wanted| lacks(pod.init_containers, wanted)).cloned().collect();
    // Before all others, so that those start behind the gate; and behind the rules, where those are there already.
    let rules = pod.init_containers.iter().position(|container| container.get("name").is_some_and(|name| name == INTERCEPT));
    let first = rules.map_or(0, |index| index + 1);
    add(&mut patch, "/spec/initContainers", pod.has_init_containers, |index| (first + index).to_string(), containers);
    let volumes = additions.volumes.iter().filter(|wanted| lacks(pod.volumes, wanted)).cloned().collect();
    add(&mut patch, "/spec/volumes", pod.has_volumes, |_| "-".to_owned(), volumes);
    patch
}

/// A list that is not there is added as a whole: a pointer into it would lead nowhere.
fn add(patch: &mut Vec<Operation>, path: &str, is_there: bool, at: impl Fn(usize) -> String, values: Vec<Value>) {
    if values.is_empty() {
        return;
    }
    if !is_there {
        patch.push(Operation { path: path.to_owned(), value: values.into() });
        return;
    }
    patch.extend(values.into_iter().enumerate().map(|(index, value)| Operation { path: format!("{path}/{}", at(index)), value }));
}
