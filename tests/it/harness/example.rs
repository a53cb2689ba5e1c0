//! The examples of `deploy/`, with doors of the system's choice, a test's own upstream, and values for their variables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::upstream::Upstream;
use super::{Gate, complete, write_secret};

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples").join(name)
}

/// The file without its upstream, which a test has of its own, and without its ports.
pub fn text(folder_name: &str, file: &str) -> String {
    let text = std::fs::read_to_string(folder(folder_name).join(file)).unwrap();
    let text = text.replace("127.0.0.1:8091", "127.0.0.1:0").replace("127.0.0.1:8092", "127.0.0.1:0");
    text.lines().filter(|line| !line.starts_with("upstream:")).map(|line| format!("{line}\n")).collect()
}

/// With the values in place of the variables, for a gate in this process, whose environment is everybody's.
pub fn filled(text: &str, variables: &[(&str, &str)]) -> String {
    variables
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value).replace(&format!("{{{{env.{name}}}}}"), value))
}

/// A folder with the configuration as `scopegate.yaml`, and the JSON files of the example beside it.
pub fn desk(folder_name: &str, config: &str, upstream: SocketAddr) -> TempDir {
    let desk = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder(folder_name)).unwrap().flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "json")) {
        write_secret(&desk.path().join(entry.file_name()), std::fs::read(entry.path()).unwrap());
    }
    std::fs::write(desk.path().join("scopegate.yaml"), complete(config, upstream)).unwrap();
    desk
}

/// A gate in this process.
pub async fn gate(folder_name: &str, config: &str) -> Gate {
    gate_before(Upstream::start().await, folder_name, config).await
}

pub async fn gate_before(upstream: Upstream, folder_name: &str, config: &str) -> Gate {
    Gate::at(desk(folder_name, config, upstream.address), upstream).await
}
