//! The `store_keys` file into what the store's content is hashed, encrypted and signed under.
//! The keys themselves are in no store, no log and no answer; a line of the file is told by its id or its number, never by its text.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::jose::{Algorithm, HmacKey, Jwk, Key, KeySet};
use crate::principal::pepper::Peppers;

/// Bytes of a key.
const LENGTH: usize = 32;
/// A file of keys has a few lines.
const LONGEST: u64 = 64 * 1024;

/// Every key of the file; the first is for what is new.
pub struct StoreKeys {
    /// What managed keys are hashed under.
    pub peppers: Arc<Peppers>,
    /// What tokens of a second factor are verified under.
    pub factors: Arc<KeySet>,
    signing: HmacKey,
    seals: Vec<Seal>,
}

struct Seal {
    id: Box<str>,
    key: RandomizedNonceKey,
    proof: [u8; LENGTH],
}

/// A line of the file.
struct Line {
    id: Box<str>,
    key: Zeroizing<Vec<u8>>,
}

/// Something encrypted, and the id of the key for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub key: Box<str>,
    pub bytes: Vec<u8>,
}

/// What is wrong with the file, and whether it is there at all.
#[derive(Debug)]
pub enum KeysFault {
    Absent,
    /// One line each.
    Wrong(Vec<String>),
}

/// The keys of the file, and who may read it.
pub fn read(path: &Path) -> Result<(StoreKeys, Metadata), KeysFault> {
    let wrong = |why: String| KeysFault::Wrong(vec![why]);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeysFault::Absent),
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    };
    let meta = file.metadata().map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if !meta.is_file() || meta.len() > LONGEST {
        return Err(wrong("is no file of keys; it is one line `id:base64` a key".into()));
    }
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(meta.len()).unwrap_or_default() + 1));
    file.take(LONGEST).read_to_string(&mut text).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let keys = StoreKeys::parse(&text).map_err(KeysFault::Wrong)?;
    Ok((keys, meta))
}

/// The keys of a file that must be there. `Err` has one line a fault.
pub fn read_for_use(path: &Path) -> Result<StoreKeys, Vec<String>> {
    let told = |why: String| format!("`store_keys`: {} {why}", path.display());
    match read(path) {
        Ok((keys, _)) => Ok(keys),
        Err(KeysFault::Absent) => Err(vec![told("is not there".into())]),
        Err(KeysFault::Wrong(faults)) => Err(faults.into_iter().map(told).collect()),
    }
}

/// The same for a store in a file: with a new store come new keys.
pub fn read_or_make(path: &Path, store: &Path) -> Result<StoreKeys, Vec<String>> {
    // Asked first: another process may be making both.
    let is_old = std::fs::metadata(store).is_ok_and(|store| store.len() > 0);
    if matches!(read(path), Err(KeysFault::Absent)) {
        if is_old {
            let (keys, store) = (path.display(), store.display());
            return Err(vec![format!("`store_keys`: {keys} is not there, and the store {store} was written under its keys; put it back")]);
        }
        make(path).map_err(|error| vec![format!("`store_keys`: {} cannot be made: {error}", path.display())])?;
    }
    read_for_use(path)
}

/// A file with one new key, for this user alone. Of several that make it at once, one does, and all read that one's.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut key = Zeroizing::new([0; LENGTH]);
    getrandom::fill(&mut *key).map_err(io::Error::other)?;
    let line = Zeroizing::new(format!("1:{}\n", Zeroizing::new(BASE64_STANDARD.encode(key.as_slice())).as_str()));
    // Written under another name first, so that nobody finds half of it.
    let draft = folder.join(format!(".store.keys.{}.{:x}", std::process::id(), random()?));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| std::fs::hard_link(&draft, path));
    std::fs::remove_file(&draft)?;
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done.and_then(|()| File::open(folder)?.sync_all()),
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_ne_bytes(bytes))
}

