//! The last good document of each key set into a file that a restart begins with, and back.
//! Believes no file that another user could have written, that is of another address, or that is too old.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::Where;
use super::freshness::SERVED;
use crate::fetch::BODY;

/// A document as a JSON text has a backslash before each quote.
const LONGEST: u64 = 2 * BODY as u64 + 4096;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What a file holds.
#[derive(Deserialize, Serialize)]
pub struct Kept {
    /// The digest of its address, in whose query a key can stand.
    of: String,
    /// Seconds since 1970.
    pub fetched_at: i64,
    /// Seconds, where the answer said so.
    pub max_age: Option<u64>,
    pub document: String,
}

/// A folder of this user's alone.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    owner: u32,
    warned: AtomicBool,
}

impl Disk {
    /// Makes the folder where there is none.
    pub fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // What this process writes is its own: so it learns who it is.
        let probe = folder.join(format!(".probe.{}", std::process::id()));
        let owner = create(&probe)?.metadata()?.uid();
        fs::remove_file(&probe)?;
        let meta = fs::metadata(folder)?;
        if meta.uid() != owner || meta.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(io::Error::other("other users may write there; it takes a folder of this user's with mode 0700"));
        }
        Ok(Self { folder: folder.to_owned(), owner, warned: AtomicBool::new(false) })
    }

    /// The copy of `place`, if it can be believed at `now`.
    pub fn read(&self, place: &Where, now: i64) -> Option<Kept> {
        let path = self.path(place);
        match self.believed(&path, place, now) {
            Ok(copy) => Some(copy),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("the kept key set {} is not used: {error}", path.display());
                }
                None
            }
        }
    }

    fn believed(&self, path: &Path, place: &Where, now: i64) -> io::Result<Kept> {
        // Before it is opened: a pipe would be waited for.
        if !fs::symlink_metadata(path)?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.uid() != self.owner || meta.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(io::Error::other("other users may write it"));
        }
        let mut text = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LONGEST {
            return Err(io::Error::other("it is too large"));
        }
        // The parser's message could quote the file.
        let copy: Kept = serde_json::from_slice(&text).map_err(|_| io::Error::other("it is not what was written"))?;
        if copy.of != name(place) {
            return Err(io::Error::other("it is of another address"));
        }
        // One from the future was written before the clock was set back, and its age is anybody's guess.
        match u64::try_from(now.saturating_sub(copy.fetched_at)) {
            Ok(age) if age < SERVED.as_secs() => Ok(copy),
            Ok(_) => Err(io::Error::other("it is older than a day")),
            Err(_) => Err(io::Error::other("it was fetched later than now")),
        }
    }

    /// Warns of the first failure; a set in memory needs no copy.
    pub fn write(&self, place: &Where, copy: &Kept) {
        if let Err(error) = self.replace(place, copy)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("key sets cannot be kept in {}: {error}; a restart will have to fetch them", self.folder.display());
        }
    }

    fn replace(&self, place: &Where, copy: &Kept) -> io::Result<()> {
        let path = self.path(place);
        let new = path.with_extension(format!("{}.new", std::process::id()));
        create(&new)?.write_all(&serde_json::to_vec(copy)?)?;
        fs::rename(&new, &path)
    }

    fn path(&self, place: &Where) -> PathBuf {
        self.folder.join(name(place) + ".json")
    }
}

fn name(place: &Where) -> String {
    let name = digest(&SHA256, format!("{} {}", place.kind(), place.url()).as_bytes());
    name.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Never through a link that somebody put there.
fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

impl Kept {
    pub fn new(place: &Where, fetched_at: i64, max_age: Option<u64>, document: String) -> Self {
        Self { of: name(place), fetched_at, max_age, document }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Kept(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: i64 = 2_000_000_000;
    const DAY: i64 = 24 * 60 * 60;

    fn place() -> Where {
        Where::jwks("https://idp.example/keys?key=1").unwrap()
    }

    fn kept(folder: &Path) -> (Disk, PathBuf) {
        let disk = Disk::open(folder).unwrap();
        disk.write(&place(), &Kept::new(&place(), NOW, Some(60), "{\"a\": \"b\"}\n".into()));
        let path = disk.path(&place());
        (disk, path)
    }

    #[test]
    fn a_copy_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, path) = kept(&folder.path().join("a/b"));
        let copy = disk.read(&place(), NOW + 5).unwrap();
        assert_eq!((copy.fetched_at, copy.max_age, &*copy.document), (NOW, Some(60), "{\"a\": \"b\"}\n"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.path().join("a/b")), mode(&path)), (0o700, 0o600));
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1);
        assert!(disk.read(&Where::certificates("https://idp.example/keys?key=1").unwrap(), NOW).is_none());
    }

    #[test]
    fn a_copy_of_another_time_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, _) = kept(&folder.path().join("keys"));
        assert!(disk.read(&place(), NOW + DAY - 1).is_some());
        assert!(disk.read(&place(), NOW + DAY).is_none());
        assert!(disk.read(&place(), NOW - 1).is_none());
        assert!(disk.read(&place(), i64::MIN).is_none());
    }

    #[test]
    fn a_copy_that_others_may_write_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, path) = kept(&folder.path().join("keys"));
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(disk.read(&place(), NOW).is_none(), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(disk.read(&place(), NOW).is_some());
        let stranger = Disk { owner: disk.owner + 1, folder: disk.folder.clone(), warned: AtomicBool::new(false) };
        assert!(stranger.read(&place(), NOW).is_none());
    }

    #[test]
    fn a_folder_that_others_may_write_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Disk::open(folder.path()).is_err());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Disk::open(&file).is_err());
    }

    #[test]
    fn a_file_that_is_no_copy_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, path) = kept(&folder.path().join("keys"));
        let whole = fs::read_to_string(&path).unwrap();
        let other = whole.replace(&name(&place()), &name(&Where::jwks("https://evil.example/keys").unwrap()));
        let long = whole.clone() + &" ".repeat(LONGEST as usize);
        for text in ["", "{}", "[]", &whole[..whole.len() - 1], &other, &long] {
            fs::write(&path, text).unwrap();
            assert!(disk.read(&place(), NOW).is_none());
        }
        fs::write(&path, &whole).unwrap();
        assert!(disk.read(&place(), NOW).is_some());
        let real = folder.path().join("real");
        fs::rename(&path, &real).unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        assert!(disk.read(&place(), NOW).is_none());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(disk.read(&place(), NOW).is_none());
        // The place is taken, so nothing can be written either, and nothing breaks.
        disk.write(&place(), &Kept::new(&place(), NOW, None, String::new()));
        assert!(disk.warned.load(Ordering::Relaxed));
    }
}
