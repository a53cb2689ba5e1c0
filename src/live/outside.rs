//! Whom to ask about a credential that the snapshot cannot judge alone: a key set's keeper, or the issuer of an opaque token.
//! Waits a bounded time, and says when nobody answered; decides nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::introspection::{Answer, Introspector};
use crate::keys::Remote;
use crate::principal::Settled;
use crate::principal::world::Wait;
use crate::principal::At;

/// How long a request waits for a key set that has no key of the token's name. Envoy waits 200 ms for the whole answer.
const REFRESH: Duration = Duration::from_millis(100);

/// By the means that needs them.
#[derive(Debug, Default)]
pub struct Outside {
    pub keys: Vec<(At, Arc<Remote>)>,
    pub issuers: Vec<(At, Arc<Introspector>)>,
}

impl Outside {
    pub async fn settle(&self, wait: &Wait) -> Settled {
        if let Some((_, remote)) = self.keys.iter().find(|(at, _)| *at == wait.at) {
            remote.refresh(REFRESH).await;
            return Settled::Refreshed;
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
