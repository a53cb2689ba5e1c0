//! What is found of a policy, a document and a log, and the exit status that a build fails by.

use serde_json::json;

use super::{Desk, TOKENS};

const ORDERS: &str = "
  /orders:
    get: {operationId: listOrders, security: [{key: []}]}
    post: {security: [{key: []}]}
  /orders/{id}:
    get: {security: [{key: []}]}
  /orders/mine:
    get: {security: []}
";

const COVERED: &str = "  GET /orders: orders:read\n  POST /orders: orders:write\n  GET /orders/{id}: orders:read\n  GET /orders/mine: public\n";

#[test]
fn a_policy_that_covers_its_document_is_clean() {
    let desk = Desk::with(COVERED, ORDERS);
    let (status, out, err) = desk.run(&["coverage", "--openapi", "api.yaml", "--strict"]);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "4 operations, 4 rules: 0 findings, 0 notes\n", ""));
    let (_, told) = desk.told(&["--openapi", "api.yaml"]);
    assert_eq!(told, json!({"ok": true, "unprotected": false, "operations": 4, "rules": 4, "findings": [], "notes": []}));
}

#[test]
fn each_kind_of_finding_appears_and_nothing_else() {
    for (routes, found, unprotected) in [
        // A rule for some values of a parameter is none for the others.
        (COVERED.replace("/orders/{id}", "/orders/7"), &["no_rule GET /orders/{id}"][..], true),
        (COVERED.replace("  POST /orders: orders:write\n", ""), &["no_rule POST /orders"], true),
        (COVERED.replace("GET /orders: orders:read", "GET /orders: public"), &["public GET /orders"], true),
        // A wide rule that is public opens what only it matches.
        (COVERED.replace("GET /orders/{id}: orders:read", "GET /orders/: public"), &["public GET /orders/{id}"], true),
        (format!("{COVERED}  GET /orders/7: public\n"), &["public GET /orders/{id}"], true),
        (format!("{COVERED}  HEAD /orders: public\n"), &["public GET /orders"], true),
        (format!("{COVERED}  GET /old: orders:read\n"), &["rule_matches_nothing GET /old"], false),
        (format!("{COVERED}  DELETE /orders/{{id}}: orders:write\n"), &["rule_matches_nothing DELETE /orders/{id}"], false),
        // What is narrower takes every request away.
        (format!("{COVERED}  /orders: deny\n"), &["rule_matches_nothing /orders"], false),
        (format!("{COVERED}  GET /orders/{{id}}/: orders:read\n"), &["rule_matches_nothing GET /orders/{id}/"], false),
        (COVERED.replace("orders:write", "bills:write"), &["scope_not_held bills:write"], false),
        (COVERED.replace("GET /orders/mine: public", "GET /orders/mine: deny"), &[], false),
        ("  /: orders:read\n  GET /orders/mine: public\n".into(), &[], false),
        ("  GET /: orders:read\n  POST /{rest...}: orders:write\n".into(), &[], false),
    ] {
        let desk = Desk::with(&routes, ORDERS);
        let (status, told) = desk.found(&["--openapi", "api.yaml"]);
        assert_eq!((status, told.as_slice()), (i32::from(unprotected), &*found.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()), "{routes}");
        let (status, _) = desk.found(&["--openapi", "api.yaml", "--strict"]);
        assert_eq!(status, i32::from(!found.is_empty()), "{routes}");
    }
}

