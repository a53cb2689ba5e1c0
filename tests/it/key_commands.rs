//! `scopegate keys` against a gate that runs, and `scopegate scan` over files: what is printed where, and with which exit status.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::{Serving, scopegate};
use crate::harness::upstream::Upstream;
use crate::harness::{Gate, ask, complete, write_secret};
use crate::management::{ADMIN, CONFIG, STRANGER, TOKENS};

/// A folder with the administrator's token, and where the API is.
struct Desk {
    folder: TempDir,
    url: String,
}

impl Desk {
    fn of(url: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_secret(&folder.path().join("admin.token"), format!("{ADMIN}\n"));
        write_secret(&folder.path().join("stranger.token"), STRANGER);
        Self { folder, url }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Status, standard output and standard error of a command with this on standard input.
    async fn run(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut command = scopegate();
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let ended = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        });
        let output = ended.await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// `scopegate keys …` as the administrator.
    async fn keys(&self, args: &[&str]) -> (i32, String, String) {
        let more = ["--url", &self.url, "--token-file", "admin.token"];
        self.run(&[&["keys"], args, &more].concat(), "").await
    }

    async fn json(&self, args: &[&str]) -> Value {
        let (status, out, err) = self.keys(&[args, &["--json"]].concat()).await;
        assert_eq!((status, err.as_str()), (0, ""), "{args:?}");
        serde_json::from_str(&out).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_from_create_to_revoke() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let desk = Desk::of(format!("http://{}", gate.admin()));
    let uses = async |key: &str| ask(gate.proxy(), format!("GET /orders HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n")).await.status;
    let (status, out, err) =
        desk.keys(&["create", "--name", "Production API", "--scopes", "orders:read", "--expires", "90d", "--rate", "100/m"]).await;
    assert_eq!((status, out.lines().count()), (0, 1), "{err}");
    let key = out.trim_end();
    assert!(key.starts_with("sg_live_") && !err.contains(key) && err.contains("Production API"), "{err}");
    assert_eq!(uses(key).await, 200);
    let id = &key["sg_live_".len()..][..8];
    let shown = desk.json(&["get", id]).await;
    assert_eq!((&shown["id"], &shown["rate_limit"]), (&json!(id), &json!({"rate": "100/m"})));
    assert_eq!(desk.json(&["list"]).await["keys"].as_array().unwrap().len(), 1);
    let (status, out, _) = desk.keys(&["list"]).await;
    assert!(status == 0 && out.starts_with(&format!("{id}\tProduction API\tenabled\torders:read\t")), "{out}");
    let changed = desk.json(&["patch", id, "--name", "Renamed", "--disable", "--expires", "never"]).await;
    assert_eq!((&changed["name"], &changed["enabled"], &changed["expires_at"]), (&json!("Renamed"), &json!(false), &json!(null)));
    assert_eq!(uses(key).await, 401);
    desk.json(&["patch", id, "--enable"]).await;
    let (status, new, err) = desk.keys(&["rotate", id, "--grace", "1h"]).await;
    assert!(status == 0 && err.contains("goes on until"), "{err}");
    assert_eq!((uses(key).await, uses(new.trim_end()).await), (200, 200));
    let (status, _, err) = desk.keys(&["rotate", id]).await;
    assert!(status == 1 && err.starts_with("409: "), "{err}");
    let (status, out, err) = desk.keys(&["revoke", id]).await;
    assert_eq!((status, out.as_str(), err), (0, "", format!("{id} is revoked\n")));
    assert_eq!((uses(key).await, uses(new.trim_end()).await), (401, 401));
    let (status, _, err) = desk.keys(&["get", id]).await;
    assert_eq!((status, err.as_str()), (1, "404: No such key\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_with_its_faults_and_status_1() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let desk = Desk::of(format!("http://{}", gate.admin()));
    let (status, out, err) = desk.keys(&["create", "--name", "", "--scopes", "a b,orders:read"]).await;
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("422: ") && err.contains("  name ") && err.contains("  scopes[0] "), "{err}");
    let args = ["keys", "list", "--url", &desk.url, "--token-file", "stranger.token"];
    let (status, _, err) = desk.run(&args, "").await;
    assert_eq!((status, err.as_str()), (1, "403: Token does not have apikeys:read scope\n"));
    let (status, _, err) = desk.run(&["keys", "list", "--url", "http://127.0.0.1:1", "--token-file", "admin.token"], "").await;
    assert!(status == 1 && err.contains("cannot be asked"), "{err}");
    for url in ["http://gate.example:9190", "ftp://127.0.0.1", "nonsense"] {
        let (status, _, err) = desk.run(&["keys", "list", "--url", url, "--token-file", "admin.token"], "").await;
        assert!(status == 1 && err.contains("unix:/path") && !err.contains(ADMIN), "{url}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_comes_from_a_file_a_variable_or_standard_input() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let desk = Desk::of(format!("http://{}", gate.admin()));
    let list = ["keys", "list", "--url", &desk.url];
    assert_eq!(desk.run(&list, &format!("{ADMIN}\n")).await.0, 0);
    let (status, _, err) = desk.run(&list, "").await;
    assert!(status == 1 && err.contains("there is no token"), "{err}");
    let (status, _, _) = desk.run(&[&list[..], &["--token", ADMIN]].concat(), "").await;
    assert_eq!(status, 2, "an argument is seen by every process");
    let mut command = scopegate();
    command.args(list).env("SCOPEGATE_TOKEN_FILE", desk.path("admin.token"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_exist_already_are_taken_from_a_file() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let desk = Desk::of(format!("http://{}", gate.admin()));
    let key = "0b0e2b5c-6f0f-4b0a-9d0e-3a1f8f1f2a3b";
    std::fs::write(desk.path("keys.json"), json!([{"key": key, "name": "Old", "scopes": ["orders:read"]}]).to_string()).unwrap();
    let (status, out, err) = desk.keys(&["import", "keys.json"]).await;
    assert!(status == 0 && out.contains("\tOld\tenabled\torders:read\t") && !out.contains(key), "{out}{err}");
    assert_eq!(ask(gate.proxy(), format!("GET /orders HTTP/1.1\r\nhost: a\r\nx-old-key: {key}\r\n\r\n")).await.status, 200);
    std::fs::write(desk.path("keys.json"), format!("[{{\"key\": \"{key}\"")).unwrap();
    let (status, _, err) = desk.keys(&["import", "keys.json"]).await;
    assert!(status == 1 && err.contains("is not JSON") && !err.contains(key), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_unix_socket_too_and_no_log_has_the_key() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    let socket = folder.path().join("admin.sock");
    let listen = format!("listen: {{proxy: 127.0.0.1:0, ext_authz: 'off', forward_auth: 'off', admin: 'unix:{}'}}\n", socket.display());
    std::fs::write(folder.path().join("scopegate.yaml"), complete(&format!("{CONFIG}{listen}"), upstream.address)).unwrap();
    let mut serving = Serving::start(&folder.path().join("scopegate.yaml"), &[("SCOPEGATE_LOG", "trace")]).await;
    let desk = Desk::of(format!("unix:{}", socket.display()));
    let (status, key, err) = desk.keys(&["create", "--name", "Socket", "--scopes", "orders:read"]).await;
    assert_eq!((status, key.starts_with("sg_live_")), (0, true), "{err}");
    let key = key.trim_end();
    let request = format!("GET /orders HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n");
    assert_eq!(ask(serving.address("proxy"), request).await.status, 200);
    serving.signal("TERM");
    assert_eq!(serving.end().await, 0);
    let secret = &key["sg_live_".len() + 8..];
    for said in [serving.log(), serving.audit()] {
        assert!(said.contains("/orders") || said.contains("serving"), "{said}");
        assert!(!said.contains(secret) && !said.contains(ADMIN), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_finds_keys_in_files_and_says_no_more_than_their_prefix() {
    let desk = Desk::of(String::new());
    let key = scopegate::credential::key_format::form("live", "Ab3dEf7h", "abcdefghijKLMNOPQRST0123456789").unwrap();
    std::fs::create_dir_all(desk.path("src/.git")).unwrap();
    std::fs::write(desk.path("src/app.env"), format!("A=1\nKEY={}\n", *key)).unwrap();
    std::fs::write(desk.path("src/clean.txt"), "sg_live_ is what keys begin with\n").unwrap();
    std::fs::write(desk.path("src/.git/copy"), key.as_bytes()).unwrap();
    std::fs::write(desk.path("src/binary"), [b"\0\x01", key.as_bytes()].concat()).unwrap();
    let (status, out, err) = desk.run(&["scan", "src"], "").await;
    assert_eq!((status, out.as_str(), err.as_str()), (1, "src/app.env:2 sg_live_Ab3dEf7h\n", "1 keys in 3 files\n"));
    let (status, out, _) = desk.run(&["scan", "src/clean.txt"], "").await;
    assert_eq!((status, out.as_str()), (0, ""));
    let (status, out, _) = desk.run(&["scan", "-"], &key).await;
    assert_eq!((status, out.as_str()), (1, "standard input:1 sg_live_Ab3dEf7h\n"));
    let (status, _, err) = desk.run(&["scan", "nowhere"], "").await;
    assert!(status == 1 && err.contains("nowhere cannot be read"), "{err}");
    assert_eq!(desk.run(&["scan"], "").await.0, 2);
}
