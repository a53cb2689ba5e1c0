//! A file that a command is told to read into its bytes or its text; `-` is standard input.
//! Takes no more than 128 MiB, so that a wrong name is a message and not the whole memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

const LARGEST: u64 = 128 << 20;

pub fn contents(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    told(file, bytes(file))
}

pub fn text(file: &Path) -> Result<Zeroizing<String>, String> {
    told(file, utf8(file))
}

pub fn standard_input() -> Result<Zeroizing<String>, String> {
    utf8(Path::new("-")).map_err(|why| format!("standard input {why}"))
}

/// The text, or what is wrong with it, to be said after its name.
pub fn utf8(file: &Path) -> Result<Zeroizing<String>, String> {
    let mut bytes = bytes(file)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err("is not UTF-8; save it as UTF-8".into())
        }
    }
}

fn bytes(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let too_large = || "is larger than 128 MiB; name the right file".to_owned();
    let input: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let meta = std::fs::metadata(file).map_err(unreadable)?;
        if meta.is_dir() {
            return Err("is a folder; name a file".into());
        }
        if meta.len() > LARGEST {
            return Err(too_large());
        }
        Box::new(File::open(file).map_err(unreadable)?)
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let length = input.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if length as u64 > LARGEST { Err(too_large()) } else { Ok(bytes) }
}

fn told<T>(file: &Path, read: Result<T, String>) -> Result<T, String> {
    read.map_err(|why| format!("{} {why}", file.display()))
}
