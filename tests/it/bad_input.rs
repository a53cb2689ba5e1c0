//! What an operator can get wrong, and what is said of it: every fault of a file at once, each with its place, none with a token.

mod credentials;
mod limits;
mod tls;
mod tokens;

use std::path::Path;

use scopegate::app;
use scopegate::config::{Input, Loaded, load};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;
use tempfile::TempDir;

use crate::harness::{process, write_secret};

/// Stands in every bad token file; never to be seen again.
const PLANTED: &str = "planted-token-0123456789";
const GOOD: &str = r#"[{"id": "app", "token": "planted-token-0123456789", "scopes": ["app:use"]}]"#;
const ROUTES: &str = "credentials: {tokens: {kind: static, file: tokens.json}}\nroutes: {GET /x: app:use}\n";

struct Case(TempDir);

impl Case {
    fn new(config: &str, tokens: impl AsRef<[u8]>) -> Self {
        let case = Self(tempfile::tempdir().unwrap());
        std::fs::write(case.0.path().join("scopegate.yaml"), config).unwrap();
        write_secret(&case.0.path().join("tokens.json"), tokens);
        case
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Loaded, Vec<String>> {
        self.load_with(&[])
    }

    fn load_with(&self, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let env = |name: &str| match name {
            "EMPTY" => Some(String::new()),
            "SECRET" => Some(PLANTED.to_owned()),
            _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
        };
        load(&Input::File(self.path("scopegate.yaml")), &env, &TagKey::new([7; 32]), &Registry::offline()).map_err(|faults| {
            let folder = format!("{}/", self.0.path().display());
            faults.iter().map(|fault| fault.to_string().replace(&folder, "")).collect()
        })
    }

    /// Every fault, in the order of the file, without the folder's name.
    fn faults(&self) -> Vec<String> {
        let faults = self.load().expect_err("it has a fault");
        assert!(!faults.is_empty());
        for fault in &faults {
            assert!(!fault.contains(PLANTED), "a token is quoted: {fault}");
            assert!(!fault.contains('\n'), "more than a line: {fault}");
        }
        faults
    }
}

fn faults_of(config: &str) -> Vec<String> {
    Case::new(config, GOOD).faults()
}

fn one(faults: &[String], said: &str) {
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(said), "{:?} does not say {said:?}", faults[0]);
}

#[test]
fn a_configuration_that_is_none_says_so() {
    for (config, said) in [
        ("", "configuration is empty; `scopegate init --upstream URL` writes a first one (scopegate.yaml)"),
        ("# nothing\n", "configuration is empty"),
        ("routes: {", "configuration is not YAML or JSON"),
        ("routes:\n\tGET /: public\n", "configuration is not YAML or JSON"),
        ("a: &a [*a]\n", "configuration is not YAML or JSON"),
    ] {
        one(&faults_of(config), said);
    }
    assert!(faults_of("[1, 2]\n").iter().any(|fault| fault.contains("a list")), "{:?}", faults_of("[1, 2]\n"));
    let case = Case::new("", GOOD);
    std::fs::write(case.path("scopegate.yaml"), b"routes: {GET /\xff: public}\n").unwrap();
    one(&case.faults(), "configuration is not UTF-8; save it as UTF-8");
    std::fs::remove_file(case.path("scopegate.yaml")).unwrap();
    one(&case.faults(), "configuration cannot be read: No such file or directory");
    std::fs::create_dir(case.path("scopegate.yaml")).unwrap();
    one(&case.faults(), "configuration is a directory; name a file");
}

