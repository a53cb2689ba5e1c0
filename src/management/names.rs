//! A name out of a request body into a yes or a sentence that says what a name is.
//! Refuses what a header, a path or a line of a log could read as something else.

use serde_json::Value;
use utoipa::ToSchema;

use super::body::At;
use crate::principal::record::EVERY_TENANT;

/// `resource:action` in visible ASCII; `*` only as the whole last part
#[derive(Debug, ToSchema)]
#[schema(as = Scope, value_type = String, max_length = 256, pattern = r"^(\*|[!#-)+-9;-\[\]-~]+(:[!#-)+-9;-\[\]-~]+)*(:\*)?)$", example = "orders:read")]
pub struct ScopeText(#[allow(dead_code, reason = "a schema alone")] String);

/// ASCII letters, digits and `.`, `_`, `-`, `:`, `@`; begins with a letter or digit
#[derive(Debug, ToSchema)]
#[schema(as = RoleName, value_type = String, max_length = 256, pattern = "^[A-Za-z0-9][A-Za-z0-9._:@-]*$", example = "editor")]
pub struct RoleText(#[allow(dead_code, reason = "a schema alone")] String);

/// One word, without white space and control characters
#[derive(Debug, ToSchema)]
#[schema(as = Word, value_type = String, min_length = 1, max_length = 256, pattern = r"^[^\s\u0000-\u001f\u007f-\u009f]+$", example = "tenant-123")]
pub struct Word(#[allow(dead_code, reason = "a schema alone")] String);

/// Longest role, subject or tenant; they travel in headers.
pub const MAX_NAME: usize = 256;
/// Longest sentence about a role.
pub const MAX_DESCRIPTION: usize = 1024;

/// Names under which the configuration keeps something else.
const RESERVED: [&str; 1] = ["default"];

/// A role's name is a segment of a path too.
pub fn role(name: &str) -> Result<(), &'static str> {
    let begins = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    let holds = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'@'));
    if !begins || !holds {
        return Err("a role's name is ASCII letters, digits and `.`, `_`, `-`, `:`, `@`, and begins with a letter or digit");
    }
    if name.len() > MAX_NAME {
        return Err("a role's name is at most 256 bytes long");
    }
    if RESERVED.contains(&name) {
        return Err("`default` is no role's name; the configuration says with it which role is the default");
    }
    Ok(())
}

/// What a token's claims or a file may name a principal or a tenant: one word.
pub fn word(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.chars().any(|character| character.is_whitespace() || character.is_control()) {
        return Err("it is one word, without white space and control characters");
    }
    if name.len() > MAX_NAME {
        return Err("it is at most 256 bytes long");
    }
    Ok(())
}

/// `*` stands for all of them where an operator revokes something.
pub fn tenant(name: &str) -> Result<(), &'static str> {
    if name == EVERY_TENANT {
        return Err("`*` is no tenant");
    }
    word(name)
}

pub fn description(text: &str) -> Result<(), &'static str> {
    if text.chars().any(char::is_control) {
        return Err("a description is one line, without control characters");
    }
    if text.len() > MAX_DESCRIPTION {
        return Err("a description is at most 1024 bytes long");
    }
    Ok(())
}

/// An address, as far as it can be told without writing to it (RFC 5321 §4.5.3.1), its ASCII letters in lower case.
pub fn email(text: &str) -> Result<String, &'static str> {
    let parts = text.rsplit_once('@').filter(|(local, domain)| (1..=64).contains(&local.len()) && (1..=189).contains(&domain.len()));
    if parts.is_none() || word(text).is_err() {
        return Err("an address is `name@domain`, one word of at most 254 bytes");
    }
    Ok(text.to_ascii_lowercase())
}

/// A member of a body that must pass a check of these.
pub fn checked(check: impl Fn(&str) -> Result<(), &'static str>) -> impl Fn(Value, &mut At<'_>) -> Option<Box<str>> {
    move |value, at| {
        let Some(text) = value.as_str() else {
            at.fault("is not a text");
            return None;
        };
        check(text).map_err(|fault| at.fault(fault)).ok()?;
        Some(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_a_name_that_a_header_and_a_path_carry_as_it_is() {
        for good in ["admin", "editor-2", "team:ops", "a.b_c@d", "7", &"r".repeat(256)] {
            assert_eq!(role(good), Ok(()), "{good}");
        }
        for bad in ["", " ", "a b", "a\n", "a\0b", "a/b", "a%2fb", "..", ".", "-x", "a;b", "a,b", "caf\u{e9}", "\u{202e}x", "a*", "default"] {
            assert!(role(bad).is_err(), "{bad:?}");
        }
        assert!(role(&"r".repeat(257)).is_err());
    }

    #[test]
    fn a_subject_is_one_word_of_any_script() {
        for good in ["u1", "external:ci:u", "auth0|7", "\u{540d}", &"u".repeat(256)] {
            assert_eq!(word(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a\u{a0}b", "a\n", "\0", "a\u{7f}", "\u{85}", &"u".repeat(257)] {
            assert!(word(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_description_is_one_line() {
        assert_eq!(description("Edits what others wrote \u{2014} and says so"), Ok(()));
        assert_eq!(description(""), Ok(()));
        for bad in ["a\nb", "a\0", "\u{1b}[2J", &"d".repeat(1025)] {
            assert!(description(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_kept_in_lower_case() {
        assert_eq!(email("User.Name+x@Example.TEST").as_deref(), Ok("user.name+x@example.test"));
        for bad in ["", "user", "@example.test", "user@", "a b@example.test", "a\n@example.test", "a\0@b", &format!("{}@x", "u".repeat(65))] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
    }
}
