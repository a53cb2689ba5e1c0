//! A secret that the configuration says, or the file that holds it, into bytes that are wiped when they are no longer needed.
//! Never quotes one; a file loses one line end and nothing else.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::Desk;
use crate::config::modes::remedy_at;
use crate::config::tree::Node;

/// Largest file that holds one secret, key or key set.
const MAX: u64 = 512 * 1024;

/// The operator has been told why there is nothing.
pub struct Told;

/// The text under `key` of `node`, or that of the file under `key_file`; nothing where neither is named. Tells the operator of both, and of what cannot be read.
pub fn text(desk: &mut Desk<'_>, node: &Node, key: &str) -> Result<Option<Zeroizing<String>>, Told> {
    let file_key = format!("{key}_file");
    match (node.get(key), node.get(&file_key)) {
        (Some(_), Some(file)) => {
            desk.fault(Some(file), &format!("has both `{key}` and `{file_key}`; keep one"));
            Err(Told)
        }
        (Some(said), None) => Ok(said.text().map(|text| Zeroizing::new(text.to_owned()))),
        (None, Some(file)) => {
            let bytes = file_bytes(desk, file, &file_key).ok_or(Told)?;
            if let Some(remedy) = file.text().and_then(|path| remedy_at(&desk.base.join(path))) {
                let message = format!("has a `{file_key}` that other users may read; {remedy}");
                if desk.strict { desk.fault(Some(file), &message) } else { desk.warn(&message) }
            }
            match str::from_utf8(&bytes) {
                Ok(text) => Ok(Some(Zeroizing::new(without_line_end(text).to_owned()))),
                Err(_) => {
                    desk.fault(Some(file), &format!("has a `{file_key}` that is not UTF-8"));
                    Err(Told)
                }
            }
        }
        (None, None) => Ok(None),
    }
}

/// What a named file holds.
pub fn file_bytes(desk: &mut Desk<'_>, node: &Node, key: &str) -> Option<Zeroizing<Vec<u8>>> {
    let path = desk.path(node.text()?);
    match read(&path) {
        Ok(bytes) => Some(bytes),
        Err(why) => {
            desk.fault(Some(node), &format!("has a `{key}` that cannot be read: {why}"));
            None
        }
    }
}

pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    if length > MAX {
        return Err("it is larger than 512 KiB".into());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1));
    file.take(MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

pub fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}
