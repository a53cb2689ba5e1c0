//! The two forms of a managed key, taken apart and put together: `sg_<env>_<id><secret><checksum>`, and a UUID in its one canonical spelling.
//! Says nothing of whether a key exists; a checksum catches typing errors, and is no protection.

use zeroize::Zeroizing;

/// What the digits of a key are, in the order of their values.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of an id, of a secret (178 bits), and of the CRC-32 after them.
pub const ID: usize = 8;
pub const SECRET: usize = 30;
const CHECKSUM: usize = 6;
/// Longest environment.
const MAX_ENVIRONMENT: usize = 16;
/// The digits at the end of a key, and the longest key.
pub const DIGITS: usize = ID + SECRET + CHECKSUM;
pub const LONGEST: usize = "sg__".len() + MAX_ENVIRONMENT + DIGITS;
/// What secret scanners look for.
pub const PATTERN: &str = "sg_[a-z0-9]{1,16}_[0-9A-Za-z]{44}";

/// How a source's keys are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Scopegate,
    Uuid,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scopegate => "scopegate",
            Self::Uuid => "uuid",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Scopegate, Self::Uuid].into_iter().find(|format| format.as_str() == text)
    }
}

/// A key of the gate's own form, whose checksum holds.
pub struct Parts<'k> {
    pub environment: &'k str,
    pub id: &'k str,
    /// `sg_<env>_<id>`: what a key is called by, and shown as.
    pub prefix: &'k str,
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Form,
    Checksum,
}

/// Takes a key apart.
pub fn parse(key: &str) -> Result<Parts<'_>, Fault> {
    let (environment, digits) = key.strip_prefix("sg_").and_then(|rest| rest.split_once('_')).ok_or(Fault::Form)?;
    if !is_environment(environment) || digits.len() != ID + SECRET + CHECKSUM || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Fault::Form);
    }
    let (body, said) = key.split_at_checked(key.len().saturating_sub(CHECKSUM)).ok_or(Fault::Form)?;
    if said.as_bytes() != checksum(body) {
        return Err(Fault::Checksum);
    }
    let id = digits.get(..ID).ok_or(Fault::Form)?;
    let prefix = key.get(..key.len() - SECRET - CHECKSUM).ok_or(Fault::Form)?;
    Ok(Parts { environment, id, prefix })
}

/// Puts a key together, out of digits that are random elsewhere. `None` where the parts are not of their form.
pub fn form(environment: &str, id: &str, secret: &str) -> Option<Zeroizing<String>> {
    let is_digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_environment(environment) || !is_digits(id, ID) || !is_digits(secret, SECRET) {
        return None;
    }
    // With its whole length from the start, so that no shorter copy is left behind by growth.
    let mut key = Zeroizing::new(String::with_capacity("sg__".len() + environment.len() + ID + SECRET + CHECKSUM));
    for part in ["sg_", environment, "_", id, secret] {
        key.push_str(part);
    }
    let digits = checksum(&key);
    key.extend(digits.into_iter().map(char::from));
    Some(key)
}

/// Lower-case letters and digits: `live`, `test`.
pub fn is_environment(text: &str) -> bool {
    (1..=MAX_ENVIRONMENT).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
}

/// The one spelling of a UUID, 8-4-4-4-12 hexadecimal digits in lower case, whatever its version (RFC 9562 §4): no braces, no `urn:uuid:`,
/// no digits without dashes.
pub fn uuid(text: &str) -> Option<Zeroizing<String>> {
    let is_dash = |index: usize| matches!(index, 8 | 13 | 18 | 23);
    let good = |(index, byte): (usize, u8)| if is_dash(index) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    (text.len() == 36 && text.bytes().enumerate().all(good)).then(|| Zeroizing::new(text.to_ascii_lowercase()))
}

