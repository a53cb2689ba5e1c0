//! The claims of a proved token into a principal: id, scopes, tenant and roles, by the paths that the source names.
//! Refuses a claim of another shape than it must have; what a token does not say is not guessed.

use std::sync::Arc;

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
    /// The claim with the e-mail address of the profile that the caller is.
    pub profile: Option<Box<str>>,
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
            profile: None,
            granted: Box::default(),
            names: Box::default(),
            prefix: Box::default(),
            restricted: false,
        }
    }
}

impl Grant {
    /// The principal of claims that `key` signed.
    pub fn principal(&self, claims: Arc<Claims>, key: usize, universe: &Universe, roles: &Roles) -> Result<Principal, Cause> {
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
        let scopes = ScopeSet::with_roles(scopes, added, universe);
        let email = self.email.iter().find_map(|path| Some((path, claims.text(path)?)));
        let email = email.filter(|(path, _)| is_confirmed(path, &claims)).map(|(_, email)| email.into());
        Ok(Principal { id, scopes, roles, tenant, email, claims, restricted: self.restricted })
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
pub(super) fn is_confirmed(path: &str, claims: &Claims) -> bool {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::principal::roles::Definition;

    fn roles() -> Roles {
        let scopes = |list: &[&str]| list.iter().map(|text| Scope::parse(text).unwrap()).collect();
        let user = Definition { inherits: Vec::new(), scopes: scopes(&["profile:read"]) };
        let editor = Definition { inherits: vec!["user".into()], scopes: scopes(&["articles:*"]) };
        Roles::new(&BTreeMap::from([("user".into(), user), ("editor".into(), editor)]), Some("user")).unwrap()
    }

    fn by_key(grant: &Grant, claims: &Value, key: usize) -> Result<Principal, Cause> {
        grant.principal(Arc::new(Claims::parse(claims.to_string().as_bytes()).unwrap()), key, &Universe::default(), &roles())
    }

    fn principal(grant: &Grant, claims: &Value) -> Result<Principal, Cause> {
        by_key(grant, claims, 0)
    }

    fn cause(grant: &Grant, claims: &Value) -> Option<Cause> {
        principal(grant, claims).err()
    }

    #[test]
    fn every_usual_claim_has_its_place() {
        let claims = json!({"sub": "u", "scope": "a:b", "scp": ["c:d"], "scopes": "e:f", "permissions": ["g:h"], "tenant": "t2", "tenant_id": "t1",
            "role": "editor", "roles": ["other", "editor"], "email": "u@example.test"});
        let found = principal(&Grant::default(), &claims).unwrap();
        assert_eq!((&*found.id, found.tenant.as_deref(), found.email.as_deref()), ("u", Some("t1"), Some("u@example.test")));
        assert_eq!(found.scopes.joined(), "a:b c:d e:f g:h articles:* profile:read");
        assert_eq!((found.roles.joined(), found.roles.has("user"), found.restricted), ("editor other", true, false));
        let bare = principal(&Grant::default(), &json!({"sub": "u"})).unwrap();
        assert_eq!((bare.scopes.joined(), bare.roles.joined(), bare.tenant.is_none()), ("profile:read", "user", true));
        let secret = principal(&Grant::default(), &json!({"sub": "u", "secret": "planted"})).unwrap();
        assert!(!format!("{secret:?}").contains("planted"));
    }

    #[test]
    fn a_claim_of_another_shape_refuses_the_token() {
        for name in ["scope", "scp", "scopes", "permissions"] {
            for value in [json!(7), json!(true), json!(null), json!({"a:b": 1}), json!(["a:b", 7])] {
                assert_eq!(cause(&Grant::default(), &json!({"sub": "u", name: value})), Some(Cause::Claims), "{name}: {value}");
            }
        }
        for name in ["tenant_id", "tenant"] {
            for value in [json!(7), json!(""), json!("a b"), json!(["t"]), json!({}), json!("t".repeat(257))] {
                assert_eq!(cause(&Grant::default(), &json!({"sub": "u", name: value})), Some(Cause::Claims), "{name}: {value}");
            }
        }
        for value in [json!(7), json!(true), json!({}), json!(["editor", null])] {
            assert_eq!(cause(&Grant::default(), &json!({"sub": "u", "roles": value})), Some(Cause::Claims), "{value}");
        }
        for value in
            [json!(7), json!(null), json!(""), json!(" u"), json!("u\n"), json!("a\u{a0}b"), json!("\u{7f}"), json!(["u"]), json!("u".repeat(257))]
        {
            assert_eq!(cause(&Grant::default(), &json!({"sub": value})), Some(Cause::Claims), "{value}");
        }
        assert_eq!(cause(&Grant::default(), &json!({"name": "u"})), Some(Cause::Claims));
        assert!(principal(&Grant::default(), &json!({"sub": "u".repeat(256), "tenant": null, "roles": null})).is_ok());
    }

    #[test]
    fn words_that_are_no_scope_or_no_role_count_for_nothing() {
        let claims = json!({"sub": "u", "scope": "openid a: *:b ad*:c a:b \"", "scp": ["c:d e:f"], "roles": ["", "two words", "a\nb", "editor"]});
        let found = principal(&Grant::default(), &claims).unwrap();
        assert_eq!((found.scopes.joined(), found.roles.joined()), ("openid a:b articles:* profile:read", "editor"));
    }

    #[test]
    fn an_address_that_is_not_confirmed_is_neither_an_id_nor_told() {
        let by_mail = Grant { id: paths(&["email"]), ..Grant::default() };
        let claims = |verified: Value| json!({"sub": "u", "email": "u@example.test", "email_verified": verified});
        for good in [json!(true), json!("true")] {
            assert_eq!(&*principal(&by_mail, &claims(good.clone())).unwrap().id, "u@example.test", "{good}");
            assert!(principal(&Grant::default(), &claims(good)).unwrap().email.is_some());
        }
        for bad in [json!(false), json!("false"), json!(null), json!(1), json!("TRUE"), json!([true])] {
            assert_eq!(cause(&by_mail, &claims(bad.clone())), Some(Cause::Claims), "{bad}");
            assert_eq!(principal(&Grant::default(), &claims(bad)).unwrap().email, None);
        }
        assert!(principal(&by_mail, &json!({"email": "u@example.test"})).is_ok());
        // Another path is another issuer's word.
        let elsewhere = Grant { id: paths(&["contact.email"]), ..Grant::default() };
        assert!(principal(&elsewhere, &json!({"contact": {"email": "u@example.test"}, "email_verified": false})).is_ok());
    }

    #[test]
    fn a_key_may_name_its_holder_and_a_source_may_say_what_comes_before() {
        let names: Box<[Option<Box<str>>]> = Box::new([None, Some("by-key".into())]);
        let grant = Grant { names, prefix: "external:".into(), granted: Box::new([Scope::parse("x:y").unwrap()]), ..Grant::default() };
        let id = |key: usize| by_key(&grant, &json!({"sub": "u", "scope": "a:b"}), key).map(|found| found.id.to_string());
        assert_eq!([id(0), id(1), id(2)], [Ok("external:u".into()), Ok("by-key".into()), Ok("external:u".into())]);
        let found = by_key(&grant, &json!({"scope": "a:b"}), 1).unwrap();
        assert_eq!(found.scopes.joined(), "x:y a:b profile:read");
    }
}
