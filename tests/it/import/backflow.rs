//! Backflow's JSON configuration.

use serde_json::json;

use super::Desk;

/// The configuration of these routes, with a JWT.
fn config(routes: &serde_json::Value) -> String {
    json!({"jwt": {"secret": "{{env.JWT_SECRET}}"}, "tenantRbac": {"roles": [{"name": "admin", "permissions": ["users:*"]}]}, "routes": routes})
        .to_string()
}

fn imported(routes: &serde_json::Value) -> (Desk, String) {
    let desk = Desk::new(&[("c.json", &config(routes)), ("secret", super::VARIABLES[4].1)]);
    let text = desk.import(&["backflow", "c.json"]);
    (desk, text)
}

fn refused(document: &serde_json::Value) -> String {
    Desk::new(&[("c.json", &document.to_string())]).refused(&["backflow", "c.json"])
}

/// A token of Backflow's, with this role.
fn token(desk: &Desk, role: &str) -> String {
    let role = format!("role={role}");
    let (status, out, err) =
        desk.run(&["token", "mint", "--secret-file", "secret", "--claim", "sub=user-123", "--claim", "tenant_id=t-1", "--claim", &role]);
    assert_eq!(status, 0, "{err}");
    out.trim().to_owned()
}

#[test]
fn routes_decide_as_they_did() {
    let (desk, _) = imported(&json!([
        {"path": "/open", "method": "get", "requireAuth": false},
        {"path": "/admin/users", "method": "get", "requireAuth": true},
        {"path": "/admin/users/:id", "method": "delete", "requireAuth": true, "requiredPermissions": ["users:delete"]},
        {"path": "/files/*", "method": "GET", "requireAuth": true},
        {"path": "/any", "method": "all", "requireAuth": true},
        {"path": "/many", "method": ["get", "post"], "requireAuth": true},
        {"path": "/opt/:id?", "method": "get", "requireAuth": true},
    ]));
    let (user, admin) = (token(&desk, "user"), token(&desk, "admin"));
    let (user, admin) = (Some(user.as_str()), Some(admin.as_str()));
    for (method, path, token, decision) in [
        ("GET", "/health", None, "allow"),
        ("GET", "/open", None, "allow"),
        ("POST", "/open", None, "deny 401 (no_credential)"),
        ("GET", "/admin/users", None, "deny 401 (no_credential)"),
        ("GET", "/admin/users", user, "allow"),
        ("DELETE", "/admin/users/7", None, "deny 401 (no_credential)"),
        ("DELETE", "/admin/users/7", user, "deny 403 (insufficient_scope)"),
        ("DELETE", "/admin/users/7", admin, "allow"),
        ("GET", "/files/a/b", user, "allow"),
        ("PUT", "/any", user, "allow"),
        ("POST", "/many", user, "allow"),
        ("PUT", "/many", user, "deny 403 (no_rule)"),
        ("GET", "/opt", user, "allow"),
        ("GET", "/opt/7", user, "allow"),
        ("GET", "/doc", user, "deny 403 (no_rule)"),
        ("GET", "/admin/users", Some("not-a-token-of-ours"), "deny 401 (invalid_credential)"),
    ] {
        assert_eq!(desk.decides(method, path, token), decision, "{method} {path}");
    }
}

