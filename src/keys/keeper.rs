//! The task behind a remote key set: fetches when a refresh is due or wanted, and again after a failure.
//! One fetch at a time; ends when nobody holds the set any more.

use std::sync::Weak;
use std::time::Duration;

use http::Uri;
use http::header::{AGE, CACHE_CONTROL, HeaderMap};
use tokio::time::Instant;

use super::freshness::{max_age, refresh, retry};
use super::remote::{Fetched, Remote};
use super::{Issuer, Where};
use crate::fetch::address::shown;
use crate::fetch::{Client, Document};

/// Between two looks at an issuer's own document.
const DISCOVERY: Duration = Duration::from_secs(60 * 60);

pub struct Fetcher {
    client: Client,
    place: Where,
    discovered: Option<(Uri, Instant)>,
}

/// Runs until the last holder of the set lets go of it.
pub async fn keep(remote: Weak<Remote>, mut fetcher: Fetcher) {
    let Some(mut rounds) = remote.upgrade().map(|remote| remote.rounds()) else { return };
    let mut failures = 0;
    loop {
        match remote.upgrade() {
            Some(remote) => remote.begin(),
            None => return,
        }
        let outcome = fetcher.fetch().await;
        let Some(live) = remote.upgrade() else { return };
        let good = live.finish(&outcome);
        let fetched = outcome.ok().filter(|_| good);
        let copy = fetched.as_ref().and_then(|fetched| live.copy(fetched));
        drop(live);
        if let Some((disk, place, kept)) = copy {
            let _ = tokio::task::spawn_blocking(move || disk.write(&place, &kept)).await;
        }
        failures = if good { 0 } else { failures + 1 };
        let wait = fetched.map_or_else(|| retry(failures, chance()), |fetched| refresh(fetched.max_age));
        let wanted = rounds.wait_for(|round| round.wanted);
        if let Ok(Err(_)) = tokio::time::timeout(wait, wanted).await {
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
