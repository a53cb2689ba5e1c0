//! What is added to the service's own calls: the token in a file, or one that is minted as Backstage does.
//! Gives out no token whose file is gone or has changed, and writes none down.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use http::HeaderValue;
use serde_json::json;
use zeroize::Zeroizing;

use crate::credential::MAX_TOKEN;
use crate::jose::{HmacKey, sign_hs256};

/// How long a minted token is valid and how long it is given out: the constants of Backstage's `ServerTokenManager`.
const VALID: i64 = 3600;
const REUSED: i64 = 600;
/// A file that has changed so lately may change again within the same tick of its clock.
const UNSETTLED: i64 = 2;

/// Where the credential of a listener's calls comes from.
pub enum Token {
    File(TokenFile),
    Backstage(Minted),
}

/// A file that is read again when it changes, as that of a Kubernetes projected token does.
pub struct TokenFile {
    path: PathBuf,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    stamp: Option<Stamp>,
    value: Option<HeaderValue>,
    /// The log has said that there is none.
    told: bool,
}

/// Device, inode, length and last change; links are followed.
type Stamp = (u64, u64, u64, (i64, i64));

/// `sub: backstage-server` for one hour under a shared secret, made anew every ten minutes.
pub struct Minted {
    key: HmacKey,
    last: Mutex<Option<(i64, HeaderValue)>>,
}

impl Token {
    pub fn file(path: PathBuf) -> Self {
        Self::File(TokenFile { path, last: Mutex::default() })
    }

    pub fn backstage(key: HmacKey) -> Self {
        Self::Backstage(Minted { key, last: Mutex::default() })
    }

    /// The value of `Authorization`; where there is none, the log says why.
    pub fn bearer(&self, now: i64) -> Option<HeaderValue> {
        match self {
            Self::File(file) => file.bearer(now),
            Self::Backstage(minted) => minted.bearer(now),
        }
    }
}

impl TokenFile {
    fn bearer(&self, now: i64) -> Option<HeaderValue> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before it is read: what changes in between is seen the next time.
        let stamp = stamp(&self.path);
        let is_settled = |(.., (changed, _)): &Stamp| now.saturating_sub(*changed) > UNSETTLED;
        if stamp.is_none() || last.stamp != stamp {
            let read = read(&self.path);
            if let (Err(message), false) = (&read, last.told) {
                tracing::warn!("no credential for outgoing calls: the token file {} {message}", self.path.display());
            }
            *last = Last { stamp: stamp.filter(is_settled), told: read.is_err(), value: read.ok() };
        }
        last.value.clone()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), (meta.ctime(), meta.ctime_nsec())))
}

/// The one word in a file.
fn read(path: &Path) -> Result<HeaderValue, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TOKEN + 2));
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_TOKEN as u64 + 2).read_to_end(&mut bytes).map_err(unreadable)?;
    let word = bytes.trim_ascii();
    if word.is_empty() || word.len() > MAX_TOKEN || !word.iter().all(u8::is_ascii_graphic) {
        return Err(format!("has {} bytes that are no token; it holds one word and nothing else", bytes.len()));
    }
    bearer(word).ok_or_else(|| "holds no token".into())
}

impl Minted {
    fn bearer(&self, now: i64) -> Option<HeaderValue> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, value)) = last.as_ref()
            && (0..REUSED).contains(&now.saturating_sub(*made))
        {
            return Some(value.clone());
        }
        let claims = json!({"sub": "backstage-server", "exp": now.saturating_add(VALID)});
        let value = bearer(sign_hs256(&self.key, &json!({"alg": "HS256"}), &claims).as_bytes())?;
        *last = Some((now, value.clone()));
        Some(value)
    }
}

