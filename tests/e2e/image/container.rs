//! An unpacked image as a container: the image's user and variables, a root that nobody can write, and the few files that every runtime mounts into it.
//! Has no `/proc`, no `/tmp` and no device but randomness: whatever runs so runs under a runtime that gives more.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::Image;
use crate::process::Process;

/// Mounts what follows the root, pair by pair, makes the root read-only and goes in.
const ENTER: &str = r#"set -e
root=$1; shift
mount --bind "$root" "$root"
while [ "$1" != -- ]; do mount --bind "$1" "$root/$2"; shift 2; done
mount -o remount,bind,ro "$root"
shift; exec env -i "$@""#;

pub const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";
/// Where what it writes is kept.
pub const VOLUME: &str = "var/lib/scopegate";

pub struct Container {
    image: Image,
    mounts: Vec<(PathBuf, &'static str)>,
}

impl Container {
    /// With the lines of its `/etc/hosts` beyond the usual ones.
    pub fn new(hosts: &str) -> Self {
        let image = Image::build();
        let mut container = Self { image, mounts: Vec::new() };
        container.mount("hosts", "etc/hosts", Some(&format!("{HOSTS}{hosts}")));
        container.mount("resolv.conf", "etc/resolv.conf", Some("nameserver 127.0.0.1\noptions timeout:1\n"));
        container.mount("configuration", "etc/scopegate", None);
        container.mount("volume", VOLUME, None);
        fs::create_dir(container.image.root().join("dev")).unwrap();
        for device in ["dev/random", "dev/urandom"] {
            fs::write(container.image.root().join(device), "").unwrap();
            container.mounts.push((Path::new("/").join(device), device));
        }
        container
    }

    /// A file with this text or a folder. A runtime makes the place too, before the root is read-only.
    pub fn mount(&mut self, name: &str, place: &'static str, text: Option<&str>) {
        let (from, to) = (self.image.beside(name), self.image.root().join(place));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        match text {
            Some(text) => {
                fs::write(&from, text).unwrap();
                fs::write(&to, "").unwrap();
            }
            None => {
                fs::create_dir(&from).unwrap();
                fs::create_dir_all(&to).unwrap();
                own(&from, 0o700);
            }
        }
        self.mounts.push((from, place));
    }

    /// Puts a file into the folder of its configuration.
    pub fn file(&self, name: &str, text: &str) {
        let path = self.image.beside("configuration").join(name);
        fs::write(&path, text).unwrap();
        own(&path, 0o600);
    }

    /// What lies in the volume.
    pub fn volume(&self) -> Vec<String> {
        let names = fs::read_dir(self.image.beside("volume")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Runs this in it, with variables beyond the image's own, as the image's entry point does.
    pub fn run(&self, name: &str, variables: &[&str], arguments: &[&str]) -> Process {
        let text = |key: &str| self.image.config[key].as_str().unwrap();
        let list = |key: &str| self.image.config[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        let (user, group) = text("User").split_once(':').unwrap();
        let root = self.image.root();
        Process::start(name, Path::new("/usr/bin/unshare"), &self.image.beside(""), |command| {
            command.args(["--mount", "sh", "-c", ENTER, "sh"]).arg(&root);
            for (from, to) in &self.mounts {
                command.arg(from).arg(to);
            }
            command.arg("--").args(list("Env")).args(variables);
            // By its own path: the variables are the container's by now.
            command.arg("/usr/bin/unshare").arg("--root").arg(&root).arg("--wd").arg(text("WorkingDir"));
            command.args(["--setgid", group, "--setuid", user]).args(list("Entrypoint")).args(arguments);
        })
    }

    /// Exit status and all that it said.
    pub fn ends(&self, name: &str, variables: &[&str], arguments: &[&str]) -> (Option<i32>, String) {
        let mut process = self.run(name, variables, arguments);
        (process.ended(), process.said())
    }
}

fn own(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    chown(path, Some(65532), Some(65532)).unwrap();
}
