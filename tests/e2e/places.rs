//! Credentials in headers of their own, cookies and queries: that the application does not see them, with the lines that `deploy/README.md` shows.

use serde_json::json;

use crate::client::Ask;
use crate::examples::aibtcdev;
use crate::process::root;
use crate::sign::{hs256, now};
use crate::stage::{Front, Script, Stage};
use crate::websocket::{handshake, talk};

const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";
const KEY: &str = "12345678-1234-1234-1234-123456789abc";

/// Texts of a shipped file, by what is to stand there instead.
type Edits = &'static [(&'static str, &'static str)];

const NGINX: Edits = &[
    ("auth_request_set $scopegate_target ", "auth_request_set $scopegate_cookie $upstream_http_cookie;\nauth_request_set $scopegate_target "),
    (
        "proxy_set_header X-Scopegate-Target \"\";",
        "proxy_set_header X-Scopegate-Target \"\";\nproxy_set_header X-API-Key \"\";\nproxy_set_header Cookie $scopegate_cookie;",
    ),
];
const INGRESS_NGINX: Edits = &[("Authorization, X-Tenant-Id,", "Authorization, X-Tenant-Id,\n      X-API-Key, Cookie,")];
const CADDY: Edits = &[
    ("X-Method-Override", "X-Method-Override\nX-API-Key\nCookie"),
    ("reverse_proxy ", "@websocket header Sec-WebSocket-Key *\nuri @websocket query -token\nuri @websocket query -key\nreverse_proxy "),
];
const TRAEFIK: Edits = &[("          - X-Method-Override", "          - X-Method-Override\n          - X-API-Key\n          - Cookie")];
const ENVOY_HTTP: Edits = &[("- {exact: x-scopegate-roles}", "- {exact: x-scopegate-roles}\n                              - {exact: cookie}")];

fn session() -> String {
    let claims = json!({"sub": "0b7c", "aud": "authenticated", "email": "eve@example.com", "exp": now() + 3600});
    hs256(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims)
}

/// aibtcdev-backend, whose sessions may come in a cookie too.
fn stage(front: Front, proxy_edits: Edits) -> Stage {
    let readme = std::fs::read_to_string(root().join("deploy/README.md")).unwrap();
    for (from, to) in proxy_edits {
        let new = to.lines().map(str::trim).filter(|line| !from.contains(line));
        new.for_each(|line| assert!(readme.contains(line), "deploy/README.md does not show `{line}`"));
    }
    let script = aibtcdev::script();
    let edits = vec![("[bearer, \"query:token\"]", "[bearer, \"cookie:session\", \"query:token\"]".to_owned())];
    let stage = Stage::play(front, &Script { edits, proxy_edits: proxy_edits.to_vec(), ..script });
    aibtcdev::settle(&stage);
    stage
}

fn hidden(stage: &Stage, query: bool) {
    let session = session();
    let told = |what: &str| format!("{what} at {:?}", stage.front);
    for (sent, left) in [
        (format!("a=1; session={session}; b=2"), Some("a=1; b=2")),
        (format!("session={session}"), None),
        (format!("a=1; session={session}; session2=x"), Some("a=1; session2=x")),
    ] {
        let (answer, seen) = stage.ask(&Ask::get("/tools/available").header("Cookie", &sent));
        assert_eq!((answer.status, seen.len()), (200, 1), "{}", told(&sent));
        assert_eq!(seen[0].header("cookie").filter(|value| !value.is_empty()), left, "{}", told(&sent));
        assert_eq!(seen[0].header("x-scopegate-id"), Some(&*aibtcdev::profile(stage, "eve@example.com")));
    }
    let (answer, seen) = stage.ask(&Ask::get("/tools/available?page=2").header("X-API-Key", KEY).header("Cookie", "a=1; b=2"));
    assert_eq!((answer.status, seen.len()), (200, 1), "{}", told("a key"));
    assert_eq!(seen[0].header("cookie"), Some("a=1; b=2"), "{}", told("other cookies stay"));
    assert_eq!(seen[0].header("x-api-key").filter(|value| !value.is_empty()), None, "{}", told("a key"));
    assert_eq!(seen[0].word(1), "/tools/available?page=2");
    let (answer, seen) = stage.ask(&Ask::get("/tools/available").header("Cookie", "a=1"));
    assert_eq!((answer.status, seen.len()), (401, 0), "{}", told("no credential"));

    assert_eq!(talk(stage.port, &handshake(&format!("/chat/ws?room=7&token={session}"))), (101, true), "{}", told("a WebSocket"));
    let seen = stage.application.take();
    assert_eq!(seen[0].word(1) == "/chat/ws?room=7", query, "{}: {}", told("a WebSocket"), seen[0].word(1));
}

#[test]
fn no_credential_reaches_the_application_by_way_of_envoy_and_the_proxy_door() {
    for front in [Front::EnvoyGrpc, Front::Proxy] {
        hidden(&stage(front, &[]), true);
    }
}

#[test]
fn no_credential_reaches_the_application_by_way_of_nginx() {
    hidden(&stage(Front::Nginx, NGINX), true);
}

#[test]
fn no_credential_reaches_the_application_by_way_of_caddy() {
    hidden(&stage(Front::Caddy, CADDY), true);
}

#[test]
fn no_credential_but_that_of_a_query_reaches_the_application_by_way_of_ingress_nginx_traefik_and_envoy_over_http() {
    hidden(&stage(Front::IngressNginx, INGRESS_NGINX), false);
    hidden(&stage(Front::Traefik, TRAEFIK), false);
    hidden(&stage(Front::EnvoyHttp, ENVOY_HTTP), false);
}
