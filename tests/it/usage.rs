//! How every command takes wrong use, wrong files and a program for a reader: exit status, one message that says what would be right, JSON throughout.
//! None of it waits for anything or leaves anything behind.

use std::fs::File;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::process::{run, scopegate};

/// A folder with a configuration that is in order, and files that are not.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = run(scopegate().args(["init", "--upstream", "http://127.0.0.1:3000"]).current_dir(folder.path()));
    assert_eq!(made.0, 0, "{}", made.2);
    std::fs::write(folder.path().join("x.empty"), "").unwrap();
    std::fs::write(folder.path().join("x.binary"), [0xFF, 0xFE, 0]).unwrap();
    std::fs::create_dir(folder.path().join("x.folder")).unwrap();
    File::create(folder.path().join("x.huge")).unwrap().set_len(8 << 30).unwrap();
    folder
}

fn said(folder: &Path, line: &[&str]) -> (i32, String, String) {
    run(scopegate().args(line).current_dir(folder))
}

#[test]
fn wrong_use_is_told_with_what_would_be_right_and_has_a_status_of_its_own() {
    let folder = folder();
    for (line, right) in [
        (&["token", "new", "--id", "x", "--scopes", "a b"][..], "a scope has a character that RFC 6750 does not allow"),
        (&["token", "new", "--id", "x", "--scopes", ""], "a scope is empty"),
        (&["token", "new", "--id", "", "--scopes", "a:b"], "an id is 1 to 256 bytes"),
        (&["token", "new", "--id", "x", "--scopes", "a:b", "--expires", "soon"], "an expiry is a duration such as `90d`, or an instant"),
        (&["token", "rotate", "--id", "first", "--grace", "soon"], "a grace is a duration such as `7d`"),
        (&["keys", "create", "--name", "x", "--scopes", "a:b", "--expires", "never"], "an expiry is a duration such as `90d`"),
        (&["keys", "patch", "x", "--expires", "soon"], "an expiry is a duration such as `90d`"),
        (&["keys", "rotate", "x", "--grace", "soon"], "a grace is a duration such as `7d`"),
        (&["explain", "--decision", "0f1e"], "sixteen hexadecimal digits"),
        (&["explain", "GET", "/", "--header", "nonsense"], "a header is `Name: value`"),
        (&["healthcheck", "--address", "localhost"], "an address is `host:port` or `unix:/path`"),
        (&["healthcheck", "--address", "localhost:x"], "an address is `host:port` or `unix:/path`"),
        (&["intercept"], "--apply puts the rules into this network namespace, --print writes them"),
        (&["check", "--nonsense"], "unexpected argument '--nonsense'"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
    ] {
        let (status, out, err) = said(folder.path(), line);
        assert_eq!((status, out.as_str()), (2, ""), "{line:?}: {err}");
        assert!(err.contains(right), "{line:?}: {err}");
    }
    assert_eq!(said(folder.path(), &["explain", "GET", "/", "--as", "first"]).0, 0, "the token file is as it was");
}

#[test]
fn a_header_that_is_none_is_not_said_again() {
    let (_, _, err) = said(folder().path(), &["explain", "GET", "/", "--header", "Authorization Bearer token-of-somebody"]);
    assert!(!err.contains("token-of-somebody"), "{err}");
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_told_in_one_line_by_its_name() {
    let folder = folder();
    let commands: [&[&str]; 13] = [
        &["check", "--config"],
        &["serve", "--config"],
        &["intercept", "--print", "--config"],
        &["test"],
        &["coverage", "--openapi"],
        &["import", "backstage"],
        &["import", "backflow"],
        &["import", "openapi"],
        &["token", "rotate", "--id", "first", "--file"],
        &["token", "verify", "--alg", "RS256", "--jwks"],
        &["token", "mint", "--secret-base64-file"],
        &["keys", "import"],
        &["keys", "list", "--token-file"],
    ];
    for command in commands {
        for (file, right) in
            [("x.missing", "cannot be read: No such file"), ("x.folder", "name a file"), ("x.huge", "larger than"), ("x.empty", ""), ("x.binary", "")]
        {
            let (status, out, err) = said(folder.path(), &[command, &[file]].concat());
            let told = [out, err].concat();
            assert_eq!((status, told.lines().count()), (1, 1), "{command:?} {file}: {told}");
            assert!(told.contains(right) && told.matches(file).count() <= 1, "{command:?} {file}: {told}");
        }
    }
}

#[test]
fn what_a_program_reads_is_json_whatever_it_is() {
    let folder = folder();
    for (line, key) in [
        (&["check", "--json"][..], "ok"),
        (&["check", "--config", "missing", "--json"], "faults"),
        (&["explain", "GET", "/", "--json"], "decision"),
        (&["explain", "GET", "//", "--json"], "decision"),
        (&["explain", "GET", "/", "--as", "nobody", "--json"], "error"),
        (&["explain", "GET", "/", "--config", "missing", "--json"], "error"),
        (&["explain", "--decision", "0f1e2d3c4b5a6978", "--url", "unix:missing", "--json"], "error"),
        (&["coverage", "--json"], "ok"),
        (&["coverage", "--openapi", "missing", "--json"], "error"),
        (&["test", "missing", "--json"], "error"),
        (&["suggest", "--decisions", "missing", "--json"], "error"),
        (&["token", "verify", "--alg", "RS256", "--jwks", "missing", "--json"], "error"),
        (&["keys", "list", "--token-file", "missing", "--json"], "error"),
        (&["keys", "get", "x", "--token-file", "tokens.json", "--json"], "error"),
    ] {
        let (status, out, err) = said(folder.path(), line);
        let told: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{line:?}: {error}: {out}{err}"));
        assert!(told.get(key).is_some(), "{line:?}: {told:#}");
        if let Some(error) = told.get("error").and_then(Value::as_str) {
            assert_eq!((status, format!("{error}\n")), (1, err), "{line:?}: the same is said to who looks on");
        }
    }
}
