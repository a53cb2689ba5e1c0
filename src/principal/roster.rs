//! The tokens of one file, found by keyed tag: one look-up, whatever their number, order or likeness.
//! Keeps no token; a credential out of its window is named to the operator and refused.

use std::collections::HashMap;
use std::fmt;

use hashbrown::HashTable;
use subtle::ConstantTimeEq;

use super::Cause;
use super::roles::RoleSetId;
use crate::credential::digest::{Tag, TagKey, sha256};
use crate::scope::{ScopeSet, ScopeSets, SetId};

/// Who a token belongs to.
#[derive(Debug)]
pub struct Entry {
    pub id: Box<str>,
    pub scopes: SetId,
    pub roles: RoleSetId,
    tenant: u32,
    /// Good, and not for the service behind this gate.
    pub restricted: bool,
}

/// When a secret counts. Seconds since 1970; the last second of a window is already outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub not_before: Option<i64>,
    pub expires_at: Option<i64>,
    pub disabled: bool,
}

/// A secret as the operator wrote it.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    Clear(&'a str),
    Sha256(&'a [u8; 32]),
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// One secret of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub tag: Tag,
    pub entry: u32,
    /// One past the index in `windows`; 0 is a secret that always counts.
    window: u32,
}

/// An owner, and the second from which the secret counts no more.
type Found<'r> = (&'r Entry, Option<i64>);

/// Every entry of a source.
#[derive(Debug)]
pub struct Roster {
    key: TagKey,
    slots: HashTable<Slot>,
    entries: Vec<Entry>,
    windows: Vec<Window>,
    tenants: Vec<Box<str>>,
    tenant_numbers: HashMap<Box<str>, u32>,
    sets: ScopeSets,
    /// Whether some secret is known by its SHA-256 only.
    hashed: bool,
}

impl Roster {
    pub fn new(key: TagKey, sets: ScopeSets, expected: usize) -> Self {
        Self {
            key,
            slots: HashTable::with_capacity(expected),
            entries: Vec::with_capacity(expected),
            windows: Vec::new(),
            tenants: Vec::new(),
            tenant_numbers: HashMap::new(),
            sets,
            hashed: false,
        }
    }

    pub fn sets(&mut self) -> &mut ScopeSets {
        &mut self.sets
    }

    /// The index of a new principal, to which secrets are then added.
    pub fn add(&mut self, id: &str, scopes: SetId, roles: RoleSetId, tenant: Option<&str>) -> u32 {
        let tenant = tenant.map_or(0, |name| self.tenant_number(name));
        self.entries.push(Entry { id: id.into(), scopes, roles, tenant, restricted: false });
        u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
    }

    /// From now on the principal is known and refused.
    pub fn restrict(&mut self, entry: u32) {
        if let Some(entry) = self.entries.get_mut(entry as usize) {
            entry.restricted = true;
        }
    }

    /// `Err` with the entry that has the same secret already.
    pub fn add_secret(&mut self, entry: u32, secret: Secret<'_>, window: Window) -> Result<(), &Entry> {
        let tag = match secret {
            Secret::Clear(token) => self.key.of_token(token),
            Secret::Sha256(digest) => {
                self.hashed = true;
                self.key.of_sha256(digest)
            }
        };
        let window = if window == Window::default() {
            0
        } else {
            self.windows.push(window);
            u32::try_from(self.windows.len()).unwrap_or(u32::MAX)
        };
        let same = |slot: &Slot| bool::from(slot.tag.ct_eq(&tag));
        if let Some(known) = self.slots.find(tag.bucket(), same).map(|slot| slot.entry) {
            return self.entries.get(known as usize).map_or(Ok(()), Err);
        }
        self.slots.insert_unique(tag.bucket(), Slot { tag, entry, window }, |slot| slot.tag.bucket());
        Ok(())
    }

    /// Whether some secret is known by its SHA-256 only.
    pub fn has_hashed(&self) -> bool {
        self.hashed
    }

    /// Whether a secret is already known in the other of its two forms.
    pub fn knows_sha256(&self, token: &str) -> bool {
        self.hashed && self.secret(self.key.of_sha256(&sha256(token))).is_some()
    }

