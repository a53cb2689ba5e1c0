//! Backflow's routes, and its keys, roles and second factors (`managed`). What is about the start of the process, and what the import makes, is among the integration tests.

mod managed;

use serde_json::{Value, json};

use super::{Row, SECRET, drive, publish, signed};
use crate::client::Ask;
use crate::process::{Process, scopegate};
use crate::sign::{Issuer, firebase, now};
use crate::stage::{Front, Script, Stage};

const PROJECT: &str = "project-1";

fn token(more: &[(&str, Value)]) -> String {
    let mut claims = json!({"iss": "https://api.example.com", "sub": "user-123", "tenant_id": "tenant-123", "iat": now(), "exp": now() + 3600});
    more.iter().for_each(|(name, value)| claims[*name] = value.clone());
    signed(&claims)
}

fn role(name: &str) -> String {
    token(&[("role", name.into())])
}

fn users() -> Ask {
    Ask::get("/admin/users")
}

fn remove() -> Ask {
    Ask::new("DELETE", "/admin/users/7")
}

fn profile() -> Ask {
    Ask::get("/profile")
}

#[test]
fn every_row_about_tokens_and_routes() {
    let issuer = Issuer::new();
    let keys = format!("project_id: \"{{{{env.FIREBASE_PROJECT_ID}}}}\", keys_url: 'http://127.0.0.1:{}/'", publish(issuer.key_set()));
    let script = Script::of("backflow", "finished.yaml", &[("JWT_SECRET", SECRET), ("FIREBASE_PROJECT_ID", PROJECT)], ("/health", 200));
    let script = Script { edits: vec![("project_id: \"{{env.FIREBASE_PROJECT_ID}}\"", keys)], ..script };
    let stage = Stage::play(Front::EnvoyGrpc, &script);
    let (theirs, minted) = (issuer.token(&firebase(PROJECT, "firebase-user-1")), minted(&stage));
    let rows: Vec<Row> = vec![
        ("F-01", Ask::new("POST", "/partner/orders").header("x-api-key", "key-of-somebody-1"), 401),
        ("F-03", users(), 401),
        ("F-03", users().token(&role("user")), 200),
        ("F-03", users().token(&token(&[("exp", (now() - 120).into())])), 401),
        ("F-04", users().header("Authorization", &format!("Token {}", role("user"))), 401),
        ("F-05", users().token(&minted), 200),
        ("F-06", users().token(&role("editor")).header("x-user-role", "admin").header("x-user-id", "root"), 200),
        ("F-07", profile().token(&issuer.token(&firebase("project-2", "firebase-user-1"))), 401),
        ("F-08", profile().token(&theirs), 200),
        ("F-08", profile().token(&role("admin")), 401),
        ("F-08", users().token(&theirs), 401),
        ("F-16", Ask::get("/posts/7").token(&token(&[])), 200),
        ("F-17", remove(), 401),
        ("F-17", remove().token(&token(&[])), 403),
        ("F-17", remove().token(&role("admin")), 200),
        ("F-22", users().token(&role("user")).header("X-Tenant-ID", "tenant-123"), 200),
        ("F-22", users().token(&role("user")).header("X-Tenant-ID", "tenant-666"), 403),
    ];
    for (row, seen) in drive(&stage, &rows) {
        let (user, role, tenant) = match row {
            "F-08" => ("firebase-user-1", "user", None),
            "F-06" => ("user-123", "editor", Some("tenant-123")),
            "F-17" | "F-05" => ("user-123", "admin", Some("tenant-123")),
            _ => ("user-123", "user", Some("tenant-123")),
        };
        let told = ["x-user-id", "x-user-role", "x-tenant-id", "authorization"].map(|name| seen.header(name));
        assert_eq!(told, [Some(user), Some(role), tenant, None], "{row}");
    }
}

/// The token generator's.
fn minted(stage: &Stage) -> String {
    let folder = stage.folder.path();
    std::fs::write(folder.join("secret"), SECRET).unwrap();
    let mut mint = Process::start("mint", &scopegate(), folder, |command| {
        command.args(["token", "mint", "--secret-file", "secret"]);
        command
            .args(["iss=https://api.example.com", "sub=user-123", "role=admin", "tenant_id=tenant-123"].iter().flat_map(|claim| ["--claim", claim]));
    });
    assert_eq!(mint.ended(), Some(0), "{}", mint.said());
    mint.said().trim().to_owned()
}
