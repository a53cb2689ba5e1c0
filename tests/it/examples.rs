//! Every example starts as it is, with the variables that its README names.

use crate::harness::example;
use crate::harness::process::{Serving, run, scopegate};
use crate::harness::upstream::Upstream;

const LONG: &str = "a-secret-of-more-than-thirty-two-characters";

/// Folder, file, and values for the variables of its README.
type Example = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const EXAMPLES: [Example; 7] = [
    (
        "backstage",
        "catalog.yaml",
        &[
            ("CATALOG_SECRET", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"),
            ("SCAFFOLDER_SECRET", "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC"),
            ("SEARCH_SECRET", "Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0ND"),
        ],
    ),
    ("backstage", "scaffolder.yaml", &[("SCAFFOLDER_SECRET", "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC")]),
    ("backstage", "search.yaml", &[("SEARCH_SECRET", "Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0ND")]),
    (
        "backstage",
        "scopegate.yaml",
        &[
            ("BACKEND_SECRET", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"),
            ("BACKEND_SECRET_OLD", "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC"),
            ("CI_TOKEN", "token-of-the-pipeline-1"),
            ("LEGACY_SECRET", "Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0ND"),
        ],
    ),
    ("backflow", "scopegate.yaml", &[("JWT_SECRET", LONG), ("FIREBASE_PROJECT_ID", "project-1")]),
    ("backflow", "finished.yaml", &[("JWT_SECRET", LONG), ("FIREBASE_PROJECT_ID", "project-1")]),
    (
        "aibtcdev",
        "scopegate.yaml",
        &[("SESSION_JWT_SECRET", LONG), ("AIBTC_WEBHOOK_AUTH_TOKEN", "Bearer your_webhook_secret_token"), ("OPERATOR_TOKEN", LONG)],
    ),
];

/// The names that a text has between these marks.
fn names(text: &str, open: &str, close: &str) -> Vec<String> {
    let mut names: Vec<String> = text.split(open).skip(1).filter_map(|rest| Some(rest.split_once(close)?.0.to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn every_example_passes_the_check_as_it_is_with_the_variables_of_its_readme() {
    for (folder, file, variables) in EXAMPLES {
        let path = example::folder(folder);
        let check =
            |variables: &[(&str, &str)]| run(scopegate().args(["check", "--config", file]).envs(variables.iter().copied()).current_dir(&path));
        let (status, said, faults) = check(variables);
        assert_eq!(status, 0, "{folder}/{file}: {said}{faults}");
        let text = std::fs::read_to_string(path.join(file)).unwrap();
        let readme = std::fs::read_to_string(path.join("README.md")).unwrap();
        let mut asked = [names(&text, "${", "}"), names(&text, "{{env.", "}}")].concat();
        asked.sort();
        let mut given: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
        given.sort_unstable();
        assert_eq!(asked, given, "{folder}/{file}");
        for (index, name) in given.iter().enumerate() {
            assert!(readme.contains(&format!("`{name}`")), "{folder}/README.md does not tell `{name}`");
            // And none of them is for nothing.
            let others: Vec<(&str, &str)> = variables.iter().copied().filter(|(other, _)| other != name).collect();
            assert_eq!(check(&others).0, 1, "{folder}/{file} starts without {name} ({index})");
        }
    }
}

/// A test asks nobody outside for keys.
fn without_network(folder: &str, file: &str, text: &str) -> String {
    let here = "http://127.0.0.1:9/";
    match (folder, file) {
        // Origins are no addresses to ask.
        ("backstage", "scopegate.yaml") => {
            let lines = text.lines().map(|line| if line.starts_with("cors:") { line.to_owned() } else { line.replace("https://", here) });
            lines.collect::<Vec<_>>().join("\n")
        }
        ("backflow", "scopegate.yaml") => text.replace("    project_id:", &format!("    keys_url: {here}\n    project_id:")),
        ("backflow", _) => text.replace("project_id:", &format!("keys_url: '{here}', project_id:")),
        _ => text.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_serves_with_the_variables_of_its_readme() {
    let upstream = Upstream::start().await;
    for (folder, file, variables) in EXAMPLES {
        let text = without_network(folder, file, &example::text(folder, file));
        let desk = example::desk(folder, &text, upstream.address);
        let serving = Serving::start(&desk.path().join("scopegate.yaml"), variables).await;
        for door in ["proxy", "ext_authz", "forward_auth", "admin"] {
            serving.address(door);
        }
    }
}
