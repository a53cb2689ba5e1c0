//! What the gate costs, as ratios taken in one run on one machine: `cargo bench`, or `cargo bench -- quick`.
//! Only prints. What it is compared with (HAProxy, nginx, Envoy) is left out where it is not installed under target/tools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checks;
mod coverage;
mod decisions;
mod files;
mod hostile;
mod injector;
mod limits;
mod load;
mod no_op;
mod processes;
mod proxies;
mod resources;
mod store;
mod telemetry;
mod timing;
mod tokens;
mod watch;

use std::time::Duration;

/// As in the product, so that both sides of a comparison allocate alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub tokens: usize,
    pub routes: usize,
    /// Of each run of load. Servers take turns in short runs, so that all see the machine in the same moods.
    pub time: Duration,
    pub rounds: usize,
}

const WHOLE: Effort = Effort { tokens: 1_000_000, routes: 10_000, time: Duration::from_secs(2), rounds: 7 };
const QUICK: Effort = Effort { tokens: 100_000, routes: 1_000, time: Duration::from_millis(500), rounds: 3 };

/// Rows of `figure | measured | target`.
#[derive(Debug, Default)]
pub struct Table(Vec<[String; 3]>);

impl Table {
    pub fn row(&mut self, figure: impl Into<String>, measured: impl Into<String>, target: impl Into<String>) {
        let row = [figure.into(), measured.into(), target.into()];
        eprintln!("  {} | {} | {}", row[0], row[1], row[2]);
        self.0.push(row);
    }

    pub fn ratio(&mut self, figure: impl Into<String>, (part, whole): (f64, f64), target: &str) {
        self.row(figure, format!("{:.2}", part / whole), target);
    }

    fn print(&self) {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        for [figure, measured, target] in &self.0 {
            println!("| {figure:first$} | {measured:second$} | {target}");
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["no-op", port] => return no_op::serve(port.parse().unwrap()),
        ["collector", port] => return telemetry::collect(port.parse().unwrap()),
        ["upstream", port] => return proxies::upstream(port.parse().unwrap()),
        _ => {}
    }
    let said = |word: &str| arguments.iter().any(|argument| argument == word);
    let effort = if said("quick") { QUICK } else { WHOLE };
    let parts = ["decisions", "tokens", "checks", "proxies", "resources", "hostile", "limits", "store", "coverage", "telemetry", "watch", "injector"];
    let wanted = |part: &str| said(part) || !parts.iter().any(|part| said(part));
    let mut table = Table::default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |name| name.trim_start_matches(['\t', ' ', ':']));
    let sha = if cpu.contains("sha_ni") { "with SHA extensions" } else { "without SHA extensions" };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("{name}, {cores} cores, {sha}; {} tokens, {} routes; keep-alive, loopback", effort.tokens, effort.routes);
    table.row("figure", "measured", "target");
    if wanted("decisions") {
        decisions::measure(effort, &mut table);
    }
    if wanted("tokens") {
        tokens::measure(effort, &mut table);
    }
    if wanted("checks") {
        checks::measure(effort, &mut table);
    }
    if wanted("proxies") {
        proxies::measure(effort, &mut table);
    }
    if wanted("telemetry") {
        telemetry::measure(effort, &mut table);
    }
    if wanted("resources") {
        resources::measure(effort, &mut table);
    }
    if wanted("hostile") {
        hostile::measure(effort, &mut table);
    }
    if wanted("limits") {
        limits::measure(effort, &mut table);
    }
    if wanted("timing") {
        timing::measure(effort, &mut table);
    }
    if wanted("store") {
        store::measure(effort, &mut table);
    }
    if wanted("coverage") {
        coverage::measure(effort, &mut table);
    }
    if wanted("watch") {
        watch::measure(effort, &mut table);
    }
    if wanted("injector") {
        injector::measure(effort, &mut table);
    }
    table.print();
}
