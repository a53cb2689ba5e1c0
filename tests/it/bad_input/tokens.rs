//! Token files with a fault: named by entry, never by token.

use std::fs::{File, set_permissions};
use std::os::unix::fs::PermissionsExt;

use super::{Case, GOOD, PLANTED, ROUTES, one};

fn faults_of_tokens(tokens: impl AsRef<[u8]>) -> Vec<String> {
    Case::new(ROUTES, tokens).faults()
}

#[test]
fn a_token_file_that_is_none_stops_the_start() {
    let case = Case::new(ROUTES, GOOD);
    std::fs::remove_file(case.path("tokens.json")).unwrap();
    one(&case.faults(), "token file cannot be read: No such file or directory");
    std::fs::create_dir(case.path("tokens.json")).unwrap();
    one(&case.faults(), "token file is a directory; name a file (tokens.json)");

    for (bytes, said) in [
        ("", "token file is empty; it is a JSON array of entries"),
        (" \n\t", "token file is empty"),
        ("[]", "token file has no entries; `scopegate token new` adds one (tokens.json)"),
        (r#"{"tokens": []}"#, "token file has no entries"),
        ("{}", "token file is no list; it is a JSON array of entries, or `{\"tokens\": […]}`"),
        ("null", "token file is no list"),
        (r#""planted-token-0123456789""#, "token file is no list"),
        ("planted-token-0123456789", "token file is not JSON from here on; mind commas and quotes (tokens.json:1:1)"),
        (
            "[\n {\"id\": \"a\", \"token\": \"planted-token-0123456789\", \"scopes\": [\"a:b\"]},\n]",
            "token file is not JSON from here on; mind commas and quotes (tokens.json:3:1)",
        ),
        ("[{\"id\": \"a\", \"token\": \"planted-token-0123456789\"", "token file is not JSON from here on"),
        ("[{\"id\": \"a\", \"token\": 'planted-token-0123456789'}]", "(tokens.json:1:23)"),
        ("\u{feff}[]", "token file is not JSON from here on"),
        (r#"["planted-token-0123456789"]"#, "entry 1 is no object"),
    ] {
        one(&faults_of_tokens(bytes), said);
    }
    let mut invalid = GOOD.as_bytes().to_vec();
    invalid[12] = 0xFF;
    one(&faults_of_tokens(invalid), "token file is not UTF-8; save it as UTF-8");
}

#[test]
fn an_entry_with_a_fault_is_named_by_its_id() {
    let entry = |rest: &str| faults_of_tokens(format!("[{{\"id\": \"a\", {rest}}}]"));
    let token = r#""token": "planted-token-0123456789""#;
    for (rest, said) in [
        (r#""scopes": ["a:b"]"#.to_owned(), "entry `a` has no token; set `token` or `token_sha256` (tokens.json)"),
        (r#""token": "planted", "scopes": ["a:b"]"#.to_owned(), "entry `a` has a token of under 16 characters"),
        (r#""token": "", "scopes": ["a:b"]"#.to_owned(), "entry `a` has a token of under 16 characters"),
        (r#""token": "planted-token-0123456789\n", "scopes": ["a:b"]"#.to_owned(), "entry `a` has white space in its token; remove it"),
        (r#""token": " planted-token-0123456789", "scopes": ["a:b"]"#.to_owned(), "entry `a` has white space in its token"),
        (r#""token": "planted-token 0123456789", "scopes": ["a:b"]"#.to_owned(), "entry `a` has white space in its token"),
        (r#""token": "planted-token-0123456789\u00a0", "scopes": ["a:b"]"#.to_owned(), "entry `a` has white space in its token"),
        (r#""token": "planted-token-0123456789,x", "scopes": ["a:b"]"#.to_owned(), "entry `a` has a token that a header cannot carry"),
        (r#""token": "planted-token-0123456789é", "scopes": ["a:b"]"#.to_owned(), "entry `a` has a token that a header cannot carry"),
        (format!(r#"{token}, "token_sha256": "{}", "scopes": ["a:b"]"#, "0".repeat(64)), "entry `a` has both `token` and `token_sha256`"),
        (r#""token_sha256": "planted-token-0123456789", "scopes": ["a:b"]"#.to_owned(), "`token_sha256` that is not 64 hexadecimal digits"),
        (format!(r#""token_sha256": "{}", "scopes": ["a:b"]"#, "g".repeat(64)), "`token_sha256` that is not 64 hexadecimal digits"),
        (token.to_owned(), "entry `a` has no scopes and would reach nothing"),
        (format!(r#"{token}, "scopes": []"#), "entry `a` has no scopes and would reach nothing"),
        (format!(r#"{token}, "scopes": null"#), "entry `a` has no scopes and would reach nothing"),
        (format!(r#"{token}, "scopes": [""]"#), "entry `a` has scope ``, which is empty"),
        (format!(r#"{token}, "scopes": ["admin:"]"#), "entry `a` has scope `admin:`, which has an empty part"),
        (format!(r#"{token}, "scopes": ["query:*:execute"]"#), "entry `a` has scope `query:*:execute`, which has `*` inside"),
        (format!(r#"{token}, "scopes": ["a b"]"#), "entry `a` has scope `a b`, which has a character that RFC 6750 does not allow"),
        (format!(r#"{token}, "scopes": ["*:read"]"#), "entry `a` has scope `*:read`, which has `*` inside"),
        (format!(r#"{token}, "scopes": ["a:b\n"]"#), "entry `a` has scope `a:b\\n`, which has a character"),
        (format!(r#"{token}, "scopes": "a:b""#), "entry `a`: `scopes` is a list of texts"),
        (format!(r#"{token}, "scopes": [7]"#), "entry `a`: `scopes` is a list of texts"),
        (format!(r#"{token}, "scopes": ["a:b"], "expires": "2030-01-01T00:00:00Z""#), "entry `a` has the unknown key `expires`; known are id"),
        (format!(r#"{token}, "scopes": ["a:b"], "expires_at": "2030-01-01""#), "entry `a` has a `expires_at` that is no RFC 3339 instant"),
        (format!(r#"{token}, "scopes": ["a:b"], "expires_at": 7"#), "entry `a`: `expires_at` is a text"),
        (format!(r#"{token}, "scopes": ["a:b"], "not_before": "tomorrow""#), "entry `a` has a `not_before` that is no RFC 3339 instant"),
        (format!(r#"{token}, "scopes": ["a:b"], "disabled": "yes""#), "entry `a`: `disabled` is `true` or `false`"),
        (format!(r#"{token}, "scopes": ["a:b"], "tenant": """#), "entry `a` has no usable tenant"),
        (format!(r#"{token}, "scopes": ["a:b"], "roles": ["boss"]"#), "entry `a` has role `boss`, which is not defined"),
        (format!(r#"{token}, "scopes": ["a:b"], "previous": [{{"token_sha256": "x"}}]"#), "entry `a`: `previous` is a list of"),
        (format!(r#"{token}, "scopes": ["a:b"], {token}"#), "token file has a key twice in one entry"),
    ] {
        one(&entry(&rest), said);
    }
    one(&faults_of_tokens(r#"[{"token": "planted-token-0123456789", "scopes": ["a:b"]}]"#), "entry 1 has no `id`; give it one");
    one(&faults_of_tokens(r#"[{"id": "", "token": "planted-token-0123456789", "scopes": ["a:b"]}]"#), "entry 1 has no usable id");
    one(&faults_of_tokens(r#"[{"id": "a\nb", "token": "planted-token-0123456789", "scopes": ["a:b"]}]"#), "entry 1 has no usable id");
}

#[test]
fn doubles_in_a_token_file_are_named_without_their_token() {
    // SHA-256 of PLANTED.
    let digest: String = scopegate::credential::digest::sha256(PLANTED).iter().map(|byte| format!("{byte:02x}")).collect();
    let clear = |id: &str| format!(r#"{{"id": "{id}", "token": "{PLANTED}", "scopes": ["a:b"]}}"#);
    let hashed = |id: &str| format!(r#"{{"id": "{id}", "token_sha256": "{digest}", "scopes": ["a:b"]}}"#);
    let other = r#"{"id": "a", "token": "another-token-456789", "scopes": ["a:b"]}"#;
    one(&faults_of_tokens(format!("[{},{other}]", clear("a"))), "entry 2 is a second `a`; ids are unique (tokens.json)");
    one(&faults_of_tokens(format!("[{},{}]", clear("a"), clear("b"))), "entry `b` has the token of entry `a`; tokens are unique (tokens.json)");
    one(&faults_of_tokens(format!("[{},{}]", hashed("a"), hashed("b"))), "entry `b` has the token of entry `a`; tokens are unique");
    for pair in [format!("[{},{}]", clear("a"), hashed("b")), format!("[{},{}]", hashed("b"), clear("a"))] {
        one(&faults_of_tokens(pair), "entry `a` has the token of another entry's `token_sha256`; tokens are unique");
    }
    let rotated = format!(
        r#"[{{"id": "a", "token": "{PLANTED}", "scopes": ["a:b"], "previous": [{{"token_sha256": "{digest}", "expires_at": "2999-01-01T00:00:00Z"}}]}}]"#
    );
    one(&faults_of_tokens(rotated), "entry `a` has the token of another entry's `token_sha256`");
    assert_eq!(faults_of_tokens(format!("[{},{},{other}]", clear("a"), clear("a"))).len(), 3, "all of them at once");
}

#[test]
fn a_token_file_that_others_may_read_is_a_warning_and_under_strict_modes_a_fault() {
    let case = Case::new(ROUTES, GOOD);
    for (mode, warned) in [(0o644, true), (0o640, true), (0o604, true), (0o600, false), (0o400, false), (0o622, false)] {
        set_permissions(case.path("tokens.json"), PermissionsExt::from_mode(mode)).unwrap();
        let warnings = case.load().unwrap().warnings;
        assert_eq!(warnings.len(), usize::from(warned), "{mode:o}: {warnings:?}");
        if warned {
            assert!(warnings[0].starts_with("token file can be read by other users; `chmod 600` it ("), "{}", warnings[0]);
        }
    }
    std::fs::write(case.path("scopegate.yaml"), format!("{ROUTES}strict_file_modes: true\n")).unwrap();
    set_permissions(case.path("tokens.json"), PermissionsExt::from_mode(0o644)).unwrap();
    one(&case.faults(), "token file can be read by other users; `chmod 600` it (tokens.json)");
    set_permissions(case.path("tokens.json"), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(case.load().is_ok());
}

#[test]
fn a_token_file_larger_than_its_limit_is_refused_unread() {
    let case = Case::new(ROUTES, GOOD);
    let huge = File::options().write(true).open(case.path("tokens.json")).unwrap();
    huge.set_len(96 * 1024 * 1024).unwrap();
    one(&case.faults(), "token file is larger than 99614720 bytes; raise `max_size` of its source");
    let small = "credentials: {tokens: {kind: static, file: tokens.json, max_size: 64B}}\nroutes: {GET /x: app:use}\n";
    one(&Case::new(small, GOOD).faults(), "token file is larger than 64 bytes");
    assert!(Case::new(&small.replace("64B", "1KiB"), GOOD).load().is_ok());
}
