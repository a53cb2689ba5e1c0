//! Backstage's shared-secret tokens. What is about the start of the process is among the integration tests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Row, drive};
use crate::client::Ask;
use crate::process::{Process, free_port, scopegate};
use crate::sign::{hs256, now};
use crate::stage::{Front, Script, Stage};

const SERVICES: [&str; 3] = ["catalog", "scaffolder", "search"];
const FILES: [&str; 3] = ["catalog.yaml", "scaffolder.yaml", "search.yaml"];
const VARIABLES: [&str; 3] = ["CATALOG_SECRET", "SCAFFOLDER_SECRET", "SEARCH_SECRET"];
/// Where the scaffolder and the search listen for calls of their own backend.
const LISTENERS: [&str; 2] = ["127.0.0.1:8091", "127.0.0.1:8092"];
/// Whose calls each of them takes, in their order.
const MATRIX: [[bool; 3]; 3] = [[true, true, true], [false, true, false], [false, false, true]];

/// The key of a service: 24 bytes, as Backstage's manual makes them.
fn key(index: usize) -> [u8; 24] {
    [b'a' + u8::try_from(index).unwrap(); 24]
}

fn claims() -> Value {
    json!({"sub": "backstage-server", "exp": now() + 3600})
}

fn token(key: &[u8]) -> String {
    hs256(key, &json!({"alg": "HS256"}), &claims())
}

/// One deployment: its backend, its gate and its Envoy.
fn deployment(index: usize) -> Stage {
    let secrets = [0, 1, 2].map(|index| STANDARD.encode(key(index)));
    let env: Vec<(&'static str, &str)> = VARIABLES.iter().zip(&secrets).map(|(name, secret)| (*name, secret.as_str())).collect();
    let env = if index == 0 { env } else { vec![env[index]] };
    let script = Script::of("backstage", FILES[index], &env, ("/.backstage/health/v1/readiness", 200));
    let edits = if index == 0 { Vec::new() } else { vec![(LISTENERS[index - 1], format!("127.0.0.1:{}", free_port()))] };
    Stage::play(Front::EnvoyGrpc, &Script { edits, ..script })
}

#[test]
fn s11_a_call_without_a_token_leaves_the_scaffolder_with_one_that_the_catalog_takes() {
    let (catalog, listener) = (deployment(0), free_port());
    let secret = STANDARD.encode(key(1));
    let script = Script::of("backstage", FILES[1], &[(VARIABLES[1], &secret)], ("/.backstage/health/v1/readiness", 200));
    for port in [catalog.port, catalog.proxy_door] {
        let edits = vec![(LISTENERS[0], format!("127.0.0.1:{listener}")), ("https://catalog.example.com", format!("http://127.0.0.1:{port}"))];
        let _scaffolder = Stage::play(Front::Proxy, &Script { edits, ..script.clone() });
        let answer = Ask::get("/api/catalog/entities").send(listener);
        let seen = catalog.application.take();
        assert_eq!((answer.status, seen.len()), (200, 1));
        assert_eq!(seen[0].header("x-scopegate-id"), Some("scaffolder"));
    }
}

#[test]
fn s06_three_deployments_take_the_calls_of_the_matrix_and_no_others() {
    let stages = [0, 1, 2].map(deployment);
    let mut cells = 0;
    for ((to, stage), row) in SERVICES.iter().zip(&stages).zip(MATRIX) {
        for (from, allowed) in row.into_iter().enumerate() {
            let ask = Ask::get(&format!("/api/{to}/entities")).token(&token(&key(from)));
            let arrived = drive(stage, &[("S-06", ask, if allowed { 200 } else { 401 })]);
            assert_eq!(arrived.len(), if allowed { 2 } else { 0 }, "{} to {to}", SERVICES[from]);
            for (_, seen) in arrived {
                assert_eq!(seen.header("x-scopegate-id"), Some(SERVICES[from]));
            }
            cells += 1;
        }
    }
    assert_eq!(cells, 9);
}

#[test]
fn s01_to_s05_and_s12_to_s14_what_a_token_must_be() {
    let stage = deployment(0);
    let key = key(2);
    let call = |token: &str| Ask::get("/api/catalog/entities").token(token);
    let with = |header: Value, claims: Value| call(&hs256(&key, &header, &claims));
    let hs256_header = || json!({"alg": "HS256"});
    let until = |exp: Value| with(hs256_header(), json!({"sub": "backstage-server", "exp": exp}));
    let rows: Vec<Row> = vec![
        ("S-01", with(json!({"alg": "none"}), claims()), 401),
        ("S-01", with(json!({"alg": "HS512"}), claims()), 401),
        ("S-01", with(json!({"typ": "JWT"}), claims()), 401),
        ("S-01", call(token(&key).rsplit_once('.').unwrap().0), 401),
        ("S-02", call(&token(STANDARD.encode(key).as_bytes())), 401),
        ("S-03", with(hs256_header(), json!({"sub": "somebody", "exp": now() + 60})), 401),
        ("S-04", with(hs256_header(), json!({"sub": "backstage-server"})), 401),
        ("S-04", until(json!(now() - 1)), 401),
        ("S-04", until(json!((now() + 3600) * 1000)), 401),
        ("S-05", call(&token(&[b'a'; 24])), 200),
        ("S-05", call(&token(&[b'b'; 24])), 200),
        ("S-05", call(&token(&[b'z'; 24])), 401),
        ("S-10", call(""), 401),
        ("S-12", Ask::get("/api/catalog/entities"), 401),
        ("S-13", call(&token(&key)), 200),
        ("S-14", call(&minted(&stage, &key)), 200),
        ("S-14", with(json!({"typ": "JWT", "alg": "HS256"}), claims()), 200),
    ];
    drive(&stage, &rows);
}

/// What the command makes of the secret as Backstage's configuration has it.
fn minted(stage: &Stage, key: &[u8]) -> String {
    let folder = stage.folder.path();
    std::fs::write(folder.join("secret"), STANDARD.encode(key)).unwrap();
    let mut mint = Process::start("mint", &scopegate(), folder, |command| {
        command.args(["token", "mint", "--secret-base64-file", "secret"]);
    });
    assert_eq!(mint.ended(), Some(0), "{}", mint.said());
    mint.said().trim().to_owned()
}
