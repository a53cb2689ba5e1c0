//! The store's changes into the book that decisions are made on: asked for once a second, at every word of the database, and after each change of one's own.
//! Keeps going where the store is out of reach, says how far the book is to be believed, and stops believing it in time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Live;
use crate::principal::book::Book;
use crate::principal::{Backing, Shelf, Shelved};
use crate::store::{Store, StoreError, Word};
use crate::telemetry::Telemetry;

/// Changes of other replicas are known within five seconds: this, and what an answer may take.
const POLL: Duration = Duration::from_secs(1);

/// Keeps the book of a store. A clone is the same keeper.
#[derive(Clone)]
pub struct Bookkeeper(Arc<Keeping>);

struct Keeping {
    store: Store,
    shelved: ArcSwap<Shelved>,
    /// How long the book is believed after the moment that it is known to be of.
    stale_for: Duration,
    /// That moment; `None` until a first book.
    fresh_at: watch::Sender<Option<Instant>>,
    reading: Mutex<Reading>,
    /// Calls that want to be up to date, and up to which of them that is so.
    asked: AtomicU64,
    served: AtomicU64,
    /// Which has this keeper.
    live: Weak<Live>,
    telemetry: Arc<Telemetry>,
}

/// What one reading leaves to the next.
#[derive(Default)]
struct Reading {
    /// Whether the tables are there and the keys are right.
    prepared: bool,
    /// The last book, whether it is believed or not.
    book: Option<Arc<Book>>,
    /// Why the last reading failed.
    fault: Option<StoreError>,
}

/// What `/readyz` says of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// `fresh`, `in_doubt`, `stale` or `empty`.
    pub state: &'static str,
    /// Seconds since the store was known to be as the book says.
    pub age_seconds: Option<u64>,
}

