//! The task behind a remote key set: fetches when a refresh is due or wanted, and again after a failure.
//! One fetch at a time; ends when nobody holds the set any more.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::header::{AGE, CACHE_CONTROL, HeaderMap};
use tokio::time::Instant;

use super::freshness::{max_age, refresh, retry};
use super::remote::Remote;
use super::{Issuer, Where};
use crate::fetch::address::shown;
use crate::fetch::{Client, Document};

/// Between two looks at an issuer's own document.
const DISCOVERY: Duration = Duration::from_secs(60 * 60);

/// A document as it came.
pub struct Fetched {
    pub document: Bytes,
    pub max_age: Option<Duration>,
}

pub struct Fetcher {
    client: Client,
    place: Where,
    discovered: Option<(Uri, Instant)>,
}

/// Runs until the last holder of the set lets go of it.
pub async fn keep(remote: Weak<Remote>, mut fetcher: Fetcher) {
    let Some(mut rounds) = remote.upgrade().map(|remote| remote.rounds().follow()) else { return };
    let mut failures = 0;
    loop {
        match remote.upgrade() {
            Some(remote) => remote.rounds().begin(),
            None => return,
        }
        let outcome = fetcher.fetch().await;
        let Some(live) = remote.upgrade() else { return };
        let good = live.finish(&outcome);
        let fetched = outcome.ok().filter(|_| good);
        failures = if good { 0 } else { failures + 1 };
        let due = Instant::now() + fetched.as_ref().map_or_else(|| retry(failures, chance()), |fetched| refresh(fetched.max_age));
        let copy = fetched.as_ref().and_then(|fetched| live.copy(fetched));
        drop(live);
        if let Some((disk, place, kept)) = copy {
            let _ = tokio::task::spawn_blocking(move || disk.write(&place, &kept)).await;
        }
        if let Ok(Err(_)) = tokio::time::timeout_at(due, rounds.wait_for(|round| round.wanted)).await {
            return;
        }
    }
}

fn chance() -> u8 {
    let mut byte = [0];
    let _ = getrandom::fill(&mut byte);
    u8::from_ne_bytes(byte)
}

impl Fetcher {
    pub fn new(client: Client, place: Where) -> Self {
        Self { client, place, discovered: None }
    }

    /// `Err` is for operators.
    async fn fetch(&mut self) -> Result<Fetched, String> {
        let address = match self.place.clone() {
            Where::Jwks(uri) | Where::Certificates(uri) => uri,
            Where::Discovery(issuer) => self.discover(&issuer).await?,
        };
        let document = self.get(&address).await?;
        Ok(Fetched { max_age: told(&document.headers), document: document.body })
    }

    /// Where the issuer says that its keys are; asked once an hour.
    async fn discover(&mut self, issuer: &Issuer) -> Result<Uri, String> {
        if let Some((uri, at)) = &self.discovered
            && at.elapsed() < DISCOVERY
        {
            return Ok(uri.clone());
        }
        let document = self.get(issuer.document()).await?;
        let uri = issuer.keys(&document.body).map_err(|fault| format!("{}: {fault}", shown(issuer.document())))?;
        self.discovered = Some((uri.clone(), Instant::now()));
        Ok(uri)
    }

    async fn get(&self, address: &Uri) -> Result<Document, String> {
        self.client.get(address).await.map_err(|fault| format!("{}: {fault}", shown(address)))
    }
}

