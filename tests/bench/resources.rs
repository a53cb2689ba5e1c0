//! Memory, start, size, and what a reload costs those who are served meanwhile.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use scopegate::config::{Input, load};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;

use crate::load::load as put_load_on;
use crate::processes::{Server, free_port, scopegate};
use crate::{Effort, Table, files, proxies};

/// Milliseconds from the start of the process to its first decision, and resident bytes then.
fn start(tokens: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let more = format!("listen: {{proxy: 127.0.0.1:{port}, ext_authz: 'off', forward_auth: 'off', admin: 'off'}}\nupstream: http://127.0.0.1:9");
    let config = folder.path().join("scopegate.yaml");
    std::fs::write(&config, files::configuration(&files::tokens(folder.path(), tokens), 10, &more)).unwrap();
    let started = Instant::now();
    let server = Server::start(Command::new(scopegate()).arg("serve").arg("--config").arg(&config), port);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /service-1/orders/1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let elapsed = started.elapsed().as_secs_f64() * 1000.0;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    // What the reading of the file needed is given back in a moment.
    std::thread::sleep(Duration::from_secs(2));
    (elapsed, server.resident().unwrap())
}

fn reload(effort: Effort, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let path = files::tokens(folder.path(), effort.tokens);
    let text = files::configuration(&path, effort.routes, "");
    let (mut ours, mut alone) = (f64::MAX, f64::MAX);
    for _ in 0..effort.rounds.min(3) {
        let started = Instant::now();
        let loaded = load(&Input::Text { name: "bench.yaml", text: text.clone() }, &|_| None, &TagKey::new([7; 32]), &Registry::offline());
        ours = ours.min(started.elapsed().as_secs_f64());
        drop(black_box(loaded));
        let started = Instant::now();
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        alone = alone.min(started.elapsed().as_secs_f64());
        drop(black_box(value));
    }
    table.ratio(format!("reload ÷ serde_json on the same file ({:.0} ms, {:.0} ms)", ours * 1e3, alone * 1e3), (ours, alone), "≤ 1.5");
}

fn reload_at_load(effort: Effort, table: &mut Table) {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _upstream = Server::start(Command::new(std::env::current_exe().unwrap()).args(["upstream", &port.to_string()]), port);
    let gate = proxies::gate(folder.path(), effort, (port, Some(())), "");
    let requests = proxies::requests(effort);
    let time = effort.time * 2;
    let quiet = put_load_on(&gate, &requests, time);
    let id = gate.id().to_string();
    let busy = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(time / 2);
            Command::new("kill").args(["-HUP", &id]).status().unwrap();
        });
        put_load_on(&gate, &requests, time)
    });
    table.row("requests failed while a reload runs at load", (quiet.failed + busy.failed).to_string(), "0");
    let (slow, base) = (busy.quantile(0.99), quiet.quantile(0.99));
    table.ratio(format!("p99 then ÷ quiet p99 ({slow:.0} µs, {base:.0} µs; this machine's cores, all taken)"), (slow, base), "≤ 2");
}

pub fn measure(effort: Effort, table: &mut Table) {
    let (_, empty) = start(1);
    let (first, small) = start(1000);
    let (_, large) = start(effort.tokens);
    let each = (large - empty) / effort.tokens as f64;
    table.row("resident bytes per static token beyond an empty start", format!("{each:.0}"), format!("≤ 150 + its strings ({})", files::id(0).len()));
    reload(effort, table);
    reload_at_load(effort, table);
    table.row("start to first decision, 1 k tokens", format!("{first:.0} ms"), "≤ 50 ms");
    table.row("resident memory, 1 k tokens", format!("{:.1} MiB", small / 1_048_576.0), "≤ 15 MiB");
    let size = std::fs::metadata(scopegate()).unwrap().len() as f64;
    table.row("binary", format!("{:.1} MiB", size / 1_048_576.0), "≤ 20 MiB");
}
