//! One published key set, as it was last fetched: read without waiting, told when it gets old.
//! Never lets a bad document replace a good set, and lets no caller cause more than one fetch in thirty seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Where;
use super::disk::{Disk, Kept};
use super::freshness::{SERVED, Stamp, refresh};

use crate::gate::unix_now;
use crate::jose::{KeyFault, KeySet, Origin};
use crate::principal::Keys;

/// Between two fetches that callers may cause.
const FORCED: Duration = Duration::from_secs(30);

/// A key set and what keeps it.
#[derive(Debug)]
pub struct Remote {
    place: Where,
    held: ArcSwapOption<Held>,
    /// Whether somebody fetches.
    tended: bool,
    round: watch::Sender<Round>,
    ready: watch::Sender<bool>,
    last_error: Mutex<Option<String>>,
    disk: Option<Arc<Disk>>,
}

#[derive(Debug)]
struct Held {
    set: Arc<KeySet>,
    digest: Digest,
    stamp: Stamp,
    max_age: Option<Duration>,
    /// Since when it is this set that counts.
    since: Instant,
}

/// Fetches, one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub finished: u64,
    running: bool,
    pub wanted: bool,
    forced: Option<Instant>,
}

/// A document as it came.
pub(super) struct Fetched {
    pub document: Bytes,
    pub max_age: Option<Duration>,
}

/// What `/readyz` tells of a key set.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Without its query.
    pub address: String,
    pub age_seconds: Option<u64>,
    pub keys: usize,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
    /// Whether the set is older than its publisher meant it to get.
    pub stale: bool,
}

impl Keys for Remote {
    fn current(&self, now: i64) -> Option<Arc<KeySet>> {
        let held = self.held.load();
        let held = held.as_deref()?;
        (held.stamp.age(now, Instant::now()) < SERVED).then(|| Arc::clone(&held.set))
    }
}

impl Remote {
    /// Begins with the copy on disk, if there is one.
    pub(super) fn new(place: Where, tended: bool, disk: Option<Arc<Disk>>) -> Self {
        // The first fetch is on its way, and is waited for like any other.
        let round = Round { finished: 0, running: tended, wanted: false, forced: None };
        let remote = Self {
            place,
            held: ArcSwapOption::empty(),
            tended,
            round: watch::Sender::new(round),
            ready: watch::Sender::new(false),
            last_error: Mutex::default(),
            disk,
        };
        let now = unix_now();
        if let Some(kept) = remote.disk.as_ref().and_then(|disk| disk.read(&remote.place, now)) {
            let age = u64::try_from(now.saturating_sub(kept.fetched_at)).map_or(SERVED, Duration::from_secs);
            let stamp = Stamp::new(kept.fetched_at, Instant::now(), age);
            let fetched = Fetched { document: kept.document.into(), max_age: kept.max_age.map(Duration::from_secs) };
            if let Err(fault) = remote.take(&fetched, stamp) {
                tracing::warn!("the kept key set of {} is not used: {fault}", remote.place.shown());
            }
        }
        remote.ready.send_replace(remote.loaded());
        remote
    }

    pub fn place(&self) -> &Where {
        &self.place
    }

    /// Whether there is a set that counts.
    pub fn loaded(&self) -> bool {
        self.current(unix_now()).is_some()
    }

