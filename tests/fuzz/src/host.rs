//! A host that is accepted is its own canonical form from then on.

use scopegate::request::HostName;

pub fn hold(data: &[u8]) {
    let Some(host) = HostName::parse(data) else { return };
    let text = host.as_str();
    assert_eq!(HostName::parse(text.as_bytes()).as_ref().map(HostName::as_str), Some(text));
    assert!(!text.is_empty() && text.len() <= 253 && text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_uppercase()));
    assert!(!text.bytes().any(|byte| byte.is_ascii_control() || b" /@,?#%\\".contains(&byte)));
    assert!(text.starts_with('[') || !text.contains(':'));
}
