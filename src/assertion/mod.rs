//! A caller into a short-lived signed statement of who it is (RFC 7519), for services that believe a key rather than a network.
//! Vouches for nobody who was not proved, and for nobody beyond the end of the credential.

mod key;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use crate::principal::Caller;
pub use key::SigningKey;

/// How many are remembered, in parts with a lock each.
const PARTS: usize = 16;
const EACH: usize = 256;

/// What is signed, and with what. Belongs to a snapshot, so that what it remembers ends with a reload.
pub struct Assertion {
    said: Said,
    key: SigningKey,
    hasher: RandomState,
    /// By all that the claims depend on but the time.
    memory: [Mutex<HashMap<Box<str>, Remembered>>; PARTS],
    /// Public halves that were in use before a reload, and until when a token under them may count.
    former: Vec<(Value, i64)>,
}

/// What the operator says of it.
#[derive(Clone, Debug)]
pub struct Said {
    pub header: Box<str>,
    pub issuer: Box<str>,
    pub audience: Option<Box<str>>,
    /// In seconds.
    pub ttl: i64,
}

struct Remembered {
    made: i64,
    /// From then on another is made.
    stale: i64,
    token: Arc<str>,
}

impl Assertion {
    pub fn new(said: Said, key: SigningKey) -> Self {
        Self { said, key, hasher: RandomState::new(), memory: Default::default(), former: Vec::new() }
    }

    /// With what a former one still has to publish.
    pub fn after(mut self, former: Option<&Self>, now: i64) -> Self {
        let Some(former) = former else { return self };
        let ended = (former.key.jwk().clone(), now.saturating_add(former.said.ttl));
        let all = std::iter::once(ended).chain(former.former.iter().cloned());
        self.former = all.filter(|(jwk, until)| jwk["kid"] != self.key.jwk()["kid"] && *until > now).collect();
        self
    }

    pub fn header(&self) -> &str {
        &self.said.header
    }

    pub fn ttl(&self) -> i64 {
        self.said.ttl
    }

    /// Every public key under which a token may count (RFC 7517 §5).
    pub fn jwks(&self, now: i64) -> Value {
        let former = self.former.iter().filter(|(_, until)| *until > now).map(|(jwk, _)| jwk);
        json!({"keys": std::iter::once(self.key.jwk()).chain(former).collect::<Vec<_>>()})
    }

    /// The statement of this caller. Made anew once half of its time is over; `None` where the credential has ended.
    pub fn token(&self, caller: &Caller<'_>, now: i64) -> Option<Arc<str>> {
        let who = self.who(caller);
        let until = caller.until();
        let known = until.map_or_else(|| who.clone(), |until| format!("{who}{until}"));
        let index = usize::try_from(self.hasher.hash_one(&known) % PARTS as u64).unwrap_or_default();
        let part = self.memory.get(index)?;
        let is_fresh = |remembered: &&Remembered| (remembered.made..remembered.stale).contains(&now);
        if let Some(remembered) = part.lock().unwrap_or_else(PoisonError::into_inner).get(&*known).filter(is_fresh) {
            return Some(Arc::clone(&remembered.token));
        }
        let expires = now.saturating_add(self.said.ttl).min(until.unwrap_or(i64::MAX));
        let claims = format!("{}\"iat\":{now},\"exp\":{expires}}}", who.strip_suffix('}').map(|open| format!("{open},"))?);
        let token: Arc<str> = (expires > now).then(|| self.key.sign(&claims))??.into();
        let stale = now.saturating_add(self.said.ttl / 2).min(expires);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= EACH {
            part.retain(|_, remembered| remembered.stale > now);
        }
        if part.len() >= EACH {
            part.clear();
        }
        part.insert(known.into(), Remembered { made: now, stale, token: Arc::clone(&token) });
        Some(token)
    }

    /// All claims but the time, as an object.
    fn who(&self, caller: &Caller<'_>) -> String {
        let mut claims = Map::new();
        let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        say("iss", (*self.said.issuer).into());
        say("sub", caller.id().into());
        if let Some(audience) = &self.said.audience {
            say("aud", (**audience).into());
        }
        // RFC 8693 §4.2.
        say("scope", caller.scopes().joined().into());
        if let Some(tenant) = caller.tenant() {
            say("tenant", tenant.into());
        }
        say("roles", caller.roles().joined().split(' ').filter(|role| !role.is_empty()).collect());
        say("credential", caller.credential.into());
        Value::Object(claims).to_string()
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Assertion").field("said", &self.said).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;
    use crate::principal::roles::RoleSet;
    use crate::principal::{Listed, SourceId, Who};
    use crate::scope::ScopeSet;

    const START: i64 = 1_700_000_000;

    fn assertion() -> Assertion {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = SigningKey::read(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_ref()))).unwrap();
        Assertion::new(Said { header: "x".into(), issuer: "scopegate".into(), audience: None, ttl: 60 }, key)
    }

    fn token(assertion: &Assertion, id: &str, until: Option<i64>, now: i64) -> Option<Arc<str>> {
        let (scopes, roles) = (ScopeSet::default(), RoleSet::default());
        let who = Who::Listed(Listed { id, scopes: &scopes, roles: &roles, tenant: None, restricted: false, until });
        assertion.token(&Caller { source: SourceId(0), credential: "tokens", place: None, who, factor: None }, now)
    }

    #[test]
    fn half_its_time_a_token_is_shown_again_and_then_another_is_made() {
        let assertion = assertion();
        let first = token(&assertion, "a", None, START).unwrap();
        assert_eq!(token(&assertion, "a", None, START + 29), Some(Arc::clone(&first)));
        assert_ne!(token(&assertion, "b", None, START + 29), Some(Arc::clone(&first)));
        let second = token(&assertion, "a", None, START + 30).unwrap();
        assert_ne!(second, first);
        // A clock that was set back: the one in hand would count for too long.
        assert_ne!(token(&assertion, "a", None, START), Some(second));
    }

    #[test]
    fn a_token_ends_with_its_credential() {
        let assertion = assertion();
        let first = token(&assertion, "a", Some(START + 10), START).unwrap();
        assert_ne!(token(&assertion, "a", None, START), Some(Arc::clone(&first)), "another end, another token");
        assert_eq!(token(&assertion, "a", Some(START + 10), START + 9), Some(first));
        assert_eq!(token(&assertion, "a", Some(START + 10), START + 10), None);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let assertion = assertion();
        for number in 0..PARTS * EACH + 1000 {
            token(&assertion, &number.to_string(), None, START).unwrap();
        }
        assert!(assertion.memory.iter().all(|part| part.lock().unwrap().len() <= EACH));
    }

    #[test]
    fn a_former_key_is_published_for_as_long_as_it_counts() {
        let kids = |assertion: &Assertion, now| assertion.jwks(now)["keys"].as_array().unwrap().len();
        let first = assertion();
        let second = assertion().after(Some(&first), START);
        assert_eq!((kids(&second, START + 59), kids(&second, START + 60)), (2, 1));
        let third = assertion().after(Some(&second), START + 30);
        assert_eq!([START + 59, START + 60, START + 90].map(|now| kids(&third, now)), [3, 2, 1]);
        assert_eq!(kids(&first.after(Some(&third), START + 59), START + 59), 3, "its own once");
    }

    #[test]
    fn a_key_has_no_printable_form() {
        assert!(!format!("{:?}", assertion()).contains("pair"));
    }
}
