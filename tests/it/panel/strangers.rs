//! Who is no operator: other sites' pages, names that were rebound to this machine, callers from elsewhere.

use super::{Browser, OPEN_TO_ALL, PAGES, POLICY, TOKENS};
use crate::harness::{Gate, ask};

const CHANGES: [&str; 4] = ["/panel/reload", "/panel/shadow/clear", "/panel/sign-out", "/panel/keys"];

#[tokio::test(flavor = "multi_thread")]
async fn on_a_door_that_others_can_reach_nothing_is_shown_without_the_operators_scope() {
    let gate = Gate::start(&format!("{POLICY}{OPEN_TO_ALL}"), TOKENS).await;
    let mut browser = Browser::at(&gate);
    let tells = ["GET /app", "eneration", "app:use", "chief", "clerk", "127.0.0.1"];
    for (token, status) in [("", 401), ("token-of-nobody-1", 401), ("token-of-the-app-01", 403)] {
        assert_eq!(browser.sign_in(token).await.status, status, "{token}");
        for path in PAGES {
            let reply = browser.get(path).await;
            let text = reply.text();
            assert_eq!(reply.status, 401, "{path} {text}");
            assert!(text.contains("<h1>Sign in</h1>") && !tells.iter().any(|told| text.contains(told)), "{path}: {text}");
        }
        for path in CHANGES.into_iter().chain(["/panel/decisions/stream"]) {
            assert_eq!(browser.post(path, &[]).await.status, 401, "{path}");
        }
    }
    assert_eq!(gate.readyz().await.1["generation"], 1, "nobody reloaded");
    let operator = Browser::of(&gate, "token-of-the-boss-1").await;
    assert_eq!(operator.get("/panel").await.status, 200);
    assert!(operator.get("/panel/routes").await.text().contains("GET /app"));
    // A header is no session: a browser would add it to whatever page asks.
    let bearer = browser.get_with("/panel/routes", "authorization: Bearer token-of-the-boss-1\r\n").await;
    assert_eq!(bearer.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_page_gets_nothing_shown_and_nothing_done() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let browser = Browser::of(&gate, "token-of-the-root-1").await;
    let others = [
        "origin: http://evil.test\r\n".to_owned(),
        "origin: null\r\n".into(),
        "sec-fetch-site: cross-site\r\n".into(),
        "sec-fetch-site: same-site\r\n".into(),
        format!("origin: http://localhost:{}\r\n", browser.door.port()),
        format!("origin: http://{}\r\norigin: http://{}\r\n", browser.door, browser.door),
    ];
    for lines in &others {
        for path in CHANGES {
            let reply = browser.post_with(path, &[("name", "x"), ("scopes", "app:use")], lines).await;
            assert_eq!(reply.status, 403, "{path} {lines}: {}", reply.text());
        }
        for path in ["/panel", "/panel/routes", "/panel/keys", "/panel/decisions/stream"] {
            let reply = browser.get_with(path, lines).await;
            assert_eq!(reply.status, 403, "{path} {lines}");
            assert!(!reply.text().contains("GET /app"), "{path} {lines}");
        }
    }
    assert_eq!(gate.readyz().await.1["generation"], 1, "nobody reloaded");
    assert_eq!(browser.get("/panel").await.status, 200, "nobody signed out");
    assert!(browser.get("/panel/keys").await.text().contains("There is no key yet"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_name_was_rebound_to_this_machine_sees_nothing() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let door = gate.admin();
    for host in ["evil.test", &format!("evil.test:{}", door.port()), "127.0.0.1.evil.test", "10.0.0.1"] {
        // As a browser asks whose page came from there.
        for lines in ["", "sec-fetch-site: same-origin\r\n", &format!("origin: http://{host}\r\n")] {
            for path in ["/panel", "/panel/routes", "/panel/principals", "/shadow"] {
                let reply = ask(door, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n")).await;
                assert!(matches!(reply.status, 401 | 403), "{path} {host} {lines}: {}", reply.status);
                assert!(!reply.text().contains("GET /app"), "{path} {host}");
            }
        }
        for path in ["/reload", "/explain", "/panel/reload"] {
            let body = r#"{"method":"GET","path":"/app"}"#;
            let lines = format!("host: {host}\r\norigin: http://{host}\r\ncontent-length: {}\r\n", body.len());
            let reply = ask(door, format!("POST {path} HTTP/1.1\r\n{lines}\r\n{body}")).await;
            assert!(matches!(reply.status, 401 | 403), "{path} {host}: {}", reply.status);
        }
    }
    for host in ["localhost", "127.0.0.1", &door.to_string(), "[::1]:80"] {
        assert_eq!(ask(door, format!("GET /panel HTTP/1.1\r\nhost: {host}\r\n\r\n")).await.status, 200, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_page_may_ask_for_an_explanation() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let door = gate.admin();
    let body = r#"{"method":"GET","path":"/app"}"#;
    let lines = format!("host: {door}\r\norigin: http://{door}\r\nsec-fetch-site: same-origin\r\ncontent-length: {}\r\n", body.len());
    assert_eq!(ask(door, format!("POST /explain HTTP/1.1\r\n{lines}\r\n{body}")).await.status, 200);
}