    /// `tag` is that of `token` under the roster's key.
    pub fn find(&self, token: &str, tag: Tag, now: i64) -> Result<Found<'_>, (Cause, Option<&Entry>)> {
        let slot = self
            .secret(tag)
            .or_else(|| if self.hashed { self.secret(self.key.of_sha256(&sha256(token))) } else { None })
            .ok_or((Cause::Unknown, None))?;
        let entry = self.entries.get(slot.entry as usize).ok_or((Cause::Unknown, None))?;
        if slot.window == 0 {
            return Ok((entry, None));
        }
        match self.windows.get(slot.window as usize - 1) {
            None => Err((Cause::Unknown, None)),
            Some(window) if window.disabled => Err((Cause::Disabled, Some(entry))),
            Some(window) if window.not_before.is_some_and(|start| now < start) => Err((Cause::NotYetValid, Some(entry))),
            Some(window) if window.expires_at.is_some_and(|end| now >= end) => Err((Cause::Expired, Some(entry))),
            Some(window) => Ok((entry, window.expires_at)),
        }
    }

    pub(super) fn secret(&self, tag: Tag) -> Option<&Slot> {
        self.slots.find(tag.bucket(), |slot| bool::from(slot.tag.ct_eq(&tag)))
    }

    /// A scan: for an operator's question, never for a request.
    pub fn by_id(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| &*entry.id == id)
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// When a secret of this roster counts.
    pub(super) fn window(&self, secret: &Slot) -> Window {
        let said = (secret.window as usize).checked_sub(1).and_then(|index| self.windows.get(index));
        said.copied().unwrap_or_default()
    }

    pub(super) fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn scopes(&self, entry: &Entry) -> Option<&ScopeSet> {
        self.sets.get(entry.scopes)
    }

    pub fn tenant(&self, entry: &Entry) -> Option<&str> {
        self.tenants.get((entry.tenant as usize).checked_sub(1)?).map(|name| &**name)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn tenant_number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.tenant_numbers.get(name) {
            return *number;
        }
        self.tenants.push(name.into());
        let number = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
        self.tenant_numbers.insert(name.into(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::roles::Roles;
    use crate::scope::{Scope, Universe};
    use std::collections::BTreeMap;

    fn roster(secrets: &[(&str, Window)]) -> Roster {
        let mut roles = Roles::new(&BTreeMap::new(), None).unwrap();
        let mut roster = Roster::new(TagKey::new([7; 32]), ScopeSets::new(Universe::default()), 4);
        for (index, (token, window)) in secrets.iter().enumerate() {
            let set = roster.sets().intern(vec![Scope::parse("a:b").unwrap()]);
            let entry = roster.add(&format!("id-{index}"), set, roles.assign(vec![]).0, None);
            roster.add_secret(entry, Secret::Clear(token), *window).unwrap();
        }
        roster
    }

    fn found<'r>(roster: &'r Roster, token: &str, now: i64) -> Result<&'r Entry, (Cause, Option<&'r Entry>)> {
        roster.find(token, roster.key.of_token(token), now).map(|(entry, _)| entry)
    }

    #[test]
    fn only_the_whole_token_is_found() {
        let roster = roster(&[("token-of-the-first", Window::default()), ("token-of-the-second", Window::default())]);
        assert_eq!(&*found(&roster, "token-of-the-second", 0).unwrap().id, "id-1");
        for wrong in ["", "t", "token-of-the-firs", "token-of-the-first ", "TOKEN-OF-THE-FIRST", "token-of-the-firsttoken-of-the-second"] {
            assert_eq!(found(&roster, wrong, 0).err().map(|(cause, _)| cause), Some(Cause::Unknown), "{wrong:?}");
        }
    }

    #[test]
    fn a_digest_stands_for_its_token() {
        let mut roster = roster(&[("token-of-the-first", Window::default())]);
        let entry = roster.add("hashed", SetId::clone(&roster.entries[0].scopes), roster.entries[0].roles, Some("t1"));
        roster.add_secret(entry, Secret::Sha256(&sha256("token-of-the-hashed")), Window::default()).unwrap();
        let entry = found(&roster, "token-of-the-hashed", 0).unwrap();
        assert_eq!((&*entry.id, roster.tenant(entry)), ("hashed", Some("t1")));
        assert!(roster.knows_sha256("token-of-the-hashed"));
        assert!(found(&roster, "hashed", 0).is_err());
    }

    #[test]
    fn expired_token_is_refused_at_its_last_second() {
        let window = Window { not_before: Some(100), expires_at: Some(200), disabled: false };
        let roster = roster(&[("token", window), ("off", Window { disabled: true, ..Window::default() })]);
        let cause = |token, now| found(&roster, token, now).err().map(|(cause, _)| cause);
        assert_eq!(cause("token", 99), Some(Cause::NotYetValid));
        assert_eq!(cause("token", 100), None);
        assert_eq!(cause("token", 199), None);
        assert_eq!(cause("token", 200), Some(Cause::Expired));
        assert_eq!(cause("off", 150), Some(Cause::Disabled));
    }

    #[test]
    fn the_same_secret_twice_names_its_first_owner() {
        let mut roster = roster(&[("token", Window::default())]);
        let entry = roster.add("second", SetId::clone(&roster.entries[0].scopes), roster.entries[0].roles, None);
        assert_eq!(roster.add_secret(entry, Secret::Clear("token"), Window::default()).err().map(|owner| &*owner.id), Some("id-0"));
    }
}