#[test]
fn every_kind_of_fault_in_a_configuration_is_named_with_what_would_be_right() {
    let with = |text: &str| faults_of(&format!("{ROUTES}{text}\n"));
    for (text, said) in [
        ("upstraem: http://127.0.0.1:1", "key `upstraem` is unknown; did you mean `upstream`? (scopegate.yaml:3:1)"),
        ("colour: red", "key `colour` is unknown; known are `upstream`, `listen`"),
        ("listen: {http: 127.0.0.1:1}", "key `listen.http` is unknown; known are `proxy`"),
        ("drain_timeout: 1s\ndrain_timeout: 2s", "key `drain_timeout` stands twice, first in line 3; keep one (scopegate.yaml:4:1)"),
        ("forward: {headers: {x-a: a, x-a: b}}", "key `x-a` stands twice in `forward.headers`"),
        ("drain_timeout: 5", "`drain_timeout` is `5`; it is a duration such as `500ms`"),
        ("drain_timeout: 5 s", "`drain_timeout` is `5 s`; it is a duration"),
        ("strict_file_modes: \"yes\"", "`strict_file_modes` is `yes`; it is `true` or `false`"),
        ("forward: [x]", "`forward` is a list; it is a mapping with `headers`"),
        ("trusted_proxies: {a: b}", "`trusted_proxies` is a mapping; it is a text or a list of texts"),
        ("trusted_proxies: [10.0.0.0/33]", "`trusted_proxies` has `10.0.0.0/33`; a network is `10.0.0.0/8` or one address"),
        ("trusted_proxies: [localhost]", "`trusted_proxies` has `localhost`"),
        ("telemetry: {audit: file}", "`telemetry.audit` is `file`; it is `stdout`, `off` or `{file: PATH}`"),
        ("telemetry: {otlp: collector:4317}", "`telemetry.otlp` is `collector:4317`; it is an address such as `http://collector:4317`"),
        ("reload: {signal: false}", "`reload.signal` is always on; remove the key"),
        ("listen: {admin: 9190}", "`listen.admin` is `9190`; it is a text (quote it if it looks like a number)"),
        ("listen: {admin: \"127.0.0.1\"}", "`listen.admin` is `127.0.0.1`; it is `host:port`, `unix:/path` or `off`"),
        ("listen: {proxy: \"127.0.0.1:0\"}", "`listen.proxy` has nothing behind it; set `upstream: http://host:port`"),
        ("upstream: {url: 'http://127.0.0.1:1', mark: 7}", "`upstream.mark` is for `url: original_destination` alone; leave it out"),
        ("upstream: {url: original_destination, mark: 0x100000000}", "`upstream.mark` is `4294967296`; it is from 1 to 0xFFFFFFFF"),
        ("upstream: {url: original_destination, mark: 0}", "`upstream.mark` is `0`; it is a whole number from 1"),
        ("upstream: {connect_timeout: 1s}", "`upstream` has no `url`; it is `http://host:port`"),
        ("forward: {headers: {x-a: \"{{auth.password}}\"}}", "`forward.headers.x-a` is `{{auth.password}}`; known are `{{auth.id}}`"),
        ("forward: {headers: {x-a: \"\"}}", "`forward.headers.x-a` is ``; a header's value is visible ASCII"),
        ("forward: {headers: {host: x}}", "`forward.headers` has `host`, which cannot carry an identity"),
        ("forward: {headers: {x_a: x}}", "`forward.headers` has `x_a`, which cannot carry an identity"),
        ("forward: {headers: {x.scopegate.id: x}}", "`forward.headers` has `x.scopegate.id`, which cannot carry an identity"),
        ("forward: {headers: {x-scopegate-me: x}}", "`forward.headers` has `x-scopegate-me`, and `x-scopegate-…` is Scopegate's own"),
        ("forward: {headers: {x-a: a, X-A: b}}", "`forward.headers` has `x-a` twice; header names have no case"),
        ("default: public", "`default: public` would let everything in that no route names"),
        ("default: open", "`default`: `open` is none of `public`, `authenticated`, `deny`"),
        ("roles: {default: boss}", "role `boss` is not defined; define it under `roles`"),
        ("roles: {a: {inherits: [a]}}", "role `a` inherits itself; inheritance must end"),
        ("roles: {a: {inherits: [b]}}", "role `a` inherits `b`, which is not defined"),
        ("roles: {a: [\"x y\"]}", "role `a`: scope `x y` has a character"),
    ] {
        let faults = with(text);
        assert!(faults.iter().any(|fault| fault.contains(said)), "{text}: {faults:?} do not say {said:?}");
    }
}

#[test]
fn every_bad_upstream_is_refused() {
    for url in [
        "127.0.0.1:3000",
        "ftp://x",
        "http://",
        "http://:80",
        "http://a b",
        "http://u:p@x",
        "http://x/path",
        "http://x?q",
        "http:/x",
        "\"\"",
        "http://x:99999",
        "\"http://x:\"",
        "http://x:0",
        "http://x:8o",
        "unix:x.sock",
        "\"unix:\"",
        "h2c://",
        "original",
    ] {
        one(&faults_of(&format!("{ROUTES}upstream: {url}\n")), "it is `http://host:port`");
    }
}