#[test]
fn templates_are_taken_for_what_they_match() {
    for (paths, routes, found) in [
        ("  /{a}.json: {get: {}}", "  GET /{x}: orders:read\n", &[][..]),
        ("  /{a}.json: {get: {}}", "  GET /index.json: orders:read\n", &["no_rule GET /{a}.json"]),
        ("  /{a}.json: {get: {}}", "  GET /index.html: orders:read\n", &["no_rule GET /{a}.json", "rule_matches_nothing GET /index.html"]),
        ("  /c/{a}...{b}: {get: {}}", "  GET /c/{x}: orders:read\n", &[]),
        ("  /a/: {get: {}}", "  GET /a/{$}: orders:read\n", &[]),
        ("  /a/: {get: {}}", "  GET /a: orders:read\n", &["no_rule GET /a/", "rule_matches_nothing GET /a"]),
        ("  /a: {get: {}}", "  GET /a/: orders:read\n", &["no_rule GET /a", "rule_matches_nothing GET /a/"]),
        ("  /: {get: {}}", "  GET /{$}: orders:read\n", &[]),
        ("  /f/{p}: {get: {parameters: [{name: p, in: path, x-multi-segment: true}]}}", "  GET /f/{x}: orders:read\n", &["no_rule GET /f/{p}"]),
        (
            "  /f/{p}: {get: {parameters: [{name: p, in: path, x-multi-segment: true}]}}",
            "  GET /f/{x...}: orders:read\n  GET /f/{x}/{y}: orders:read\n",
            &[],
        ),
        ("  /a: {head: {}}", "  GET /a: orders:read\n", &[]),
        ("  /a: {get: {}}", "  HEAD /a: orders:read\n", &["no_rule GET /a"]),
        ("  /a: {trace: {}}", "  /a: orders:read\n", &["no_rule TRACE /a", "rule_matches_nothing /a"]),
        ("  /a: {get: {}}", "  GET one.test/a: orders:read\n", &[]),
        ("  /a%20b/caf%C3%A9: {get: {}}", "  GET /a%20b/café: orders:read\n", &[]),
        ("  /a;b: {get: {}}", "  GET /a;b: orders:read\n", &["refused GET /a;b", "rule_matches_nothing GET /a;b"]),
        ("  /a;b: {get: {}}", "  GET /a;b: {scopes: orders:read, allow_paths: [semicolon]}\n", &[]),
        ("  /a//b: {get: {}}", "  GET /a/b: orders:read\n", &["refused GET /a//b", "rule_matches_nothing GET /a/b"]),
        ("  /a?x={y}: {get: {}}", "  GET /a: orders:read\n", &[]),
        ("  /a: {$ref: '#/components/pathItems/a'}\ncomponents: {pathItems: {a: {get: {}}}}", "  GET /a: orders:read\n", &[]),
        ("  /a: {get: {}}\nservers: [{url: 'https://x.test/{v}', variables: {v: {default: v2}}}]", "  GET /v2/a: orders:read\n", &[]),
        ("  /a: {get: {}}\nservers: [{url: 'https://x.test/{v}'}]", "  GET /{v}/a: orders:read\n", &[]),
        ("  /a: {servers: [{url: /own}], get: {}}", "  GET /own/a: orders:read\n", &[]),
        // Rules of another host are not those of a document that names its own.
        (
            "  /a: {get: {}}\nservers: [{url: 'https://one.test'}]",
            "  GET one.test/a: orders:read\n  GET two.test/b: orders:read\n",
            &["rule_matches_nothing GET two.test/b"],
        ),
        (
            "  /a: {get: {}}\nservers: [{url: 'https://one.test'}]",
            "  GET one.test/b: orders:read\n  GET two.test/a: orders:read\n",
            &["no_rule GET /a", "rule_matches_nothing GET one.test/b", "rule_matches_nothing GET two.test/a"],
        ),
    ] {
        let desk = Desk::with(routes, paths);
        let (_, told) = desk.found(&["--openapi", "api.yaml"]);
        let expected: Vec<String> = found.iter().map(|one| (*one).to_owned()).collect();
        assert_eq!(told, expected, "{paths}\n{routes}");
    }
}

#[test]
fn the_operator_may_say_the_base_path() {
    let desk = Desk::with("  GET /api/a: orders:read\n", "  /a: {get: {}}\nservers: [{url: /v1}, {url: /v2}]");
    let (status, found) = desk.found(&["--openapi", "api.yaml"]);
    assert_eq!((status, found.len(), found[0].as_str()), (1, 3, "no_rule GET /v1/a"));
    assert!(found[2].contains("`/v1` is taken and not `/v2`"), "{found:?}");
    assert_eq!(desk.found(&["--openapi", "api.yaml", "--base-path", "/api/"]), (0, Vec::new()));
    let (status, _, err) = desk.run(&["coverage", "--openapi", "api.yaml", "--base-path", "api"]);
    assert!(status == 1 && err.contains("`api` is no base path"), "{err}");
    assert_eq!(desk.run(&["coverage", "--base-path", "/api"]).0, 2);
}

