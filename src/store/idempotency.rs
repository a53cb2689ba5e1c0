//! Answers to creates that may be asked for again, sealed, for a day.
//! Shows an answer to nobody but who got it first, and for the same request only.

use super::{Change, StoreError, values};
use crate::store::secrets::{Sealed, StoreKeys};

/// How long an answer is kept.
pub const KEPT: i64 = 24 * 3600;

/// One create that may be repeated.
#[derive(Clone)]
pub struct Once {
    /// Who asks.
    pub actor: String,
    /// SHA-256 of the Idempotency-Key, and of the request.
    pub token: [u8; 32],
    pub request: [u8; 32],
}

/// What is known of an `Idempotency-Key`.
pub enum Known {
    Nothing,
    /// The answer to the same request.
    Answer(Vec<u8>),
    /// It was another request's.
    Other,
}

impl Change {
    /// What was answered before. Nobody else can answer in between: changes come one after another.
    pub async fn answered(&mut self, once: &Once, keys: &StoreKeys, now: i64) -> Result<Known, StoreError> {
        self.execute("DELETE FROM idempotency WHERE created_at <= $1", values![now - KEPT]).await?;
        let sql = "SELECT request, answer, seal FROM idempotency WHERE actor = $1 AND token = $2";
        let Some(row) = self.row(sql, values![once.actor.as_str(), once.token.as_slice()]).await? else { return Ok(Known::Nothing) };
        if row.bytes(0)? != once.request {
            return Ok(Known::Other);
        }
        match keys.open(row.str(2)?, &row.bytes(1)?, &once.bound()) {
            Some(answer) => Ok(Known::Answer(answer.to_vec())),
            // Its key is gone from the file; who repeats it now would get a second one.
            None => Ok(Known::Other),
        }
    }

    pub async fn remember(&mut self, once: &Once, keys: &StoreKeys, answer: &[u8], now: i64) -> Result<(), StoreError> {
        let Sealed { key, bytes } = keys.seal(answer, &once.bound()).ok_or_else(|| StoreError::Fault("an answer cannot be sealed".into()))?;
        let sql = "INSERT INTO idempotency (actor, token, request, answer, seal, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
        let (token, request) = (once.token.as_slice(), once.request.as_slice());
        self.execute(sql, values![once.actor.as_str(), token, request, bytes, String::from(key), now]).await.map(drop)
    }
}

impl Once {
    fn bound(&self) -> Vec<u8> {
        [b"idempotency\0", self.actor.as_bytes(), b"\0", &self.token, &self.request].concat()
    }
}

impl std::fmt::Debug for Once {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Once").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Answer(_) => "Answer(…)",
            Self::Other => "Other",
        })
    }
}
