//! `scopegate serve`: the doors, until SIGTERM or SIGINT. SIGUSR1 sends the clients away before.

use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{Config, log};
use crate::app;
use crate::config::Input;
use crate::config::overrides::{self, Overrides};
use crate::live::reload::Trigger;

/// Longer than anybody waits.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

pub const EXAMPLES: &str = "Examples:
  scopegate serve --config scopegate.yaml
  scopegate serve --config scopegate.yaml --upstream http://127.0.0.1:3000 --proxy 0.0.0.0:8080 --ext-authz off --forward-auth off";

#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    config: Config,
    /// The service behind the proxy door, in place of `upstream`
    #[arg(long, value_name = "URL", value_parser = overrides::upstream)]
    upstream: Option<String>,
    /// Where the proxy door listens, in place of `listen.proxy`; an address or `off`
    #[arg(long, value_name = "ADDRESS", value_parser = overrides::address)]
    proxy: Option<String>,
    /// The same of Envoy's gRPC door, `listen.ext_authz`
    #[arg(long, value_name = "ADDRESS", value_parser = overrides::address)]
    ext_authz: Option<String>,
    /// The same of the forward-auth door, `listen.forward_auth`
    #[arg(long, value_name = "ADDRESS", value_parser = overrides::address)]
    forward_auth: Option<String>,
    /// The same of the operator door, `listen.admin`
    #[arg(long, value_name = "ADDRESS", value_parser = overrides::address)]
    admin: Option<String>,
}

impl Serve {
    pub fn run(self) -> Result<bool, String> {
        let input = self.config.input()?;
        let doors = [("proxy", self.proxy), ("ext_authz", self.ext_authz), ("forward_auth", self.forward_auth), ("admin", self.admin)];
        let listen = doors.into_iter().filter_map(|(door, address)| Some((door, address?))).collect();
        let overrides = Overrides { upstream: self.upstream, listen };
        run(if overrides.is_empty() { input } else { Input::Amended(Box::new(input), overrides) })
    }
}

fn run(input: Input) -> Result<bool, String> {
    log("info");
    runtime()?.block_on(async {
        // Before anything is read, so that a signal that comes early is not the end of the process.
        let broken = |error: std::io::Error| format!("signals cannot be received: {error}");
        let mut hangup = signal(SignalKind::hangup()).map_err(broken)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
        let mut retire = signal(SignalKind::user_defined1()).map_err(broken)?;
        // Not the standard library's, whose buffer would tell of lines as written that are not.
        let out = std::io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
        let out = out.map_err(|error| format!("standard output cannot be used: {error}"))?;
        let running = app::start(input, out).await.map_err(|faults| faults.join("\n"))?;
        tracing::info!(addresses = ?running.addresses, "serving");
        let mut lame_until = None;
        let lame_duck = || Instant::now().checked_add(running.lame_duck).unwrap_or_else(|| Instant::now() + CENTURY);
        let is_asked = loop {
            // Clients on kept connections are told by answers first, and then by the end of those.
            let parting = async {
                match lame_until {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = hangup.recv() => running.reloader.ask(Trigger::Signal),
                _ = terminate.recv() => break true,
                _ = interrupt.recv() => break false,
                _ = retire.recv(), if lame_until.is_none() => {
                    running.retire().await;
                    lame_until = Some(lame_duck());
                    tracing::info!("retired");
                }
                () = parting, if !running.has_parted() => running.part(),
            }
        };
        if is_asked && !running.has_parted() && !running.lame_duck.is_zero() {
            running.retire().await;
            tracing::info!("leaving");
            tokio::select! {
                () = tokio::time::sleep_until(lame_until.unwrap_or_else(lame_duck)) => {}
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
