//! One published key set, as it was last fetched: read without waiting, told when it gets old.
//! Never lets a bad document replace a good set, and lets no caller cause more than one fetch in thirty seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use tokio::sync::watch;
use tokio::time::Instant;

use super::disk::{Disk, Kept};
use super::freshness::{SERVED, Stamp, refresh};
use super::keeper::Fetched;
use super::rounds::Rounds;
use super::{Status, Where};

use crate::gate::unix_now;
use crate::jose::{KeyFault, KeySet, Origin};
use crate::principal::Keys;

const LINE: usize = 500;

/// A key set and what keeps it.
#[derive(Debug)]
pub struct Remote {
    place: Where,
    held: ArcSwapOption<Held>,
    rounds: Rounds,
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
        let remote = Self {
            place,
            held: ArcSwapOption::empty(),
            rounds: Rounds::new(tended),
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
                tracing::warn!("the kept key set of {} is not used: {}", remote.place.shown(), line(&fault.to_string()));
            }
        }
        remote.ready.send_replace(remote.loaded());
        remote
    }

    /// Whether the publisher may have another set by now, and cannot be asked: the last fetch failed.
    pub fn is_in_doubt(&self) -> bool {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).is_some()
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
        let mut rounds = self.rounds.follow();
        if let Some(finished) = self.rounds.ask(entered) {
            // Without an answer in time the fetch goes on, and the next caller finds what it brings.
            let _ = tokio::time::timeout(limit, rounds.wait_for(|round| round.finished > finished)).await;
        }
        let came = |held: &Held| entered.saturating_duration_since(held.since) <= limit;
        self.loaded() && self.held.load().as_deref().is_some_and(came)
    }

    /// Waits until so many fetches were finished.
    #[cfg(test)]
    pub(super) async fn round(&self, finished: u64) {
        self.rounds.follow().wait_for(|round| round.finished >= finished).await.unwrap();
    }

    /// For the one who fetches.
    pub(super) fn rounds(&self) -> &Rounds {
        &self.rounds
    }

    /// Takes what came, if it is any good; false leaves all as it was.
    pub(super) fn finish(&self, outcome: &Result<Fetched, String>) -> bool {
        let stamp = Stamp::new(unix_now(), Instant::now(), Duration::ZERO);
        let taken = match outcome {
            Ok(fetched) => self.take(fetched, stamp).map_err(|fault| format!("{}: {}", self.place.shown(), line(&fault.to_string()))),
            Err(error) => Err(error.clone()),
        };
        let good = taken.is_ok();
        self.report(taken.err());
        self.ready.send_replace(self.loaded());
        self.rounds.end();
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
            tracing::warn!("{}: {}", self.place.shown(), line(&warning));
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

/// What a document's own words may be part of, as one line of bearable length.
fn line(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(LINE).collect()
}

fn is_jwks(document: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Jwks {
        #[serde(rename = "keys")]
        _keys: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Jwks>(document).is_ok()
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::fetch::local::{Local, Reply, leap};
    use crate::fetch::{BODY, TIME};
    use crate::keys::Registry;
    use crate::keys::rounds::FORCED;
    use crate::keys::sample::jwks;

    const LONG: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn start(server: &Local) -> Arc<Remote> {
        let registry = Registry::new(tokio::runtime::Handle::current(), None);
        registry.remote(&Where::jwks(&server.url("/keys?key=secret")).unwrap())
    }

    /// A server with keys, and a set that was loaded long enough ago.
    async fn loaded() -> (Arc<Local>, Arc<Remote>, Arc<KeySet>) {
        let server = Local::start().await;
        server.reply_with("/keys", &jwks(&["a"]));
        let remote = start(&server);
        remote.round(1).await;
        leap(LONG).await;
        let set = remote.current(unix_now()).unwrap();
        (server, remote, set)
    }

    #[tokio::test]
    async fn callers_share_the_first_fetch_and_wait_for_it() {
        let server = Local::start().await;
        server.reply("/keys", Reply::Held(jwks(&["a"])));
        let remote = start(&server);
        assert!(remote.current(unix_now()).is_none());
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let remote = Arc::clone(&remote);
            callers.spawn(async move { remote.refresh(LONG).await });
        }
        server.wait("/keys", 1).await;
        server.let_go();
        assert_eq!(callers.join_all().await, [true; 100]);
        assert_eq!(server.count("/keys"), 1);
        assert!(remote.current(unix_now()).unwrap().knows("a"));
    }

    #[tokio::test]
    async fn a_caller_goes_after_its_limit_and_the_fetch_goes_on() {
        let (server, remote, set) = loaded().await;
        server.reply("/keys", Reply::Held(jwks(&["a", "b"])));
        assert!(!remote.refresh(Duration::from_millis(10)).await);
        assert!(Arc::ptr_eq(&set, &remote.current(unix_now()).unwrap()));
        server.let_go();
        remote.round(2).await;
        assert!(remote.current(unix_now()).unwrap().knows("b"));
        // It came too late for the first caller, and just in time for one that looked before it came.
        assert!(remote.refresh(LONG).await);
        assert_eq!(server.count("/keys"), 2);
    }

    #[tokio::test]
    async fn unknown_keys_cause_one_fetch_in_thirty_seconds() {
        let (server, remote, _) = loaded().await;
        let flood = async |limit| {
            let mut callers = JoinSet::new();
            for _ in 0..1000 {
                let remote = Arc::clone(&remote);
                callers.spawn(async move { remote.refresh(limit).await });
            }
            callers.join_all().await.contains(&true)
        };
        let limit = Duration::from_secs(10);
        assert!(!flood(limit).await);
        assert_eq!(server.count("/keys"), 2);
        leap(Duration::from_secs(25)).await;
        assert!(!flood(limit).await);
        assert_eq!(server.count("/keys"), 2);
        server.reply_with("/keys", &jwks(&["b"]));
        leap(Duration::from_secs(5)).await;
        assert!(flood(limit).await);
        assert_eq!(server.count("/keys"), 3);
    }

    #[tokio::test]
    async fn only_another_document_is_another_set() {
        let (server, remote, set) = loaded().await;
        assert!(!remote.refresh(LONG / 2).await);
        assert!(Arc::ptr_eq(&set, &remote.current(unix_now()).unwrap()));
        leap(FORCED).await;
        server.reply_with("/keys", &jwks(&["a", "b"]));
        assert!(remote.refresh(LONG / 2).await);
        assert!(!Arc::ptr_eq(&set, &remote.current(unix_now()).unwrap()));
        assert_eq!(server.count("/keys"), 3);
    }

    #[tokio::test]
    async fn no_fault_empties_a_good_set() {
        let other = Local::start().await;
        other.reply_with("/keys", &jwks(&["evil"]));
        let document = |text: &str| Reply::Whole(200, vec![], text.into());
        let secret = r#"{"keys":[{"kty":"oct","kid":"s","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"}]}"#;
        let faults = [
            (document("<!DOCTYPE html><title>Sign in</title>"), ""),
            (document("{}"), ""),
            (document(""), ""),
            (document("[]"), ""),
            (document(r#"{"keys":[]}"#), ""),
            (document(r#"{"keys":{}}"#), ""),
            (document(secret), ""),
            (document(&jwks(&["b"])[1..]), ""),
            (document(&(jwks(&["b"]) + &" ".repeat(BODY))), "longer than 512 KiB"),
            (Reply::Whole(500, vec![], jwks(&["b"])), "`500`"),
            (Reply::Whole(204, vec![], String::new()), "`204`"),
            (Reply::Whole(304, vec![], String::new()), "`304`"),
            (Reply::Whole(302, vec![("location", other.url("/keys"))], String::new()), "another origin"),
            (Reply::Endless, "longer than 512 KiB"),
            (Reply::Announced(2 << 30), "longer than 512 KiB"),
            (Reply::Stalled, "within 3 s"),
        ];
        for (index, (reply, told)) in faults.into_iter().enumerate() {
            let (server, remote, set) = loaded().await;
            let stalls = matches!(reply, Reply::Stalled);
            server.reply("/keys", reply);
            let time = async {
                server.wait("/keys", 2).await;
                if stalls {
                    leap(TIME).await;
                }
            };
            assert!(!tokio::join!(remote.refresh(LONG / 4), time).0, "{index}");
            let error = remote.status().last_error.unwrap();
            assert!(error.starts_with(&server.url("/keys: ")) && error.contains(told), "{index}: {error}");
            assert!(!error.contains("key=secret") && !error.contains("c2Vj"), "{error}");
            assert!(Arc::ptr_eq(&set, &remote.current(unix_now()).unwrap()), "{index}");
        }
        assert_eq!(other.count("/keys"), 0);
    }

    #[tokio::test]
    async fn the_last_good_set_counts_for_a_day() {
        let (server, remote, set) = loaded().await;
        let now = unix_now();
        server.reply("/keys", Reply::Whole(500, vec![], String::new()));
        leap(DAY - LONG * 2).await;
        remote.round(2).await;
        assert!(remote.current(now).is_some() && *remote.changed().borrow());
        leap(LONG * 2).await;
        // Whatever the clock on the wall says.
        assert!(remote.current(now).is_none() && remote.current(0).is_none());
        remote.changed().wait_for(|loaded| !loaded).await.unwrap();
        server.reply_with("/keys", &jwks(&["a"]));
        leap(LONG * 2).await;
        remote.changed().wait_for(|loaded| *loaded).await.unwrap();
        // The very same document: what was verified under it need not be again.
        assert!(Arc::ptr_eq(&set, &remote.current(now).unwrap()));
        assert!(remote.refresh(LONG).await);
    }

    #[tokio::test]
    async fn a_clock_on_the_wall_that_runs_ahead_ends_a_set_too() {
        let (_server, remote, _) = loaded().await;
        let day = i64::try_from(DAY.as_secs()).unwrap();
        assert!(remote.current(unix_now() + day - 60).is_some());
        assert!(remote.current(unix_now() + day).is_none());
        assert!(remote.current(i64::MAX).is_none() && remote.current(i64::MIN).is_some());
    }

    #[tokio::test]
    async fn a_status_tells_of_age_and_fault() {
        let (server, remote, _) = loaded().await;
        let status = remote.status();
        assert_eq!((status.address, status.keys, status.last_error, status.stale), (server.url("/keys"), 1, None, false));
        assert!(status.age_seconds.unwrap() >= 60);
        server.reply("/keys", Reply::Whole(500, vec![], String::new()));
        leap(LONG * 7).await;
        remote.round(2).await;
        let status = remote.status();
        assert!(status.stale && status.last_error.is_some());
        let fresh = Remote::new(remote.place.clone(), false, None).status();
        assert_eq!((fresh.age_seconds, fresh.keys, fresh.stale), (None, 0, false));
    }
}
