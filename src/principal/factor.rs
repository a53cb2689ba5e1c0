//! What shows that a second factor was used, and when: the gate's own MFA token, or what a caller's token says of its login (RFC 8176, RFC 9470).
//! Takes an MFA token from its holder alone; a claim of a shape that it must not have shows nothing.

use serde_json::Value;

use super::caller::Caller;
use crate::credential::Place;
use crate::jose::{Algorithm, Claims, Jws, KeySet};

/// Where an MFA token comes, beside the credential itself.
pub const HEADER: &str = "x-mfa-token";
/// No other kind of token is taken for an MFA token, nor the other way round (RFC 8725 §3.11).
const TYP: &str = "mfa+jwt";
/// Seconds by which the clock of whoever wrote a token may be ahead.
const LEEWAY: i64 = 60;

/// RFC 8176 §2: more than one factor, or one that is not known by heart. `sms` and `tel` are no better than what they come with.
const METHODS: [&str; 10] = ["mfa", "otp", "hwk", "swk", "sc", "fpt", "face", "iris", "retina", "vbm"];
/// Classes that say more than one factor: OpenID's phishing-resistant ones, REFEDS', NIST's and the word itself.
const CLASSES: [&str; 7] =
    ["mfa", "phr", "phrh", "aal2", "aal3", "https://refeds.org/profile/mfa", "http://schemas.openid.net/pape/policies/2007/06/multi-factor"];

/// The place of [`HEADER`].
pub fn place() -> Place {
    Place::Header(HEADER.into())
}

/// When a second factor was last shown, by the MFA token of a caller who has one since `enrolled`.
pub fn of_token(token: &str, keys: &KeySet, (caller, enrolled): (&Caller<'_>, i64), now: i64) -> Option<i64> {
    let jws = Jws::parse(token).ok()?;
    if jws.header.typ.as_deref() != Some(TYP) {
        return None;
    }
    keys.verify(&jws, &[Algorithm::Hs256]).ok()?;
    let claims = Claims::parse(jws.payload()).ok()?;
    let tenant = match claims.get("tenant") {
        None | Some(Value::Null) => None,
        Some(said) => Some(said.as_str()?),
    };
    let whose = (claims.text("realm")?, tenant, claims.text("sub")?);
    let date = |name: &str| claims.date(name).ok().flatten();
    let (issued, shown, expires) = (date("iat")?, date("auth_time")?, date("exp")?);
    let is_current = now < expires && issued.max(shown) <= now.saturating_add(LEEWAY) && issued.min(shown) >= enrolled;
    (is_current && whose == (caller.realm(), caller.tenant(), caller.id())).then_some(shown)
}

/// The same by what a caller's own token says of its login.
pub fn of_login(claims: &Claims, now: i64) -> Option<i64> {
    let at = claims.date("auth_time").ok().flatten().filter(|at| *at <= now.saturating_add(LEEWAY))?;
    let methods = claims.texts("amr").unwrap_or_default();
    let by_method = methods.iter().any(|said| METHODS.contains(said));
    let by_class = claims.texts("acr").unwrap_or_default().iter().any(|said| CLASSES.contains(said));
    let by_firebase = claims.text("firebase.sign_in_second_factor").is_some_and(|factor| !factor.is_empty());
    (by_method || by_class || by_firebase).then_some(at)
}
