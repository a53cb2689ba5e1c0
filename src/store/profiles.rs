//! Profiles into rows and back, within the reach of whoever asks.
//! Keeps no address twice within a tenant, and of one that is deleted only that it was there.

use super::{Atomic, Change, Reach, Reading, Row, StoreError, from_list, from_scopes, to_list, values};
use crate::scope::Scope;

#[derive(Clone, Debug)]
pub struct Profile {
    pub id: String,
    /// `''` for none.
    pub tenant: String,
    /// ASCII letters in lower case.
    pub email: String,
    pub enabled: bool,
    pub scopes: Vec<Scope>,
    pub roles: Vec<String>,
    pub created_at: i64,
}

fn profile(row: &Row) -> Result<Profile, StoreError> {
    Ok(Profile {
        id: row.text(0)?,
        tenant: row.text(1)?,
        email: row.text(2)?,
        enabled: row.flag(3)?,
        scopes: from_scopes(row.str(4)?)?,
        roles: from_list(row.str(5)?)?,
        created_at: row.number(6)?,
    })
}

const BY_ID: &str = "SELECT id, tenant, email, enabled, scopes, roles, created_at FROM profiles
    WHERE id = $1 AND deleted = 0 AND ($2 = 1 OR tenant = $3)";

impl Reading {
    pub async fn profile(&mut self, reach: Reach<'_>, id: &str) -> Result<Profile, StoreError> {
        let (all, tenant) = reach.values();
        profile(&self.row(BY_ID, values![id, all, tenant]).await?.ok_or(StoreError::NotFound)?)
    }

    /// In the order of ids, after that one; of one address where it is named.
    pub async fn profiles(&mut self, reach: Reach<'_>, email: &str, after: &str, limit: i64) -> Result<Vec<Profile>, StoreError> {
        let sql = "SELECT id, tenant, email, enabled, scopes, roles, created_at FROM profiles
            WHERE deleted = 0 AND ($1 = 1 OR tenant = $2) AND ($3 = '' OR email = $3) AND id > $4 ORDER BY id LIMIT $5";
        let (all, tenant) = reach.values();
        self.rows(sql, values![all, tenant, email, after, limit]).await?.iter().map(profile).collect()
    }
}

impl Atomic {
    pub async fn profile(&mut self, reach: Reach<'_>, id: &str) -> Result<Profile, StoreError> {
        let (all, tenant) = reach.values();
        profile(&self.row(BY_ID, values![id, all, tenant]).await?.ok_or(StoreError::NotFound)?)
    }

    /// Whether another profile than this one has the address.
    async fn is_taken(&mut self, profile: &Profile) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM profiles WHERE tenant = $1 AND email = $2 AND deleted = 0 AND id <> $3";
        Ok(self.row(sql, values![profile.tenant.as_str(), profile.email.as_str(), profile.id.as_str()]).await?.is_some())
    }
}

impl Change {
    /// Makes it, or puts it in the place of what it was; its tenant and when it was made stay.
    pub async fn put_profile(&mut self, profile: &Profile) -> Result<(), StoreError> {
        if self.is_taken(profile).await? {
            return Err(StoreError::Conflict("another profile has this e-mail address"));
        }
        let sql = "INSERT INTO profiles (id, tenant, email, enabled, scopes, roles, created_at, deleted, version)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8)
            ON CONFLICT (id) DO UPDATE SET email = excluded.email, enabled = excluded.enabled, scopes = excluded.scopes,
                roles = excluded.roles, version = excluded.version";
        let Profile { id, tenant, email, enabled, scopes, roles, created_at } = profile;
        let scopes: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
        let lists = (to_list(&scopes), to_list(roles));
        let (id, tenant, email, version) = (id.as_str(), tenant.as_str(), email.as_str(), self.version);
        self.execute(sql, values![id, tenant, email, *enabled, lists.0, lists.1, *created_at, version]).await.map(drop)
    }

    /// What is assigned to it goes with it.
    pub async fn delete_profile(&mut self, profile: &Profile) -> Result<(), StoreError> {
        let sql = "UPDATE profiles SET deleted = 1, version = $1 WHERE id = $2 AND deleted = 0";
        let version = self.version;
        self.execute(sql, values![version, profile.id.as_str()]).await?;
        self.unassign_all(&profile.tenant, &profile.id).await
    }
}
