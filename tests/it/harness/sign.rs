//! Claims into signed tokens, as their issuers make them. Shared with the end-to-end tests.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Seconds since 1970.
pub fn now() -> i64 {
    let age = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(age.as_secs()).unwrap()
}

fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// HS256 under these bytes, whatever the header says.
pub fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let mac = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

/// An issuer with an RSA key of its own.
#[derive(Debug)]
pub struct Issuer(RsaKeyPair);

impl Issuer {
    pub fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    /// Its key set, in which the key is called `one`.
    pub fn key_set(&self) -> String {
        // RFC 8017 §A.1.1, of which 2048 bits and the usual exponent leave one form.
        let der = self.0.public_key().as_ref();
        let (n, e) = (&der[9..265], &der[267..]);
        json!({"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e)}]})
            .to_string()
    }

    pub fn token(&self, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(&json!({"alg": "RS256", "typ": "JWT", "kid": "one"})), encoded(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What Firebase says of a user of this project.
pub fn firebase(project: &str, user: &str) -> Value {
    json!({
        "iss": format!("https://securetoken.google.com/{project}"), "aud": project, "sub": user, "user_id": user,
        "iat": now() - 60, "auth_time": now() - 60, "exp": now() + 3540, "firebase": {"sign_in_provider": "password"},
    })
}
