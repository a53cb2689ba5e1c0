//! Claims into a token under a shared secret (HS256).
//! Mints nothing under a public key's private half: those are held elsewhere.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::HmacKey;

/// `header` is to name `HS256`, and may name more.
pub fn sign_hs256(key: &HmacKey, header: &Value, claims: &Value) -> String {
    let mut token = String::new();
    URL_SAFE_NO_PAD.encode_string(header.to_string(), &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
    let signature = hmac::sign(key.hs256(), token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Algorithm, Claims, Jws, Key, KeySet, Refusal};
    use super::*;

    #[test]
    fn a_minted_token_is_verified_under_its_secret_and_no_other() {
        let token = sign_hs256(&HmacKey::new(b"a secret"), &json!({"alg": "HS256"}), &json!({"sub": "backstage-server", "exp": 1}));
        assert!(token.starts_with("eyJhbGciOiJIUzI1NiJ9."));
        let jws = Jws::parse(&token).unwrap();
        let verify = |secret: &[u8]| KeySet::single(Key::hmac(secret)).verify(&jws, &[Algorithm::Hs256]);
        assert_eq!((verify(b"a secret"), verify(b"another"), verify(b"")), (Ok(0), Err(Refusal::Signature), Err(Refusal::UnknownKey)));
        let claims = Claims::parse(jws.payload()).unwrap();
        assert_eq!((claims.text("sub"), claims.date("exp")), (Some("backstage-server"), Ok(Some(1))));
    }
}
