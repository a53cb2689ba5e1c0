//! What goes in and out of the calls for roles, as JSON.
//! Decides nothing: what a caller may give is weighed where the calls are.

use serde::Serialize;
use utoipa::ToSchema;

use crate::live::Snapshot;
use crate::management::body::{Members, Object, list, scope};
use crate::management::names::{RoleText, ScopeText, Word};
use crate::management::page::Page;
use crate::management::{instant, named, names};
use crate::principal::roles::Definition;
use crate::scope::Scope;
use crate::store::rbac::Role;

const MAX_PERMISSIONS: usize = 128;
const MAX_PARENTS: usize = 32;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Role)]
pub struct RoleView {
    pub name: String,
    /// Whose it is; none for one without a tenant, and for those of the configuration
    #[schema(required)]
    pub tenant: Option<String>,
    pub description: String,
    /// What it grants; with all that it inherits where it is one of the configuration
    pub permissions: Vec<String>,
    pub inherits: Vec<String>,
    /// Whether it can be changed here; those of the configuration cannot
    pub managed: bool,
    #[schema(required, format = DateTime)]
    pub created_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RolePage {
    pub roles: Vec<RoleView>,
    #[schema(required)]
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PermissionPage {
    pub permissions: Vec<String>,
    #[schema(required)]
    pub next_cursor: Option<String>,
}

#[derive(Debug, ToSchema)]
pub struct NewRole {
    #[schema(value_type = RoleText)]
    pub name: Box<str>,
    /// One line
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub description: Box<str>,
    /// What it grants: something that a route needs or another role grants, or a wildcard over such
    #[schema(value_type = Option<Vec<ScopeText>>, max_items = 128)]
    pub permissions: Vec<Scope>,
    /// Roles of the tenant or of the configuration
    #[schema(value_type = Option<Vec<RoleText>>, max_items = 32)]
    pub inherits: Vec<Box<str>>,
    /// Another than the caller's own is for callers that reach all
    #[schema(value_type = Option<Word>)]
    pub tenant: Option<Box<str>>,
}

/// What takes the place of all that the role was.
#[derive(Debug, ToSchema)]
pub struct RoleChange {
    /// One line
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub description: Box<str>,
    /// What it grants: something that a route needs or a role grants, or a wildcard over such
    #[schema(value_type = Vec<ScopeText>, max_items = 128)]
    pub permissions: Vec<Scope>,
    /// Roles of the tenant or of the configuration
    #[schema(value_type = Option<Vec<RoleText>>, max_items = 32)]
    pub inherits: Vec<Box<str>>,
}

/// Whose rows are meant.
#[derive(Debug)]
pub struct Within {
    pub tenant: Option<Box<str>>,
}

#[derive(Debug)]
pub struct Listing {
    pub tenant: Option<Box<str>>,
    pub page: Page,
}

impl Members for RoleChange {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let description = object.optional("description", names::checked(names::description));
        let permissions = object.required("permissions", list(0..=MAX_PERMISSIONS, scope));
        let inherits = object.optional("inherits", list(0..=MAX_PARENTS, names::checked(names::role)));
        Some(Self { description: description?.unwrap_or_default(), permissions: permissions?, inherits: inherits?.unwrap_or_default() })
    }
}

impl Members for NewRole {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let name = object.required("name", names::checked(names::role));
        let tenant = object.optional("tenant", names::checked(names::tenant));
        let description = object.optional("description", names::checked(names::description));
        let permissions = object.optional("permissions", list(0..=MAX_PERMISSIONS, scope));
        let inherits = object.optional("inherits", list(0..=MAX_PARENTS, names::checked(names::role)));
        Some(Self {
            name: name?,
            description: description?.unwrap_or_default(),
            permissions: permissions?.unwrap_or_default(),
            inherits: inherits?.unwrap_or_default(),
            tenant: tenant?,
        })
    }
}

impl Members for Within {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        Some(Self { tenant: object.optional("tenant", names::checked(names::tenant))? })
    }
}

impl Members for Listing {
    fn read(object: &mut Object<'_>) -> Option<Self> {
        let within = Within::read(object);
        let page = Page::read(object, 1);
        Some(Self { tenant: within?.tenant, page: page? })
    }
}

pub fn view(role: Role, tenant: &str) -> RoleView {
    let Role { name, description, permissions, inherits, created_at } = role;
    let permissions = permissions.iter().map(ToString::to_string).collect();
    RoleView { name, tenant: named(tenant), description, permissions, inherits, managed: true, created_at: Some(instant(created_at)) }
}

/// The roles of the configuration, as far as it says what they are in the end.
pub fn configured(snapshot: &Snapshot) -> impl Iterator<Item = RoleView> {
    snapshot.sources.roles.definitions().into_iter().map(|(name, Definition { inherits, scopes })| RoleView {
        name,
        tenant: None,
        description: String::new(),
        permissions: scopes.iter().map(ToString::to_string).collect(),
        inherits,
        managed: false,
        created_at: None,
    })
}
