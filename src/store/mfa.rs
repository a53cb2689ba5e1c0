//! The rows of second factors: what an attempt begins with, and what it takes once, whoever else tries the same.
//! Looks at no code, and lets nobody look before the attempt is counted.

use super::{Atomic, Row, Store, StoreError, values};
use crate::mfa::attempts::{Attempts, Kind, Locked};
use crate::mfa::backup::Kept;
use crate::mfa::totp::Secret;
use crate::principal::record::Holder;

/// Seconds that a secret waits for its first code, and a first code for `enable`.
pub const PENDING: i64 = 10 * 60;

/// An attempt that is counted, and what a code is to be compared with.
#[derive(Debug)]
pub struct Attempt {
    pub secret: Secret,
    /// `None` while the enrolment is not finished.
    pub enabled_at: Option<i64>,
    /// Backup codes that were not used yet, where one is tried.
    pub kept: Vec<Kept>,
    /// By which the same enrolment is known again.
    sealed: Vec<u8>,
}

#[derive(Debug)]
pub enum Begun {
    Attempt(Attempt),
    Locked(Locked),
    /// There is nothing to try.
    Absent,
}

/// Which second factor an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Enabled,
    /// Or one that waits for its first code.
    Any,
}

/// What a code turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Step(i64),
    Slot(i64),
}

/// How somebody's second factor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub enabled_at: Option<i64>,
    pub verified_at: Option<i64>,
    pub codes_at: Option<i64>,
    pub remaining: i64,
}

const SETUP: &str = "INSERT INTO mfa \
    (realm, tenant, subject, secret, seal, pending_until, last_step, window_start, window_failures, failures_in_a_row, version) \
    VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, 0) \
    ON CONFLICT (realm, tenant, subject) DO UPDATE SET \
    secret = excluded.secret, seal = excluded.seal, pending_until = excluded.pending_until, last_step = 0, verified_at = NULL \
    WHERE mfa.enabled_at IS NULL";
/// Holds the row to the end of the transaction.
const HOLD: &str = "UPDATE mfa SET version = version WHERE realm = $1 AND tenant = $2 AND subject = $3 \
    RETURNING window_start, window_failures, failures_in_a_row, secret, seal, pending_until, enabled_at";
const COUNT: &str = "UPDATE mfa SET window_start = $4, window_failures = $5, failures_in_a_row = $6 \
    WHERE realm = $1 AND tenant = $2 AND subject = $3";
const KEPT: &str = "SELECT slot, hash FROM mfa_codes WHERE realm = $1 AND tenant = $2 AND subject = $3 AND used_at IS NULL ORDER BY slot";
const TAKE_STEP: &str = "UPDATE mfa SET last_step = $4 \
    WHERE realm = $1 AND tenant = $2 AND subject = $3 AND secret = $5 AND COALESCE(enabled_at, 0) = $6 AND last_step < $4 \
    RETURNING window_start, window_failures, failures_in_a_row";
const TAKE_NONE: &str = "UPDATE mfa SET version = version \
    WHERE realm = $1 AND tenant = $2 AND subject = $3 AND secret = $4 AND COALESCE(enabled_at, 0) = $5 \
    RETURNING window_start, window_failures, failures_in_a_row";
const TAKE_SLOT: &str = "UPDATE mfa_codes SET used_at = $4 \
    WHERE realm = $1 AND tenant = $2 AND subject = $3 AND slot = $5 AND hash = $6 AND used_at IS NULL";
const VERIFIED: &str = "UPDATE mfa SET verified_at = $4, pending_until = $5 \
    WHERE realm = $1 AND tenant = $2 AND subject = $3 AND enabled_at IS NULL AND pending_until > $4";
/// Later than every token of an enrolment before it.
const ENABLE: &str = "UPDATE mfa SET \
    enabled_at = CASE WHEN ended_at >= $4 THEN ended_at + 1 ELSE $4 END, pending_until = NULL, verified_at = NULL, codes_at = $4, version = $5 \
    WHERE realm = $1 AND tenant = $2 AND subject = $3 AND enabled_at IS NULL AND pending_until > $4 AND verified_at IS NOT NULL \
    RETURNING enabled_at";
const END: &str = "UPDATE mfa SET \
    secret = NULL, seal = NULL, pending_until = NULL, verified_at = NULL, codes_at = NULL, \
    ended_at = CASE WHEN enabled_at >= $4 THEN enabled_at WHEN enabled_at IS NULL THEN ended_at ELSE $4 END, enabled_at = NULL, version = $5 \
    WHERE realm = $1 AND tenant = $2 AND subject = $3";
