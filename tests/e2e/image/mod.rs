//! The image of `deploy/image`: its Dockerfile by the real buildah, with the binary under test in place of its build stage, and what comes out, unpacked.
//! Compiles nothing and asks no registry.

mod bill;
mod container;
mod contents;
mod names;
mod run;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::process::{root, scopegate, tool};

/// Where the Dockerfile puts them.
pub const BINARY: &str = "usr/local/bin/scopegate";
pub const BILL: &str = "usr/local/share/sbom/scopegate.cdx.json";

/// An image as a registry has it: its configuration, and its one layer as files.
pub struct Image {
    pub config: Json,
    /// The lines of `tar --list --verbose` with numeric owners.
    pub listing: String,
    folder: TempDir,
}

impl Image {
    /// Of the Dockerfile's last stage, with what its first one would leave in `/out`.
    pub fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Whoever is nobody goes through it later.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let out = folder.path().join("stage/out");
        fs::create_dir_all(&out).unwrap();
        static_binary(&out.join("scopegate"));
        fs::copy(root().join("LICENSE"), out.join("LICENSE")).unwrap();
        fs::write(out.join("scopegate.cdx.json"), "{}").unwrap();
        for (file, mode) in [("scopegate", 0o555), ("LICENSE", 0o444), ("scopegate.cdx.json", 0o444)] {
            fs::set_permissions(out.join(file), PermissionsExt::from_mode(mode)).unwrap();
        }
        let stage = format!("build={}", folder.path().join("stage").display());
        let dockerfile = root().join("deploy/image/Dockerfile");
        let file = dockerfile.to_str().unwrap();
        buildah(folder.path(), &["bud", "--isolation", "chroot", "--build-context", &stage, "--tag", "gate", "--file", file, "stage"]);
        buildah(folder.path(), &["push", "--disable-compression", "gate", "oci:layout"]);
        Self::unpack(folder)
    }

    fn unpack(folder: TempDir) -> Self {
        let layout = folder.path().join("layout");
        let blob = |description: &Json| layout.join("blobs").join(description["digest"].as_str().unwrap().replace(':', "/"));
        let read = |path: PathBuf| -> Json { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let manifest = read(blob(&read(layout.join("index.json"))["manifests"][0]));
        let [layer] = &manifest["layers"].as_array().unwrap()[..] else { panic!("{}", manifest["layers"]) };
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        let layer = blob(layer);
        let listing = ran(Command::new("tar").args(["--list", "--verbose", "--numeric-owner", "--file"]).arg(&layer));
        ran(Command::new("tar").args(["--extract", "--preserve-permissions", "--numeric-owner", "--file"]).arg(&layer).arg("-C").arg(root));
        Self { config: read(blob(&manifest["config"]))["config"].take(), listing, folder }
    }

    /// The root of its files.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A folder beside it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The binary under test, stripped as the release profile strips it.
fn static_binary(to: &Path) {
    let headers = ran(Command::new("readelf").args(["--program-headers", "--wide"]).arg(scopegate()));
    assert!(
        !headers.contains(" INTERP "),
        "{} needs libraries, which the image does not have: run the end-to-end tests by `tests/run`, or with CARGO_BUILD_TARGET and the flags that it sets",
        scopegate().display()
    );
    ran(Command::new("strip").arg("-o").arg(to).arg(scopegate()));
}

/// With everything that it keeps in `folder`, and nothing that this machine is set up for.
fn buildah(folder: &Path, arguments: &[&str]) {
    let policy = folder.join("policy.json");
    fs::write(&policy, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
    let mut command = Command::new(tool("buildah"));
    command.current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder).env("TMPDIR", folder).env("XDG_RUNTIME_DIR", folder);
    for name in ["CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF"] {
        command.env(name, "/dev/null");
    }
    command.arg("--storage-driver").arg("vfs").arg("--root").arg(folder.join("storage")).arg("--runroot").arg(folder.join("running"));
    ran(command.arg(arguments[0]).arg("--signature-policy").arg(&policy).args(&arguments[1..]));
}

/// The standard output of a command that succeeds.
pub fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
