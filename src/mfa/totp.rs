//! A secret, a code and a second into the time step that the code belongs to (RFC 6238, SHA-1, 6 digits, 30 s).
//! Does not know which steps were used: whoever asks accepts a step once.

use std::fmt;

use aws_lc_rs::hmac;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// Seconds that a code is for.
pub const PERIOD: i64 = 30;
/// Steps before and after the present one (RFC 6238 §5.2).
const SKEW: [i64; 3] = [-1, 0, 1];
const MODULUS: u32 = 1_000_000;

/// RFC 4226 §4: 160 bits.
pub struct Secret(Zeroizing<[u8; 20]>);

/// Six digits.
#[derive(Clone, Copy)]
pub struct Digits(u32);

impl Secret {
    pub fn new(bytes: [u8; 20]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        <[u8; 20]>::try_from(bytes).ok().map(Self::new)
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// RFC 4648 §6, as authenticators take it: 20 bytes need no padding.
    pub fn base32(&self) -> Zeroizing<String> {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut text = Zeroizing::new(String::with_capacity(32));
        for five in self.0.chunks(5) {
            let word = five.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
            for shift in (0..40).step_by(5).rev() {
                let at = usize::try_from(word >> shift & 31).unwrap_or_default();
                text.extend(ALPHABET.get(at).map(|letter| char::from(*letter)));
            }
        }
        text
    }
}

impl Digits {
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok().map(Self) } else { None }
    }
}

/// The step of second `now`.
pub fn step(now: i64) -> i64 {
    now.div_euclid(PERIOD)
}

/// The newest step around `now` that the code is right for. All are looked at, however the first compares.
pub fn matching(secret: &Secret, code: Digits, now: i64) -> Option<i64> {
    let (mut found, mut at) = (Choice::from(0), 0_i64);
    for skew in SKEW {
        let candidate = step(now).saturating_add(skew);
        let same = (truncated(secret.as_bytes(), candidate) % MODULUS).ct_eq(&code.0);
        at.conditional_assign(&candidate, same);
        found |= same;
    }
    bool::from(found).then_some(at)
}

/// RFC 4226 §5.3, before the digits are cut off.
fn truncated(secret: &[u8], counter: i64) -> u32 {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret), &counter.to_be_bytes());
    let bytes = tag.as_ref();
    let offset = usize::from(bytes.last().copied().unwrap_or_default() & 15);
    let word = bytes.get(offset..offset + 4).and_then(|four| <[u8; 4]>::try_from(four).ok()).unwrap_or_default();
    u32::from_be_bytes(word) & 0x7fff_ffff
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Digits(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC: &[u8; 20] = b"12345678901234567890";

    fn code(secret: &Secret, at: i64) -> Digits {
        Digits(truncated(secret.as_bytes(), at) % MODULUS)
    }

    #[test]
    fn the_values_of_rfc_4226_appendix_d() {
        let codes: Vec<u32> = (0..10).map(|counter| truncated(RFC, counter) % MODULUS).collect();
        assert_eq!(codes, [755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871, 520_489]);
        assert_eq!((truncated(RFC, 0), truncated(RFC, 1)), (1_284_755_224, 1_094_287_082));
    }

    #[test]
    fn the_sha_1_values_of_rfc_6238_appendix_b() {
        for (second, digits) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            assert_eq!(truncated(RFC, step(second)) % 100_000_000, digits, "at {second}");
        }
    }

    #[test]
    fn another_implementation_makes_the_same_codes() {
        let theirs = totp_rs::Builder::new().with_secret(RFC.as_slice()).with_skew(0).build_noncompliant();
        for second in (0..200).map(|turn| turn * 12_345_677) {
            let ours = format!("{:06}", truncated(RFC, step(second)) % MODULUS);
            assert_eq!(ours, theirs.generate(u64::try_from(second).unwrap()).to_string(), "at {second}");
        }
    }

    #[test]
    fn a_code_is_right_in_its_step_and_one_before_and_after_it() {
        let secret = Secret::new(*RFC);
        let now = 1_700_000_010;
        for (away, step_found) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let found = matching(&secret, code(&secret, step(now) + away), now);
            assert_eq!(found, step_found.then_some(step(now) + away), "{away} steps away");
        }
        assert_eq!((step(59), step(60), step(-1)), (1, 2, -1));
    }

    #[test]
    fn only_six_ascii_digits_are_digits() {
        for text in ["", "12345", "1234567", "12 456", "12345a", "+12345", "１２３４５６", "-12345", "1234٥٦"] {
            assert!(Digits::parse(text).is_none(), "{text}");
        }
        assert_eq!((Digits::parse("000000").unwrap().0, Digits::parse("012345").unwrap().0), (0, 12_345));
    }

    #[test]
    fn a_secret_is_spelled_in_32_letters() {
        assert_eq!(*Secret::new(*RFC).base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(*Secret::new([0xff; 20]).base32(), "77777777777777777777777777777777");
        assert!(Secret::from_slice(&[1; 19]).is_none());
        assert_eq!(Secret::from_slice(RFC).unwrap().as_bytes(), RFC);
    }

    #[test]
    fn nothing_secret_is_printed() {
        assert_eq!(format!("{:?} {:?}", Secret::new(*RFC), Digits(123_456)), "Secret(…) Digits(…)");
    }
}
