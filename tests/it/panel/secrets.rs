//! No secret on any page but the one that its making answers.

use super::{Browser, OPEN_TO_ALL, PAGES, POLICY, TOKENS, between};
use crate::harness::{Gate, ask};

#[tokio::test(flavor = "multi_thread")]
async fn no_page_has_a_secret_whoever_looks_and_whatever_was_shown() {
    for listen in ["", OPEN_TO_ALL] {
        let gate = Gate::start(&format!("{POLICY}{listen}"), TOKENS).await;
        let root = Browser::of(&gate, "token-of-the-root-1").await;
        let once = root.once("/panel/keys/new").await;
        let made = root.post("/panel/keys", &[("once", &once), ("name", "k"), ("scopes", "app:use")]).await.text();
        let key = between(&made, "<p class=\"secret\">", "</p>");
        let setup = root.post("/panel/factor/setup", &[("once", &root.once("/panel/factor").await)]).await.text();
        let factor = between(&setup, "<p class=\"secret\">", "</p>");
        let mut secrets: Vec<String> = ["app-01", "clerk-1", "boss-1", "root-1"].iter().map(|end| format!("token-of-the-{end}")).collect();
        secrets.extend([key.clone(), factor, "token-of-nobody-1".into(), root.cookie.split_once('=').unwrap().1.to_owned()]);
        for token in secrets.iter().chain([&key[..20].to_owned()]) {
            for line in ["authorization: Bearer", "x-api-key:", "cookie: session="] {
                ask(gate.proxy(), format!("GET /app?token={token} HTTP/1.1\r\nhost: a\r\n{line} {token}\r\n\r\n")).await;
                ask(gate.proxy(), format!("GET /{token}/{token} HTTP/1.1\r\nhost: a\r\n{line} {token}\r\n\r\n")).await;
            }
            root.post("/panel/sign-in", &[("token", token)]).await;
        }
        let root = Browser::of(&gate, "token-of-the-root-1").await;
        let list = root.get("/panel/keys").await.text();
        let links = list.split("href=\"").map(|rest| rest.split('"').next().unwrap().to_owned());
        let pages: Vec<String> = links.filter(|link| link.starts_with("/panel/keys/")).chain(PAGES.iter().map(|page| (*page).to_owned())).collect();
        for page in &pages {
            let reply = root.get(page).await;
            let told = format!("{:?}{}", reply.headers, reply.text());
            for secret in &secrets {
                assert!(!told.contains(secret.as_str()), "{page} shows {secret}");
            }
        }
        let audit = gate.audit().await;
        for secret in &secrets {
            assert!(!audit.contains(secret.as_str()), "the audit lines show {secret}");
        }
    }
}
