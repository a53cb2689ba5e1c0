//! The book against lists that are searched from end to end: after any changes, in any portions, both know the same.

use std::sync::Arc;

use scopegate::principal::book::Book;
use scopegate::principal::record::{Assignment, Changes, Enrolment, Holder, Key, KeyDigest, Profile, Revocation, Revoked, Role};
use scopegate::principal::roles::Definition;
use scopegate::scope::Scope;

use crate::random::{Random, check};

const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];
const TENANTS: [Option<&str>; 3] = [None, Some("t1"), Some("t2")];
const EMAILS: [&str; 3] = ["one@x.test", "two@x.test", "three@x.test"];
const NAMES: [&str; 3] = ["editor", "reader", "owner"];
const KINDS: [Revoked; 3] = [Revoked::Jti, Revoked::Subject, Revoked::Credential];

/// The last word on each row, in the order in which they came.
#[derive(Default)]
struct Model {
    keys: Vec<Key>,
    profiles: Vec<Profile>,
    roles: Vec<Role>,
    assignments: Vec<Assignment>,
    revocations: Vec<Revocation>,
    enrolments: Vec<Enrolment>,
}

fn put<T: Clone>(list: &mut Vec<T>, value: &T, same: impl Fn(&T) -> bool) {
    list.retain(|known| !same(known));
    list.push(value.clone());
}

impl Model {
    fn apply(&mut self, changes: &Changes) {
        changes.keys.iter().for_each(|new| put(&mut self.keys, new, |old| old.id == new.id));
        changes.profiles.iter().for_each(|new| put(&mut self.profiles, new, |old| old.id == new.id));
        changes.roles.iter().for_each(|new| put(&mut self.roles, new, |old| (&old.tenant, &old.name) == (&new.tenant, &new.name)));
        for new in &changes.assignments {
            put(&mut self.assignments, new, |old| (&old.tenant, &old.subject, &old.role) == (&new.tenant, &new.subject, &new.role));
        }
        for new in &changes.revocations {
            put(&mut self.revocations, new, |old| (old.kind, &old.tenant, &old.value) == (new.kind, &new.tenant, &new.value));
        }
        changes.enrolments.iter().for_each(|new| put(&mut self.enrolments, new, |old| old.holder == new.holder));
    }

    fn assigned(&self, tenant: Option<&str>, subject: &str) -> Vec<&str> {
        let of = |known: &&Assignment| !known.deleted && known.tenant.as_deref() == tenant && *known.subject == *subject;
        let mut names: Vec<&str> = self.assignments.iter().filter(of).map(|known| &*known.role).collect();
        names.sort_unstable();
        names
    }

    fn is_revoked(&self, kind: Revoked, tenant: Option<&str>, value: &str, now: i64) -> bool {
        let holds = |known: &Revocation| {
            let of = known.tenant.as_deref() == tenant || known.tenant.as_deref() == Some("*");
            known.kind == kind && of && *known.value == *value && known.until.is_none_or(|until| now < until)
        };
        self.revocations.iter().any(holds)
    }
}

fn tenant(random: &mut Random) -> Option<Arc<str>> {
    random.pick(&TENANTS).map(Arc::from)
}

/// Secrets are unique, as the store sees to: each is made of the key's id and a number.
fn secret(id: &str, number: usize) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes[0] = id.as_bytes()[0];
    bytes[20] = u8::try_from(number).unwrap();
    KeyDigest(bytes)
}

fn key(random: &mut Random) -> Key {
    let id = random.pick(&IDS);
    let number = random.below(3);
    let previous = random.once_in(2).then(|| (secret(id, (number + 1) % 3), 100));
    Key { previous, tenant: tenant(random), enabled: random.once_in(2), ..Key::new(id, secret(id, number)) }
}

fn profile(random: &mut Random, model: &Model, others: &[Profile]) -> Option<Profile> {
    let made = Profile {
        id: random.pick(&IDS).into(),
        tenant: tenant(random),
        email: random.pick(&EMAILS).into(),
        enabled: true,
        scopes: Arc::new([]),
        roles: Arc::new([]),
        deleted: random.once_in(4),
    };
    // One address has one profile at a time, as the store sees to.
    let mut now = Model { profiles: model.profiles.clone(), ..Model::default() };
    now.apply(&Changes { profiles: others.to_vec(), ..Changes::default() });
    let taken = |known: &Profile| !known.deleted && known.id != made.id && (&known.tenant, &known.email) == (&made.tenant, &made.email);
    (made.deleted || !now.profiles.iter().any(taken)).then_some(made)
}

