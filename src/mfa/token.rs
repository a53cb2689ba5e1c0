//! Who has shown a second factor, and when, into the token that says so for a quarter of an hour (`X-MFA-Token`).
//! Verifies none: that is the judge's, who has no randomness and no clock.

use serde_json::{Value, json};

use crate::jose::{HmacKey, sign_hs256};
use crate::principal::record::Holder;

/// RFC 8725 §3.11: no other token of ours or of anybody's is taken for one.
pub const TYP: &str = "mfa+jwt";
/// Seconds that it counts.
pub const LIFETIME: i64 = 15 * 60;

/// `shown_at` is not before the enrolment that it was shown for.
pub fn mint(key: &HmacKey, holder: &Holder, shown_at: i64) -> String {
    let mut claims = json!({
        "realm": *holder.realm,
        "sub": *holder.subject,
        "iat": shown_at,
        "exp": shown_at.saturating_add(LIFETIME),
        "auth_time": shown_at,
    });
    if let (Some(tenant), Value::Object(claims)) = (&holder.tenant, &mut claims) {
        claims.insert("tenant".to_owned(), Value::from(&**tenant));
    }
    sign_hs256(key, &json!({"alg": "HS256", "typ": TYP}), &claims)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::jose::{Algorithm, Claims, Jws, Key, KeySet, Refusal};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_says_who_and_when_and_ends_after_a_quarter_of_an_hour() {
        let holder = Holder { realm: "sessions".into(), tenant: Some(Arc::from("acme")), subject: "ada".into() };
        let token = mint(&HmacKey::new(SECRET), &holder, 1_700_000_000);
        let jws = Jws::parse(&token).unwrap();
        let verify = |secret: &[u8]| KeySet::single(Key::hmac(secret)).verify(&jws, &[Algorithm::Hs256]);
        assert_eq!((verify(SECRET), verify(b"another, just as long as the one")), (Ok(0), Err(Refusal::Signature)));
        let claims = Claims::parse(jws.payload()).unwrap();
        assert_eq!((claims.text("realm"), claims.text("sub"), claims.text("tenant")), (Some("sessions"), Some("ada"), Some("acme")));
        let date = |name| claims.date(name).unwrap();
        assert_eq!((date("iat"), date("exp"), date("auth_time")), (Some(1_700_000_000), Some(1_700_000_900), Some(1_700_000_000)));
    }

    #[test]
    fn whoever_has_no_tenant_has_none_in_the_token() {
        let holder = Holder { realm: "profile".into(), tenant: None, subject: "p-1".into() };
        let token = mint(&HmacKey::new(SECRET), &holder, 1);
        assert!(Claims::parse(Jws::parse(&token).unwrap().payload()).unwrap().get("tenant").is_none());
    }
}
