//! The bill of materials, as the Dockerfile's own command makes it: valid, with all that is linked and nothing that only tests or builds.
//! Asks no registry.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use super::ran;
use crate::process::{root, tool};

/// Made in `folder` by the Dockerfile's command, of what its build sees.
fn bill(folder: &Path) -> PathBuf {
    let dockerfile = fs::read_to_string(root().join("deploy/image/Dockerfile")).unwrap();
    let command = dockerfile.split_once("cargo cyclonedx").unwrap().1.split_once("&&").unwrap().0.replace("\"${target}\"", &host());
    // It writes beside the manifest, and goes through the whole workspace.
    for part in ["Cargo.toml", "Cargo.lock", "proto", "src", "tests/fuzz", "tests/purity"] {
        let to = folder.join(part);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        ran(Command::new("cp").arg("-r").arg(root().join(part)).arg(to));
    }
    let mut cyclonedx = Command::new(tool("cargo-cyclonedx"));
    ran(cyclonedx.arg("cyclonedx").args(command.split_whitespace()).current_dir(folder).env("CARGO", env!("CARGO")).env("CARGO_NET_OFFLINE", "true"));
    folder.join("scopegate.cdx.json")
}

/// The kind of machine that this one is.
fn host() -> String {
    let told = ran(Command::new(Path::new(env!("CARGO")).with_file_name("rustc")).arg("-vV"));
    told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// Names with versions of the crates that cargo finds on these edges, for this machine's kind.
fn crates(edges: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--offline", "--package", "scopegate", "--prefix", "none", "--format", "{p}", "--edges", edges]);
    let tree = ran(cargo.args(["--target", &host()]).current_dir(root()));
    let names = tree.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ").replacen(" v", " ", 1));
    names.filter(|name| !name.starts_with("scopegate ")).collect()
}

#[test]
fn the_bill_of_materials_lists_every_crate_of_the_binary_in_its_version_and_none_that_only_tests_or_builds() {
    let folder = tempfile::tempdir().unwrap();
    let path = bill(folder.path());
    let listed: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let names = |component: &Json| format!("{} {}", component["name"].as_str().unwrap(), component["version"].as_str().unwrap());
    let components = listed["components"].as_array().unwrap();
    assert_eq!(names(&listed["metadata"]["component"]), concat!("scopegate ", env!("CARGO_PKG_VERSION")));
    let (listed_crates, linked) = (components.iter().map(names).collect::<BTreeSet<_>>(), crates("normal"));
    assert!(linked.len() > 200 && linked.is_subset(&listed_crates), "not listed: {:?}", linked.difference(&listed_crates));
    // Cargo's metadata, which the tool reads, counts a dependency that some feature could take; there is nothing else beyond.
    let beyond = listed_crates.difference(&linked).collect::<Vec<_>>();
    assert!(beyond.len() <= 20, "{beyond:?}");
    let locked = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for name in &listed_crates {
        let (name, version) = name.split_once(' ').unwrap();
        assert!(locked.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{name} {version}");
    }
    for other in ["rcgen ", "tempfile ", "totp-rs ", "protox ", "tonic-prost-build ", "prost-build "] {
        assert!(!listed_crates.iter().any(|name| name.starts_with(other)), "{other}");
    }
    for component in components {
        assert!(component["licenses"][0].is_object(), "no licence: {component}");
        assert!(component["purl"].as_str().unwrap().starts_with("pkg:cargo/"), "{component}");
    }
    let script = root().join("tests/e2e/image/valid.py");
    let valid = |file: &Path| Command::new(tool("python3")).arg("-B").arg(&script).arg(file).status().unwrap().success();
    assert!(valid(&path));
    let wrong = folder.path().join("wrong.json");
    fs::write(&wrong, r#"{"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": [{"type": "library"}]}"#).unwrap();
    assert!(!valid(&wrong), "a crate without a name");
}
