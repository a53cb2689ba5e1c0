//! An opaque token into what its issuer says of it (RFC 7662), remembered for a short while.
//! Doubt is no answer: whatever is not a plain yes or no in time leaves the caller without one.

use std::collections::VecDeque;
use std::fmt;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashTable;
use http::{HeaderValue, Uri};
use serde_json::Value;
use subtle::ConstantTimeEq;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::credential::digest::{Tag, TagKey};
use crate::fetch::Client;
use crate::fetch::address::shown;
use crate::gate::unix_now;
use crate::jose::Claims;
use crate::keys::Registry;

/// Answers that are remembered.
const REMEMBERED: usize = 10_000;
/// Calls at a time; beyond them nobody is asked.
const CALLS: usize = 64;

/// What the issuer says.
#[derive(Clone)]
pub enum Answer {
    /// Unknown, expired, revoked, or none of ours: the issuer does not say which.
    Inactive,
    /// The claims are for the rules of every token to check: `iss`, `aud`, `exp`.
    Active(Arc<Claims>),
}

/// There is no answer, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable;

/// Whom to ask, as whom, and for how long an answer counts.
pub struct Settings {
    pub url: Uri,
    pub client_id: String,
    pub client_secret: String,
    pub cache: Duration,
    pub timeout: Duration,
}

/// Asks one issuer.
pub struct Introspector {
    url: Uri,
    authorization: HeaderValue,
    cache: Duration,
    timeout: Duration,
    key: TagKey,
    /// `None`: nobody is ever asked.
    client: Option<(Client, Handle)>,
    memory: Mutex<Memory>,
    failing: AtomicBool,
}

type Outcome = Result<Answer, Unreachable>;

#[derive(Default)]
struct Memory {
    known: HashTable<Known>,
    /// In the order of arrival, which is nearly that of their ends.
    order: VecDeque<(Tag, u64)>,
    arrivals: u64,
    flights: Vec<Flight>,
}

struct Known {
    tag: Tag,
    arrival: u64,
    until: Instant,
    answer: Answer,
}

struct Flight {
    tag: Tag,
    landed: watch::Receiver<Option<Outcome>>,
}

impl Introspector {
    pub fn new(settings: &Settings, key: TagKey, registry: &Registry) -> Self {
        let Settings { cache, timeout, .. } = *settings;
        Self {
            url: settings.url.clone(),
            authorization: basic(&settings.client_id, &settings.client_secret),
            cache,
            timeout,
            key,
            client: registry.client(),
            memory: Mutex::default(),
            failing: AtomicBool::new(false),
        }
    }

