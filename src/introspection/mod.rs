//! An opaque token into what its issuer says of it (RFC 7662), remembered for a short while.
//! Doubt is no answer: whatever is not a plain yes or no in time leaves the caller without one.

pub mod form;
mod memory;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Uri};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::credential::digest::{Tag, TagKey};
use crate::fetch::Client;
use crate::fetch::address::shown;
use crate::gate::unix_now;
use crate::jose::Claims;
use crate::keys::Registry;
use form::{basic, encoded};
use memory::{Memory, same};

/// Calls at a time; beyond them nobody is asked.
const CALLS: usize = 64;

/// Of an answer, in bytes; real ones have a few KiB, and their claims travel in headers.
const LONGEST: usize = 64 * 1024;

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
    state: Mutex<State>,
    failing: AtomicBool,
}

type Outcome = Result<Answer, Unreachable>;

#[derive(Default)]
struct State {
    memory: Memory,
    flights: Vec<Flight>,
}

/// A question under way.
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
            state: Mutex::default(),
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
        let mut state = self.state();
        if let Some(answer) = state.memory.find(tag, Instant::now()) {
            return Ok(Seen::Known(answer));
        }
        // One whose task was dropped will never land.
        state.flights.retain(|flight| flight.landed.has_changed().is_ok());
        if let Some(flight) = state.flights.iter().find(|flight| same(flight.tag, tag)) {
            return Ok(Seen::Asked(flight.landed.clone()));
        }
        let (client, handle) = self.client.clone().ok_or(Unreachable)?;
        if state.flights.len() >= CALLS {
            return Err(Unreachable);
        }
        let (lands, landed) = watch::channel(None);
        state.flights.push(Flight { tag, landed: landed.clone() });
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
        let mut state = self.state();
        state.flights.retain(|flight| !same(flight.tag, tag));
        if let Ok(answer) = outcome {
            let lasts = self.lasts(answer);
            state.memory.keep(tag, answer.clone(), Instant::now(), lasts);
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

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Seen {
    Known(Answer),
    Asked(watch::Receiver<Option<Outcome>>),
}

/// RFC 7662 §2.2: a JSON object whose `active` is a boolean.
fn answer(body: &[u8]) -> Result<Answer, &'static str> {
    if body.len() > LONGEST {
        return Err("the answer is longer than 64 KiB");
    }
    let claims = Claims::parse(body).map_err(|_| "the answer is no JSON object with each member once")?;
    match claims.get("active") {
        Some(Value::Bool(true)) => Ok(Answer::Active(Arc::new(claims))),
        Some(Value::Bool(false)) => Ok(Answer::Inactive),
        _ => Err("the answer has no boolean `active`"),
    }
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

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::fetch::is_allowed;
    use crate::fetch::local::{Local, Reply, leap};

    const SECOND: Duration = Duration::from_secs(1);
    const YES: &str = r#"{"active":true,"sub":"me"}"#;
    const NO: &str = r#"{"active":false}"#;

    fn asker(server: &Local, timeout: Duration) -> Arc<Introspector> {
        let settings = Settings {
            url: is_allowed(&server.url("/ask")).unwrap(),
            client_id: "gate:1".into(),
            client_secret: "s3cret &".into(),
            cache: SECOND * 60,
            timeout,
        };
        Arc::new(Introspector::new(&settings, TagKey::new([7; 32]), &Registry::new(Handle::current(), None)))
    }

    fn who(outcome: &Outcome) -> Option<&str> {
        match outcome {
            Ok(Answer::Active(claims)) => claims.text("sub"),
            Ok(Answer::Inactive) => Some("nobody"),
            Err(Unreachable) => None,
        }
    }

    #[tokio::test]
    async fn one_call_answers_everybody_who_asks_about_a_token() {
        let server = Local::start().await;
        server.reply("/ask", Reply::Held(YES.into()));
        let asker = asker(&server, SECOND * 60);
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let asker = Arc::clone(&asker);
            callers.spawn(async move { asker.ask("to ken+\u{e9}").await });
        }
        server.wait("/ask", 1).await;
        server.let_go();
        assert!(callers.join_all().await.iter().all(|outcome| who(outcome) == Some("me")));
        let asked = server.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].body, "token=to+ken%2B%C3%A9");
        // RFC 6749 §2.3.1: `gate%3A1:s3cret+%26`.
        assert_eq!(asked[0].authorization.as_deref(), Some("Basic Z2F0ZSUzQTE6czNjcmV0KyUyNg=="));
    }

    #[tokio::test]
    async fn an_answer_is_remembered_for_its_time_whichever_it_is() {
        let server = Local::start().await;
        for (token, answer, name) in [("good", YES, "me"), ("bad", NO, "nobody")] {
            server.reply_with("/ask", answer);
            let asker = asker(&server, SECOND * 3);
            let before = server.count("/ask");
            assert_eq!(who(&asker.ask(token).await), Some(name));
            leap(SECOND * 50).await;
            assert_eq!(who(&asker.ask(token).await), Some(name));
            assert_eq!(server.count("/ask"), before + 1);
            leap(SECOND * 10).await;
            assert_eq!(who(&asker.ask(token).await), Some(name));
            assert_eq!(server.count("/ask"), before + 2);
        }
    }

    #[tokio::test]
    async fn an_answer_is_not_remembered_beyond_the_token_itself() {
        let server = Local::start().await;
        let asker = asker(&server, SECOND * 3);
        let ends = |end: Value| serde_json::json!({"active": true, "sub": "me", "exp": end}).to_string();
        server.reply_with("/ask", &ends((unix_now() + 30).into()));
        assert_eq!(who(&asker.ask("short").await), Some("me"));
        leap(SECOND * 30).await;
        assert_eq!(who(&asker.ask("short").await), Some("me"));
        assert_eq!(server.count("/ask"), 2);
        for (token, end) in [("over", (unix_now() - 1).into()), ("odd", "soon".into())] {
            server.reply_with("/ask", &ends(end));
            let before = server.count("/ask");
            assert_eq!((who(&asker.ask(token).await), who(&asker.ask(token).await)), (Some("me"), Some("me")));
            assert_eq!(server.count("/ask"), before + 2, "{token}");
        }
    }

    #[tokio::test]
    async fn whoever_cannot_wait_finds_the_answer_on_the_next_try() {
        let server = Local::start().await;
        server.reply("/ask", Reply::Held(YES.into()));
        let asker = asker(&server, Duration::from_millis(10));
        assert_eq!(who(&asker.ask("token").await), None);
        let mut landed = asker.state().flights[0].landed.clone();
        server.let_go();
        landed.wait_for(Option::is_some).await.unwrap();
        assert_eq!(who(&asker.ask("token").await), Some("me"));
        assert_eq!(server.count("/ask"), 1);
    }

    #[tokio::test]
    async fn what_is_no_plain_answer_is_none_and_is_not_remembered() {
        let server = Local::start().await;
        let asker = asker(&server, SECOND * 3);
        let document = |text: &str| Reply::Whole(200, vec![], text.into());
        let faults = [
            document("<html>"),
            document(""),
            document("{}"),
            document("[]"),
            document(r#"{"active":"true"}"#),
            document(r#"{"active":1}"#),
            document(r#"{"active":null}"#),
            document(r#"{"active":false,"active":true}"#),
            document(r#"{"active":true,"sub":"a","sub":"b"}"#),
            document(r#"{"result":{"active":true}}"#),
            document(&format!(r#"{{"active":true,"sub":"{}"}}"#, "m".repeat(LONGEST))),
            Reply::Whole(500, vec![], YES.into()),
            Reply::Whole(401, vec![], YES.into()),
            Reply::Whole(201, vec![], YES.into()),
            Reply::Whole(307, vec![("location", "/yes".into())], String::new()),
            Reply::Endless,
        ];
        server.reply_with("/yes", YES);
        for reply in faults {
            let told = format!("{reply:?}");
            server.reply("/ask", reply);
            assert_eq!(who(&asker.ask("token").await), None, "{told}");
        }
        assert_eq!(server.count("/yes"), 0);
        server.reply_with("/ask", YES);
        assert_eq!(who(&asker.ask("token").await), Some("me"));
    }

    #[tokio::test]
    async fn no_more_calls_than_the_bound_are_under_way() {
        let server = Local::start().await;
        server.reply("/ask", Reply::Held(NO.into()));
        let asker = asker(&server, SECOND * 3);
        let flights: Vec<_> = (0..CALLS).map(|number| asker.look(&format!("token-{number}")).ok().unwrap()).collect();
        assert!(asker.look("one more").is_err());
        // Who asks about a token that is asked about already, waits for its answer.
        assert!(asker.look("token-0").is_ok());
        server.wait("/ask", CALLS).await;
        server.let_go();
        for flight in flights {
            let Seen::Asked(mut landed) = flight else { panic!("known before it was asked") };
            landed.wait_for(Option::is_some).await.unwrap();
        }
        assert_eq!(server.count("/ask"), CALLS);
        assert_eq!(who(&asker.ask("one more").await), Some("nobody"));
    }

    #[tokio::test]
    async fn offline_nobody_is_asked_and_nothing_is_printed() {
        let settings = Settings {
            url: is_allowed("https://idp.example/ask?key=hidden").unwrap(),
            client_id: "hidden".into(),
            client_secret: "hidden".into(),
            cache: SECOND,
            timeout: SECOND,
        };
        let asker = Arc::new(Introspector::new(&settings, TagKey::new([7; 32]), &Registry::offline()));
        assert_eq!(who(&asker.ask("token").await), None);
        assert!(!format!("{settings:?} {asker:?} {:?} {:?}", asker.authorization, answer(YES.as_bytes())).contains("hidden"));
    }
}
