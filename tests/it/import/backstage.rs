//! Backstage's `app-config.yaml`.

use super::{Desk, mode};

const KEYS: &str = "backend:\n  auth:\n    keys:\n      - secret: ${BACKEND_SECRET}\n";

fn imported(config: &str, args: &[&str]) -> (Desk, String) {
    let desk = Desk::new(&[("app-config.yaml", config)]);
    let args: Vec<&str> = ["backstage", "app-config.yaml"].iter().chain(args).copied().collect();
    let text = desk.import(&args);
    (desk, text)
}

fn refused(auth: &str) -> String {
    let desk = Desk::new(&[("app-config.yaml", &format!("backend: {{auth: {auth}}}\n"))]);
    desk.refused(&["backstage", "app-config.yaml", "--plugin", "catalog"])
}

#[test]
fn a_token_of_a_shared_key_passes_and_another_does_not() {
    let (desk, text) = imported(KEYS, &[]);
    assert!(text.contains("keys:\n      - {secret: \"${BACKEND_SECRET}\"}\n"), "{text}");
    let mint = |secret: &str| {
        crate::harness::write_secret(&desk.path("secret"), secret);
        let (status, out, err) = desk.run(&["token", "mint", "--secret-base64-file", "secret"]);
        assert_eq!(status, 0, "{err}");
        out.trim().to_owned()
    };
    let (good, bad) = (mint("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\n"), mint("WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpa\n"));
    for (path, token, decision) in [
        ("/api/catalog/entities", Some(good.as_str()), "allow"),
        ("/api/catalog/entities", Some(bad.as_str()), "deny 401 (invalid_credential)"),
        ("/api/catalog/entities", None, "deny 401 (no_credential)"),
        ("/.backstage/health/v1/readiness", None, "allow"),
        ("/api/catalog/.backstage/auth/v1/jwks.json", None, "allow"),
        ("/", Some(good.as_str()), "deny 403 (no_rule)"),
    ] {
        assert_eq!(desk.decides("GET", path, token), decision, "{path}");
    }
}

#[test]
fn every_way_to_write_a_secret_is_kept_or_moved() {
    let config = "backend:\n  auth:\n    keys:\n      - secret: {$env: BACKEND_SECRET}\n      - secret: {$file: ./old.secret}\n      - secret: bXktc2VjcmV0LWtleS1vZi0yNC1ieXRlcw==\n";
    let desk = Desk::new(&[("app-config.yaml", config), ("old.secret", "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC\n")]);
    let text = desk.import(&["backstage", "app-config.yaml"]);
    for line in ["{secret: \"${BACKEND_SECRET}\"}", "{secret_file: old.secret}", "{secret_file: backstage-1.secret}"] {
        assert!(text.contains(&format!("      - {line}\n")), "{line} is not in {text}");
    }
    assert_eq!((desk.read("backstage-1.secret").as_str(), mode(&desk.path("backstage-1.secret"))), ("bXktc2VjcmV0LWtleS1vZi0yNC1ieXRlcw==\n", 0o600));
}

#[test]
fn keys_that_are_the_same_bytes_become_one() {
    // The example of Backstage's own manual.
    let (desk, text) = imported("backend: {auth: {keys: [{secret: my-secret-key-1}, {secret: my-secret-key-2}, {secret: my-secret-key-3}]}}", &[]);
    assert_eq!(text.matches("secret_file:").count(), 1, "{text}");
    assert!(text.contains("`backend.auth.keys[1].secret` is left out") && text.contains("`backend.auth.keys[2].secret` is left out"), "{text}");
    assert_eq!(desk.files(), ["app-config.yaml", "backstage-1.secret", "scopegate.yaml"]);
}

