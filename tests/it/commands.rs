//! The command line: results on standard output, messages on standard error, and an exit status that a script can use.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use scopegate::config::shape::{FILE, Key, Shape};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::process::{Serving, run, scopegate};
use crate::harness::upstream::Upstream;
use crate::harness::{Gate, ask, complete, write_secret};

const CONFIG: &str = "
credentials: {tokens: {kind: static, file: tokens.json}}
routes:
  GET /app: app:use
  GET /open: public
  POST /rpc: {tools: {run: query:run}}
  /closed: deny
";
const TOKENS: &str = r#"[
  {"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]},
  {"id": "other", "token": "token-of-another-1", "scopes": ["other:use"]},
  {"id": "old", "token": "token-that-expired", "scopes": ["app:use"], "expires_at": "2001-01-01T00:00:00Z"}
]"#;

struct Desk(TempDir);

impl Desk {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn new() -> Self {
        let desk = Self::empty();
        std::fs::write(desk.path("scopegate.yaml"), CONFIG).unwrap();
        write_secret(&desk.path("tokens.json"), TOKENS);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Status, standard output and standard error of a command run in the folder.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(scopegate().args(args).current_dir(self.0.path()))
    }

    fn tokens(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.path("tokens.json")).unwrap()).unwrap()
    }

    /// The decision on `GET /app` with this token.
    fn decides(&self, token: &str) -> i32 {
        self.run(&["explain", "GET", "/app", "--header", &format!("Authorization: Bearer {token}")]).0
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn help_on_every_command_shows_an_example() {
    let desk = Desk::empty();
    for command in [
        "",
        "demo",
        "serve",
        "init",
        "check",
        "explain",
        "test",
        "coverage",
        "import",
        "import backstop",
        "import backstage",
        "import backflow",
        "import openapi",
        "injector",
        "intercept",
        "schema",
        "token",
        "token new",
        "token rotate",
        "token hash",
        "token inspect",
        "token verify",
        "token mint",
        "keys",
        "keys list",
        "keys create",
        "keys get",
        "keys patch",
        "keys rotate",
        "keys revoke",
        "keys import",
        "scan",
        "healthcheck",
        "retire",
    ] {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let (status, out, err) = desk.run(&args);
        assert_eq!((status, err.as_str()), (0, ""), "{command}");
        let example = out.split_once("Example").unwrap_or_else(|| panic!("`{command}` has none: {out}")).1;
        assert!(example.contains(&format!("scopegate {command}")), "{command}: {example}");
    }
}

#[test]
fn wrong_use_is_status_2_with_nothing_on_standard_output() {
    let desk = Desk::new();
    for args in [
        &[][..],
        &["nonsense"],
        &["serve", "--port", "1"],
        &["serve", "--upstream", "127.0.0.1:3000"],
        &["serve", "--proxy", "8080"],
        &["injector"],
        &["injector", "--cert", "a", "--key", "b", "--image", "c", "--failure", "maybe"],
        &["explain"],
        &["explain", "GET"],
        &["check", "--config"],
        &["token"],
        &["token", "new"],
        &["token", "new", "--id", "x"],
        &["token", "mint"],
        &["token", "mint", "--secret", "x"],
        &["token", "mint", "--secret-file", "f", "--secret-base64-file", "f"],
        &["token", "mint", "--secret-file", "f", "--alg", "RS256"],
        &["token", "mint", "--secret-file", "f", "--ttl", "soon"],
        &["token", "mint", "--secret-file", "f", "--claim", "exp=1"],
        &["token", "mint", "--secret-base64-file", "f", "--claim", "a=b"],
        &["token", "verify"],
        &["token", "verify", "--jwks", "f"],
        &["token", "verify", "--alg", "RS256"],
        &["token", "verify", "--jwks", "f", "--alg", "none"],
        &["token", "verify", "--jwks", "f", "--pem", "f", "--alg", "RS256"],
        &["token", "verify", "--jwks", "-", "--alg", "RS256"],
        &["token", "verify", "--jwks", "f", "--alg", "RS256", "--leeway", "1h"],
        &["token", "verify", "--jwks", "f", "--alg", "RS256", "--no-claims", "--issuer", "x"],
        &["intercept"],
        &["intercept", "--ports", "80"],
        &["intercept", "--print", "--outbound"],
        &["intercept", "--print", "--ports", "0"],
        &["intercept", "--print", "--ports", "8080"],
        &["intercept", "--print", "--except", "22", "--ports", "22,80"],
        &["intercept", "--print", "--mark", "0"],
        &["intercept", "--print", "--format", "pf"],
        &["test"],
        &["coverage", "--openapi"],
        &["coverage", "api.yaml"],
        &["import", "openapi"],
        &["test", "cases.yaml", "--junit"],
        &["import"],
        &["import", "backstage"],
        &["import", "elsewhere", "f"],
        &["init"],
        &["keys"],
        &["keys", "create", "--name", "a"],
        &["keys", "create", "--name", "a", "--scopes", "a:b", "--burst", "5"],
        &["keys", "get"],
        &["keys", "patch", "x", "--enable", "--disable"],
        &["keys", "list", "--token", "x"],
        &["scan"],
    ] {
        let (status, out, err) = desk.run(args);
        assert_eq!((status, out.as_str()), (2, ""), "{args:?}");
        assert!(!err.is_empty(), "{args:?}");
    }
}

#[test]
fn without_a_configuration_one_line_says_what_to_do() {
    let desk = Desk::empty();
    for args in [&["serve"][..], &["check"], &["explain", "GET", "/"]] {
        let (status, out, err) = desk.run(args);
        assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{args:?}: {err}");
        assert!(err.starts_with("no configuration: write one with `scopegate init --upstream"), "{err}");
    }
}

#[test]
fn check_says_yes_and_no_in_both_forms() {
    let desk = Desk::new();
    let (status, out, err) = desk.run(&["check"]);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "no faults (routes: 4, tokens: 3)\n", ""));
    let (status, out, _) = desk.run(&["check", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, told), (0, serde_json::json!({"ok": true, "faults": [], "warnings": []})));

    std::fs::set_permissions(desk.path("tokens.json"), PermissionsExt::from_mode(0o644)).unwrap();
    let (status, _, err) = desk.run(&["check"]);
    assert_eq!(status, 0);
    assert!(err.starts_with("warning: token file can be read by other users"), "{err}");
    let (_, out, _) = desk.run(&["check", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["warnings"].as_array().map(Vec::len), Some(1));

    std::fs::write(desk.path("scopegate.yaml"), format!("{CONFIG}colour: red\ndrain_timeout: soon\n")).unwrap();
    let (status, out, err) = desk.run(&["check"]);
    assert_eq!((status, out.lines().count(), err.as_str()), (1, 2, ""), "{out}");
    assert!(out.contains("(scopegate.yaml:8:1)") && out.contains("(scopegate.yaml:9:16)"), "{out}");
    let (status, out, _) = desk.run(&["check", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &told["ok"]), (1, &false.into()));
    let fault = told["faults"].as_array().unwrap().iter().find(|fault| fault["line"] == 9).unwrap();
    assert_eq!((&fault["file"], &fault["column"]), (&"scopegate.yaml".into(), &16.into()));
    assert!(fault["message"].as_str().unwrap().starts_with("`drain_timeout` is `soon`"), "{fault}");
}

