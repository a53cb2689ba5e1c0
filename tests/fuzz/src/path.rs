//! A path that is accepted is its own canonical form from then on, and hides nothing.

use scopegate::request::NormalPath;
use scopegate::request::path::split_target;

pub fn hold(data: &[u8]) {
    let (path, query) = split_target(data);
    assert_eq!(path.len() + query.map_or(0, |query| query.len() + 1), data.len());
    let Ok(path) = NormalPath::parse(path) else { return };
    let canonical = path.canonical();
    assert_eq!(NormalPath::parse(canonical.as_bytes()).as_ref(), Ok(&path));
    assert!(canonical.starts_with('/') && canonical.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>?\\^`{|}".contains(&byte)));
    let mut bytes = canonical.bytes().enumerate().filter(|(_, byte)| *byte == b'%');
    assert!(bytes.all(|(at, _)| canonical.as_bytes()[at + 1..at + 3].iter().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))));
    let loose = path.decoded().replace("%2F", "/");
    assert!(!loose.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | ".."))));
    assert!(!loose.chars().any(|letter| letter.is_ascii_control() || letter == '\\'));
    // One reading that drops, merges and decodes is a path without oddities.
    let simplified = path.simplified();
    assert!(simplified.starts_with('/') && !simplified.contains("//") && !simplified.contains(';') && !simplified.contains("%2F"));
}
