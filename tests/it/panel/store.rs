//! What is changed through the panel, and by whom.

use super::{Browser, POLICY, TOKENS, between};
use crate::harness::{Gate, ask};

async fn status_of(gate: &Gate, key: &str) -> u16 {
    ask(gate.proxy(), format!("GET /app HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n")).await.status
}

fn secret_of(page: &str) -> String {
    between(page, "<p class=\"secret\">", "</p>")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_rotated_switched_off_and_revoked_and_each_secret_is_shown_once() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let browser = Browser::of(&gate, "token-of-the-root-1").await;
    let form = [("once", &*browser.once("/panel/keys/new").await), ("name", "Production"), ("scopes", "app:use, app:see")];
    let made = browser.post("/panel/keys", &form).await;
    let key = secret_of(&made.text());
    assert_eq!((made.status, made.header("cache-control").as_deref(), status_of(&gate, &key).await), (200, Some("no-store"), 200));
    // A reload of the page sends the form again.
    let again = browser.post("/panel/keys", &form).await;
    assert!(again.status == 409 && again.text().contains("sent before") && !again.text().contains(&key), "{}", again.text());
    let list = browser.get("/panel/keys").await.text();
    assert!(list.matches("Production").count() == 1 && !list.contains(&key), "{list}");
    let links = list.split("href=\"").map(|rest| rest.split('"').next().unwrap());
    let path = links.filter(|link| *link != "/panel/keys/new").find(|link| link.starts_with("/panel/keys/")).unwrap().to_owned();
    let page = browser.get(&path).await.text();
    assert!(page.contains("Production") && !page.contains(&key), "{page}");
    let once = browser.once(&path).await;
    let rotated = browser.post(&format!("{path}/rotate"), &[("once", &once), ("grace_seconds", "0")]).await;
    let new = secret_of(&rotated.text());
    assert_eq!((status_of(&gate, &key).await, status_of(&gate, &new).await), (401, 200));
    assert_eq!(browser.post(&format!("{path}/rotate"), &[("once", &once), ("grace_seconds", "0")]).await.status, 409);
    assert_eq!(browser.post(&format!("{path}/enabled"), &[("enabled", "no")]).await.status, 303);
    assert_eq!(status_of(&gate, &new).await, 401);
    assert_eq!(browser.post(&format!("{path}/enabled"), &[("enabled", "yes")]).await.status, 303);
    assert_eq!(status_of(&gate, &new).await, 200);
    assert!(browser.get(&format!("{path}/delete")).await.text().contains("Revoke Production?"));
    assert_eq!(browser.post(&format!("{path}/delete"), &[]).await.status, 303);
    assert_eq!(status_of(&gate, &new).await, 401);
    assert!(browser.get("/panel/keys?done=deleted").await.text().contains("There is no key yet"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_is_told_so_in_the_words_of_the_management_api() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let nobody = Browser::at(&gate);
    for path in ["/panel/keys", "/panel/roles", "/panel/assignments", "/panel/profiles", "/panel/revocations", "/panel/factor"] {
        let reply = nobody.get(path).await;
        assert!(reply.status == 401 && reply.text().contains("Sign in first"), "{path}: {}", reply.text());
    }
    let app = Browser::of(&gate, "token-of-the-app-01").await;
    let reply = app.get("/panel/keys").await;
    assert!(reply.status == 403 && reply.text().contains("Token does not have apikeys:read scope"), "{}", reply.text());
    let clerk = Browser::of(&gate, "token-of-the-clerk-1").await;
    let once = clerk.once("/panel/keys/new").await;
    let reply = clerk.post("/panel/keys", &[("once", &once), ("name", "x"), ("scopes", "users:delete")]).await;
    assert!(reply.status == 403 && reply.text().contains("You do not hold `users:delete` yourself"), "{}", reply.text());
    // What was written stays in the form, and each fault stands at its field.
    let once = between(&reply.text(), "name=\"once\" value=\"", "\"");
    let reply = clerk.post("/panel/keys", &[("once", &once), ("name", "My key"), ("scopes", "app:*:use"), ("expires_at", "tomorrow")]).await;
    let page = reply.text();
    assert!(
        reply.status == 422 && page.contains("value=\"My key\"") && page.contains("id=\"expires_at-fault\"") && page.contains("id=\"scopes-fault\""),
        "{page}"
    );
    assert!(page.contains("aria-invalid=\"true\""));
    // Another tenant's keys are not there.
    let root = Browser::of(&gate, "token-of-the-root-1").await;
    let once = root.once("/panel/keys/new").await;
    assert_eq!(root.post("/panel/keys", &[("once", &once), ("name", "Southern"), ("scopes", "app:use"), ("tenant", "south")]).await.status, 200);
    assert!(!clerk.get("/panel/keys").await.text().contains("Southern"));
    assert!(root.get("/panel/keys").await.text().contains("Southern"));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_assignments_and_profiles_are_made_changed_and_taken_away() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let root = Browser::of(&gate, "token-of-the-root-1").await;
    let once = root.once("/panel/roles/new").await;
    assert_eq!(root.post("/panel/roles", &[("once", &once), ("name", "reader"), ("permissions", "app:use"), ("inherits", "user")]).await.status, 303);
    assert!(root.get("/panel/roles").await.text().contains("reader"));
    assert_eq!(root.post("/panel/roles/reader", &[("permissions", "app:see"), ("description", "Sees")]).await.status, 303);
    assert!(root.get("/panel/roles/reader").await.text().contains("app:see"));
    let refused = root.post("/panel/roles/reader", &[("permissions", "no:such")]).await;
    assert!(refused.status == 422 && refused.text().contains("is no permission that a route needs"), "{}", refused.text());
    assert_eq!(root.post("/panel/assignments", &[("subject", "somebody"), ("role", "reader")]).await.status, 303);
    assert!(root.get("/panel/assignments").await.text().contains("Take reader from somebody"));
    assert_eq!(root.post("/panel/roles/reader/delete", &[]).await.status, 409, "somebody has it");
    assert_eq!(root.post("/panel/assignments", &[("do", "take"), ("subject", "somebody"), ("role", "reader")]).await.status, 303);
    assert_eq!(root.post("/panel/roles/reader/delete", &[]).await.status, 303);
    let once = root.once("/panel/profiles/new").await;
    let made = root.post("/panel/profiles", &[("once", &once), ("email", "ada@example.test"), ("scopes", "app:use"), ("enabled", "yes")]).await;
    let path = made.header("location").unwrap();
    assert!(made.status == 303 && root.get("/panel/profiles").await.text().contains("ada@example.test"));
    assert_eq!(root.post(&path, &[("email", "ada@example.test"), ("scopes", "app:see")]).await.status, 303);
    let page = root.get(&path).await.text();
    assert!(page.contains("app:see") && !page.contains("checked"), "{page}");
    assert_eq!(root.post(&format!("{path}/delete"), &[]).await.status, 303);
    assert!(!root.get("/panel/profiles").await.text().contains("ada@example.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_session_or_without_its_mark_does_nothing() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let root = Browser::of(&gate, "token-of-the-root-1").await;
    for once in ["", " "] {
        let reply = root.post("/panel/keys", &[("once", once), ("name", "x"), ("scopes", "app:use")]).await;
        assert_eq!(reply.status, 409, "{once:?}");
    }
    assert_eq!(root.post_with("/panel/keys", &[], "content-type: application/json\r\n").await.status, 415);
    assert!(root.get("/panel/keys").await.text().contains("There is no key yet"));
}
