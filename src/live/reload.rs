//! A signal, a request or a change on disk into one reading of the configuration at a time.
//! What arrives during a reading starts one more; a set with a fault is never swapped in.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Live;
use super::changes::{Changes, Reload};
use crate::config::{Faults, Input, Loaded, Settings, load};
use crate::credential::digest::TagKey;
use crate::keys::Registry;
use crate::telemetry::Telemetry;

/// What asked for a reload.
#[derive(Clone, Copy, Debug)]
pub enum Trigger {
    Signal,
    Request,
    Watch,
}

impl Trigger {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Request => "request",
            Self::Watch => "watch",
        }
    }
}

type Outcome = Result<u64, Vec<String>>;
type Ask = (Trigger, Option<oneshot::Sender<Outcome>>);

/// A handle to ask for reloads with.
#[derive(Clone, Debug)]
pub struct Reloader {
    asks: mpsc::UnboundedSender<Ask>,
}

impl Reloader {
    pub fn ask(&self, trigger: Trigger) {
        // The other end lives as long as the process; without it there is nothing left to reload.
        let _ = self.asks.send((trigger, None));
    }

    /// Asks and waits: the new generation, or every fault.
    pub async fn reload(&self) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let _ = self.asks.send((Trigger::Request, Some(reply)));
        answer.await.unwrap_or_else(|_| Err(vec!["the process is stopping".into()]))
    }
}

/// Reads the configuration of a running process again.
#[derive(Debug)]
pub struct Source {
    pub input: Input,
    pub key: TagKey,
    pub registry: Registry,
    pub settings: Settings,
    pub live: Arc<Live>,
    pub telemetry: Arc<Telemetry>,
    /// Told of the files of every set that was loaded.
    pub files: Option<std::sync::mpsc::Sender<super::watch::Event>>,
}

/// Starts the task that reloads.
pub fn spawn(source: Source) -> Reloader {
    let (asks, mut inbox) = mpsc::unbounded_channel::<Ask>();
    tokio::spawn(async move {
        let source = Arc::new(source);
        while let Some(first) = inbox.recv().await {
            let mut round = vec![first];
            // Whoever asked before the reading begins is served by it.
            while let Ok(more) = inbox.try_recv() {
                round.push(more);
            }
            let trigger = round.first().map_or(Trigger::Signal, |(trigger, _)| *trigger);
            let reader = Arc::clone(&source);
            let outcome = tokio::task::spawn_blocking(move || reader.run(trigger)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(vec!["the reading broke off".into()]));
            for reply in round.into_iter().filter_map(|(_, reply)| reply) {
                let _ = reply.send(outcome.clone());
            }
        }
    });
    Reloader { asks }
}

/// The process's environment, as `config` asks for it.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Source {
    fn run(&self, trigger: Trigger) -> Outcome {
        let metrics = &self.telemetry.metrics;
        match self.read() {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                self.watch(&loaded.files);
                let tokens = loaded.sources.tokens();
                let before = self.live.current().clone();
                let generation = self.live.swap(loaded);
                metrics.loaded(generation, tokens);
                metrics.reloads.inc();
                let changes = before.zip(self.live.current().clone()).map(|(old, new)| Changes::between(&old, &new)).unwrap_or_default();
                let ([added, removed, changed], routes) = (changes.tokens(), &changes.routes);
                tracing::info!(
                    generation,
                    tokens,
                    ?trigger,
                    tokens_added = added,
                    tokens_removed = removed,
                    tokens_changed = changed,
                    routes_added = routes.added.count,
                    routes_removed = routes.removed.count,
                    routes_changed = routes.changed.count,
                    "reloaded"
                );
                self.live.history.add(Reload::done(trigger, generation, changes));
                Ok(generation)
            }
            Err(faults) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                for fault in &faults {
                    tracing::error!(?trigger, "reload refused, the old set stays: {fault}");
                }
                metrics.reload_failures.inc();
                self.live.reload_failed(faults.clone());
                self.live.history.add(Reload::refused(trigger, self.live.status().generation, &faults));
                Err(faults)
            }
        }
    }

    fn read(&self) -> Result<Loaded, Faults> {
        let loaded = load(&self.input, &environment, &self.key, &self.registry)?;
        let changed = self.settings.changed(&loaded.settings);
        if changed.is_empty() {
            return Ok(loaded);
        }
        let mut faults = Faults::default();
        for key in changed {
            faults.whole(format!("`{key}` differs from what the process was started with and cannot change while it runs; restart, or put it back"));
        }
        Err(faults)
    }

    fn watch(&self, files: &[PathBuf]) {
        if let Some(files_changed) = &self.files {
            let _ = files_changed.send(super::watch::Event::Files(files.to_vec()));
        }
    }
}