/// CRC-32 in digits, the highest first.
fn checksum(text: &str) -> [u8; CHECKSUM] {
    let mut rest = crc32(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62.get(rest as usize % BASE62.len()).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits
}

/// The remainders of every byte by the polynomial of IEEE 802.3 §3.2.9, bits reversed, sixteen a row.
const REMAINDERS: [[u32; 16]; 16] = [
    row(0x00),
    row(0x10),
    row(0x20),
    row(0x30),
    row(0x40),
    row(0x50),
    row(0x60),
    row(0x70),
    row(0x80),
    row(0x90),
    row(0xA0),
    row(0xB0),
    row(0xC0),
    row(0xD0),
    row(0xE0),
    row(0xF0),
];

const fn row(first: u32) -> [u32; 16] {
    [
        remainder(first),
        remainder(first | 1),
        remainder(first | 2),
        remainder(first | 3),
        remainder(first | 4),
        remainder(first | 5),
        remainder(first | 6),
        remainder(first | 7),
        remainder(first | 8),
        remainder(first | 9),
        remainder(first | 10),
        remainder(first | 11),
        remainder(first | 12),
        remainder(first | 13),
        remainder(first | 14),
        remainder(first | 15),
    ]
}

const fn remainder(byte: u32) -> u32 {
    let (mut rest, mut bit) = (byte, 0);
    while bit < 8 {
        rest = if rest & 1 == 1 { (rest >> 1) ^ 0xEDB8_8320 } else { rest >> 1 };
        bit += 1;
    }
    rest
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let index = (crc ^ u32::from(*byte)) & 0xFF;
        let remainder = REMAINDERS.get(index as usize >> 4).and_then(|row| row.get(index as usize & 15));
        (crc >> 8) ^ remainder.copied().unwrap_or_default()
    })
}

impl std::fmt::Debug for Parts<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Parts").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET_TEXT: &str = "abcdefghijKLMNOPQRST0123456789";

    fn key() -> Zeroizing<String> {
        form("live", "Ab3dEf7h", SECRET_TEXT).unwrap()
    }

    #[test]
    fn the_checksum_is_that_of_ieee_802_3() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
        // 62^6 is more than 2^32, so that six digits hold any remainder.
        assert!(62_u64.pow(6) > u64::from(u32::MAX));
    }

    #[test]
    fn a_key_comes_apart_as_it_was_put_together() {
        let key = key();
        let parts = parse(&key).unwrap();
        assert_eq!((parts.environment, parts.id, parts.prefix), ("live", "Ab3dEf7h", "sg_live_Ab3dEf7h"));
        assert_eq!(key.len(), "sg_live_".len() + 44);
        assert!(!format!("{parts:?}").contains(SECRET_TEXT));
    }

    #[test]
    fn one_changed_character_breaks_the_checksum() {
        let key = key();
        for index in "sg_".len()..key.len() {
            for other in [b'x', b'0'] {
                let mut bytes = key.as_bytes().to_vec();
                if bytes[index] == other || bytes[index] == b'_' {
                    continue;
                }
                bytes[index] = other;
                assert_eq!(parse(std::str::from_utf8(&bytes).unwrap()).err(), Some(Fault::Checksum), "{index}");
            }
        }
    }

    #[test]
    fn what_is_not_of_the_form_is_no_key() {
        let key = key();
        let odd = [
            String::new(),
            "sg_".into(),
            "sg_live_".into(),
            key.replace("sg_", "SG_"),
            key.replace("live", "Live"),
            key.replace("live", ""),
            key.replace("live", "live_test"),
            key.replace("live", "seventeen-letters"),
            format!("{}x", *key),
            format!(" {}", *key),
            key[..key.len() - 1].to_owned(),
            key.replace("abc", "ab-"),
            key.replace("abc", "ab\u{e9}"),
        ];
        for odd in odd {
            assert_eq!(parse(&odd).err(), Some(Fault::Form), "{odd}");
        }
        for (environment, id, secret) in
            [("", "Ab3dEf7h", SECRET_TEXT), ("live", "Ab3dEf7", SECRET_TEXT), ("live", "Ab3dEf7h", "short"), ("a_b", "Ab3dEf7h", SECRET_TEXT)]
        {
            assert!(form(environment, id, secret).is_none(), "{environment} {id} {secret}");
        }
    }

    #[test]
    fn a_uuid_has_one_spelling_whatever_its_version() {
        let canonical = "0f8fad5b-d9cb-469f-a165-70867728950e";
        assert_eq!(uuid(canonical).unwrap().as_str(), canonical);
        assert_eq!(uuid(&canonical.to_uppercase()).unwrap().as_str(), canonical);
        assert!(uuid("ffffffff-ffff-ffff-ffff-ffffffffffff").is_some());
        assert!(uuid("00000000-0000-0000-0000-000000000000").is_some());
        for odd in [
            "",
            "0f8fad5bd9cb469fa16570867728950e",
            "{0f8fad5b-d9cb-469f-a165-70867728950e}",
            "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
            "0f8fad5b-d9cb-469f-a165-70867728950",
            "0f8fad5b-d9cb-469f-a165-70867728950e0",
            "0f8fad5bd-9cb-469f-a165-70867728950e",
            "0f8fad5b-d9cb-469f-a165-70867728950g",
            "0f8fad5b-d9cb-469f-a165_70867728950e",
            " 0f8fad5b-d9cb-469f-a165-70867728950",
        ] {
            assert!(uuid(odd).is_none(), "{odd}");
        }
    }
}
