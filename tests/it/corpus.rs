//! Decisions as data: every case of `tests/corpus/*.toml` at every door, with the same status, bytes and consequences.

mod case;
mod contract;
mod doors;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::harness::Gate;
use case::File;
use doors::{Door, Doors};

/// Fewer than this, and somebody has lost a file.
const CASES: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn every_case_has_the_same_answer_at_every_door() {
    let (mut cases, mut asked, mut failures, mut names) = (0, 0, Vec::new(), HashSet::new());
    for path in files() {
        let file = File::read(&path);
        let gate = Gate::start(&file.policy, &file.tokens).await;
        let mut doors = Doors::open(&gate, &file).await;
        let mut decided = Vec::new();
        for case in &file.cases {
            cases += 1;
            if !names.insert(case.name.clone()) {
                failures.push(format!("{}: a second case has this name", case.name));
            }
            for door in Door::ALL.into_iter().filter(|door| !case.skips(*door)) {
                asked += 1;
                match doors.ask(door, case).await {
                    Ok(decision) => decided.extend(decision.map(|id| (id, door, case))),
                    Err(why) => failures.push(format!("{}: {} at {door:?}: {why}", file.name, case.name)),
                }
            }
        }
        let lines = audit_lines(&gate.audit().await);
        for (id, door, case) in decided {
            let found = lines.get(&id).map(|line| (line["door"].as_str().unwrap_or_default(), line["reason"].as_str().unwrap_or_default()));
            let expected = Some((door.of_the_gate(), case.reason_at(door)));
            if found != expected {
                failures.push(format!("{}: {} at {door:?}: the audit line of {id} says {found:?}, not {expected:?}", file.name, case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {asked} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(cases >= CASES, "{cases} cases");
    println!("{cases} cases, asked {asked} times");
}

fn files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

fn audit_lines(text: &str) -> HashMap<String, serde_json::Value> {
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|line| (line["id"].as_str().unwrap().to_owned(), line)).collect()
}
