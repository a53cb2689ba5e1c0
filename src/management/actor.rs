//! The caller of an operation into what it may do: which tenant's rows it reaches, and what it may hand on.
//! Hands on nothing that the caller does not hold itself.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::problem::Problem;
use crate::principal::Caller;
use crate::scope::Scope;
use crate::store::Reach;

/// Reaches every tenant's rows.
pub const OPERATOR: &str = "scopegate:admin";

/// Who asks.
#[derive(Clone, Debug)]
pub struct Actor {
    pub id: Box<str>,
    /// Within which ids are unlike.
    pub realm: Box<str>,
    pub tenant: Option<Box<str>>,
    pub scopes: Vec<Scope>,
    /// Assigned and inherited.
    pub roles: Vec<Box<str>>,
    /// The source's name in the configuration.
    pub credential: Box<str>,
}

impl Actor {
    pub fn of(caller: &Caller<'_>) -> Self {
        Self {
            id: caller.id().into(),
            realm: caller.realm().into(),
            tenant: caller.tenant().map(Into::into),
            scopes: caller.scopes().joined().split(' ').filter_map(|scope| Scope::parse(scope).ok()).collect(),
            roles: caller.roles().held().map(Into::into).collect(),
            credential: caller.credential.into(),
        }
    }

    /// Whether it may do what needs this scope.
    pub fn holds(&self, scope: &str) -> bool {
        self.scopes.iter().any(|held| held.satisfies(scope))
    }

    /// Whether every tenant's rows are within its reach.
    pub fn is_operator(&self) -> bool {
        self.tenant.is_none() && self.holds(OPERATOR)
    }

    /// Whose rows it reaches.
    pub fn reach(&self) -> Reach<'_> {
        match &self.tenant {
            Some(tenant) => Reach::Tenant(tenant),
            None if self.is_operator() => Reach::All,
            None => Reach::Bare,
        }
    }

    /// 403 where one of these scopes is not held.
    pub fn may_grant<'a>(&self, scopes: impl IntoIterator<Item = &'a Scope>) -> Result<(), Problem> {
        let beyond: Vec<_> = scopes.into_iter().filter(|scope| !self.holds(scope.as_str())).map(|scope| format!("`{scope}`")).collect();
        if beyond.is_empty() {
            return Ok(());
        }
        Err(Problem::forbidden(format!("You do not hold {} yourself", beyond.join(", "))))
    }

    /// The tenant of something new: its own, or the one that it names. 403 where that is not its to name.
    pub fn tenant_for(&self, named: Option<Box<str>>) -> Result<Option<Box<str>>, Problem> {
        match (&self.tenant, named) {
            (own, None) => Ok(own.clone()),
            (Some(own), Some(named)) if *own == named => Ok(Some(named)),
            (None, Some(named)) if self.is_operator() => Ok(Some(named)),
            (Some(_) | None, Some(_)) => Err(Problem::forbidden("This tenant is not yours")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // Only the guard puts it there.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Missing or invalid token"))
    }
}
