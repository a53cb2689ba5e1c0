//! Managed keys into rows and back, within the reach of whoever asks.
//! Keeps digests and no key; a key that is revoked is not shown any more.

use super::{Atomic, Change, Reach, Reading, Row, StoreError, from_list, from_scopes, to_list, values};
use crate::credential::key_format::Format;
use crate::principal::record::KeyDigest;
use crate::scope::Scope;

/// A managed key, as the store has it.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    /// `''` for none.
    pub tenant: String,
    pub name: String,
    /// What it is shown as; `''` for one that was imported.
    pub prefix: String,
    pub form: Format,
    pub secret: Kept,
    /// What the secret was before, and the second from which that counts no more.
    pub previous: Option<(Kept, i64)>,
    pub scopes: Vec<Scope>,
    pub roles: Vec<String>,
    /// The profile that it stands for.
    pub profile: Option<String>,
    /// `{"rate", "burst"}` as JSON.
    pub rate_limit: Option<String>,
    pub enabled: bool,
    pub expires_at: Option<i64>,
    pub created_at: i64,
    pub created_by: String,
    pub request_count: i64,
    pub last_used_at: Option<i64>,
}

/// A secret as it is kept: its digest, and the id of the pepper.
#[derive(Clone, Debug)]
pub struct Kept {
    pub digest: KeyDigest,
    pub pepper: String,
}

/// How often a key was used since it was last written down, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub count: i64,
    /// Seconds since 1970.
    pub last: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant, name, prefix, form, digest, pepper, previous_digest, previous_pepper, previous_until, scopes, roles, profile,
            rate_limit, enabled, expires_at, created_at, created_by, request_count, last_used_at FROM api_keys WHERE revoked_at IS NULL AND ",
            $rest
        )
    };
}

const BY_ID: &str = select!("id = $1 AND ($2 = 1 OR tenant = $3)");

fn key(row: &Row) -> Result<Key, StoreError> {
    let kept = |digest: Vec<u8>, pepper: String| {
        let digest = digest.try_into().map_err(|_| StoreError::Fault("a digest in the store has another length".into()))?;
        Ok(Kept { digest: KeyDigest(digest), pepper })
    };
    let previous = match (row.bytes_or_none(7)?, row.text_or_none(8)?, row.number_or_none(9)?) {
        (Some(digest), Some(pepper), Some(until)) => Some((kept(digest, pepper)?, until)),
        _ => None,
    };
    Ok(Key {
        id: row.text(0)?,
        tenant: row.text(1)?,
        name: row.text(2)?,
        prefix: row.text(3)?,
        form: Format::parse(row.str(4)?).ok_or_else(|| StoreError::Fault("a key in the store has an unknown form".into()))?,
        secret: kept(row.bytes(5)?, row.text(6)?)?,
        previous,
        scopes: from_scopes(row.str(10)?)?,
        roles: from_list(row.str(11)?)?,
        profile: row.text_or_none(12)?,
        rate_limit: row.text_or_none(13)?,
        enabled: row.flag(14)?,
        expires_at: row.number_or_none(15)?,
        created_at: row.number(16)?,
        created_by: row.text(17)?,
        request_count: row.number(18)?,
        last_used_at: row.number_or_none(19)?,
    })
}

impl Reading {
    pub async fn key(&mut self, reach: Reach<'_>, id: &str) -> Result<Key, StoreError> {
        let (all, tenant) = reach.values();
        key(&self.row(BY_ID, values![id, all, tenant]).await?.ok_or(StoreError::NotFound)?)
    }

    /// In the order of ids, after that one.
    pub async fn keys(&mut self, reach: Reach<'_>, after: &str, limit: i64) -> Result<Vec<Key>, StoreError> {
        let (all, tenant) = reach.values();
        let sql = select!("($1 = 1 OR tenant = $2) AND id > $3 ORDER BY id LIMIT $4");
        self.rows(sql, values![all, tenant, after, limit]).await?.iter().map(key).collect()
    }
}

impl Atomic {
    pub async fn key(&mut self, reach: Reach<'_>, id: &str) -> Result<Key, StoreError> {
        let (all, tenant) = reach.values();
        key(&self.row(BY_ID, values![id, all, tenant]).await?.ok_or(StoreError::NotFound)?)
    }

    /// Whether a secret is or was some key's, also of one that is revoked.
    pub async fn knows_secret(&mut self, digest: KeyDigest) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM api_keys WHERE digest = $1 OR previous_digest = $1";
        Ok(self.row(sql, values![digest.0.as_slice()]).await?.is_some())
    }

    /// Adds to what is written down already. A key that is gone is none's loss.
    pub async fn add_use(&mut self, id: &str, used: Used) -> Result<(), StoreError> {
        let sql = "UPDATE api_keys SET request_count = request_count + $1,
            last_used_at = CASE WHEN last_used_at > $2 THEN last_used_at ELSE $2 END WHERE id = $3";
        self.execute(sql, values![used.count, used.last, id]).await.map(drop)
    }
}

impl Change {
    /// `false` where another key has this id.
    pub async fn add_key(&mut self, key: &Key) -> Result<bool, StoreError> {
        let sql = "INSERT INTO api_keys (id, tenant, name, prefix, form, digest, pepper, scopes, roles, profile, rate_limit, enabled, expires_at,
            created_at, created_by, request_count, version)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, $16) ON CONFLICT (id) DO NOTHING";
        let scopes: Vec<&str> = key.scopes.iter().map(Scope::as_str).collect();
        let version = self.version;
        let values = values![
            key.id.as_str(),
            key.tenant.as_str(),
            key.name.as_str(),
            key.prefix.as_str(),
            key.form.as_str(),
            key.secret.digest.0.as_slice(),
            key.secret.pepper.as_str(),
            to_list(&scopes),
            to_list(&key.roles),
            key.profile.clone(),
            key.rate_limit.clone(),
            key.enabled,
            key.expires_at,
            key.created_at,
            key.created_by.as_str(),
            version,
        ];
        Ok(self.execute(sql, values).await? == 1)
    }

    /// Puts it in the place of what it was; its tenant, its profile and when it was made stay.
    pub async fn put_key(&mut self, key: &Key) -> Result<(), StoreError> {
        let sql = "UPDATE api_keys SET name = $1, digest = $2, pepper = $3, previous_digest = $4, previous_pepper = $5, previous_until = $6,
            scopes = $7, enabled = $8, expires_at = $9, version = $10 WHERE id = $11";
        let scopes: Vec<&str> = key.scopes.iter().map(Scope::as_str).collect();
        let (previous, until) = key.previous.as_ref().map(|(kept, until)| (kept, *until)).unzip();
        let version = self.version;
        let values = values![
            key.name.as_str(),
            key.secret.digest.0.as_slice(),
            key.secret.pepper.as_str(),
            previous.map(|kept| kept.digest.0.to_vec()),
            previous.map(|kept| kept.pepper.clone()),
            until,
            to_list(&scopes),
            key.enabled,
            key.expires_at,
            version,
            key.id.as_str(),
        ];
        self.execute(sql, values).await.map(drop)
    }

    /// Both of its secrets count no more; the row stays, for those who have not heard of it, and so that neither comes back.
    pub async fn revoke_key(&mut self, id: &str, now: i64) -> Result<(), StoreError> {
        let sql = "UPDATE api_keys SET revoked_at = $1, version = $2 WHERE id = $3 AND revoked_at IS NULL";
        let version = self.version;
        self.execute(sql, values![now, version, id]).await.map(drop)
    }
}