#[test]
fn every_bad_route_is_refused_at_its_place() {
    let route = |text: &str| faults_of(&format!("credentials: {{tokens: {{kind: static, file: tokens.json}}}}\nroutes:\n  {text}\n"));
    for (text, said) in [
        ("get /x: public", "route `get /x`: the method is not an upper-case HTTP token"),
        ("CONNECT /x: public", "route `CONNECT /x`: the method is not"),
        ("GET x: public", "route `GET x`: there is no path; a pattern is `[METHOD ][HOST]/path` (scopegate.yaml:3:3)"),
        ("EXAMPLE.com/: public", "the host is not a plain name without port"),
        ("example.com:80/: public", "the host is not a plain name without port"),
        ("/a/../b: public", "the path is not in canonical form"),
        ("/a//b: public", "the path is not in canonical form"),
        ("/a%zz: public", "the path is not in canonical form"),
        ("\"/a/x{b}\": public", "a wildcard is a whole segment"),
        ("\"/{}\": public", "a wildcard's name is a letter or `_`"),
        ("\"/{1}\": public", "a wildcard's name is a letter or `_`"),
        ("\"/{a}/{a}\": public", "two wildcards have the same name"),
        ("\"/{a...}/b\": public", "`{name...}` and `{$}` stand only at the end"),
        ("\"/{$}/b\": public", "`{name...}` and `{$}` stand only at the end"),
        ("/x: open", "route `/x`: `open` is none of `public`, `authenticated`, `deny` and no scope `resource:action` (scopegate.yaml:3:7)"),
        ("/x: Public", "`Public` is none of"),
        ("/x: \"orders read:x\"", "route `/x`: scope `orders read:x` has a character that RFC 6750 does not allow"),
        ("/x: []", "route `/x` has an empty list of scopes"),
        ("/x: {}", "route `/x`"),
        ("/x:", "`routes./x` is nothing"),
        ("/x: true", "`routes./x` is `true`"),
        ("/x: {scopes: []}", "route `/x` has an empty list of scopes"),
        ("/x: {any_scopes: []}", "route `/x` has an empty list of scopes"),
        ("/x: {roles: []}", "route `/x` has an empty list of roles"),
        ("/x: {roles: [boss]}", "route `/x`: role `boss` is not defined"),
        ("/x: {credentials: []}", "route `/x` has an empty list of credentials"),
        ("/x: {credentials: [keys]}", "route `/x`: credential `keys` is not defined; known are tokens"),
        ("/x: {authenticated: false}", "route `/x`: `authenticated: false` would say nothing; write `public`"),
        ("/x: {allow_paths: [semicolon]}", "route `/x` needs nothing"),
        ("/x: {authenticated: true, allow_paths: [dots]}", "route `/x`: `allow_paths` has `dots`; known are"),
        ("/x: {authenticated: true, max_body: 1KiB}", "route `/x`: `max_body` bounds what `tools` inspects"),
        ("/x: {mfa: {max_age: 0s}}", "route `/x`: `mfa.max_age` is 0 seconds; it is from `1s` on"),
        ("/x: {mfa: {max_age: 300}}", "`routes./x.mfa.max_age` is `300`; it is a duration"),
        ("/x: {mfa: true}", "`routes./x.mfa` is `true`"),
        ("/x: {tools: {}}", "route `/x` lists no tools"),
        ("/x: {tools: {a: []}}", "route `/x`, tool `a` has an empty list of scopes"),
        ("/x: {tools: {a: b:c}, max_body: 4MiB}", "route `/x`: `max_body` is `4MiB`; it is from `1B` to `3MiB`"),
        ("/x: {tools: {a: b:c}, max_body: 64k}", "`routes./x.max_body` is `64k`; it is a size"),
        ("/x: {scope: a:b}", "key `routes./x.scope` is unknown; did you mean `scopes`?"),
    ] {
        let faults = route(text);
        assert!(faults.iter().any(|fault| fault.contains(said)), "{text}: {faults:?} do not say {said:?}");
    }
    one(&faults_of("credentials: {tokens: {kind: static, file: tokens.json}}\n"), "`routes` is missing, so that every request would be denied");
}