#[test]
fn a_configuration_is_named_by_argument_by_variable_or_by_the_folder() {
    let (desk, elsewhere) = (Desk::new(), Desk::empty());
    let path = desk.path("scopegate.yaml");
    assert_eq!(elsewhere.run(&["check", "--config", path.to_str().unwrap()]).0, 0);
    assert_eq!(run(scopegate().arg("check").env("SCOPEGATE_CONFIG", &path).current_dir(elsewhere.0.path())).0, 0);
    // The argument wins over the variable, and the variable over the folder.
    let (status, _, err) = run(scopegate().args(["check", "--config", "nowhere.yaml"]).env("SCOPEGATE_CONFIG", &path).current_dir(desk.0.path()));
    assert_eq!((status, err.as_str()), (1, ""), "a fault of the configuration is a result");
    let (status, out, _) = run(scopegate().arg("check").env("SCOPEGATE_CONFIG", "nowhere.yaml").current_dir(desk.0.path()));
    assert_eq!(status, 1);
    assert!(out.contains("configuration cannot be read"), "{out}");
    let json = desk.path("scopegate.json");
    std::fs::write(&json, r#"{"credentials": {"tokens": {"kind": "static", "file": "tokens.json"}}, "routes": {"GET /x": "public"}}"#).unwrap();
    assert_eq!(desk.run(&["check", "--config", "scopegate.json"]).1, "no faults (routes: 1, tokens: 3)\n");
}

#[test]
fn explain_gives_the_decision_its_reasons_and_its_status() {
    let desk = Desk::new();
    std::fs::write(desk.path("call.json"), r#"{"method":"tools/call","params":{"name":"run"}}"#).unwrap();
    for (args, status, first) in [
        (&["GET", "/app", "--as", "app"][..], 0, "decision       allow"),
        (&["GET", "/app", "--as", "other"], 1, "decision       deny 403 (insufficient_scope)"),
        (&["GET", "/app"], 1, "decision       deny 401 (no_credential)"),
        (&["GET", "/open"], 0, "decision       allow"),
        (&["GET", "/closed", "--as", "app"], 1, "decision       deny 403 (denied)"),
        (&["GET", "/nowhere", "--as", "app"], 1, "decision       deny 403 (no_rule)"),
        (&["GET", "//app", "--as", "app"], 1, "decision       deny 400 (ambiguous_path)"),
        (&["GET", "/app", "--header", "Authorization: Bearer token-of-the-app-1"], 0, "decision       allow"),
        (&["GET", "/app", "--header", "Authorization: Bearer token-that-expired"], 1, "decision       deny 401 (invalid_credential)"),
        (
            &["GET", "/app", "--header", "Authorization: Bearer a", "--header", "authorization: Bearer b"],
            1,
            "decision       deny 400 (ambiguous_credential)",
        ),
        (&["POST", "/rpc", "--as", "app"], 0, "decision       depends on body"),
        (&["POST", "/rpc", "--as", "app", "--body-file", "call.json"], 1, "decision       deny 403 (insufficient_scope)"),
    ] {
        let args: Vec<&str> = ["explain"].iter().chain(args).copied().collect();
        let (found, out, err) = desk.run(&args);
        assert_eq!((found, out.lines().next(), err.as_str()), (status, Some(first), ""), "{args:?}: {out}");
    }
    let (_, out, _) = desk.run(&["explain", "GET", "/app", "--as", "other"]);
    for line in [
        "rule           GET /app",
        "needs          app:use",
        "caller         other",
        "credential     tokens",
        "holds          other:use",
        "missing        app:use",
        "held by        app, old",
        "considered     GET /app [app:use]: wins",
    ] {
        assert!(out.lines().any(|said| said == line), "{line:?} is not in {out}");
    }
    let (_, out, _) = desk.run(&["explain", "GET", "/app", "--header", "Authorization: Bearer token-that-expired"]);
    assert!(out.contains("cause          expired") && out.contains("caller         old"), "{out}");
    let (status, out, _) = desk.run(&["explain", "GET", "/app", "--as", "app", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &told["decision"], &told["id"]), (0, &"allow".into(), &"app".into()));
    for (args, said) in [
        (&["explain", "GET", "/app", "--as", "nobody"][..], "no credential has the id `nobody`"),
        (&["explain", "GET", "/app", "--body-file", "nowhere"], "the body: nowhere cannot be read"),
    ] {
        let (status, out, err) = desk.run(args);
        assert_eq!((status, out.as_str()), (1, ""), "{args:?}");
        assert!(err.starts_with(said), "{args:?}: {err}");
    }
}

#[test]
fn the_schema_knows_every_key_and_no_other() {
    let (status, out, _) = Desk::empty().run(&["schema"]);
    let schema: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &schema["$schema"]), (0, &"https://json-schema.org/draft/2020-12/schema".into()));
    assert!(holds(&schema, &FILE) > 30);
}

