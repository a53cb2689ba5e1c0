//! Ten backup codes into what is kept of them (Argon2id, a PHC string each), and a code typed into the one that it is.
//! Waits for nobody, and takes some 25 ms and 19 MiB for it: not to be called where others wait.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;

use super::code::BackupCode;

pub const COUNT: usize = 10;

/// KiB, passes, lanes: OWASP's least, and enough for a code that nobody chose.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// More than this is not what was written here, and is not computed.
const MOST: (u32, u32, u32) = (64 * 1024, 8, 4);
const TAG: usize = 32;

/// A code that was not used yet, as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    pub slot: i64,
    pub hash: String,
}

pub fn generate() -> Result<Vec<BackupCode>, getrandom::Error> {
    let new = || {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map(|()| BackupCode::new(random))
    };
    (0..COUNT).map(|_| new()).collect()
}

/// One salt for the ten, so that a code is looked for by one computation, whichever it is. It gives away that a guess can be for any of
/// ten: 46 bits instead of 50.
pub fn hash(codes: &[BackupCode]) -> Option<Vec<String>> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).ok()?;
    let (memory, passes, lanes) = COST;
    let head = format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${}", STANDARD_NO_PAD.encode(salt));
    codes.iter().map(|code| Some(format!("{head}${}", STANDARD_NO_PAD.encode(compute(&head, code)?)))).collect()
}

/// The slot of the code. All are compared, whichever it is.
pub fn find(code: &BackupCode, kept: &[Kept]) -> Option<i64> {
    let mut known: Option<(&str, [u8; TAG])> = None;
    let mut found = None;
    for Kept { slot, hash } in kept {
        let Some((head, tag)) = hash.rsplit_once('$') else { continue };
        let own = match known {
            Some((same, own)) if same == head => own,
            _ => compute(head, code)?,
        };
        known = Some((head, own));
        let Ok(tag) = STANDARD_NO_PAD.decode(tag) else { continue };
        if bool::from(tag.ct_eq(&own)) {
            found = Some(*slot);
        }
    }
    found
}

/// `head` is a PHC string without its last part.
fn compute(head: &str, code: &BackupCode) -> Option<[u8; TAG]> {
    let (costs, salt) = head.strip_prefix("$argon2id$v=19$")?.split_once('$')?;
    let mut costs = costs.split(',');
    let mut cost = |name: &str, most: u32| costs.next()?.strip_prefix(name)?.parse().ok().filter(|cost| *cost <= most);
    let (memory, passes, lanes) = (cost("m=", MOST.0)?, cost("t=", MOST.1)?, cost("p=", MOST.2)?);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory, passes, lanes, Some(TAG)).ok()?);
    let mut tag = [0; TAG];
    argon2.hash_password_into(code.expose().as_bytes(), &STANDARD_NO_PAD.decode(salt).ok()?, &mut tag).ok()?;
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(hashes: Vec<String>) -> Vec<Kept> {
        hashes.into_iter().zip(0..).map(|(hash, slot)| Kept { slot, hash }).collect()
    }

    #[test]
    fn a_code_is_found_in_its_slot_and_another_in_none() {
        let codes = generate().unwrap();
        assert_eq!(codes.len(), COUNT);
        let kept = kept(hash(&codes).unwrap());
        assert_eq!((find(&codes[0], &kept), find(&codes[9], &kept)), (Some(0), Some(9)));
        assert_eq!(find(&codes[3], &kept[4..]), None);
        assert_eq!(find(&BackupCode::new([7; 10]), &kept), None);
        assert!(kept.iter().all(|kept| codes.iter().all(|code| !kept.hash.contains(code.expose()))));
    }

    #[test]
    fn the_form_is_that_of_every_argon2_library() {
        let head = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ";
        let code = BackupCode::parse("abcde-12345").unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(256, 2, 1, Some(TAG)).unwrap());
        let mut tag = [0; TAG];
        argon2.hash_password_into(b"abcde-12345", b"somesalt", &mut tag).unwrap();
        assert_eq!(compute(head, &code), Some(tag));
    }

    #[test]
    fn what_was_not_written_here_is_never_computed() {
        let code = BackupCode::new([1; 10]);
        for head in [
            "",
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=256,t=900,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=256,t=2$c29tZXNhbHQ",
            "$argon2id$v=19$m=256,t=2,p=1$!",
        ] {
            assert_eq!(compute(head, &code), None, "{head}");
        }
        assert_eq!(find(&code, &[Kept { slot: 0, hash: "no hash".to_owned() }]), None);
    }
}
