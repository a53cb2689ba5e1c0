//! A presented token is one word out of the header's value, and is never printed.

use scopegate::credential::{MAX_TOKEN, Presented, bearer};
use scopegate::request::Values;

pub fn hold(data: &[u8]) {
    assert_eq!(bearer(Values::Many), Presented::Ambiguous);
    let presented = bearer(Values::One(data));
    let shown = format!("{presented:?}");
    assert!(["Nothing", "Token(…)", "Malformed", "Ambiguous"].contains(&shown.as_str()));
    if let Presented::Token(token) = presented {
        assert!(!token.is_empty() && token.len() <= MAX_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
        let trimmed = data.trim_ascii();
        assert!(trimmed.ends_with(token.as_bytes()) && trimmed[..6].eq_ignore_ascii_case(b"bearer"));
        let between = &trimmed[6..trimmed.len() - token.len()];
        assert!(!between.is_empty() && between.iter().all(|byte| *byte == b' '));
    }
}
