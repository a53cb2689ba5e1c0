//! Three public OpenAPI documents of more than a hundred operations: routes made of them cover them, and every change of the policy that
//! takes something away is found, and nothing else is.

use std::path::PathBuf;
use std::process::Command;

use scopegate::config::{Input, Loaded, load};
use scopegate::coverage::{Against, Kind, Log, Report, report};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;
use scopegate::openapi::{self, Document, Operation, Part};
use scopegate::policy::pattern::Pattern;
use scopegate::policy::{Access, RuleId};
use serde_json::json;
use tempfile::TempDir;

use crate::process::{root, scopegate};

/// GitHub's, whose paths cross each other and which says nothing of security.
const OCTOKIT: &str = "@octokit/openapi/generated/api.github.com.json";
/// In YAML, with a key for everything.
const BLOCKFROST: &str = "@blockfrost/openapi/openapi.yaml";
/// 3.1, with alternatives of scopes.
const GITBOOK: &str = "@gitbook/api/spec/openapi.json";

/// A document, and the routes that were made of it.
struct Desk {
    folder: TempDir,
    document: Document,
    file: PathBuf,
    /// `pattern: need`, as in the file.
    routes: Vec<String>,
}

impl Desk {
    fn import(name: &str, operations: usize) -> Self {
        let file = root().join("target/tools/packages/openapi/node_modules").join(name);
        assert!(file.exists(), "{} is not there; `tests/run tools` installs it", file.display());
        let folder = tempfile::tempdir().unwrap();
        let desk = Self { folder, document: openapi::read(&file, None).unwrap(), file, routes: Vec::new() };
        assert_eq!(desk.document.operations.len(), operations);
        let (status, said) = desk.run(&["import", "openapi", desk.file.to_str().unwrap(), "--output", "scopegate.yaml"]);
        assert_eq!(status, 0, "{said}");
        desk.tokens(&json!([{"id": "all", "token": "token-of-all-of-it-1", "scopes": ["*"]}]));
        let (status, said) = desk.run(&["check"]);
        assert_eq!(status, 0, "{said}");
        let text = std::fs::read_to_string(desk.folder.path().join("scopegate.yaml")).unwrap();
        let routes = text.split_once("\nroutes:\n").unwrap().1.lines().map(|line| line.trim().to_owned()).collect();
        Self { routes, ..desk }
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let done = Command::new(scopegate()).args(args).current_dir(self.folder.path()).env_clear().output().unwrap();
        let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (done.status.code().unwrap(), said)
    }

