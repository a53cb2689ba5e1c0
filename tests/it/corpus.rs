//! Decisions as data: every case of `tests/corpus/*.toml` at every door, with the same status, bytes and consequences.

mod book;
mod case;
mod contract;
mod doors;
mod keys;
mod mint;
mod outside;
mod rotation;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Instant;

use scopegate::gate::unix_now;

use crate::harness::upstream::Upstream;
use crate::harness::{Gate, complete, write_secret};
use case::File;
use doors::{Door, Doors};
use outside::World;

/// Fewer than this, and somebody has lost a file.
const CASES: usize = 1500;
const MINTED: usize = 900;

#[tokio::test(flavor = "multi_thread")]
async fn every_case_has_the_same_answer_at_every_door() {
    let world = World::make().await;
    let (mut cases, mut minted, mut asked, mut failures, mut names) = (0, 0, 0, Vec::new(), HashSet::new());
    for path in files() {
        let (file, started) = (File::read(&path), Instant::now());
        let gate = start(&file, &world).await;
        let mut doors = Doors::open(&gate, &file, &world).await;
        let (mut decided, mut shown) = (Vec::new(), Vec::new());
        for case in &file.cases {
            cases += 1;
            if !names.insert(case.name.clone()) {
                failures.push(format!("{}: a second case has this name", case.name));
            }
            let made = case.made(&file, &world, unix_now());
            minted += usize::from(!made.shown.is_empty());
            for door in Door::ALL.into_iter().filter(|door| !case.skips(*door)) {
                asked += 1;
                match doors.ask(door, &made).await {
                    Ok(decision) => decided.extend(decision.map(|id| (id, door, case))),
                    Err(why) => failures.push(format!("{}: {} at {door:?}: {why}", file.name, case.name)),
                }
            }
            shown.extend(made.shown);
        }
        let audit = gate.audit().await;
        let lines = audit_lines(&audit);
        for (id, door, case) in decided {
            let line = lines.get(&id);
            let said = |name: &str| line.and_then(|line| line[name].as_str());
            let found = ["door", "outcome", "reason"].map(|name| said(name).unwrap_or_default());
            let expected = [door.of_the_gate(), case.outcome_at(door), case.reason_at(door)];
            if found != expected {
                failures.push(format!("{}: {} at {door:?}: the audit line of {id} says {found:?}, not {expected:?}", file.name, case.name));
            }
            if let Some(cause) = case.expect.cause.as_deref().filter(|cause| said("cause") != Some(cause)) {
                failures.push(format!("{}: {} at {door:?}: its cause is {:?}, not {cause:?}", file.name, case.name, said("cause")));
            }
        }
        // The longest part of a token is enough to know it by.
        let part = |token: &String| token.split(['.', '_']).max_by_key(|part| part.len()).filter(|part| part.len() > 20).map(str::to_owned);
        if shown.iter().filter_map(part).any(|part| audit.contains(&part)) {
            failures.push(format!("{}: a token is in the audit lines", file.name));
        }
        failures.extend(world.asked_too_often(started).into_iter().map(|what| format!("{}: fetched too often: {what}", file.name)));
    }
    assert_eq!(world.trap.caught(), 0, "somebody went where a token told it to go");
    assert!(failures.is_empty(), "{} of {asked} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(cases >= CASES && minted >= MINTED, "{cases} cases, {minted} of them with signed tokens");
    println!("{cases} cases, {minted} of them with signed tokens, asked {asked} times");
}

async fn start(file: &File, world: &World) -> Gate {
    if !file.mints() && file.book.is_none() {
        return Gate::start(&file.policy, &file.tokens).await;
    }
    let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::start().await);
    let path = |name: &str| folder.path().join(name);
    world.keys.files.iter().for_each(|(name, bytes)| write_secret(&path(name), bytes));
    write_secret(&path("tokens.json"), &file.tokens);
    std::fs::write(path("scopegate.yaml"), complete(&world.policy(&file.policy), upstream.address)).unwrap();
    if let Some(book) = &file.book {
        book.write(folder.path()).await;
    }
    let gate = Gate::at(folder, upstream).await;
    World::settled(&gate).await;
    gate
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
