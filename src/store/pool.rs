//! Connections to SQLite or PostgreSQL, each with a clock.
//! Hands no connection back that is in the middle of something.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use sqlx::{ConnectOptions, Database, Executor, Postgres, Sqlite};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_stream::StreamExt;

use super::row::{Row, Value, bound, either, values};
use super::{Place, StoreError};

/// To get a connection.
const ACQUIRE: Duration = Duration::from_secs(2);
/// For all that is done with it; and from one row to the next, where many are read.
const WORK: Duration = Duration::from_secs(3);
/// Before a connection that others are in the way of is tried again.
const AGAIN: Duration = Duration::from_millis(10);
/// To put a connection back in order.
const RELEASE: Duration = Duration::from_secs(2);
const CONNECTIONS: u32 = 5;

/// What a new connection to PostgreSQL is told: who waits no longer is not worked for, and what is committed is on the disk.
const MANNERS: &str = "SET statement_timeout = 3000; SET lock_timeout = 2000; SET idle_in_transaction_session_timeout = 5000;
    SET default_transaction_isolation = 'read committed';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Who listens to it is told the version of every change.
pub const CHANNEL: &str = "scopegate";

pub enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

enum Live {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// A connection in use.
pub struct Session {
    /// Taken when it goes back.
    live: Option<Live>,
    deadline: Instant,
    /// Whether a transaction has begun.
    open: bool,
    /// Whether an answer may still be on its way.
    broken: bool,
}

impl Pool {
    pub fn open(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::Memory => {
                // The one connection is the store.
                let pool = PoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
                Ok(Self::Sqlite(pool.acquire_timeout(ACQUIRE).connect_lazy_with(sqlite().in_memory(true))))
            }
            Place::Sqlite(path) => {
                make(path).map_err(|why| StoreError::Fault(format!("{}: {why}", path.display()).into()))?;
                let options = sqlite().filename(path).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
                Ok(Self::Sqlite(pool().connect_lazy_with(options)))
            }
            Place::Postgres(url) => {
                let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::fault("the URL is not one of PostgreSQL"))?;
                let options = options.application_name("scopegate").disable_statement_logging();
                let polite = pool().after_connect(|connection: &mut PgConnection, _| {
                    Box::pin(async move { connection.execute(sqlx::raw_sql(MANNERS)).await.map(drop) })
                });
                Ok(Self::Postgres(polite.connect_lazy_with(options)))
            }
        }
    }

    pub async fn session(&self) -> Result<Session, StoreError> {
        let acquire = async {
            Ok(match self {
                Self::Sqlite(pool) => Live::Sqlite(opened(pool).await?),
                Self::Postgres(pool) => Live::Postgres(pool.acquire().await?),
            })
        };
        // The pool's own clock does not run while a new connection is told its manners.
        let live = within(Instant::now() + ACQUIRE, acquire).await?;
        Ok(Session { live: Some(live), deadline: Instant::now() + WORK, open: false, broken: false })
    }

    pub async fn close(&self) {
        let _ = timeout(RELEASE, async { either!(Self, self, pool => pool.close().await) }).await;
    }
}

fn pool<DB: Database>() -> PoolOptions<DB> {
    PoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE).idle_timeout(Duration::from_secs(60))
}

fn sqlite() -> SqliteConnectOptions {
    // Its thread hands over many rows at a time where there are a million. What it sorts stays in memory: a container may have no `/tmp`.
    let options = SqliteConnectOptions::new().busy_timeout(ACQUIRE).row_buffer_size(1024).pragma("temp_store", "memory");
    options.disable_statement_logging()
}

/// Two who turn a new file to its write-ahead log at once can be in each other's way, where SQLite waits for neither. Call within a time limit.
async fn opened(pool: &SqlitePool) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
    const BUSY: u32 = 5;
    let is_busy = |error: &dyn DatabaseError| error.code().and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == BUSY);
    loop {
        match pool.acquire().await {
            Err(sqlx::Error::Database(error)) if is_busy(&*error) => sleep(AGAIN).await,
            done => return done,
        }
    }
}

/// SQLite makes its other files with the mode of this one.
fn make(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Err("it is a directory; name a file".into());
    }
    match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("its folder is not there; make it, or name a file in another".into()),
        Err(error) => Err(format!("it cannot be made: {error}")),
    }
}

impl Session {
    /// Everything until the commit is one step, or none.
    pub async fn begin(&mut self) -> Result<(), StoreError> {
        let sql = match self.live()? {
            // The lock to write comes first: a reader that turns writer is refused if another one wrote meanwhile.
            Live::Sqlite(_) => "BEGIN IMMEDIATE",
            Live::Postgres(_) => "BEGIN",
        };
        self.open = true;
        self.execute(sql, Vec::new()).await.map(drop)
    }

    /// What is read until the end is of one moment.
    pub async fn begin_reading(&mut self) -> Result<(), StoreError> {
        let sql = match self.live()? {
            Live::Sqlite(_) => "BEGIN",
            Live::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        self.open = true;
        self.execute(sql, Vec::new()).await.map(drop)
    }

    pub async fn commit(&mut self) -> Result<(), StoreError> {
        self.execute("COMMIT", Vec::new()).await?;
        self.open = false;
        Ok(())
    }

    /// For work that may take long.
    pub async fn take_time(&mut self, time: Duration) -> Result<(), StoreError> {
        self.deadline = Instant::now() + time;
        if matches!(self.live()?, Live::Postgres(_)) {
            let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX).to_string();
            let sql = "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true)";
            self.execute(sql, values![millis]).await?;
        }
        Ok(())
    }

