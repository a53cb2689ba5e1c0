//! Backstage's configuration of service-to-service tokens into keys: its base64 as Node reads it.
//! Decides nothing; what is odd about a secret is said to the operator.

use zeroize::Zeroizing;

/// What `randomBytes(24).toString("base64")` of Backstage's own manual gives; less gets a warning (RFC 7518 §3.2 asks for 32).
pub const GOOD_SECRET: usize = 24;

/// Decodes as Node's `Buffer.from(text, "base64")` does: both alphabets, padding optional, what is left of an incomplete byte dropped.
/// `Err` for a character of neither alphabet, which Node would skip. The flag says that a whole character counted for nothing.
pub fn decode_secret(text: &str) -> Result<(Zeroizing<Vec<u8>>, bool), char> {
    let body = text.trim_end_matches('=');
    let mut out = Zeroizing::new(Vec::with_capacity(body.len()));
    let (mut bits, mut count) = (0_u32, 0_u32);
    for character in body.chars() {
        let value = match character {
            'A'..='Z' => u32::from(character) - u32::from('A'),
            'a'..='z' => u32::from(character) - u32::from('a') + 26,
            '0'..='9' => u32::from(character) - u32::from('0') + 52,
            '+' | '-' => 62,
            '/' | '_' => 63,
            _ => return Err(character),
        };
        bits = (bits << 6 | value) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xFF).unwrap_or_default());
        }
    }
    Ok((out, count == 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Vec<u8> {
        decode_secret(text).unwrap().0.to_vec()
    }

    #[test]
    fn secrets_decode_as_node_decodes_them() {
        assert_eq!(decoded("aGVsbG8="), b"hello");
        assert_eq!(decoded("aGVsbG8"), b"hello");
        assert_eq!(decoded("-_-_"), decoded("+/+/"));
        // The manual's three keys differ in bits that no byte holds.
        let shown = [0x9b, 0x2f, 0xac, 0x79, 0xca, 0xde, 0xb7, 0xe9, 0x1e, 0xcb, 0xed];
        for key in ["my-secret-key-1", "my-secret-key-2", "my-secret-key-3"] {
            assert_eq!(decoded(key), shown, "{key}");
        }
        assert_eq!((decoded("my-secret-key-catalog").len(), decode_secret("my-secret-key-catalog").unwrap().1), (15, true));
        assert_eq!(decode_secret("a b").unwrap_err(), ' ');
    }
}
