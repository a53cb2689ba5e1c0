//! `scopegate test`: what a policy is expected to decide, what it decides, and why, for people and for build servers.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::process::{run, scopegate};
use crate::harness::write_secret;

const CONFIG: &str = "
credentials: {tokens: {kind: static, file: tokens.json}, mobile: {kind: static, file: mobile.json}}
roles: {viewer: [orders:read], clerk: {inherits: viewer, scopes: [orders:write]}}
forward: {headers: {x-who: '{{auth.id}}'}}
cors: {origins: ['https://app.example.com']}
routes:
  GET /orders: orders:read
  /orders/{id}: {scopes: [orders:write, orders:read]}
  GET /orders/open: public
  POST /rpc: {tools: {run: query:run}}
  DELETE /orders/{id}: {scopes: orders:write, mfa: {max_age: 5m}}
  GET /staff: {roles: clerk}
  GET /mobile: {credentials: mobile}
  GET /closed: deny
  GET /watched: {scopes: orders:write, mode: shadow}
";
const TOKENS: &str = r#"[
  {"id": "reader", "token": "token-of-the-reader", "scopes": ["orders:read"], "tenant": "acme"},
  {"id": "old", "token": "token-that-expired", "scopes": ["orders:read"], "expires_at": "2001-01-01T00:00:00Z"}
]"#;

const MOBILE: &str = r#"[{"id": "phone", "token": "token-of-the-phone-1", "scopes": ["orders:read"]}]"#;

struct Desk(TempDir);

impl Desk {
    fn new(cases: &str) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("scopegate.yaml", CONFIG), ("tokens.json", TOKENS), ("mobile.json", MOBILE), ("cases.yaml", cases)] {
            write_secret(&desk.path(name), text);
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(scopegate().arg("test").args(args).current_dir(self.0.path()))
    }

    fn json(&self) -> (i32, Value) {
        let (status, out, err) = self.run(&["cases.yaml", "--json"]);
        assert_eq!(err, "");
        (status, serde_json::from_str(&out).unwrap())
    }
}

/// What a case that must fail differs in, as `key: got`.
fn differences(case: &str) -> Vec<String> {
    let (status, told) = Desk::new(&format!("cases:\n  - {case}\n")).json();
    let list = told["cases"][0]["differences"].as_array().unwrap();
    assert_eq!((status, &told["ok"]), (i32::from(!list.is_empty()), &list.is_empty().into()), "{case}: {told}");
    list.iter().map(|one| format!("{}: {}", one["key"].as_str().unwrap(), one["got"].as_str().unwrap())).collect()
}

#[test]
fn a_policy_that_decides_as_expected_passes() {
    let cases = "
cases:
  - {request: GET /orders?page=1, as: reader, expect: allow}
  - {request: GET /orders, expect: 401}
  - {request: GET /orders, expect: {reason: no_credential, rule: GET /orders, id: '', decision: deny}}
  - {request: HEAD /orders/open, expect: {decision: allow, status: 200, rule: GET /orders/open, missing_scopes: []}}
  - {request: POST /orders/7, as: reader, expect: {status: 403, missing_scopes: orders:write, id: reader, tenant: acme}}
  - {request: POST /orders/7, caller: {}, expect: {missing_scopes: orders:read orders:write, id: somebody}}
  - {request: POST /orders/7, caller: {scopes: 'orders:*'}, expect: allow}
  - {request: POST /orders/7, caller: {id: bob, roles: clerk, tenant: t1}, expect: {decision: allow, headers: {x-who: bob, x-scopegate-roles: clerk, X-Scopegate-Tenant: t1}}}
  - {request: GET /orders, caller: {roles: viewer}, expect: {headers: {x-scopegate-tenant: '', x-scopegate-scopes: orders:read}}}
  - {request: GET /staff, caller: {roles: viewer}, expect: {reason: wrong_role}}
  - {request: DELETE /orders/7, caller: {roles: clerk}, expect: {reason: step_up, status: 401}}
  - {request: DELETE /orders/7, caller: {roles: clerk, mfa_age: 4m}, expect: allow}
  - {request: DELETE /orders/7, caller: {roles: clerk, mfa_age: 6m}, expect: {reason: step_up}}
  - {request: GET /mobile, caller: {id: x}, expect: {reason: wrong_credential}}
  - {request: GET /mobile, caller: {id: x, credential: mobile}, expect: {decision: allow, headers: {x-scopegate-credential: mobile}}}
  - {request: GET /closed, as: reader, expect: {reason: denied}}
  - {request: GET /watched, as: reader, expect: {decision: allow, shadow: insufficient_scope, headers: {x-who: reader}}}
  - {request: GET /watched, caller: {roles: clerk}, expect: {decision: allow, shadow: ''}}
  - {request: GET /nowhere, as: reader, expect: {reason: no_rule, rule: default, shadow: ''}}
  - {request: GET /orders/../x, as: reader, expect: 400}
  - {request: {path: /orders, headers: {Authorization: Bearer token-of-the-reader}}, expect: {decision: allow, id: reader}}
  - {request: {path: /orders, headers: {Authorization: Bearer token-of-nobody}}, expect: {reason: invalid_credential}}
  - {request: {path: /orders, headers: {Authorization: Bearer token-that-expired}}, expect: {reason: invalid_credential, id: old}}
  - {request: {path: /orders, headers: {Authorization: Bearer token-that-expired}}, now: 2000-12-31T23:59:59Z, expect: {decision: allow, id: old}}
  - {request: {path: /orders, headers: {x-tenant-id: other}}, as: reader, expect: {reason: wrong_tenant}}
  - {request: {method: POST, path: /rpc, body: '{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"tools/call\", \"params\": {\"name\": \"run\"}}'}, caller: {scopes: query:run}, expect: allow}
  - {request: {method: POST, path: /rpc, body: '{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"tools/call\", \"params\": {\"name\": \"stop\"}}'}, caller: {scopes: query:run}, expect: {reason: unknown_tool}}
  - {request: POST /rpc, caller: {scopes: query:run}, expect: {reason: invalid_body}}
  - {request: {method: OPTIONS, path: /orders, headers: {origin: 'https://app.example.com', access-control-request-method: GET}}, expect: preflight}
  - {request: {path: /orders, websocket: true, headers: {origin: 'https://evil.example.com'}}, as: reader, expect: {reason: wrong_origin}}
";
    let desk = Desk::new(cases);
    let (status, out, err) = desk.run(&["cases.yaml"]);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "30 cases, 30 passed, 0 failed\n", ""));
}

