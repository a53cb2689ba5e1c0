//! What the store's book makes of decisions, as the engine gives them: no door, no store, and the clock is an argument.

mod factor;
mod hot;
mod keys;
mod people;

use std::sync::{Arc, Mutex};

use scopegate::config::{Input, load};
use scopegate::credential::digest::TagKey;
use scopegate::credential::key_format;
use scopegate::identity::Identity;
use scopegate::jose::{Algorithm, HmacKey, Jwk, Key as VerifyingKey, KeySet, sign_hs256};
use scopegate::keys::Registry;
use scopegate::policy::judge::Question;
use scopegate::policy::{Outcome, Policy};
use scopegate::principal::book::Book;
use scopegate::principal::pepper::Peppers;
use scopegate::principal::record::{Changes, Key, KeyDigest, Profile};
use scopegate::principal::{Backing, Shelf, Shelved, Sources};
use scopegate::request::{Body, Link, RawRequest};
use scopegate::scope::Scope;
use serde_json::{Value, json};

pub const NOW: i64 = 1_800_000_000;
pub const SECRET: &str = "a-secret-of-the-tests-of-the-book-0123456789";
pub const FACTOR: &[u8] = b"what tokens of a second factor are signed under";

/// A shelf whose book a test changes.
#[derive(Debug)]
pub struct Swap(Mutex<Shelved>);

impl Shelf for Swap {
    fn book(&self) -> Shelved {
        self.0.lock().unwrap().clone()
    }
}

/// The engine of one configuration, and its shelf.
pub struct Engine {
    policy: Policy,
    pub sources: Sources,
    identity: Identity,
    shelf: Arc<Swap>,
}

/// An answer, all that a caller sees of it and what an operator does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub status: u16,
    /// Reason, body, challenge and further headers.
    pub bytes: String,
    pub cause: Option<&'static str>,
    /// `id by credential`.
    pub who: Option<String>,
    pub scopes: String,
    pub tenant: Option<String>,
    pub roles: String,
    /// What the upstream is told under `forward.headers`.
    pub told: Vec<(String, String)>,
}

pub type Lines<'a> = &'a [(&'a str, &'a str)];

pub fn peppers() -> Peppers {
    Peppers::new([("new", b"the pepper of today".as_slice()), ("old", b"the pepper of yesterday".as_slice())]).unwrap()
}

impl Engine {
    pub fn new(config: &str) -> Self {
        let input = Input::Text { name: "book.yaml", text: config.replace("SECRET", SECRET) };
        let loaded = load(&input, &|_| None, &TagKey::new([7; 32]), &Registry::offline()).unwrap_or_else(|faults| panic!("{faults}"));
        let shelf = Arc::new(Swap(Mutex::new(Shelved::Empty)));
        let mut sources = loaded.sources;
        let factors = KeySet::of(vec![Jwk { kid: None, alg: Some(Algorithm::Hs256), key: VerifyingKey::hmac(FACTOR) }]);
        let backing = Backing { shelf: Arc::clone(&shelf) as Arc<dyn Shelf>, peppers: Arc::new(peppers()), factors: Arc::new(factors) };
        sources.back(backing);
        Self { policy: loaded.policy, sources, identity: loaded.identity, shelf }
    }

    pub fn put(&self, shelved: Shelved) {
        *self.shelf.0.lock().unwrap() = shelved;
    }

    /// The book after these changes too.
    pub fn change(&self, changes: Changes) {
        let book = match self.shelf.book() {
            Shelved::Fresh(book) | Shelved::InDoubt(book) => book.with(changes),
            Shelved::Stale | Shelved::Empty => Book::default().with(changes),
        };
        self.put(Shelved::Fresh(Arc::new(book)));
    }

    pub fn book(&self) -> Arc<Book> {
        match self.shelf.book() {
            Shelved::Fresh(book) | Shelved::InDoubt(book) => book,
            Shelved::Stale | Shelved::Empty => panic!("no book"),
        }
    }

    pub fn ask(&self, target: &str, lines: Lines<'_>) -> Said {
        self.ask_at(target, lines, NOW)
    }

    pub fn ask_at(&self, target: &str, lines: Lines<'_>, now: i64) -> Said {
        let headers: Vec<(&str, &[u8])> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let headers = headers.as_slice();
        let raw = RawRequest { method: b"GET", target: target.as_bytes(), host: None, headers: &headers, link: Link::default() };
        let question = Question { body: Body::Unread, extra_scopes: "", now, settled: &[] };
        let decision = self.policy.decide(&self.sources, &raw, question);
        let caller = decision.caller.as_ref();
        let mut said = Said {
            status: 200,
            bytes: String::new(),
            cause: decision.refused.as_ref().map(|(cause, _)| cause.as_str()),
            who: caller.map(|caller| format!("{} by {}", caller.id(), caller.credential)),
            scopes: caller.map(|caller| caller.scopes().joined().to_owned()).unwrap_or_default(),
            tenant: caller.and_then(|caller| caller.tenant().map(str::to_owned)),
            roles: caller.map(|caller| caller.roles().joined().to_owned()).unwrap_or_default(),
            told: Vec::new(),
        };
        match &decision.outcome {
            Outcome::Allow(_) => {
                let told = self.identity.headers(caller).filter(|(name, _)| !name.starts_with("x-scopegate-"));
                said.told = told.filter_map(|(name, value)| Some((name.to_owned(), value?.into_owned()))).collect();
            }
            Outcome::Deny(denial) => {
                let answer = denial.answer();
                said.status = answer.status;
                said.bytes = format!("{} {} {:?} {:?}", answer.reason, answer.body, answer.challenge, answer.extra);
            }
            Outcome::Inspect { .. } | Outcome::Preflight(_) | Outcome::Wait(_) => panic!("{:?}", decision.outcome),
        }
        said
    }
}

/// A key of the gate's own form.
pub fn text(id: &str, secret: char) -> String {
    key_format::form("live", id, &secret.to_string().repeat(key_format::SECRET)).unwrap().to_string()
}

/// Under the pepper of today.
pub fn digest(key: &str) -> KeyDigest {
    peppers().newest(key).1
}

pub fn scopes(list: &[&str]) -> Arc<[Scope]> {
    list.iter().map(|text| Scope::parse(text).unwrap()).collect()
}

pub fn names(list: &[&str]) -> Arc<[Box<str>]> {
    list.iter().map(|name| Box::from(*name)).collect()
}

/// A good key that may use the app.
pub fn key(id: &str, presented: &str) -> Key {
    Key { scopes: scopes(&["app:use"]), ..Key::new(id, digest(presented)) }
}

pub fn profile(id: &str, tenant: Option<&str>, email: &str) -> Profile {
    Profile {
        id: id.into(),
        tenant: tenant.map(Arc::from),
        email: email.into(),
        enabled: true,
        scopes: scopes(&[]),
        roles: names(&[]),
        deleted: false,
    }
}

pub fn keys(keys: Vec<Key>) -> Changes {
    Changes { keys, ..Changes::default() }
}

pub fn profiles(profiles: Vec<Profile>) -> Changes {
    Changes { profiles, ..Changes::default() }
}

/// A session token; what `more` says goes over the usual claims.
pub fn session(more: Value) -> String {
    let mut claims = json!({"sub": "user-1", "scope": "app:use", "email": "one@example.test", "iat": NOW - 10, "exp": NOW + 3600});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    format!("Bearer {}", sign_hs256(&HmacKey::new(SECRET.as_bytes()), &json!({"alg": "HS256"}), &claims))
}
