//! A token into the keyed tag that it is looked up by. The key is random and lives as long as the process;
//! no token is kept, and without the key a tag says nothing about one.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use siphasher::sip128::{Hasher128, SipHasher24};
use subtle::{Choice, ConstantTimeEq};

/// SipHash-2-4-128 (Aumasson, Bernstein, 2012) as a pseudo-random function under a secret 128-bit key: who cannot see
/// the key cannot steer where a guess falls, and a wrong token meets one of a million tags once in 2^108 tries.
#[derive(Clone)]
pub struct TagKey {
    clear: [u8; 16],
    hashed: [u8; 16],
}

/// What a token is known by inside the process.
#[derive(Clone, Copy)]
pub struct Tag([u64; 2]);

impl TagKey {
    /// `random` comes from the operating system, once per process.
    pub fn new(random: [u8; 32]) -> Self {
        let (mut clear, mut hashed) = ([0; 16], [0; 16]);
        let (left, right) = random.split_at(16);
        clear.copy_from_slice(left);
        hashed.copy_from_slice(right);
        Self { clear, hashed }
    }

    /// The tag of a token that the operator wrote in clear.
    pub fn of_token(&self, token: &str) -> Tag {
        tag(&self.clear, token.as_bytes())
    }

    /// The tag of a token of which the operator wrote the SHA-256 digest.
    pub fn of_sha256(&self, digest: &[u8]) -> Tag {
        tag(&self.hashed, digest)
    }
}

/// SHA-256, of a token the form of `token_sha256`.
pub fn sha256(text: impl AsRef<[u8]>) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_ref()).as_ref());
    bytes
}

fn tag(key: &[u8; 16], bytes: &[u8]) -> Tag {
    use std::hash::Hasher;
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(bytes);
    let hash = hasher.finish128();
    Tag([hash.h1, hash.h2])
}

impl Tag {
    /// The part that a hash table sorts by.
    pub fn bucket(self) -> u64 {
        self.0[0]
    }

    /// The other part, for whoever keeps several tables.
    pub fn shard(self) -> u64 {
        self.0[1]
    }
}

impl ConstantTimeEq for Tag {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tag(…)")
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TagKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_depend_on_key_token_and_form() {
        let (one, two) = (TagKey::new([1; 32]), TagKey::new([2; 32]));
        let same = |a: Tag, b: Tag| bool::from(a.ct_eq(&b));
        assert!(same(one.of_token("a"), one.of_token("a")));
        assert!(!same(one.of_token("a"), one.of_token("b")));
        assert!(!same(one.of_token("a"), two.of_token("a")));
        let mixed = TagKey::new(*b"0123456789abcdef0123456789abcdeF");
        assert!(!same(mixed.of_token("a"), mixed.of_sha256(b"a")));
    }

    #[test]
    fn sha256_is_sha256() {
        // FIPS 180-4, the one-block example.
        assert_eq!(sha256("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