#[test]
fn scopes_and_roles_that_nobody_holds_and_tokens_that_reach_nothing_need_no_document() {
    let config = "
credentials: {tokens: {kind: static, file: tokens.json}}
roles: {viewer: [orders:read], boss: {inherits: viewer, scopes: [orders:delete]}}
routes:
  GET /orders: orders:read
  DELETE /orders: orders:delete
  POST /bills: {any_scopes: [bills:write, orders:write]}
  GET /cert: cert:read
  GET /boss: {roles: boss}
  GET /viewer: {roles: [viewer, boss]}
  POST /rpc: {tools: {run: tool:run}, scopes: orders:write}
  GET /open: public
";
    let tokens = r#"[
      {"id": "viewer", "token": "token-of-the-viewer", "scopes": [], "roles": ["viewer"]},
      {"id": "lost", "token": "token-of-the-lost", "scopes": ["other:read"]},
      {"id": "also-lost", "token": "token-of-the-other-lost", "scopes": ["other:read"]}
    ]"#;
    let desk = Desk::new(&[("scopegate.yaml", config), ("tokens.json", tokens)]);
    let (status, found) = desk.found(&[]);
    let expected = [
        "scope_not_held orders:delete",
        "scope_not_held bills:write",
        "scope_not_held orders:write",
        "scope_not_held cert:read",
        "scope_not_held tool:run",
        "role_not_held boss",
        "reaches_nothing lost",
        "reaches_nothing also-lost",
    ];
    assert_eq!((status, found), (0, expected.map(str::to_owned).to_vec()));
    let (status, out, _) = desk.run(&["coverage", "--strict"]);
    assert_eq!(status, 1);
    for line in [
        "8 rules: 8 findings, 0 notes",
        "5 scopes are held by nobody",
        "1 role is held by nobody",
        "  lost: of `tokens`, holds other:read",
        "  orders:write: needed by `POST /bills`, `POST /rpc`",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(!out.contains("token-of-the"), "{out}");
}

#[test]
fn what_signed_tokens_may_hold_is_a_note_unless_the_source_gives_it_to_all_of_them() {
    let desk = |more: &str| {
        let issuer = format!("{{kind: jwt, secret_file: jwt.secret, algorithms: [HS256], issuer: 'https://i.test', audiences: a{more}}}");
        let routes = "routes:\n  GET /a: orders:read\n  GET /b: bills:read\n  GET /c: {roles: clerk}\n";
        let roles = "roles: {clerk: [orders:read]}\n";
        let config = format!("credentials:\n  tokens: {{kind: static, file: tokens.json}}\n  issuer: {issuer}\n{roles}{routes}");
        Desk::new(&[("scopegate.yaml", &config), ("tokens.json", TOKENS), ("jwt.secret", "a-secret-of-more-than-thirty-two-bytes")])
    };
    assert_eq!(desk("").found(&[]), (0, vec!["perhaps_not_held bills:read".to_owned(), "perhaps_not_held clerk".to_owned()]));
    assert_eq!(desk("").found(&["--strict"]).0, 0);
    assert_eq!(desk(", scopes: 'bills:*'").found(&[]).1, ["perhaps_not_held clerk"]);
    assert!(desk("").run(&["coverage"]).1.contains("bills:read: needed by `GET /b`; credentials of `issuer` may hold it"));
}

fn line(outcome: &str, reason: &str, (method, path, route): (&str, &str, &str)) -> String {
    let line = json!({"time": "2026-01-01T00:00:00Z", "kind": "decision", "id": "00000000000000aa", "door": "proxy", "outcome": outcome, "reason": reason, "method": method, "path": path, "route": route});
    format!("{line}\n")
}