#[test]
fn a_provider_opens_its_own_routes_alone() {
    let document = json!({
        "jwt": {"secret": "{{env.JWT_SECRET}}"},
        "firebase": {"projectId": "&#123;&#123;env.FIREBASE_PROJECT_ID&#125;&#125;", "clientEmail": "x", "privateKey": "hidden-text"},
        "routes": [
            {"path": "/profile", "method": "get", "authProvider": "firebase"},
            {"path": "/mine", "method": "get", "requireAuth": true, "authProvider": "jwt"},
            {"path": "/usual", "method": "get", "requireAuth": true},
            {"path": "/partner", "method": "get", "requireAuth": true, "authProvider": "api-key"},
        ]
    });
    let desk = Desk::new(&[("c.json", &document.to_string()), ("secret", super::VARIABLES[4].1)]);
    let text = desk.import(&["backflow", "c.json"]);
    for line in [
        "project_id: \"${FIREBASE_PROJECT_ID}\"",
        "GET /profile: {credentials: [firebase]}",
        "GET /mine: {credentials: [jwt]}",
        "GET /usual: {credentials: [jwt]}",
        "credentials:\n  keys: {kind: api_key}\n  jwt:",
        "GET /partner: {credentials: [keys]}",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(text.contains("`firebase.privateKey`") && !text.contains("hidden-text"), "{text}");
    let token = token(&desk, "user");
    assert_eq!(desk.decides("GET", "/usual", Some(&token)), "allow");
    assert!(desk.decides("GET", "/profile", Some(&token)).starts_with("deny 401"), "an application's own token opens no route of Firebase");
    assert!(desk.decides("GET", "/partner", Some(&token)).starts_with("deny 401"), "a token opens no route of API keys");
}

#[test]
fn an_api_key_opens_no_route_that_does_not_speak_of_it() {
    let document = json!({
        "firebase": {"projectId": "p"},
        "apiKeys": {"enabled": true},
        "routes": [{"path": "/usual", "method": "get", "requireAuth": true}],
    });
    let text = Desk::new(&[("c.json", &document.to_string())]).import(&["backflow", "c.json"]);
    assert!(text.contains("  keys: {kind: api_key}\n") && text.contains("  GET /usual: {credentials: [firebase]}\n"), "{text}");
    assert!(text.contains("`scopegate keys import`") && text.contains("`scopegate.db`"), "{text}");
    for api_keys in [json!(null), json!(false), json!({"enabled": false})] {
        let document = json!({"firebase": {"projectId": "p"}, "apiKeys": api_keys, "routes": document["routes"]});
        let text = Desk::new(&[("c.json", &document.to_string())]).import(&["backflow", "c.json"]);
        assert!(!text.contains("\n  keys:") && text.contains("`x-api-key`: nothing here speaks"), "{text}");
    }
}

#[test]
fn a_second_factor_is_asked_for_where_backflow_asks_for_one() {
    let (desk, text) = imported(&json!([
        {"path": "/payouts", "method": "post", "requireAuth": true, "requireMfa": true},
        {"path": "/unsaid", "method": "post", "requireMfa": true},
        {"path": "/odd", "method": "post", "requireAuth": false, "requireMfa": true, "requiredPermissions": ["users:read"]},
        {"path": "/calm", "method": "post", "requireAuth": true, "requireMfa": false},
    ]));
    let admin = token(&desk, "admin");
    for line in [
        "  POST /payouts: {mfa: {max_age: 15m}}\n",
        "  POST /unsaid: {mfa: {max_age: 15m}}\n",
        "  POST /odd: {mfa: {max_age: 15m}, scopes: [users:read]}\n",
        "enrolments in Backflow's database were not read",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    for path in ["/payouts", "/unsaid", "/odd"] {
        assert_eq!(desk.decides("POST", path, None), "deny 401 (no_credential)", "{path}");
        assert!(desk.decides("POST", path, Some(&admin)).starts_with("deny "), "{path}");
    }
    assert!(text.contains("  POST /calm: authenticated\n"), "{text}");
    let document = json!({
        "jwt": {"secret": "{{env.JWT_SECRET}}"},
        "mfa": {"required": true},
        "routes": [{"path": "/a", "method": "get", "requireAuth": true}, {"path": "/b", "method": "get", "requireAuth": false}],
    });
    let text = Desk::new(&[("c.json", &document.to_string())]).import(&["backflow", "c.json"]);
    assert!(text.contains("  GET /a: {mfa: {max_age: 15m}}\n  GET /b: public\n"), "{text}");
}

#[test]
fn a_limit_is_kept_where_a_rate_says_it_exactly() {
    let limit = |window: u64, max: u64| json!({"windowMs": window, "max": max});
    let document = json!({
        "jwt": {"secret": "{{env.JWT_SECRET}}"},
        "rateLimit": {"enabled": true, "default": limit(60_000, 100), "perEndpoint": {"/heavy/": limit(60_000, 10), "/nowhere": limit(1_000, 1)}},
        "routes": [
            {"path": "/heavy", "method": "get", "requireAuth": true},
            {"path": "/open", "method": "get", "requireAuth": false, "rateLimit": limit(1_000, 5)},
            {"path": "/scoped", "method": "get", "requiredPermissions": ["a:b"], "rateLimit": limit(900_000, 100)},
            {"path": "/odd", "method": "get", "requireAuth": true, "rateLimit": limit(7_000, 5)},
            {"path": "/unread", "method": "get", "requireAuth": true, "rateLimit": "{{env.MAX}}"},
            {"path": "/never", "method": "get", "requireAuth": false, "rateLimit": limit(60_000, 0)},
            {"path": "/off", "method": "get", "requireAuth": true, "rateLimit": {"enabled": false}},
        ],
    });
    let text = Desk::new(&[("c.json", &document.to_string())]).import(&["backflow", "c.json"]);
    for line in [
        "  GET /heavy: {authenticated: true, rate_limit: {rate: 10/m, per: principal}}\n",
        "  GET /open: {public: true, rate_limit: {rate: 5/s, per: ip}}\n",
        "  GET /scoped: {scopes: [a:b], rate_limit: {rate: 400/h, burst: 100, per: principal}}\n",
        "  GET /odd: authenticated\n",
        "  GET /unread: authenticated\n",
        "  GET /never: deny   # its `rateLimit` lets nothing through\n",
        "  GET /off: authenticated\n",
        "`rateLimit.default`: no limit is for all routes at once; where it matters, write `rate_limit: {rate: 100/m, per: principal}`",
        "`rateLimit.perEndpoint` has `/nowhere`, which is the path of no route",
        "`rateLimit` of `/odd` is no rate exactly and was left out; the nearest below is `rate_limit: {rate: 61714/d, burst: 5, per: principal}`",
        "`rateLimit` of `/unread` is no `windowMs` and `max` that make a rate",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn the_jwt_section_becomes_rules_for_tokens() {
    let jwt = json!({"secret": "{{ env.JWT_SECRET }}", "expiresIn": "24h", "algorithm": "HS256", "issuer": "{{env.ISSUER}}", "audience": ["a", "b"]});
    let desk = Desk::new(&[("c.json", &json!({"jwt": jwt, "routes": []}).to_string())]);
    let text = desk.import(&["backflow", "c.json"]);
    for line in ["secret: \"${JWT_SECRET}\"", "algorithms: [HS256]", "issuer: \"${ISSUER}\"", "audiences: [a, b]", "max_lifetime: 24h"] {
        assert!(text.contains(&format!("    {line}\n")), "{line} is not in {text}");
    }
}

#[test]
fn roles_inherit_and_the_default_is_there() {
    let document = json!({
        "jwt": {"secret": "{{env.JWT_SECRET}}"},
        "rbac": {"enabled": true, "defaultRole": "user", "rolesTable": "roles"},
        "tenantRbac": {"roles": [
            {"name": "viewer", "description": "Read: only\naccess", "permissions": ["read"]},
            {"name": "editor", "permissions": ["posts:write", "*:odd"], "parentRole": "viewer"},
        ]},
        "routes": [{"path": "/posts", "method": "get", "requireAuth": true, "requiredPermissions": ["read"]}],
    });
    let desk = Desk::new(&[("c.json", &document.to_string()), ("secret", super::VARIABLES[4].1)]);
    let text = desk.import(&["backflow", "c.json"]);
    for line in [
        "roles:\n  default: user\n  viewer: {scopes: [read]}   # Read: only\\naccess\n  editor: {inherits: [viewer], scopes: [posts:write]}\n  user: {scopes: []}\n",
        "role `editor`: permission `*:odd` is left out",
        "`rbac.rolesTable`",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(desk.decides("GET", "/posts", Some(&token(&desk, "editor"))), "allow");
    assert_eq!(desk.decides("GET", "/posts", Some(&token(&desk, "nobody"))), "deny 403 (insufficient_scope)");
}

#[test]
fn what_cannot_be_asked_for_closes_its_route() {
    let (desk, text) = imported(&json!([
        {"path": "/payouts", "method": "post", "requireAuth": true, "mfaLevel": 2},
        {"path": "/calm", "method": "post", "requireAuth": true, "mfaLevel": false, "integrations": []},
        {"path": "/unsaid", "method": "get"},
        {"path": "/odd", "method": "get", "requireAuth": false, "requiredPermissions": ["users:read"]},
    ]));
    let user = token(&desk, "user");
    assert!(text.contains("POST /payouts: deny   # `mfaLevel` has no counterpart: closed until you decide"), "{text}");
    assert!(text.contains("write `public` for what is open: `GET /unsaid`") && text.contains("`integrations`"), "{text}");
    assert!(desk.decides("POST", "/payouts", Some(&user)).starts_with("deny 403"));
    assert_eq!(desk.decides("POST", "/calm", Some(&user)), "allow");
    assert_eq!(desk.decides("GET", "/unsaid", None), "deny 401 (no_credential)");
    assert_eq!(desk.decides("GET", "/odd", Some(&user)), "deny 403 (insufficient_scope)");
}

#[test]
fn a_wide_open_route_does_not_answer_for_the_second_spelling_of_a_closed_one() {
    let (desk, text) = imported(&json!([
        {"path": "/admin/users", "method": "get", "requireAuth": true},
        {"path": "/admin/*", "method": "all", "requireAuth": true},
        {"path": "*", "method": "get", "requireAuth": false},
    ]));
    assert!(text.contains("make its routing case sensitive"), "{text}");
    for path in ["/admin/users", "/admin/users/", "/admin/x", "/admin/"] {
        assert_eq!(desk.decides("GET", path, None), "deny 401 (no_credential)", "{path}");
    }
    assert_eq!(desk.decides("GET", "/elsewhere", None), "allow");
}

#[test]
fn routes_may_be_in_a_file_of_their_own_or_be_all_there_is() {
    let routes = r#"[{"path": "/a", "method": "get", "requireAuth": true}, {"path": "/b", "method": "get", "authProvider": "firebase"}]"#;
    let desk = Desk::new(&[("routes.json", routes), ("c.json", r#"{"jwt": {"secret": "{{env.JWT_SECRET}}"}, "firebase": {"projectId": "p"}}"#)]);
    let text = desk.import(&["backflow", "c.json", "--routes", "routes.json"]);
    assert!(text.contains("  GET /a: {credentials: [jwt]}\n  GET /b: {credentials: [firebase]}\n"), "{text}");
    let alone = Desk::new(&[("routes.json", routes)]);
    let text = alone.import(&["backflow", "routes.json"]);
    assert!(text.contains("secret: \"${JWT_SECRET}\"") && text.contains("project_id: \"${FIREBASE_PROJECT_ID}\""), "{text}");
}

#[test]
fn what_is_not_understood_is_refused_all_at_once() {
    let route = |route: serde_json::Value| json!({"jwt": {"secret": "{{env.JWT_SECRET}}"}, "routes": [route]});
    let jwt = |jwt: serde_json::Value| json!({"jwt": jwt, "routes": []});
    let roles = |roles: serde_json::Value| json!({"jwt": {"secret": "{{env.JWT_SECRET}}"}, "tenantRbac": {"roles": roles}});
    for (document, said) in [
        (json!({"routes": []}), "there is neither `jwt` nor `firebase`"),
        (json!({"apiKeys": {}, "routes": []}), "there is neither `jwt` nor `firebase`"),
        (json!(7), "c.json is a number"),
        (json!({"routes": {}}), "`routes` is a mapping; it is a list"),
        (jwt(json!({})), "`jwt.secret` is missing"),
        (jwt(json!({"secret": "short"})), "`jwt.secret` has under 32 characters"),
        (jwt(json!({"secret": "{{secret:KEY}}"})), "`jwt.secret` is a tenant's own secret"),
        (jwt(json!({"secret": "{{env.JWT_SECRET}}", "algorithm": "RS256"})), "`jwt.algorithm` is none of HS256"),
        (json!({"firebase": {}}), "`firebase.projectId` is missing"),
        (route(json!({"method": "get"})), "`routes[0]` has no `path`"),
        (route(json!({"path": "/a/:id(\\d+)", "requireAuth": true})), "`routes[0].path` is `/a/:id(\\\\d+)`"),
        (route(json!({"path": "/a//b", "requireAuth": true})), "`routes[0].path` is `/a//b`"),
        (route(json!({"path": "/a", "method": 7})), "`routes[0]` (/a): `method` is none"),
        (route(json!({"path": "/a", "requireAuth": "yes"})), "`requireAuth` is a text; it is `true` or `false`"),
        (route(json!({"path": "/a", "requireMfa": "yes"})), "`requireMfa` is a text; it is `true` or `false`"),
        (route(json!({"path": "/a", "authProvider": "magic"})), "`authProvider` is `magic`"),
        (route(json!({"path": "/a", "authProvider": "firebase"})), "there is no `firebase` in the configuration"),
        (route(json!({"path": "/a", "requiredPermissions": ["a b"]})), "permission `a b` as a scope has a character"),
        (roles(json!([{"name": "a", "parentRole": "b"}])), "role `a` has the parent `b`, which is not in `tenantRbac.roles`"),
        (roles(json!([{"name": "a", "parentRole": "b"}, {"name": "b", "parentRole": "a"}])), "role `a` is its own ancestor"),
        (roles(json!([{"name": "a"}, {"name": "a"}])), "role `a` stands twice"),
        (roles(json!([{"name": "default"}])), "`tenantRbac.roles[0].name` is missing, or no name"),
        (
            json!({"jwt": {"secret": "{{env.JWT_SECRET}}"}, "routes": [{"path": "/a/:x", "requireAuth": true}, {"path": "/:y/b", "requireAuth": false}]}),
            "routes `/a/{x}` and `/{y}/b` match the same requests",
        ),
    ] {
        let err = refused(&document);
        assert!(err.contains(said), "{document}: {err}");
    }
    let err = refused(&json!({"jwt": {"secret": "short"}, "routes": [{"method": "get"}, {"path": "b", "requireAuth": true}]}));
    assert_eq!(err.lines().count(), 3, "{err}");
}
