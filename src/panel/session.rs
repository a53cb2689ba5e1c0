//! Who has signed in to the panel: a random id in a cookie into the credential that was shown for it.
//! Keeps no credential longer than it is used, shows none, and believes none: each request has it judged anew.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::credential::Place;
use crate::credential::digest::sha256;

/// Sessions at a time; the one that was idle longest makes room.
const MOST: usize = 64;
const IDLE: Duration = Duration::from_secs(30 * 60);
pub const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// Forms that a session remembers to have been sent.
const FORMS: usize = 256;

/// A credential, and where a request carries it.
pub struct Credential {
    place: Place,
    token: Zeroizing<String>,
}

impl Credential {
    pub fn new(place: Place, token: Zeroizing<String>) -> Self {
        Self { place, token }
    }

    /// The header of a request that shows it; none for a place that is no header, or a token that fits in none.
    pub fn headers(&self) -> HeaderMap {
        let (name, text) = match &self.place {
            Place::Bearer => (header::AUTHORIZATION, Zeroizing::new(format!("Bearer {}", *self.token))),
            Place::Header(name) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => (name, self.token.clone()),
                Err(_) => return HeaderMap::new(),
            },
            Place::Cookie(name) => (header::COOKIE, Zeroizing::new(format!("{name}={}", *self.token))),
            Place::Query(_) | Place::Certificate => return HeaderMap::new(),
        };
        let value = HeaderValue::from_str(&text).map(|mut value| {
            value.set_sensitive(true);
            (name, value)
        });
        value.into_iter().collect()
    }
}

/// What a cookie stands for. The id itself is kept nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 32]);

impl SessionId {
    pub fn of(cookie: &str) -> Self {
        Self(sha256(cookie.as_bytes()))
    }
}

struct Session {
    credential: Arc<Credential>,
    began: Instant,
    seen: Instant,
    sent: VecDeque<Box<str>>,
}

impl Session {
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) < IDLE && now.saturating_duration_since(self.began) < LIFETIME
    }
}

#[derive(Default)]
pub struct Sessions(Mutex<HashMap<SessionId, Session>>);

impl Sessions {
    /// Begins one; gives the cookie's value. `None` where the system gives no randomness.
    pub fn begin(&self, credential: Credential, now: Instant) -> Option<String> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).ok()?;
        let cookie = URL_SAFE_NO_PAD.encode(random);
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.counts(now));
        while sessions.len() >= MOST {
            let idlest = sessions.iter().min_by_key(|(_, session)| session.seen).map(|(id, _)| *id)?;
            sessions.remove(&idlest);
        }
        let session = Session { credential: Arc::new(credential), began: now, seen: now, sent: VecDeque::new() };
        sessions.insert(SessionId::of(&cookie), session);
        Some(cookie)
    }

    /// Its credential, while it counts. `active`: whether a person asks, and not the page by itself.
    pub fn find(&self, id: SessionId, active: bool, now: Instant) -> Option<Arc<Credential>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.counts(now));
        let session = sessions.get_mut(&id)?;
        if active {
            session.seen = now;
        }
        Some(Arc::clone(&session.credential))
    }

    pub fn end(&self, id: SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Whether a form of this session is sent for the first time.
    pub fn is_first(&self, id: SessionId, form: &str) -> bool {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = sessions.get_mut(&id) else { return false };
        if session.sent.iter().any(|sent| **sent == *form) {
            return false;
        }
        if session.sent.len() >= FORMS {
            session.sent.pop_front();
        }
        session.sent.push_back(form.into());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Credential {
        Credential::new(Place::Bearer, Zeroizing::new("token-of-somebody".into()))
    }

    #[test]
    fn a_session_ends_when_nobody_asks_and_in_any_case_after_twelve_hours() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let minute = Duration::from_secs(60);
        let id = SessionId::of(&sessions.begin(credential(), start).unwrap());
        assert!(sessions.find(id, true, start + 29 * minute).is_some());
        assert!(sessions.find(id, false, start + 58 * minute).is_some());
        assert!(sessions.find(id, true, start + 59 * minute).is_none(), "a page that asks by itself keeps nobody signed in");
        let id = SessionId::of(&sessions.begin(credential(), start).unwrap());
        for round in 1..36 {
            assert!(sessions.find(id, true, start + 20 * minute * round).is_some());
        }
        assert!(sessions.find(id, true, start + 12 * 60 * minute).is_none());
    }

    #[test]
    fn there_are_never_more_than_so_many_and_the_idlest_goes() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let begin = |second| SessionId::of(&sessions.begin(credential(), start + Duration::from_secs(second)).unwrap());
        let ids: Vec<_> = (0..64).map(begin).collect();
        let now = start + Duration::from_secs(100);
        assert!(sessions.find(ids[0], true, now).is_some());
        let new = begin(101);
        let left: Vec<bool> = [ids[0], ids[1], ids[2], new].into_iter().map(|id| sessions.find(id, false, now).is_some()).collect();
        assert_eq!(left, [true, false, true, true]);
        assert_eq!(sessions.0.lock().unwrap().len(), 64);
    }

    #[test]
    fn a_form_is_taken_once() {
        let sessions = Sessions::default();
        let id = SessionId::of(&sessions.begin(credential(), Instant::now()).unwrap());
        assert!(sessions.is_first(id, "one"));
        assert!(!sessions.is_first(id, "one"));
        assert!(sessions.is_first(id, "two"));
        sessions.end(id);
        assert!(!sessions.is_first(id, "three"), "nobody is signed in");
    }

    #[test]
    fn a_credential_is_shown_where_its_source_reads_it_and_never_printed() {
        let at = |place| Credential::new(place, Zeroizing::new("abc".into())).headers();
        assert_eq!(at(Place::Bearer)["authorization"], "Bearer abc");
        assert_eq!(at(Place::Header("x-api-key".into()))["x-api-key"], "abc");
        assert_eq!(at(Place::Cookie("session".into()))["cookie"], "session=abc");
        assert!(at(Place::Query("token".into())).is_empty());
        assert!(!format!("{:?}", at(Place::Bearer)).contains("abc"));
    }
}