#[test]
fn whatever_differs_is_named_and_nothing_else() {
    for (case, expected) in [
        ("{request: GET /orders, as: reader, expect: deny}", &["decision: allow"][..]),
        ("{request: GET /orders, expect: allow}", &["decision: deny"]),
        ("{request: GET /orders, expect: 403}", &["status: 401"]),
        ("{request: GET /orders, as: reader, expect: 403}", &["status: 200"]),
        (
            "{request: GET /orders, as: reader, expect: {decision: deny, status: 403, reason: insufficient_scope}}",
            &["decision: allow", "status: 200", "reason: "],
        ),
        ("{request: GET /orders, as: reader, expect: {rule: default, id: other, tenant: ''}}", &["rule: GET /orders", "id: reader", "tenant: acme"]),
        ("{request: POST /orders/1, as: reader, expect: {missing_scopes: [orders:read]}}", &["missing_scopes: orders:write"]),
        ("{request: POST /orders/1, as: reader, expect: {missing_scopes: []}}", &["missing_scopes: orders:write"]),
        (
            "{request: GET /orders, as: reader, expect: {headers: {x-who: other, x-none: a, x-scopegate-id: reader}}}",
            &["headers.x-who: reader", "headers.x-none: "],
        ),
        // Who is refused is told of to nobody.
        ("{request: POST /orders/1, as: reader, expect: {headers: {x-who: reader}}}", &["headers.x-who: "]),
        ("{request: GET /orders, as: reader, expect: {shadow: no_rule}}", &["shadow: "]),
        ("{request: GET /orders, as: reader, expect: {decision: allow}}", &[]),
    ] {
        assert_eq!(differences(case), expected, "{case}");
    }
}

#[test]
fn a_failure_is_told_with_its_reason_and_with_no_secret() {
    let cases = "config: scopegate.yaml
cases:
  - name: the reader writes
    request: {method: POST, path: /orders/7?key=secret-in-a-query, headers: {authorization: Bearer token-of-the-reader}, body: secret-in-a-body}
    expect: allow
  - name: fine
    request: GET /orders/open
    expect: allow
";
    let desk = Desk::new(cases);
    let (status, out, err) = desk.run(&["cases.yaml", "--junit", "report.xml"]);
    let expected = "FAIL cases.yaml:3 the reader writes (POST /orders/7)
  decision is `deny`, expected `allow`
  why: rule `/orders/{id}` decides and needs: orders:write, orders:read; reason `insufficient_scope`; `reader` holds orders:read; missing orders:write
2 cases, 1 passed, 1 failed
";
    let without_others: String = out.lines().filter(|line| !line.contains("considered")).map(|line| format!("{line}\n")).collect();
    assert_eq!((status, without_others.as_str(), err.as_str()), (1, expected, ""));
    assert!(out.contains("considered: `DELETE /orders/{id}` (") && out.contains("`POST`"), "{out}");
    let xml = std::fs::read_to_string(desk.path("report.xml")).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    let suite = &report.test_suites[0];
    assert_eq!((report.tests, report.failures, report.errors, suite.test_cases.len()), (2, 1, 0, 2));
    assert!(xml.contains("decision is `deny`, expected `allow`") && xml.contains("orders:write"), "{xml}");
    let (_, json) = desk.json();
    for told in [out, xml, json.to_string()] {
        assert!(!told.contains("secret-in") && !told.contains("token-of-the-reader"), "{told}");
    }
}

