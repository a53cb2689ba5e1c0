//! Lines at the end of a file that is put aside as `FILE.1` … `FILE.keep` before it grows too large.
//! Splits no line, and goes on where the file was left; whoever takes it away meanwhile gets a new one made.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::output::put;

/// The file and how it is kept small.
#[derive(Debug)]
pub struct Rotated {
    path: PathBuf,
    max_size: u64,
    keep: usize,
    /// `None` where the last try to open it failed.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Its device and number, which a rename leaves as they are.
    is: (u64, u64),
    size: u64,
}

impl Rotated {
    pub fn open(path: &Path, max_size: u64, keep: usize) -> std::io::Result<Self> {
        let open = Some(Open::at(path)?);
        Ok(Self { path: path.to_owned(), max_size, keep, open })
    }

    /// How many bytes of whole lines are in the file, and why not all.
    pub fn write(&mut self, lines: &[u8]) -> (usize, std::io::Result<()>) {
        let mut written = 0;
        while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
            match self.some(rest) {
                (count, Ok(())) => written += count,
                (count, Err(error)) => return (written + count, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// As many lines as this file has room for.
    fn some(&mut self, lines: &[u8]) -> (usize, std::io::Result<()>) {
        let max_size = self.max_size;
        let room = match self.current() {
            Ok(open) => max_size.saturating_sub(open.size),
            Err(error) => return (0, Err(error)),
        };
        let end = |part: &[u8]| memchr::memrchr(b'\n', part).map_or(0, |end| end + 1);
        let mut fits = end(lines.get(..usize::try_from(room).unwrap_or(usize::MAX)).unwrap_or(lines));
        if fits == 0 && room < max_size {
            return (0, self.rotate());
        }
        if fits == 0 {
            // One that is longer than a whole file may be.
            fits = memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        }
        match &mut self.open {
            Some(open) => open.append(lines.get(..fits).unwrap_or_default()),
            None => (0, Err(ErrorKind::NotFound.into())),
        }
    }

    /// The file that has the name now: not one that was renamed or removed.
    fn current(&mut self) -> std::io::Result<&mut Open> {
        let named = std::fs::metadata(&self.path);
        let open = match (self.open.take(), named) {
            (Some(mut open), Ok(named)) if open.is == identity(&named) => {
                // Somebody may have cut it short.
                open.size = named.len();
                open
            }
            (_, _) => Open::at(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        if self.keep == 0 {
            std::fs::remove_file(&self.path)?;
        }
        for number in (1..=self.keep).rev() {
            let from = if number == 1 { self.path.clone() } else { self.aside(number - 1) };
            match std::fs::rename(from, self.aside(number)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Err(_) | Ok(()) => {}
            }
        }
        self.open = Some(Open::at(&self.path)?);
        Ok(())
    }

    fn aside(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Open {
    fn at(path: &Path) -> std::io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let (is, mut size) = (identity(&file.metadata()?), file.metadata()?.len());
        if size > 0 {
            // A process that was killed may have left half a line.
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                put(&mut file, b"\n").1?;
                size += 1;
            }
        }
        Ok(Self { file, is, size })
    }

    fn append(&mut self, lines: &[u8]) -> (usize, std::io::Result<()>) {
        let (written, result) = put(&mut self.file, lines);
        let whole = memchr::memrchr(b'\n', lines.get(..written).unwrap_or_default()).map_or(0, |end| end + 1);
        self.size += whole as u64;
        if written > whole {
            // A disk that is full takes half a line; what is cut off needs no room.
            let _ = self.file.set_len(self.size);
        }
        (whole, result)
    }
}

fn identity(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn write(file: &mut Rotated, lines: &str) {
        let (written, result) = file.write(lines.as_bytes());
        result.unwrap();
        assert_eq!(written, lines.len());
    }

    #[test]
    fn a_full_file_is_put_aside_between_two_lines_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let aside = |number| folder.path().join(format!("audit.log.{number}"));
        let mut file = Rotated::open(&path, 10, 2).unwrap();
        write(&mut file, "aaaa\nbbbb\ncccc\n");
        assert_eq!((read(&path), read(&aside(1))), ("cccc\n".into(), "aaaa\nbbbb\n".into()));
        write(&mut file, "dd\n");
        write(&mut file, "eeeeeeeeeeeeeeeeee\nff\n");
        assert_eq!([read(&path), read(&aside(1)), read(&aside(2))], ["ff\n", "eeeeeeeeeeeeeeeeee\n", "cccc\ndd\n"]);
        assert!(!aside(3).exists());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&aside(1))), (0o600, 0o600));
    }

    #[test]
    fn nothing_is_put_aside_where_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = Rotated::open(&path, 10, 0).unwrap();
        write(&mut file, "aaaa\nbbbb\ncccc\n");
        assert_eq!((read(&path), std::fs::read_dir(folder.path()).unwrap().count()), ("cccc\n".into(), 1));
    }

    #[test]
    fn a_restart_goes_on_where_the_file_was_left_and_ends_half_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, "whole\nhal").unwrap();
        write(&mut Rotated::open(&path, 100, 1).unwrap(), "new\n");
        assert_eq!(read(&path), "whole\nhal\nnew\n");
        write(&mut Rotated::open(&path, 100, 1).unwrap(), "newer\n");
        assert_eq!(read(&path), "whole\nhal\nnew\nnewer\n");
    }

    #[test]
    fn a_file_that_was_renamed_removed_or_cut_short_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = Rotated::open(&path, 10, 1).unwrap();
        write(&mut file, "aaaa\n");
        std::fs::rename(&path, folder.path().join("away")).unwrap();
        write(&mut file, "bbbb\n");
        assert_eq!((read(&path), read(&folder.path().join("away"))), ("bbbb\n".into(), "aaaa\n".into()));
        std::fs::remove_file(&path).unwrap();
        write(&mut file, "cccc\ndddd\n");
        assert_eq!(read(&path), "cccc\ndddd\n");
        std::fs::write(&path, "").unwrap();
        write(&mut file, "eeee\n");
        assert_eq!(read(&path), "eeee\n", "and there is room again");
        assert!(!folder.path().join("audit.log.1").exists());
    }

    #[test]
    fn a_folder_that_is_away_costs_lines_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        std::fs::create_dir(&here).unwrap();
        let mut file = Rotated::open(&here.join("audit.log"), 100, 1).unwrap();
        std::fs::rename(&here, &there).unwrap();
        assert!(matches!(file.write(b"lost\n"), (0, Err(_))));
        std::fs::rename(&there, &here).unwrap();
        write(&mut file, "found\n");
        assert_eq!(read(&here.join("audit.log")), "found\n");
        assert!(Rotated::open(&there.join("audit.log"), 100, 1).is_err());
    }
}
