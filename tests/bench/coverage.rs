//! How long a build waits for coverage: the command from start to end, on public documents of a hundred operations and more.

use std::process::Command;
use std::time::Instant;

use crate::processes::scopegate;
use crate::{Effort, Table};

const DOCUMENTS: [(&str, &str); 3] = [
    ("GitHub, JSON of 13 MB", "@octokit/openapi/generated/api.github.com.json"),
    ("Blockfrost, YAML of 0.5 MB", "@blockfrost/openapi/openapi.yaml"),
    ("GitBook, JSON of 1.7 MB", "@gitbook/api/spec/openapi.json"),
];

pub fn measure(effort: Effort, table: &mut Table) {
    let packages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/packages/openapi/node_modules");
    for (name, file) in DOCUMENTS {
        let document = packages.join(file);
        if !document.exists() {
            eprintln!("  {} is not there", document.display());
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let done = Command::new(scopegate()).args(args).current_dir(folder.path()).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        let document = document.to_str().unwrap();
        run(&["init", "--upstream", "http://127.0.0.1:3000", "--openapi", document]);
        let mut best = f64::MAX;
        for _ in 0..effort.rounds {
            let started = Instant::now();
            run(&["coverage", "--openapi", document]);
            best = best.min(started.elapsed().as_secs_f64() * 1000.0);
        }
        table.row(format!("coverage of {name}, milliseconds"), format!("{best:.0}"), "< 1000");
    }
}
