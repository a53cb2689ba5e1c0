//! Role definitions into what each role grants, inheritance followed to its end.
//! Refuses cycles and names that nothing defines.

use std::collections::BTreeMap;
use std::fmt;

use crate::scope::Scope;

/// A role as the file says it.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    pub inherits: Vec<String>,
    pub scopes: Vec<Scope>,
}

/// Every role with its inheritance resolved, and the sets of roles that principals have.
#[derive(Debug, Default)]
pub struct Roles {
    by_name: BTreeMap<Box<str>, Role>,
    default: Option<Box<str>>,
    sets: Vec<RoleSet>,
}

#[derive(Debug, Default)]
struct Role {
    /// The role itself and every role that it inherits.
    names: Vec<Box<str>>,
    scopes: Vec<Scope>,
}

/// The roles of a principal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RoleSet {
    /// As assigned, space-delimited.
    joined: Box<str>,
    first: Box<str>,
    /// Assigned and inherited.
    held: Vec<Box<str>>,
    assigned: Vec<String>,
    /// Whether nothing was assigned, so that it is the default role.
    defaulted: bool,
}

/// Roles that are defined elsewhere, by name.
pub type Elsewhere<'e> = &'e dyn Fn(&str) -> Option<&'e Definition>;

/// A set's index in [`Roles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleSetId(u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleFault {
    Unknown { role: String, by: Option<String> },
    Cycle { role: String },
    TooMany { role: String },
}

/// The most roles that one may be, itself included; it bounds how deep inheritance is followed.
const MAX_HELD: usize = 64;

impl fmt::Display for RoleFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { role, by: Some(by) } => write!(out, "role `{by}` inherits `{role}`, which is not defined"),
            Self::Unknown { role, by: None } => write!(out, "role `{role}` is not defined; define it under `roles`"),
            Self::Cycle { role } => write!(out, "role `{role}` inherits itself; inheritance must end"),
            Self::TooMany { role } => write!(out, "role `{role}` inherits more than {} others; make fewer roles of them", MAX_HELD - 1),
        }
    }
}

impl Roles {
    pub fn new(definitions: &BTreeMap<String, Definition>, default: Option<&str>) -> Result<Self, Vec<RoleFault>> {
        let mut faults = Vec::new();
        let mut by_name = BTreeMap::new();
        for name in definitions.keys() {
            let mut role = Role::default();
            resolve(name, definitions, &mut role, &mut Vec::new(), &mut faults);
            by_name.insert(name.as_str().into(), role);
        }
        if let Some(default) = default.filter(|name| !definitions.contains_key(*name)) {
            faults.push(RoleFault::Unknown { role: default.to_owned(), by: None });
        }
        faults.dedup();
        if faults.is_empty() { Ok(Self { by_name, default: default.map(Into::into), sets: Vec::new() }) } else { Err(faults) }
    }

    pub fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The role and every role that it inherits, and all scopes that it grants.
    pub fn closure(&self, name: &str) -> Option<(&[Box<str>], &[Scope])> {
        self.by_name.get(name).map(|role| (&*role.names, &*role.scopes))
    }

    /// Every role as one that names all that it inherits and grants.
    pub fn definitions(&self) -> BTreeMap<String, Definition> {
        let parents = |name: &str, role: &Role| role.names.iter().filter(|held| ***held != *name).map(ToString::to_string).collect();
        let list = self.by_name.iter();
        list.map(|(name, role)| (name.to_string(), Definition { inherits: parents(name, role), scopes: role.scopes.clone() })).collect()
    }

    /// The roles assigned to a principal, and the scopes that they grant; one that has none has the default role.
    pub fn combine(&self, assigned: Vec<String>) -> (RoleSet, Vec<Scope>) {
        let (assigned, defaulted) = self.or_default(assigned);
        let scopes = self.scopes(&assigned);
        (self.build(assigned, defaulted), scopes)
    }

