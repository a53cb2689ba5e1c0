//! Whom to ask about a credential that the snapshot cannot judge alone: a key set's keeper, or the issuer of an opaque token.
//! Waits a bounded time, and says when nobody answered; decides nothing.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::introspection::{Answer, Introspector};
use crate::keys::{Remote, Status};
use crate::principal::world::Wait;
use crate::principal::{At, Settled};

/// How long a request waits for a key set that has no key of the token's name. Envoy waits 200 ms for the whole answer.
const REFRESH: Duration = Duration::from_millis(100);

/// By the means that needs them.
#[derive(Debug, Default)]
pub struct Outside {
    /// With the name of the source.
    pub keys: Vec<(At, Box<str>, Arc<Remote>)>,
    pub issuers: Vec<(At, Arc<Introspector>)>,
}

/// A key set as `/readyz` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// The source that it belongs to.
    pub credential: String,
    #[serde(flatten)]
    pub status: Status,
}

impl Outside {
    /// Whether every key set has been loaded.
    pub fn is_loaded(&self) -> bool {
        self.keys.iter().all(|(_, _, remote)| remote.loaded())
    }

    /// Each set's word of whether it is loaded.
    pub fn changes(&self) -> Vec<watch::Receiver<bool>> {
        self.keys.iter().map(|(_, _, remote)| remote.changed()).collect()
    }

    pub fn published(&self) -> Vec<Published> {
        self.keys.iter().map(|(_, name, remote)| Published { credential: name.to_string(), status: remote.status() }).collect()
    }

    pub async fn settle(&self, wait: &Wait) -> Settled {
        if let Some((_, _, remote)) = self.keys.iter().find(|(at, ..)| *at == wait.at) {
            remote.refresh(REFRESH).await;
            return if remote.is_in_doubt() { Settled::Unreachable } else { Settled::Refreshed };
        }
        let issuer = self.issuers.iter().find(|(at, _)| *at == wait.at);
        let (Some((_, issuer)), Some(token)) = (issuer, &wait.token) else { return Settled::Unreachable };
        match issuer.ask(token).await {
            Ok(Answer::Active(claims)) => Settled::Active(claims),
            Ok(Answer::Inactive) => Settled::Inactive,
            Err(_) => Settled::Unreachable,
        }
    }
}