    /// One at a time, whichever process it is; ends with the transaction.
    pub async fn lock(&mut self) -> Result<(), StoreError> {
        if matches!(self.live()?, Live::Postgres(_)) {
            // Any number will do that no other program takes.
            self.execute("SELECT pg_advisory_xact_lock(7310868735947169895)", Vec::new()).await?;
        }
        Ok(())
    }

    pub async fn notify(&mut self, version: i64) -> Result<(), StoreError> {
        if matches!(self.live()?, Live::Postgres(_)) {
            self.execute("SELECT pg_notify($1, $2)", values![CHANNEL, version.to_string()]).await?;
        }
        Ok(())
    }

    pub async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let deadline = self.deadline;
        let live = self.live()?;
        let work = async { either!(Live, live, one => bound(sql, values).execute(&mut **one).await.map(|done| done.rows_affected())) };
        let done = within(deadline, work).await;
        self.note(done)
    }

    /// Several statements, for the tables.
    pub async fn script(&mut self, sql: &'static str) -> Result<(), StoreError> {
        let deadline = self.deadline;
        let live = self.live()?;
        let work = async { either!(Live, live, one => (&mut **one).execute(sqlx::raw_sql(sql)).await.map(drop)) };
        let done = within(deadline, work).await;
        self.note(done)
    }

    pub async fn row(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    pub async fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let deadline = self.deadline;
        let live = self.live()?;
        let work = async {
            Ok(match live {
                Live::Sqlite(one) => bound(sql, values).fetch_all(&mut **one).await?.into_iter().map(Row::Sqlite).collect(),
                Live::Postgres(one) => bound(sql, values).fetch_all(&mut **one).await?.into_iter().map(Row::Postgres).collect(),
            })
        };
        let rows = within(deadline, work).await;
        self.note(rows)
    }

    /// Row by row as they come, however many there are.
    pub async fn each(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
        mut act: impl FnMut(&Row) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let live = self.live()?;
        let work = async {
            macro_rules! walk {
                ($one:ident, $kind:path) => {{
                    let mut rows = bound(sql, values).fetch(&mut **$one);
                    while let Some(row) = within(Instant::now() + WORK, async { rows.next().await.transpose() }).await? {
                        act(&$kind(row))?;
                    }
                }};
            }
            match live {
                Live::Sqlite(one) => walk!(one, Row::Sqlite),
                Live::Postgres(one) => walk!(one, Row::Postgres),
            }
            Ok(())
        };
        let done = work.await;
        self.note(done)
    }

    fn live(&mut self) -> Result<&mut Live, StoreError> {
        self.live.as_mut().ok_or_else(|| StoreError::fault("the connection has been given back"))
    }

    fn note<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        self.broken |= matches!(done, Err(StoreError::Unreachable(_)));
        done
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut live) = self.live.take() else { return };
        let runtime = tokio::runtime::Handle::try_current().ok().filter(|_| !(self.broken && matches!(live, Live::Postgres(_))));
        let Some(runtime) = runtime else {
            // The server undoes what was open when it sees that nobody is there.
            match live {
                Live::Sqlite(connection) => drop(connection.detach()),
                Live::Postgres(connection) => drop(connection.detach()),
            }
            return;
        };
        let open = self.open;
        runtime.spawn(async move {
            let released = timeout(RELEASE, async {
                either!(Live, &mut live, one => {
                    if open {
                        one.execute(sqlx::raw_sql("ROLLBACK")).await?;
                    }
                    one.return_to_pool().await;
                });
                Ok::<_, sqlx::Error>(())
            });
            if !matches!(released.await, Ok(Ok(()))) {
                either!(Live, &mut live, one => one.close_on_drop());
            }
        });
    }
}

async fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match timeout_at(deadline, work).await {
        Ok(done) => done.map_err(|error| of(&error)),
        Err(_) => Err(StoreError::Unreachable("it does not answer in time".into())),
    }
}

pub fn of(error: &sqlx::Error) -> StoreError {
    use sqlx::Error;
    if let Error::Database(error) = error {
        return of_database(&**error);
    }
    let why = error.to_string().into();
    let passing = matches!(
        error,
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed | Error::BeginFailed
    );
    if passing { StoreError::Unreachable(why) } else { StoreError::Fault(why) }
}

/// Servers that start, stop, are full or busy come back; anything else is not mended by waiting.
fn of_database(error: &dyn DatabaseError) -> StoreError {
    if matches!(error.kind(), ErrorKind::UniqueViolation) {
        return StoreError::Conflict("it exists already");
    }
    let code = error.code().unwrap_or_default();
    let passing = match code.parse::<u32>() {
        // PostgreSQL's are five letters: of connections, who may connect, which database, rollbacks, resources, objects in use, an operator's hand.
        _ if code.len() == 5 => ["08", "28", "3D", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)),
        // SQLite's: busy, locked, no memory, read only, interrupted, I/O, full, cannot open, protocol.
        Ok(number) => [5, 6, 7, 8, 9, 10, 13, 14, 15].contains(&(number & 0xff)),
        Err(_) => false,
    };
    let why = error.message().into();
    if passing { StoreError::Unreachable(why) } else { StoreError::Fault(why) }
}
