//! Revocations into rows and back.
//! Never shortens one: what was revoked for longer stays revoked for longer.

use super::{Change, StoreError, values};
use crate::principal::record::Revoked;

/// What is revoked, and for whom: `tenant` is `''` for callers without one.
#[derive(Clone, Debug)]
pub struct Revocation<'a> {
    pub kind: Revoked,
    pub tenant: &'a str,
    pub value: &'a str,
    /// Seconds since 1970; `None` is for good.
    pub until: Option<i64>,
}

/// Rows of revocations that are over are kept this much longer, for clocks that differ.
const KEPT: i64 = 24 * 3600;

impl Change {
    /// Gives the second until which it holds now.
    pub async fn revoke(&mut self, revocation: &Revocation<'_>, by: &str, now: i64) -> Result<Option<i64>, StoreError> {
        self.execute("DELETE FROM revocations WHERE until < $1", values![now - KEPT]).await?;
        let Revocation { kind, tenant, value, until } = revocation;
        let sql = "SELECT until FROM revocations WHERE kind = $1 AND tenant = $2 AND value = $3";
        let known = self.row(sql, values![kind.as_str(), *tenant, *value]).await?;
        let until = match known {
            None => *until,
            Some(row) => row.number_or_none(0)?.zip(*until).map(|(known, new)| known.max(new)),
        };
        let sql = "INSERT INTO revocations (kind, tenant, value, until, created_at, created_by, version) VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (kind, tenant, value) DO UPDATE SET until = excluded.until, created_at = excluded.created_at,
                created_by = excluded.created_by, version = excluded.version";
        let version = self.version;
        self.execute(sql, values![kind.as_str(), *tenant, *value, until, now, by, version]).await?;
        Ok(until)
    }
}
