//! Header names as applications confuse them: CGI, WSGI and PHP write `_` for every character that is no letter or digit.
//! For what is taken away; what is read is read under its exact name.

/// Whether some application reads `name` where `own` is meant.
pub fn same(name: &str, own: &str) -> bool {
    name.len() == own.len() && starts(name, own)
}

/// Whether some application reads a name that starts with `own`.
pub fn starts(name: &str, own: &str) -> bool {
    let one = |(said, own): (u8, u8)| said.eq_ignore_ascii_case(&own) || !(said.is_ascii_alphanumeric() || own.is_ascii_alphanumeric());
    name.len() >= own.len() && name.bytes().zip(own.bytes()).all(one)
}

/// Whether nobody confuses the name with another: letters, digits and dashes.
pub fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a token may have besides letters, digits and `-` (RFC 9110 §5.6.2).
    const OTHERS: &str = "!#$%&'*+.^_`|~";

    #[test]
    fn letters_and_digits_alone_tell_names_apart() {
        for other in OTHERS.chars() {
            let name = format!("X{other}Api-Key{other}2");
            assert!(same(&name, "x-api-key-2") && same("x-api-key-2", &name) && starts(&name, "x-api-"), "{name}");
            assert!(!is_plain(&name), "{name}");
            for wrong in ["x-api-key-3", "x-api-key-", "x-api-key-22", "xxapi-key-2", "x-apiakey-2", "x-api-key22"] {
                assert!(!same(&name, wrong) && !same(wrong, &name), "{name} {wrong}");
            }
        }
        assert!(is_plain("X-Api-Key-2") && same("X-API-KEY-2", "x-api-key-2"));
        assert!(!starts("x-api", "x-api-") && starts("x-api.", "x-api-") && !starts("x-apis", "x-api-"));
    }
}