    /// [`Self::loaded`], as of the last fetch, for those who follow it.
    pub fn changed(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    pub fn status(&self) -> Status {
        let held = self.held.load_full();
        let age = held.as_ref().map(|held| held.stamp.age(unix_now(), Instant::now()));
        // A refresh is due at four fifths of a set's life.
        let stale = held.as_ref().zip(age).is_some_and(|(held, age)| age > refresh(held.max_age) * 5 / 4);
        Status {
            address: self.place.shown(),
            age_seconds: age.map(|age| age.as_secs()),
            keys: held.map_or(0, |held| held.set.len()),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            stale,
        }
    }

    /// For a token whose key is not in the set, or where there is no set yet. Waits up to `limit` for the fetch that is running
    /// or for one that it causes; true if another set counts now than `limit` ago, so that it is worth to look again, once.
    pub async fn refresh(&self, limit: Duration) -> bool {
        let entered = Instant::now();
        let mut rounds = self.round.subscribe();
        if let Some(finished) = self.ask(entered) {
            // Without an answer in time the fetch goes on, and the next caller finds what it brings.
            let _ = tokio::time::timeout(limit, rounds.wait_for(|round| round.finished > finished)).await;
        }
        let came = |held: &Held| entered.saturating_duration_since(held.since) <= limit;
        self.loaded() && self.held.load().as_deref().is_some_and(came)
    }

    /// How many fetches were finished before the one to wait for; `None` if there is none to wait for.
    fn ask(&self, now: Instant) -> Option<u64> {
        let mut awaited = None;
        self.round.send_if_modified(|round| {
            let on_its_way = round.running || round.wanted;
            let allowed = self.tended && round.forced.is_none_or(|last| now.saturating_duration_since(last) >= FORCED);
            awaited = (on_its_way || allowed).then_some(round.finished);
            let asks = allowed && !on_its_way;
            if asks {
                round.wanted = true;
                round.forced = Some(now);
            }
            asks
        });
        awaited
    }

    /// For the one who fetches: tells when somebody wants a fetch, and ends with the remote.
    pub(super) fn rounds(&self) -> watch::Receiver<Round> {
        self.round.subscribe()
    }

    pub(super) fn begin(&self) {
        self.round.send_modify(|round| {
            round.running = true;
            round.wanted = false;
        });
    }

    /// Takes what came, if it is any good; false leaves all as it was.
    pub(super) fn finish(&self, outcome: &Result<Fetched, String>) -> bool {
        let stamp = Stamp::new(unix_now(), Instant::now(), Duration::ZERO);
        let taken = match outcome {
            Ok(fetched) => self.take(fetched, stamp).map_err(|fault| format!("{}: {fault}", self.place.shown())),
            Err(error) => Err(error.clone()),
        };
        let good = taken.is_ok();
        self.report(taken.err());
        self.ready.send_replace(self.loaded());
        self.round.send_modify(|round| {
            round.running = false;
            round.finished += 1;
        });
        good
    }

    /// Where to keep `fetched` for a restart, and as what.
    pub(super) fn copy(&self, fetched: &Fetched) -> Option<(Arc<Disk>, Where, Kept)> {
        let document = String::from_utf8(fetched.document.to_vec()).ok()?;
        let kept = Kept::new(&self.place, unix_now(), fetched.max_age.map(|age| age.as_secs()), document);
        Some((Arc::clone(self.disk.as_ref()?), self.place.clone(), kept))
    }

    /// The same document leaves the same set in place, so that what was verified under it stays verified.
    fn take(&self, fetched: &Fetched, stamp: Stamp) -> Result<(), KeyFault> {
        let digest = digest(&SHA256, &fetched.document);
        let held = self.held.load_full().filter(|held| held.digest.as_ref() == digest.as_ref());
        let (set, since) = match held {
            Some(held) if self.loaded() => (Arc::clone(&held.set), held.since),
            Some(held) => (Arc::clone(&held.set), Instant::now()),
            None => (Arc::new(self.read(&fetched.document)?), Instant::now()),
        };
        self.held.store(Some(Arc::new(Held { set, digest, stamp, max_age: fetched.max_age, since })));
        Ok(())
    }

    fn read(&self, document: &[u8]) -> Result<KeySet, KeyFault> {
        let (set, warnings) = match &self.place {
            Where::Certificates(_) if !is_jwks(document) => KeySet::from_x509_map(document)?,
            Where::Jwks(_) | Where::Discovery(_) | Where::Certificates(_) => KeySet::from_jwks(document, Origin::Remote)?,
        };
        for warning in warnings {
            tracing::warn!("{}: {warning}", self.place.shown());
        }
        Ok(set)
    }

    /// A failure is told of when it begins and when it changes.
    fn report(&self, error: Option<String>) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        match &error {
            Some(error) if last.as_ref() != Some(error) => tracing::warn!("no newer key set: {error}"),
            Some(error) => tracing::debug!("no newer key set: {error}"),
            None if last.is_some() => tracing::info!("the key set of {} can be fetched again", self.place.shown()),
            None => {}
        }
        *last = error;
    }
}

fn is_jwks(document: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Jwks {
        #[serde(rename = "keys")]
        _keys: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Jwks>(document).is_ok()
}