fn told(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    max_age(lines, headers.get(AGE).and_then(|age| age.to_str().ok()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fetch::local::{Local, Reply, leap};
    use crate::gate::unix_now;
    use crate::keys::Registry;
    use crate::keys::sample::{certificates, jwks};
    use crate::principal::Keys;

    const SECOND: Duration = Duration::from_secs(1);
    const DOCUMENT: &str = "/t/.well-known/openid-configuration";

    fn remote(place: Where) -> Arc<Remote> {
        Registry::new(tokio::runtime::Handle::current(), None).remote(&place)
    }

    fn issuer(server: &Local, name: &str, keys: &str) {
        let document = serde_json::json!({"issuer": name, "jwks_uri": keys});
        server.reply_with(DOCUMENT, &document.to_string());
    }

    /// Gives every task its turns.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_refresh_comes_at_four_fifths_of_what_the_answer_says() {
        let server = Local::start().await;
        server.reply("/keys", Reply::Whole(200, vec![("cache-control", "public, max-age=1000".into())], jwks(&["a"])));
        let remote = remote(Where::jwks(&server.url("/keys")).unwrap());
        remote.round(1).await;
        leap(SECOND * 780).await;
        settle().await;
        assert!(!remote.rounds().follow().borrow().running && server.count("/keys") == 1);
        leap(SECOND * 20).await;
        remote.round(2).await;
        assert_eq!(server.count("/keys"), 2);
    }

    #[tokio::test]
    async fn a_failure_is_tried_again_soon() {
        let server = Local::start().await;
        server.reply("/keys", Reply::Whole(500, vec![], String::new()));
        let remote = remote(Where::jwks(&server.url("/keys")).unwrap());
        for round in 1..=8 {
            remote.round(round).await;
            if round == 8 {
                server.reply_with("/keys", &jwks(&["a"]));
            }
            leap(SECOND * 75).await;
        }
        remote.changed().wait_for(|loaded| *loaded).await.unwrap();
        assert_eq!(remote.status().last_error, None);
    }

    #[tokio::test]
    async fn nothing_is_fetched_for_a_set_that_nobody_holds() {
        let server = Local::start().await;
        server.reply_with("/keys", &jwks(&["a"]));
        let place = Where::jwks(&server.url("/keys")).unwrap();
        let remote = Arc::new(Remote::new(place.clone(), true, None));
        let task = tokio::spawn(keep(Arc::downgrade(&remote), Fetcher::new(Client::new().unwrap(), place)));
        remote.round(1).await;
        drop(remote);
        task.await.unwrap();
        assert_eq!(server.count("/keys"), 1);
    }

    #[tokio::test]
    async fn an_issuer_is_asked_for_its_keys_once_an_hour() {
        let server = Local::start().await;
        issuer(&server, &server.url("/t"), &server.url("/old"));
        server.reply_with("/old", &jwks(&["old"]));
        server.reply_with("/new", &jwks(&["new"]));
        let remote = remote(Where::discovery(&server.url("/t")).unwrap());
        remote.round(1).await;
        assert!(remote.current(unix_now()).unwrap().knows("old"));
        issuer(&server, &server.url("/t"), &server.url("/new"));
        for round in 2..=10 {
            leap(SECOND * 300).await;
            remote.round(round).await;
        }
        assert_eq!((server.count(DOCUMENT), server.count("/old")), (1, 10));
        leap(SECOND * 60 * 15).await;
        remote.round(11).await;
        assert!(remote.current(unix_now()).unwrap().knows("new"));
        assert_eq!((server.count(DOCUMENT), server.count("/old"), server.count("/new")), (2, 10, 1));
    }

    #[tokio::test]
    async fn another_issuers_document_leads_nowhere() {
        let server = Local::start().await;
        server.reply_with("/keys", &jwks(&["a"]));
        issuer(&server, &server.url("/t/"), &server.url("/keys"));
        let remote = remote(Where::discovery(&server.url("/t")).unwrap());
        remote.round(1).await;
        assert!(!remote.loaded());
        assert!(remote.status().last_error.unwrap().contains("with or without a slash at its end"));
        assert_eq!(server.count("/keys"), 0);
    }

    #[tokio::test]
    async fn certificates_and_key_sets_are_told_apart_by_content() {
        let server = Local::start().await;
        for (path, document) in [("/map", certificates("c1")), ("/set", jwks(&["c1"]))] {
            server.reply_with(path, &document);
            let remote = remote(Where::certificates(&server.url(path)).unwrap());
            remote.round(1).await;
            assert!(remote.current(unix_now()).unwrap().knows("c1"), "{path}");
        }
        // A map is no answer where a key set was asked for.
        let remote = remote(Where::jwks(&server.url("/map")).unwrap());
        remote.round(1).await;
        assert!(!remote.loaded());
    }
}
