//! The real Helm command over the chart of `helm/scopegate`, with values of `tests/e2e/kubernetes/cases`: the objects of a cluster.
//! Reaches no cluster; whoever makes one is not here.

mod cluster;
pub mod install;
mod objects;
mod security;
mod values;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::process::{root, tool};

/// Values and what the chart makes of them for the newest Kubernetes.
pub struct Case {
    pub name: String,
    pub values: Json,
    pub text: String,
    pub objects: Vec<Json>,
}

/// Every file of `cases/`.
pub static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let mut files: Vec<PathBuf> = fs::read_dir(kubernetes("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let case = |file: &PathBuf| {
        let values = read(&fs::read_to_string(file).unwrap()).remove(0);
        let text = template(&values, &[]).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let objects = read(&text);
        Case { name: file.file_stem().unwrap().to_str().unwrap().to_owned(), values, text, objects }
    };
    files.iter().map(case).collect()
});

pub fn case(name: &str) -> &'static Case {
    CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"))
}

pub fn chart() -> PathBuf {
    root().join("helm/scopegate")
}

pub fn kubernetes(path: &str) -> PathBuf {
    root().join("tests/e2e/kubernetes").join(path)
}

/// Standard output, or standard error where it fails.
pub fn run(program: &Path, arguments: &[&str], input: &str) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Beside the reading: what is read may be long too. Whoever does not read all of it says why.
    let writer = std::thread::spawn(move || pipe.write_all(input.as_bytes()).is_ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

pub fn helm(arguments: &[&str]) -> Result<String, String> {
    run(&tool("helm"), arguments, "")
}

/// `helm template` of a release `gate` in the namespace `auth`.
pub fn template(values: &Json, more: &[&str]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (file, chart) = (folder.path().join("values.json"), chart());
    fs::write(&file, values.to_string()).unwrap();
    let mut arguments = vec!["template", "gate", chart.to_str().unwrap(), "-n", "auth", "-f", file.to_str().unwrap()];
    arguments.extend(more);
    helm(&arguments)
}

/// The documents of a YAML text, as Kubernetes reads them.
pub fn read(yaml: &str) -> Vec<Json> {
    let script = kubernetes("objects.py");
    let json = run(&tool("python3"), &[script.to_str().unwrap()], yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    serde_json::from_str(&json).unwrap()
}

/// The objects of a kind.
pub fn of<'a>(objects: &'a [Json], kind: &str) -> Vec<&'a Json> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The one object of a kind.
pub fn one<'a>(objects: &'a [Json], kind: &str) -> &'a Json {
    let found = of(objects, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

/// What the schemas of Kubernetes, from 1.29 to the newest, and of the other projects have against `objects`.
pub fn faults(objects: &[Json]) -> Vec<String> {
    let script = kubernetes("schemas.py");
    let core = run(&tool("python3"), &[script.to_str().unwrap()], &Json::from(objects.to_vec()).to_string()).unwrap();
    let core: Json = serde_json::from_str(&core).unwrap();
    assert!(core["versions"].as_array().unwrap().len() >= 9, "{}", core["versions"]);
    let strings = |list: &Json| -> Vec<String> { list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect() };
    let (script, packages) = (kubernetes("models.mjs"), root().join("target/tools/packages/kubernetes"));
    let arguments = [script.to_str().unwrap(), packages.to_str().unwrap()];
    let custom = run(&tool("node"), &arguments, &core["unknown"].to_string()).unwrap();
    [strings(&core["faults"]), strings(&serde_json::from_str(&custom).unwrap())].concat()
}
