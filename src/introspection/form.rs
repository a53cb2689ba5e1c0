//! Who asks an issuer and about which token, in the words of a form.
//! Keeps neither.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// RFC 6749 §2.3.1: each part is form-encoded before it is joined, so that a colon in the id stays in the id.
pub fn basic(id: &str, secret: &str) -> HeaderValue {
    let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    // Base64 is always a header value.
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// `application/x-www-form-urlencoded`, as the URL standard serializes it.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
