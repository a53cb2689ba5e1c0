//! `scopegate scan PATH…`: finds managed keys in files, by their form and checksum.
//! Prints where a key stands and what it is called by, never the key.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::credential::key_format::{self, parse};

#[derive(Debug, Args)]
pub struct Scan {
    /// Files, or folders with all that is in them; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// A file with a zero byte in its beginning is none of text, as for Git.
const BEGINNING: usize = 8000;
/// What is read at a time; no key is longer than what is kept of the piece before.
const PIECE: usize = 64 * 1024;
/// Folders of version control and of packages have their own names; their files are copies.
const PASSED: [&str; 3] = [".git", "node_modules", "target"];

/// One key in a file.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    line: usize,
    prefix: String,
}

impl Scan {
    pub fn run(self) -> Result<bool, String> {
        let mut scanned = Scanned::default();
        for path in &self.paths {
            match path.as_os_str() == "-" {
                true => scanned.stream(Path::new("standard input"), std::io::stdin()),
                false => scanned.path(path, true),
            }
        }
        if let Some(fault) = scanned.faults.first() {
            let more = scanned.faults.len() - 1;
            let more = if more == 0 { String::new() } else { format!(", and {more} more") };
            eprintln!("{fault}{more}");
        }
        eprintln!("{} keys in {} files", scanned.keys, scanned.files);
        Ok(scanned.keys == 0 && scanned.faults.is_empty())
    }
}

#[derive(Debug, Default)]
struct Scanned {
    files: usize,
    keys: usize,
    faults: Vec<String>,
}

impl Scanned {
    /// A link is followed only where it was named, so that no folder is walked twice or for ever.
    fn path(&mut self, path: &Path, named: bool) {
        let meta = if named { path.metadata() } else { path.symlink_metadata() };
        match meta {
            Err(error) => self.faults.push(format!("{} cannot be read: {error}", path.display())),
            Ok(meta) if meta.is_dir() => self.folder(path),
            Ok(meta) if meta.is_file() => match File::open(path) {
                Ok(file) => self.stream(path, file),
                Err(error) => self.faults.push(format!("{} cannot be read: {error}", path.display())),
            },
            // Sockets, devices and links.
            Ok(_) => {}
        }
    }

    fn folder(&mut self, folder: &Path) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.faults.push(format!("{} cannot be read: {error}", folder.display())),
        };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort_unstable();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !(PASSED.contains(&name) && path.is_dir()) {
                self.path(&path, false);
            }
        }
    }

    fn stream(&mut self, path: &Path, stream: impl Read) {
        self.files += 1;
        match scan(stream) {
            Ok(found) => {
                self.keys += found.len();
                found.iter().for_each(|found| println!("{}:{} {}", path.display(), found.line, found.prefix));
            }
            Err(error) => self.faults.push(format!("{} cannot be read: {error}", path.display())),
        }
    }
}

/// Every key of a text, a piece at a time; nothing where it is no text.
fn scan(stream: impl Read) -> std::io::Result<Vec<Found>> {
    let mut stream = BufReader::new(stream);
    let (mut held, mut line, mut found) = (Vec::new(), 1, Vec::new());
    let mut is_first = true;
    loop {
        let read = (&mut stream).take(PIECE as u64).read_to_end(&mut held)?;
        if std::mem::take(&mut is_first) && held.iter().take(BEGINNING).any(|byte| *byte == 0) {
            return Ok(Vec::new());
        }
        // What could go on in the next piece waits for it.
        let done = if read == 0 { held.len() } else { held.len().saturating_sub(key_format::LONGEST) };
        let mut at = 0;
        while let Some(start) = memchr::memmem::find(held.get(at..).unwrap_or_default(), b"sg_").map(|index| at + index) {
            if start >= done {
                break;
            }
            line += count(held.get(at..start));
            at = match key_at(&held, start) {
                Some((length, prefix)) => {
                    found.push(Found { line, prefix });
                    start + length
                }
                None => start + 3,
            };
        }
        let done = done.max(at);
        line += count(held.get(at..done));
        held.drain(..done);
        if read == 0 {
            return Ok(found);
        }
    }
}

fn count(bytes: Option<&[u8]>) -> usize {
    memchr::memchr_iter(b'\n', bytes.unwrap_or_default()).count()
}

/// What the key that begins there is called by, if its checksum holds, and how much of the text it takes. Whatever stands around it: a key
/// within an escaped or encoded text is a key.
fn key_at(bytes: &[u8], start: usize) -> Option<(usize, String)> {
    let rest = bytes.get(start..)?;
    let environment = memchr::memchr(b'_', rest.get(3..)?)?;
    let length = 3 + environment + 1 + key_format::DIGITS;
    let word = str::from_utf8(rest.get(..length)?).ok()?;
    Some((length, parse(word).ok()?.prefix.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> String {
        key_format::form("live", id, "abcdefghijKLMNOPQRST0123456789").unwrap().to_string()
    }

    fn found(text: impl AsRef<[u8]>) -> Vec<(usize, String)> {
        scan(text.as_ref()).unwrap().into_iter().map(|found| (found.line, found.prefix)).collect()
    }

    #[test]
    fn a_key_is_found_wherever_it_stands_in_a_text() {
        let (one, two) = (key("AAAAAAAA"), key("BBBBBBBB"));
        let text = format!("KEY={one}\n\n\"x-api-key\": \"{two}\", {one}\n// {one}");
        let of = |line: usize, id: &str| (line, format!("sg_live_{id}"));
        assert_eq!(found(text), [of(1, "AAAAAAAA"), of(3, "BBBBBBBB"), of(3, "AAAAAAAA"), of(4, "AAAAAAAA")]);
    }

    #[test]
    fn what_only_looks_like_a_key_is_none() {
        let key = key("AAAAAAAA");
        let mut typo = key.clone();
        typo.replace_range(20..21, "!");
        let other = key.replace("abcdefghij", "abcdefghiX");
        for text in [typo, other, key.to_uppercase(), key[..key.len() - 1].to_owned(), "sg_".repeat(100), "sg_live_".to_owned()] {
            assert_eq!(found(&text), [], "{text}");
        }
    }

    #[test]
    fn what_stands_around_a_key_hides_it_from_nobody() {
        let key = key("AAAAAAAA");
        for text in [format!("x{key}"), format!("{key}x"), format!("{key}_x"), format!("sg_{key}"), format!("%22{key}%22"), format!("{key}{key}")] {
            assert_eq!(found(&text).len(), text.matches(&key).count(), "{text}");
        }
    }

    #[test]
    fn a_key_across_two_pieces_is_found_once_and_on_its_line() {
        for shift in 0..80 {
            let text = format!("\n{}\n{}\n{}", "x".repeat(PIECE - 100 + shift), key("AAAAAAAA"), "y".repeat(PIECE));
            assert_eq!(found(text), [(3, "sg_live_AAAAAAAA".to_owned())], "{shift}");
        }
    }

    #[test]
    fn what_is_no_text_is_passed_by() {
        assert_eq!(found([b"\0\0", key("AAAAAAAA").as_bytes()].concat()), []);
    }
}