#[test]
fn a_log_tells_what_was_asked_for_in_vain_and_what_was_never_asked_for() {
    let log: String = [
        line("allow", "", ("GET", "/orders", "GET /orders")),
        line("deny", "no_rule", ("GET", "/admin.php", "default")),
        line("deny", "no_rule", ("GET", "/admin.php", "default")),
        line("deny", "no_rule", ("POST", "/x", "default")),
        line("deny", "insufficient_scope", ("HEAD", "/orders/4f0a…", "GET /orders/{id}")),
        "not a line\n".to_owned(),
        "{\"kind\": \"stream_ended\", \"id\": \"00000000000000ab\"}\n".to_owned(),
    ]
    .concat();
    let desk = Desk::with(COVERED, ORDERS);
    std::fs::write(desk.path("audit.jsonl"), &log).unwrap();
    let (status, found) = desk.found(&["--decisions", "audit.jsonl"]);
    let expected = [
        "rule_matches_nothing POST /orders",
        "rule_matches_nothing GET /orders/mine",
        "request_without_rule GET /admin.php",
        "request_without_rule POST /x",
        "note 1 lines of the log are no audit lines",
    ];
    assert_eq!((status, found), (0, expected.map(str::to_owned).to_vec()));
    let (_, told) = desk.told(&["--decisions", "audit.jsonl"]);
    assert_eq!((&told["decisions"], &told["findings"][2]["count"]), (&5.into(), &2.into()));
    let (status, found) = desk.found(&["--decisions", "audit.jsonl", "--openapi", "api.yaml"]);
    let expected = [
        "request_without_rule GET /admin.php",
        "request_without_rule POST /x",
        "never_called POST /orders",
        "never_called GET /orders/mine",
        "note 1 lines of the log are no audit lines",
    ];
    assert_eq!((status, found), (0, expected.map(str::to_owned).to_vec()));
    assert_eq!(desk.found(&["--decisions", "audit.jsonl", "--strict"]).0, 1);
    std::fs::write(desk.path("empty.jsonl"), "").unwrap();
    let (status, out, err) = desk.run(&["coverage", "--decisions", "empty.jsonl"]);
    assert!(status == 1 && out.is_empty() && err.contains("there are no decisions in the log"), "{err}");
}

#[test]
fn what_is_no_document_is_told_with_what_would_be_right() {
    for (text, expected) in [
        ("swagger: '2.0'\npaths: {}", "this is Swagger 2.0; convert it to OpenAPI 3"),
        ("{\"swagger\": \"2.0\"}", "this is Swagger 2.0"),
        ("openapi: 3.2.0\npaths: {/a: {get: {}}}", "OpenAPI `3.2.0` is not read; 3.0 and 3.1 are"),
        ("openapi: 4", "OpenAPI `4` is not read"),
        ("openapi: [3]", "`openapi` is no version"),
        ("a: b", "it has no key `openapi`"),
        ("just text", "it is no mapping"),
        ("", "it is no mapping"),
        ("{\"openapi\": ", "this is not JSON: EOF"),
        ("openapi: 3.1.0\n a: [", "neither JSON nor YAML at line"),
        ("openapi: 3.1.0", "the document has no `paths`"),
        ("openapi: 3.1.0\npaths: {}", "the document has no operations"),
        ("openapi: 3.1.0\npaths: {a: {get: {}}}", "path `a`: it does not begin with a slash"),
        ("openapi: 3.1.0\npaths: {/a: {get: 1}}", "path `/a`: `get` is no mapping"),
        ("openapi: 3.1.0\npaths: {/a: {$ref: 'other.yaml#/a'}}", "leads to another file; bundle the document first"),
        ("openapi: 3.1.0\npaths: {/a: {$ref: '#/nowhere'}}", "leads to nothing"),
        ("openapi: 3.1.0\npaths: {/a: {$ref: '#/paths/~1a'}}", "leads to itself"),
        ("openapi: 3.1.0\npaths: {/a: {get: {security: key}}}", "path `/a`: `get`: `security` is no list"),
        ("openapi: 3.1.0\npaths: {/a: {get: {security: [{key: read}]}}}", "`security.key` is no list of scopes"),
    ] {
        let desk = Desk::with(COVERED, "");
        std::fs::write(desk.path("odd.yaml"), text).unwrap();
        for command in [&["coverage", "--openapi", "odd.yaml"][..], &["import", "openapi", "odd.yaml"]] {
            let (status, out, err) = desk.run(command);
            assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{text}: {err}");
            assert!(err.contains(expected) && err.contains("(odd.yaml)"), "{text}: {err}");
        }
    }
}