    /// Waits no longer than the configured time; the question stays asked, and who comes again finds the answer.
    pub async fn ask(self: &Arc<Self>, token: &str) -> Result<Answer, Unreachable> {
        let mut landed = match self.look(token)? {
            Seen::Known(answer) => return Ok(answer),
            Seen::Asked(landed) => landed,
        };
        let outcome = tokio::time::timeout(self.timeout, landed.wait_for(Option::is_some)).await;
        match outcome {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(Unreachable)),
            Ok(Err(_)) | Err(_) => Err(Unreachable),
        }
    }

    /// What is known already, or the one question about this token.
    fn look(self: &Arc<Self>, token: &str) -> Result<Seen, Unreachable> {
        let tag = self.key.of_token(token);
        let mut memory = self.memory();
        if let Some(answer) = memory.find(tag, Instant::now()) {
            return Ok(Seen::Known(answer));
        }
        // One whose task was dropped will never land.
        memory.flights.retain(|flight| flight.landed.has_changed().is_ok());
        if let Some(flight) = memory.flights.iter().find(|flight| same(flight.tag, tag)) {
            return Ok(Seen::Asked(flight.landed.clone()));
        }
        let (client, handle) = self.client.clone().ok_or(Unreachable)?;
        if memory.flights.len() >= CALLS {
            return Err(Unreachable);
        }
        let (lands, landed) = watch::channel(None);
        memory.flights.push(Flight { tag, landed: landed.clone() });
        let (asker, form) = (Arc::clone(self), format!("token={}", encoded(token)));
        handle.spawn(async move {
            let outcome = asker.call(&client, form).await;
            asker.landed(tag, &outcome);
            lands.send_replace(Some(outcome));
        });
        Ok(Seen::Asked(landed))
    }

    async fn call(&self, client: &Client, form: String) -> Outcome {
        let answer = match client.post_form(&self.url, &self.authorization, form.into()).await {
            Ok(document) => answer(&document.body).map_err(str::to_owned),
            Err(fault) => Err(fault.to_string()),
        };
        let failing = self.failing.swap(answer.is_err(), Ordering::Relaxed);
        match &answer {
            Err(fault) if !failing => tracing::warn!("{} gives no answer: {fault}", shown(&self.url)),
            Err(fault) => tracing::debug!("{} gives no answer: {fault}", shown(&self.url)),
            Ok(_) if failing => tracing::info!("{} answers again", shown(&self.url)),
            Ok(_) => {}
        }
        answer.map_err(|_| Unreachable)
    }

    fn landed(&self, tag: Tag, outcome: &Outcome) {
        let mut memory = self.memory();
        memory.flights.retain(|flight| !same(flight.tag, tag));
        if let Ok(answer) = outcome {
            let lasts = self.lasts(answer);
            memory.keep(tag, answer.clone(), Instant::now(), lasts);
        }
    }

    /// No longer than the token itself.
    fn lasts(&self, answer: &Answer) -> Duration {
        let Answer::Active(claims) = answer else { return self.cache };
        match claims.date("exp") {
            Ok(None) => self.cache,
            Ok(Some(end)) => u64::try_from(end.saturating_sub(unix_now())).map_or(Duration::ZERO, Duration::from_secs).min(self.cache),
            Err(_) => Duration::ZERO,
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Seen {
    Known(Answer),
    Asked(watch::Receiver<Option<Outcome>>),
}

impl Memory {
    fn find(&self, tag: Tag, now: Instant) -> Option<Answer> {
        self.known.find(tag.bucket(), |known| same(known.tag, tag)).filter(|known| now < known.until).map(|known| known.answer.clone())
    }

    fn keep(&mut self, tag: Tag, answer: Answer, now: Instant, lasts: Duration) {
        if lasts.is_zero() {
            return;
        }
        while let Some((oldest, arrival)) = self.order.front().copied() {
            let slot = self.known.find_entry(oldest.bucket(), |known| known.arrival == arrival && same(known.tag, oldest));
            // A newer answer about the same token has a place of its own in the order.
            let is_over = slot.as_ref().map_or(true, |slot| slot.get().until <= now);
            if self.order.len() < REMEMBERED && !is_over {
                break;
            }
            if let Ok(slot) = slot {
                slot.remove();
            }
            self.order.pop_front();
        }
        self.arrivals += 1;
        let known = Known { tag, arrival: self.arrivals, until: now + lasts, answer };
        match self.known.find_mut(tag.bucket(), |known| same(known.tag, tag)) {
            Some(slot) => *slot = known,
            None => {
                self.known.insert_unique(tag.bucket(), known, |known| known.tag.bucket());
            }
        }
        self.order.push_back((tag, self.arrivals));
    }
}

fn same(one: Tag, other: Tag) -> bool {
    one.ct_eq(&other).into()
}

/// RFC 7662 §2.2: a JSON object whose `active` is a boolean.
fn answer(body: &[u8]) -> Result<Answer, &'static str> {
    let claims = Claims::parse(body).map_err(|_| "the answer is no JSON object with each member once")?;
    match claims.get("active") {
        Some(Value::Bool(true)) => Ok(Answer::Active(Arc::new(claims))),
        Some(Value::Bool(false)) => Ok(Answer::Inactive),
        _ => Err("the answer has no boolean `active`"),
    }
}

/// RFC 6749 §2.3.1: each part is form-encoded before it is joined, so that a colon in the id stays in the id.
fn basic(id: &str, secret: &str) -> HeaderValue {
    let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    // Base64 is always a header value.
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// `application/x-www-form-urlencoded`, as the URL standard serializes it.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

impl fmt::Debug for Introspector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Introspector({})", shown(&self.url))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Settings({})", shown(&self.url))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Inactive => "Inactive",
            Self::Active(_) => "Active(…)",
        })
    }
}