impl StoreKeys {
    /// Keys that end with the process.
    pub fn passing() -> io::Result<Self> {
        let mut key = Zeroizing::new(vec![0; LENGTH]);
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Self::of(&[Line { id: "1".into(), key }]).ok_or_else(|| io::Error::other("no key can be derived"))
    }

    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let (mut keys, mut faults): (Vec<Line>, Vec<String>) = (Vec::new(), Vec::new());
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        for (index, line) in lines {
            match Line::parse(line) {
                Ok(line) => match keys.iter().find(|other| other.id == line.id || other.key == line.key) {
                    Some(other) if other.id == line.id => faults.push(format!("has two keys `{}`; an id stands for one key", line.id)),
                    Some(other) => faults.push(format!("has the same key as `{}` and as `{}`; keep one", other.id, line.id)),
                    None => keys.push(line),
                },
                Err(why) => faults.push(format!("has a line {} {why}", index + 1)),
            }
        }
        if faults.is_empty() && keys.is_empty() {
            faults.push("has no key; `openssl rand -base64 32` makes one, for a line `id:base64`".into());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Self::of(&keys).ok_or_else(|| vec!["has a key that is not to be used".into()])
    }

    /// A key for each purpose (RFC 5869), so that none of them tells of another.
    fn of(lines: &[Line]) -> Option<Self> {
        let (mut peppers, mut factors, mut signing, mut seals) = (Vec::new(), Vec::new(), None, Vec::new());
        for line in lines {
            let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"scopegate store keys 1").extract(&line.key);
            let derive = |purpose: &str| {
                let mut derived = Zeroizing::new([0; LENGTH]);
                root.expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256).ok()?.fill(&mut *derived).ok()?;
                Some(derived)
            };
            peppers.push((&*line.id, derive("pepper of managed keys")?));
            let factor = derive("tokens of a second factor")?;
            signing = signing.or_else(|| Some(HmacKey::new(&*factor)));
            factors.push(Jwk { kid: None, alg: Some(Algorithm::Hs256), key: Key::hmac(&*factor) });
            let key = RandomizedNonceKey::new(&AES_256_GCM, &*derive("encryption at rest")?).ok()?;
            seals.push(Seal { id: line.id.clone(), key, proof: *derive("proof of the key")? });
        }
        let peppers = Peppers::new(peppers.iter().map(|(id, pepper)| (*id, pepper.as_slice())))?;
        Some(Self { peppers: Arc::new(peppers), factors: Arc::new(KeySet::of(factors)), signing: signing?, seals })
    }

    fn seal_of(&self, id: &str) -> Option<&Seal> {
        self.seals.iter().find(|seal| *seal.id == *id)
    }

    /// Encrypts under the first key. `bound` says what it is and whose: it opens for the same alone.
    pub fn seal(&self, plain: &[u8], bound: &[u8]) -> Option<Sealed> {
        let first = self.seals.first()?;
        let mut bytes = plain.to_vec();
        let nonce = first.key.seal_in_place_append_tag(Aad::from(bound), &mut bytes).ok()?;
        Some(Sealed { key: first.id.clone(), bytes: [nonce.as_ref().as_slice(), &bytes].concat() })
    }

    /// `None` where the key is not in the file, or it is not what was sealed.
    pub fn open(&self, id: &str, sealed: &[u8], bound: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = Zeroizing::new(rest.to_vec());
        let length = self.seal_of(id)?.key.open_in_place(nonce, Aad::from(bound), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }

    /// What tokens of a second factor are signed with.
    pub fn signing(&self) -> &HmacKey {
        &self.signing
    }

    /// Whether the key of this id left this proof; `None` where there is no such key.
    pub fn proves(&self, id: &str, proof: &[u8]) -> Option<bool> {
        Some(self.seal_of(id)?.proof.ct_eq(proof).into())
    }

    /// What each key leaves in the store, from which it cannot be found again.
    pub fn proofs(&self) -> impl Iterator<Item = (&str, &[u8; LENGTH])> {
        self.seals.iter().map(|seal| (&*seal.id, &seal.proof))
    }
}