    fn tokens(&self, list: &serde_json::Value) {
        let path = self.folder.path().join("tokens.json");
        std::fs::write(&path, list.to_string()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn load(&self, routes: &[String], more: &str) -> Loaded {
        let lines: String = routes.iter().map(|route| format!("  {route}\n")).collect();
        let path = self.folder.path().join("mutated.yaml");
        std::fs::write(&path, format!("credentials: {{tokens: {{kind: static, file: tokens.json}}}}\n{more}routes:\n{lines}")).unwrap();
        load(&Input::File(path), &|_| None, &TagKey::new([7; 32]), &Registry::offline()).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn compare(&self, routes: &[String], log: Option<&Log>) -> Report {
        report(&self.load(routes, ""), Against { document: Some(&self.document), log, now: 0 })
    }

    /// What is found of these routes, `kind subject` each.
    fn found(&self, routes: &[String]) -> Vec<(Kind, String)> {
        self.compare(routes, None).findings.into_iter().map(|finding| (finding.kind, finding.subject)).collect()
    }

    fn with(&self, route: &str) -> Vec<String> {
        self.routes.iter().cloned().chain([route.to_owned()]).collect()
    }

    fn replaced(&self, index: usize, route: String) -> Vec<String> {
        let mut routes = self.routes.clone();
        routes[index] = route;
        routes
    }

    fn pattern(route: &str) -> Pattern {
        Pattern::parse(route.rsplit_once(": ").unwrap().0.trim_matches('"')).unwrap()
    }

    /// The only operation of a route, where no wider route would take its requests; of some routes from all over the file.
    fn samples(&self) -> Vec<(usize, &Operation)> {
        let patterns: Vec<Pattern> = self.routes.iter().map(|route| Self::pattern(route)).collect();
        let texts = |operation: &Operation| operation.template.0.iter().map(shape).collect::<Vec<_>>();
        let mut samples = Vec::new();
        for (index, pattern) in patterns.iter().enumerate().step_by(self.routes.len() / 15) {
            let shown: Vec<String> = pattern.segments.iter().map(|segment| format!("{segment:?}")).collect();
            let own = |operation: &&Operation| pattern.method.as_deref() == Some(&operation.method) && texts(operation) == shown;
            let operation = self.document.operations.iter().find(own);
            let alone = !patterns.iter().enumerate().any(|(other, wide)| other != index && pattern.is_within(wide));
            samples.extend(operation.filter(|_| alone).map(|operation| (index, operation)));
        }
        assert!(samples.len() >= 6, "{}", samples.len());
        samples
    }
}

/// A part of a template as a pattern's segment shows itself.
fn shape(part: &Part) -> String {
    match part {
        Part::Literal(text) if text.is_empty() => "End".into(),
        Part::Literal(text) => format!("Literal({text:?})"),
        Part::One(_) | Part::Mixed(_) => "One".into(),
        Part::Many(_) => "Rest".into(),
    }
}

fn need(route: &str) -> &str {
    route.rsplit_once(": ").unwrap().1
}

/// What no other finding comes with.
fn holds(name: &str, operations: usize) {
    let desk = Desk::import(name, operations);
    assert_eq!(desk.found(&desk.routes), [], "the routes that were made of it");
    let mut narrowed = 0;
    for (index, operation) in desk.samples() {
        let route = &desk.routes[index];
        let text = route.rsplit_once(": ").unwrap().0;
        let less: Vec<String> = desk.routes.iter().filter(|other| *other != route).cloned().collect();
        let users = |scope: &str| desk.routes.iter().filter(|other| need(other) == scope).count();
        assert_eq!(desk.found(&less), [(Kind::NoRule, operation.name())], "without {route}");
        // Where the document protects it.
        let open = if operation.security.is_protected() { vec![(Kind::Public, operation.name())] } else { Vec::new() };
        assert_eq!(desk.found(&desk.replaced(index, format!("{text}: public"))), open, "{text} is public");
        assert_eq!(desk.found(&desk.replaced(index, format!("{text}: deny"))), [], "{text} is denied");
        // For one value of a parameter only, where that crosses no other route.
        let only = text.replacen('{', "only-", 1).replacen('}', "", 1);
        let narrow = Desk::pattern(&format!("{only}: x"));
        let crosses = desk.routes.iter().filter(|other| *other != route).any(|other| Desk::pattern(other).conflicts_with(&narrow));
        if only != text && !text.contains("{$}") && users(need(route)) > 1 && !crosses {
            narrowed += 1;
            assert_eq!(desk.found(&desk.replaced(index, format!("{only}: {}", need(route)))), [(Kind::NoRule, operation.name())], "{only}");
        }
    }
    assert!(narrowed > 0, "{narrowed}");
    widened(&desk);
    for stray in ["GET /no/such/path: authenticated", "PURGE /{rest...}: authenticated", "GET elsewhere.test/no/such: authenticated"] {
        let name = stray.rsplit_once(": ").unwrap().0.to_owned();
        assert_eq!(desk.found(&desk.with(stray)), [(Kind::RuleMatchesNothing, name)], "{stray}");
    }
    holders(&desk);
    calls(&desk);
    statuses(&desk);
}

/// One wide rule more takes nothing and hides every hole; one that is public is found by what only it lets in.
fn widened(desk: &Desk) {
    let (index, operation) = desk.samples()[0];
    let less: Vec<String> = desk.routes.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, route)| route.clone()).collect();
    let wide = |need: &str| less.iter().cloned().chain([format!("/: {need}")]).collect::<Vec<_>>();
    assert_eq!(desk.found(&wide("authenticated")), [], "without {}", desk.routes[index]);
    let open = if operation.security.is_protected() { vec![(Kind::Public, operation.name())] } else { Vec::new() };
    assert_eq!(desk.found(&wide("public")), open, "without {}", desk.routes[index]);
    assert_eq!(desk.found(&desk.with("/: public")), [(Kind::RuleMatchesNothing, "/".into())]);
}

/// Scopes that nobody holds any more, and somebody who holds none that counts.
fn holders(desk: &Desk) {
    let loaded = desk.load(&desk.routes, "");
    let scopes: Vec<&str> = loaded.policy.universe.iter().map(scopegate::scope::Scope::as_str).collect();
    for lost in scopes.iter().step_by(scopes.len() / 3) {
        let kept: Vec<&str> = scopes.iter().filter(|scope| *scope != lost).copied().collect();
        desk.tokens(&json!([{"id": "all", "token": "token-of-all-of-it-1", "scopes": kept}]));
        assert_eq!(desk.found(&desk.routes), [(Kind::ScopeNotHeld, (*lost).to_owned())]);
    }
    desk.tokens(&json!([{"id": "all", "token": "token-of-all-of-it-1", "scopes": scopes}]));
    assert_eq!(desk.found(&desk.routes), []);
    let renamed = desk.replaced(0, format!("{}: renamed:scope", desk.routes[0].rsplit_once(": ").unwrap().0));
    assert_eq!(desk.found(&renamed), [(Kind::ScopeNotHeld, "renamed:scope".into())]);
    desk.tokens(&json!([
        {"id": "all", "token": "token-of-all-of-it-1", "scopes": ["*"]},
        {"id": "other", "token": "token-of-another-one-1", "scopes": ["none:of-these"]},
    ]));
    assert_eq!(desk.found(&desk.routes), [(Kind::ReachesNothing, "other".into())]);
    let staff = report(&desk.load(&desk.with("GET /: {roles: staff}"), "roles: {staff: ['x:y']}\n"), Against { document: None, log: None, now: 0 });
    let found: Vec<_> = staff.findings.iter().map(|finding| (finding.kind, finding.subject.as_str())).collect();
    assert_eq!(found[0], (Kind::RoleNotHeld, "staff"));
    desk.tokens(&json!([{"id": "all", "token": "token-of-all-of-it-1", "scopes": ["*"]}]));
}

/// A log with a request for every operation but one, and two that no rule is for.
fn calls(desk: &Desk) {
    let loaded = desk.load(&desk.routes, "");
    let uncalled = desk.samples()[1].1;
    let line = |method: &str, path: &str, reason: &str| {
        let line = json!({"time": "", "kind": "decision", "id": "0000000000000001", "method": method, "path": path, "reason": reason});
        line.to_string()
    };
    let mut log = Log::default();
    for operation in desk.document.operations.iter().filter(|operation| operation.name() != uncalled.name()) {
        let part = |part: &Part| match part {
            Part::Literal(text) => openapi::template::escaped(text),
            Part::One(_) | Part::Many(_) => "4f0a…".to_owned(),
            Part::Mixed(texts) => texts.join("x1"),
        };
        let path: String = operation.template.0.iter().map(|text| format!("/{}", part(text))).collect();
        log.add(line(&operation.method, &path, "").as_bytes());
    }
    for _ in 0..2 {
        log.add(line("GET", "/.env", "no_rule").as_bytes());
    }
    let found = report(&loaded, Against { document: Some(&desk.document), log: Some(&log), now: 0 });
    let denied: Vec<_> = found.findings.iter().map(|finding| (finding.kind, finding.subject.as_str(), finding.count)).collect();
    assert_eq!(denied, [(Kind::RequestWithoutRule, "GET /.env", Some(2))]);
    let never: Vec<_> = found.notes.iter().filter(|note| note.kind == Kind::NeverCalled).map(|note| note.subject.as_str()).collect();
    assert_eq!(never, [uncalled.name()]);
    assert!((0..loaded.policy.rules.len()).all(|rule| !matches!(loaded.policy.rule(RuleId(rule)).access, Access::Deny)));
}

/// What a build fails by.
fn statuses(desk: &Desk) {
    let write = |routes: &[String]| drop(desk.load(routes, ""));
    let run = |more: &[&str]| desk.run(&[&["coverage", "--config", "mutated.yaml", "--openapi", desk.file.to_str().unwrap()], more].concat());
    write(&desk.routes);
    let (status, said) = run(&["--strict"]);
    assert_eq!(status, 0, "{said}");
    write(&desk.with("GET /no/such/path: authenticated"));
    assert_eq!((run(&[]).0, run(&["--strict"]).0), (0, 1));
    write(&desk.routes[1..]);
    let (status, said) = run(&[]);
    assert!(status == 1 && said.contains("1 operation has no rule"), "{said}");
}

#[test]
fn routes_of_github_cover_github_and_every_mutation_is_found() {
    holds(OCTOKIT, 1223);
}

#[test]
fn routes_of_blockfrost_cover_blockfrost_and_every_mutation_is_found() {
    holds(BLOCKFROST, 129);
}

#[test]
fn routes_of_gitbook_cover_gitbook_and_every_mutation_is_found() {
    holds(GITBOOK, 377);
}
