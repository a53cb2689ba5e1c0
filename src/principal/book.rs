//! Every record of the store into look-ups that a decision can make: keys by digest, profiles by id and e-mail, roles, revocations, factors.
//! Never changes: changes give another book, which shares with this one what they leave alone.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap};
use subtle::ConstantTimeEq;

use super::record::{Assignment, Changes, EVERY_TENANT, Enrolment, Holder, Key, KeyDigest, Profile, Revocation, Revoked, Role};
use super::roles::Definition;
use super::shards::{Keyed, Shards};

/// What the store held at one version of it.
#[derive(Clone, Debug, Default)]
pub struct Book {
    version: i64,
    digests: Shards<Digest>,
    keys: Shards<ById>,
    profiles: Shards<ByProfile>,
    emails: Shards<ByEmail>,
    roles: Arc<RoleBook>,
    assigned: Shards<Assigned>,
    revocations: Shards<Arc<Revocation>>,
    enrolments: Shards<Arc<Enrolment>>,
}

/// The roles that the store defines, by tenant; that of nobody is empty.
#[derive(Clone, Debug, Default)]
pub struct RoleBook(HashMap<Box<str>, HashMap<Box<str>, Definition>>);

impl RoleBook {
    pub fn get(&self, tenant: Option<&str>, name: &str) -> Option<&Definition> {
        self.0.get(tenant.unwrap_or_default())?.get(name)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn set(&mut self, role: Role) {
        let tenant = role.tenant.as_deref().unwrap_or_default();
        let names = self.0.entry(tenant.into()).or_default();
        if role.deleted {
            names.remove(&role.name);
        } else {
            names.insert(role.name, role.definition);
        }
        if names.is_empty() {
            self.0.remove(tenant);
        }
    }
}

/// The roles that the store assigns to one principal.
#[derive(Clone, Debug)]
struct Assigned {
    tenant: Option<Arc<str>>,
    subject: Box<str>,
    roles: Arc<[Box<str>]>,
}

/// A key by one of its secrets.
#[derive(Clone, Debug)]
struct Digest {
    digest: KeyDigest,
    key: Arc<Key>,
}

#[derive(Clone, Debug)]
struct ById(Arc<Key>);

#[derive(Clone, Debug)]
struct ByProfile(Arc<Profile>);

#[derive(Clone, Debug)]
struct ByEmail(Arc<Profile>);

impl Book {
    pub fn version(&self) -> i64 {
        self.version
    }

    /// How many keys there are, revoked ones included.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The book after these changes, which are those above this book's version.
    pub fn with(&self, changes: Changes) -> Self {
        let mut book = self.clone();
        book.version = changes.version;
        changes.keys.into_iter().for_each(|key| book.put_key(Arc::new(key)));
        changes.profiles.into_iter().for_each(|profile| book.put_profile(Arc::new(profile)));
        if !changes.roles.is_empty() {
            let roles = Arc::make_mut(&mut book.roles);
            changes.roles.into_iter().for_each(|role| roles.set(role));
        }
        changes.assignments.into_iter().for_each(|assignment| book.put_assignment(assignment));
        for revocation in changes.revocations.into_iter().map(Arc::new) {
            book.revocations.put(Arc::clone(&revocation), |known| {
                (known.kind, &known.tenant, &known.value) == (revocation.kind, &revocation.tenant, &revocation.value)
            });
        }
        for enrolment in changes.enrolments.into_iter().map(Arc::new) {
            book.enrolments.put(Arc::clone(&enrolment), |known| known.holder == enrolment.holder);
        }
        book
    }

    /// Whether these changes may take something from somebody who was let through before them.
    pub fn takes_away(&self, changes: &Changes) -> bool {
        changes.keys.iter().any(|key| self.key(&key.id).is_some())
            || changes.profiles.iter().any(|profile| self.profile(&profile.id).is_some())
            || !(changes.roles.is_empty() && changes.assignments.is_empty() && changes.revocations.is_empty() && changes.enrolments.is_empty())
    }

