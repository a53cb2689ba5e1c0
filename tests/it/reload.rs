//! A new set takes the place of the old in one step, or not at all; nobody notices but the operator.

mod history;
mod load;

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::process::Serving;
use crate::harness::upstream::Upstream;
use crate::harness::{Gate, ask, complete, metric, until, write_secret};

const ROUTES: &str = "routes: {GET /app: app:use}\n";

/// A token file with this many tokens.
fn tokens(count: usize) -> String {
    let entry = |index| format!(r#"{{"id": "id-{index}", "token": "token-number-{index:08}", "scopes": ["app:use"]}}"#);
    format!("[{}]", (0..count).map(entry).collect::<Vec<_>>().join(","))
}

/// A busy disk may make two readings out of one change, so that the generation is at least what it must be.
async fn has(gate: &Gate, count: u64, generation: u64) {
    until(&format!("{count} tokens in generation {generation}"), async || {
        let (status, ready) = gate.readyz().await;
        assert_eq!(status, 200);
        (ready["tokens"] == count && ready["generation"].as_u64() >= Some(generation)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_at_the_operator_door_reloads() {
    let gate = Gate::start(ROUTES, &tokens(1)).await;
    has(&gate, 1, 1).await;
    write_secret(&gate.folder.path().join("tokens.json"), tokens(2));
    let reply = gate.reload().await;
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"generation":2}"#));
    has(&gate, 2, 2).await;
    let get = ask(gate.admin(), "GET /reload HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(get.status, 405, "asking is not doing");
    has(&gate, 2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_fails_changes_the_report_and_nothing_else() {
    let gate = Gate::start(ROUTES, &tokens(1)).await;
    write_secret(&gate.folder.path().join("tokens.json"), "[{\"id\": \"a\", \"token\": \"token-number-00000000\"}]");
    gate.rewrite("routes: {GET /app: app use:x}\n");
    let reply = gate.reload().await;
    assert_eq!(reply.status, 422);
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["error"], "invalid_configuration");
    let faults = body["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 2, "{body}");
    let (status, ready) = gate.readyz().await;
    assert_eq!((status, &ready["generation"], &ready["tokens"], &ready["ready"]), (200, &1.into(), &1.into(), &true.into()));
    assert_eq!(ready["last_reload_fault"].as_array(), Some(faults));
    assert!(!ready.to_string().contains("token-number"), "{ready}");
    let metrics = gate.metrics().await;
    assert_eq!(metric(&metrics, "scopegate_reload_failures_total"), Some(1.0));
    assert_eq!(metric(&metrics, "scopegate_reloads_total"), Some(0.0));
    assert_eq!(metric(&metrics, "scopegate_generation"), Some(1.0));
    let old = ask(gate.proxy(), "GET /app HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token-number-00000000\r\n\r\n").await;
    assert_eq!(old.status, 200, "the old set decides");

    gate.rewrite(ROUTES);
    write_secret(&gate.folder.path().join("tokens.json"), tokens(3));
    assert_eq!(gate.reload().await.status, 200);
    let (_, ready) = gate.readyz().await;
    assert_eq!((&ready["generation"], &ready["last_reload_fault"]), (&2.into(), &serde_json::Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fixed_at_the_start_is_refused_by_name() {
    let fixed = "listen: {proxy: 127.0.0.1:0, ext_authz: 127.0.0.1:0, forward_auth: 127.0.0.1:0, admin: 127.0.0.1:0}\n";
    let gate = Gate::start(&format!("{ROUTES}{fixed}"), &tokens(1)).await;
    for (key, text) in [
        ("listen", format!("{ROUTES}{}", fixed.replace("forward_auth: 127.0.0.1:0", "forward_auth: off"))),
        ("upstream", format!("{ROUTES}{fixed}upstream: {{url: http://UPSTREAM, response_timeout: 1s}}\n")),
        ("trusted_proxies", format!("{ROUTES}{fixed}trusted_proxies: [10.0.0.0/8]\n")),
        ("telemetry", format!("{ROUTES}{fixed}telemetry: {{audit: off}}\n")),
        ("reload", format!("{ROUTES}{fixed}reload: {{watch: true}}\n")),
        ("drain_timeout", format!("{ROUTES}{fixed}drain_timeout: 1s\n")),
    ] {
        gate.rewrite(&text);
        let reply = gate.reload().await;
        assert_eq!(reply.status, 422, "{key}: {}", reply.text());
        assert!(reply.text().contains(&format!("`{key}` differs from what the process was started with")), "{}", reply.text());
        assert_eq!(gate.readyz().await.1["generation"], 1);
    }
    gate.rewrite(&format!("{ROUTES}{fixed}"));
    assert_eq!(gate.reload().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_disk_reloads() {
    let gate = Gate::start(&format!("{ROUTES}reload: {{watch: true}}\n"), &tokens(1)).await;
    let (file, beside) = (gate.folder.path().join("tokens.json"), gate.folder.path().join("tokens.new"));
    write_secret(&file, tokens(2));
    has(&gate, 2, 2).await;
    write_secret(&beside, tokens(3));
    std::fs::rename(&beside, &file).unwrap();
    has(&gate, 3, 3).await;
    // A second rename: the watch is on the folder, not on the file that was there first.
    write_secret(&beside, tokens(4));
    std::fs::rename(&beside, &file).unwrap();
    has(&gate, 4, 4).await;
    gate.rewrite(&format!("{ROUTES}reload: {{watch: true}}\ndefault: authenticated\n"));
    has(&gate, 4, 5).await;
    // A file beside them is nobody's.
    write_secret(&beside, tokens(5));
    std::fs::remove_file(&file).unwrap();
    until("the missing file in the report", async || gate.readyz().await.1["last_reload_fault"].is_array().then_some(())).await;
    write_secret(&file, tokens(6));
    has(&gate, 6, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_in_a_folder_that_is_never_quiet() {
    let gate = Gate::start(&format!("{ROUTES}reload: {{watch: true}}\n"), &tokens(1)).await;
    let (log, told) = (gate.folder.path().join("gate.log"), Arc::new(AtomicBool::new(false)));
    let done = Arc::clone(&told);
    let noise = std::thread::spawn(move || {
        let mut log = std::fs::File::create(log).unwrap();
        while !done.load(Ordering::Relaxed) {
            log.write_all(b"a line of a log\n").unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    write_secret(&gate.folder.path().join("tokens.json"), tokens(2));
    has(&gate, 2, 2).await;
    told.store(true, Ordering::Relaxed);
    noise.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_swap_of_kubernetes_data_link_reloads() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = complete(&format!("{ROUTES}reload: {{watch: true}}\n"), upstream.address);
    let path = folder.path().to_owned();
    publish(&path, &config, "..2026_01", 1);
    for name in ["scopegate.yaml", "tokens.json"] {
        symlink(Path::new("..data").join(name), path.join(name)).unwrap();
    }
    let gate = Gate::at(folder, upstream).await;
    has(&gate, 1, 1).await;
    publish(&path, &config, "..2026_02", 2);
    std::fs::remove_dir_all(path.join("..2026_01")).unwrap();
    has(&gate, 2, 2).await;
    publish(&path, &config, "..2026_03", 3);
    std::fs::remove_dir_all(path.join("..2026_02")).unwrap();
    has(&gate, 3, 3).await;
}

/// What the kubelet does with a changed ConfigMap: a new folder, and a link to it renamed over the old one.
fn publish(mount: &Path, config: &str, version: &str, count: usize) {
    let data = mount.join(version);
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("scopegate.yaml"), config).unwrap();
    write_secret(&data.join("tokens.json"), tokens(count));
    symlink(version, mount.join("..data_tmp")).unwrap();
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reloads_and_none_is_lost_while_a_file_is_read() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (config, file) = (folder.path().join("scopegate.yaml"), folder.path().join("tokens.json"));
    std::fs::write(&config, complete(ROUTES, upstream.address)).unwrap();
    write_secret(&file, tokens(1));
    let mut serving = Serving::start(&config, &[]).await;
    let admin = serving.address("admin");
    let count = async |expected: u64| {
        until(&format!("{expected} tokens"), async || {
            let ready = ask(admin, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let ready: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
            (ready["tokens"] == expected).then_some(())
        })
        .await;
    };
    count(1).await;
    write_secret(&file, tokens(2));
    serving.signal("HUP");
    count(2).await;
    // A long reading, and another signal in the middle of it. A rename keeps the reader on a whole file.
    write_secret(&file, tokens(50_000));
    serving.signal("HUP");
    let beside = folder.path().join("tokens.new");
    for last in [3, 4, 5] {
        write_secret(&beside, tokens(last));
        std::fs::rename(&beside, &file).unwrap();
        serving.signal("HUP");
    }
    count(5).await;
    write_secret(&file, "[");
    serving.signal("HUP");
    serving.logged("reload refused, the old set stays").await;
    count(5).await;
    serving.signal("TERM");
    assert_eq!(serving.end().await, 0);
}
