//! Signing in and out: what a cookie is, how long it counts, and what ends it.

use std::collections::HashSet;

use super::{Browser, OPEN_TO_ALL, POLICY, TOKENS, between};
use crate::harness::{Gate, write_secret};

async fn open() -> Gate {
    Gate::start(&format!("{POLICY}{OPEN_TO_ALL}"), TOKENS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_random_and_for_this_site_alone_and_never_the_token() {
    let gate = open().await;
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let mut browser = Browser::at(&gate);
        let reply = browser.sign_in("token-of-the-boss-1").await;
        assert_eq!((reply.status, reply.header("location").as_deref()), (303, Some("/panel")));
        let cookie = reply.header("set-cookie").unwrap();
        let parts: Vec<&str> = cookie.split("; ").collect();
        assert_eq!(parts[1..], ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"], "{cookie}");
        let value = parts[0].strip_prefix("scopegate_panel=").unwrap().to_owned();
        assert_eq!(value.len(), 43, "256 bits");
        assert!(seen.insert(value));
        assert!(!format!("{:?}{}", reply.headers, reply.text()).contains("token-of-the-boss-1"));
    }
    let browser = Browser::at(&gate);
    let secure = browser.post_with("/panel/sign-in", &[("token", "token-of-the-boss-1")], &format!("origin: https://{}\r\n", browser.door)).await;
    assert!(secure.header("set-cookie").unwrap().ends_with("; Secure"), "behind TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_comes_back_to_the_page_that_one_wanted_and_to_no_other_site() {
    let gate = open().await;
    let browser = Browser::at(&gate);
    let page = browser.get("/panel/routes?q=a").await.text();
    assert_eq!(between(&page, "name=\"back\" value=\"", "\""), "/panel/routes?q=a");
    for (back, location) in [
        ("/panel/routes?q=a", "/panel/routes?q=a"),
        ("//evil.test", "/panel"),
        ("https://evil.test/panel", "/panel"),
        ("/panel//evil.test", "/panel"),
    ] {
        let reply = browser.post("/panel/sign-in", &[("token", "token-of-the-boss-1"), ("back", back)]).await;
        assert_eq!(reply.header("location").as_deref(), Some(location), "{back}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_worth_what_its_credential_is_worth_now() {
    let gate = open().await;
    let (operator, root) = (Browser::of(&gate, "token-of-the-boss-1").await, Browser::of(&gate, "token-of-the-root-1").await);
    assert_eq!(operator.get("/panel").await.status, 200);
    // The operator loses the scope, and then root its token.
    write_secret(&gate.folder.path().join("tokens.json"), TOKENS.replace("\"scopegate:admin\"", "\"app:use\""));
    assert_eq!(root.post("/panel/reload", &[]).await.status, 303);
    assert_eq!((operator.get("/panel").await.status, root.get("/panel").await.status), (401, 200));
    write_secret(&gate.folder.path().join("tokens.json"), TOKENS.replace("token-of-the-root-1", "token-of-the-root-2"));
    assert_eq!(root.post("/panel/reload", &[]).await.status, 303);
    assert_eq!(root.get("/panel").await.status, 401);
    // It does not come back with the scope: whoever it was has to sign in again.
    assert_eq!(operator.get("/panel").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_credential_ends_its_session() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let (root, app) = (Browser::of(&gate, "token-of-the-root-1").await, Browser::of(&gate, "token-of-the-app-01").await);
    assert!(app.get("/panel").await.text().contains("Signed in as"));
    let done = root.post("/panel/revocations", &[("kind", "credential_id"), ("value", "app")]).await;
    assert!(done.status == 200 && done.text().contains("app is refused for good"), "{}", done.text());
    assert!(!app.get("/panel").await.text().contains("Signed in as"));
    assert_eq!(app.get("/panel/keys").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_and_no_cookie_stands_for_another() {
    let gate = open().await;
    let mut browser = Browser::of(&gate, "token-of-the-boss-1").await;
    let other = Browser::of(&gate, "token-of-the-root-1").await;
    let mine = browser.cookie.clone();
    let reply = browser.post("/panel/sign-out", &[]).await;
    assert_eq!(reply.header("set-cookie").unwrap(), "scopegate_panel=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    assert_eq!(browser.get("/panel").await.status, 401, "whoever kept the cookie");
    for cookie in [
        "scopegate_panel=",
        "scopegate_panel=AAAA",
        &format!("{mine}; {}", other.cookie),
        &other.cookie.to_lowercase(),
        "session=token-of-the-boss-1",
    ] {
        browser.cookie = cookie.to_owned();
        assert_eq!(browser.get("/panel").await.status, 401, "{cookie}");
    }
    assert_eq!(other.get("/panel").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_too_often_has_to_wait() {
    let gate = open().await;
    let mut browser = Browser::at(&gate);
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(browser.sign_in("token-of-nobody-1").await.status);
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert!(statuses.contains(&429), "{statuses:?}");
}