#[test]
fn patterns_that_overlap_are_both_named_with_a_way_out() {
    for (first, second, way_out) in [
        ("/a/{x}", "/{y}/b", "make one of them more specific"),
        ("/a/{x}", "/a/{y}", "make one of them more specific"),
        ("GET /a/", "GET /a/{rest...}", "make one of them more specific"),
        ("POST /", "/admin/{rest...}", "such as `POST /admin/{rest...}`"),
        ("example.com/{x}/b", "example.com/a/{x}", "make one of them more specific"),
    ] {
        for (one_, two) in [(first, second), (second, first)] {
            let config = format!("credentials: {{tokens: {{kind: static, file: tokens.json}}}}\nroutes:\n  \"{one_}\": a:b\n  \"{two}\": a:b\n");
            let expected = format!("route `{two}` and route `{one_}` match the same requests and neither is more specific;");
            let faults = faults_of(&config);
            one(&faults, &expected);
            assert!(faults[0].contains(way_out) && faults[0].ends_with("(scopegate.yaml:4:3)"), "{faults:?}");
        }
    }
}

#[test]
fn variables_that_are_unset_or_empty_are_faults_and_those_that_are_set_are_not_quoted() {
    for (text, said) in [
        ("${NOPE}", "variable `NOPE` is not set in the environment; set it"),
        ("{{env.NOPE}}", "variable `NOPE` is not set in the environment; set it"),
        ("&#123;&#123;env.NOPE&#125;&#125;", "variable `NOPE` is not set in the environment; set it"),
        ("${EMPTY}", "variable `EMPTY` is empty in the environment; give it a value"),
        ("${NOPE", "variable `${…` is not closed"),
        ("${A B}", "has no plain name"),
        ("http://${SECRET}/x", "`upstream` is (a value from the environment); it is `http://host:port`"),
    ] {
        let faults = faults_of(&format!("{ROUTES}upstream: \"{text}\"\n"));
        assert!(faults.iter().any(|fault| fault.contains(said) && fault.ends_with("(scopegate.yaml:3:11)")), "{text}: {faults:?}");
    }
}

#[test]
fn credentials_that_prove_nothing_are_faults() {
    let source = |text: &str| faults_of(&format!("credentials:\n  keys: {text}\nroutes: {{GET /x: app:use}}\n"));
    for (text, said) in [
        ("{}", "credential `keys` has no `kind`; it is one of `static`, `jwt`, `firebase`,"),
        ("{kind: static}", "credential `keys` has no `file`; name its token file"),
        ("{kind: magic, file: tokens.json}", "`credentials.keys.kind` is `magic`; it is `static` or `jwt`"),
        ("{kind: static, file: tokens.json, from: []}", "credential `keys` is read from nowhere"),
        ("{kind: static, file: tokens.json, from: [\"header:\"]}", "credential `keys` place `header:` is unknown"),
        ("{kind: static, file: tokens.json, from: [header:cookie]}", "credential `keys` place `header:cookie` is unknown"),
        ("{kind: static, file: tokens.json, from: [header:x-scopegate-id]}", "place `header:x-scopegate-id` is unknown"),
        ("{kind: static, file: tokens.json, from: [basic]}", "credential `keys` place `basic` is unknown"),
        ("{kind: static, file: tokens.json, from: [\"query:a b\"]}", "credential `keys` place `query:a b` is unknown"),
        ("{kind: static, file: tokens.json, from: [\"cookie:\"]}", "credential `keys` place `cookie:` is unknown"),
        ("{kind: static, file: tokens.json, max_size: 5}", "`credentials.keys.max_size` is `5`; it is a size"),
        ("{kind: static, file: tokens.json, forward: maybe}", "`credentials.keys.forward` is `maybe`; it is `true` or `false`"),
    ] {
        let faults = source(text);
        assert!(faults.iter().any(|fault| fault.contains(said)), "{text}: {faults:?} do not say {said:?}");
    }
    one(&faults_of("routes: {GET /x: public}\n"), "no credential source; add one under `credentials`");
    one(&faults_of("credentials: {\"a b\": {kind: static, file: tokens.json}}\nroutes: {GET /x: public}\n"), "credential `a b` has an odd name");
}

