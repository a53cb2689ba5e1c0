//! A managed key into the digest that it is looked up by: HMAC-SHA-256 under keys that the store never sees.
//! Keeps no key; a pepper has no printable form.

use std::fmt;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use super::record::KeyDigest;

/// Peppers by id. The first is for new keys, the others are for those from before it.
pub struct Peppers {
    first: (Box<str>, Key),
    others: Box<[(Box<str>, Key)]>,
}

impl Peppers {
    /// `None` where there are none.
    pub fn new<'p>(list: impl IntoIterator<Item = (&'p str, &'p [u8])>) -> Option<Self> {
        let mut list = list.into_iter().map(|(id, secret)| (id.into(), Key::new(HMAC_SHA256, secret)));
        Some(Self { first: list.next()?, others: list.collect() })
    }

    /// The digest of a new key, in its canonical spelling, and the id of the pepper.
    pub fn newest(&self, key: &str) -> (&str, KeyDigest) {
        (&self.first.0, digest(&self.first.1, key))
    }

    /// What a presented key, in its canonical spelling, may be kept as.
    pub fn digests(&self, key: &str) -> impl Iterator<Item = KeyDigest> {
        std::iter::once(&self.first).chain(&self.others).map(move |(_, pepper)| digest(pepper, key))
    }
}

fn digest(pepper: &Key, key: &str) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(sign(pepper, key.as_bytes()).as_ref());
    KeyDigest(bytes)
}

impl fmt::Debug for Peppers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Peppers({})", self.others.len() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_rfc_4231() {
        // §4.3.
        let peppers = Peppers::new([("two", b"Jefe".as_slice()), ("one", b"other".as_slice())]).unwrap();
        let (id, digest) = peppers.newest("what do ya want for nothing?");
        assert_eq!((id, &digest.0[..4]), ("two", [0x5b, 0xdc, 0xc1, 0x46].as_slice()));
        assert_eq!(peppers.digests("what do ya want for nothing?").next(), Some(digest));
        assert_eq!((peppers.digests("x").count(), format!("{peppers:?}")), (2, "Peppers(2)".to_owned()));
        assert!(Peppers::new([]).is_none());
    }
}
