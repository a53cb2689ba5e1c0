//! What is in the image: its settings, each of its files, and that the program needs nothing else.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::{BINARY, Image, ran};
use crate::process::{root, tool};

#[test]
fn the_dockerfile_is_as_its_linter_wants_it() {
    let said = ran(Command::new(tool("hadolint")).args(["--failure-threshold", "style"]).arg(root().join("deploy/image/Dockerfile")));
    assert_eq!(said, "");
}

#[test]
fn the_linter_finds_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Dockerfile");
    fs::write(&file, "FROM debian\nRUN cd /tmp && sudo apt-get install curl\n").unwrap();
    let output = Command::new(tool("hadolint")).arg(&file).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains("DL3004") && said.contains("DL3006"), "{said}");
}

#[test]
fn the_image_is_one_program_that_needs_nothing_for_a_user_who_may_change_nothing() {
    let image = Image::build();
    let config = &image.config;
    for (key, value) in [
        ("User", json!("65532:65532")),
        ("Env", json!(["PATH=/usr/local/bin"])),
        ("Entrypoint", json!(["scopegate"])),
        ("Cmd", json!(["serve"])),
        ("WorkingDir", json!("/etc/scopegate")),
        ("StopSignal", json!("SIGTERM")),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default();
    assert_eq!([label("title"), label("version"), label("licenses")], ["scopegate", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_LICENSE")]);
    assert!(!label("description").is_empty());

    // Mode, owner and name, of everything.
    let lines = image.listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut files: Vec<[&str; 3]> = lines.map(|words| [words[0], words[1], words[words.len() - 1]]).collect();
    files.sort_by_key(|file| file[2]);
    let folders = ["etc/", "etc/scopegate/", "usr/", "usr/local/", "usr/local/bin/"];
    let more = ["usr/local/share/", "usr/local/share/licenses/", "usr/local/share/licenses/scopegate/", "usr/local/share/sbom/"];
    let mut expected: Vec<[&str; 3]> = folders.into_iter().chain(more).map(|folder| ["drwxr-xr-x", "0/0", folder]).collect();
    expected.push(["-r-xr-xr-x", "0/0", BINARY]);
    expected.push(["-r--r--r--", "0/0", "usr/local/share/licenses/scopegate/LICENSE"]);
    expected.push(["-r--r--r--", "0/0", super::BILL]);
    expected.sort_by_key(|file| file[2]);
    assert_eq!(files, expected);

    let headers = ran(Command::new("readelf").args(["--program-headers", "--dynamic", "--wide"]).arg(image.root().join(BINARY)));
    assert!(headers.contains(" LOAD "), "{headers}");
    for needs in [" INTERP ", "(NEEDED)"] {
        assert!(!headers.contains(needs), "{needs}: {headers}");
    }
    // Its stack is no code, and its addresses are another at each start.
    let stack = headers.lines().find(|line| line.contains("GNU_STACK")).unwrap();
    assert!(stack.contains(" RW "), "{stack}");
    assert!(headers.contains("DYN (") && headers.contains("GNU_RELRO"), "{headers}");
}
