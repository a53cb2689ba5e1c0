//! `scopegate serve`: the doors, until SIGTERM or SIGINT.

use std::os::fd::AsFd;

use tokio::signal::unix::{SignalKind, signal};

use super::{Config, log};
use crate::app;
use crate::live::reload::Trigger;

pub fn run(config: &Config) -> Result<bool, String> {
    let input = config.input()?;
    log("info");
    runtime()?.block_on(async {
        // Before anything is read, so that a signal that comes early is not the end of the process.
        let broken = |error: std::io::Error| format!("signals cannot be received: {error}");
        let mut hangup = signal(SignalKind::hangup()).map_err(broken)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
        // Not the standard library's, whose buffer would tell of lines as written that are not.
        let out = std::io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
        let out = out.map_err(|error| format!("standard output cannot be used: {error}"))?;
        let running = app::start(input, out).await.map_err(|faults| faults.join("\n"))?;
        tracing::info!(addresses = ?running.addresses, "serving");
        let is_asked = loop {
            tokio::select! {
                _ = hangup.recv() => running.reloader.ask(Trigger::Signal),
                _ = terminate.recv() => break true,
                _ = interrupt.recv() => break false,
            }
        };
        if is_asked && !running.lame_duck.is_zero() {
            running.retire().await;
            tracing::info!("leaving");
            tokio::select! {
                () = tokio::time::sleep(running.lame_duck) => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        tracing::info!("draining");
        running.stop().await;
        tracing::info!("stopped");
        Ok(true)
    })
}

/// The runtime of everything but the doors' own traffic.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build();
    runtime.map_err(|error| format!("the runtime cannot start: {error}"))
}