    fn put_key(&mut self, key: Arc<Key>) {
        let old = self.keys.put(ById(Arc::clone(&key)), |known| known.0.id == key.id);
        for digest in old.iter().flat_map(|old| secrets(&old.0)) {
            // Another key may have taken the secret since: then it is not this one's to take away.
            self.digests.take(digest.bucket(), |known| known.digest.is(&digest) && known.key.id == key.id);
        }
        for digest in secrets(&key) {
            self.digests.put(Digest { digest, key: Arc::clone(&key) }, |known| known.digest.is(&digest));
        }
    }

    fn put_profile(&mut self, profile: Arc<Profile>) {
        let hash = self.profiles.hash_of(&profile.id);
        let same = |known: &ByProfile| known.0.id == profile.id;
        let old = if profile.deleted { self.profiles.take(hash, same) } else { self.profiles.put(ByProfile(Arc::clone(&profile)), same) };
        if let Some(ByProfile(old)) = old {
            let hash = self.emails.hash_of((old.tenant.as_deref(), &old.email));
            self.emails.take(hash, |known| known.0.id == old.id);
        }
        if !profile.deleted {
            let same = |known: &ByEmail| (&known.0.tenant, &known.0.email) == (&profile.tenant, &profile.email);
            self.emails.put(ByEmail(Arc::clone(&profile)), same);
        }
    }

    fn put_assignment(&mut self, Assignment { tenant, subject, role, deleted }: Assignment) {
        let hash = self.assigned.hash_of((tenant.as_deref(), &subject));
        let same = |known: &Assigned| known.tenant == tenant && known.subject == subject;
        let mut roles = self.assigned.find(hash, same).map(|known| known.roles.to_vec()).unwrap_or_default();
        roles.retain(|known| *known != role);
        if !deleted {
            roles.push(role);
        }
        if roles.is_empty() {
            self.assigned.take(hash, same);
        } else {
            let assigned = Assigned { tenant: tenant.clone(), subject: subject.clone(), roles: roles.into() };
            self.assigned.put(assigned, same);
        }
    }

    /// The key that has this secret, or had it before its last rotation.
    pub fn by_digest(&self, digest: &KeyDigest) -> Option<&Arc<Key>> {
        self.digests.find(digest.bucket(), |known| known.digest.is(digest)).map(|known| &known.key)
    }

    /// In no order.
    pub fn every_key(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter().map(|known| &known.0)
    }

    pub fn key(&self, id: &str) -> Option<&Arc<Key>> {
        self.keys.find(self.keys.hash_of(id), |known| *known.0.id == *id).map(|known| &known.0)
    }

    pub fn profile(&self, id: &str) -> Option<&Arc<Profile>> {
        self.profiles.find(self.profiles.hash_of(id), |known| *known.0.id == *id).map(|known| &known.0)
    }

    /// `email` has its ASCII letters in lower case.
    pub fn profile_of(&self, tenant: Option<&str>, email: &str) -> Option<&Arc<Profile>> {
        let same = |known: &ByEmail| known.0.tenant.as_deref() == tenant && *known.0.email == *email;
        self.emails.find(self.emails.hash_of((tenant, email)), same).map(|known| &known.0)
    }

    pub fn roles(&self) -> &Arc<RoleBook> {
        &self.roles
    }

    /// The roles that are assigned to a principal.
    pub fn assigned(&self, tenant: Option<&str>, subject: &str) -> Option<&Arc<[Box<str>]>> {
        if self.assigned.is_empty() {
            return None;
        }
        let same = |known: &Assigned| known.tenant.as_deref() == tenant && *known.subject == *subject;
        self.assigned.find(self.assigned.hash_of((tenant, subject)), same).map(|known| &known.roles)
    }

    pub fn has_revocations(&self) -> bool {
        !self.revocations.is_empty()
    }

    /// Whether `value` is revoked for `tenant` at `now`: for that tenant, or by an operator for all of them.
    pub fn is_revoked(&self, kind: Revoked, tenant: Option<&str>, value: &str, now: i64) -> bool {
        let holds = |tenant: Option<&str>| {
            let same = |known: &Arc<Revocation>| known.kind == kind && known.tenant.as_deref() == tenant && *known.value == *value;
            let found = self.revocations.find(self.revocations.hash_of((kind, tenant, value)), same);
            found.is_some_and(|found| found.until.is_none_or(|until| now < until))
        };
        self.has_revocations() && (holds(tenant) || holds(Some(EVERY_TENANT)))
    }