#[test]
fn external_access_keeps_its_spelling_and_its_restrictions() {
    let config = "
backend:
  auth:
    externalAccess:
      - type: static
        config: {token: '${CI_TOKEN}', subject: ci}
        accessRestrictions: [{plugin: events, permission: 'a.b, c.d', permissionAttribute: {action: [read, update]}}]
      - type: legacy
        options: {secret: '${LEGACY_SECRET}', subject: scripts}
      - type: jwks
        options: {url: 'https://x.example/jwks', issuer: ['${ISSUER}', 'https://other.example'], algorithm: 'RS256,ES256', audience: [a, b]}
";
    let (_, text) = imported(config, &[]);
    for lines in [
        "      - type: static\n        options: {token: \"${CI_TOKEN}\", subject: ci}\n        accessRestrictions:\n          - {plugin: events, permission: \"a.b, c.d\", permissionAttribute: {action: [read, update]}}\n",
        "      - type: legacy\n        options: {secret: \"${LEGACY_SECRET}\", subject: scripts}\n",
        "options: {url: https://x.example/jwks, issuer: \"${ISSUER}\", algorithm: \"RS256,ES256\", audience: [a, b]}\n",
        "options: {url: https://x.example/jwks, issuer: https://other.example, algorithm: \"RS256,ES256\", audience: [a, b]}\n",
        "    plugin: events\n",
        "  /api/events/{rest...}: authenticated\n",
    ] {
        assert!(text.contains(lines), "{lines} is not in {text}");
    }
    assert!(text.contains("`events` is taken for the plugin behind this gate"), "{text}");
}

#[test]
fn a_restricted_token_stays_out_of_other_plugins() {
    let config =
        "backend: {auth: {externalAccess: [{type: static, options: {token: '${CI_TOKEN}', subject: ci}, accessRestrictions: [{plugin: catalog}]}]}}";
    let ci = Some("token-of-the-pipeline-1");
    let (desk, _) = imported(config, &["--plugin", "catalog"]);
    assert_eq!(desk.decides("GET", "/api/catalog/x", ci), "allow");
    assert_eq!(desk.decides("GET", "/api/search/x", ci), "deny 403 (no_rule)");
    let (desk, _) = imported(config, &["--plugin", "search"]);
    assert_eq!(desk.decides("GET", "/api/search/x", ci), "deny 403 (restricted)");
}

#[test]
fn the_upstream_is_where_the_backend_listens() {
    for (backend, upstream) in [
        ("{}", "http://127.0.0.1:7007"),
        ("{listen: ':7008'}", "http://127.0.0.1:7008"),
        ("{listen: '0.0.0.0:7008'}", "http://127.0.0.1:7008"),
        ("{listen: {port: 7008, host: 10.0.0.7}}", "http://10.0.0.7:7008"),
        ("{listen: {port: '${PORT}'}}", "\"http://127.0.0.1:${PORT}\""),
        ("{listen: {port: '${PORT:-7009}'}}", "http://127.0.0.1:7007"),
    ] {
        let auth = "auth: {keys: [{secret: '${BACKEND_SECRET}'}]}";
        let config = format!("backend: {}\n", backend.replacen('{', &format!("{{{auth}, "), 1));
        let (_, text) = imported(&config, &[]);
        assert!(text.contains(&format!("\nupstream: {upstream}\n")), "{backend}: {text}");
    }
    let (_, text) = imported(KEYS, &["--upstream", "http://backend:7000"]);
    assert!(text.contains("\nupstream: http://backend:7000\n"), "{text}");
}

#[test]
fn plugins_that_call_are_found_in_discovery() {
    let config = format!("{KEYS}discovery: {{endpoints: [{{target: 'https://s.example/api/{{{{ pluginId }}}}', plugins: [search, scaffolder]}}]}}\n");
    let (_, text) = imported(&config, &["--plugin", "catalog"]);
    assert!(
        text.contains("    plugins:\n      search: https://s.example/api/search\n      scaffolder: https://s.example/api/scaffolder\n"),
        "{text}"
    );
    let (_, text) = imported(&config, &[]);
    assert!(text.contains("give --plugin ID") && !text.contains("plugins:\n"), "{text}");
}