fn bearer(token: &[u8]) -> Option<HeaderValue> {
    let text = Zeroizing::new([b"Bearer ", token].concat());
    let mut value = HeaderValue::from_bytes(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::File(_) => "File(…)",
            Self::Backstage(_) => "Backstage(…)",
        })
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenFile(…)")
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Minted(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::{Algorithm, Claims, Jws, Key, KeySet};

    /// Long after any file of a test has changed.
    const LATER: i64 = 1 << 40;

    fn text(value: Option<HeaderValue>) -> Option<String> {
        value.map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_token_file_is_read_again_when_it_changes_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::file(path.clone());
        assert_eq!(text(token.bearer(LATER)), None, "there is no file yet");
        std::fs::write(&path, "first\n").unwrap();
        assert_eq!(text(token.bearer(LATER)).as_deref(), Some("Bearer first"));
        // In place of the old one by a rename, as editors and kubelet do.
        let other = folder.path().join("other");
        std::fs::write(&other, "other").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(text(token.bearer(LATER)).as_deref(), Some("Bearer other"));
        std::fs::write(&path, "longer\n").unwrap();
        assert_eq!(text(token.bearer(LATER)).as_deref(), Some("Bearer longer"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text(token.bearer(LATER)), None, "a token whose file is gone is not given out");
        std::fs::write(&path, "again").unwrap();
        assert_eq!(text(token.bearer(LATER)).as_deref(), Some("Bearer again"));
    }

    #[test]
    fn the_swap_of_kubernetes_data_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["one", "two"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("token"), version).unwrap();
        }
        std::os::unix::fs::symlink("one", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", at("token")).unwrap();
        let token = Token::file(at("token"));
        assert_eq!(text(token.bearer(LATER)).as_deref(), Some("Bearer one"));
        std::os::unix::fs::symlink("two", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_eq!(text(token.bearer(LATER)).as_deref(), Some("Bearer two"));
    }

    #[test]
    fn two_changes_in_one_tick_are_both_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::file(path.clone());
        for word in ["one", "two", "six", "ten"] {
            std::fs::write(&path, word).unwrap();
            let changed = std::fs::metadata(&path).unwrap().ctime();
            assert_eq!(text(token.bearer(changed)), Some(format!("Bearer {word}")));
        }
    }

    #[test]
    fn a_file_that_holds_no_single_word_gives_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::file(path.clone());
        for bytes in [&b""[..], b" \n", b"Bearer word", b"two\nlines", b"caf\xC3\xA9", b"nul\0", "x".repeat(MAX_TOKEN + 1).as_bytes()] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(text(token.bearer(LATER)), None, "{bytes:?}");
        }
        std::fs::write(&path, format!("{}\r\n", "x".repeat(MAX_TOKEN))).unwrap();
        assert!(token.bearer(LATER).is_some());
        assert_eq!(text(Token::file(folder.path().into()).bearer(LATER)), None, "a folder");
    }

    #[test]
    fn a_minted_token_is_backstages_and_serves_ten_minutes() {
        let token = Token::backstage(HmacKey::new(b"a secret of the installation"));
        let start = 1_700_000_000;
        let first = text(token.bearer(start)).unwrap();
        let jws = Jws::parse(first.strip_prefix("Bearer ").unwrap()).unwrap();
        assert!(first.starts_with("Bearer eyJhbGciOiJIUzI1NiJ9."), "the header has `alg` alone: {first}");
        let keys = KeySet::single(Key::hmac(b"a secret of the installation"));
        assert!(keys.verify(&jws, &[Algorithm::Hs256]).is_ok());
        assert_eq!(jws.payload(), br#"{"sub":"backstage-server","exp":1700003600}"#);
        assert!(Claims::parse(jws.payload()).is_ok());
        assert_eq!(text(token.bearer(start + REUSED - 1)).as_ref(), Some(&first));
        let second = text(token.bearer(start + REUSED)).unwrap();
        assert_ne!(second, first);
        // A clock that was set back: the token in hand would be valid for longer than an hour.
        assert_ne!(text(token.bearer(start + REUSED - 1)), Some(second));
    }

    #[test]
    fn no_token_has_a_printable_form() {
        let token = Token::backstage(HmacKey::new(b"secret"));
        let value = token.bearer(0);
        assert_eq!(format!("{token:?} {value:?}"), "Backstage(…) Some(Sensitive)");
    }
}
