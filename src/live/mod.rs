//! The snapshot that decisions are made on, behind one pointer, and what became of the last reload.
//! A swap is one store; a failed reading changes the report and nothing else.

pub mod changes;
pub mod memory;
pub mod outside;
pub mod reload;
pub mod shelf;
pub mod usage;
pub mod watch;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use serde::Serialize;
use tokio::sync::watch::{Receiver, Sender};

use crate::assertion::Assertion;
use crate::config::Loaded;
use crate::config::tls::Tls;
use crate::gate::unix_now;
use crate::identity::Identity;
use crate::policy::Policy;
use crate::principal::{Caller, Sources};
use changes::{History, Reload};
use outside::{Outside, Published};
use shelf::{Bookkeeper, StoreStatus};
use usage::Usage;

/// One compiled set of tokens and routes.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts successful loads from 1.
    pub generation: u64,
    pub policy: Policy,
    pub sources: Sources,
    pub identity: Identity,
    /// What signs who calls, where something does.
    pub assertion: Option<Assertion>,
    pub outside: Outside,
    pub tls: Tls,
}

impl Snapshot {
    /// Every header that tells the upstream who calls, with its value; `None` removes it.
    pub fn told<'a>(&'a self, caller: Option<&'a Caller<'_>>) -> impl Iterator<Item = (&'a str, Option<Cow<'a, str>>)> {
        let signed = self.assertion.as_ref().map(|assertion| {
            let token = caller.and_then(|caller| assertion.token(caller, unix_now()));
            (assertion.header(), token.map(|token| Cow::Owned(token.to_string())))
        });
        self.identity.headers(caller).chain(signed)
    }
}

/// The current snapshot, if any.
#[derive(Debug, Default)]
pub struct Live {
    current: ArcSwapOption<Snapshot>,
    status: Mutex<Status>,
    generation: Sender<u64>,
    keeper: OnceLock<Bookkeeper>,
    history: History,
    /// Uses of managed keys.
    pub usage: Usage,
}

/// What `/readyz` reports.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    pub ready: bool,
    pub generation: u64,
    pub tokens: usize,
    pub routes: usize,
    /// RFC 3339, of the last load that succeeded.
    pub loaded_at: Option<String>,
    /// Every fault of the last reload, where it failed.
    pub last_reload_fault: Option<Vec<String>>,
    /// Every fetched key set, with its age.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_sets: Vec<Published>,
    /// The store, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreStatus>,
    /// Where anything is let through that would be denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    pub draining: bool,
    /// Whether every key set of some snapshot had been loaded; an issuer's outage later makes nobody unready.
    #[serde(skip)]
    complete: bool,
}

/// How much is in shadow. What it is, not everybody may know who may ask whether the gate is ready.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shadow {
    pub routes: usize,
    pub credentials: usize,
}

impl Live {
    pub fn current(&self) -> Guard<Option<Arc<Snapshot>>> {
        self.current.load()
    }

    /// The generation in use, for who must know when it changes.
    pub fn generations(&self) -> Receiver<u64> {
        self.generation.subscribe()
    }

    /// How many wait to be told of the next generation.
    pub fn watchers(&self) -> usize {
        self.generation.receiver_count()
    }

    /// Puts a new set in the place of the old; gives its generation.
    pub fn swap(&self, loaded: Loaded) -> u64 {
        let Loaded { policy, mut sources, identity, assertion, outside, tls, .. } = loaded;
        if let Some(keeper) = self.keeper.get() {
            sources.back(keeper.backing());
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = status.generation + 1;
        *status = Status {
            ready: false,
            generation,
            tokens: sources.tokens(),
            routes: policy.rules.len(),
            loaded_at: Some(jiff::Timestamp::now().to_string()),
            last_reload_fault: None,
            key_sets: Vec::new(),
            store: None,
            shadow: policy.in_shadow(&sources).map(|shadow| Shadow { routes: shadow.routes.len(), credentials: shadow.credentials.len() }),
            draining: status.draining,
            complete: status.complete,
        };
        let former = self.current.load();
        let former = former.as_deref().and_then(|snapshot| snapshot.assertion.as_ref());
        let assertion = assertion.map(|assertion| assertion.after(former, unix_now()));
        self.current.store(Some(Arc::new(Snapshot { generation, policy, sources, identity, assertion, outside, tls })));
        self.generation.send_replace(generation);
        generation
    }

    /// Tells whoever watches the generations that the store took something away, so that it asks again.
    pub fn renew(&self) {
        self.generation.send_modify(|_| {});
    }

    /// From now on there is a store, without which nothing is ready.
    pub fn keep(&self, keeper: Bookkeeper) {
        let _ = self.keeper.set(keeper);
    }

    pub fn keeper(&self) -> Option<&Bookkeeper> {
        self.keeper.get()
    }

    /// The last reloads, the latest first.
    pub fn reloads(&self) -> Vec<Arc<Reload>> {
        self.history.list()
    }

    pub fn reload_failed(&self, faults: Vec<String>) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).last_reload_fault = Some(faults);
    }

    /// From now on not ready, so that nobody sends more.
    pub fn drain(&self) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.draining = true;
        status.ready = false;
    }

    pub fn status(&self) -> Status {
        let current = self.current();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = self.keeper.get();
        let read = keeper.is_none_or(Bookkeeper::is_loaded);
        status.complete |= read && current.as_deref().is_some_and(|snapshot| snapshot.outside.is_loaded());
        status.ready = status.complete && !status.draining;
        let key_sets = current.as_deref().map(|snapshot| snapshot.outside.published()).unwrap_or_default();
        Status { key_sets, store: keeper.map(Bookkeeper::status), ..status.clone() }
    }
}
