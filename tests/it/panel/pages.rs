//! What stands on the pages, and what a browser is told to make of them.

use serde_json::json;

use super::{Browser, PAGES, POLICY, TOKENS, between, is_hash_of};
use crate::harness::{Gate, ask, until, write_secret};

const POLICY_OF_CONTENT: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

#[tokio::test(flavor = "multi_thread")]
async fn no_page_has_an_inline_script_or_style_and_no_browser_keeps_one() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let browser = Browser::of(&gate, "token-of-the-root-1").await;
    for path in PAGES.into_iter().chain(["/panel/sign-in"]) {
        let reply = browser.get(path).await;
        let text = reply.text();
        assert_eq!(reply.header("content-security-policy").as_deref(), Some(POLICY_OF_CONTENT), "{path}");
        for (name, value) in
            [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("referrer-policy", "same-origin"), ("x-frame-options", "DENY")]
        {
            assert_eq!(reply.header(name).as_deref(), Some(value), "{path} {name}");
        }
        assert!(text.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{path}: {text}");
        assert_eq!(text.matches("<h1>").count(), 1, "{path}");
        for forbidden in [" style=", "<style", " onclick=", " onload=", "javascript:", "http://www", "https://"] {
            assert!(!text.contains(forbidden), "{path} has {forbidden}");
        }
        for script in text.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"/panel/assets/") && script.contains("defer></script>"), "{path}: {script}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_named_by_what_is_in_them_and_kept_for_good() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let browser = Browser::at(&gate);
    let page = browser.get("/panel").await.text();
    let names: Vec<String> = page.split("/panel/assets/").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let reply = browser.get(&format!("/panel/assets/{name}")).await;
        assert_eq!((reply.status, reply.header("cache-control").as_deref()), (200, Some("public, max-age=31536000, immutable")), "{name}");
        assert!(is_hash_of(&name, &reply.body), "{name}");
    }
    for name in ["panel.css", "..%2F..%2Fmod.rs", "htmx-0000000000000000.js"] {
        assert_eq!(browser.get(&format!("/panel/assets/{name}")).await.status, 404, "{name}");
    }
    assert_eq!(browser.get("/").await.header("location").as_deref(), Some("/panel"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_tell_what_is_in_force() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let browser = Browser::at(&gate);
    let routes = browser.get("/panel/routes").await.text();
    for told in ["GET /app", "app:write", "100 in 1 min per principal", "public", "denied to all", "shadow", "7 of 7 rules"] {
        assert!(routes.contains(told), "{told}: {routes}");
    }
    assert!(browser.get("/panel/routes?q=app%3Awrite").await.text().contains("1 of 7 rules"));
    assert!(browser.get("/panel/routes?mode=shadow").await.text().contains("1 of 7 rules"));
    let route = browser.get("/panel/route?rule=GET+%2Fapp").await.text();
    assert!(
        ["app", "clerk", "root"].iter().all(|id| route.contains(&format!("<code>{id}</code>"))) && !route.contains("<code>operator</code>"),
        "{route}"
    );
    let principals = browser.get("/panel/principals?q=NORTH").await.text();
    assert!(principals.contains("<code>clerk</code>") && !principals.contains("<code>root</code>"), "{principals}");
    let principal = browser.get("/panel/principal?id=clerk&credential=tokens").await.text();
    assert!(principal.contains("lacks app:write") && principal.contains("wrong role"), "{principal}");
    let explained = browser.get("/panel/explain?method=PUT&path=%2Fapp%2F7&as=app").await.text();
    assert!(explained.contains("insufficient_scope") && explained.contains("app:write"), "{explained}");
    assert_eq!(browser.get("/panel/explain?method=GET&path=%2Fapp&as=nobody").await.status, 404);
    assert_eq!(browser.get("/panel/principal?id=nobody").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_faults_is_told_on_every_page_until_it_is_mended() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let browser = Browser::at(&gate);
    gate.rewrite(&format!("{POLICY}surprise: 1\n"));
    let reply = browser.post("/panel/reload", &[]).await;
    assert_eq!(reply.status, 422);
    assert!(reply.text().contains("The last reload failed; generation 1 goes on.") && reply.text().contains("surprise"), "{}", reply.text());
    assert!(browser.get("/panel/routes").await.text().contains("The last reload failed."));
    gate.rewrite(&POLICY.replace("GET /open: public", "GET /new: app:use").replace("app:see", "app:look"));
    write_secret(&gate.folder.path().join("tokens.json"), TOKENS.replace("\"clerk\"", "\"other\""));
    let reply = browser.post("/panel/reload", &[]).await;
    assert_eq!((reply.status, reply.header("location").as_deref()), (303, Some("/panel/reloads")));
    let page = browser.get("/panel/reloads").await.text();
    let (latest, before) = page.split_once("</article>").unwrap();
    for told in ["Generation 2", "GET /new", "GET /open", "GET /seen", "Tokens of tokens", ">other<", ">clerk<"] {
        assert!(latest.contains(told), "{told}: {latest}");
    }
    assert!(before.contains("refused") && before.contains("surprise"), "{before}");
    assert!(!browser.get("/panel").await.text().contains("failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_stand_on_their_page_and_what_passed_in_shadow_on_its_own() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let browser = Browser::at(&gate);
    for (path, status) in [("/app", 200), ("/chief", 403), ("/seen", 200)] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token-of-the-app-01\r\n\r\n");
        assert_eq!(ask(gate.proxy(), request).await.status, status, "{path}");
    }
    let page =
        until("three decisions", async || Some(browser.get("/panel/decisions").await.text()).filter(|page| page.matches("data-detail").count() == 3))
            .await;
    assert!(page.contains("wrong_role"), "{page}");
    let passed = browser.get("/panel/decisions?outcome=shadow").await.text();
    let id = between(&passed, "/panel/decision?id=", "\"");
    let denied = browser.get("/panel/decisions?outcome=deny&principal=app").await.text();
    assert!(denied.matches("data-detail").count() == 1 && denied.contains("wrong_role"), "{denied}");
    let one = browser.get(&format!("/panel/decision?id={id}")).await.text();
    assert!(one.contains("/seen") && one.contains("app:see"), "{one}");
    let shadow = browser.get("/panel/shadow").await.text();
    assert!(shadow.contains("<strong>1</strong> requests passed in shadow") && shadow.contains("app:see"), "{shadow}");
    assert_eq!(browser.post("/panel/shadow/clear", &[]).await.status, 303);
    assert!(browser.get("/panel/shadow").await.text().contains("<strong>0</strong> requests passed in shadow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_tags_are_shown_and_not_read() {
    let tag = "<script>alert(1)</script>";
    let policy = POLICY.replace("GET /open: public", "GET /b: '<b>&:c'");
    let tokens = json!([
        {"id": tag, "token": "token-of-the-tag-01", "scopes": ["<b>&\"'x:read"], "tenant": "\"><svg/onload=x>"},
        {"id": "root", "token": "token-of-the-root-1", "scopes": ["*"]},
    ]);
    let gate = Gate::start(POLICY, TOKENS).await;
    write_secret(&gate.folder.path().join("tokens.json"), tokens.to_string().replace("\\\"'x", "x"));
    gate.rewrite(&policy);
    let reload = gate.reload().await;
    let browser = Browser::of(&gate, "token-of-the-root-1").await;
    let once = browser.once("/panel/keys/new").await;
    let made = browser.post("/panel/keys", &[("once", &once), ("name", tag), ("scopes", "app:use")]).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let asked = super::escaped(&format!("\"><{tag}"));
    let mut pages: Vec<String> = PAGES.iter().map(|page| (*page).to_owned()).collect();
    pages.extend(["q", "outcome", "principal", "tenant", "id", "rule", "path", "as", "done"].iter().flat_map(|name| {
        [
            "/panel",
            "/panel/routes",
            "/panel/principals",
            "/panel/explain",
            "/panel/decisions",
            "/panel/principal",
            "/panel/route",
            "/panel/shadow",
            "/panel/keys",
            "/panel/profiles",
        ]
        .map(|page| format!("{page}?{name}={asked}"))
    }));
    let mut told = made.text();
    for page in pages {
        told.push_str(&browser.get(&page).await.text());
    }
    assert_eq!(reload.status, 200, "{}", reload.text());
    assert!(told.contains("&lt;script&gt;alert(1)"), "the names stand there");
    for tag in ["<script>", "<svg/onload", "<b>"] {
        assert!(!told.contains(tag), "{tag}");
    }
}