    /// Since when a principal has a second factor; `None` where it has none.
    pub fn enrolled(&self, realm: &str, tenant: Option<&str>, subject: &str) -> Option<i64> {
        let same = |known: &Arc<Enrolment>| {
            let Holder { realm: in_realm, tenant: of_tenant, subject: who } = &known.holder;
            (&**in_realm, of_tenant.as_deref(), &**who) == (realm, tenant, subject)
        };
        self.enrolments.find(self.enrolments.hash_of((realm, tenant, subject)), same)?.enabled_at
    }
}

fn secrets(key: &Key) -> impl Iterator<Item = KeyDigest> + use<> {
    [Some(key.digest), key.previous.map(|(digest, _)| digest)].into_iter().flatten()
}

impl KeyDigest {
    /// Nobody without the pepper can steer where a digest falls.
    fn bucket(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Keyed for Digest {
    fn hash(&self, _by: &DefaultHashBuilder) -> u64 {
        self.digest.bucket()
    }
}

impl Keyed for ById {
    fn hash(&self, by: &DefaultHashBuilder) -> u64 {
        by.hash_one(&*self.0.id)
    }
}

impl Keyed for ByProfile {
    fn hash(&self, by: &DefaultHashBuilder) -> u64 {
        by.hash_one(&*self.0.id)
    }
}

impl Keyed for ByEmail {
    fn hash(&self, by: &DefaultHashBuilder) -> u64 {
        by.hash_one((self.0.tenant.as_deref(), &*self.0.email))
    }
}

impl Keyed for Assigned {
    fn hash(&self, by: &DefaultHashBuilder) -> u64 {
        by.hash_one((self.tenant.as_deref(), &*self.subject))
    }
}

impl Keyed for Arc<Revocation> {
    fn hash(&self, by: &DefaultHashBuilder) -> u64 {
        by.hash_one((self.kind, self.tenant.as_deref(), &*self.value))
    }
}

impl Keyed for Arc<Enrolment> {
    fn hash(&self, by: &DefaultHashBuilder) -> u64 {
        let Holder { realm, tenant, subject } = &self.holder;
        by.hash_one((&**realm, tenant.as_deref(), &**subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;

    fn key(id: &str, digest: u8) -> Key {
        Key::new(id, KeyDigest([digest; 32]))
    }

    fn found(book: &Book, digest: u8) -> Option<&str> {
        book.by_digest(&KeyDigest([digest; 32])).map(|key| &*key.id)
    }

    fn keys(version: i64, keys: Vec<Key>) -> Changes {
        Changes { version, keys, ..Changes::default() }
    }

    #[test]
    fn a_rotated_key_has_two_secrets_and_then_one() {
        let first = Book::default().with(keys(1, vec![key("a", 1), key("b", 2)]));
        let rotated = first.with(keys(2, vec![Key { previous: Some((KeyDigest([1; 32]), 100)), ..key("a", 3) }]));
        assert_eq!((found(&first, 1), found(&first, 3), first.version(), first.keys()), (Some("a"), None, 1, 2));
        assert_eq!((found(&rotated, 1), found(&rotated, 3), found(&rotated, 2), rotated.keys()), (Some("a"), Some("a"), Some("b"), 2));
        let over = rotated.with(keys(3, vec![key("a", 3)]));
        assert_eq!((found(&over, 1), found(&over, 3), over.version()), (None, Some("a"), 3));
        assert!(Arc::ptr_eq(over.key("b").unwrap(), first.key("b").unwrap()));
    }

    #[test]
    fn a_profile_is_found_by_the_address_that_it_has_now() {
        let profile = |id: &str, tenant: Option<&str>, email: &str, deleted| Profile {
            id: id.into(),
            tenant: tenant.map(Arc::from),
            email: email.into(),
            enabled: true,
            scopes: Arc::new([]),
            roles: Arc::new([]),
            deleted,
        };
        let with = |book: &Book, profiles: Vec<Profile>| book.with(Changes { profiles, ..Changes::default() });
        let at = |book: &Book, tenant: Option<&str>, email: &str| book.profile_of(tenant, email).map(|profile| profile.id.to_string());
        let book = with(&Book::default(), vec![profile("p", None, "one@a.test", false), profile("q", Some("t"), "one@a.test", false)]);
        assert_eq!(
            (at(&book, None, "one@a.test"), at(&book, Some("t"), "one@a.test"), at(&book, Some("u"), "one@a.test")),
            (Some("p".into()), Some("q".into()), None)
        );
        let moved = with(&book, vec![profile("p", None, "two@a.test", false)]);
        assert_eq!((at(&moved, None, "one@a.test"), at(&moved, None, "two@a.test")), (None, Some("p".into())));
        // The address of one that went may come back with another id, in whatever order they are read.
        let again = with(&moved, vec![profile("r", None, "two@a.test", false), profile("p", None, "two@a.test", true)]);
        assert_eq!((at(&again, None, "two@a.test"), again.profile("p").is_none()), (Some("r".into()), true));
    }

    #[test]
    fn roles_and_assignments_come_and_go_by_tenant() {
        let role = |tenant: Option<&str>, deleted| Role {
            tenant: tenant.map(Arc::from),
            name: "editor".into(),
            definition: Definition { inherits: Vec::new(), scopes: vec![Scope::parse("a:b").unwrap()] },
            deleted,
        };
        let assignment = |role: &str, deleted| Assignment { tenant: Some("t".into()), subject: "u".into(), role: role.into(), deleted };
        let book = Book::default().with(Changes {
            roles: vec![role(Some("t"), false)],
            assignments: vec![assignment("editor", false), assignment("other", false), assignment("editor", false)],
            ..Changes::default()
        });
        assert!(book.roles().get(Some("t"), "editor").is_some() && book.roles().get(None, "editor").is_none());
        let names = |book: &Book| book.assigned(Some("t"), "u").map(|roles| roles.join(" "));
        assert_eq!((names(&book), book.assigned(None, "u")), (Some("other editor".into()), None));
        let less = book.with(Changes {
            roles: vec![role(Some("t"), true)],
            assignments: vec![assignment("editor", true), assignment("other", true)],
            ..Changes::default()
        });
        assert_eq!((names(&less), less.roles().is_empty()), (None, true));
    }

    #[test]
    fn a_revocation_holds_until_its_second_for_its_tenant_or_for_all() {
        let revocation =
            |tenant: Option<&str>, value: &str, until| Revocation { kind: Revoked::Jti, tenant: tenant.map(Arc::from), value: value.into(), until };
        let book = Book::default().with(Changes {
            revocations: vec![revocation(Some("t"), "one", Some(100)), revocation(None, "two", None), revocation(Some("*"), "three", None)],
            ..Changes::default()
        });
        let revoked = |tenant: Option<&str>, value: &str, now| book.is_revoked(Revoked::Jti, tenant, value, now);
        assert!(revoked(Some("t"), "one", 99) && !revoked(Some("t"), "one", 100));
        assert!(!revoked(None, "one", 0) && !revoked(Some("u"), "one", 0));
        assert!(revoked(None, "two", 0) && !revoked(Some("t"), "two", 0));
        assert!(revoked(None, "three", 0) && revoked(Some("t"), "three", 0));
        assert!(!book.is_revoked(Revoked::Subject, None, "two", 0));
    }

    #[test]
    fn a_factor_is_its_holders_until_it_is_taken_off() {
        let holder = Holder { realm: "keys".into(), tenant: Some("t".into()), subject: "u".into() };
        let set =
            |book: &Book, enabled_at| book.with(Changes { enrolments: vec![Enrolment { holder: holder.clone(), enabled_at }], ..Changes::default() });
        let book = set(&Book::default(), Some(7));
        assert_eq!(book.enrolled("keys", Some("t"), "u"), Some(7));
        assert_eq!((book.enrolled("keys", None, "u"), book.enrolled("other", Some("t"), "u")), (None, None));
        assert_eq!(set(&book, None).enrolled("keys", Some("t"), "u"), None);
    }

    #[test]
    fn what_is_only_new_takes_nothing_away() {
        let book = Book::default().with(keys(1, vec![key("a", 1)]));
        assert!(!book.takes_away(&keys(2, vec![key("b", 2)])) && book.takes_away(&keys(2, vec![key("a", 1)])));
        let revocations = vec![Revocation { kind: Revoked::Jti, tenant: None, value: "x".into(), until: None }];
        assert!(book.takes_away(&Changes { revocations, ..Changes::default() }));
    }
}
