//! What must outlast the process: managed keys, roles, profiles, revocations, second factors, in SQLite or PostgreSQL, by the same SQL.
//! Is never asked on a request's way, and hangs nobody: whatever takes too long is out of reach.

mod feed;
pub mod idempotency;
pub mod keys;
pub mod mfa;
mod migrate;
mod pool;
pub mod profiles;
pub mod rbac;
pub mod revocations;
mod row;
pub mod secrets;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;

use crate::scope::Scope;
pub use feed::Word;
use pool::{Pool, Session};
pub(crate) use row::values;
pub use row::{Row, Value};
use secrets::StoreKeys;

/// Where a store is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// Ends with the process.
    Memory,
    Sqlite(PathBuf),
    /// A URL, in which a password may stand.
    Postgres(Box<str>),
}

/// The store, and the keys that its content is hashed and encrypted under.
///
/// One statement, or several that need no transaction:
///
/// ```ignore
/// let mut read = self.read().await?;
/// let rows = read.rows("SELECT name, rate FROM roles WHERE tenant = $1", values![tenant]).await?;
/// for row in &rows { (row.text(0)?, row.number_or_none(1)?) }
/// ```
///
/// A change of what a decision depends on; what is not committed never was:
///
/// ```ignore
/// let mut change = self.change().await?;
/// let version = change.version;
/// let done = change.execute("UPDATE api_keys SET enabled = $1, version = $2 WHERE id = $3", values![true, version, id]).await?;
/// if done == 0 { return Err(StoreError::NotFound); }
/// change.commit().await
/// ```
///
/// `self.atomic()` is the same for what no decision depends on, without a version. In both, one writer is at work at a time in SQLite, and one
/// that has a version in PostgreSQL. A type that `$1` cannot show (`$1 IS NULL`) is written as `CAST($1 AS TEXT)`, which both know.
#[derive(Clone)]
pub struct Store {
    pool: Arc<Pool>,
    pub keys: Arc<StoreKeys>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Nobody answers, or not in time: nothing is known of what became of a change. Says why, for the operator alone.
    Unreachable(Box<str>),
    NotFound,
    /// What is there already stands against it.
    Conflict(&'static str),
    /// It answers, and is not what this program can work with. Says why, for the operator alone.
    Fault(Box<str>),
}

/// Whose rows a call may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    Tenant(&'a str),
    /// Rows that have no tenant.
    Bare,
    All,
}

/// A connection for reading, or for single statements.
pub struct Reading(Session);

/// A transaction. Dropped without `commit`, it never was.
pub struct Atomic(Reading);

/// A transaction that changes what a decision depends on.
pub struct Change {
    atomic: Atomic,
    /// To be written into each row that it touches.
    pub version: i64,
}

impl Store {
    /// Opens files, makes none but SQLite's own; PostgreSQL is not asked for anything yet.
    pub fn open(place: &Place, keys: Arc<StoreKeys>) -> Result<Self, StoreError> {
        Ok(Self { pool: Arc::new(Pool::open(place)?), keys })
    }

    /// Makes and renews the tables, and looks whether the keys are those that the content was written under. To be repeated until it succeeds.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        migrate::migrate(&self.pool).await?;
        self.prove_keys().await
    }

    pub async fn read(&self) -> Result<Reading, StoreError> {
        Ok(Reading(self.pool.session().await?))
    }

    pub async fn atomic(&self) -> Result<Atomic, StoreError> {
        let mut session = self.pool.session().await?;
        session.begin().await?;
        Ok(Atomic(Reading(session)))
    }

    pub async fn change(&self) -> Result<Change, StoreError> {
        let mut atomic = self.atomic().await?;
        // Whoever comes second waits here, and sees what the first has done.
        let row = atomic.row("UPDATE store_version SET version = version + 1 WHERE id = 1 RETURNING version", values![]).await?;
        let version = row.ok_or_else(|| StoreError::fault("the store has lost its version"))?.number(0)?;
        Ok(Change { atomic, version })
    }

    /// The version of the last change.
    pub async fn version(&self) -> Result<i64, StoreError> {
        let row = self.read().await?.row("SELECT version FROM store_version WHERE id = 1", values![]).await?;
        row.ok_or_else(|| StoreError::fault("the store has lost its version"))?.number(0)
    }

    /// Ends every connection, so that nothing is left to be replayed.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Each key leaves a proof of itself beside what is written under it.
    async fn prove_keys(&self) -> Result<(), StoreError> {
        let mut atomic = self.atomic().await?;
        let known = atomic.rows("SELECT id, proof FROM store_key_proofs", values![]).await?;
        for row in &known {
            let (id, proof) = (row.text(0)?, row.bytes(1)?);
            match self.keys.proves(&id, &proof) {
                Some(true) => {}
                Some(false) => {
                    return Err(StoreError::Fault(
                        format!("store key `{id}` is not the one that the store was written under; put that one back, or give this one another id")
                            .into(),
                    ));
                }
                None => atomic.forget_key(&id).await?,
            }
        }
        for (id, proof) in self.keys.proofs() {
            let sql = "INSERT INTO store_key_proofs (id, proof) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
            atomic.execute(sql, values![id, proof.as_slice()]).await?;
        }
        atomic.commit().await
    }
}

