//! `/metrics` as Prometheus' own program reads it, and that nobody outside can make a series of his own.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use super::{TOKEN, gate};
use crate::client::{Answer, Ask};
use crate::gate::Gate;
use crate::process::tool;

fn scrape(gate: &Gate, accept: &str) -> Answer {
    Ask::get("/metrics").header("accept", accept).send(gate.admin_port())
}

fn busy() -> Gate {
    let gate = gate(&[]);
    for (ask, status) in [
        (Ask::get("/orders/7").token(TOKEN), 200),
        (Ask::get("/orders/7"), 401),
        (Ask::new("POST", "/orders").token(TOKEN).body(b"{}"), 403),
        (Ask::get("/a//b"), 400),
        (Ask::get("/public").header("content-length", "x"), 400),
    ] {
        assert_eq!(gate.ask(&ask).status, status);
    }
    gate
}

#[test]
fn prometheus_finds_no_fault_with_the_metrics() {
    let gate = busy();
    let answer = scrape(&gate, "");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut promtool = Command::new(tool("promtool"));
    let mut promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(answer.body().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}\n{}", answer.body());
}

#[test]
fn both_formats_say_the_same_under_the_names_of_each() {
    let gate = busy();
    let (text, open) = (scrape(&gate, "text/plain").body(), scrape(&gate, "application/openmetrics-text; version=1.0.0"));
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let open = open.body();
    assert!(open.ends_with("# EOF\n") && !text.contains("# EOF"));
    for (counter, total) in [("# TYPE scopegate_decisions counter", &open), ("# TYPE scopegate_decisions_total counter", &text)] {
        assert!(total.contains(counter), "{total}");
    }
    let series = |text: &str| series(text).into_iter().map(|name| name.replace(".0\"", "\"")).collect::<BTreeSet<_>>();
    assert_eq!(series(&text), series(&open));
    for line in [
        "scopegate_decisions_total{door=\"proxy\",outcome=\"allow\",reason=\"allowed\"} 1",
        "scopegate_decisions_total{door=\"proxy\",outcome=\"deny\",reason=\"insufficient_scope\"} 1",
        "scopegate_refused_connections_total{bound=\"ambiguous_framing\"} 1",
        concat!("scopegate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|one| one == line) && open.lines().any(|one| one == line), "{line} is not in\n{text}");
    }
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(text.contains(&format!("\n{name} ")), "{name}");
    }
}

/// Names and labels.
fn series(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[test]
fn whatever_strangers_send_makes_no_new_series() {
    let gate = busy();
    let hostile = |number: u32| {
        let word = format!("x{:08x}", number.wrapping_mul(2_654_435_761));
        let (method, path) = (word.to_uppercase(), format!("/{word}/{word}?{word}={word}"));
        [
            Ask::new(&method, &path).token(&word),
            Ask::get(&path).token(&format!("{TOKEN}{word}")).header("host", &format!("{word}.test")),
            Ask::get(&path).header("x-key", &word).header("cookie", &format!("key={word}")),
            Ask::get(&path).header("traceparent", &word).header(&word, &word),
            Ask::get(&format!("/{word}/%2e%2e/{word}")),
            Ask::get("/orders/7").header("transfer-encoding", &word),
        ]
    };
    // Every kind of them once: the reasons are the gate's own.
    hostile(0).iter().for_each(|ask| drop(gate.ask(ask)));
    let before = series(&gate.metrics());
    for number in 1..100 {
        hostile(number).iter().for_each(|ask| drop(gate.ask(ask)));
    }
    let after = series(&gate.metrics());
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
}