impl Line {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let (id, key) = line.trim().split_once(':').ok_or("without `:`; it is `id:base64`")?;
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err("with an odd id; use letters, digits, `-`, `_` and `.`");
        }
        let key = Zeroizing::new(BASE64_STANDARD.decode(key.trim()).map_err(|_| "whose key is not base64")?);
        if key.len() < LENGTH {
            return Err("whose key is under 32 bytes; `openssl rand -base64 32` makes one");
        }
        Ok(Self { id: id.into(), key })
    }
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("StoreKeys(…)")
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Sealed(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn line(id: &str, byte: u8) -> String {
        format!("{id}:{}\n", BASE64_STANDARD.encode([byte; LENGTH]))
    }

    fn faults(text: &str) -> Vec<String> {
        StoreKeys::parse(text).err().unwrap_or_default()
    }

    #[test]
    fn what_is_sealed_opens_under_its_key_and_for_its_purpose_alone() {
        let keys = StoreKeys::parse(&(line("new", 1) + &line("old", 2))).unwrap();
        let sealed = keys.seal(b"a secret", b"mfa:alice").unwrap();
        assert_eq!(&*sealed.key, "new");
        assert!(!sealed.bytes.windows(8).any(|part| part == b"a secret"));
        assert_eq!(keys.open("new", &sealed.bytes, b"mfa:alice").unwrap().as_slice(), b"a secret");
        assert!(keys.open("new", &sealed.bytes, b"mfa:bob").is_none(), "another's");
        assert!(keys.open("old", &sealed.bytes, b"mfa:alice").is_none(), "another key");
        assert!(keys.open("none", &sealed.bytes, b"mfa:alice").is_none(), "no such key");
        assert!(keys.open("new", &sealed.bytes[..NONCE_LEN], b"mfa:alice").is_none() && keys.open("new", b"", b"").is_none());
        assert_ne!(keys.seal(b"a secret", b"mfa:alice").unwrap().bytes, sealed.bytes, "each time another nonce");
    }

    #[test]
    fn a_rotated_key_still_opens_and_still_digests() {
        let before = StoreKeys::parse(&line("old", 2)).unwrap();
        let after = StoreKeys::parse(&(line("new", 1) + &line("old", 2))).unwrap();
        let sealed = before.seal(b"a secret", b"x").unwrap();
        assert_eq!(after.open("old", &sealed.bytes, b"x").unwrap().as_slice(), b"a secret");
        let (id, digest) = before.peppers.newest("sg_live_1");
        assert_eq!(id, "old");
        assert_ne!(after.peppers.newest("sg_live_1").1, digest);
        assert_eq!(after.peppers.digests("sg_live_1").nth(1), Some(digest));
        let token = |keys: &StoreKeys| crate::jose::sign_hs256(keys.signing(), &serde_json::json!({"alg": "HS256"}), &serde_json::json!({}));
        let verifies = |keys: &StoreKeys, token: &str| keys.factors.verify(&crate::jose::Jws::parse(token).unwrap(), &[Algorithm::Hs256]).ok();
        assert_eq!((verifies(&after, &token(&before)), verifies(&after, &token(&after))), (Some(1), Some(0)));
        assert_eq!(verifies(&before, &token(&after)), None);
    }

    #[test]
    fn a_key_proves_itself_and_no_other() {
        let keys = StoreKeys::parse(&line("a", 1)).unwrap();
        let other = StoreKeys::parse(&line("a", 2)).unwrap();
        let (id, proof) = keys.proofs().next().unwrap();
        assert_eq!(keys.proves(id, proof), Some(true));
        assert_eq!(other.proves(id, proof), Some(false));
        assert_eq!(keys.proves("b", proof), None);
    }

    #[test]
    fn every_wrong_line_is_a_fault_that_shows_no_key() {
        let short = format!("short:{}\n", BASE64_STANDARD.encode([9; 31]));
        let text = line("a", 1) + "no colon\n" + &line("a", 2) + &line("b", 1) + "c:!!!!\n" + &short + &line("odd id", 4);
        let faults = faults(&text);
        assert_eq!(faults.len(), 6, "{faults:#?}");
        for secret in [BASE64_STANDARD.encode([1; LENGTH]), BASE64_STANDARD.encode([9; 31]), "!!!!".into()] {
            assert!(!faults.iter().any(|fault| fault.contains(&secret)), "{faults:#?}");
        }
    }

    #[test]
    fn an_empty_file_is_a_fault_and_a_comment_is_none() {
        assert_eq!(faults("").len(), 1);
        assert_eq!(faults("# nothing\n\n").len(), 1);
        assert!(StoreKeys::parse(&format!("# of production\n\n{}", line("a", 1))).is_ok());
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.keys");
        assert!(matches!(read(&path), Err(KeysFault::Absent)));
        make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let first = std::fs::read(&path).unwrap();
        let mode = || read(&path).unwrap().1.permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600, "the mode of the file that was read");
        make(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(mode(), 0o640);
    }
}