#[test]
fn the_configuration_is_the_one_that_is_named() {
    let desk = Desk::new("config: other/policy.yaml\ncases: [{request: GET /orders, expect: allow}]\n");
    std::fs::create_dir(desk.path("other")).unwrap();
    std::fs::write(desk.path("other/policy.yaml"), "credentials: {tokens: {kind: static, file: ../tokens.json}}\nroutes: {GET /orders: public}\n")
        .unwrap();
    assert_eq!(desk.run(&["cases.yaml"]).0, 0);
    assert_eq!(desk.run(&["cases.yaml", "--config", "scopegate.yaml"]).0, 1);
    std::fs::write(desk.path("more.yaml"), "cases: [{request: GET /orders, expect: 401}]\n").unwrap();
    assert_eq!(desk.run(&["cases.yaml", "more.yaml"]).1, "2 cases, 2 passed, 0 failed\n");
}

#[test]
fn a_faulty_file_is_told_by_line_and_column_and_nothing_runs() {
    for (cases, expected) in [
        ("cases: []", "there are no cases"),
        ("{}", "there are no cases"),
        ("cases: [", "the file is not YAML or JSON"),
        ("cases:\n  - {request: GET /, expects: allow, expect: allow}", "key `cases.expects` is unknown; did you mean `expect`? (cases.yaml:2:22)"),
        ("cases:\n  - {request: GET /}", "the case has no `expect`"),
        ("cases:\n  - {expect: allow}", "the case has no `request`"),
        ("cases: [{request: /orders, expect: allow}]", "`request` is one word"),
        ("cases: [{request: GET orders, expect: allow}]", "begins with `/`"),
        ("cases: [{request: 'G(T /', expect: allow}]", "no HTTP token"),
        ("cases: [{request: GET /, expect: maybe}]", "`expect` is `maybe`"),
        ("cases: [{request: GET /, expect: 7}]", "the status is `7`"),
        ("cases: [{request: GET /, expect: {}}]", "`expect` says nothing"),
        ("cases: [{request: GET /, expect: {reason: nope}}]", "`expect.reason` is `nope`; it is one of `no_credential`"),
        ("cases: [{request: GET /, expect: {decision: nope}}]", "it is `allow` or `deny` or `preflight`"),
        ("cases: [{request: GET /, as: nobody, expect: allow}]", "no credential has the id `nobody`"),
        ("cases: [{request: GET /, as: reader, caller: {id: x}, expect: allow}]", "keep one of them"),
        ("cases: [{request: GET /, caller: {credential: nope}, expect: allow}]", "known are tokens, mobile"),
        ("cases: [{request: GET /, caller: {roles: nope}, expect: allow}]", "`caller.roles` has `nope`"),
        ("cases: [{request: GET /, caller: {scopes: 'a*'}, expect: allow}]", "has `*` inside"),
        ("cases: [{request: GET /, caller: {mfa_age: soon}, expect: allow}]", "it is a duration"),
        ("cases: [{request: GET /, now: soon, expect: allow}]", "`now` is `soon`"),
        (
            "cases: [{request: {path: /, headers: {authorization: 12345678901234567}}, expect: allow}]",
            "`cases.request.headers.authorization` is a number",
        ),
    ] {
        let (status, out, err) = Desk::new(cases).run(&["cases.yaml", "--config", "scopegate.yaml"]);
        assert_eq!((status, out.as_str()), (1, ""), "{cases}: {err}");
        assert!(err.contains(expected) && err.contains("cases.yaml"), "{cases}: {err}");
        assert!(!err.contains("1234567890"), "{err}");
    }
    let (status, _, err) = Desk::new("cases: []").run(&["nowhere.yaml"]);
    assert!(status == 1 && err.contains("cannot be read"), "{err}");
    assert_eq!(Desk::new("cases: []").run(&[]).0, 2);
}
