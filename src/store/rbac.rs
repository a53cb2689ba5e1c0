//! Roles and who has them, by tenant, into rows and back.
//! Decides nothing: whoever writes has looked, within the same transaction, at what it writes beside.

use super::{Atomic, Change, Reading, Row, StoreError, from_list, from_scopes, to_list, values};
use crate::scope::Scope;

/// A role of a tenant, `''` for none, beside those of the configuration.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    pub description: String,
    pub permissions: Vec<Scope>,
    pub inherits: Vec<String>,
    pub created_at: i64,
}

#[derive(Clone, Debug)]
pub struct Assignment {
    pub subject: String,
    pub role: String,
    pub created_at: i64,
}

const OF_TENANT: &str = "SELECT name, description, permissions, inherits, created_at FROM roles WHERE tenant = $1 AND deleted = 0";

fn role(row: &Row) -> Result<Role, StoreError> {
    Ok(Role {
        name: row.text(0)?,
        description: row.text(1)?,
        permissions: from_scopes(row.str(2)?)?,
        inherits: from_list(row.str(3)?)?,
        created_at: row.number(4)?,
    })
}

impl Reading {
    pub async fn roles(&mut self, tenant: &str) -> Result<Vec<Role>, StoreError> {
        self.rows(OF_TENANT, values![tenant]).await?.iter().map(role).collect()
    }

    /// In the order of subjects and roles, after that one; of one subject where it is named.
    pub async fn assignments(
        &mut self,
        tenant: &str,
        subject: &str,
        (after_subject, after_role): (&str, &str),
        limit: i64,
    ) -> Result<Vec<Assignment>, StoreError> {
        let sql = "SELECT subject, role, created_at FROM role_assignments WHERE tenant = $1 AND deleted = 0 AND ($2 = '' OR subject = $2)
            AND (subject > $3 OR (subject = $3 AND role > $4)) ORDER BY subject, role LIMIT $5";
        let rows = self.rows(sql, values![tenant, subject, after_subject, after_role, limit]).await?;
        rows.iter().map(|row| Ok(Assignment { subject: row.text(0)?, role: row.text(1)?, created_at: row.number(2)? })).collect()
    }
}

impl Atomic {
    pub async fn roles(&mut self, tenant: &str) -> Result<Vec<Role>, StoreError> {
        self.rows(OF_TENANT, values![tenant]).await?.iter().map(role).collect()
    }

    /// The roles that are assigned to a subject.
    pub async fn roles_assigned(&mut self, tenant: &str, subject: &str) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT role FROM role_assignments WHERE tenant = $1 AND subject = $2 AND deleted = 0";
        self.rows(sql, values![tenant, subject]).await?.iter().map(|row| row.text(0)).collect()
    }

    /// The first few that have a role, each as `subject x`, `profile x` or `key x`.
    pub async fn holders(&mut self, tenant: &str, role: &str) -> Result<Vec<String>, StoreError> {
        // As it stands in a list; `replace` knows upper from lower case in both databases.
        let quoted = serde_json::Value::from(role).to_string();
        let mut found = Vec::new();
        for (what, sql, value) in [
            ("subject", "SELECT subject FROM role_assignments WHERE tenant = $1 AND role = $2 AND deleted = 0 LIMIT 5", role),
            ("profile", "SELECT id FROM profiles WHERE tenant = $1 AND deleted = 0 AND replace(roles, $2, '') <> roles LIMIT 5", &quoted),
            ("key", "SELECT id FROM api_keys WHERE tenant = $1 AND revoked_at IS NULL AND replace(roles, $2, '') <> roles LIMIT 5", &quoted),
        ] {
            for row in self.rows(sql, values![tenant, value]).await? {
                found.push(format!("{what} `{}`", row.text(0)?));
            }
        }
        Ok(found)
    }
}

impl Change {
    /// Makes it, or puts it in the place of what it was.
    pub async fn put_role(&mut self, tenant: &str, role: &Role) -> Result<(), StoreError> {
        let sql = "INSERT INTO roles (tenant, name, description, permissions, inherits, created_at, deleted, version)
            VALUES ($1, $2, $3, $4, $5, $6, 0, $7)
            ON CONFLICT (tenant, name) DO UPDATE SET description = excluded.description, permissions = excluded.permissions,
                inherits = excluded.inherits, created_at = excluded.created_at, deleted = 0, version = excluded.version";
        let permissions: Vec<&str> = role.permissions.iter().map(Scope::as_str).collect();
        let lists = (to_list(&permissions), to_list(&role.inherits));
        let (name, description, version) = (role.name.as_str(), role.description.as_str(), self.version);
        self.execute(sql, values![tenant, name, description, lists.0, lists.1, role.created_at, version]).await.map(drop)
    }

    pub async fn delete_role(&mut self, tenant: &str, name: &str) -> Result<(), StoreError> {
        let sql = "UPDATE roles SET deleted = 1, version = $1 WHERE tenant = $2 AND name = $3 AND deleted = 0";
        let version = self.version;
        found(self.execute(sql, values![version, tenant, name]).await?)
    }

    /// Does nothing where it is assigned already.
    pub async fn assign(&mut self, tenant: &str, subject: &str, role: &str, now: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO role_assignments (tenant, subject, role, created_at, deleted, version) VALUES ($1, $2, $3, $4, 0, $5)
            ON CONFLICT (tenant, subject, role) DO UPDATE SET created_at = excluded.created_at, deleted = 0, version = excluded.version
            WHERE role_assignments.deleted = 1";
        let version = self.version;
        self.execute(sql, values![tenant, subject, role, now, version]).await.map(drop)
    }

    pub async fn unassign(&mut self, tenant: &str, subject: &str, role: &str) -> Result<(), StoreError> {
        let sql = "UPDATE role_assignments SET deleted = 1, version = $1 WHERE tenant = $2 AND subject = $3 AND role = $4 AND deleted = 0";
        let version = self.version;
        found(self.execute(sql, values![version, tenant, subject, role]).await?)
    }

    /// Whatever is assigned to a subject that is no more.
    pub async fn unassign_all(&mut self, tenant: &str, subject: &str) -> Result<(), StoreError> {
        let sql = "UPDATE role_assignments SET deleted = 1, version = $1 WHERE tenant = $2 AND subject = $3 AND deleted = 0";
        let version = self.version;
        self.execute(sql, values![version, tenant, subject]).await.map(drop)
    }
}

fn found(rows: u64) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}
