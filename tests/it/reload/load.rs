//! Two hundred reloads under load. Set N gives one lasting token the scope that set N's route asks for, so that a decision on parts
//! of two sets would be a denial; and each set has a token of its own, good in that set alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::grpc::{self, Asked, metadata, status};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire, value};
use crate::harness::{Gate, metric, write_secret};

const RELOADS: usize = 200;
const LASTING: &str = "token-of-every-set-1";

fn config(set: u64) -> String {
    format!("routes: {{GET /app: set-{set}:use}}\n")
}

fn own_token(set: u64) -> String {
    format!("token-of-set-number-{set}")
}

fn tokens(set: u64) -> String {
    format!(
        r#"[{{"id": "lasting-{set}", "token": "{LASTING}", "scopes": ["set-{set}:use"]}},
            {{"id": "own-{set}", "token": "{}", "scopes": ["set-{set}:use"]}}]"#,
        own_token(set)
    )
}

/// Writes a set with a fault; one that begins well and one that is none at all.
fn write_broken(gate: &Gate, index: usize) {
    let file = gate.folder.path().join("tokens.json");
    match index % 4 {
        0 => write_secret(&file, "[{\"id\": \"half"),
        1 => gate.rewrite("routes: {GET /app: [\n"),
        2 => std::fs::remove_file(&file).unwrap(),
        _ => gate.rewrite("routes: {GET /app: set-0:use, /a/{x}: a:b, \"/{y}/b\": a:b}\n"),
    }
}

#[derive(Default)]
struct Progress {
    done: AtomicBool,
    /// The set whose own token is worth a try.
    set: AtomicUsize,
    answers: [AtomicUsize; 4],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_reloads_under_load_fail_no_request_and_mix_no_sets() {
    let upstream = Upstream::serving(async |mut wire: Wire, message: Message| {
        let told = format!("{:?} {:?}", value(&message.headers, "x-scopegate-id"), value(&message.headers, "x-scopegate-scopes"));
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{told}", told.len())).await;
        Some(wire)
    })
    .await;
    let gate = Arc::new(Gate::before(upstream, &config(1), &tokens(1)).await);
    let progress = Arc::new(Progress::default());
    progress.set.store(1, Ordering::SeqCst);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..2 {
        clients.spawn(proxied(Arc::clone(&gate), Arc::clone(&progress), client));
        clients.spawn(checked(Arc::clone(&gate), Arc::clone(&progress), client + 2));
    }
    let (mut set, mut broken) = (1_u64, 0);
    for index in 1..=RELOADS {
        if index % 5 == 0 {
            write_broken(&gate, index / 5);
            broken += 1;
            assert_eq!(gate.reload().await.status, 422);
            assert_eq!(gate.readyz().await.1["generation"], set);
            write_secret(&gate.folder.path().join("tokens.json"), tokens(set));
        } else {
            set += 1;
            gate.rewrite(&config(set));
            write_secret(&gate.folder.path().join("tokens.json"), tokens(set));
            progress.set.store(usize::try_from(set).unwrap(), Ordering::SeqCst);
            let reply = gate.reload().await;
            assert_eq!(reply.text(), format!("{{\"generation\":{set}}}"));
        }
        every_client_goes_on(&progress, &mut clients).await;
    }
    progress.done.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let metrics = gate.metrics().await;
    assert_eq!(broken, RELOADS / 5);
    assert_eq!(metric(&metrics, "scopegate_reload_failures_total"), Some(broken as f64));
    assert_eq!(metric(&metrics, "scopegate_reloads_total"), Some((RELOADS - broken) as f64));
    assert_eq!(metric(&metrics, "scopegate_generation"), Some(set as f64));
}

/// Waits until each client has had two more answers, the second of which was asked for after the reload.
async fn every_client_goes_on(progress: &Progress, clients: &mut tokio::task::JoinSet<()>) {
    let counts = || progress.answers.iter().map(|count| count.load(Ordering::SeqCst)).collect::<Vec<_>>();
    let before = counts();
    while counts().iter().zip(&before).any(|(now, before)| *now < before + 2) {
        if let Some(ended) = clients.try_join_next() {
            ended.unwrap();
            panic!("a client went home");
        }
        tokio::task::yield_now().await;
    }
}

/// The lasting token gets through on every set, and the upstream is told one set's id and scopes.
async fn proxied(gate: Arc<Gate>, progress: Arc<Progress>, client: usize) {
    let mut wire = Wire::connect(gate.proxy()).await;
    while !progress.done.load(Ordering::SeqCst) {
        wire.send(format!("GET /app HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {LASTING}\r\n\r\n")).await;
        let reply = wire.reply(false).await;
        let told = reply.text();
        assert_eq!(reply.status, 200, "{told}");
        let set = told.split_once("lasting-").and_then(|(_, rest)| rest.split_once('"')).unwrap().0;
        assert_eq!(told, format!("Some(\"lasting-{set}\") Some(\"set-{set}:use\")"));
        progress.answers[client].fetch_add(1, Ordering::SeqCst);
    }
}

/// As at the proxy; and a set's own token is good in the generation of that set and in no other.
async fn checked(gate: Arc<Gate>, progress: Arc<Progress>, client: usize) {
    let mut checks = grpc::connect(gate.ext_authz()).await;
    while !progress.done.load(Ordering::SeqCst) {
        let response = Asked::get("/app", Some(LASTING)).ask(&mut checks).await;
        let generation = metadata(&response, "generation").unwrap();
        assert_eq!((status(&response), metadata(&response, "id")), (200, Some(format!("lasting-{generation}"))));
        assert_eq!(metadata(&response, "scopes"), Some(format!("set-{generation}:use")));
        let set = progress.set.load(Ordering::SeqCst) as u64;
        let response = Asked::get("/app", Some(&own_token(set))).ask(&mut checks).await;
        let same = metadata(&response, "generation") == Some(set.to_string());
        assert_eq!(status(&response), if same { 200 } else { 401 }, "{response:?}");
        assert_eq!(metadata(&response, "id"), same.then(|| format!("own-{set}")));
        progress.answers[client].fetch_add(1, Ordering::SeqCst);
    }
}
