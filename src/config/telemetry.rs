//! `telemetry` as the operator wrote it into where audit lines, traces, metrics and logs go.
//! Opens nothing.

use std::path::{Path, PathBuf};

use super::fault::Faults;
use super::quantity;
use super::tree::{Node, Value};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// `None` where nothing is written.
    pub audit: Option<Audit>,
    /// `None` where the file says nothing of it; the environment may.
    pub otlp: Option<Otlp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// `None` is standard output.
    pub file: Option<PathBuf>,
    /// Bytes.
    pub max_size: u64,
    pub keep: usize,
    /// Of a million allowed requests so many.
    pub sample: u32,
    pub paths: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    pub endpoint: Option<String>,
    pub traces: bool,
    pub metrics: bool,
    pub logs: bool,
    /// Of a million traces that begin here so many.
    pub sample: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: None, max_size: 100 << 20, keep: 5, sample: ALL, paths: true }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self { endpoint: None, traces: true, metrics: true, logs: true, sample: ALL }
    }
}

/// Every one of a million.
const ALL: u32 = 1_000_000;

const SIGNALS: [&str; 3] = ["traces", "metrics", "logs"];

pub fn telemetry(tree: &Node, base: &Path, faults: &mut Faults) -> Telemetry {
    let said = |key| tree.get("telemetry").and_then(|node| node.get(key));
    Telemetry {
        audit: said("audit").map_or_else(|| Some(Audit::default()), |node| audit(node, base, faults)),
        otlp: said("otlp").map(|node| otlp(node, faults)),
    }
}

fn audit(node: &Node, base: &Path, faults: &mut Faults) -> Option<Audit> {
    let default = Audit::default();
    match node.text() {
        Some("off") => return None,
        Some("stdout") => return Some(default),
        Some(_) => {
            faults.at(node, format!("`telemetry.audit` is {}; it is `stdout`, `off` or `{{file: PATH}}`", node.quoted()));
            return None;
        }
        None => {}
    }
    let file = node.get("file").and_then(Node::text).map(|path| base.join(path));
    for key in ["max_size", "keep"] {
        if let (Some(said), None) = (node.get(key), &file) {
            faults.at(said, format!("`telemetry.audit.{key}` is of a file, and there is none; set `telemetry.audit.file` or remove it"));
        }
    }
    let max_size = node.get("max_size").and_then(|size| quantity::size(size.text()?));
    let keep = node.get("keep").and_then(|keep| match keep.value {
        Value::Whole(count) => usize::try_from(count).ok(),
        Value::Text(_) | Value::Bool(_) | Value::Float(_) | Value::Null | Value::List(_) | Value::Map(_) => None,
    });
    Some(Audit {
        file,
        max_size: max_size.map_or(default.max_size, |bytes| bytes as u64),
        keep: keep.unwrap_or(default.keep),
        sample: share(node, "telemetry.audit.sample", faults),
        paths: node.get("paths").is_none_or(Node::is_true),
    })
}

fn otlp(node: &Node, faults: &mut Faults) -> Otlp {
    let said = if node.entries().is_empty() { Some(node) } else { node.get("endpoint") };
    let is_url = |text: &str| ["http://", "https://"].iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if let Some(node) = said.filter(|node| !node.text().is_some_and(is_url)) {
        faults.at(node, format!("`telemetry.otlp` is {}; it is an address such as `http://collector:4317`", node.quoted()));
    }
    let listed = node.get("signals").map(Node::items).unwrap_or_default();
    for item in listed.iter().filter(|item| !item.text().is_some_and(|text| SIGNALS.contains(&text))) {
        faults.at(item, format!("`telemetry.otlp.signals` has {}; known are `traces`, `metrics` and `logs`", item.quoted()));
    }
    let sends = |signal: &str| listed.is_empty() || listed.iter().any(|item| item.text() == Some(signal));
    Otlp {
        endpoint: said.and_then(Node::text).map(str::to_owned),
        traces: sends("traces"),
        metrics: sends("metrics"),
        logs: sends("logs"),
        sample: share(node, "telemetry.otlp.sample", faults),
    }
}

/// `5%` as so many of a million.
fn share(node: &Node, name: &str, faults: &mut Faults) -> u32 {
    let Some(said) = node.get("sample") else { return ALL };
    let percent = said.text().and_then(|text| text.strip_suffix('%')).and_then(|text| text.trim_end().parse::<f64>().ok());
    match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
        // At most a million, and nothing below zero.
        Some(percent) => (percent * 10_000.0).round() as u32,
        None => {
            faults.at(said, format!("`{name}` is {}; it is a share from `0%` to `100%`", said.quoted()));
            ALL
        }
    }
}