#[test]
fn what_lets_everybody_in_or_is_not_understood_is_refused() {
    let key = "keys: [{secret: '${BACKEND_SECRET}'}]";
    let external = |entry: &str| format!("{{externalAccess: [{entry}]}}");
    let restricted = |restriction: &str| {
        external(&format!("{{type: static, options: {{token: '${{CI_TOKEN}}', subject: ci}}, accessRestrictions: {restriction}}}"))
    };
    for (auth, said) in [
        (format!("{{{key}, dangerouslyDisableDefaultAuthPolicy: true}}"), "`backend.auth.dangerouslyDisableDefaultAuthPolicy` lets every request in"),
        (
            format!("{{{key}, dangerouslyDisableDefaultAuthPolicy: '${{OPEN}}'}}"),
            "`backend.auth.dangerouslyDisableDefaultAuthPolicy` lets every request in",
        ),
        ("{}".into(), "there is neither `backend.auth.keys` nor `backend.auth.externalAccess`"),
        ("{keys: []}".into(), "there is neither"),
        ("{keys: [{}]}".into(), "`backend.auth.keys[0].secret` is missing"),
        ("{keys: [{secret: ''}]}".into(), "`backend.auth.keys[0].secret` is empty"),
        ("{keys: [{secret: '***'}]}".into(), "`backend.auth.keys[0].secret` is not base64"),
        ("{keys: [{secret: '${A:-b}'}]}".into(), "`backend.auth.keys[0].secret` has a variable with a default"),
        ("{keys: [{secret: {$include: a.yaml}}]}".into(), "`backend.auth.keys[0].secret` is an `$include`"),
        ("{keys: [{secret: 7}]}".into(), "`backend.auth.keys[0].secret` is no text"),
        ("{externalAccess: {}}".into(), "`backend.auth.externalAccess` is a mapping; it is a list"),
        (external("{type: magic, options: {}}"), "`backend.auth.externalAccess[0].type` is none of"),
        (external("{type: static}"), "`backend.auth.externalAccess[0]` has no `options`"),
        (external("{type: static, options: {}, config: {}}"), "`backend.auth.externalAccess[0]` has both"),
        (external("{type: static, options: {token: '${CI_TOKEN}'}}"), "`backend.auth.externalAccess[0].options.subject` is missing"),
        (
            external("{type: static, options: {token: short, subject: ci}}"),
            "`backend.auth.externalAccess[0].options.token` has a token of under 16 characters",
        ),
        (external("{type: static, options: {token: '${CI_TOKEN}', subject: ci}, extra: 1}"), "`backend.auth.externalAccess[0]` has `extra`"),
        (external("{type: jwks, options: {url: 'https://x.example', issuer: i}}"), "`backend.auth.externalAccess[0].options.algorithm` is missing"),
        (
            external("{type: jwks, options: {url: 'https://x.example', algorithm: HS256}}"),
            "`backend.auth.externalAccess[0].options.algorithm` has one",
        ),
        (external("{type: jwks, options: {url: 'http://x.example', algorithm: RS256}}"), "`backend.auth.externalAccess[0].options.url`:"),
        (restricted("[{permission: a}]"), "accessRestrictions[0].plugin` is no plugin id"),
        (restricted("[{plugin: a}, {plugin: a}]"), "accessRestrictions[1].plugin` is `a` a second time"),
        (restricted("[{plugin: a, permissionAttribute: {action: fly}}]"), "permissionAttribute.action` is none of"),
        (restricted("[{plugin: a, role: x}]"), "accessRestrictions[0]` has `role`"),
        (restricted("[]"), "accessRestrictions` is an empty list"),
    ] {
        let err = refused(&auth);
        assert!(err.contains(said) && err.lines().all(|line| line.ends_with("(app-config.yaml)")), "{auth}: {err}");
    }
}

#[test]
fn restrictions_to_several_plugins_ask_which_one_stands_behind_the_gate() {
    let config = "backend: {auth: {externalAccess: [{type: static, options: {token: '${CI_TOKEN}', subject: ci}, accessRestrictions: [{plugin: a}, {plugin: b}]}]}}";
    let desk = Desk::new(&[("app-config.yaml", config)]);
    let err = desk.refused(&["backstage", "app-config.yaml"]);
    assert!(err.contains("say which one that is: --plugin a, --plugin b"), "{err}");
    desk.import(&["backstage", "app-config.yaml", "--plugin", "b"]);
}
