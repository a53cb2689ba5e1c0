//! The panel from outside: who gets to see it, what a browser is told, and what stands on its pages.

mod pages;
mod secrets;
mod sessions;
mod store;
mod strangers;

use std::net::SocketAddr;

use scopegate::credential::digest::sha256;

use crate::harness::wire::Reply;
use crate::harness::{Gate, ask};

const POLICY: &str = "
credentials:
  tokens: {kind: static, file: tokens.json, from: [bearer, 'cookie:session']}
  keys: {kind: api_key}
roles: {default: user, user: [profile:read], chief: {inherits: user, scopes: 'users:*'}}
routes:
  GET /app: app:use
  PUT /app/{id}: {scopes: app:write, rate_limit: {rate: 100/m, per: principal}}
  GET /seen: {scopes: app:see, mode: shadow}
  GET /chief: {roles: chief}
  GET /open: public
  /internal/: deny
";
const TOKENS: &str = r#"[
  {"id": "app", "token": "token-of-the-app-01", "scopes": ["app:use"], "tenant": "north"},
  {"id": "clerk", "token": "token-of-the-clerk-1", "scopes": ["apikeys:*", "app:use"], "tenant": "north"},
  {"id": "operator", "token": "token-of-the-boss-1", "scopes": ["scopegate:admin"]},
  {"id": "root", "token": "token-of-the-root-1", "scopes": ["*"], "roles": ["chief"]}
]"#;
const OPEN_TO_ALL: &str = "listen: {proxy: 127.0.0.1:0, ext_authz: 127.0.0.1:0, forward_auth: 127.0.0.1:0, admin: 0.0.0.0:0}\n";

/// Every page that anybody can ask for.
const PAGES: [&str; 23] = [
    "/panel",
    "/panel/reloads",
    "/panel/decisions",
    "/panel/decisions?outcome=deny",
    "/panel/decision?id=0000000000000000",
    "/panel/shadow",
    "/panel/routes",
    "/panel/routes?q=app&sort=needs",
    "/panel/route?rule=GET+%2Fapp",
    "/panel/principals",
    "/panel/principals?q=root",
    "/panel/principal?id=root",
    "/panel/explain",
    "/panel/explain?method=GET&path=%2Fapp&as=app",
    "/panel/key-sets",
    "/panel/keys",
    "/panel/keys/new",
    "/panel/roles",
    "/panel/assignments",
    "/panel/profiles",
    "/panel/revocations",
    "/panel/factor",
    "/panel/nowhere",
];

/// A browser: it keeps its cookie, and says what browsers say.
struct Browser {
    door: SocketAddr,
    cookie: String,
}

impl Browser {
    fn at(gate: &Gate) -> Self {
        Self { door: SocketAddr::from(([127, 0, 0, 1], gate.admin().port())), cookie: String::new() }
    }

    /// Signed in with this token.
    async fn of(gate: &Gate, token: &str) -> Self {
        let mut browser = Self::at(gate);
        let reply = browser.sign_in(token).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        browser
    }

    async fn sign_in(&mut self, token: &str) -> Reply {
        let reply = self.post("/panel/sign-in", &[("token", token)]).await;
        if let Some(cookie) = reply.header("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        reply
    }

    async fn get(&self, path: &str) -> Reply {
        self.get_with(path, "sec-fetch-site: same-origin\r\n").await
    }

    async fn get_with(&self, path: &str, lines: &str) -> Reply {
        let (door, cookie) = (self.door, &self.cookie);
        ask(door, format!("GET {path} HTTP/1.1\r\nhost: {door}\r\ncookie: {cookie}\r\n{lines}\r\n")).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.post_with(path, form, &format!("origin: http://{}\r\nsec-fetch-site: same-origin\r\n", self.door)).await
    }

    async fn post_with(&self, path: &str, form: &[(&str, &str)], lines: &str) -> Reply {
        let body: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let (door, cookie, body) = (self.door, &self.cookie, body.join("&"));
        let kind = "content-type: application/x-www-form-urlencoded";
        ask(
            door,
            format!("POST {path} HTTP/1.1\r\nhost: {door}\r\ncookie: {cookie}\r\n{lines}{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        )
        .await
    }

    /// What a page's form is to be sent with, so that it is taken once.
    async fn once(&self, page: &str) -> String {
        between(&self.get(page).await.text(), "name=\"once\" value=\"", "\"")
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What stands between two texts.
fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0.to_owned()
}

/// The names of assets hold a hash of what is in them.
fn is_hash_of(name: &str, content: &[u8]) -> bool {
    let hash: String = sha256(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    name.contains(&hash)
}
