//! Randomness into the text of a key.
//! Is shown where it is made, once, and wiped after; has no printable form.

use std::fmt;

use zeroize::Zeroizing;

use crate::credential::key_format::{self, BASE62, Format, ID, SECRET};
use crate::management::problem::Problem;
use crate::principal::pepper::Peppers;
use crate::store::keys::{Kept, Key};

/// A key in clear.
pub struct Secret {
    pub form: Format,
    /// The row's; for a key of the gate's own form, a part of it.
    pub id: String,
    pub prefix: String,
    text: Zeroizing<String>,
}

impl Secret {
    /// A new key, under a new id.
    pub fn new(environment: &str) -> Result<Self, Problem> {
        let (id, secret) = (digits(ID)?, digits(SECRET)?);
        Self::own(environment, &id, &secret).ok_or_else(broken)
    }

    /// Another secret for a key, in the form that it has.
    pub fn again(key: &Key) -> Result<Self, Problem> {
        match key.form {
            Format::Scopegate => {
                let environment = key.prefix.split('_').nth(1).unwrap_or_default();
                Self::own(environment, &key.id, &digits(SECRET)?).ok_or_else(broken)
            }
            Format::Uuid => {
                let mut bytes = Zeroizing::new([0; 16]);
                getrandom::fill(&mut *bytes).map_err(|_| broken())?;
                Ok(Self { form: Format::Uuid, id: key.id.clone(), prefix: String::new(), text: spelled(*bytes) })
            }
        }
    }

    /// One that exists already, under a new id. `None` where it is no UUID.
    pub fn imported(text: &str) -> Result<Option<Self>, Problem> {
        let id = digits(ID)?.to_string();
        Ok(key_format::uuid(text).map(|text| Self { form: Format::Uuid, id, prefix: String::new(), text }))
    }

    fn own(environment: &str, id: &str, secret: &str) -> Option<Self> {
        let text = key_format::form(environment, id, secret)?;
        let prefix = key_format::parse(&text).ok()?.prefix.to_owned();
        Some(Self { form: Format::Scopegate, id: id.to_owned(), prefix, text })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is written down of it.
    pub fn kept(&self, peppers: &Peppers) -> Kept {
        let (pepper, digest) = peppers.newest(&self.text);
        Kept { digest, pepper: pepper.to_owned() }
    }
}

fn broken() -> Problem {
    Problem::unavailable("The system gives no randomness")
}

/// Digits of base 62, each as likely as any other.
fn digits(count: usize) -> Result<Zeroizing<String>, Problem> {
    let mut text = Zeroizing::new(String::with_capacity(count));
    let mut random = Zeroizing::new([0; 64]);
    while text.len() < count {
        getrandom::fill(&mut *random).map_err(|_| broken())?;
        // 248 is the last multiple of 62 in a byte; what is above would make some digits more likely.
        let fair = random.iter().filter(|byte| **byte < 248).filter_map(|byte| BASE62.get(usize::from(*byte) % BASE62.len()));
        let room = count - text.len();
        text.extend(fair.take(room).copied().map(char::from));
    }
    Ok(text)
}

/// Random bytes as a UUID of version 4 (RFC 9562 §5.4).
fn spelled(random: [u8; 16]) -> Zeroizing<String> {
    let bits = u128::from_be_bytes(random) & !(0xF << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = Zeroizing::new(format!("{bits:032x}"));
    let mut text = Zeroizing::new(String::with_capacity(36));
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secret").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_has_its_own_form_and_a_rotated_one_its_old_id() {
        let secret = Secret::new("test").unwrap();
        let parts = key_format::parse(secret.text()).unwrap();
        assert_eq!((parts.environment, parts.id, parts.prefix), ("test", &*secret.id, &*secret.prefix));
        assert_ne!(Secret::new("test").unwrap().text(), secret.text());
        assert!(!format!("{secret:?}").contains(&secret.text()[17..]));
    }

    #[test]
    fn every_digit_is_as_likely_as_any_other() {
        let mut counts = [0_u32; 128];
        for byte in digits(62 * 1000).unwrap().bytes() {
            counts[usize::from(byte)] += 1;
        }
        // Ten standard deviations of a count of a thousand.
        assert!(BASE62.iter().all(|digit| (680..1320).contains(&counts[usize::from(*digit)])), "{counts:?}");
    }

    #[test]
    fn a_new_uuid_is_one_of_version_4_in_its_canonical_spelling() {
        let text = spelled([0xFF; 16]);
        assert_eq!(text.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(key_format::uuid(&text).as_deref(), Some(&*text));
        assert_eq!(spelled([0; 16]).as_str(), "00000000-0000-4000-8000-000000000000");
    }
}