#[test]
fn all_faults_of_a_file_are_told_at_once_each_with_its_line_and_column() {
    let config = "\
upstream: ftp://app:3000
listen:
  admin: nowhere
drain_timeout: soon
stores: sqlite:x.db
credentials:
  tokens: {kind: static, file: tokens.json, from: ['query:a b']}
routes:
  GET /orders: orders read
  POST /orders: {scope: orders:write}
  /a/{x}: a:b
  /{y}/b: a:b
default: public
forward: {headers: {x-me: '${NOPE}'}}
";
    let expected = [
        "variable `NOPE` is not set in the environment; set it (scopegate.yaml:14:27)",
        "`drain_timeout` is `soon`; it is a duration such as `500ms`, `2s`, `5m` or `1h` (scopegate.yaml:4:16)",
        "key `stores` is unknown; did you mean `store`? (scopegate.yaml:5:1)",
        "key `routes.POST /orders.scope` is unknown; did you mean `scopes`? (scopegate.yaml:10:18)",
        "`upstream` is `ftp://app:3000`; it is `http://host:port`, `https://host`, `h2c://host:port`, `unix:/path` or `original_destination`, without path, query and user (scopegate.yaml:1:11)",
        "`listen.admin` is `nowhere`; it is `host:port`, `unix:/path` or `off` (scopegate.yaml:3:10)",
        "credential `tokens` place `query:a b` is unknown; it is `bearer`, `header:NAME`, `cookie:NAME` or `query:NAME` (scopegate.yaml:7:52)",
        "route `GET /orders`: `orders read` is none of `public`, `authenticated`, `deny` and no scope `resource:action` (scopegate.yaml:9:16)",
        "route `POST /orders` needs nothing; add `scopes`, `any_scopes`, `roles`, `credentials`, `tools`, `mfa`, `authenticated: true` or `public: true` (scopegate.yaml:10:17)",
        "route `/{y}/b` and route `/a/{x}` match the same requests and neither is more specific; make one of them more specific (scopegate.yaml:12:3)",
        "`default: public` would let everything in that no route names; `default` is `deny`, `authenticated` or a requirement (scopegate.yaml:13:10)",
        "entry `a` has scope `a b`, which has a character that RFC 6750 does not allow; a scope is `resource:action` in visible ASCII without space, quote or backslash (tokens.json)",
        "entry `a` has a token of under 16 characters; `scopegate token new` makes a strong one (tokens.json)",
    ];
    let faults = Case::new(config, r#"[{"id": "a", "token": "planted", "scopes": ["a b"]}]"#).faults();
    assert_eq!(faults, expected, "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let case = Case::new(&format!("{ROUTES}listen: {{ext_authz: {port}, forward_auth: {port}, admin: 127.0.0.1:0}}\n"), GOOD);
    let faults = app::start(Input::File(case.path("scopegate.yaml")), std::io::sink()).await.expect_err("in use");
    assert_eq!(faults.len(), 2, "{faults:?}");
    for (fault, door) in faults.iter().zip(["ext_authz", "forward_auth"]) {
        assert!(fault.starts_with(&format!("`listen.{door}` cannot listen on {port}: Address already in use")), "{fault}");
    }
}

#[test]
fn a_start_that_is_refused_ends_with_status_1_and_one_line_a_fault() {
    let case = Case::new(&format!("{ROUTES}colour: red\nstrict_file_modes: 7\n"), GOOD);
    let said = process::refused(&case.path("scopegate.yaml"), &[]);
    assert_eq!(said.lines().count(), 2, "{said}");
    let case = Case::new(ROUTES, r#"[{"id": "a", "token": "planted-token-0123456789", "scopes": ["a b"]}]"#);
    let said = process::refused(&case.path("scopegate.yaml"), &[("SCOPEGATE_LOG", "trace")]);
    assert!(said.contains("entry `a` has scope `a b`"), "{said}");
    assert!(!said.contains(PLANTED), "{said}");
    let said = process::refused(Path::new("/nowhere/scopegate.yaml"), &[]);
    assert!(said.starts_with("configuration cannot be read: No such file or directory"), "{said}");
}
