//! What somebody typed into a code of an authenticator or a backup code.
//! Guesses nothing: a text of another form is no code, and is not an attempt.

use std::fmt;

use zeroize::Zeroizing;

use super::totp::Digits;

/// Crockford's base 32: no `i`, `l`, `o`, `u`; the first three are read as `1`, `1`, `0`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The code of a request.
#[derive(Debug)]
pub enum Code {
    Totp(Digits),
    Backup(BackupCode),
}

/// `xxxxx-xxxxx`: 50 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct BackupCode(Zeroizing<String>);

impl Code {
    /// Spaces count for nothing: authenticators show `123 456`.
    pub fn parse(text: &str) -> Option<Self> {
        // long enough for both forms with a space between any two characters
        if text.len() > 32 {
            return None;
        }
        let text: Zeroizing<String> = Zeroizing::new(text.chars().filter(|char| *char != ' ').collect());
        Digits::parse(&text).map(Self::Totp).or_else(|| BackupCode::parse(&text).map(Self::Backup))
    }
}

impl BackupCode {
    pub fn new(random: [u8; 10]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(11));
        for (at, byte) in random.iter().enumerate() {
            if at == 5 {
                text.push('-');
            }
            text.extend(ALPHABET.get(usize::from(byte & 31)).map(|letter| char::from(*letter)));
        }
        Self(text)
    }

    /// Upper or lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let (left, right) = text.split_once('-')?;
        if left.len() != 5 || right.len() != 5 {
            return None;
        }
        let mut read = Zeroizing::new(String::with_capacity(11));
        for (at, byte) in text.bytes().enumerate() {
            let letter = match byte.to_ascii_lowercase() {
                b'o' => b'0',
                b'i' | b'l' => b'1',
                letter => letter,
            };
            if at != 5 && !ALPHABET.contains(&letter) {
                return None;
            }
            read.push(char::from(letter));
        }
        Some(Self(read))
    }

    /// To be shown once, or to be hashed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BackupCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("BackupCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> &'static str {
        match Code::parse(text) {
            Some(Code::Totp(_)) => "totp",
            Some(Code::Backup(_)) => "backup",
            None => "none",
        }
    }

    #[test]
    fn codes_are_known_by_their_form_and_spaces_are_stripped() {
        for text in ["123456", "123 456", " 1 2 3 4 5 6 "] {
            assert_eq!(kind(text), "totp", "{text}");
        }
        for text in ["abcde-12345", "ABCDE-12345", "abcde - 12345", "oilOI-LOILo"] {
            assert_eq!(kind(text), "backup", "{text}");
        }
        for text in [
            "",
            "12345",
            "1234567",
            "123-456",
            "123\t456",
            "１２３４５６",
            "abcdu-12345",
            "abcde12345",
            "abcd-e12345",
            "abcde--2345",
            "abcde-1234é",
            "abcde-12345-",
        ] {
            assert_eq!(kind(text), "none", "{text}");
        }
        assert_eq!(kind(&format!("{}123456", " ".repeat(1000))), "none");
    }

    #[test]
    fn a_backup_code_is_the_same_in_either_case_and_with_letters_that_look_like_digits() {
        let parse = |text| BackupCode::parse(text).unwrap();
        assert_eq!(parse("0A1bc-11xyz").expose(), "0a1bc-11xyz");
        assert_eq!(parse("OaIBC-lixYZ"), parse("0A1bc-11xyz"));
    }

    #[test]
    fn a_new_backup_code_is_read_back_as_itself() {
        for turn in 0..=255_u8 {
            let code = BackupCode::new([turn, 1, 2, 3, 4, 5, 6, 7, turn.wrapping_mul(7), 9]);
            assert_eq!(BackupCode::parse(code.expose()), Some(code.clone()), "{turn}");
            assert_eq!(BackupCode::parse(&code.expose().to_uppercase()), Some(code));
        }
    }

    #[test]
    fn a_code_has_no_printable_form() {
        assert_eq!(format!("{:?} {:?}", Code::parse("123456"), Code::parse("abcde-12345")), "Some(Totp(Digits(…))) Some(Backup(BackupCode(…)))");
    }
}
