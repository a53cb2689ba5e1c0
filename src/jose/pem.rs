//! PEM text (RFC 7468) into the one public key that it holds.
//! Refuses private keys, and texts with a choice of keys: which one was meant is not guessed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::{Key, KeyFault, der};

pub(super) fn key(text: &[u8]) -> Result<Key, KeyFault> {
    if memmem::find(text, b"PRIVATE KEY-----").is_some() {
        return Err(KeyFault::Private);
    }
    let text = str::from_utf8(text).map_err(|_| KeyFault::Form("no PEM text"))?;
    let sections = sections(text).ok_or(KeyFault::Form("no PEM text"))?;
    let chain = sections.iter().all(|(label, _)| *label == "CERTIFICATE");
    match sections.as_slice() {
        [] => Err(KeyFault::Form("no PEM text: `-----BEGIN PUBLIC KEY-----` or `-----BEGIN CERTIFICATE-----` would begin a key")),
        [_, _, ..] if !chain => Err(KeyFault::Form("more than one key in a PEM text")),
        [(label, bytes), ..] => match *label {
            "PUBLIC KEY" => der::public_key(bytes),
            "RSA PUBLIC KEY" => der::rsa(bytes),
            "CERTIFICATE" => der::certificate(bytes),
            _ => Err(KeyFault::Kind),
        },
    }
}

/// Each section's label and content. Text around the sections is explanation (RFC 7468 §5.2).
fn sections(text: &str) -> Option<Vec<(&str, Vec<u8>)>> {
    let mut sections = Vec::new();
    let mut lines = text.lines().map(str::trim_ascii);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ") else { continue };
        let label = label.strip_suffix("-----")?;
        let mut content = String::new();
        loop {
            let line = lines.next()?;
            match line.strip_prefix("-----END ") {
                Some(end) if end.strip_suffix("-----") == Some(label) => break,
                Some(_) => return None,
                None => content.push_str(line),
            }
        }
        sections.push((label, STANDARD.decode(content).ok()?));
    }
    Some(sections)
}
