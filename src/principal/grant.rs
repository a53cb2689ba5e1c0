//! The claims of a proved token into a principal: id, scopes, tenant and roles, by the paths that the source names.
//! Refuses a claim of another shape than it must have; what a token does not say is not guessed.

use serde_json::Value;

use super::Cause;
use super::caller::Principal;
use super::roles::Roles;
use crate::jose::Claims;
use crate::scope::{Scope, ScopeSet, Universe};

/// Longest id, tenant or role; they travel in headers.
const MAX_NAME: usize = 256;

/// Where a source's tokens say what, and what the source grants by itself.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The first of these that is there.
    pub id: Paths,
    /// All of these.
    pub scopes: Paths,
    /// The first of these that is there.
    pub tenant: Paths,
    /// All of these.
    pub roles: Paths,
    /// The first of these that is there is `{{auth.email}}`.
    pub email: Paths,
    /// Scopes of every token of this source.
    pub granted: Box<[Scope]>,
    /// By the key that signed, where keys have names; empty where they have none.
    pub names: Box<[Option<Box<str>>]>,
    /// Goes before the id, as in `external:ci:`.
    pub prefix: Box<str>,
    /// Good tokens, and not for the service behind this gate.
    pub restricted: bool,
}

pub type Paths = Box<[Box<str>]>;

pub fn paths(list: &[&str]) -> Paths {
    list.iter().map(|path| Box::from(*path)).collect()
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            id: paths(&["sub"]),
            scopes: paths(&["scope", "scp", "scopes", "permissions"]),
            tenant: paths(&["tenant_id", "tenant"]),
            roles: paths(&["role", "roles"]),
            email: paths(&["email"]),
            granted: Box::default(),
            names: Box::default(),
            prefix: Box::default(),
            restricted: false,
        }
    }
}

impl Grant {
    /// The principal of claims that `key` signed.
    pub fn principal(&self, claims: Claims, key: usize, universe: &Universe, roles: &Roles) -> Result<Principal, Cause> {
        let id = match self.names.get(key) {
            Some(Some(name)) => name.clone(),
            Some(None) | None => self.id(&claims)?,
        };
        let tenant = self.tenant(&claims)?;
        let mut scopes = self.granted.to_vec();
        for path in &self.scopes {
            // What is no scope here, such as `openid profile`'s URLs with spaces, cannot be asked for by any route either.
            let said = claims.texts(path).map_err(|_| Cause::Claims)?;
            scopes.extend(said.into_iter().filter_map(|text| Scope::parse(text).ok()));
        }
        let mut assigned: Vec<String> = Vec::new();
        for path in &self.roles {
            for role in names(&claims, path)?.into_iter().filter(|role| is_name(role)) {
                if !assigned.iter().any(|known| known == role) {
                    assigned.push(role.to_owned());
                }
            }
        }
        let (roles, added) = roles.combine(assigned);
        scopes.extend(added);
        let email = self.email.iter().find_map(|path| Some((path, claims.text(path)?)));
        let email = email.filter(|(path, _)| is_confirmed(path, &claims)).map(|(_, email)| email.into());
        Ok(Principal { id, scopes: ScopeSet::new(scopes, universe), roles, tenant, email, claims, restricted: self.restricted })
    }

    /// Who the claims speak of.
    pub fn id(&self, claims: &Claims) -> Result<Box<str>, Cause> {
        let (path, id) = self.id.iter().find_map(|path| Some((path, claims.get(path)?))).ok_or(Cause::Claims)?;
        let id = id.as_str().filter(|id| is_name(id)).ok_or(Cause::Claims)?;
        if !is_confirmed(path, claims) {
            return Err(Cause::Claims);
        }
        Ok(format!("{}{id}", self.prefix).into_boxed_str())
    }

    fn tenant(&self, claims: &Claims) -> Result<Option<Box<str>>, Cause> {
        match self.tenant.iter().find_map(|path| claims.get(path)) {
            None | Some(Value::Null) => Ok(None),
            Some(said) => said.as_str().filter(|name| is_name(name)).map(|name| Some(name.into())).ok_or(Cause::Claims),
        }
    }
}

/// An address that its owner never confirmed is anybody's (OpenID Connect Core 1.0 §5.1). Some providers say `"true"`.
fn is_confirmed(path: &str, claims: &Claims) -> bool {
    path != "email" || claims.get("email_verified").is_none_or(|said| *said == true || *said == "true")
}

/// A text is one name, whatever is in it, and a list has one in each place.
pub fn names<'c>(claims: &'c Claims, path: &str) -> Result<Vec<&'c str>, Cause> {
    match claims.get(path) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(name)) => Ok(vec![name]),
        Some(Value::Array(list)) => list.iter().map(|name| name.as_str().ok_or(Cause::Claims)).collect(),
        Some(_) => Err(Cause::Claims),
    }
}

/// One word: no white space, no control characters.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(|character| character.is_whitespace() || character.is_control())
}
