//! What the dependency list of `tests/purity` cannot forbid, because std itself offers it.

use std::fs;
use std::path::{Path, PathBuf};

const ROOMS: [&str; 7] = ["scope.rs", "identity.rs", "request", "credential", "jose", "principal", "policy"];

const FORBIDDEN: [&str; 26] = [
    "std::time",
    "SystemTime",
    "Instant",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os",
    "std::sync::Mutex",
    "RwLock",
    "Mutex<",
    "Condvar",
    "OnceLock",
    "LazyLock",
    "Atomic",
    "std::thread",
    "thread_local!",
    "tracing",
    "async fn",
    "async move",
    ".await",
    "println!",
    "eprint",
    "dbg!",
];

fn files(path: &Path, list: &mut Vec<PathBuf>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| files(&entry.unwrap().path(), list));
    } else {
        list.push(path.to_owned());
    }
}

#[test]
fn pure_rooms_use_no_clock_no_files_no_threads_and_no_log() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut list = Vec::new();
    ROOMS.iter().for_each(|room| files(&source.join(room), &mut list));
    assert!(list.len() > 15, "{list:?}");
    for file in list {
        let text = fs::read_to_string(&file).unwrap();
        // The tests of a room stand at the end of its files.
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for (number, line) in product.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let found = FORBIDDEN.iter().find(|word| line.contains(**word));
            assert_eq!(found, None, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}

#[test]
fn every_pure_room_is_built_by_the_shadow_package() {
    let shadow = include_str!("../purity/src/lib.rs");
    for room in ROOMS {
        let path = if room.ends_with(".rs") { room.to_owned() } else { format!("{room}/mod.rs") };
        assert!(shadow.contains(&format!("#[path = \"../../../src/{path}\"]")), "{room}");
    }
}
