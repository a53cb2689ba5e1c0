//! The rows above a version into the records that decisions depend on, and word of every change where the database gives it.
//! Leaves out nothing that it does not understand: that is a fault, because it could be what takes something away.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sqlx::postgres::PgListener;
use tokio::time::timeout;

use super::pool::{CHANNEL, Pool, Session};
use super::{Row, Store, StoreError, from_list, from_scopes, values};
use crate::gate::unix_now;
use crate::principal::record::{Assignment, Changes, Enrolment, Holder, Key, KeyDigest, Profile, Rate, Revocation, Revoked, Role};
use crate::principal::roles::Definition;
use crate::scope::Scope;

/// For all of it, however much it is, as long as it keeps coming.
const LONGEST: Duration = Duration::from_secs(300);
const SUBSCRIBE: Duration = Duration::from_secs(3);

/// Word of changes. It may get lost: what comes in time is a gain, what does not is found by asking.
pub struct Word(PgListener);

impl Store {
    /// Everything above version `since`; with 0, everything that there is.
    pub async fn changes(&self, since: i64) -> Result<Changes, StoreError> {
        let mut session = self.pool.session().await?;
        session.begin_reading().await?;
        session.take_time(LONGEST).await?;
        let version = session.row("SELECT version FROM store_version WHERE id = 1", values![]).await?;
        let version = version.ok_or_else(|| StoreError::fault("the store has lost its version"))?.number(0)?;
        let mut reader = Reader { session, since, pool: Interned::default(), changes: Changes { version, ..Changes::default() } };
        if version != since {
            reader.keys().await?;
            reader.profiles().await?;
            reader.roles().await?;
            reader.assignments().await?;
            reader.revocations().await?;
            reader.enrolments().await?;
        }
        reader.session.commit().await?;
        Ok(reader.changes)
    }

    /// `None` where the database gives no word.
    pub async fn listen(&self) -> Result<Option<Word>, StoreError> {
        let Pool::Postgres(pool) = &*self.pool else { return Ok(None) };
        let subscribe = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        match timeout(SUBSCRIBE, subscribe).await {
            Ok(Ok(listener)) => Ok(Some(Word(listener))),
            Ok(Err(error)) => Err(super::pool::of(&error)),
            Err(_) => Err(StoreError::Unreachable("it does not answer in time".into())),
        }
    }
}

impl Word {
    /// Waits for the next change. `Err` where the connection has ended, and with it all word.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        match self.0.try_recv().await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(StoreError::Unreachable("the connection has ended".into())),
            Err(error) => Err(super::pool::of(&error)),
        }
    }
}

struct Reader {
    session: Session,
    since: i64,
    pool: Interned,
    changes: Changes,
}

/// What many rows have in common, once.
#[derive(Default)]
struct Interned {
    tenants: HashSet<Arc<str>>,
    scopes: HashMap<Box<str>, Arc<[Scope]>>,
    roles: HashMap<Box<str>, Arc<[Box<str>]>>,
}

#[derive(Deserialize)]
struct RateLimit<'a> {
    rate: &'a str,
    burst: Option<u32>,
}

impl Reader {
    /// The rows of a table above the version; `whole` reads them all, in whatever order is quickest.
    async fn each(
        &mut self,
        (whole, above): (&'static str, &'static str),
        mut act: impl FnMut(&Row, &mut Interned, &mut Changes) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let (sql, values) = if self.since == 0 { (whole, values![]) } else { (above, values![self.since]) };
        let Self { session, pool, changes, .. } = self;
        session.each(sql, values, |row| act(row, pool, changes)).await
    }

    async fn keys(&mut self) -> Result<(), StoreError> {
        macro_rules! columns {
            () => {
                "SELECT id, digest, previous_digest, previous_until, tenant, scopes, roles, profile, rate_limit, enabled, expires_at, revoked_at FROM api_keys"
            };
        }
        let sql = (columns!(), concat!(columns!(), " WHERE version > $1"));
        self.each(sql, |row, pool, changes| {
            let previous = match (row.bytes_or_none(2)?, row.number_or_none(3)?) {
                (Some(previous), Some(until)) => Some((digest(&previous)?, until)),
                _ => None,
            };
            changes.keys.push(Key {
                id: row.str(0)?.into(),
                digest: digest(row.slice(1)?)?,
                previous,
                tenant: pool.tenant(row.str(4)?),
                scopes: pool.scopes(row.str(5)?)?,
                roles: pool.roles(row.str(6)?)?,
                profile: row.str_or_none(7)?.map(Into::into),
                rate: row.str_or_none(8)?.map(rate).transpose()?,
                enabled: row.flag(9)?,
                expires_at: row.number_or_none(10)?,
                revoked: row.number_or_none(11)?.is_some(),
            });
            Ok(())
        })
        .await
    }