const FORGIVE: &str = "UPDATE mfa SET window_failures = 0, failures_in_a_row = 0 WHERE realm = $1 AND tenant = $2 AND subject = $3";
const DROP_CODES: &str = "DELETE FROM mfa_codes WHERE realm = $1 AND tenant = $2 AND subject = $3";
const ADD_CODE: &str = "INSERT INTO mfa_codes (realm, tenant, subject, slot, hash) VALUES ($1, $2, $3, $4, $5)";
const CODES_AT: &str = "UPDATE mfa SET codes_at = $4 WHERE realm = $1 AND tenant = $2 AND subject = $3";
const STANDING: &str = "SELECT enabled_at, verified_at, codes_at, pending_until, \
    (SELECT COUNT(*) FROM mfa_codes c WHERE c.realm = $1 AND c.tenant = $2 AND c.subject = $3 AND c.used_at IS NULL) \
    FROM mfa WHERE realm = $1 AND tenant = $2 AND subject = $3";

/// `values![…]` behind the three that name a row.
macro_rules! of {
    ($holder:expr $(, $value:expr)*) => {
        values![&*$holder.realm, $holder.tenant.as_deref().unwrap_or_default(), &*$holder.subject $(, $value)*]
    };
}

impl Store {
    /// A new secret that waits for its first code; one that waits already is replaced.
    pub async fn mfa_setup(&self, holder: &Holder, secret: &Secret, now: i64) -> Result<(), StoreError> {
        let sealed = self.keys.seal(secret.as_bytes(), &bound_to(holder)).ok_or_else(|| StoreError::fault("a secret cannot be encrypted"))?;
        let done = self.read().await?.execute(SETUP, of![holder, sealed.bytes, &*sealed.key, now + PENDING]).await?;
        if done == 0 { Err(StoreError::Conflict("multi-factor authentication is on already")) } else { Ok(()) }
    }

    /// Counts an attempt, and gives what it may look at then.
    pub async fn mfa_begin(&self, holder: &Holder, (kind, of): (Kind, Of), now: i64) -> Result<Begun, StoreError> {
        let mut atomic = self.atomic().await?;
        let Some(row) = atomic.row(HOLD, of![holder]).await? else { return Ok(Begun::Absent) };
        let (Some(sealed), Some(seal), enabled_at) = (row.bytes_or_none(3)?, row.text_or_none(4)?, row.number_or_none(6)?) else {
            return Ok(Begun::Absent);
        };
        let waits = row.number_or_none(5)?.is_some_and(|until| until > now);
        if enabled_at.is_none() && (of == Of::Enabled || !waits) {
            return Ok(Begun::Absent);
        }
        let seen = attempts(&row)?.seen_at(now);
        let begun = seen.begin(kind, now);
        let counted = begun.unwrap_or(seen);
        atomic.execute(COUNT, of![holder, counted.window_start, counted.in_window, counted.in_a_row]).await?;
        let kept = match (kind, begun) {
            (Kind::Backup, Ok(_)) => atomic.rows(KEPT, of![holder]).await?.iter().map(kept).collect::<Result<_, _>>()?,
            (Kind::Backup, Err(_)) | (Kind::Totp, _) => Vec::new(),
        };
        atomic.commit().await?;
        if let Err(locked) = begun {
            return Ok(Begun::Locked(locked));
        }
        let opened = self.keys.open(&seal, &sealed, &bound_to(holder));
        let secret = opened.and_then(|opened| Secret::from_slice(&opened)).ok_or_else(|| StoreError::fault("a secret in the store does not open"))?;
        Ok(Begun::Attempt(Attempt { secret, enabled_at, kept, sealed }))
    }

    /// Takes a step or a backup code, which nobody can after that. `false`: somebody has, or it is another enrolment now.
    pub async fn mfa_show(&self, holder: &Holder, attempt: &Attempt, shown: Shown, now: i64) -> Result<bool, StoreError> {
        let mut atomic = self.atomic().await?;
        let is_taken = take(&mut atomic, holder, attempt, shown, now).await?;
        if is_taken && attempt.enabled_at.is_none() {
            atomic.execute(VERIFIED, of![holder, now, now + PENDING]).await?;
        }
        if is_taken {
            atomic.commit().await?;
        }
        Ok(is_taken)
    }

    /// Takes it as the last one of this enrolment: secret and backup codes are gone, and its tokens count no more.
    pub async fn mfa_disable(&self, holder: &Holder, attempt: &Attempt, shown: Shown, now: i64) -> Result<bool, StoreError> {
        let mut change = self.change().await?;
        if !take(&mut change, holder, attempt, shown, now).await? {
            return Ok(false);
        }
        let version = change.version;
        change.execute(END, of![holder, now, version]).await?;
        change.execute(DROP_CODES, of![holder]).await?;
        change.commit().await?;
        Ok(true)
    }