/// How many keys of the shape the schema has; it must have all, each with a description.
fn holds(schema: &Value, shape: &Shape) -> usize {
    match shape {
        Shape::Object(keys) => {
            assert_eq!(schema["additionalProperties"], false, "{schema:#}");
            let properties = schema["properties"].as_object().unwrap();
            assert_eq!(properties.len(), keys.len(), "{schema:#}");
            let inside = keys.iter().map(|Key { name, shape, doc }| {
                assert_eq!(properties[*name]["description"], *doc, "{name}");
                1 + holds(&properties[*name], shape)
            });
            inside.sum()
        }
        Shape::Map(inner, _) => holds(&schema["additionalProperties"], inner),
        Shape::List(inner) => holds(&schema["items"], inner),
        Shape::Either(shapes) => shapes.iter().enumerate().map(|(index, shape)| holds(&schema["anyOf"][index], shape)).sum(),
        Shape::Text | Shape::Bool | Shape::Count | Shape::Duration | Shape::Size | Shape::Texts | Shape::Choice(..) => 0,
    }
}

#[test]
fn a_new_token_is_shown_once_and_kept_as_its_digest() {
    let desk = Desk::empty();
    std::fs::write(desk.path("scopegate.yaml"), CONFIG).unwrap();
    let (status, out, err) = desk.run(&["token", "new", "--id", "ci", "--scopes", "app:use,app:read", "--expires", "90d"]);
    assert_eq!((status, err.as_str(), out.lines().count()), (0, "", 1), "{out}{err}");
    let token = out.trim();
    assert!(token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_graphic()), "{token}");
    let path = desk.path("tokens.json");
    assert_eq!(mode(&path), 0o600);
    assert!(!std::fs::read_to_string(&path).unwrap().contains(token));
    assert_eq!((&desk.tokens()[0]["id"], &desk.tokens()[0]["scopes"]), (&"ci".into(), &serde_json::json!(["app:use", "app:read"])));
    assert_eq!(desk.decides(token), 0);
    assert_eq!(desk.decides(&format!("{token}x")), 1);

    let (_, second, _) = desk.run(&["token", "new", "--id", "cd", "--scopes", "app:use"]);
    assert_ne!(second.trim(), token);
    assert_eq!((desk.tokens().as_array().unwrap().len(), desk.decides(token), desk.decides(second.trim())), (2, 0, 0));
    let before = std::fs::read_to_string(&path).unwrap();
    for (args, said) in [
        (&["--id", "ci", "--scopes", "a:b"][..], "has an entry `ci` already; `scopegate token rotate` gives it a new secret"),
        (&["--id", "x", "--scopes", "a:b", "--file", "scopegate.yaml"], "scopegate.yaml is not JSON at "),
    ] {
        let args: Vec<&str> = ["token", "new"].iter().chain(args).copied().collect();
        let (status, out, err) = desk.run(&args);
        assert_eq!((status, out.as_str()), (1, ""), "{args:?}");
        assert!(err.contains(said) && !err.is_empty(), "{args:?}: {err}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before, "{args:?} changed the file");
    }
}

