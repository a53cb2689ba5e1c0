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