    /// Takes it, and has these backup codes in place of the others.
    pub async fn mfa_renew(&self, holder: &Holder, attempt: &Attempt, shown: Shown, (hashes, now): (&[String], i64)) -> Result<bool, StoreError> {
        let mut atomic = self.atomic().await?;
        if !take(&mut atomic, holder, attempt, shown, now).await? {
            return Ok(false);
        }
        replace_codes(&mut atomic, holder, hashes).await?;
        atomic.execute(CODES_AT, of![holder, now]).await?;
        atomic.commit().await?;
        Ok(true)
    }

    /// The enrolment counts from now on, if its first code was seen of late. Gives since when.
    pub async fn mfa_enable(&self, holder: &Holder, hashes: &[String], now: i64) -> Result<i64, StoreError> {
        let mut change = self.change().await?;
        let version = change.version;
        let Some(row) = change.row(ENABLE, of![holder, now, version]).await? else {
            return Err(StoreError::Conflict("no code was verified in the last ten minutes"));
        };
        let enabled_at = row.number(0)?;
        replace_codes(&mut change, holder, hashes).await?;
        change.commit().await?;
        Ok(enabled_at)
    }

    /// Takes everything away that somebody has enrolled, and every lock.
    pub async fn mfa_reset(&self, holder: &Holder, now: i64) -> Result<(), StoreError> {
        let mut change = self.change().await?;
        let version = change.version;
        if change.execute(END, of![holder, now, version]).await? == 0 {
            return Err(StoreError::NotFound);
        }
        change.execute(FORGIVE, of![holder]).await?;
        change.execute(DROP_CODES, of![holder]).await?;
        change.commit().await
    }

    pub async fn mfa_standing(&self, holder: &Holder, now: i64) -> Result<Option<Standing>, StoreError> {
        let Some(row) = self.read().await?.row(STANDING, of![holder]).await? else { return Ok(None) };
        let (enabled_at, verified_at) = (row.number_or_none(0)?, row.number_or_none(1)?);
        let is_over = row.number_or_none(3)?.is_none_or(|until| until <= now);
        let verified_at = verified_at.filter(|_| !is_over);
        Ok(Some(Standing { enabled_at, verified_at, codes_at: row.number_or_none(2)?, remaining: row.number(4)? }))
    }
}

/// Compares and sets in one statement, and takes back that the attempt was counted as a failure.
async fn take(atomic: &mut Atomic, holder: &Holder, attempt: &Attempt, shown: Shown, now: i64) -> Result<bool, StoreError> {
    let (sealed, enabled_at) = (&*attempt.sealed, attempt.enabled_at.unwrap_or_default());
    let row = match shown {
        Shown::Step(step) => atomic.row(TAKE_STEP, of![holder, step, sealed, enabled_at]).await?,
        Shown::Slot(_) => atomic.row(TAKE_NONE, of![holder, sealed, enabled_at]).await?,
    };
    let Some(row) = row else { return Ok(false) };
    if let Shown::Slot(slot) = shown {
        let hash = attempt.kept.iter().find(|kept| kept.slot == slot).map_or("", |kept| &kept.hash);
        if atomic.execute(TAKE_SLOT, of![holder, now, slot, hash]).await? != 1 {
            return Ok(false);
        }
    }
    let proved = attempts(&row)?.proved();
    atomic.execute(COUNT, of![holder, proved.window_start, proved.in_window, proved.in_a_row]).await?;
    Ok(true)
}

async fn replace_codes(atomic: &mut Atomic, holder: &Holder, hashes: &[String]) -> Result<(), StoreError> {
    atomic.execute(DROP_CODES, of![holder]).await?;
    for (slot, hash) in (0_i64..).zip(hashes) {
        atomic.execute(ADD_CODE, of![holder, slot, &**hash]).await?;
    }
    Ok(())
}

fn attempts(row: &Row) -> Result<Attempts, StoreError> {
    Ok(Attempts { window_start: row.number(0)?, in_window: row.number(1)?, in_a_row: row.number(2)? })
}

fn kept(row: &Row) -> Result<Kept, StoreError> {
    Ok(Kept { slot: row.number(0)?, hash: row.text(1)? })
}

/// What a sealed secret belongs to: moved to another row, it does not open.
fn bound_to(holder: &Holder) -> Vec<u8> {
    serde_json::json!(["mfa", &*holder.realm, holder.tenant.as_deref(), &*holder.subject]).to_string().into_bytes()
}
