//! What Envoy itself thinks of the gate.

use crate::client::Ask;
use crate::process::until;
use crate::stage::{Front, Stage};

/// Where Envoy says how the gate is.
fn flags(stage: &Stage) -> String {
    let clusters = Ask::get("/clusters").send(stage.envoy_admin).body();
    let line = clusters.lines().find(|line| line.starts_with("scopegate::") && line.contains("::health_flags::")).map(str::to_owned);
    line.unwrap_or_else(|| panic!("no health flags in\n{clusters}"))
}

#[test]
fn envoys_health_checks_find_the_gate_healthy_and_notice_its_end() {
    let mut stages = [Front::EnvoyGrpc, Front::EnvoyUnix].map(Stage::start);
    for stage in &mut stages {
        assert!(flags(stage).ends_with("::healthy"), "{}", flags(stage));
        stage.gate.kill();
    }
    for stage in &stages {
        until("Envoy's notice that the gate is gone", || flags(stage).contains("/failed_active_hc"));
    }
}