#[test]
fn a_rotated_token_works_beside_its_old_one_until_the_grace_ends() {
    let desk = Desk::new();
    let old = "token-of-the-app-1";
    let (status, out, _) = desk.run(&["token", "rotate", "--id", "app", "--grace", "1h"]);
    let new = out.trim().to_owned();
    assert_eq!((status, desk.decides(&new), desk.decides(old), mode(&desk.path("tokens.json"))), (0, 0, 0, 0o600));
    let text = std::fs::read_to_string(desk.path("tokens.json")).unwrap();
    assert!(!text.contains(old) && !text.contains(&new), "a secret is kept in clear: {text}");
    // The grace ends: the instant is the file's, and the clock has passed it.
    let mut tokens = desk.tokens();
    tokens[0]["previous"][0]["expires_at"] = "2001-01-01T00:00:00Z".into();
    write_secret(&desk.path("tokens.json"), tokens.to_string());
    assert_eq!((desk.decides(&new), desk.decides(old)), (0, 1));
    // What has ended is not carried on.
    let (_, newest, _) = desk.run(&["token", "rotate", "--id", "app", "--grace", "0s"]);
    assert_eq!(desk.tokens()[0]["previous"].as_array().map(Vec::len), Some(1));
    assert_eq!((desk.decides(newest.trim()), desk.decides(&new)), (0, 1), "a grace of nothing");
    for (args, said) in [
        (&["--id", "nobody"][..], "has no entry `nobody`; `scopegate token new` makes one"),
        (&["--id", "app", "--file", "nowhere.json"], "nowhere.json cannot be read"),
    ] {
        let args: Vec<&str> = ["token", "rotate"].iter().chain(args).copied().collect();
        let (status, out, err) = desk.run(&args);
        assert_eq!((status, out.as_str()), (1, ""), "{args:?}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
}

#[test]
fn a_linked_token_file_stays_a_link() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("kept")).unwrap();
    std::fs::rename(desk.path("tokens.json"), desk.path("kept/tokens.json")).unwrap();
    std::os::unix::fs::symlink("kept/tokens.json", desk.path("tokens.json")).unwrap();
    let (status, out, err) = desk.run(&["token", "rotate", "--id", "app"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(std::fs::symlink_metadata(desk.path("tokens.json")).unwrap().file_type().is_symlink());
    assert_eq!(desk.decides(out.trim()), 0);
    assert_eq!(std::fs::read_dir(desk.path("kept")).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn the_hash_of_a_token_is_its_sha256_with_or_without_a_line_end() {
    let hash = |input: &str| {
        let mut child = scopegate().args(["token", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for input in ["0123456789", "0123456789\n"] {
        let (status, out, err) = hash(input);
        assert_eq!((status, out.as_str()), (1, ""), "{input:?} is too short");
        assert!(err.starts_with("standard input has a token of under 16 characters") && !err.contains(input.trim()), "{err}");
    }
    let long = "01234567890123456789";
    let expected = "4e76ad8354461437c04ef9b9b242540b6406d782ff2c3fb28afdab5b423f88fe"; // sha256sum's
    for input in [long.to_owned(), format!("{long}\n"), format!("{long}\r\n")] {
        assert_eq!(hash(&input), (0, format!("{expected}\n"), String::new()), "{input:?}");
    }
    for input in ["0123456789 0123456789", "01234567890123456789\n\n", ""] {
        assert_eq!(hash(input).0, 1, "{input:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_a_configuration_that_serves() {
    let (desk, upstream) = (Desk::empty(), Upstream::start().await);
    let url = format!("http://{}", upstream.address);
    let (status, out, err) = desk.run(&["init", "--upstream", &url]);
    assert_eq!((status, out.lines().count()), (0, 1), "{out}{err}");
    let token = out.trim().to_owned();
    assert_eq!(mode(&desk.path("tokens.json")), 0o600);
    assert!(!std::fs::read_to_string(desk.path("tokens.json")).unwrap().contains(&token));
    assert_eq!(desk.run(&["check"]).0, 0);

    let written = std::fs::read_to_string(desk.path("scopegate.yaml")).unwrap();
    std::fs::write(desk.path("here.yaml"), complete(&written, upstream.address)).unwrap();
    let serving = Serving::start(&desk.path("here.yaml"), &[]).await;
    for (request, status) in [
        ("GET /health HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 200),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 401),
        (format!("GET /x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"), 200),
        (format!("POST /x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"), 403),
    ] {
        assert_eq!(ask(serving.address("proxy"), &request).await.status, status, "{request}");
    }
    // What is there is left as it is.
    let (status, _, err) = desk.run(&["init", "--upstream", &url]);
    assert_eq!(status, 1);
    assert!(err.contains("exists already and is left as it is"), "{err}");
    assert_eq!(std::fs::read_to_string(desk.path("scopegate.yaml")).unwrap(), written);

    let other = Desk::empty();
    for url in ["nonsense", "ftp://x", "http://x/path"] {
        let (status, out, _) = other.run(&["init", "--upstream", url]);
        assert_eq!((status, out.as_str()), (1, ""), "{url}");
        assert_eq!(std::fs::read_dir(other.0.path()).unwrap().count(), 0, "{url}: something half-made is left behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_tells_ready_from_draining_and_gone() {
    let gate = Gate::start("routes: {GET /x: public}\n", r#"[{"id": "a", "token": "token-of-the-app-1", "scopes": ["a:b"]}]"#).await;
    let address = gate.admin().to_string();
    let check = async |more: &'static [&str]| {
        let address = address.clone();
        tokio::task::spawn_blocking(move || run(scopegate().args(["healthcheck", "--address", &address]).args(more))).await.unwrap()
    };
    assert_eq!(check(&[]).await, (0, "ready\n".to_owned(), String::new()));
    gate.running.gate.live.drain();
    let (status, out, err) = check(&[]).await;
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(err, format!("not ready: {address} answered 503\n"));
    assert_eq!(check(&["--live"]).await, (0, "alive\n".to_owned(), String::new()));
    gate.running.stop().await;
    for more in [&[][..], &["--live"]] {
        let (status, _, err) = check(more).await;
        assert_eq!(status, 1);
        assert!(err.starts_with(&format!("{address} does not answer:")), "{err}");
    }
}