impl Bookkeeper {
    /// Begins to keep the book until `leaving`. The receiver is told of the first attempt.
    pub fn start(
        store: Store,
        stale_for: Duration,
        (live, telemetry): (&Arc<Live>, &Arc<Telemetry>),
        leaving: CancellationToken,
    ) -> (Self, oneshot::Receiver<Result<(), StoreError>>) {
        let keeper = Self(Arc::new(Keeping {
            store,
            shelved: ArcSwap::from_pointee(Shelved::Empty),
            stale_for,
            fresh_at: watch::Sender::default(),
            reading: Mutex::default(),
            asked: AtomicU64::new(0),
            served: AtomicU64::new(0),
            live: Arc::downgrade(live),
            telemetry: Arc::clone(telemetry),
        }));
        let (first, told) = oneshot::channel();
        let (poller, fader, end) = (keeper.clone(), keeper.clone(), leaving.clone());
        tokio::spawn(async move { leaving.run_until_cancelled(poller.poll(first)).await });
        tokio::spawn(async move { end.run_until_cancelled(fader.fade()).await });
        (keeper, told)
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What decisions take of it.
    pub fn backing(&self) -> Backing {
        let keys = &self.0.store.keys;
        Backing { shelf: Arc::new(self.clone()), peppers: Arc::clone(&keys.peppers), factors: Arc::clone(&keys.factors) }
    }

    /// Reads what changed. When it returns, what was committed before the call holds on this node.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let keeping = &*self.0;
        let mine = keeping.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut reading = keeping.reading.lock().await;
        // Somebody's reading that began after this call is this call's too.
        if keeping.served.load(Ordering::SeqCst) >= mine {
            return Ok(());
        }
        let served = keeping.asked.load(Ordering::SeqCst);
        let began = Instant::now();
        match keeping.read(&mut reading).await {
            Ok((book, takes_away)) => {
                keeping.served.store(served, Ordering::SeqCst);
                keeping.put(book, began);
                if takes_away && let Some(live) = keeping.live.upgrade() {
                    live.renew();
                }
                if reading.fault.take().is_some() {
                    tracing::info!("the store answers again");
                }
                Ok(())
            }
            Err(error) => {
                keeping.doubt();
                keeping.telemetry.metrics.store_failures.inc();
                if reading.fault.as_ref() != Some(&error) {
                    tracing::warn!("{error}; what is known of it counts for {} s more at most", keeping.stale_for.as_secs());
                }
                reading.fault = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Whether a first book has been read.
    pub fn is_loaded(&self) -> bool {
        self.0.fresh_at.borrow().is_some()
    }

    /// Waits for the first book.
    pub async fn loaded(&self) {
        // The sender lives as long as this does.
        let _ = self.0.fresh_at.subscribe().wait_for(Option::is_some).await;
    }

    pub fn status(&self) -> StoreStatus {
        let shelved = self.0.shelved.load();
        let state = match &**shelved {
            Shelved::Fresh(_) => "fresh",
            Shelved::InDoubt(_) => "in_doubt",
            Shelved::Stale => "stale",
            Shelved::Empty => "empty",
        };
        StoreStatus { state, age_seconds: self.age().map(|age| age.as_secs()) }
    }

    /// How long ago the store was known to be as the book says.
    pub fn age(&self) -> Option<Duration> {
        self.0.fresh_at.borrow().map(|at| at.elapsed())
    }

    /// How many managed keys are known.
    pub fn keys(&self) -> usize {
        match &**self.0.shelved.load() {
            Shelved::Fresh(book) | Shelved::InDoubt(book) => book.keys(),
            Shelved::Stale | Shelved::Empty => 0,
        }
    }

    async fn poll(&self, first: oneshot::Sender<Result<(), StoreError>>) {
        // Who asked may have gone on without an answer.
        let _ = first.send(self.refresh().await);
        let mut word = None;
        loop {
            if word.is_none() {
                word = self.subscribe().await;
            }
            tokio::select! {
                () = sleep(POLL) => {}
                lost = hear(&mut word) => if lost {
                    // Whatever it would have told is found below; the next one is asked for with patience.
                    word = None;
                    sleep(POLL).await;
                }
            }
            if self.refresh().await.is_err() {
                word = None;
            }
        }
    }

    /// Only where the store answers: asking costs as much as waiting for an answer.
    async fn subscribe(&self) -> Option<Word> {
        if !matches!(**self.0.shelved.load(), Shelved::Fresh(_)) {
            return None;
        }
        self.0.store.listen().await.ok().flatten()
    }

    /// Takes the book away once nobody knows any more whether it is right.
    async fn fade(&self) {
        let mut fresh_at = self.0.fresh_at.subscribe();
        loop {
            let at = *fresh_at.borrow_and_update();
            let over = async {
                if let Some(at) = at {
                    sleep_until(at + self.0.stale_for).await;
                    self.0.expire(at);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                changed = fresh_at.changed() => if changed.is_err() { return },
                () = over => {}
            }
        }
    }
}

/// Waits for word; whether there will be no more.
async fn hear(word: &mut Option<Word>) -> bool {
    match word {
        Some(word) => word.next().await.is_err(),
        None => std::future::pending().await,
    }
}

impl Keeping {
    /// The book of now, and whether it takes something away that the one before gave.
    async fn read(&self, reading: &mut Reading) -> Result<(Arc<Book>, bool), StoreError> {
        if !reading.prepared {
            self.store.prepare().await?;
            reading.prepared = true;
        }
        let mut old = reading.book.clone();
        if let Some(book) = &old {
            let version = self.store.version().await?;
            if version == book.version() {
                return Ok((Arc::clone(book), false));
            }
            if version < book.version() {
                tracing::warn!(version, known = book.version(), "the store is one from before; all of it is read again");
                old = None;
            }
        }
        let changes = self.store.changes(old.as_ref().map_or(0, |book| book.version())).await?;
        let (new, takes_away) = match old {
            Some(old) => {
                let takes_away = old.takes_away(&changes);
                (old.with(changes), takes_away)
            }
            // Many, perhaps, and others wait for this thread.
            None => {
                let new = tokio::task::spawn_blocking(move || Book::default().with(changes)).await;
                (new.map_err(|_| StoreError::Unreachable("the process is stopping".into()))?, reading.book.is_some())
            }
        };
        let new = Arc::new(new);
        reading.book = Some(Arc::clone(&new));
        Ok((new, takes_away))
    }

    // Each of these holds the lock of `fresh_at`, so that none overtakes another.

    fn put(&self, book: Arc<Book>, at: Instant) {
        self.fresh_at.send_modify(|fresh_at| {
            *fresh_at = Some(at);
            let known = matches!(&**self.shelved.load(), Shelved::Fresh(known) if Arc::ptr_eq(known, &book));
            if !known {
                self.shelved.store(Arc::new(Shelved::Fresh(book)));
            }
        });
    }

    fn doubt(&self) {
        self.fresh_at.send_if_modified(|_| {
            if let Shelved::Fresh(book) = &**self.shelved.load() {
                self.shelved.store(Arc::new(Shelved::InDoubt(Arc::clone(book))));
            }
            false
        });
    }

    fn expire(&self, since: Instant) {
        self.fresh_at.send_if_modified(|fresh_at| {
            if *fresh_at == Some(since) {
                self.shelved.store(Arc::new(Shelved::Stale));
                tracing::error!(
                    "the store has been out of reach for {} s: who needs a credential is refused until it answers",
                    self.stale_for.as_secs()
                );
            }
            false
        });
    }
}

impl Shelf for Bookkeeper {
    fn book(&self) -> Shelved {
        Shelved::clone(&self.0.shelved.load())
    }
}

impl fmt::Debug for Bookkeeper {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bookkeeper").field("status", &self.status()).finish()
    }
}
