//! Chromium in front of the gate: WebSockets, server-sent events, and what pages of other origins may read.
//! Sees what a page sees, and what reached the application.

use serde_json::{Value as Json, json};

use crate::gate::{Desk, Gate};
use crate::tokens::Minter;

const TOKEN: &str = "token-of-the-visitor-1";

struct Scene {
    browser: Minter,
    gate: Gate,
}

fn tokens(id: &str, token: &str) -> String {
    json!([{"id": id, "token": token, "scopes": ["orders:read", "orders:write", "feed:listen"]}]).to_string()
}

impl Scene {
    fn set() -> Self {
        let browser = Minter::start_in::<&str>("tests/e2e/browser", "page.mjs", &[]);
        let gate = Desk::new().file("tokens.json", &tokens("visitor", TOKEN)).serve(&json!({
            "upstream": browser.ready("upstream"),
            "credentials": {"tokens": {"kind": "static", "file": "tokens.json", "from": ["bearer", "cookie:session", "query:access_token"]}},
            "cors": {"origins": [browser.ready("friend")], "credentials": true},
            "routes": {
                "GET /page": "public",
                "GET /feed": "feed:listen",
                "GET /events": "feed:listen",
                "GET /orders": "orders:read",
                "PUT /orders": "orders:write",
            },
        }));
        Self { browser, gate }
    }

    fn at(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://127.0.0.1:{}{path}", self.gate.door())
    }

    fn ask(&self, op: &str, members: &Json) -> Json {
        let mut request = json!({"op": op});
        request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.browser.ask(&request)
    }

    fn visit(&self, url: &str) {
        assert_eq!(self.ask("visit", &json!({"url": url}))["status"], 200, "{url}");
    }

    /// Puts the token where only the browser has it.
    fn sign_in(&self) {
        self.ask("cookie", &json!({"url": self.at("http", "/"), "name": "session", "value": TOKEN}));
    }

    fn socket(&self, path: &str) -> Json {
        self.ask("socket", &json!({"url": self.at("ws", path), "text": "hello"}))
    }

    fn fetch(&self, path: &str, init: &Json) -> Json {
        self.ask("fetch", &json!({"url": self.at("http", path), "init": init}))
    }

    /// What reached the application since the last time, but for what browsers fetch by themselves.
    fn seen(&self) -> Vec<String> {
        let answer = self.ask("seen", &json!({}));
        let all = answer["seen"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
        all.filter(|line| !line.contains("favicon")).collect()
    }
}

#[test]
fn a_page_opens_a_web_socket_with_its_token_and_hears_of_its_end() {
    let scene = Scene::set();
    scene.visit(&scene.at("http", "/page"));
    assert_eq!(scene.socket("/feed"), json!({"back": null, "code": 1006}));
    assert_eq!(scene.seen(), ["GET /page"]);
    let target = format!("/feed?access_token={TOKEN}");
    assert_eq!(scene.socket(&target), json!({"back": "hello", "code": 1000}));
    // The application gets to know who it is, and not the token.
    assert_eq!(scene.seen(), ["SOCKET /feed visitor"]);
    scene.ask("hold", &json!({"url": scene.at("ws", &target), "text": "hello"}));
    std::fs::write(scene.gate.desk.path("tokens.json"), tokens("other", "token-of-the-other-1")).unwrap();
    scene.gate.process.signal("HUP");
    assert_eq!(scene.ask("ended", &json!({})), json!({"back": "hello", "code": 3000}));
}

#[test]
fn an_event_source_is_let_in_by_its_cookie() {
    let scene = Scene::set();
    scene.visit(&scene.at("http", "/page"));
    let events = || scene.ask("events", &json!({"url": scene.at("http", "/events"), "count": 4}))["data"].clone();
    assert_eq!(events(), Json::Null);
    assert_eq!(scene.seen(), ["GET /page"]);
    scene.sign_in();
    assert_eq!(events(), json!(["0", "1", "2", "3"]));
    assert_eq!(scene.seen(), ["GET /events visitor"]);
}

#[test]
fn a_page_of_a_listed_origin_may_call_and_read_even_refusals() {
    let scene = Scene::set();
    scene.visit(scene.browser.ready("friend"));
    let bearer = json!({"authorization": format!("Bearer {TOKEN}")});
    assert_eq!(scene.fetch("/orders", &json!({}))["reason"], Json::Null);
    assert_eq!(scene.fetch("/orders", &json!({}))["status"], 401);
    // Its preflight needs no token.
    let put = scene.fetch("/orders", &json!({"method": "PUT", "body": "one", "headers": bearer}));
    assert_eq!((&put["status"], &put["body"]), (&json!(200), &json!("for visitor")));
    assert_eq!(scene.seen(), ["PUT /orders visitor"]);
    scene.sign_in();
    let read = scene.fetch("/orders", &json!({"credentials": "include"}));
    assert_eq!((&read["status"], &read["body"]), (&json!(200), &json!("for visitor")));
    assert_eq!(scene.socket(&format!("/feed?access_token={TOKEN}"))["back"], "hello");
}

#[test]
fn a_page_of_another_origin_gets_nothing_done_and_nothing_to_read() {
    let scene = Scene::set();
    scene.sign_in();
    scene.visit(scene.browser.ready("stranger"));
    let bearer = json!({"authorization": format!("Bearer {TOKEN}")});
    for init in [
        json!({"method": "PUT", "body": "one", "headers": bearer}),
        json!({"method": "PUT", "body": "one", "credentials": "include"}),
        json!({"headers": bearer}),
    ] {
        assert_eq!(scene.fetch("/orders", &init)["status"], Json::Null, "{init}");
    }
    assert_eq!(scene.socket("/feed"), json!({"back": null, "code": 1006}));
    assert_eq!(scene.socket(&format!("/feed?access_token={TOKEN}")), json!({"back": null, "code": 1006}));
    assert_eq!(scene.seen(), Vec::<String>::new());
    // A plain GET goes out as ever (same site, so with its cookie); the page does not get to read the answer.
    assert_eq!(scene.fetch("/orders", &json!({"credentials": "include"}))["status"], Json::Null);
}
