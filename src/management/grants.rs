//! What a caller holds, and what it would grant, into a yes or the names of what is above it.
//! Refuses permissions that nothing knows, roles that nothing defines and inheritance that does not end.

use std::collections::{BTreeMap, BTreeSet};

use super::actor::Actor;
use crate::policy::{Access, Policy};
use crate::principal::roles::{Definition, RoleFault, Roles};
use crate::scope::Scope;

impl Actor {
    /// Of these scopes, those that the caller does not hold. The held side covers: `users:*` grants `users:read`, and not the other way.
    pub fn lacks<'s>(&self, scopes: impl IntoIterator<Item = &'s Scope>) -> BTreeSet<&'s Scope> {
        scopes.into_iter().filter(|scope| !self.holds(scope.as_str())).collect()
    }

    /// Of these roles, those above the caller: that grant, inheritance followed, a scope which it does not hold, or that are or inherit
    /// a role which some route asks for by its name and the caller does not have. A role that nobody defines grants nothing today and may
    /// be defined tomorrow: it is above everybody.
    pub fn below<'r>(&self, roles: impl IntoIterator<Item = &'r str>, known: &Known) -> BTreeSet<&'r str> {
        let above = |role: &&str| match known.roles.closure(role) {
            None => true,
            Some((names, scopes)) => !self.lacks(scopes).is_empty() || names.iter().any(|name| self.misses(name, known)),
        };
        roles.into_iter().filter(above).collect()
    }

    fn misses(&self, role: &str, known: &Known) -> bool {
        known.asked.contains(role) && !self.roles.iter().any(|held| **held == *role) && !self.holds("*")
    }
}

/// What routes ask for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub permissions: BTreeSet<Scope>,
    /// By name.
    pub roles: BTreeSet<Box<str>>,
}

impl Asked {
    /// By the routes of the configuration, and by `own`, the API's.
    pub fn by(policy: &Policy, own: BTreeSet<Scope>) -> Self {
        let mut permissions = own;
        permissions.extend(policy.universe.iter().cloned());
        let roles = policy.rules.iter().chain([&policy.default]).filter_map(|rule| match &rule.access {
            Access::Needs(needs) => Some(needs.roles.iter().cloned()),
            Access::Public | Access::Deny => None,
        });
        Self { permissions, roles: roles.flatten().collect() }
    }
}

/// Every role and permission of one tenant, its own and the configuration's.
#[derive(Debug)]
pub struct Known {
    pub roles: Roles,
    permissions: BTreeSet<Scope>,
    /// Roles that routes ask for by name.
    asked: BTreeSet<Box<str>>,
}

impl Known {
    /// `managed` are the tenant's own roles, of which one may be new or changed: all of its parents must be known. Another one that the
    /// configuration has meanwhile taken a parent from goes on without it.
    pub fn with(
        configured: &Roles,
        mut managed: BTreeMap<String, Definition>,
        new: Option<(&str, Definition)>,
        asked: Asked,
    ) -> Result<Self, Vec<RoleFault>> {
        let mut all = configured.definitions();
        managed.retain(|name, _| !all.contains_key(name));
        let names: BTreeSet<String> = all.keys().chain(managed.keys()).cloned().chain(new.iter().map(|(name, _)| (*name).to_owned())).collect();
        for definition in managed.values_mut() {
            definition.inherits.retain(|parent| names.contains(parent));
        }
        managed.extend(new.map(|(name, definition)| (name.to_owned(), definition)));
        all.extend(managed);
        let roles = Roles::new(&all, None)?;
        let mut permissions = asked.permissions;
        permissions.extend(all.into_values().flat_map(|definition| definition.scopes));
        Ok(Self { roles, permissions, asked: asked.roles })
    }

    pub fn permissions(&self) -> impl Iterator<Item = &Scope> {
        self.permissions.iter()
    }