impl Reading {
    /// How many rows were touched.
    pub async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        self.0.execute(sql, values).await
    }

    pub async fn row(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        self.0.row(sql, values).await
    }

    pub async fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.0.rows(sql, values).await
    }
}

impl Atomic {
    /// After this it is on the disk.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.0.0.commit().await
    }

    /// A key that is gone from the file may go from the store too, unless something there needs it.
    async fn forget_key(&mut self, id: &str) -> Result<(), StoreError> {
        for (what, sql) in [
            ("managed keys", "SELECT 1 FROM api_keys WHERE revoked_at IS NULL AND (pepper = $1 OR previous_pepper = $1) LIMIT 1"),
            ("second factors", "SELECT 1 FROM mfa WHERE seal = $1 LIMIT 1"),
        ] {
            if self.row(sql, values![id]).await?.is_some() {
                return Err(StoreError::Fault(
                    format!("store key `{id}` is gone, and {what} were written under it; put it back into the `store_keys` file").into(),
                ));
            }
        }
        self.execute("DELETE FROM store_key_proofs WHERE id = $1", values![id]).await.map(drop)
    }
}

impl Change {
    /// Tells those that listen, and commits. After this it is on the disk.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.atomic.0.0.notify(self.version).await?;
        self.atomic.commit().await
    }
}

impl Deref for Atomic {
    type Target = Reading;

    fn deref(&self) -> &Reading {
        &self.0
    }
}

impl DerefMut for Atomic {
    fn deref_mut(&mut self) -> &mut Reading {
        &mut self.0
    }
}

impl Deref for Change {
    type Target = Atomic;

    fn deref(&self) -> &Atomic {
        &self.atomic
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut Atomic {
        &mut self.atomic
    }
}

impl Reach<'_> {
    /// For `($1 = 1 OR tenant = $2)`.
    pub fn values(&self) -> (i64, &str) {
        match self {
            Self::Tenant(tenant) => (0, tenant),
            Self::Bare => (0, ""),
            Self::All => (1, ""),
        }
    }
}

/// A list as the store keeps it.
pub fn to_list<T: AsRef<str>>(list: &[T]) -> String {
    let list: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
    serde_json::Value::from(list).to_string()
}

/// A list as the store keeps it, read back.
pub fn from_list(text: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::fault("a list in the store is not JSON"))
}

/// The same where it is of scopes.
pub fn from_scopes(text: &str) -> Result<Vec<Scope>, StoreError> {
    let parse = |text: &String| Scope::parse(text).map_err(|_| StoreError::fault("a scope in the store is malformed"));
    from_list(text)?.iter().map(parse).collect()
}

impl StoreError {
    fn fault(what: &str) -> Self {
        Self::Fault(what.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(out, "the store is out of reach: {why}"),
            Self::NotFound => out.write_str("it is not in the store"),
            Self::Conflict(what) => out.write_str(what),
            Self::Fault(why) => write!(out, "the store cannot be used: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => out.write_str("Memory"),
            Self::Sqlite(path) => out.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => out.write_str("Postgres(…)"),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Store(…)")
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Reading(…)")
    }
}

impl fmt::Debug for Atomic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Atomic(…)")
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Change").field("version", &self.version).finish_non_exhaustive()
    }
}