    async fn profiles(&mut self) -> Result<(), StoreError> {
        let sql = (
            "SELECT id, tenant, email, enabled, scopes, roles, deleted FROM profiles WHERE deleted = 0",
            "SELECT id, tenant, email, enabled, scopes, roles, deleted FROM profiles WHERE version > $1",
        );
        self.each(sql, |row, pool, changes| {
            changes.profiles.push(Profile {
                id: row.str(0)?.into(),
                tenant: pool.tenant(row.str(1)?),
                email: row.str(2)?.into(),
                enabled: row.flag(3)?,
                scopes: pool.scopes(row.str(4)?)?,
                roles: pool.roles(row.str(5)?)?,
                deleted: row.flag(6)?,
            });
            Ok(())
        })
        .await
    }

    async fn roles(&mut self) -> Result<(), StoreError> {
        let sql = (
            "SELECT tenant, name, permissions, inherits, deleted FROM roles WHERE deleted = 0",
            "SELECT tenant, name, permissions, inherits, deleted FROM roles WHERE version > $1",
        );
        self.each(sql, |row, pool, changes| {
            let definition = Definition { scopes: from_scopes(row.str(2)?)?, inherits: from_list(row.str(3)?)? };
            changes.roles.push(Role { tenant: pool.tenant(row.str(0)?), name: row.str(1)?.into(), definition, deleted: row.flag(4)? });
            Ok(())
        })
        .await
    }

    async fn assignments(&mut self) -> Result<(), StoreError> {
        let sql = (
            "SELECT tenant, subject, role, deleted FROM role_assignments WHERE deleted = 0",
            "SELECT tenant, subject, role, deleted FROM role_assignments WHERE version > $1",
        );
        self.each(sql, |row, pool, changes| {
            changes.assignments.push(Assignment {
                tenant: pool.tenant(row.str(0)?),
                subject: row.str(1)?.into(),
                role: row.str(2)?.into(),
                deleted: row.flag(3)?,
            });
            Ok(())
        })
        .await
    }

    async fn revocations(&mut self) -> Result<(), StoreError> {
        let sql = ("SELECT kind, tenant, value, until FROM revocations", "SELECT kind, tenant, value, until FROM revocations WHERE version > $1");
        let (whole, now) = (self.since == 0, unix_now());
        self.each(sql, |row, pool, changes| {
            let kind = row.str(0)?;
            let kind = Revoked::ALL.into_iter().find(|known| known.as_str() == kind);
            let kind = kind.ok_or_else(|| StoreError::fault("a revocation in the store is of no known kind"))?;
            let until = row.number_or_none(3)?;
            // One that is over says nothing; where an older one is known, it may have been made shorter.
            if !whole || until.is_none_or(|until| until > now) {
                changes.revocations.push(Revocation { kind, tenant: pool.tenant(row.str(1)?), value: row.str(2)?.into(), until });
            }
            Ok(())
        })
        .await
    }

    async fn enrolments(&mut self) -> Result<(), StoreError> {
        let sql = (
            "SELECT realm, tenant, subject, enabled_at FROM mfa WHERE enabled_at IS NOT NULL",
            "SELECT realm, tenant, subject, enabled_at FROM mfa WHERE version > $1",
        );
        self.each(sql, |row, pool, changes| {
            let holder = Holder { realm: row.str(0)?.into(), tenant: pool.tenant(row.str(1)?), subject: row.str(2)?.into() };
            changes.enrolments.push(Enrolment { holder, enabled_at: row.number_or_none(3)? });
            Ok(())
        })
        .await
    }
}

impl Interned {
    fn tenant(&mut self, tenant: &str) -> Option<Arc<str>> {
        if tenant.is_empty() {
            return None;
        }
        if let Some(known) = self.tenants.get(tenant) {
            return Some(Arc::clone(known));
        }
        let tenant: Arc<str> = tenant.into();
        self.tenants.insert(Arc::clone(&tenant));
        Some(tenant)
    }

    fn scopes(&mut self, list: &str) -> Result<Arc<[Scope]>, StoreError> {
        if let Some(known) = self.scopes.get(list) {
            return Ok(Arc::clone(known));
        }
        let scopes: Arc<[Scope]> = from_scopes(list)?.into();
        self.scopes.insert(list.into(), Arc::clone(&scopes));
        Ok(scopes)
    }

    fn roles(&mut self, list: &str) -> Result<Arc<[Box<str>]>, StoreError> {
        if let Some(known) = self.roles.get(list) {
            return Ok(Arc::clone(known));
        }
        let roles: Arc<[Box<str>]> = from_list(list)?.into_iter().map(String::into_boxed_str).collect();
        self.roles.insert(list.into(), Arc::clone(&roles));
        Ok(roles)
    }
}

fn digest(bytes: &[u8]) -> Result<KeyDigest, StoreError> {
    bytes.try_into().map(KeyDigest).map_err(|_| StoreError::fault("the digest of a key in the store has not 32 bytes"))
}

fn rate(text: &str) -> Result<Rate, StoreError> {
    let said: Option<RateLimit<'_>> = serde_json::from_str(text).ok();
    let rate = said.and_then(|said| Rate::parse(said.rate, said.burst).ok());
    rate.ok_or_else(|| StoreError::fault("the rate of a key in the store is malformed"))
}

impl std::fmt::Debug for Word {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Word(…)")
    }
}