    /// Whether some route needs it or some role grants it; a wildcard, whether it covers one that is.
    pub fn has(&self, permission: &Scope) -> bool {
        self.permissions.iter().any(|known| permission.satisfies(known.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Rule;
    use crate::policy::rule::Needs;
    use crate::scope::Universe;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    fn definition(inherits: &[&str], scopes: &[&str]) -> Definition {
        Definition { inherits: inherits.iter().map(ToString::to_string).collect(), scopes: scopes.iter().map(|text| scope(text)).collect() }
    }

    fn definitions(list: &[(&str, &[&str], &[&str])]) -> BTreeMap<String, Definition> {
        list.iter().map(|(name, inherits, scopes)| ((*name).to_owned(), definition(inherits, scopes))).collect()
    }

    /// The configuration has `user`, `editor` and `operator`; a route needs `users:delete`, another the role `operator`.
    fn configured() -> Roles {
        let list = definitions(&[("user", &[], &["profile:read"]), ("editor", &["user"], &["articles:*"]), ("operator", &[], &[])]);
        Roles::new(&list, Some("user")).unwrap()
    }

    fn policy() -> Policy {
        let mut universe = Universe::default();
        universe.intern(scope("users:delete"));
        let rule = |access| Rule::new("", access);
        let operators = Needs { roles: Box::new(["operator".into()]), ..Needs::default() };
        Policy {
            table: Default::default(),
            rules: vec![rule(Access::Needs(operators))],
            default: rule(Access::Deny),
            universe,
            cors: None,
            watched: Box::default(),
        }
    }

    fn known(managed: &[(&str, &[&str], &[&str])]) -> Known {
        Known::with(&configured(), definitions(managed), None, Asked::by(&policy(), BTreeSet::new())).unwrap()
    }

    fn changed(managed: &[(&str, &[&str], &[&str])], name: &str, new: Definition) -> Result<Known, Vec<RoleFault>> {
        Known::with(&configured(), definitions(managed), Some((name, new)), Asked::by(&policy(), BTreeSet::new()))
    }

    fn holding(scopes: &[&str], roles: &[&str]) -> Actor {
        Actor {
            id: "a".into(),
            realm: "tokens".into(),
            tenant: None,
            scopes: scopes.iter().map(|text| scope(text)).collect(),
            roles: roles.iter().map(|role| Box::from(*role)).collect(),
            credential: "tokens".into(),
        }
    }

    fn lacking(held: &[&str], granted: &[&str]) -> Vec<String> {
        let granted: Vec<_> = granted.iter().map(|text| scope(text)).collect();
        holding(held, &[]).lacks(&granted).into_iter().map(ToString::to_string).collect()
    }

    fn above(held: &[&str], roles: &[&str], asked: &[&str], known: &Known) -> Vec<String> {
        holding(held, roles).below(asked.iter().copied(), known).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_held_side_covers_and_never_the_granted_one() {
        assert_eq!(lacking(&["users:*", "a:b"], &["users:read", "users:*", "users:a:*", "a:b"]), [""; 0]);
        assert_eq!(lacking(&["users:read"], &["users:*", "users:read", "users:delete"]), ["users:*", "users:delete"]);
        assert_eq!(lacking(&["users:*"], &["*", "users", "usersx:read", "USERS:read"]), ["*", "USERS:read", "users", "usersx:read"]);
        assert_eq!(lacking(&["*"], &["*", "scopegate:admin"]), [""; 0]);
        assert_eq!(lacking(&[], &["a:b"]), ["a:b"]);
    }

    #[test]
    fn a_role_is_above_who_lacks_something_of_what_it_inherits() {
        let known = known(&[("chief", &["editor"], &["users:*"]), ("empty", &[], &[])]);
        assert_eq!(above(&["users:*", "articles:*", "profile:read"], &[], &["chief", "editor", "user", "empty"], &known), [""; 0]);
        assert_eq!(above(&["users:*", "articles:*"], &[], &["chief", "editor", "user", "empty"], &known), ["chief", "editor", "user"]);
        assert_eq!(above(&["users:delete", "articles:*", "profile:*"], &[], &["chief", "editor"], &known), ["chief"]);
        assert_eq!(above(&["*"], &[], &["chief"], &known), [""; 0]);
    }

    #[test]
    fn a_role_that_nobody_defines_is_above_everybody() {
        assert_eq!(above(&["*"], &["operator"], &["nobody", ""], &known(&[])), ["", "nobody"]);
    }

    #[test]
    fn a_role_that_a_route_asks_for_is_given_only_by_who_has_it() {
        let known = known(&[("night", &["operator"], &[])]);
        assert_eq!(above(&["users:*"], &[], &["operator", "night"], &known), ["night", "operator"]);
        assert_eq!(above(&[], &["operator"], &["operator", "night"], &known), [""; 0]);
        assert_eq!(above(&["*"], &[], &["operator", "night"], &known), [""; 0]);
    }

    #[test]
    fn permissions_are_known_that_a_route_needs_or_a_role_grants() {
        let known = known(&[("auditor", &[], &["audit:read"])]);
        for good in ["users:delete", "users:*", "*", "profile:read", "articles:*", "audit:read", "audit:*"] {
            assert!(known.has(&scope(good)), "{good}");
        }
        for bad in ["users:read", "users", "users:delete:*", "articles:write", "article:*", "Users:delete", "audit:write"] {
            assert!(!known.has(&scope(bad)), "{bad}");
        }
        let list: Vec<_> = known.permissions().map(Scope::as_str).collect();
        assert_eq!(list, ["articles:*", "audit:read", "profile:read", "users:delete"]);
    }

    #[test]
    fn inheritance_that_does_not_end_is_a_fault_over_any_number_of_roles() {
        let managed: &[(&str, &[&str], &[&str])] = &[("a", &["b"], &[]), ("b", &["c"], &[]), ("c", &["editor"], &[])];
        for (name, parents) in [("a", &["a"][..]), ("c", &["a"]), ("c", &["b"]), ("b", &["user", "a"])] {
            let faults = changed(managed, name, definition(parents, &[])).unwrap_err();
            assert!(faults.iter().any(|fault| matches!(fault, RoleFault::Cycle { .. })), "{name}: {faults:?}");
        }
        let faults = changed(managed, "d", definition(&["nobody"], &[])).unwrap_err();
        assert_eq!(faults, [RoleFault::Unknown { role: "nobody".into(), by: Some("d".into()) }]);
        // Twice the same parent is no circle.
        let all = changed(managed, "d", definition(&["a", "b", "c", "a"], &[])).unwrap();
        assert_eq!(all.roles.closure("d").unwrap().0.len(), 6);
    }

    #[test]
    fn a_managed_role_never_stands_for_one_of_the_configuration() {
        let known = known(&[("user", &[], &["users:delete"]), ("lost", &["gone", "user"], &["audit:read"])]);
        let (_, scopes) = known.roles.closure("user").unwrap();
        assert_eq!(scopes, [scope("profile:read")]);
        let (names, scopes) = known.roles.closure("lost").unwrap();
        assert_eq!((names.len(), scopes.len()), (2, 2), "what the configuration no longer has is inherited no more");
    }
}