    /// The same, where roles beside those of the file count. What inherits itself there, or what nothing defines, grants nothing more.
    pub fn combine_with(&self, assigned: Vec<String>, elsewhere: Elsewhere<'_>) -> (RoleSet, Vec<Scope>) {
        let (assigned, defaulted) = self.or_default(assigned);
        let (mut set, mut scopes) = (self.build(assigned, defaulted), Vec::new());
        set.held.clear();
        let mut open: Vec<&str> = set.assigned.iter().map(String::as_str).rev().collect();
        while let Some(name) = open.pop() {
            if set.held.iter().any(|held| **held == *name) {
                continue;
            }
            if let Some(role) = self.by_name.get(name) {
                set.held.extend(role.names.iter().cloned());
                scopes.extend(role.scopes.iter().cloned());
            } else if let Some(definition) = elsewhere(name) {
                set.held.push(name.into());
                scopes.extend(definition.scopes.iter().cloned());
                open.extend(definition.inherits.iter().map(String::as_str).rev());
            }
        }
        set.held.sort_unstable();
        set.held.dedup();
        (set, scopes)
    }

    /// The same, kept: a million principals with the same roles share one set.
    pub fn assign(&mut self, assigned: Vec<String>) -> (RoleSetId, Vec<Scope>) {
        let (assigned, defaulted) = self.or_default(assigned);
        let scopes = self.scopes(&assigned);
        let index = self.sets.iter().position(|set| set.assigned == assigned && set.defaulted == defaulted).unwrap_or_else(|| {
            self.sets.push(self.build(assigned, defaulted));
            self.sets.len() - 1
        });
        (RoleSetId(u32::try_from(index).unwrap_or(u32::MAX)), scopes)
    }

    fn or_default(&self, assigned: Vec<String>) -> (Vec<String>, bool) {
        match (&self.default, assigned.is_empty()) {
            (Some(default), true) => (vec![default.to_string()], true),
            _ => (assigned, false),
        }
    }

    fn defined<'r>(&'r self, assigned: &'r [String]) -> impl Iterator<Item = &'r Role> {
        assigned.iter().filter_map(|name| self.by_name.get(name.as_str()))
    }

    fn scopes(&self, assigned: &[String]) -> Vec<Scope> {
        self.defined(assigned).flat_map(|role| role.scopes.iter().cloned()).collect()
    }

    fn build(&self, assigned: Vec<String>, defaulted: bool) -> RoleSet {
        let mut held: Vec<_> = self.defined(&assigned).flat_map(|role| role.names.iter().cloned()).collect();
        held.sort_unstable();
        held.dedup();
        RoleSet { joined: assigned.join(" ").into(), first: assigned.first().map_or("", String::as_str).into(), held, assigned, defaulted }
    }

    pub fn set(&self, id: RoleSetId) -> Option<&RoleSet> {
        self.sets.get(id.0 as usize)
    }
}

impl RoleSet {
    /// Assigned, or inherited by one that is.
    pub fn has(&self, name: &str) -> bool {
        self.held.iter().any(|held| **held == *name)
    }

    /// Assigned, and inherited by those.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        self.held.iter().map(|held| &**held)
    }

    /// Space-delimited, as assigned; empty where there is none.
    pub fn joined(&self) -> &str {
        &self.joined
    }

    /// As assigned; none where it is the default role alone.
    pub fn assigned(&self) -> &[String] {
        if self.defaulted { &[] } else { &self.assigned }
    }

    pub fn first(&self) -> &str {
        &self.first
    }
}

