//! Routes made of a document: what its `security` names, what it leaves unsaid, and the first token.

use super::Desk;

/// The routes that are made of this under `paths`, and what is noted; the result passes the check and covers its document.
fn imported(document: &str) -> (Vec<String>, String) {
    let desk = Desk::new(&[("api.yaml", document)]);
    let (status, out, err) = desk.run(&["import", "openapi", "api.yaml", "--output", "scopegate.yaml"]);
    assert_eq!((status, out.as_str()), (0, ""), "{err}");
    let scopes = err.lines().find_map(|line| line.split_once("--scopes ")?.1.strip_suffix('`')).unwrap();
    assert_eq!(desk.run(&["token", "new", "--id", "first", "--scopes", scopes]).0, 0);
    let text = desk.read("scopegate.yaml");
    let (status, faults, _) = desk.run(&["check"]);
    assert_eq!(status, 0, "{faults}\n{text}");
    let (status, found) = desk.found(&["--openapi", "api.yaml"]);
    let bad: Vec<&String> =
        found.iter().filter(|one| !one.starts_with("scope_not_held") && !one.starts_with("note") && !one.starts_with("refused")).collect();
    assert_eq!((status, bad), (0, Vec::new()), "{text}");
    let routes = text.split_once("\nroutes:\n").unwrap().1.lines().map(|line| line.trim().to_owned()).collect();
    (routes, err)
}

fn routes(paths: &str) -> Vec<String> {
    imported(&format!("openapi: 3.1.0\n{paths}")).0
}

#[test]
fn scopes_of_security_are_the_scopes_of_routes() {
    let document = "
components: {securitySchemes: {oauth: {type: oauth2, flows: {}}, key: {type: apiKey, in: header, name: x-key}}}
security: [{oauth: [base:read]}]
paths:
  /own: {get: {security: [{oauth: [a:read]}]}}
  /inherited: {get: {}}
  /and: {get: {security: [{oauth: [b:read, a:read]}]}}
  /and-of-schemes: {get: {security: [{oauth: [a:read], key: [b:read]}]}}
  /or: {get: {security: [{oauth: [b:read]}, {oauth: [a:read]}]}}
  /or-of-ands: {get: {security: [{oauth: [a:read, b:read]}, {oauth: [c:read]}]}}
  /loose: {get: {security: [{key: []}, {oauth: [a:read]}]}}
  /key: {get: {tags: [Key Things, other], security: [{key: []}]}, post: {tags: [Key Things], security: [{key: []}]}}
  /untagged: {delete: {security: [{key: []}]}}
  /optional: {get: {tags: [o], security: [{}, {key: []}]}}
  /open: {get: {security: []}}
";
    let (routes, err) = imported(&format!("openapi: 3.1.0{document}"));
    let expected = [
        "GET /own: a:read",
        "GET /inherited: base:read",
        "GET /and: [a:read, b:read]",
        "GET /and-of-schemes: [a:read, b:read]",
        "GET /or: {any_scopes: [a:read, b:read]}",
        "GET /or-of-ands: [a:read, b:read, c:read]",
        "GET /loose: a:read",
        "GET /key: key-things:read",
        "POST /key: key-things:write",
        "DELETE /untagged: app:write",
        "GET /optional: o:read",
        "GET /open: public",
    ];
    assert_eq!(routes, expected);
    for note in [
        "open to everybody, because the document says `security: []`: `GET /open`",
        "alternatives of more than one scope; all of them together are asked for: `GET /or-of-ands`",
        "names no scopes; those of the others are asked for all the same: `GET /loose`",
        "with or without a credential; a credential is asked for here, write `public` if none is wanted: `GET /optional`",
    ] {
        assert!(err.contains(note), "{note}: {err}");
    }
}

#[test]
fn a_document_that_says_nothing_of_security_opens_nothing() {
    let (routes, err) =
        imported("openapi: 3.0.0\npaths: {/a: {get: {tags: [T]}, head: {tags: [T]}, options: {tags: [T]}, put: {tags: [T]}}, /b: {patch: {}}}");
    assert_eq!(routes, ["GET /a: t:read", "PUT /a: t:write", "OPTIONS /a: t:read", "PATCH /b: app:write"]);
    assert!(err.contains("the document says nothing of security"), "{err}");
    // One that speaks of it somewhere and not here means open; nobody else has to believe that.
    let (routes, err) = imported("openapi: 3.0.0\npaths: {/a: {get: {}}, /b: {get: {security: [{key: []}]}}}");
    assert_eq!(routes, ["GET /a: app:read", "GET /b: app:read"]);
    assert!(err.contains("which OpenAPI takes for open") && err.contains("`GET /a`"), "{err}");
}

