//! What a configuration says of its store, and what becomes of the files beside it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use scopegate::app;
use scopegate::config::{Input, Loaded, load};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;
use scopegate::store::Place;

use super::contract::KEYS;
use crate::harness::upstream::Upstream;
use crate::harness::{Gate, complete, write_secret};

const ROUTES: &str = "routes: {/: authenticated}\n";
const TOKENS: &str = r#"[{"id": "admin", "token": "token-of-the-admin-0", "scopes": ["*"]}]"#;

fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    let text = complete(&format!("{config}{ROUTES}"), ([127, 0, 0, 1], 9).into());
    std::fs::write(folder.path().join("scopegate.yaml"), text).unwrap();
    folder
}

fn read(folder: &Path) -> Result<Loaded, Vec<String>> {
    let input = Input::File(folder.join("scopegate.yaml"));
    let read = load(&input, &|_| None, &TagKey::new([7; 32]), &Registry::offline());
    read.map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The one fault of a configuration.
fn fault(config: &str) -> String {
    let folder = folder(config);
    let faults = read(folder.path()).unwrap_err();
    let [fault] = &faults[..] else { panic!("{faults:#?}") };
    fault.clone()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn there_is_a_store_where_something_needs_one_and_else_there_is_none() {
    let needs = |config: &str| read(folder(config).path()).unwrap().settings.store;
    assert!(needs("").is_none());
    let keys = "credentials: {tokens: {kind: static, file: tokens.json}, keys: {kind: api_key}}\n";
    for config in [keys, "management: {expose: false}\n", "default: {authenticated: true, mfa: {max_age: 5m}}\n"] {
        let store = needs(config).unwrap_or_else(|| panic!("{config} needs a store"));
        let Place::Sqlite(path) = store.place else { panic!("{:?}", store.place) };
        assert!(path.ends_with("scopegate.db") && store.keys.unwrap().ends_with("store.keys"));
    }
    let text = format!("management: {{expose: false}}\ncredentials: {{hook: {{kind: webhook, token: a-token-of-the-webhook}}}}\n{ROUTES}");
    let loaded = load(&Input::Text { name: "demo", text }, &|_| None, &TagKey::new([7; 32]), &Registry::offline()).unwrap();
    assert_eq!(loaded.settings.store.unwrap().place, Place::Memory);
}

#[test]
fn a_fault_says_what_would_be_right_and_never_the_password() {
    for (config, said) in [
        ("store: mysql://gate:hunter2@db/gate\n", "postgres://"),
        ("store: 'postgres://gate:hunter2@db:port/gate'\n", "postgres://"),
        ("store: 'sqlite:'\n", "sqlite:/path"),
        ("store: 'sqlite:scopegate.db?mode=rwc'\n", "sqlite:/path"),
        ("store: postgres://gate:hunter2@db/gate\n", "store_keys"),
        ("store: postgres://gate:hunter2@db/gate\nstore_keys: {file: gone.keys}\n", "openssl rand -base64 32"),
        ("store: {stale_for: 30s}\n", "`url`"),
        ("store: {url: 'sqlite:a.db', url_file: url}\n", "keep one"),
        ("store: {url_file: gone}\n", "`store.url_file`"),
        ("store: {url: 'sqlite:a.db', stale_for: 1s}\n", "`5s`"),
        ("store_keys: {file: a.keys}\n", "without a store"),
    ] {
        let fault = fault(config);
        assert!(fault.contains(said), "{config}: {fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}

#[test]
fn files_that_others_may_read_are_told_of_and_refused_where_modes_are_strict() {
    for (strict, refused) in [("", false), ("strict_file_modes: true\n", true)] {
        let folder = folder(&format!("store: 'sqlite:a.db'\n{strict}"));
        for (name, text) in [("a.db", ""), ("store.keys", KEYS)] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        }
        let told = match read(folder.path()) {
            Ok(loaded) if !refused => loaded.warnings,
            Err(faults) if refused => faults,
            other => panic!("{other:?}"),
        };
        assert!(told.len() == 2 && told.iter().all(|line| line.contains("chmod 600")), "{told:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_its_keys_are_made_once_and_known_again() {
    let folder = folder("management: {expose: false}\n");
    let gate = Gate::at(folder, Upstream::start().await).await;
    let (status, ready) = gate.readyz().await;
    assert_eq!((status, ready["store"]["state"].as_str()), (200, Some("fresh")), "{ready}");
    let metrics = gate.metrics().await;
    for name in ["scopegate_store_age_seconds 0", "scopegate_store_failures_total 0", "scopegate_keys 0"] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    let Gate { running, folder, .. } = gate;
    running.stop().await;
    for name in ["scopegate.db", "store.keys"] {
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    let gate = Gate::at(folder, Upstream::start().await).await;
    let Gate { running, folder, .. } = gate;
    running.stop().await;
    // Other bytes under the same id, and no keys at all.
    let input = || Input::File(folder.path().join("scopegate.yaml"));
    write_secret(&folder.path().join("store.keys"), KEYS);
    let faults = app::start(input(), std::io::sink()).await.unwrap_err();
    assert!(faults[0].contains("store key `1`"), "{faults:?}");
    std::fs::remove_file(folder.path().join("store.keys")).unwrap();
    let faults = app::start(input(), std::io::sink()).await.unwrap_err();
    assert!(faults[0].contains("put it back"), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_the_store_where_it_is() {
    let gate = Gate::start(&format!("store: sqlite:a.db\n{ROUTES}"), TOKENS).await;
    gate.rewrite(&format!("store: sqlite:b.db\n{ROUTES}"));
    let reply = gate.reload().await;
    assert!(reply.status == 422 && reply.text().contains("`store`"), "{} {}", reply.status, reply.text());
    gate.rewrite(&format!("store: sqlite:a.db\ncors: {{origins: [\"https://a.example\"]}}\n{ROUTES}"));
    assert_eq!(gate.reload().await.status, 200);
    assert_eq!(gate.readyz().await.1["store"]["state"].as_str(), Some("fresh"), "the new set stands on the same store");
    assert!(!gate.folder.path().join("b.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_ends_the_start() {
    let folder = folder("store: sqlite:tokens.json\nstore_keys: {file: own.keys}\n");
    write_secret(&folder.path().join("own.keys"), KEYS);
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    let faults = app::start(Input::File(folder.path().join("scopegate.yaml")), std::io::sink()).await.unwrap_err();
    assert!(faults[0].contains("cannot be used"), "{faults:?}");
}
