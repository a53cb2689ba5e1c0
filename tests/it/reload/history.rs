//! What a reload changed, and why one was refused, told afterwards.

use serde_json::{Value, json};

use crate::harness::process::Serving;
use crate::harness::upstream::Upstream;
use crate::harness::{Gate, ask, complete, until, write_secret};

const CONFIG: &str = "
credentials:
  tokens: {kind: static, file: tokens.json}
  own: {kind: static, file: own.json, from: 'header:x-own'}
roles: {reader: {scopes: [app:use]}}
routes:
  GET /app: app:use
  GET /kept: {scopes: [app:use]}
  GET /old: public
";

const SCOPES: &str = r#", "scopes": ["a:b"]"#;

async fn reloads(gate: &Gate) -> Vec<Value> {
    let reply = ask(gate.admin(), "GET /reloads HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice::<Value>(&reply.body).unwrap()["reloads"].as_array().unwrap().clone()
}

fn names(count: usize, first: &[&str]) -> Value {
    json!({"count": count, "first": first})
}

fn none() -> Value {
    names(0, &[])
}

fn entry(id: &str, more: &str) -> String {
    format!(r#"{{"id": "{id}", "token": "token-of-{id:0>12}"{more}}}"#)
}

fn list(entries: &[String]) -> String {
    format!("[{}]", entries.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_tells_what_it_added_removed_and_changed() {
    let plain = SCOPES;
    let same = ["same", "secret", "scopes", "roles", "tenant", "window", "inner", "gone"].map(|id| entry(id, plain));
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), list(&same));
    write_secret(&folder.path().join("own.json"), list(&[entry("mine", plain)]));
    let upstream = Upstream::start().await;
    std::fs::write(folder.path().join("scopegate.yaml"), complete(CONFIG, upstream.address)).unwrap();
    let gate = Gate::at(folder, upstream).await;
    assert_eq!(reloads(&gate).await, [] as [Value; 0], "the start is no reload");
    assert_eq!(gate.reload().await.status, 200);
    let nothing = json!({"added": none(), "removed": none(), "changed": none()});
    let unchanged = json!({"credentials": {"added": none(), "removed": none(), "tokens": {}}, "routes": nothing});
    assert_eq!(reloads(&gate).await[0]["changes"], unchanged);
    // The order of a file says nothing, and neither does the number that a scope has.
    let changed = [
        entry("new", plain),
        entry("inner", r#", "scopes": ["a:b"], "disabled": true"#),
        entry("window", r#", "scopes": ["a:b"], "expires_at": "2100-01-01T00:00:00Z""#),
        entry("tenant", r#", "scopes": ["a:b"], "tenant": "t""#),
        entry("roles", r#", "scopes": ["a:b"], "roles": ["reader"]"#),
        entry("scopes", r#", "scopes": ["c:d", "a:b"]"#),
        entry("secret", plain).replace("token-of-", "another-"),
        entry("same", plain),
    ];
    write_secret(&gate.folder.path().join("tokens.json"), list(&changed));
    let text = CONFIG.replace("  own: {kind: static, file: own.json, from: 'header:x-own'}\n", "  other: {kind: static, file: own.json}\n");
    let text = text.replace("GET /app: app:use", "GET /first: z:z\n  GET /app: app:more").replace("  GET /old: public\n", "default: authenticated\n");
    gate.rewrite(&text);
    assert_eq!(gate.reload().await.status, 200);
    let told = reloads(&gate).await;
    assert_eq!((told.len(), &told[0]["generation"], &told[0]["trigger"], &told[0]["faults"]), (2, &json!(3), &json!("request"), &json!([])));
    assert!(told[0]["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{told:?}");
    let expected = json!({
        "credentials": {
            "added": names(1, &["other"]), "removed": names(1, &["own"]),
            "tokens": {
                "other": {"added": names(1, &["mine"]), "removed": none(), "changed": none()},
                "own": {"added": none(), "removed": names(1, &["mine"]), "changed": none()},
                "tokens": {
                    "added": names(1, &["new"]), "removed": names(1, &["gone"]),
                    "changed": names(6, &["inner", "window", "tenant", "roles", "scopes", "secret"]),
                }
            }
        },
        "routes": {"added": names(1, &["GET /first"]), "removed": names(1, &["GET /old"]), "changed": names(2, &["GET /app", "default"])}
    });
    assert_eq!(told[0]["changes"], expected, "{:#}", told[0]["changes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_moves_from_one_owner_to_another_changes_both() {
    let gate = Gate::start("routes: {/: public}\n", &list(&[entry("one", SCOPES), entry("two", SCOPES), entry("three", SCOPES)])).await;
    let [one, two, three] = ["one", "two", "three"].map(|id| entry(id, SCOPES));
    let swapped = [one.replace("000one", "000two"), two.replace("000two", "000one"), three];
    write_secret(&gate.folder.path().join("tokens.json"), list(&swapped));
    assert_eq!(gate.reload().await.status, 200);
    assert_eq!(reloads(&gate).await[0]["changes"]["credentials"]["tokens"]["tokens"]["changed"], names(2, &["one", "two"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_names_a_hundred_are_told_and_all_are_counted() {
    let gate = Gate::start("routes: {/: public}\n", &super::tokens(1)).await;
    write_secret(&gate.folder.path().join("tokens.json"), super::tokens(251));
    assert_eq!(gate.reload().await.status, 200);
    let added = &reloads(&gate).await[0]["changes"]["credentials"]["tokens"]["tokens"]["added"];
    assert_eq!((&added["count"], added["first"].as_array().unwrap().len()), (&json!(250), 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reload_is_told_with_its_faults_and_no_secret() {
    let gate = Gate::start("routes: {/: public}\n", &super::tokens(1)).await;
    write_secret(&gate.folder.path().join("tokens.json"), super::tokens(2).replace("\"id-1\"", "7"));
    let reply = gate.reload().await;
    let said: Value = serde_json::from_slice(&reply.body).unwrap();
    let told = reloads(&gate).await;
    assert_eq!((told.len(), &told[0]["generation"], &told[0]["changes"]), (1, &json!(1), &Value::Null));
    assert_eq!((reply.status, &told[0]["faults"]), (422, &said["faults"]));
    assert!(!told[0].to_string().contains("token-number"), "{told:?}");
    let open = "routes: {/: public}\nlisten: {proxy: 127.0.0.1:0, ext_authz: 127.0.0.1:0, forward_auth: 127.0.0.1:0, admin: 0.0.0.0:0}\n";
    let gate = Gate::start(open, &super::tokens(1)).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], gate.admin().port()));
    assert_eq!(ask(address, "GET /reloads HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 401, "not for everybody");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_counts() {
    let (upstream, folder) = (Upstream::start().await, tempfile::tempdir().unwrap());
    write_secret(&folder.path().join("tokens.json"), super::tokens(2));
    let config = folder.path().join("scopegate.yaml");
    std::fs::write(&config, complete("routes: {/: public}\n", upstream.address)).unwrap();
    let serving = Serving::start(&config, &[]).await;
    write_secret(&folder.path().join("tokens.json"), super::tokens(5));
    std::fs::write(&config, complete("routes: {/: public, /more: public}\n", upstream.address)).unwrap();
    serving.signal("HUP");
    let line = until("the line", async || serving.log().lines().find(|line| line.contains("\"reloaded\"")).map(str::to_owned)).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    let of = |key: &str| line[key].as_u64().unwrap();
    assert_eq!(["tokens_added", "tokens_removed", "tokens_changed"].map(of), [3, 0, 0]);
    assert_eq!(["routes_added", "routes_removed", "routes_changed"].map(of), [1, 0, 0]);
    assert_eq!(line["trigger"], "Signal");
}
