//! Audit lines in a file of their own, and an output that takes none.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use scopegate::app;
use scopegate::config::Input;

use super::{POLICY, TOKENS, decide, dropped, until_dropped};
use crate::harness::process::refused;
use crate::harness::upstream::Upstream;
use crate::harness::{Capture, Gate, complete, until, write_secret};

/// Fails for as long as it is told to.
#[derive(Clone, Default)]
struct Failing(Arc<AtomicBool>, Arc<Mutex<Vec<u8>>>);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.1.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn with_output(out: impl Write + Send + 'static) -> Gate {
    let (upstream, folder) = (Upstream::start().await, tempfile::tempdir().unwrap());
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    let config = folder.path().join("scopegate.yaml");
    std::fs::write(&config, complete(POLICY, upstream.address)).unwrap();
    let running = app::start(Input::File(config), out).await.unwrap();
    Gate { running, upstream, folder, audit: Capture::default() }
}

async fn flushed(gate: &Gate) {
    let gate = Arc::clone(&gate.running.gate);
    tokio::task::spawn_blocking(move || gate.telemetry.audit.as_ref().unwrap().flush()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_fails_costs_lines_that_are_counted_and_no_decision() {
    let failing = Failing::default();
    let gate = with_output(failing.clone()).await;
    failing.0.store(true, Ordering::SeqCst);
    decide(&gate, 20).await;
    until_dropped(&gate, 20.0).await;
    failing.0.store(false, Ordering::SeqCst);
    decide(&gate, 7).await;
    flushed(&gate).await;
    let written = failing.1.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
    assert_eq!((written, dropped(&gate).await), (7, 20.0));
    assert_eq!(gate.running.gate.telemetry.recent.last(100, &Default::default()).len(), 27, "who watches sees them all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_lines_that_are_counted_and_no_decision() {
    let gate = Gate::start(&format!("{POLICY}telemetry: {{audit: {{file: /dev/full}}}}\n"), TOKENS).await;
    decide(&gate, 20).await;
    until_dropped(&gate, 20.0).await;
    decide(&gate, 1).await;
    until_dropped(&gate, 21.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_rotated_and_every_line_is_in_one_of_them() {
    let rotated = "telemetry: {audit: {file: audit.log, max_size: 4KiB, keep: 40}}\n";
    let gate = Gate::start(&format!("{POLICY}{rotated}"), TOKENS).await;
    decide(&gate, 200).await;
    flushed(&gate).await;
    let mut ids = std::collections::HashSet::new();
    let mut files = 0;
    for entry in std::fs::read_dir(gate.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("audit.log") {
            continue;
        }
        files += 1;
        let metadata = std::fs::metadata(&path).unwrap();
        assert!(metadata.len() <= 4096, "{}", metadata.len());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(ids.insert(line["id"].as_str().unwrap().to_owned()), "a line is there once");
        }
    }
    assert!(files > 5, "{files}");
    assert_eq!((ids.len(), dropped(&gate).await), (200, 0.0));
    assert_eq!(gate.audit.text(), "", "and nothing on standard output");
    std::fs::rename(gate.folder.path().join("audit.log"), gate.folder.path().join("taken.log")).unwrap();
    decide(&gate, 1).await;
    flushed(&gate).await;
    let new = until("a new file", async || std::fs::read_to_string(gate.folder.path().join("audit.log")).ok()).await;
    assert_eq!(new.lines().count(), 1);
}

#[test]
fn a_file_that_cannot_be_written_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("scopegate.yaml");
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    let text = format!("{POLICY}telemetry: {{audit: {{file: nowhere/audit.log}}}}\n");
    std::fs::write(&config, complete(&text, ([127, 0, 0, 1], 1).into())).unwrap();
    let said = refused(&config, &[]);
    assert!(said.contains("`telemetry.audit.file` cannot be written: ") && said.contains("nowhere/audit.log: "), "{said}");
    assert!(said.contains("make its folder, and let this process's user write to it"), "{said}");
}