fn resolve(name: &str, all: &BTreeMap<String, Definition>, into: &mut Role, path: &mut Vec<String>, faults: &mut Vec<RoleFault>) {
    if path.iter().any(|above| above == name) {
        faults.push(RoleFault::Cycle { role: name.to_owned() });
        return;
    }
    let Some(definition) = all.get(name) else {
        faults.push(RoleFault::Unknown { role: name.to_owned(), by: path.last().cloned() });
        return;
    };
    if into.names.iter().any(|known| **known == *name) {
        return;
    }
    if into.names.len() == MAX_HELD {
        let first = path.first().map_or(name, String::as_str).to_owned();
        faults.push(RoleFault::TooMany { role: first });
        return;
    }
    into.names.push(name.into());
    into.scopes.extend(definition.scopes.iter().cloned());
    path.push(name.to_owned());
    for parent in &definition.inherits {
        resolve(parent, all, into, path, faults);
    }
    path.pop();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions(list: &[(&str, &[&str], &[&str])]) -> BTreeMap<String, Definition> {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        list.iter()
            .map(|(name, inherits, scopes)| {
                let scopes = scopes.iter().map(|scope| Scope::parse(scope).unwrap()).collect();
                ((*name).to_owned(), Definition { inherits: own(inherits), scopes })
            })
            .collect()
    }

    #[test]
    fn inherited_scopes_and_roles_are_held() {
        let mut roles = Roles::new(&definitions(&[("user", &[], &["profile:read"]), ("owner", &["user"], &["users:*"])]), Some("user")).unwrap();
        let (id, scopes) = roles.assign(vec!["owner".into()]);
        assert_eq!(scopes.iter().map(Scope::as_str).collect::<Vec<_>>(), ["users:*", "profile:read"]);
        let set = roles.set(id).unwrap();
        assert!(set.has("owner") && set.has("user") && !set.has("admin"));
        assert_eq!(set.joined(), "owner");
    }

    #[test]
    fn who_has_no_role_has_the_default() {
        let mut roles = Roles::new(&definitions(&[("user", &[], &["profile:read"])]), Some("user")).unwrap();
        let (id, scopes) = roles.assign(vec![]);
        assert_eq!((roles.set(id).unwrap().joined(), scopes.len()), ("user", 1));
        let mut none = Roles::new(&BTreeMap::new(), None).unwrap();
        let (id, scopes) = none.assign(vec![]);
        assert_eq!((none.set(id).unwrap().joined(), scopes.len()), ("", 0));
    }

    #[test]
    fn roles_from_elsewhere_add_to_those_of_the_file_and_never_replace_them() {
        let roles = Roles::new(&definitions(&[("user", &[], &["profile:read"]), ("editor", &["user"], &["articles:*"])]), Some("user")).unwrap();
        let elsewhere =
            definitions(&[("editor", &[], &["stolen:all"]), ("one", &["two", "editor"], &["one:x"]), ("two", &["one", "gone"], &["two:x"])]);
        let combine = |assigned: &[&str]| {
            let (set, scopes) = roles.combine_with(assigned.iter().map(|name| (*name).to_owned()).collect(), &|name| elsewhere.get(name));
            (set.joined().to_owned(), set.held.join(" "), scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(combine(&["one"]), ("one".into(), "editor one two user".into(), "one:x two:x articles:* profile:read".into()));
        assert_eq!(combine(&["editor"]), ("editor".into(), "editor user".into(), "articles:* profile:read".into()));
        assert_eq!(combine(&["gone"]), ("gone".into(), String::new(), String::new()));
        assert_eq!(combine(&[]), ("user".into(), "user".into(), "profile:read".into()));
        assert!(roles.combine(Vec::new()).0.assigned().is_empty());
    }

    #[test]
    fn cycles_and_unknown_roles_are_faults() {
        let cycle = Roles::new(&definitions(&[("a", &["b"], &[]), ("b", &["a"], &[])]), None).unwrap_err();
        assert!(cycle.contains(&RoleFault::Cycle { role: "a".into() }), "{cycle:?}");
        let unknown = Roles::new(&definitions(&[("a", &["b"], &[])]), Some("c")).unwrap_err();
        assert_eq!(unknown.len(), 2, "{unknown:?}");
    }

    #[test]
    fn inheritance_is_followed_over_sixty_three_roles_and_no_further() {
        let chain = |length: usize| -> BTreeMap<String, Definition> {
            let below = |n: usize| if n == 0 { Vec::new() } else { vec![format!("r{}", n - 1)] };
            (0..length).map(|n| (format!("r{n}"), Definition { inherits: below(n), scopes: Vec::new() })).collect()
        };
        assert!(Roles::new(&chain(64), None).is_ok());
        assert_eq!(Roles::new(&chain(65), None).unwrap_err(), [RoleFault::TooMany { role: "r64".into() }]);
        assert!(Roles::new(&chain(2_000), None).is_err());
    }
}