#[test]
fn words_that_are_no_scopes_get_others_and_those_that_are_stay() {
    let (routes, err) = imported(
        "openapi: 3.0.0\npaths: {/a: {get: {security: [{o: [read]}]}, put: {security: [{o: ['https://www.example.com/auth/x']}]}, post: {security: [{o: ['orders:*:all', 'a b']}]}}}",
    );
    assert_eq!(routes, ["GET /a: [read]", "PUT /a: https://www.example.com/auth/x", "POST /a: [a-b, orders:-:all]"]);
    assert!(err.contains("`a b` is `a-b`, `orders:*:all` is `orders:-:all`"), "{err}");
}

#[test]
fn paths_that_patterns_cannot_say_become_such_as_they_can() {
    let paths = |lines: &str| routes(&format!("paths:\n{lines}"));
    for (lines, expected) in [
        ("  /a/{user-id}/{user-id}: {get: {}}", &["GET /a/{user_id}/{user_id_2}: app:read"][..]),
        ("  /a/{x}.json: {get: {tags: [j]}}\n  /a/{y}: {get: {tags: [k]}}", &["GET /a/{p1}: [j:read, k:read]"]),
        ("  /c/{base}...{head}: {get: {}}", &["GET /c/{p1}: app:read"]),
        ("  /f/{p}: {get: {parameters: [{name: p, in: path, x-multi-segment: true}]}}", &["GET /f/{p...}: app:read"]),
        ("  /a/: {get: {}}\n  /: {get: {}}", &["GET /a/{$}: app:read", "GET /{$}: app:read"]),
        ("  '/x y/é/z:go': {post: {}}", &["\"POST /x%20y/%C3%A9/z:go\": app:write"]),
        ("  /a//b: {get: {}}\n  /c: {get: {}}", &["GET /c: app:read"]),
        // Two that cross: one gets a wildcard more, and what both match needs both.
        (
            "  /a/{x}/b: {get: {tags: [one]}}\n  /a/c/{y}: {get: {tags: [two]}}",
            &["GET /a/{x}/{y}: one:read", "GET /a/c/{y}: two:read", "GET /a/c/b: [one:read, two:read]"],
        ),
        ("  /a/{x}/b: {get: {tags: [one]}}\n  /a/c/{y}: {get: {tags: [one]}}", &["GET /a/{x}/{y}: one:read", "GET /a/c/{y}: one:read"]),
        ("  /a/{x}/b: {get: {}}\n  /a/c/{y}: {post: {}}", &["GET /a/{x}/b: app:read", "POST /a/c/{y}: app:write"]),
    ] {
        assert_eq!(paths(lines), expected, "{lines}");
    }
}

#[test]
fn init_makes_the_first_token_of_what_is_needed_for_reading_and_for_nothing_else() {
    let document = "openapi: 3.0.0\npaths: {'/a/{x}': {get: {tags: [a]}, put: {tags: [a]}}, /b: {get: {security: [{o: [shared]}]}, put: {security: [{o: [shared]}]}}, /c: {get: {tags: [c]}}}";
    let desk = Desk::new(&[("api.yaml", document)]);
    let (status, out, err) = desk.run(&["init", "--upstream", "http://127.0.0.1:3000", "--openapi", "api.yaml"]);
    assert_eq!(status, 0, "{err}");
    let token = out.trim();
    assert!(err.contains("the token `first` holds a:read, c:read and is shown this once:"), "{err}");
    assert!(err.contains("http://127.0.0.1:8080/b\n") && !desk.read("scopegate.yaml").contains(token) && !desk.read("tokens.json").contains(token));
    let header = format!("Authorization: Bearer {token}");
    for (method, path, status) in [("GET", "/a/1", 0), ("HEAD", "/a/1", 0), ("PUT", "/a/1", 1), ("GET", "/b", 1), ("GET", "/c", 0), ("GET", "/d", 1)]
    {
        assert_eq!(desk.run(&["explain", method, path, "--header", &header]).0, status, "{method} {path}");
    }
    assert_eq!(desk.found(&["--openapi", "api.yaml"]).0, 0);
    let (status, _, err) = desk.run(&["init", "--upstream", "http://127.0.0.1:3000", "--openapi", "api.yaml"]);
    assert!(status == 1 && err.contains("exists already"), "{err}");
    let empty = Desk::new(&[("api.yaml", "openapi: 3.0.0\npaths: {/a: {post: {}}}")]);
    let (status, _, err) = empty.run(&["init", "--upstream", "http://127.0.0.1:3000", "--openapi", "api.yaml", "--base-path", "/v1"]);
    assert!(status == 0 && err.contains("holds app:write") && empty.read("scopegate.yaml").contains("  POST /v1/a: app:write\n"), "{err}");
    let none = Desk::new(&[("api.yaml", "swagger: '2.0'")]);
    assert_eq!(none.run(&["init", "--upstream", "http://127.0.0.1:3000", "--openapi", "api.yaml"]).0, 1);
    assert!(!none.path("scopegate.yaml").exists() && !none.path("tokens.json").exists());
}
