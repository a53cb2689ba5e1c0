//! Configurations that operators have already: what is made of them passes the check, decides as they did, and loses nothing in silence.

mod backflow;
mod backstage;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::process::{run, scopegate};
use crate::harness::write_secret;

/// A value for every variable that the sources here name.
const VARIABLES: [(&str, &str); 8] = [
    ("BACKEND_SECRET", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"),
    ("BACKEND_SECRET_OLD", "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC"),
    ("CI_TOKEN", "token-of-the-pipeline-1"),
    ("LEGACY_SECRET", "Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0ND"),
    ("JWT_SECRET", "a-secret-of-more-than-thirty-two-bytes"),
    ("FIREBASE_PROJECT_ID", "project-1"),
    ("ISSUER", "https://issuer.example.com"),
    ("PORT", "7008"),
];

/// A folder to import in.
struct Desk(TempDir);

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| write_secret(&desk.path(name), text));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Status, standard output and standard error of a command in the folder.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(scopegate().args(args).envs(VARIABLES).current_dir(self.0.path()))
    }

    /// Imports into `scopegate.yaml`, which then has no fault; gives its text.
    fn import(&self, args: &[&str]) -> String {
        let args: Vec<&str> = ["import"].iter().chain(args).chain(&["--output", "scopegate.yaml"]).copied().collect();
        let (status, out, err) = self.run(&args);
        assert_eq!((status, out.as_str()), (0, ""), "{err}");
        let text = self.read("scopegate.yaml");
        let (status, faults, _) = self.run(&["check"]);
        assert_eq!(status, 0, "{faults}\n{text}");
        text
    }

    /// Fails to import; gives what it said.
    fn refused(&self, args: &[&str]) -> String {
        let args: Vec<&str> = ["import"].iter().chain(args).copied().collect();
        let (status, out, err) = self.run(&args);
        assert_eq!((status, out.as_str()), (1, ""), "{err}");
        err
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The first line of the decision on a request with this token.
    fn decides(&self, method: &str, path: &str, token: Option<&str>) -> String {
        let header = token.map(|token| format!("Authorization: Bearer {token}"));
        let args = ["explain", method, path].into_iter().chain(header.as_deref().into_iter().flat_map(|header| ["--header", header]));
        let (_, out, err) = self.run(&args.collect::<Vec<_>>());
        out.lines().next().unwrap_or_else(|| panic!("{err}")).trim_start_matches("decision").trim().to_owned()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_examples_are_what_the_import_makes_and_pass_the_check() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
    for (folder, args) in [
        ("backstage", &["import", "backstage", "app-config.yaml", "--plugin", "catalog"][..]),
        ("backflow", &["import", "backflow", "backflow.json"]),
    ] {
        let folder = examples.join(folder);
        let (status, out, err) = run(scopegate().args(args).current_dir(&folder));
        assert_eq!(status, 0, "{err}");
        assert_eq!(out, std::fs::read_to_string(folder.join("scopegate.yaml")).unwrap());
        let (status, out, _) = run(scopegate().args(["check", "--config", "scopegate.yaml"]).envs(VARIABLES).current_dir(&folder));
        assert_eq!(status, 0, "{out}");
    }
}

#[test]
fn what_is_noted_stands_at_the_top_of_the_file_and_on_standard_error() {
    let desk = Desk::new(&[("c.json", r#"{"jwt": {"secret": "{{env.JWT_SECRET}}", "weird": 1}, "rateLimit": {}, "cache": {}, "routes": []}"#)]);
    let (status, out, err) = desk.run(&["import", "backflow", "c.json"]);
    assert_eq!(status, 0);
    let notes: Vec<&str> = err.lines().map(|line| line.strip_prefix("note: ").unwrap()).collect();
    let comments: Vec<&str> = out.lines().take_while(|line| line.starts_with('#')).skip(1).map(|line| line.strip_prefix("# - ").unwrap()).collect();
    assert_eq!(notes, comments);
    for named in ["`jwt.weird`", "`rateLimit`", "`cache`", "`x-api-key`"] {
        assert!(err.contains(named), "{named} is lost: {err}");
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_half_made() {
    let literal = r#"{"jwt": {"secret": "a-literal-secret-of-over-32-bytes-in-all"}, "routes": []}"#;
    for taken in ["scopegate.yaml", "backflow-1.secret"] {
        let desk = Desk::new(&[("c.json", literal), (taken, "mine")]);
        let before = desk.files();
        let err = desk.refused(&["backflow", "c.json", "--output", "scopegate.yaml"]);
        assert!(err.contains(&format!("{taken} exists already and is left as it is")), "{err}");
        assert_eq!((desk.files(), desk.read(taken).as_str()), (before, "mine"));
    }
    let desk = Desk::new(&[("c.json", literal)]);
    let err = desk.refused(&["backflow", "c.json", "--output", "nowhere/scopegate.yaml"]);
    assert!(err.contains("cannot be written"), "{err}");
    assert_eq!(desk.files(), ["c.json"]);
}

#[test]
fn a_literal_secret_goes_into_a_file_of_its_own_and_nowhere_else() {
    let secret = "a-literal-secret-of-over-32-bytes-in-all";
    let desk = Desk::new(&[("c.json", &format!(r#"{{"jwt": {{"secret": "{secret}"}}, "routes": []}}"#))]);
    let err = desk.refused(&["backflow", "c.json"]);
    assert!(err.contains("`jwt.secret` is a literal secret") && err.contains("${NAME}") && !err.contains(secret), "{err}");
    let (status, out, err) = desk.run(&["import", "backflow", "c.json", "--output", "out.yaml"]);
    assert_eq!((status, out.as_str()), (0, ""));
    assert!(!err.contains(secret) && !desk.read("out.yaml").contains(secret), "{err}");
    assert!(desk.read("out.yaml").contains("secret_file: backflow-1.secret"));
    assert_eq!((desk.read("backflow-1.secret"), mode(&desk.path("backflow-1.secret"))), (format!("{secret}\n"), 0o600));
    assert_eq!(desk.run(&["check", "--config", "out.yaml"]).0, 0);
}

#[test]
fn a_source_that_cannot_be_read_is_said_without_its_text() {
    let files = [
        ("broken.json", "{\"jwt\": \"hidden-text"),
        ("broken.yaml", "backend: {auth: [hidden-text"),
        ("list.yaml", "- hidden-text"),
        ("twice.yaml", "a: 1\na: 2\n"),
    ];
    let desk = Desk::new(&files);
    for (args, said) in [
        (&["backflow", "nowhere.json"][..], "nowhere.json cannot be read"),
        (&["backflow", "broken.json"], "broken.json is not JSON at 1:"),
        (&["backstage", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (&["backstage", "broken.yaml"], "this is not YAML from here on (broken.yaml:1:"),
        (&["backstage", "list.yaml"], "list.yaml is a list; app-config.yaml is a mapping"),
        (&["backstage", "twice.yaml"], "key `a` stands twice; keep one (twice.yaml:2:1)"),
        (&["backstop", "nowhere.json"], "token file cannot be read"),
        (&["backstop", "broken.json"], "token file is not JSON"),
        (&["backstage", "list.yaml", "--plugin", "a b"], "`a b` is no plugin id"),
    ] {
        let err = desk.refused(args);
        assert!(err.starts_with(said) && !err.contains("hidden-text"), "{args:?}: {err}");
    }
}

#[test]
fn backstops_token_file_gets_backstops_routes() {
    let tokens = r#"[{"id": "operator-01", "token": "token-of-an-operator", "scopes": ["approval:read", "approval:write"]},
        {"id": "root", "token": "token-of-the-admin-1", "scopes": ["admin:*", "restore:prepare"]}]"#;
    let desk = Desk::new(&[]);
    std::fs::create_dir(desk.path("secrets")).unwrap();
    write_secret(&desk.path("secrets/tokens.json"), tokens);
    let text = desk.import(&["backstop", "secrets/tokens.json", "--upstream", "http://127.0.0.1:3001"]);
    assert!(text.contains("upstream: \"http://127.0.0.1:3001\"") || text.contains("upstream: http://127.0.0.1:3001"), "{text}");
    assert!(text.contains("file: secrets/tokens.json") && !text.contains("token-of"), "{text}");
    assert!(
        text.contains("`root` holds `restore:prepare`, which no route needs")
            && text.contains("`root` holds `admin:*`, which is every admin operation"),
        "{text}"
    );
    for (method, path, token, decision) in [
        ("GET", "/health", None, "allow"),
        ("GET", "/pending", Some("token-of-an-operator"), "allow"),
        ("POST", "/approve/7", Some("token-of-an-operator"), "allow"),
        ("POST", "/admin/pause", Some("token-of-an-operator"), "deny 403 (insufficient_scope)"),
        ("POST", "/admin/pause", Some("token-of-the-admin-1"), "allow"),
        ("GET", "/pending", Some("token-of-the-admin-1"), "deny 403 (insufficient_scope)"),
    ] {
        assert_eq!(desk.decides(method, path, token), decision, "{method} {path} {token:?}");
    }
    let (_, out, err) =
        run(scopegate().args(["explain", "GET", "/pending", "--header", "X-Backstop-Token: token-of-an-operator"]).current_dir(desk.0.path()));
    assert!(out.starts_with("decision       allow"), "{out}{err}");

    // From another folder the file is named in full.
    std::fs::create_dir(desk.path("etc")).unwrap();
    assert_eq!(desk.run(&["import", "backstop", "secrets/tokens.json", "--output", "etc/scopegate.yaml"]).0, 0);
    assert_eq!(desk.run(&["check", "--config", "etc/scopegate.yaml"]).0, 0, "{}", desk.read("etc/scopegate.yaml"));
    write_secret(
        &desk.path("bad.json"),
        r#"[{"id": "x", "token": "token-of-an-operator", "scopes": ["a b"]}, {"id": "y", "token": "short", "scopes": ["a:b"]}]"#,
    );
    let err = desk.refused(&["backstop", "bad.json"]);
    assert_eq!(err.lines().count(), 2, "{err}");
    assert!(err.contains("entry `x`") && err.contains("entry `y`") && !err.contains("short\""), "{err}");
}