fn changes(random: &mut Random, model: &Model, version: i64) -> Changes {
    let mut changes = Changes { version, ..Changes::default() };
    for _ in 0..random.below(4) {
        match random.below(6) {
            0 => changes.keys.push(key(random)),
            1 => changes.profiles.extend(profile(random, model, &changes.profiles)),
            2 => changes.roles.push(Role {
                tenant: tenant(random),
                name: random.pick(&NAMES).into(),
                definition: Definition { inherits: Vec::new(), scopes: vec![Scope::parse(random.pick(&["a:b", "c:d"])).unwrap()] },
                deleted: random.once_in(3),
            }),
            3 => changes.assignments.push(Assignment {
                tenant: tenant(random),
                subject: random.pick(&IDS).into(),
                role: random.pick(&NAMES).into(),
                deleted: random.once_in(2),
            }),
            4 => changes.revocations.push(Revocation {
                kind: random.pick(&KINDS),
                tenant: if random.once_in(4) { Some("*".into()) } else { tenant(random) },
                value: random.pick(&IDS).into(),
                until: random.pick(&[None, Some(5), Some(10)]),
            }),
            _ => changes.enrolments.push(Enrolment {
                holder: Holder { realm: random.pick(&["keys", "profile"]).into(), tenant: tenant(random), subject: random.pick(&IDS).into() },
                enabled_at: random.pick(&[None, Some(1), Some(2)]),
            }),
        }
    }
    changes
}

fn agrees(book: &Book, model: &Model) {
    for id in IDS {
        for number in 0..3 {
            let digest = secret(id, number);
            let has = |key: &&Key| key.digest == digest || key.previous.is_some_and(|(previous, _)| previous == digest);
            let known = model.keys.iter().find(has);
            let found = book.by_digest(&digest);
            assert_eq!(found.map(|key| (&*key.id, key.enabled)), known.map(|key| (&*key.id, key.enabled)));
        }
        let known = model.profiles.iter().find(|profile| !profile.deleted && *profile.id == *id);
        assert_eq!(book.profile(id).map(|profile| &profile.email), known.map(|profile| &profile.email));
        for tenant in TENANTS {
            let mut names: Vec<&str> = book.assigned(tenant, id).iter().flat_map(|names| names.iter()).map(|name| &**name).collect();
            names.sort_unstable();
            assert_eq!(names, model.assigned(tenant, id));
            for (kind, now) in KINDS.into_iter().flat_map(|kind| [0, 5, 10].map(|now| (kind, now))) {
                assert_eq!(book.is_revoked(kind, tenant, id, now), model.is_revoked(kind, tenant, id, now), "{kind:?} {tenant:?} {id} {now}");
            }
            for realm in ["keys", "profile"] {
                let of = |known: &&Enrolment| (&*known.holder.realm, known.holder.tenant.as_deref(), &*known.holder.subject) == (realm, tenant, id);
                assert_eq!(book.enrolled(realm, tenant, id), model.enrolments.iter().find(of).and_then(|known| known.enabled_at));
            }
        }
    }
    for tenant in TENANTS {
        for email in EMAILS {
            let of = |known: &&Profile| !known.deleted && known.tenant.as_deref() == tenant && *known.email == *email;
            assert_eq!(book.profile_of(tenant, email).map(|profile| &profile.id), model.profiles.iter().find(of).map(|profile| &profile.id));
        }
        for name in NAMES {
            let of = |known: &&Role| !known.deleted && known.tenant.as_deref() == tenant && *known.name == *name;
            let known = model.roles.iter().find(of).map(|role| &role.definition.scopes);
            assert_eq!(book.roles().get(tenant, name).map(|definition| &definition.scopes), known);
        }
    }
    assert_eq!(book.keys(), model.keys.len());
}

#[test]
fn a_book_knows_what_a_list_of_all_changes_says() {
    check(2_000, |random| {
        let (mut book, mut model, mut all) = (Book::default(), Model::default(), Vec::new());
        for version in 1..=12 {
            let before = book.clone();
            let changes = changes(random, &model, version);
            let mut old = Model::default();
            all.iter().for_each(|changes| old.apply(changes));
            book = book.with(changes.clone());
            model.apply(&changes);
            all.push(changes);
            agrees(&book, &model);
            // Whoever still has the book from before has it as it was.
            agrees(&before, &old);
        }
        assert_eq!(book.version(), 12);
    });
}
